"""The raw stream compared with NumPy and the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask.reference import philox
from support.denoising import seeds

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rng.json").read_text())


@given(seed=seeds, key=seeds, epoch=seeds, purpose=st.integers(0, 4))
def test_stream_equals_numpys(seed, key, epoch, purpose):
    ours = philox.stream(seed, epoch, key, purpose)
    numpys = np.random.Philox(key=seed | key << 64, counter=epoch << 128 | purpose << 192)
    assert [ours.next_u64() for _ in range(9)] == numpys.random_raw(9).tolist()


def test_halves_equal_numpys():
    ours, numpys = philox.stream(1, 2, 3, 0), np.random.Philox(key=1 | 3 << 64, counter=2 << 128)
    ctypes_next = numpys.ctypes.next_uint32
    assert [ours.next_u32() for _ in range(9)] == [ctypes_next(numpys.ctypes.state_address) for _ in range(9)]


def test_halves_are_the_raw_words_in_memory():
    ours, numpys = philox.stream(1, 2, 3, 0), np.random.Philox(key=1 | 3 << 64, counter=2 << 128)
    parts = numpys.random_raw(9).astype("<u8").view("<u4").tolist()
    assert [ours.next_u32() for _ in parts] == parts


@pytest.mark.parametrize("case", VECTORS["philox"])
def test_stream_is_pinned(case):
    stream = philox.stream(*(int(case[name]) for name in ("seed", "epoch", "key", "purpose")))
    assert [stream.next_u64() for _ in case["words"]] == [int(word) for word in case["words"]]
