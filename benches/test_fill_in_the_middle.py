"""Fill-in-the-middle: a whole call of a collator on packed samples. spanmask, and a collator around what Megatron-LM does on tokens."""

from itertools import count

import numpy as np
import pytest
import torch
from spanmask import DataCollatorForFillInTheMiddle, FillInTheMiddle, fill_in_the_middle
from spanmask.ragged import Ragged
from support.megatron_fim import megatron_sample, random_decisions
from support.vocabularies import tokenizer_of
from timing import compare, copies, in_bursts, in_new_epochs

ROWS, LENGTH, DOCUMENT = 64, 2048, 400
NAMES = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_of("byte_level", NAMES)


@pytest.fixture(scope="module")
def samples(tokenizer):
    """Packed documents, whose lengths have a geometric distribution; no EOS follows another one, which Megatron-LM would drop."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 400, size=(ROWS, LENGTH))
    ends = rng.random(made.shape) < 1 / DOCUMENT
    ends[:, 0] = False
    ends[:, 1:] &= ~ends[:, :-1]
    made[ends] = tokenizer.eos_token_id
    return made


def spec_of(tokenizer):
    return FillInTheMiddle.from_tokenizer(tokenizer, length="cut", boundary_ids=[tokenizer.eos_token_id])


def megatron_collator(spec, eod):
    rng = np.random.RandomState(0)
    ids = (spec.prefix_id, spec.middle_id, spec.suffix_id)
    decide = random_decisions(rng, spec.rate, spec.spm_rate)

    def collate(examples):
        rows = [megatron_sample(np.asarray(example["input_ids"]), decide, ids, eod, spec.pad_id) for example in examples]
        batch = torch.from_numpy(np.stack(rows))
        return {"input_ids": batch, "attention_mask": torch.ones_like(batch), "labels": batch.clone()}

    return collate


def check(samples, spec, eod):
    """Equal outputs for equal decisions."""
    out = fill_in_the_middle(samples, spec, seed=1)
    ids = (spec.prefix_id, spec.middle_id, spec.suffix_id)
    for sample, made, splits in zip(samples, out.input_ids, out.splits.to_list(), strict=True):

        def decide(number, document, splits=splits):
            split = splits[number] if number < len(splits) else None
            return split and (split[0] == "spm", *split[1:])

        assert np.array_equal(megatron_sample(sample, decide, ids, eod, spec.pad_id), made)


@pytest.mark.parametrize("kind", ["numpy-rows", "lists"])
def test_collator(bench, tokenizer, samples, kind):
    spec, eod = spec_of(tokenizer), tokenizer.eos_token_id
    check(samples, spec, eod)
    examples = [{"input_ids": row if kind == "numpy-rows" else row.tolist()} for row in samples]
    ours = DataCollatorForFillInTheMiddle(tokenizer, spec=spec, seed=0, on_repeat="ignore")
    theirs, epochs = megatron_collator(spec, eod), count()

    def run():
        ours.set_epoch(next(epochs))
        return ours(examples)

    engines = {"spanmask": run, "rewritten:megatron": lambda: theirs(examples)}
    for engine in engines.values():
        batch = engine()
        assert batch["input_ids"].shape == batch["labels"].shape == (ROWS, LENGTH)
        assert (batch["attention_mask"] == 1).all()
    compare(bench(f"fill-in-the-middle-collator/{ROWS}x{LENGTH}/int64/{kind}", "spanmask"), engines)


def test_fill_in_the_middle(bench, tokenizer, samples):
    spec, rows = spec_of(tokenizer), Ragged.from_rows(samples)
    out = fill_in_the_middle(rows, spec)
    engines = {
        "spanmask": in_new_epochs(fill_in_the_middle, rows, spec),
        "memcpy": copies([out.input_ids.values, out.labels.values]),
    }
    in_bursts(bench(f"fill-in-the-middle/{ROWS}x{LENGTH}/int64/packed", "spanmask", tokens=rows.values.size), engines)
