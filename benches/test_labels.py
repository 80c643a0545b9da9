"""Masking: where are the turns, which tokens train. Ours, a memory copy of the same ids, TRL's removed collator, the first story's."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peers import ASSISTANT, EOS, USER, completion_only_masking, loop_labels
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, mask_labels, reference

FORMAT = ChatFormat([RoleBoundary("assistant", ASSISTANT, [EOS]), RoleBoundary("user", USER)])
SHAPES = [(8, 2048), (32, 8192)]
TURNS = 4
# What the removed collator wants of a tokenizer: no padding in these batches, so any id will do.
TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=EOS)


@pytest.fixture(scope="module")
def batches():
    """One batch a shape: `ids` int64, questions and answers of random tokens, every answer closed by EOS; `expected` labels."""
    made = {}
    for rows, length in SHAPES:
        ids = np.random.default_rng(0).integers(10, 32000, (rows, length))
        size = length // TURNS
        for turn in range(TURNS):
            ids[:, turn * size : turn * size + 3] = ASSISTANT if turn % 2 else USER
            if turn % 2:
                ids[:, (turn + 1) * size - 1] = EOS
        expected = np.array([reference.mask_labels(row.tolist(), FORMAT, MaskPolicy()) for row in ids])
        made[rows, length] = SimpleNamespace(
            ids=ids, tensor=torch.from_numpy(ids), mask=torch.ones(rows, length), expected=expected
        )
    return made


def engines(batch):
    """Name -> a call that returns labels; `memcpy` is the floor and computes none."""
    into = np.empty_like(batch.ids)
    completion_only = completion_only_masking(TOKENIZER)
    return {
        "memcpy": lambda: np.copyto(into, batch.ids),
        "memcpy:allocated": lambda: batch.ids.copy(),
        "spanmask": lambda: mask_labels(batch.ids, FORMAT).labels,
        "trl-0.19": lambda: completion_only(batch.tensor),
        "rewritten:loop": lambda: loop_labels(batch.tensor, batch.mask),
    }


@pytest.mark.parametrize("engine", ["memcpy", "memcpy:allocated", "spanmask", "trl-0.19", "rewritten:loop"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}".format(*shape))
def test_labels(benchmark, batches, shape, engine):
    benchmark.group = f"labels/{shape[0]}x{shape[1]}/int64/{TURNS}-turns"
    benchmark.extra_info["engine"] = engine
    batch = batches[shape]
    run = engines(batch)[engine]
    if not engine.startswith("memcpy"):
        np.testing.assert_array_equal(run(), batch.expected)  # equal first, fast second
    benchmark(run)
