"""Span corruption: the kernel, and a whole collator call. Ours, a memory copy of inputs and outputs, the example script's collator."""

import numpy as np
import pytest
from denoising import t5_tokenizer
from flax_script import FlaxScriptCollator
from spanmask import DataCollatorForSpanCorruption, SpanCorruption, corrupt, reference
from spanmask.compat.flax_t5 import FlaxDataCollatorForT5MLM
from spanmask.ragged import Ragged

ROWS, LENGTH, INPUTS, TARGETS = 128, 568, 512, 114
VOCABULARY = 32000


@pytest.fixture(scope="module")
def tokenizer():
    return t5_tokenizer([f"w{number}" for number in range(VOCABULARY - 3)])


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(3, VOCABULARY, size=(ROWS, LENGTH))


def collators(tokenizer):
    """Name -> collator."""
    lengths = {"input_length": INPUTS, "target_length": TARGETS}
    return {
        "spanmask": DataCollatorForSpanCorruption(tokenizer, seed=0, on_repeat="ignore"),
        "spanmask:compat.flax_t5": FlaxDataCollatorForT5MLM(tokenizer, 0.15, 3.0, **lengths),
        "rewritten:flax-script": FlaxScriptCollator(tokenizer, 0.15, 3.0, INPUTS, TARGETS, 0, 0),
    }


@pytest.mark.parametrize("engine", ["spanmask", "spanmask:compat.flax_t5", "rewritten:flax-script"])
@pytest.mark.parametrize("kind", ["numpy-rows", "lists"])
def test_collator(benchmark, tokenizer, ids, kind, engine):
    benchmark.group = f"span-corruption-collator/{ROWS}x{LENGTH}/int64/{kind}"
    benchmark.extra_info["engine"] = engine
    examples = [{"input_ids": row if kind == "numpy-rows" else row.tolist()} for row in ids]
    batch = collators(tokenizer)[engine](examples)
    # Each draws masks of its own: the same lengths, the row on both sides, as many sentinels in the same order.
    assert batch["input_ids"].shape == (ROWS, INPUTS)
    assert batch["labels"].shape == (ROWS, TARGETS)
    sentinels = range(len(tokenizer) - 1, len(tokenizer) - 101, -1)
    for row, inputs, labels in zip(ids.tolist(), batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert reference.merge(inputs, labels, sentinels, eos=1) == row
    benchmark(collators(tokenizer)[engine], examples)


@pytest.mark.parametrize("engine", ["memcpy", "spanmask", "spanmask:2-threads"])
@pytest.mark.parametrize(("rows", "length"), [(128, 568), (16384, 568), (8, 8192), (1, 16)])
@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_corrupt(benchmark, rows, length, dtype, engine):
    benchmark.group = f"corrupt/{rows}x{length}/{dtype}/t5"
    benchmark.extra_info["engine"] = engine
    values = np.random.default_rng(0).integers(3, 32000, size=rows * length).astype(dtype)
    ragged = Ragged(values, np.arange(rows + 1) * length)
    spec = SpanCorruption(range(40000, 36000, -1), 1)
    out = corrupt(ragged, spec)
    if engine == "memcpy":
        into = np.empty(len(out.input_ids.values) + len(out.labels.values), np.int64)
        source = np.concatenate([out.input_ids.values, out.labels.values])
        benchmark(np.copyto, into, source)
        return
    inputs, labels = reference.corrupt(ragged[0].tolist(), spec)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == (inputs, labels)
    benchmark(corrupt, ragged, spec, num_threads=2 if "2" in engine else 1)
