"""What users give beside rows, as the core takes it: seeds, keys, densities, flags and words by token."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import UINT64_RANGE
from spanmask.ragged import (
    Bounds,
    Ragged,
    check_aligned,
    column_of_flags,
    has_bools,
    is_arrow,
    is_tensor,
    tensor_to_numpy,
    without_none,
)

__all__ = ["given", "per_row"]


def as_keys(keys: Any, rows: int) -> npt.NDArray[np.uint64] | None:
    """Keys of examples as 64-bit words: integers as they are (negative ones wrap), names by their XXH3."""
    if keys is None:
        return None
    if is_arrow(keys):
        keys = keys.to_pylist()
    if is_tensor(keys):
        keys = tensor_to_numpy(keys, "keys")
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (np.ndarray, Iterable)):
        raise TypeError(f"keys: expected one integer or string for each row, got {type(keys).__name__}.")
    if isinstance(keys, np.ndarray) and keys.ndim == 1 and keys.dtype.kind in "iu":
        array = keys.astype(np.int64).view(np.uint64) if keys.dtype.kind == "i" else keys.astype(np.uint64)
    else:
        items = list(keys)
        if items and all(isinstance(item, str) for item in items):
            array = _core.name_keys(items)
        else:
            array = np.array([as_key(row, item) for row, item in enumerate(items)], dtype=np.uint64)
    if len(array) != rows:
        raise ValueError(f"keys: {len(array)} keys for {rows} rows; give one for each.")
    return np.ascontiguousarray(array)


def as_key(row: int, item: Any) -> int:
    """One integer key as a 64-bit word."""
    if isinstance(item, (bool, np.bool_)) or not hasattr(item, "__index__"):
        raise TypeError(f"keys: row {row} has {item!r} ({type(item).__name__}); keys are all integers or all strings.")
    number = index(item)
    if not -UINT64_RANGE // 2 <= number < UINT64_RANGE:
        raise ValueError(f"keys: row {row} has {number}, which does not fit in 64 bits; give the key as a string.")
    return number % UINT64_RANGE


def per_row(name: str, values: Any, rows: int, check: Any) -> npt.NDArray[np.float64] | None:
    """A number for each row; `check(name, value)` raises for one that cannot be."""
    if values is None:
        return None
    if np.ndim(values) == 0:
        values = [values] * rows
    array = [check(f"{name}: row {row}", value) for row, value in enumerate(values)]
    if len(array) != rows:
        raise ValueError(f"{name}: {len(array)} values for {rows} rows; give one for each, or one for all.")
    return np.array(array, dtype=np.float64)


def given(
    rows: int,
    *,
    keys: Any = None,
    densities: npt.NDArray[np.float64] | None = None,
    means: npt.NDArray[np.float64] | None = None,
    noise_mask: Any = None,
    protected: Any = None,
    words: Any = None,
    limits: tuple[int, int] | None = None,
    aligned: tuple[Ragged, Bounds] | None = None,
) -> dict[str, Any]:
    """All that may go beside so many rows, as `_core` takes it. `aligned`: padded rows that columns go with, and their real tokens."""
    word_starts = words if words is not None and has_bools(words) else None
    word_ids: tuple[Any, ...] | None = None
    if words is not None and word_starts is None:
        column = Ragged.from_rows(without_none(words), "words")
        word_ids = (column.values.astype(np.int64, copy=False), *count(column, rows, "words", aligned))
    return {
        "keys": as_keys(keys, rows),
        "densities": densities,
        "means": means,
        "noise_mask": flag_column(noise_mask, "noise_mask", rows, aligned),
        "protected": flag_column(protected, "protected", rows, aligned),
        "word_starts": flag_column(word_starts, "words", rows, aligned),
        "word_ids": word_ids,
        "limits": limits,
    }


def flag_column(column: Any, name: str, rows: int, aligned: tuple[Ragged, Bounds] | None) -> tuple[Any, ...] | None:
    """Values, starts and stops of a column of flags."""
    if column is None:
        return None
    flags = column_of_flags(column, name)
    return (flags.values, *count(flags, rows, name, aligned))


def count(column: Ragged, rows: int, name: str, aligned: tuple[Ragged, Bounds] | None) -> Bounds:
    """The bounds of a column that has as many rows as there are rows of ids."""
    if len(column) != rows:
        raise ValueError(f"{name}: {len(column)} rows for {rows} rows of ids; give one for each.")
    if aligned is None:
        return column.bounds()
    ids, bounds = aligned
    check_aligned(column, ids, name)
    return bounds
