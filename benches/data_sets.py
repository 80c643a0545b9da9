"""Measure whole data sets: the commands `mask` and `audit`, against TRL's preparation, the tokenizer alone, and a copy by pyarrow.

    python benches/data_sets.py             # about fifteen minutes; writes docs/reference/data-set-speed.md
    python benches/data_sets.py --small     # half a minute, to see that it works; writes nothing

Each round calls every program once, one after the other; a table has medians of the rounds. The commands are processes of their own, and
their start, about two seconds of imports, counts; the other programs run in this process, which has imported them already.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # "1 process" is one core

import datasets  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from conversations import conversations, tokenizer_of_real_size  # noqa: E402
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info  # noqa: E402
from report import machine  # noqa: E402
from results import describe  # noqa: E402
from support.tiny_models import causal_model  # noqa: E402
from trl import SFTConfig, SFTTrainer  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "data-set-speed.md"
ROUNDS = 3
IGNORE = -100
# Runs a command and prints the most memory that it had, in KiB. Started from this process itself, a command would be said to have had as
# much as this process has.
LAUNCHER = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
HEAD = """# Speed with whole data sets

See how long whole data sets take. This page is written by `make bench-data`, which calls the programs one after the other,
{rounds}, and takes medians. The commands of spanmask are processes of their own, whose start counts; the other programs run in one
process that has imported them already.

{machine}
"""


class Command:
    """A command of spanmask. `peak`: the most memory that one of its processes had, in MiB; not its workers'."""

    def __init__(self, *arguments, out=None):
        self.arguments, self.out, self.peak = [*map(str, arguments)], out, 0

    def __call__(self):
        if self.out is not None:
            shutil.rmtree(self.out, ignore_errors=True)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", LAUNCHER, sys.executable, "-m", "spanmask", *self.arguments]
        peak = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
        self.peak = max(self.peak, int(peak) // 1024)


def measured(engines, rounds):
    """The median seconds of each program."""
    times = defaultdict(list)
    for number in range(rounds):
        for name, run in engines.items():
            began = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - began)
            print(f"  round {number + 1}: {name} {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return {name: median(taken) for name, taken in times.items()}


def written(folder):
    """What a command wrote."""
    return pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("part-*.parquet")))


def from_messages(folder, count, vocabulary, rounds):
    """Messages in Parquet -> ids and labels in Parquet."""
    tokenizer = tokenizer_of_real_size(vocabulary)
    saved = folder / "tokenizer"
    tokenizer.save_pretrained(saved)
    source = folder / "chats.parquet"
    pq.write_table(pa.table({"messages": conversations(count)}), source, row_group_size=1000)
    trainer = trl_trainer(tokenizer, folder)

    def render_and_tokenize():
        rows = pq.read_table(source)["messages"].to_pylist()
        return tokenizer(tokenizer.apply_chat_template(rows, tokenize=False), add_special_tokens=False)["input_ids"]

    def trl(processes):
        trainer.args.dataset_num_proc = processes
        rows = datasets.Dataset(pq.read_table(source))
        prepared = trainer._prepare_dataset(rows, tokenizer, trainer.args, False, None, "train")
        prepared.to_parquet(folder / "trl.parquet")

    def ours(workers):
        out = folder / f"masked{workers}"
        size = max(1, count // 8)
        return Command("mask", source, out, "--tokenizer", saved, "--workers", workers, "--rows-per-file", size, out=out)

    engines = {
        "spanmask mask, 1 worker": ours(1),
        "spanmask mask, 2 workers": ours(2),
        "render and tokenize, 1 process": render_and_tokenize,
        f"TRL {version('trl')}, 1 process": lambda: trl(1),
        f"TRL {version('trl')}, num_proc=2": lambda: trl(2),
    }
    seconds = measured(engines, rounds)
    made, theirs = written(folder / "masked2"), pq.read_table(folder / "trl.parquet")
    assert made["input_ids"].to_pylist() == theirs["input_ids"].to_pylist() == render_and_tokenize()
    # TRL also trains what its template marks beyond the answer: the line break after the stop token, an empty block of reasoning.
    for labels, trls in zip(made["labels"].to_pylist(), theirs["labels"].to_pylist(), strict=True):
        assert all(label in (IGNORE, other) for label, other in zip(labels, trls, strict=True))
    tokens = len(made["input_ids"].combine_chunks().flatten())
    one, two = seconds["spanmask mask, 1 worker"], seconds["spanmask mask, 2 workers"]
    limit = seconds["render and tokenize, 1 process"]
    alone, parallel = (seconds[name] for name in list(engines)[3:])
    facts = [
        f"With one worker, `spanmask mask` takes {one / limit:.2f} times as long as the tokenizer alone, and TRL {alone / one:.1f} times "
        f"as long as `spanmask mask`; with two workers or processes each, TRL takes {parallel / two:.1f} times as long."
    ]
    about = f"{count:,} conversations, {tokens:,} tokens; messages in Parquet, ids and labels out"
    return table("From messages", about, seconds, engines, one, tokens, facts)


def trl_trainer(tokenizer, folder):
    """A trainer whose preparation is called: TRL has no function for it."""
    settings = {"assistant_only_loss": True, "max_length": None, "bf16": False, "use_cpu": True, "report_to": []}
    args = SFTConfig(str(folder / "trainer"), dataset_kwargs={"skip_prepare_dataset": False}, **settings)
    one = datasets.Dataset.from_dict({"messages": conversations(2)})
    return SFTTrainer(causal_model(tokenizer), args, train_dataset=one, processing_class=tokenizer)


def chat_ids(tokenizer, rows, length, path):
    """A Parquet file of rows of random ids in the turns of two exchanges; no two are equal."""
    exchange = [{"role": "user", "content": "a b c d e f"}, {"role": "assistant", "content": "g h i j k l"}]
    one = np.array(tokenizer.apply_chat_template(exchange * 2, return_dict=True)["input_ids"], np.int32)
    special = np.isin(one, list(tokenizer.added_tokens_decoder)) | np.isin(one, tokenizer("user\nassistant\n")["input_ids"])
    spread = np.repeat(np.arange(len(one)), np.where(special, 1, -(-length // int((~special).sum()))))[:length]
    row, free = one[spread], ~special[spread]
    rng = np.random.default_rng(0)
    schema = pa.schema([("input_ids", pa.list_(pa.int32()))])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for first in range(0, rows, 20_000):
            count = min(20_000, rows - first)
            made = np.tile(row, (count, 1))
            made[:, free] = rng.integers(300, len(tokenizer), (count, int(free.sum())), dtype=np.int32)
            offsets = pa.array(np.arange(count + 1, dtype=np.int32) * len(row))
            writer.write_table(pa.table([pa.ListArray.from_arrays(offsets, pa.array(made.reshape(-1)))], schema=schema))
    return rows * len(row)


def from_ids(folder, rows, length, rounds):
    """Ids in Parquet -> ids and labels in Parquet."""
    tokenizer = tokenizer_of_real_size(2000)
    tokenizer.save_pretrained(folder / "small")
    source = folder / "ids.parquet"
    tokens = chat_ids(tokenizer, rows, length, source)

    def ours(workers):
        out = folder / f"labels{workers}"
        size = -(-rows // 8)
        return Command(
            "mask", source, out, "--tokenizer", folder / "small", "--workers", workers, "--rows-per-file", size, out=out
        )

    first = ours(1)
    first()
    labels = written(folder / "labels1")["labels"].combine_chunks()
    assert 0 < int((labels.flatten().to_numpy() != IGNORE).sum()) < tokens

    def copied():
        at = 0
        schema = pa.schema([(name, pa.list_(pa.int32())) for name in ("input_ids", "labels")])
        with pq.ParquetFile(source) as file, pq.ParquetWriter(folder / "copy.parquet", schema, compression="zstd") as writer:
            for batch in file.iter_batches(20_000, use_threads=False):
                part = labels.slice(at, batch.num_rows)
                writer.write_table(pa.table([batch["input_ids"], part], schema=schema))
                at += batch.num_rows

    engines = {
        "spanmask mask, 1 worker": first,
        "spanmask mask, 2 workers": ours(2),
        f"pyarrow {pa.__version__}: read the ids, write ids and labels, 1 thread": copied,
    }
    seconds = measured(engines, rounds)
    both = [written(folder / f"labels{workers}") for workers in (1, 2)]
    assert both[0].equals(both[1])
    one, copy = seconds["spanmask mask, 1 worker"], list(seconds.values())[-1]
    facts = [
        f"With one worker, `spanmask mask` takes {one / copy:.2f} times as long as the copy, with two "
        f"{seconds['spanmask mask, 2 workers'] / copy:.2f} times."
    ]
    about = f"{rows:,} rows, {tokens:,} tokens; the labels of the copy are in memory already"
    return table("From ids", about, seconds, engines, one, tokens, facts)


def audited(folder, rows, length, rounds):
    """An audit of ids without labels, and of ids with labels."""
    tokenizer = tokenizer_of_real_size(2000)
    tokenizer.save_pretrained(folder / "small")
    source = folder / "audited.parquet"
    tokens = chat_ids(tokenizer, rows, length, source)
    command = Command("audit", source, "--tokenizer", folder / "small", "--max-length", length // 2, "--html", folder / "a.html")
    engines = {"spanmask audit, 1 process": command}
    seconds = measured(engines, rounds)
    one = seconds["spanmask audit, 1 process"]
    return table("Audit", f"{rows:,} rows of ids, {tokens:,} tokens", seconds, engines, one, tokens, [])


def table(title, about, seconds, engines, ours, tokens, facts):
    """A table of one job."""
    lines = [
        f"## {title}\n\n{about}.\n\n| program | seconds | tokens a second | time as a multiple of spanmask's with 1 worker | peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, taken in seconds.items():
        peak = f"{engines[name].peak:,} MiB" if isinstance(engines[name], Command) else ""
        lines.append(f"| {name} | {taken:.1f} | {tokens / taken:,.0f} | {taken / ours:.2f} | {peak} |")
    return "\n".join([*lines, *(f"\n{fact}" for fact in facts)])


def main(arguments=None):
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="few rows, one round, no page")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    small = options.small
    rounds = 1 if small else options.rounds
    datasets.disable_caching()
    datasets.disable_progress_bars()
    (ROOT / "target").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as name:
        folder = Path(name)
        tables = [
            from_messages(folder, *((16, 2000) if small else (10_000, 32_000)), rounds),
            from_ids(folder, *((100, 60) if small else (200_000, 500)), rounds),
            audited(folder, *((100, 60) if small else (1_000_000, 500)), min(rounds, 2)),
        ]
    where = machine(describe(pytest_benchmark_generate_machine_info()))
    text = "\n\n".join([HEAD.format(rounds="once" if rounds == 1 else f"{rounds} times", machine=where), *tables]) + "\n"
    print(text)
    if not small:
        options.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
