"""Masking: find the turns, write the labels. spanmask, a memory copy of the same ids, TRL's removed collator, a Python loop."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from chats import EOS, FORMAT, chat_format, chat_rows
from peers import REMOVED_TRL, completion_only_masking, loop_labels
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, mask_labels, reference
from timing import LONGER, ROWS, TOKENS, TYPICAL, alternate, compare, copies, copies_by_two, fewer, with_typical

SHAPES = [(8, 2048), (32, 8192)]
TURNS = 4
TURN = 256  # tokens per turn where another property is varied
# What the removed collator needs from a tokenizer. These batches have no padding, so any id will do.
TOKENIZER = SimpleNamespace(pad_token_id=0, eos_token_id=EOS)


def expected(ids, fmt, policy):
    return np.array([reference.mask_labels(row.tolist(), fmt, policy) for row in ids])


@pytest.fixture(scope="module")
def batches():
    """One batch for each shape."""
    made = {}
    for shape in SHAPES:
        ids = chat_rows(*shape, TURNS)
        made[shape] = SimpleNamespace(
            ids=ids, tensor=torch.from_numpy(ids), mask=torch.ones(shape), expected=expected(ids, FORMAT, MaskPolicy())
        )
    return made


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "{}x{}".format(*shape))
def test_labels(bench, batches, shape):
    batch = batches[shape]
    completion_only = completion_only_masking(TOKENIZER)
    engines = {
        "spanmask": lambda: mask_labels(batch.ids, FORMAT).labels,
        REMOVED_TRL: lambda: completion_only(batch.tensor),
        "rewritten:loop": lambda: loop_labels(batch.tensor, batch.mask),
    }
    for run in engines.values():
        np.testing.assert_array_equal(run(), batch.expected)
    engines["memcpy"] = copies([batch.ids])  # the floor; computes no labels
    compare(bench(f"labels/{shape[0]}x{shape[1]}/int64/{TURNS}-turns", "spanmask"), engines)


@pytest.fixture(scope="module")
def typical(timed):
    ids = of_turns()(*(TYPICAL if timed else fewer(*TYPICAL)))
    return lambda: mask_labels(ids, FORMAT)


@pytest.fixture
def flat(bench, timed, typical):
    """Times masking, alternating with typical rows and a copy. `made`: shape -> ids. A smaller batch is compared with the reference."""

    def time(made, shape, case, fmt=FORMAT, policy=None, **about):
        policy = MaskPolicy() if policy is None else policy
        few = made(*fewer(*shape))
        np.testing.assert_array_equal(mask_labels(few, fmt, policy).labels, expected(few, fmt, policy))
        ids = made(*shape) if timed else few
        benchmark = bench(f"labels/{shape[0]}x{shape[1]}/int64/{case}", "spanmask", tokens=ids.size, **about)
        with_typical(benchmark, lambda: mask_labels(ids, fmt, policy), typical, [ids])

    return time


def of_turns(turns=None):
    """Makes rows with this many turns; by default, turns of `TURN` tokens."""
    return lambda rows, length: chat_rows(rows, length, turns or max(1, length // TURN))


@pytest.mark.parametrize("rows", ROWS)
def test_cost_over_shapes(flat, rows):
    length = TOKENS // rows
    axes = {"rows": rows} | ({"turns": length // TURN, "markers": 3} if (rows, length) == TYPICAL else {})
    flat(of_turns(), (rows, length), f"{length // TURN}-turns", axes=axes)


@pytest.mark.parametrize("turns", [1, 4, 64, 256])
def test_cost_over_turns(flat, turns):
    flat(of_turns(turns), TYPICAL, f"{turns}-turns", axes={"turns": turns})


@pytest.mark.parametrize("markers", [1, 4, 8, 16, 64])
def test_cost_over_markers(flat, markers):
    flat(of_turns(), TYPICAL, f"{markers}-markers", chat_format(markers), axes={"markers": markers})


def starts(*markers):
    """A format in which each of these markers opens an answer."""
    return ChatFormat([RoleBoundary("assistant", markers, [EOS])])


LONG = 32
LONG_MARKERS = [(*[5] * (LONG - 1), last) for last in range(6, 22)]
# (ids that each row repeats, format, policy). Each makes some naive search quadratic in the row, or slow on every token.
ADVERSARIAL = {
    "every-token-a-first": ([5], FORMAT, {}),
    "every-token-a-turn": ([5], starts([5]), {}),
    "empty-turns": ([5, 6, 9, EOS], FORMAT, {}),
    "one-long-marker-almost": ([5], starts(LONG_MARKERS[0]), {}),
    "16-long-markers-almost": ([5], starts(*LONG_MARKERS), {}),
    "nested-markers": ([5], starts(*([5] * length for length in (2, 4, 8, 16, 32))), {}),
    "every-token-ignored": ([5, 6, 9, *[99] * (TURN - 3)], FORMAT, {"ignore_ids": [99]}),
    "regions-that-never-close": ([5, 6, 9, *[98] * (TURN - 3)], FORMAT, {"ignore_between": [([98], [97])]}),
    "regions-that-close-at-once": ([5, 6, 9, *[98, 97] * (TURN // 2 - 2), EOS], FORMAT, {"ignore_between": [([98], [97])]}),
}


@pytest.mark.parametrize("shape", [TYPICAL, LONGER], ids=["typical", "longer"])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial(flat, case, shape):
    repeated, fmt, policy = ADVERSARIAL[case]

    def made(rows, length):
        return np.resize(np.array(repeated), (rows, length))

    flat(made, shape, f"adversarial:{case}", fmt, MaskPolicy(**policy), adversarial=case)


def test_one_call(bench):
    ids = chat_rows(1, 16, 2)
    np.testing.assert_array_equal(mask_labels(ids, FORMAT).labels, expected(ids, FORMAT, MaskPolicy()))
    bench("labels/1x16/int64/one-call", "spanmask")(mask_labels, ids, FORMAT)


def test_threads(bench, timed):
    """int32 ids: 64M tokens are 256 MiB, their int64 labels 512 MiB."""
    shape = (8192, 8192)
    ids = chat_rows(*fewer(*shape), TURNS, "int32")
    one, two = (mask_labels(ids, FORMAT, num_threads=threads).labels for threads in (1, 2))
    np.testing.assert_array_equal(one, two)
    if timed:
        ids = chat_rows(*shape, TURNS, "int32")
        one = mask_labels(ids, FORMAT).labels
    outputs = [one]
    others = {
        "spanmask:1-thread": lambda: mask_labels(ids, FORMAT),
        "memcpy": copies(outputs),
        "memcpy:2-threads": copies_by_two(outputs),
    }
    benchmark = bench("labels/8192x8192/int32/threads", "spanmask:2-threads", tokens=ids.size)
    alternate(benchmark, lambda: mask_labels(ids, FORMAT, num_threads=2), others, rounds=7)
