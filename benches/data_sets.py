"""Measure whole data sets: the commands `mask` and `audit`, against TRL's preparation, the tokenizer alone, and a copy by pyarrow.

    python benches/data_sets.py             # about fifteen minutes; writes docs/reference/data-set-speed.md
    python benches/data_sets.py --small     # half a minute, to see that it works; writes nothing

Each round calls every program once, one after the other; a table has medians of the rounds. Programs are processes of their own, whose
start counts; only the copy by pyarrow runs in this process.
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

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from conversations import conversations, tokenizer_of_real_size  # noqa: E402
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info  # noqa: E402
from report import machine  # noqa: E402
from results import describe  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "data-set-speed.md"
PROGRAMS = ROOT / "benches" / "data_set_programs.py"
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
{rounds}, and takes medians. Every program is a process of its own, whose start counts; only the copy by pyarrow is called in a process that
runs already.

{machine}
"""


class Program:
    """A program of Python. `peak`: the most memory that one of its processes had, in MiB; not its workers'."""

    def __init__(self, *arguments, out=None):
        self.arguments, self.out, self.peak = [*map(str, arguments)], out, 0

    def __call__(self):
        if self.out is not None:
            shutil.rmtree(self.out, ignore_errors=True)
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        command = [sys.executable, "-c", LAUNCHER, sys.executable, *self.arguments]
        peak = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout
        self.peak = max(self.peak, int(peak) // 1024)


def spanmask(*arguments, out=None):
    """A command of spanmask."""
    return Program("-m", "spanmask", *arguments, out=out)


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

    def programs(count, where):
        where.mkdir()
        source = where / "chats.parquet"
        pq.write_table(pa.table({"messages": conversations(count)}), source, row_group_size=1000)

        def ours(workers):
            out = where / f"masked{workers}"
            size = max(1, count // 8)
            return spanmask("mask", source, out, "--tokenizer", saved, "--workers", workers, "--rows-per-file", size, out=out)

        def trl(processes):
            return Program(PROGRAMS, "trl", saved, source, where / "trl.parquet", processes)

        return {
            "spanmask mask, 1 worker": ours(1),
            "spanmask mask, 2 workers": ours(2),
            "render and tokenize, 1 process": Program(PROGRAMS, "tokenize", saved, source, where / "ids.parquet"),
            f"TRL {version('trl')}, 1 process": trl(1),
            f"TRL {version('trl')}, num_proc=2": trl(2),
        }

    starts = measured(programs(16, folder / "few"), rounds)
    engines = programs(count, folder / "all")
    seconds = measured(engines, rounds)
    made, theirs, ids = (
        written(folder / "all" / "masked2"),
        pq.read_table(folder / "all" / "trl.parquet"),
        pq.read_table(folder / "all" / "ids.parquet"),
    )
    assert made["input_ids"].to_pylist() == theirs["input_ids"].to_pylist() == ids["input_ids"].to_pylist()
    # TRL also trains what its template marks beyond the answer: the line break after the stop token, an empty block of reasoning.
    for labels, trls in zip(made["labels"].to_pylist(), theirs["labels"].to_pylist(), strict=True):
        assert all(label in (IGNORE, other) for label, other in zip(labels, trls, strict=True))
    tokens = len(made["input_ids"].combine_chunks().flatten())
    work = {name: seconds[name] - starts[name] for name in engines}

    def ratios(times):
        one, two, limit, alone, parallel = times.values()
        return one / limit, alone / one, parallel / two

    facts = [
        "With one worker, `spanmask mask` takes {:.2f} times as long as the tokenizer alone, and TRL {:.2f} times as long as "
        "`spanmask mask`; with two workers or processes each, TRL takes {:.2f} times as long.".format(*ratios(seconds)),
        "The start of a program is what it takes for 16 conversations. Without it, these are {:.2f}, {:.2f} and {:.2f} times.".format(
            *ratios(work)
        ),
    ]
    one = seconds["spanmask mask, 1 worker"]
    about = f"{count:,} conversations, {tokens:,} tokens; messages in Parquet, ids and labels out"
    return table("From messages", about, seconds, engines, one, tokens, facts, starts)


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
        return spanmask(
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
    command = spanmask("audit", source, "--tokenizer", folder / "small", "--max-length", length // 2, "--html", folder / "a.html")
    engines = {"spanmask audit, 1 process": command}
    seconds = measured(engines, rounds)
    one = seconds["spanmask audit, 1 process"]
    return table("Audit", f"{rows:,} rows of ids, {tokens:,} tokens", seconds, engines, one, tokens, [])


def table(title, about, seconds, engines, ours, tokens, facts, starts=None):
    """A table of one job. `starts`: the seconds of each program that are its start."""
    start = "seconds of start | " if starts else ""
    lines = [
        f"## {title}\n\n{about}.\n\n| program | seconds | {start}tokens a second | time as a multiple of spanmask's with 1 worker | "
        "peak memory |",
        "|---|---:|---:|---:|---:|" + "---:|" * bool(starts),
    ]
    for name, taken in seconds.items():
        peak = f"{engines[name].peak:,} MiB" if isinstance(engines[name], Program) else ""
        start = f"{starts[name]:.1f} | " if starts else ""
        lines.append(f"| {name} | {taken:.1f} | {start}{tokens / taken:,.0f} | {taken / ours:.2f} | {peak} |")
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
