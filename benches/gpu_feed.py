"""Does a collator keep a GPU busy? Trains a T5 and a decoder on synthetic rows, fed by a torch `DataLoader`, and measures it.

    python benches/gpu_feed.py --out target/feed.json     # measures: some minutes on a GPU; elsewhere it uses tiny models and takes seconds
    python benches/gpu_feed.py --page target/feed.json    # writes the measurements into docs/reference/feeding.md

Trains two models made from their configurations, in bf16: T5-small, and a Llama with a billion parameters. Requires torch, transformers,
NumPy and spanmask. The other collators for the decoder require TRL; where it is not installed, they are left out and the page says so.

Three times are measured in each step: *wait*, how long `next(iterator)` took in the training loop; *stall*, how long the GPU had nothing
to do during that time; *copy*, the time from there until the batch was on the device.
"""

import argparse
import json
import os
import platform
import sys
import time
import warnings
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from feeding import (
    OURS,
    PAGE,
    TRL,
    chat_collators,
    chat_rows,
    check_chat,
    check_t5,
    t5_collators,
    t5_rows,
    t5_tokenizer,
    write_part,
)
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

RESIDENT = "batches on the device"  # no loader: the speed of a training that never waits for a batch
NOT_A_GPU = "CUDA is not available: this run only shows that the script works. Its times say nothing about a GPU."


class GpuClock:
    """Marks in the GPU's queue. The time between two marks is GPU time, and setting a mark does not make the host wait."""

    def mark(self):
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin, end):
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


class HostClock:
    """For models that run on the host, within the training loop."""

    def mark(self):
        return time.perf_counter()

    def seconds(self, begin, end):
        return end - begin


@dataclass
class Job:
    """A model to train, and the collators that feed it. `rows`: name of a collator -> the examples that it reads."""

    name: str
    model: Any
    batch: int
    keys: tuple[str, ...]
    lengths: list[int]
    collators: dict[str, Any]
    rows: dict[str, list[dict[str, Any]]]
    left_out: dict[str, str]


def t5_job(rng, steps, tiny, kind):
    size, length, inputs, targets = (4, 40, 37, 9) if tiny else (128, 568, 512, 114)
    tokenizer = t5_tokenizer()
    small = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2} if tiny else {}
    model = partial(T5ForConditionalGeneration, T5Config(vocab_size=32128, decoder_start_token_id=0, **small))
    rows = t5_rows(rng, size * steps, length)
    collators = t5_collators(tokenizer, inputs, targets)
    examples = [{"input_ids": kind(row)} for row in rows]
    for collator in collators.values():
        check_t5(collator(examples[:size]), rows[:size], tokenizer, inputs, targets)
    # The Flax example's collator makes no attention mask, and these rows need none: the model does the same work for both.
    keys = ("input_ids", "labels")
    return Job("T5", model, size, keys, [length] * len(rows), collators, dict.fromkeys(collators, examples), {})


def decoder_job(rng, steps, tiny, kind):
    size, shortest, longest = (4, 20, 40) if tiny else (8, 1024, 2048)
    shape = (16, 32, 1, 2, 1) if tiny else (2048, 8192, 16, 32, 8)
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    config = LlamaConfig(vocab_size=32000, tie_word_embeddings=True, **dict(zip(names, shape, strict=True)))
    rows, labels = chat_rows(rng, size * steps, shortest, longest)
    made = chat_collators(fetch=False)
    collators = {name: collator for name, collator in made.items() if not isinstance(collator, str)}
    examples = [{"input_ids": kind(row)} for row in rows]
    finished = [{**example, "labels": kind(np.array(row))} for example, row in zip(examples, labels, strict=True)]
    of = {name: finished if name == TRL else examples for name in collators}
    for name, collator in collators.items():
        check_chat(collator(of[name][:size]), rows[:size], labels[:size])
    left_out = {name: collator for name, collator in made.items() if isinstance(collator, str)}
    keys = ("input_ids", "attention_mask", "labels")
    return Job("decoder", partial(LlamaForCausalLM, config), size, keys, [*map(len, rows)], collators, of, left_out)


def training_step(model):
    """A function that trains on one batch. It does not read the loss, so that the host can run ahead of the device."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=model.device.type == "cuda")

    def step(inputs):
        model(**inputs, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def to_device(batch, keys, device):
    return {key: batch[key].to(device, non_blocking=True) for key in keys}


def feed(job, name, workers, pin):
    """A DataLoader with the rows and the collator of this name."""
    collator = job.collators[name]
    if hasattr(collator, "set_epoch"):
        collator.set_epoch(collator.epoch + 1)
    # fork, whatever the default of this Python version is: the collator from TRL's old wheel cannot be pickled.
    context = "fork" if workers else None
    return DataLoader(
        job.rows[name],
        batch_size=job.batch,
        collate_fn=collator,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context=context,
    )


def block(job, step, batches, device, clock, warm):
    """Trains on all batches, the first `warm` of them untimed.

    Tokens per second count from the end of the last untimed step, by the device's clock. Waits and stalls are means: a DataLoader with
    workers is rarely late, but then by a lot, which a median would not show.
    """
    batches = iter(batches)
    end = clock.mark()
    steps = []
    for _ in range(len(job.lengths) // job.batch):
        began = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - began
        # A GPU passes this mark when the previous step is done and the host has fetched a batch, whichever is later.
        fetched = clock.mark()
        inputs = to_device(batch, job.keys, device)
        copied = clock.mark()
        step(inputs)
        last, end = end, clock.mark()
        steps.append((waited, last, fetched, copied, end))
    timed = steps[warm:]
    seconds = clock.seconds(timed[0][1], timed[-1][-1])
    return {
        "tokens_per_second": sum(job.lengths[warm * job.batch :]) / seconds,
        "step": seconds / len(timed),
        "wait": mean(waited for waited, *_ in timed),
        "stall": mean(clock.seconds(last, fetched) for _, last, fetched, *_ in timed),
        "copy": mean(clock.seconds(fetched, copied) for _, _, fetched, copied, _ in timed),
    }


def say(line):
    print(line, file=sys.stderr, flush=True)


def measure(job, device, options):
    """Runs every way to feed one model once per round, until rounds or time are used up. Yields all results after each round."""
    began = time.monotonic()
    torch.manual_seed(0)
    with torch.device(device):
        model = job.model().to(torch.bfloat16).train()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    say(f"{job.name}: {parameters:,} parameters on {device}")
    step = training_step(model)
    clock = GpuClock() if device == "cuda" else HostClock()
    resident = [to_device(batch, job.keys, device) for batch in feed(job, OURS, 0, False)]
    block(job, step, resident, device, clock, 0)  # each batch width once, so that memory is allocated and kernels are chosen
    ways = [(RESIDENT, 0, False)]
    ways += [(name, workers, pin) for name in job.collators for workers in options.workers for pin in (False, True)]
    rounds = {way: [] for way in ways}
    for number in range(1, options.rounds + 1):
        round_began = time.monotonic()
        for name, workers, pin in ways:
            batches = resident if name == RESIDENT else feed(job, name, workers, pin)
            rounds[name, workers, pin].append(block(job, step, batches, device, clock, options.warm))
        now = time.monotonic()
        say(f"{job.name}: round {number} of {options.rounds}, {now - round_began:.1f} s")
        yield {
            "model": job.name,
            "parameters": parameters,
            "batch": job.batch,
            "tokens": sum(job.lengths),
            "left_out": job.left_out,
            "results": [
                {"collator": name, "workers": workers, "pin_memory": pin, "median": medians(got), "rounds": got}
                for (name, workers, pin), got in rounds.items()
            ],
        }
        if number < options.rounds and now + (now - round_began) > began + options.seconds:
            say(f"{job.name}: no time is left for another round")
            return


def medians(rounds):
    return {key: median(got[key] for got in rounds) for key in rounds[0]}


def about(device, options):
    """The machine, the versions and the options of this run."""
    versions = {}
    for package in ("torch", "transformers", "numpy", "spanmask", "trl"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # spanmask in a source tree has no version either
            versions[package] = None
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "cuda": torch.version.cuda if device == "cuda" else None,
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "versions": versions,
        "tiny": options.tiny,
        "steps": options.steps,
        "warm": options.warm,
        "rows": options.rows,
    }


def markdown(report):
    """A table for each model."""
    where = report["about"]
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items() if number)
    cuda = f", CUDA {where['cuda']}" if where["cuda"] else ""
    parts = [
        f"{where['device']}{cuda}, {where['cpus']} CPU cores; Python {where['python']}, {versions}. Rows are {where['rows']}; medians of "
        f"blocks of {where['steps']} steps after {where['warm']} untimed ones, alternating between the ways to feed a model. "
        "Tokens are those of the rows, without padding; times are means per step."
    ]
    if where["device"] == "cpu":
        parts.insert(0, f"**{NOT_A_GPU}**")
    for job in report["jobs"]:
        blocks = len(job["results"][0]["rounds"])
        lines = [
            f"**{job['model']}**, {job['parameters']:,} parameters, {job['batch']} rows per step, {blocks} block{'s' * (blocks > 1)} each:",
            "",
            "| collator | workers | pinned | tokens per second | step, ms | wait, ms | stall, ms | copy, ms |",
            "|---|---:|---|---:|---:|---:|---:|---:|",
        ]
        for result in job["results"]:
            got = result["median"]
            name = result["collator"]
            how = ("", "") if name == RESIDENT else (str(result["workers"]), "yes" if result["pin_memory"] else "no")
            name = name if name == RESIDENT else f"`{name}`"
            times = " | ".join(f"{got[key] * 1e3:.2f}" for key in ("step", "wait", "stall", "copy"))
            lines.append(f"| {name} | {' | '.join(how)} | {got['tokens_per_second']:,.0f} | {times} |")
        lines += [f"\n`{name}`: {why}." for name, why in job["left_out"].items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def main(arguments=None):
    """Measures, or writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the measurements to this file, after each round")
    parser.add_argument("--page", type=Path, help="do not measure: write the tables of this file into the page")
    parser.add_argument("--into", type=Path, default=PAGE, help="the page (%(default)s)")
    parser.add_argument("--tiny", action="store_true", help="train tiny models; always the case without CUDA")
    parser.add_argument("--jobs", nargs="+", choices=("T5", "decoder"), default=["T5", "decoder"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 2])
    parser.add_argument("--rows", choices=("lists", "arrays"), default="lists", help="the type of a row's ids (%(default)s)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps per block (%(default)s)")
    parser.add_argument(
        "--warm", type=int, default=8, help="untimed steps before them: more than the workers fetch ahead (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="the most blocks for each way to feed a model (%(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=220, help="time for each model: no round starts that would end later (%(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.page:
        report = json.loads(options.page.read_text())
        if report["about"]["device"] == "cpu" or report["about"]["tiny"]:
            parser.error(f"--page: {options.page} was measured without a GPU or with tiny models, which the page does not show.")
        write_part(options.into, Path(__file__).name, markdown(report))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options.tiny = options.tiny or device == "cpu"
    if device == "cpu":
        say(NOT_A_GPU)
        torch.set_num_threads(1)  # on a busy machine two threads take ten times as long
        warnings.filterwarnings("ignore", "'pin_memory' argument is set as true but no accelerator is found")
    report = {"about": about(device, options), "jobs": []}
    for name in options.jobs:
        kind = np.ndarray.tolist if options.rows == "lists" else np.asarray
        make = t5_job if name == "T5" else decoder_job
        job = make(np.random.default_rng(0), options.warm + options.steps, options.tiny, kind)
        for peer, why in job.left_out.items():
            say(f"{peer}: {why}")
        done = report["jobs"]
        for measured in measure(job, device, options):
            report["jobs"] = [*done, measured]
            if options.out:  # after each round, so that an interrupted run leaves its results
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(report, indent=1))
    print(markdown(report))


if __name__ == "__main__":
    main()
