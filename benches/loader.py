"""Measure a `DataLoader` with each collator: tokens per second without workers, core-hours, cores for a training rate.

    python benches/loader.py     # about a minute; writes docs/reference/feeding.md and target/loader.json

Only the text between this script's marks on the page is written; the rest of the page is kept.
"""

import argparse
import gc
import json
import math
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import datasets
import numpy as np
import torch
import transformers
from feeding import (
    COMPLETION_ONLY,
    FLAX,
    OURS,
    PAGE,
    ROOT,
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
from pytest_benchmark.plugin import pytest_benchmark_generate_machine_info
from report import machine
from results import describe
from spanmask import DataCollatorForMaskedLM
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler
from transformers import DataCollatorForLanguageModeling

LISTS, NUMPY, DATASETS, NUMPY_FORMAT, ARROW_FORMAT = "lists", "NumPy", "datasets", "datasets, numpy", "datasets, arrow"
KINDS = (LISTS, NUMPY, DATASETS, NUMPY_FORMAT, ARROW_FORMAT)
TRANSFORMERS, ALONE = f"transformers-{transformers.__version__}", "rows alone"
RATES = (20_000, 100_000, 1_000_000)  # tokens per second that a training takes; the page says that these are assumptions
TRILLION = 10**12
WORDS = 10_000


@dataclass
class Job:
    """A kind of training: its rows, and for each collator the columns that it reads, with one array per row."""

    name: str
    title: str
    about: str
    batch: int
    tokens: int
    collators: dict[str, Any]
    columns: dict[str, dict[str, list[np.ndarray]]]
    check: Any


def chat_job(rng, batches):
    size = 8
    rows, labels = chat_rows(rng, size * batches, 1024, 2048)
    collators = chat_collators(fetch=True)
    columns = {name: {"input_ids": rows} for name in collators}
    columns[TRL] = {"input_ids": rows, "labels": [np.array(row) for row in labels]}
    return Job(
        "chat",
        f"Chat, {size} rows of 1,024 to 2,048 tokens",
        f"`{OURS}` and `{COMPLETION_ONLY}` (TRL's removed completion-only collator) find the answers in the ids; `{TRL}` is given a column "
        "of finished labels, and the time to make these is not included.",
        size,
        sum(map(len, rows)),
        collators,
        columns,
        lambda batch: check_chat(batch, rows[:size], labels[:size]),
    )


def t5_job(rng, batches):
    size, length, inputs, targets = 128, 568, 512, 114
    tokenizer = t5_tokenizer()
    rows = t5_rows(rng, size * batches, length)
    collators = t5_collators(tokenizer, inputs, targets)
    return Job(
        "T5",
        f"T5 span corruption, {size} rows of {length} tokens",
        f"`{FLAX}` is the collator of transformers' Flax example and of nanoT5, reimplemented from its description.",
        size,
        size * batches * length,
        collators,
        {name: {"input_ids": rows} for name in collators},
        lambda batch: check_t5(batch, rows[:size], tokenizer, inputs, targets),
    )


def masked_rows(rng, tokenizer, count, length):
    """Rows between [CLS] and [SEP], the tokens that continue a word, and character offsets as a tokenizer gives them."""
    rows = rng.integers(5, len(tokenizer), (count, length))
    rows[:, 0], rows[:, -1] = tokenizer.cls_token_id, tokenizer.sep_token_id
    rows[:, 1] = rng.integers(5, 5 + WORDS, count)
    continuing = rows >= 5 + WORDS
    starts = np.cumsum(np.where(continuing, 1, 2), axis=1)
    return rows, continuing, np.stack([starts, starts + 1], axis=2)


def check_masks(batch, rows, continuing, mask_token_id, mask_replace_prob):
    """Labels are the ids of chosen tokens, and other tokens are unchanged. Special tokens are never chosen, words only as a whole, 15 % of
    them within 5 sigma; the same for the fraction of chosen tokens that becomes the mask.
    """
    chosen = batch["labels"].numpy() != -100
    assert (np.where(chosen, batch["labels"], batch["input_ids"]) == rows).all()
    assert not chosen[:, [0, -1]].any()
    assert (chosen[:, 1:] == chosen[:, :-1])[continuing[:, 1:]].all()
    words = ~continuing[:, 1:-1]
    count = int(words.sum())
    assert abs(int(chosen[:, 1:-1][words].sum()) - 0.15 * count) < 5 * math.sqrt(count * 0.15 * 0.85)
    masked, count = int((batch["input_ids"].numpy()[chosen] == mask_token_id).sum()), int(chosen.sum())
    assert abs(masked - mask_replace_prob * count) <= 5 * math.sqrt(count * mask_replace_prob * (1 - mask_replace_prob))


def masked_job(rng, batches, whole_word_mask):
    from support.denoising import bert_tokenizer

    size, length = 128, 512
    if whole_word_mask:
        # transformers compares each token of a row with every other one: a pass over as many tokens would take seconds.
        size, batches = 32, -(-batches // 4)
    tokenizer = bert_tokenizer(WORDS)
    rows, continuing, offsets = masked_rows(rng, tokenizer, size * batches, length)
    special = np.zeros_like(rows)
    special[:, [0, -1]] = 1
    theirs = {"input_ids": list(rows), "special_tokens_mask": list(special)}
    if whole_word_mask:
        theirs["offset_mapping"] = list(offsets)
    options = {"whole_word_mask": True, "mask_replace_prob": 1.0, "random_replace_prob": 0.0} if whole_word_mask else {}
    inside = continuing[:size] if whole_word_mask else np.zeros_like(continuing[:size])
    return Job(
        "whole words" if whole_word_mask else "masked LM",
        f"{'Masked LM, whole words' if whole_word_mask else 'Masked LM'}, {size} rows of {length} tokens",
        f"`{TRANSFORMERS}` is given a finished column `special_tokens_mask`"
        + (
            f" and recognizes words by the column `offset_mapping`, `{OURS}` by token ids. All chosen tokens become the mask token."
            if whole_word_mask
            else ", as in its examples."
        ),
        size,
        rows.size,
        {
            OURS: DataCollatorForMaskedLM(tokenizer, seed=0, **options),
            TRANSFORMERS: DataCollatorForLanguageModeling(tokenizer, **options),
        },
        {OURS: {"input_ids": list(rows)}, TRANSFORMERS: theirs},
        lambda batch: check_masks(batch, rows[:size], inside, tokenizer.mask_token_id, options.get("mask_replace_prob", 0.8)),
    )


def dataset_of(kind, columns):
    """A dataset of rows, each as a user has it."""
    names = list(columns)
    if kind == NUMPY:
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    lists = {name: [row.tolist() for row in column] for name, column in columns.items()}
    if kind == LISTS:
        return [dict(zip(names, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    dataset = datasets.Dataset.from_dict(lists)
    return dataset if kind == DATASETS else dataset.with_format(kind.split()[-1])


def loader_of(kind, dataset, batch, collator, shuffle):
    """A DataLoader without workers."""
    if kind == ARROW_FORMAT:  # a batch is one table: the dataset is asked for all rows of a batch at once
        sampler = (RandomSampler if shuffle else SequentialSampler)(dataset)
        return DataLoader(dataset, batch_size=None, sampler=BatchSampler(sampler, batch, drop_last=True), collate_fn=collator)
    return DataLoader(dataset, batch_size=batch, shuffle=shuffle, collate_fn=collator)


def unchanged(examples):
    return examples


def advance(collator):
    """Sets the next epoch before a pass, for collators that have epochs."""
    if hasattr(collator, "set_epoch"):
        collator.set_epoch(collator.epoch + 1)


def tokens_per_second(job, loader, seconds):
    """Measures whole shuffled passes that take at least `seconds`."""
    passes, began = 0, time.perf_counter()
    while True:
        advance(loader.collate_fn)
        for _ in loader:
            pass
        passes += 1
        took = time.perf_counter() - began
        if took >= seconds:
            return passes * job.tokens / took


def measure(job, rounds, seconds):
    """Returns (kind of rows, collator) -> tokens per second in each round. Outputs are checked first; each round runs every pair once."""
    loaders = {}
    for kind in KINDS:
        made = {}  # collators that read the same columns have one dataset
        for name, collator in {**job.collators, ALONE: unchanged}.items():
            if kind == ARROW_FORMAT and name not in (OURS, ALONE):
                continue  # they do not accept a table
            columns = job.columns[OURS if name == ALONE else name]
            key = tuple(columns)
            dataset = made[key] = made[key] if key in made else dataset_of(kind, columns)
            if name != ALONE:
                advance(collator)
                job.check(next(iter(loader_of(kind, dataset, job.batch, collator, shuffle=False))))
            loaders[kind, name] = loader_of(kind, dataset, job.batch, collator, shuffle=True)
    # Otherwise each full garbage collection would visit hundreds of thousands of offsets, at the expense of collators that make lists.
    gc.collect()
    gc.freeze()
    rates = defaultdict(list)
    for _ in range(rounds):
        for cell, loader in loaders.items():
            rates[cell].append(tokens_per_second(job, loader, seconds))
    gc.unfreeze()
    return rates


def digits(number, count):
    """A number with this many significant digits, without an exponent; anything below 0.01 is only shown as such."""
    if number < 0.01:
        return "< 0.01"
    return f"{number:,.{max(count - 1 - math.floor(math.log10(number)), 0)}f}"


def table(head, lines, words):
    """A Markdown table whose first `words` columns are text and whose other columns are numbers."""
    rows = [head, [*["---"] * words, *["---:"] * (len(head) - words)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def throughput(job, rates):
    """A table for one job: a row for each kind of rows, a column for each collator."""
    names = [*job.collators, ALONE]
    head = ["rows", *(f"`{name}`" if name != ALONE else name for name in names)]
    lines = [
        [kind, *(digits(median(rates[kind, name]) / 1e6, 3) if (kind, name) in rates else "" for name in names)] for kind in KINDS
    ]
    return f"**{job.title}.** {job.about}\n\n{table(head, lines, 1)}"


def costs(results):
    """A table of each collator with the rows that `datasets` yields by default, and with those on which it is fastest."""
    head = ["job", "collator", "rows", "core-hours for 10^12", *(f"cores at {rate:,}" for rate in RATES)]
    lines = []
    for job, rates in results:
        for name in job.collators:
            of_kind = {kind: median(rates[kind, name]) for kind in KINDS if (kind, name) in rates}
            best = max(of_kind, key=of_kind.get)
            for kind in dict.fromkeys((DATASETS, best)):
                rate = of_kind[kind]
                cores = [digits(wanted / rate, 2) for wanted in RATES]
                lines.append([job.name, f"`{name}`", kind, digits(TRILLION / rate / 3600, 3), *cores])
    return table(head, lines, 3)


def verdicts(results):
    """Sentences that say who keeps up from one core, with the rows that `datasets` yields by default."""
    rates = sorted((median(rates[DATASETS, name]), name, job.name) for job, rates in results for name in job.collators)
    lines = []
    for wanted in RATES:
        cores = [(digits(wanted / rate, 2), f"{job} with `{name}`") for rate, name, job in rates if name != OURS]
        slow = sum(rate < wanted for rate, name, _ in rates if name != OURS)
        said = [f"{which} needs {number} cores" for number, which in cores[:slow]]
        if slow < len(cores):
            number, which = cores[slow]
            said.append(
                f"all {'other ' if slow else ''}programs keep up; the slowest of them, {which}, uses {number} of the core"
            )
        rate, _, job = next(of for of in rates if of[1] == OURS)
        said.append(f"`{OURS}` uses {digits(wanted / rate, 2)} of it in its slowest job, {job}")
        lines.append(f"- **{wanted:,} tokens per second**: {'; '.join(said)}.".replace("< ", "less than "))
    return "\n".join(lines)


def example(results):
    """The arithmetic, with numbers from the table."""
    name, wanted = FLAX, RATES[-1]
    rate = round(median(next(rates[DATASETS, name] for job, rates in results if name in job.collators)))
    return (
        f"The arithmetic, for `{name}` with *{DATASETS}* rows at {rate:,} tokens per second: 10^12 / {rate:,} / 3600 = "
        f"{digits(TRILLION / rate / 3600, 3)} core-hours; and {wanted:,} / {rate:,} = {digits(wanted / rate, 2)} cores."
    )


def main(arguments=None):
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each cell is timed; the median is reported (%(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=0.1, help="the shortest time of one measurement (%(default)s)")
    parser.add_argument("--batches", type=int, default=16, help="batches in one pass over the rows (%(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--json", type=Path, default=ROOT / "target" / "loader.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as in a worker; the question is what one core can do
    results = []
    for make in (chat_job, t5_job, lambda *about: masked_job(*about, False), lambda *about: masked_job(*about, True)):
        job = make(np.random.default_rng(0), options.batches)
        print(job.title, file=sys.stderr, flush=True)
        results.append((job, measure(job, options.rounds, options.seconds)))
    where = machine(describe(pytest_benchmark_generate_machine_info()))
    parts = [
        where,
        f"## Which collators keep up\n\nFrom one core, with the rows that `datasets` yields by default:\n\n{verdicts(results)}",
        "## Core-hours and cores",
        costs(results),
        example(results),
        "## Millions of tokens per second",
        *(throughput(job, rates) for job, rates in results),
    ]
    write_part(options.page, Path(__file__).name, "\n\n".join(parts))
    cells = [
        {"job": job.name, "rows": kind, "collator": name, "tokens_per_second": median(got), "rounds": got}
        for job, rates in results
        for (kind, name), got in rates.items()
    ]
    options.json.parent.mkdir(parents=True, exist_ok=True)
    settings = {name: getattr(options, name) for name in ("rounds", "seconds", "batches")}
    options.json.write_text(json.dumps({"machine": where, "settings": settings, "cells": cells}, indent=1))


if __name__ == "__main__":
    main()
