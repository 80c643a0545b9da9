"""The three forms in which the core reads rows: a 2-D array, a `Ragged`, a `Column`."""

import numpy as np
import pytest
from spanmask import Ragged, _core
from spanmask.ragged import Column

PADDED = _core.Layout.padded("left")


def padded(rows):
    return _core.pad(rows, PADDED, -7).tolist()


@pytest.mark.parametrize("dtype", ["uint16", "uint32", "int32", "int64"])
def test_all_forms_are_the_same_rows(dtype):
    values = np.arange(40, 55, dtype=dtype)
    edges = np.array([0, 5, 10, 15])
    wanted = values.reshape(3, 5).tolist()
    assert padded(values.reshape(3, 5)) == wanted
    assert padded(Ragged(values, edges)) == wanted
    assert padded(Column(values, edges[:-1], edges[1:])) == wanted


def test_a_column_may_leave_gaps_and_bound_parts_of_an_array():
    starts, stops = np.array([1, 8, 10]), np.array([4, 9, 10])
    wanted = [[41, 42, 43], [-7, -7, 48], [-7, -7, -7]]
    assert padded(Column(np.arange(40, 55), starts, stops)) == wanted
    assert padded(Column(np.arange(40, 55).reshape(3, 5), starts, stops)) == wanted


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (4, 0)])
def test_arrays_without_ids(shape):
    assert padded(np.zeros(shape, np.int64)) == [[]] * shape[0]


def test_no_rows():
    assert padded(Ragged(np.zeros(0, np.int64), [0])) == []


@pytest.mark.parametrize("rows", [np.arange(6), np.zeros((1, 2, 3), np.int64), np.arange(6).reshape(2, 3).T])
def test_other_arrays_are_an_error(rows):
    with pytest.raises(TypeError, match="rows: expected a 2-D array in C order"):
        padded(rows)
