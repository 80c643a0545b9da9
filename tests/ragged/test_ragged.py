import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import Ragged
from support.optional import optional
from support.strategies import DTYPES, batches

pa = optional("pyarrow")
torch = optional("torch")

ROWS = [[5, 6, 7], [], [8]]
OFFSETS = [0, 3, 3, 4]


def unaligned(array):
    """The same ids after an odd number of bytes, as a file's header leaves them."""
    return np.frombuffer(b"-" + array.tobytes(), array.dtype, offset=1)


def same_rows(way, rows):
    ragged = Ragged.from_rows(way)
    assert ragged.to_list() == rows
    assert ragged == rows
    assert rows == ragged


@given(rows=batches, dtype=st.sampled_from(DTYPES))
def test_lists_and_arrays_give_the_same_rows(rows, dtype):
    arrays = [np.array(row, dtype) for row in rows]
    ways = [
        rows,
        tuple(rows),
        (row for row in rows),
        [tuple(row) for row in rows],
        arrays,
        [np.repeat(array, 2)[::2] for array in arrays],
        [array.astype(array.dtype.newbyteorder(">")) for array in arrays],
        [unaligned(array) for array in arrays],
    ]
    for way in ways:
        same_rows(way, rows)


@given(rows=batches)
def test_tensors_and_arrow_arrays_give_the_same_rows(rows):
    ways = [
        [torch.tensor(row, dtype=torch.int32) for row in rows],
        pa.array(rows, pa.list_(pa.int32())),
        pa.array([[9], *rows, [9]], pa.large_list(pa.int64())).slice(1, len(rows)),
        pa.chunked_array([rows, rows], pa.list_(pa.uint16())).slice(len(rows)),
    ]
    for way in ways:
        same_rows(way, rows)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int8, np.uint8, np.int16, np.uint64])
def test_two_dimensional_rows(dtype):
    array = np.array([[1, 2], [3, 4]], dtype)
    ragged = Ragged.from_rows(array)
    assert ragged == [[1, 2], [3, 4]]
    assert ragged == array
    assert array == ragged


LATER = [pytest.param(dtype, marks=pytest.mark.needs("torch>=2.3")) for dtype in (np.uint16, np.uint32, np.uint64)]


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8, np.uint8, np.int16, *LATER])
def test_tensors_of_every_type_of_integers(dtype):
    array = np.array([[1, 2], [3, 4]], dtype)
    assert Ragged.from_rows(torch.from_numpy(array)) == array


def test_no_copy_where_memory_allows():
    array = np.arange(6).reshape(2, 3)
    assert np.shares_memory(Ragged.from_rows(array).values, array)
    arrow = pa.array([[1, 2], [3]], pa.list_(pa.int64()))
    assert np.shares_memory(Ragged.from_rows(arrow).values, arrow.values.to_numpy())


def test_arrow_fixed_size_lists_and_foreign_objects():
    fixed = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int16(), 2)).slice(1)
    assert Ragged.from_rows(fixed) == [[3, 4], [5, 6]]

    class Foreign:
        def __arrow_c_array__(self, requested_schema=None):
            return fixed.__arrow_c_array__(requested_schema)

    assert Ragged.from_rows(Foreign()) == [[3, 4], [5, 6]]


class Stream:
    """A column in chunks, as Polars has it: its rows could be taken for arrays."""

    def __iter__(self):
        return iter([pa.array([1, 2]), pa.array([3])])

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.chunked_array([[[1, 2]], [[3]]]).__arrow_c_stream__(requested_schema)


@pytest.mark.needs("pyarrow>=16")
def test_arrow_streams():
    assert Ragged.from_rows(Stream()) == [[1, 2], [3]]


@pytest.mark.needs("pyarrow<16")
def test_arrow_streams_need_a_newer_pyarrow():
    with pytest.raises(ImportError, match="rows: an Arrow column of .*Stream needs pyarrow 16 or newer"):
        Ragged.from_rows(Stream())


def test_rows_are_views_and_count_from_both_ends():
    ragged = Ragged(np.array([5, 6, 7, 8]), OFFSETS)
    assert np.shares_memory(ragged[0], ragged.values)
    assert [row.tolist() for row in ragged] == ROWS
    assert ragged[-1].tolist() == [8]
    with pytest.raises(IndexError, match="row 3 of 3"):
        ragged[3]


def test_conversions_to_other_types():
    ragged = Ragged.from_rows(ROWS)
    assert ragged.to_padded(0).tolist() == [[5, 6, 7], [0, 0, 0], [8, 0, 0]]
    assert ragged.to_padded(-1, side="left").tolist() == [[5, 6, 7], [-1, -1, -1], [-1, -1, 8]]
    assert Ragged(np.array([True, False]), [0, 1, 2]).to_padded(False).dtype == np.bool_
    assert Ragged.from_rows([]).to_padded(0).shape == (0, 0)
    assert pickle.loads(pickle.dumps(ragged)) == ragged
    assert ragged != [[5, 6, 7], [8]]
    assert ragged != "text"


@pytest.mark.needs("pyarrow")
def test_conversion_to_arrow():
    assert Ragged.from_rows(ROWS).to_arrow().to_pylist() == ROWS


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([1, 2], TypeError, "row 0 is of type int; wrap a single row"),
        (5, TypeError, "rows: expected a list of rows of token ids, got int"),
        ("text", TypeError, "got str"),
        (["text"], TypeError, "row 0 is of type str"),
        ({"input_ids": [1]}, TypeError, "got dict"),
        ([[1], [None]], TypeError, "row 1 has None"),
        ([[1], [2.0]], TypeError, "row 1 has 2.0"),
        ([[1], [2**64]], ValueError, "row 1 has 18446744073709551616 at position 0"),
        ([[1], np.array([2])], TypeError, "row 1 is of type ndarray"),
        ([np.array([1]), [2]], TypeError, "row 1 is of type list"),
        ([np.array([1]), np.array([2], np.int32)], TypeError, "row 1 has dtype int32, row 0 has int64"),
        ([np.array([1]), np.array([0.5])], TypeError, "row 1: expected integer token ids, got float64"),
        ([np.array([True])], TypeError, "got bool"),
        ([np.array([[1]])], ValueError, r"row 0 has shape \(1, 1\)"),
        ([np.array([2**63], np.uint64)], ValueError, "does not fit in int64"),
        (np.arange(3), TypeError, "got one 1-D array; wrap"),
        (lambda: torch.ones(2), TypeError, "expected integer token ids, got torch.float32"),
        (lambda: torch.ones(2, device="meta"), TypeError, "the tensor is on meta"),
        (lambda: pa.array([[1], None]), ValueError, "row 1 is null"),
        (lambda: pa.array([[1], [2, None]]), ValueError, "row 1 has a null at position 1"),
        (lambda: pa.array([[0.5]]), TypeError, "expected an Arrow list of integers"),
        (lambda: pa.array([1]), TypeError, "expected an Arrow list of integers, got int64"),
        (lambda: pa.table({"input_ids": [[1]]}), TypeError, "got a table"),
    ],
)
def test_bad_rows(rows, error, words):
    rows = rows() if callable(rows) else rows
    with pytest.raises(error, match=words):
        Ragged.from_rows(rows)


@pytest.mark.parametrize(
    ("values", "offsets", "words"),
    [
        ([1, 2], [0, 1], "run from 0 to 1; expected 0 to 2"),
        ([1, 2], [1, 2], "run from 1 to 2"),
        ([1, 2], [0, 2, 1, 2], "row 1 has a negative length"),
        ([1, 2], [], "offsets: expected 1-D integers"),
        ([1, 2], [0.0, 2.0], "offsets: expected 1-D integers"),
        ([[1, 2]], [0, 2], "values: expected 1-D"),
    ],
)
def test_bad_columns(values, offsets, words):
    with pytest.raises(ValueError, match=words):
        Ragged(np.array(values), np.array(offsets))


@pytest.mark.parametrize("row", ["a", slice(0, 1), None, 1.0])
def test_a_row_number_is_an_integer(row):
    with pytest.raises(TypeError, match="row: expected the number of a row, got"):
        Ragged.from_rows([[1]])[row]


@pytest.mark.parametrize("value", [1.5, None, 2**70])
def test_ids_are_padded_with_an_id(value):
    with pytest.raises(ValueError, match="value: expected an integer that fits in int64"):
        Ragged.from_rows([[1], [2, 3]]).to_padded(value)
