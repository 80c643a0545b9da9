"""What users give beside rows, as the core takes it: seeds, keys, densities, flags and words by token."""

from __future__ import annotations

from collections.abc import Iterable
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.ragged import Bounds, Ragged, check_aligned, is_arrow, is_tensor, tensor_to_numpy

__all__ = ["as_density", "as_id", "as_ids", "as_span_length", "as_word", "column_of_flags", "given", "per_row"]

WORD = 2**64


def as_word(name: str, value: Any) -> int:
    """A seed or an epoch: an integer of 64 bits, not negative."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {value!r}.") from None
    if isinstance(value, bool) or not 0 <= number < WORD:
        raise ValueError(f"{name}: expected an integer from 0 to 2**64 - 1, got {value!r}.")
    return number


def as_id(name: str, value: Any) -> int:
    """A token id that noise may write: 0 to 2**32 - 1."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a token id, got {type(value).__name__} {value!r}.") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected a token id, got the bool {value!r}.")
    if not 0 <= number < 2**32:
        raise ValueError(f"{name}: expected a token id from 0 to 2**32 - 1, got {number}.")
    return number


def as_ids(name: str, values: Any) -> tuple[int, ...]:
    """Token ids as a tuple."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected token ids, got {type(values).__name__} {values!r}.")
    return tuple(as_id(name, value) for value in values)


def as_number(name: str, value: Any) -> float:
    """A real number."""
    if isinstance(value, (bool, str)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {value!r}.")
    return float(value)


def as_density(name: str, value: Any) -> float:
    """A share of a row, between 0 and 1 without its ends."""
    number = as_number(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name}: expected a share above 0 and below 1, got {value!r}.")
    return number


def as_span_length(name: str, value: Any) -> float:
    """A mean span length: finite, at least 1."""
    number = as_number(name, value)
    if not 1 <= number < float("inf"):
        raise ValueError(f"{name}: expected a finite length of at least 1 token, got {value!r}.")
    return number


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
    if not -WORD // 2 <= number < WORD:
        raise ValueError(f"keys: row {row} has {number}, which does not fit 64 bits; give the key as a string.")
    return number % WORD


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


def column_of_flags(column: Any, name: str) -> Ragged:
    """A flag for each token of each row: arrays, tensors or lists of bools (or of 0 and 1)."""
    if isinstance(column, Ragged):
        return as_flags(column.values, column.offsets, name)
    if is_tensor(column):
        column = tensor_to_numpy(column, name)
    if isinstance(column, np.ndarray) and column.dtype != np.object_:
        if column.ndim != 2:
            raise TypeError(f"{name}: expected a row of flags for each row of ids, got a {column.ndim}-D array.")
        return as_flags(column.reshape(-1), np.arange(len(column) + 1) * column.shape[1], name)
    if is_arrow(column):
        column = column.to_pylist()
    if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected a row of flags for each row of ids, got {type(column).__name__}.")
    rows = [np.asarray(tensor_to_numpy(row, name) if is_tensor(row) else row) for row in column]
    for number, row in enumerate(rows):
        if row.ndim != 1 or (len(row) and row.dtype.kind not in "biu"):
            raise TypeError(f"{name}: row {number} is no row of flags; give one bool for each token.")
    offsets = np.cumsum([0, *map(len, rows)])
    filled = [row for row in rows if len(row)]
    return as_flags(np.concatenate(filled) if filled else np.empty(0, np.bool_), offsets, name)


def as_flags(values: npt.NDArray[Any], offsets: npt.NDArray[Any], name: str) -> Ragged:
    """Flags as bools; integers must be 0 or 1."""
    if values.dtype != np.bool_:
        if values.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected bools, got {values.dtype}.")
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            raise ValueError(f"{name}: holds {values[wrong[0]]}; expected flags, 0 or 1.")
        values = values != 0
    return Ragged(np.ascontiguousarray(values), offsets)


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


def has_bools(words: Any) -> bool:
    """Whether words are told by flags at their starts; else by numbers."""
    if isinstance(words, Ragged):
        return words.values.dtype == np.bool_
    if hasattr(words, "dtype"):
        return "bool" in str(words.dtype)
    first: Any = next((row for row in words if len(row)), ())
    if hasattr(first, "dtype"):
        return "bool" in str(first.dtype)
    return any(isinstance(item, (bool, np.bool_)) for item in first)


def without_none(words: Any) -> Any:
    """`None`, which fast tokenizers give to special tokens, as -1: no word."""
    if isinstance(words, (list, tuple)) and any(isinstance(row, (list, tuple)) for row in words):
        return [[-1 if word is None else word for word in row] if isinstance(row, (list, tuple)) else row for row in words]
    return words
