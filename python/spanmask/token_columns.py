"""Columns with an entry for each token of a row, made from what users pass: flags, weights, numbers, words; rows without their padding."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.errors import UnreadableRowsError
from spanmask.ragged import (
    Column,
    Ragged,
    arrow_lists,
    as_array,
    check_aligned,
    core_rows,
    in_one_array,
    is_arrow,
    is_tensor,
    items_of,
    listed,
    tensor_to_numpy,
    to_numpy,
    token_array,
)

__all__ = [
    "TRAINED_FLAGS",
    "RealRows",
    "as_integers",
    "column_of_flags",
    "column_of_numbers",
    "column_of_weights",
    "real_rows",
    "tensor_or_array",
    "trained_labels",
    "word_rows",
]

# What TRL, transformers and `ChatMasker` write beside token ids: a flag for each token that may train.
TRAINED_FLAGS = ("completion_mask", "assistant_masks", "loss_mask")


class RealRows(NamedTuple):
    """Rows with their padding, the column of their real tokens, and the number of each token's word where words are given (int64)."""

    rows: Ragged
    real: Column
    word_ids: npt.NDArray[np.int64] | None


def real_rows(rows: Any, attention_mask: Any, word_ids: Any, name: str) -> RealRows:
    """Read rows together with their attention mask and word ids, each aligned with them or `None`, in one call of the core."""
    ids = core_rows(rows, name)
    if attention_mask is None and word_ids is None and isinstance(ids, Column):
        return RealRows(Ragged._unchecked(ids.values, np.append(ids.starts, ids.stops[-1:])), ids, None)
    mask = None if attention_mask is None else core_rows(as_integers(attention_mask), "attention_mask")
    words = word_ids
    if words is not None:
        kinds = set(map(type, words)) if isinstance(words, list) else set()
        in_place = kinds == {np.ndarray} and words[0].dtype == np.int64
        if not in_place and not (kinds and kinds <= {list, tuple}):
            words = word_rows(words, "word_ids").column()
    try:
        read = _core.read_rows(ids, attention_mask=mask, word_ids=words, name=name)
    except UnreadableRowsError:
        read = _core.read_rows(
            in_one_array(ids, name),
            attention_mask=in_one_array(mask, "attention_mask"),
            word_ids=word_rows(words, "word_ids").column() if isinstance(words, list) else words,
            name=name,
        )
    return RealRows(Ragged._unchecked(read.values, read.offsets), Column(read.values, read.starts, read.stops), read.word_ids)


def column_of_flags(column: Any, name: str) -> Ragged:
    """A flag for each token of each row: arrays, tensors or lists of bools (or of 0 and 1)."""
    if isinstance(column, Ragged):
        return as_flags(column.values, column.offsets, name)
    column = tensor_to_numpy(column, name) if is_tensor(column) else to_numpy(column, name)
    if isinstance(column, np.ndarray) and column.dtype != np.object_:
        if column.ndim != 2:
            raise TypeError(f"{name}: expected a row of flags for each row of ids, got a {column.ndim}-D array.")
        return as_flags(np.asarray(column).reshape(-1), np.arange(len(column) + 1) * column.shape[1], name)
    column = listed(column)
    if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected a row of flags for each row of ids, got {type(column).__name__}.")
    rows = [flag_row(row, f"{name}: row {number}") for number, row in enumerate(items_of(column, name))]
    for number, row in enumerate(rows):
        if row.ndim != 1 or (len(row) and row.dtype.kind not in "biu"):
            raise TypeError(f"{name}: row {number} is not a row of flags; pass one bool for each token.")
    offsets = np.cumsum([0, *map(len, rows)])
    filled = [row for row in rows if len(row)]
    return as_flags(np.concatenate(filled) if filled else np.empty(0, np.bool_), offsets, name)


def trained_labels(columns: Mapping[str, Any], ignore_index: int) -> Any:
    """The column `labels`, without the labels of tokens that one of the flags in `TRAINED_FLAGS` marks with 0; `None` if all may train.

    Raises:
        ValueError: flags or labels do not fit the ids.
        TypeError: a column holds something else.
    """
    given = {name: columns[name] for name in TRAINED_FLAGS if columns.get(name) is not None}
    labels = columns.get("labels")
    if not given:
        return labels
    ids = Ragged.from_rows(columns["input_ids"], "input_ids")
    rows = ids if labels is None else Ragged.from_rows(labels, "labels")
    values = rows.values.astype(np.int64)
    for name, column in given.items():
        flags = column_of_flags(column, name)
        check_aligned(flags, rows, name)
        values[~flags.values] = ignore_index
    return Ragged._unchecked(values, rows.offsets)


def flag_row(row: Any, where: str) -> npt.NDArray[Any]:
    """One row of flags as an array of whatever it holds."""
    try:
        return np.asarray(tensor_to_numpy(row, where) if is_tensor(row) else to_numpy(row, where))
    except ValueError:  # lists of different lengths inside a list
        raise TypeError(f"{where} is not a row of flags; pass one bool for each token.") from None


def as_flags(values: npt.NDArray[Any], offsets: npt.NDArray[Any], name: str) -> Ragged:
    """Flags as bools; integers must be 0 or 1."""
    values = np.asarray(values)  # a matrix stays two-dimensional
    if values.dtype != np.bool_:
        if values.dtype.kind not in "iu":
            raise TypeError(f"{name}: expected bools, got {values.dtype}.")
        wrong = np.flatnonzero((values != 0) & (values != 1))
        if len(wrong):
            raise ValueError(f"{name}: holds {values[wrong[0]]}; expected flags, 0 or 1.")
        values = values != 0
    return Ragged(np.ascontiguousarray(values), offsets)


def column_of_weights(column: Any, name: str) -> Ragged:
    """A loss weight for each token of each row, as float32: a `Ragged` of them, arrays, tensors or lists of numbers.

    Raises:
        ValueError: a weight is negative, or not finite in float32.
        TypeError: a row holds something else.
    """
    with np.errstate(over="ignore"):  # it is found below
        weights = column_of_numbers(column, name)
    values, offsets = weights.values.astype(np.float32, copy=False), weights.offsets
    wrong = np.flatnonzero(~((values >= 0) & np.isfinite(values)))
    if len(wrong):
        number = int(np.searchsorted(offsets, wrong[0], side="right")) - 1
        raise ValueError(
            f"{name}: row {number} has {values[wrong[0]]} at position {wrong[0] - offsets[number]}; expected weights >= 0 that are finite "
            "in float32."
        )
    return Ragged._unchecked(values, offsets)


def word_rows(words: Any, name: str) -> Ragged:
    """The number of each token's word, int64, in any type that users pass. Where a number is missing, it is -1: no word.

    Fast tokenizers give `None` to special tokens. A data set stores it as a null, and returns NaN in the formats "numpy", "torch" and
    "pandas"; a masked array masks it.
    """
    if isinstance(words, Ragged):
        return Ragged._unchecked(words.values.astype(np.int64, copy=False), words.offsets)
    if is_arrow(words) and type(words).__module__.partition(".")[0] != "pandas":  # rows of a pandas column may differ in dtype
        flat, offsets = arrow_lists(words, name)
        if str(flat.type) != "null" and not str(flat.type).startswith(("int", "uint", "float", "double", "halffloat")):
            raise TypeError(f"{name}: expected an Arrow list of numbers of words, got a list of {flat.type}.")
        if flat.null_count:
            if str(flat.type) == "null" or str(flat.type).startswith("uint"):  # -1 is not a number of these types
                flat = flat.cast("int64")
            flat = flat.fill_null(-1)
        values = flat.to_numpy(zero_copy_only=False)
        if values.dtype.kind != "f":
            return Ragged(token_array(values, name).astype(np.int64, copy=False), offsets)
        words = np.split(values, offsets[1:-1]) if len(offsets) > 1 else []
    words = tensor_or_array(words, name)
    if isinstance(words, (str, bytes, Mapping)) or not isinstance(words, Iterable) or getattr(words, "ndim", 2) == 0:
        raise TypeError(f"{name}: expected a row of numbers for each row of ids, got {type(words).__name__}.")
    rows = items_of(words, name)
    if set(map(type, rows)) == {np.ndarray} and rows[0].dtype == np.int64 and (read := _core.from_arrays(rows)) is not None:
        return Ragged._unchecked(read.values, read.offsets)
    if not any(isinstance(row, (list, tuple)) for row in rows):
        rows = [word_row(row, f"{name}: row {number}") for number, row in enumerate(rows)]
    if any(isinstance(row, (list, tuple)) for row in rows):
        read = _core.from_lists([row.tolist() if isinstance(row, np.ndarray) else row for row in rows], name, word_ids=True)
        return Ragged._unchecked(read.values, read.offsets)
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return Ragged._unchecked(np.concatenate(rows) if rows else np.empty(0, np.int64), offsets)


def tensor_or_array(value: Any, name: str) -> Any:
    """A tensor of integers or floats as an array, floats as float64; anything else is returned unchanged."""
    if not is_tensor(value):
        return value
    return to_numpy(value.double() if value.is_floating_point() and not value.is_quantized else value, name)


def word_row(row: Any, where: str) -> Any:
    """One row for `word_rows`: an int64 array, or a list if numbers may be missing in other ways than as NaN."""
    if row is None:
        raise TypeError(f"{where} is None; remove such rows or fill them.")
    array = np.asanyarray(tensor_or_array(row, where))  # a masked array stays one
    if array.ndim != 1:
        raise TypeError(f"{where} has shape {array.shape}; expected the number of a word for each token.")
    if array.dtype == np.object_ or isinstance(array, np.ma.MaskedArray):
        return array.tolist()
    if array.dtype.kind != "f":
        return token_array(array, where).astype(np.int64, copy=False)
    array = array.astype(np.float64)
    numbers = np.where(np.isnan(array), -1, array)
    wrong = np.flatnonzero((numbers != np.trunc(numbers)) | (np.abs(numbers) >= 2.0**63))
    if len(wrong):
        raise TypeError(f"{where} has {array[wrong[0]]} at position {wrong[0]}; expected an integer. Cast or remove it.")
    return numbers.astype(np.int64)


def column_of_numbers(column: Any, name: str) -> Ragged:
    """A number for each token of each row, in any form that `Ragged.from_rows` accepts: integers, bools, or floats as float32.

    Raises:
        TypeError: an entry is not a number.
        ValueError: a row is not 1-D or is null, or an integer does not fit in int64.
    """
    if isinstance(column, Ragged):
        return column
    with suppress(TypeError):  # not integers
        return Ragged.from_rows(column, name)
    column = to_numpy(listed(column), name)
    if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected a row of numbers for each row of ids, got {type(column).__name__}.")
    rows = [numbers_of(row, f"{name}: row {number}") for number, row in enumerate(column)]
    kinds = {row.dtype.kind for row in rows if len(row)}
    dtype = np.float32 if "f" in kinds else np.bool_ if kinds == {"b"} else np.int64
    values = np.concatenate([row.astype(dtype) for row in rows]) if rows else np.empty(0, dtype)
    return Ragged(values, np.cumsum([0, *map(len, rows)]))


def numbers_of(row: Any, where: str) -> npt.NDArray[Any]:
    """One row of numbers; `where` begins error messages."""
    array = as_array(to_numpy(row, where), where)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where} is not a row of numbers; pass a number for each token.")
    if array.ndim != 1:
        raise ValueError(f"{where} has shape {array.shape}; expected 1-D.")
    return token_array(array, where) if array.dtype.kind in "iu" else array


def as_integers(column: Any) -> Any:
    """A column of flags as a column of integers; anything else is returned unchanged."""
    if is_arrow(column):  # the core reads Arrow lists of integers only
        kind = getattr(column, "type", getattr(column, "dtype", "object"))
        column = listed(column) if "bool" in str(kind).lower() or str(kind) == "object" else column
    return [flags_as_integers(row) for row in column] if isinstance(column, (list, tuple)) else flags_as_integers(column)


def flags_as_integers(row: Any) -> Any:
    """A row or an array of flags as integers, of the same kind; anything else is returned unchanged."""
    if isinstance(row, (list, tuple)) and row and isinstance(row[0], (bool, np.bool_)):
        array = np.asarray(row)
        return array.view(np.uint8).tolist() if array.dtype == np.bool_ else row
    if isinstance(row, np.ndarray) and row.dtype == np.bool_:
        return row.view(np.uint8)
    if is_tensor(row) and str(row.dtype) == "torch.bool":
        return row.byte()
    return row
