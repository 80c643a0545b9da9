"""The arguments of a call in addition to the rows, in the form that the core reads: keys and rates by row, flags and words by token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import index
from typing import Any, TypedDict

import numpy as np
import numpy.typing as npt

from spanmask._validate import UINT64_RANGE, as_list, short
from spanmask.ragged import Column, Ragged, is_arrow, is_tensor, listed, tensor_to_numpy, to_numpy
from spanmask.token_columns import column_of_flags, tensor_or_array, word_rows

__all__ = ["RowOptions", "as_keys", "column_of_probabilities", "counted", "flag_column", "is_by_token", "per_row", "row_options"]


class RowOptions(TypedDict):
    """The keyword arguments that `_core.corrupt`, `_core.noise_mask` and `_core.mask_tokens` have in common."""

    keys: npt.NDArray[np.uint64] | list[str] | None
    protected_mask: Column | None
    word_starts: Column | None
    word_ids: Column | None


def row_options(
    rows: int,
    *,
    keys: Any = None,
    protected_mask: Any = None,
    word_ids: Any = None,
    word_starts: Any = None,
) -> RowOptions:
    """Check the options of a call with `count` rows. The core checks that columns are aligned with the rows.

    Raises:
        ValueError: the number of rows or entries is wrong, or both `word_ids` and `word_starts` are given; the message names the argument.
        TypeError: entries are not integers or flags.
    """
    if word_ids is not None and word_starts is not None:
        raise ValueError("word_starts: cannot be combined with word_ids; pass one of them.")
    numbers = None
    if word_ids is not None:
        numbers = counted(word_rows(word_ids, "word_ids"), rows, "word_ids")
    return {
        "keys": as_keys(keys, rows),
        "protected_mask": flag_column(protected_mask, "protected_mask", rows),
        "word_starts": flag_column(word_starts, "word_starts", rows),
        "word_ids": numbers,
    }


def flag_column(flags: Any, name: str, rows: int) -> Column | None:
    """A column of flags, called `name` in errors."""
    return None if flags is None else counted(column_of_flags(flags, name), rows, name)


def counted(column: Ragged, rows: int, name: str) -> Column:
    """A column as the core reads it. It must have as many rows as there are rows of ids."""
    if len(column) != rows:
        raise ValueError(f"{name}: {len(column)} rows for {rows} rows of ids; pass one for each.")
    return column.column()


def per_row(name: str, values: Any, rows: int, check: Callable[[str, Any], float]) -> npt.NDArray[np.float64] | None:
    """A number for each row; `check(name, value)` raises if it is invalid. A single number applies to all rows."""
    if values is None:
        return None
    values = listed(values)
    if not isinstance(values, Iterable) or isinstance(values, (str, bytes)) or getattr(values, "ndim", 1) == 0:
        values = [values] * rows
    numbers = as_list(name, to_numpy(values, name), "a number for each row")
    array = [check(f"{name}: row {row}", number) for row, number in enumerate(numbers)]
    if len(array) != rows:
        raise ValueError(f"{name}: {len(array)} values for {rows} rows; pass one for each, or one for all.")
    return np.array(array, dtype=np.float64)


def is_by_token(values: Any) -> bool:
    """Whether these are rows of numbers, one for each token, and not a number for each row or for all."""
    if values is None:
        return False
    if isinstance(values, Ragged):
        return True
    if is_arrow(values):
        if hasattr(values, "type"):
            return hasattr(values.type, "value_type")
        values = listed(values)
    elif hasattr(values, "iloc"):  # a column of pandas 2, which does not support Arrow yet
        values = list(values)
    if hasattr(values, "ndim") and getattr(values, "dtype", None) != np.object_:
        return bool(values.ndim > 1)
    if not isinstance(values, (Sequence, np.ndarray)) or isinstance(values, (str, bytes)):
        return False
    return (
        getattr(values, "ndim", 1) > 0
        and len(values) > 0
        and (isinstance(values[0], (list, tuple)) or getattr(values[0], "ndim", 0) > 0)
    )


def column_of_probabilities(column: Any, name: str) -> Ragged:
    """A number for each token of each row, as float64: `Ragged`, a 2-D array or tensor, Arrow lists, or a list of rows.

    Raises:
        TypeError: entries are not numbers.
    """
    if isinstance(column, Ragged):
        return Ragged._unchecked(as_numbers(column.values, name), column.offsets)
    column = to_numpy(listed(column), name)
    rows = [as_numbers(row, f"{name}: row {number}") for number, row in enumerate(column)]
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Ragged._unchecked(np.concatenate(rows) if rows else np.empty(0), offsets)


def as_numbers(row: Any, name: str) -> npt.NDArray[np.float64]:
    """A row of numbers as a contiguous array."""
    row = tensor_or_array(row, name) if is_tensor(row) else to_numpy(row, name)
    with suppress(ValueError):  # lists of lists of different lengths
        array = np.asarray(row)
        if array.ndim == 1 and (not len(array) or array.dtype.kind in "fiu"):
            return np.ascontiguousarray(array, dtype=np.float64)
    raise TypeError(f"{name}: expected a number for each token, got {row!r:.80}.")


def as_keys(keys: Any, rows: int, name: str = "keys") -> npt.NDArray[np.uint64] | list[str] | None:
    """Keys of examples as the core takes them: integers as unsigned 64-bit integers (negative ones wrap), or names.

    `name`: the argument that errors name.
    """
    if keys is None:
        return None
    keys = listed(keys)
    keys = tensor_to_numpy(keys, name) if is_tensor(keys) else to_numpy(keys, name)
    if isinstance(keys, (str, bytes)) or not isinstance(keys, (np.ndarray, Iterable)):
        raise TypeError(f"{name}: expected one integer or string for each row, got {type(keys).__name__}.")
    made: npt.NDArray[np.uint64] | list[str]
    if isinstance(keys, np.ndarray) and keys.ndim == 1 and keys.dtype.kind in "iu":
        made = np.ascontiguousarray(keys.astype(np.int64).view(np.uint64) if keys.dtype.kind == "i" else keys.astype(np.uint64))
    else:
        items = as_list(name, keys, "one integer or string for each row")
        if items and isinstance(items[0], str):
            made = [as_string_key(name, row, item) for row, item in enumerate(items)]
        else:
            made = np.array([as_key(name, row, item) for row, item in enumerate(items)], dtype=np.uint64)
    if len(made) != rows:
        raise ValueError(f"{name}: {len(made)} keys for {rows} rows; pass one for each.")
    return made


def as_string_key(name: str, row: int, item: Any) -> str:
    """One string key."""
    if not isinstance(item, str):
        raise mixed_keys(name, row, item)
    if not item.isascii():
        try:
            item.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{name}: row {row} has {short(item)}, which is not valid Unicode; pass another string.") from None
    return str(item)  # of NumPy's strings too


def as_key(name: str, row: int, item: Any) -> int:
    """One integer key as an unsigned 64-bit integer."""
    if isinstance(item, (bool, np.bool_)):
        raise mixed_keys(name, row, item)
    try:
        number = index(item)
    except TypeError:
        raise mixed_keys(name, row, item) from None
    if not -UINT64_RANGE // 2 <= number < UINT64_RANGE:
        raise ValueError(f"{name}: row {row} has {number}, which does not fit in 64 bits; pass the key as a string.")
    return number % UINT64_RANGE


def mixed_keys(name: str, row: int, item: Any) -> TypeError:
    """The error for a key that is neither an integer nor a string, or not of the kind of the others."""
    return TypeError(f"{name}: row {row} has {short(item)} ({type(item).__name__}); keys are all integers or all strings.")
