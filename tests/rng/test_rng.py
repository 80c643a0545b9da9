"""The raw stream, bounded integers and keys: against NumPy, the xxhash package, and the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from spanmask import SpanCorruption, corrupt
from spanmask.noise.row_options import as_keys
from spanmask.reference import bounded, philox
from spanmask.reference.key import name_key, row_key
from spanmask.reference.trials import successes
from support.denoising import seeds

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rng.json").read_text())
SPEC = SpanCorruption(range(1000, 900, -1), eos_token_id=1)


@given(seed=seeds, key=seeds, epoch=seeds, purpose=st.integers(0, 4))
def test_stream_is_that_of_numpy(seed, key, epoch, purpose):
    ours = philox.stream(seed, epoch, key, purpose)
    numpys = np.random.Philox(key=seed | key << 64, counter=epoch << 128 | purpose << 192)
    assert [ours.next_u64() for _ in range(9)] == numpys.random_raw(9).tolist()


def test_halves_are_those_of_numpy():
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


@pytest.mark.parametrize("case", VECTORS["below"])
def test_bounded_integers_are_pinned(case):
    stream = philox.stream(int(case["seed"]), 0, 0, 0)
    assert [bounded.below(stream, case["bound"]) for _ in case["values"]] == case["values"]


@pytest.mark.parametrize("case", VECTORS["trials"])
def test_trials_are_pinned(case):
    stream = philox.stream(int(case["seed"]), 0, 0, philox.CHOICE)
    assert successes(stream, bounded.threshold(case["probability"]), case["count"]) == case["successes"]


@pytest.mark.parametrize("case", VECTORS["keys"])
def test_keys_are_pinned(case):
    assert row_key(case["row"]) == int(case["key"])


@given(st.lists(st.text(max_size=400), min_size=1, max_size=3))
def test_keys_of_names_hash_their_utf8(names):
    assert as_keys(names, len(names)).tolist() == [name_key(name) for name in names]
    assert name_key(names[0]) == xxhash.xxh3_64_intdigest(names[0].encode())


@given(
    st.lists(st.lists(st.integers(2, 2**32 - 1).filter(lambda token: token not in SPEC.sentinel_ids), max_size=400), max_size=3)
)
def test_default_keys_hash_the_ids(rows):
    assert corrupt(rows, SPEC).keys.tolist() == [xxhash.xxh3_64_intdigest(np.array(row, "<u4").tobytes()) for row in rows]


def test_a_trailing_eos_is_no_part_of_the_key():
    keys = corrupt([[5, 6, 7], [5, 6, 7, 1], [5, 6, 7, 1, 1]], SPEC).keys
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([0, 1, -1], [0, 1, 2**64 - 1]),
        ([2**64 - 1, -(2**63), 7], [2**64 - 1, 2**63, 7]),
        (np.array([3, -3], np.int8), [3, 2**64 - 3]),
        (np.array([3, 4], np.uint16), [3, 4]),
        (["", "row-1", "ä"], [xxhash.xxh3_64_intdigest(text.encode()) for text in ("", "row-1", "ä")]),
        ([], []),
    ],
)
def test_keys_are_integers_or_names(keys, words):
    assert as_keys(keys, len(words)).tolist() == words


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ([1, 2], ValueError, "keys: 2 keys for 3 rows"),
        ("abc", TypeError, "keys: expected one integer or string for each row"),
        (5, TypeError, "keys: expected one integer"),
        ([1, "a", 2], TypeError, r"keys: row 1 has 'a' \(str\)"),
        (["a", 1, "b"], TypeError, r"keys: row 0 has 'a' \(str\)"),
        ([1, 2.0, 3], TypeError, r"keys: row 1 has 2.0 \(float\)"),
        ([1, None, 3], TypeError, "keys: row 1 has None"),
        ([True, 1, 2], TypeError, "keys: row 0 has True"),
        ([1, 2, 2**64], ValueError, "keys: row 2 has 18446744073709551616, which does not fit in 64 bits"),
    ],
)
def test_bad_keys(keys, error, message):
    with pytest.raises(error, match=message):
        corrupt([[5, 6, 7]] * 3, SPEC, keys=keys)
