"""Keys of examples compared with the xxhash package and the golden vectors."""

import json
from pathlib import Path

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st
from spanmask import SpanCorruption, corrupt
from spanmask.reference.key import name_key, row_key

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rng.json").read_text())
SPEC = SpanCorruption(range(1000, 900, -1), eos_token_id=1)


@pytest.mark.parametrize("case", VECTORS["keys"])
def test_keys_are_pinned(case):
    assert row_key(case["row"]) == int(case["key"])


@given(st.lists(st.text(max_size=400), min_size=1, max_size=3))
def test_keys_of_names_hash_their_utf8(names):
    out = corrupt([[5, 6, 7]] * len(names), SPEC, keys=names)
    assert out.keys.tolist() == [name_key(name) for name in names]
    assert name_key(names[0]) == xxhash.xxh3_64_intdigest(names[0].encode())


@given(
    st.lists(st.lists(st.integers(2, 2**32 - 1).filter(lambda token: token not in SPEC.sentinel_ids), max_size=400), max_size=3)
)
def test_default_keys_hash_the_ids(rows):
    assert corrupt(rows, SPEC).keys.tolist() == [xxhash.xxh3_64_intdigest(np.array(row, "<u4").tobytes()) for row in rows]


def test_a_trailing_eos_is_not_part_of_the_key():
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
    assert corrupt([[5, 6, 7]] * len(words), SPEC, keys=keys).keys.tolist() == words


@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        ([1, 2], ValueError, "keys: 2 keys for 3 rows"),
        ("abc", TypeError, "keys: expected one integer or string for each row"),
        (5, TypeError, "keys: expected one integer"),
        ([1, "a", 2], TypeError, r"keys: row 1 has 'a' \(str\)"),
        (["a", 1, "b"], TypeError, r"keys: row 1 has 1 \(int\)"),
        ([1, 2.0, 3], TypeError, r"keys: row 1 has 2.0 \(float\)"),
        ([1, None, 3], TypeError, "keys: row 1 has None"),
        ([True, 1, 2], TypeError, "keys: row 0 has True"),
        ([1, 2, 2**64], ValueError, "keys: row 2 has 18446744073709551616, which does not fit in 64 bits"),
    ],
)
def test_bad_keys(keys, error, message):
    with pytest.raises(error, match=message):
        corrupt([[5, 6, 7]] * 3, SPEC, keys=keys)
