"""Span corruption: the function, and a whole call of a collator. spanmask, a copy of its outputs, the collator of the Flax example."""

from functools import partial
from itertools import count

import numpy as np
import pytest
from spanmask import DataCollatorForSpanCorruption, SpanCorruption, corrupt, reference
from spanmask.compat.flax_t5 import FlaxDataCollatorForT5MLM
from spanmask.ragged import Ragged
from support.denoising import t5_tokenizer
from support.flax_script import FlaxScriptCollator
from timing import (
    LONGER,
    ROWS,
    TOKENS,
    TYPICAL,
    alternate,
    compare,
    copies,
    copies_by_two,
    fewer,
    in_bursts,
    in_new_epochs,
    with_typical,
)

ROWS_T5, LENGTH, INPUTS, TARGETS = 128, 568, 512, 114
VOCABULARY = 32000
T5 = SpanCorruption(range(VOCABULARY, VOCABULARY + 100), 1)
SHORT = (2, 512)  # the shape that is compared with the reference


@pytest.fixture(scope="module")
def tokenizer():
    return t5_tokenizer([f"w{number}" for number in range(VOCABULARY - 3)])


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(3, VOCABULARY, size=(ROWS_T5, LENGTH))


def collators(tokenizer):
    """Name -> collator."""
    lengths = {"input_length": INPUTS, "target_length": TARGETS}
    return {
        "spanmask": DataCollatorForSpanCorruption(tokenizer, seed=0, on_repeat="ignore"),
        "spanmask:compat.flax_t5": FlaxDataCollatorForT5MLM(tokenizer, 0.15, 3.0, **lengths),
        "rewritten:flax-script": FlaxScriptCollator(tokenizer, 0.15, 3.0, INPUTS, TARGETS, 0, 0),
    }


def collate_in_new_epochs(collator, examples):
    """The script draws new noise in every call; this makes spanmask do so too."""
    epochs = count()

    def run():
        collator.set_epoch(next(epochs))
        return collator(examples)

    return run


@pytest.mark.parametrize("kind", ["numpy-rows", "lists"])
def test_collator(bench, tokenizer, ids, kind):
    examples = [{"input_ids": row if kind == "numpy-rows" else row.tolist()} for row in ids]
    engines = {}
    for engine, collator in collators(tokenizer).items():
        batch = collator(examples)
        # Each draws its own masks, so the lengths are compared, and inputs and labels must merge into the row.
        assert batch["input_ids"].shape == (ROWS_T5, INPUTS)
        assert batch["labels"].shape == (ROWS_T5, TARGETS)
        sentinels = range(len(tokenizer) - 1, len(tokenizer) - 101, -1)
        for row, inputs, labels in zip(ids.tolist(), batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
            assert reference.merge(inputs, labels, sentinels, eos=1) == row
        engines[engine] = partial(collator, examples) if engine != "spanmask" else collate_in_new_epochs(collator, examples)
    compare(bench(f"span-corruption-collator/{ROWS_T5}x{LENGTH}/int64/{kind}", "spanmask"), engines)


def some_rows(rows, length, dtype="int64"):
    values = np.random.default_rng(0).integers(3, VOCABULARY, size=rows * length, dtype=dtype)
    return Ragged(values, np.arange(rows + 1) * length)


def spec_for(length, sentinel_ids=None, **options):
    """As many sentinels as a row of this length can need, with ids above those in rows."""
    return SpanCorruption(sentinel_ids or range(VOCABULARY, VOCABULARY + length // 2 + 1), 1, **options)


def check(rows, spec):
    """Compares `corrupt` of the first row with the reference."""
    inputs, labels = reference.corrupt(rows[0].tolist(), spec)
    out = corrupt(rows, spec)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == (inputs, labels)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_corrupt(bench, dtype):
    rows = some_rows(ROWS_T5, LENGTH, dtype)
    check(rows, T5)
    out = corrupt(rows, T5)
    engines = {"spanmask": in_new_epochs(corrupt, rows, T5), "memcpy": copies([out.input_ids.values, out.labels.values])}
    in_bursts(bench(f"corrupt/{ROWS_T5}x{LENGTH}/{dtype}/t5", "spanmask", tokens=rows.values.size), engines)


@pytest.fixture(scope="module")
def typical(timed):
    rows, length = TYPICAL if timed else fewer(*TYPICAL)
    return in_new_epochs(corrupt, some_rows(rows, length), spec_for(length))


@pytest.fixture
def flat(bench, timed, typical):
    """Times corruption, alternating with typical rows and a copy of its outputs. A short row is first compared with the reference."""

    def time(shape, case, options=(), made=some_rows, **about):
        options = dict(options)
        check(made(*SHORT), spec_for(SHORT[1], **options))
        shape_now = shape if timed else fewer(*shape)
        rows, spec = made(*shape_now), spec_for(shape_now[1], **options)
        out = corrupt(rows, spec)
        benchmark = bench(f"corrupt/{shape[0]}x{shape[1]}/int64/{case}", "spanmask", tokens=rows.values.size, **about)
        with_typical(benchmark, in_new_epochs(corrupt, rows, spec), typical, [out.input_ids.values, out.labels.values])

    return time


@pytest.mark.parametrize("rows", ROWS)
def test_cost_over_shapes(flat, rows):
    shape = rows, TOKENS // rows
    axes = {"rows": rows} | ({"density": 0.15, "mean span": 3} if shape == TYPICAL else {})
    flat(shape, "t5", axes=axes)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5])
def test_cost_over_densities(flat, density):
    flat(TYPICAL, f"density-{density}", {"noise_density": density}, axes={"density": density})


@pytest.mark.parametrize("mean", [1, 8, 64])
def test_cost_over_span_lengths(flat, mean):
    flat(TYPICAL, f"mean-span-{mean}", {"mean_noise_span_length": float(mean)}, axes={"mean span": mean})


def some_documents(rows, length):
    """A document boundary, id 2, every 500 tokens."""
    made = some_rows(rows, length)
    made.values[::500] = 2
    return made


# (rows, options of the spec): what the ids of a row are, and which of them may be hidden.
ADVERSARIAL = {
    "one-id-everywhere": (lambda rows, length: Ragged(np.full(rows * length, 7), np.arange(rows + 1) * length), {}),
    "document-boundaries-protected": (some_documents, {"protected_ids": [2]}),
    "half-of-the-ids-protected": (some_rows, {"protected_ids": range(3, VOCABULARY, 2)}),
    "ids-between-sentinels": (
        some_rows,
        {"sentinel_ids": [1 << 20, *range(VOCABULARY, VOCABULARY + 7000), 2]},
    ),
}


@pytest.mark.parametrize("shape", [TYPICAL, LONGER], ids=["typical", "longer"])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial(flat, case, shape):
    made, options = ADVERSARIAL[case]
    flat(shape, f"adversarial:{case}", options, made, adversarial=case)


def test_one_call(bench):
    rows, spec = some_rows(1, 16), T5
    check(rows, spec)
    bench("corrupt/1x16/int64/one-call", "spanmask")(corrupt, rows, spec)


def test_threads(bench, timed):
    """int32 ids: 64M tokens are 256 MiB, their int64 inputs and targets 590 MiB."""
    shape = (8192, 8192)
    rows, spec = some_rows(*fewer(*shape), "int32"), spec_for(shape[1])
    one, two = (corrupt(rows, spec, num_threads=threads) for threads in (1, 2))
    assert one.input_ids == two.input_ids
    assert one.labels == two.labels
    if timed:
        rows = some_rows(*shape, "int32")
        one = corrupt(rows, spec)
    outputs = [one.input_ids.values, one.labels.values]
    others = {
        "spanmask:1-thread": in_new_epochs(corrupt, rows, spec),
        "memcpy": copies(outputs),
        "memcpy:2-threads": copies_by_two(outputs),
    }
    benchmark = bench("corrupt/8192x8192/int32/threads", "spanmask:2-threads", tokens=rows.values.size)
    alternate(benchmark, in_new_epochs(corrupt, rows, spec, num_threads=2), others, rounds=7)
