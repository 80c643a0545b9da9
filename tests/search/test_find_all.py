import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from spanmask import _core
from support.strategies import DTYPES, ids, markers


def naive(row, sequences):
    order = sorted(range(len(sequences)), key=lambda number: -len(sequences[number]))
    return [
        (position, number)
        for position in range(len(row))
        for number in order
        if sequences[number] and tuple(row[position : position + len(sequences[number])]) == tuple(sequences[number])
    ]


def found(row, sequences):
    matches = _core.find_all(row, sequences)
    return list(zip(matches.positions.tolist(), matches.sequences.tolist(), strict=True))


@given(row=st.lists(ids, max_size=300), sequences=st.lists(markers, max_size=20), dtype=st.sampled_from(DTYPES))
def test_find_all_equals_the_naive_search(row, sequences, dtype):
    assert found(np.array(row, dtype), sequences) == naive(row, sequences)


@given(row=st.lists(st.integers(0, 3000), max_size=600), data=st.data())
def test_find_all_with_many_rare_sequences(row, data):
    sequences = data.draw(st.lists(st.lists(st.sampled_from([*row, 7]), min_size=1, max_size=2), min_size=5, max_size=64))
    assert found(np.array(row, np.int64), sequences) == naive(row, sequences)
