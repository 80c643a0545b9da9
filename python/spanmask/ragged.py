"""Rows of different lengths as one array of values and offsets, made from what users pass.

Lists, NumPy, torch and Arrow are recognized here (and by these functions in `token_columns`); all other code sees contiguous arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from operator import index
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._arrow_json import python_objects
from spanmask._validate import as_number, check_choice, check_ignore_index, check_installed, short

__all__ = ["Ragged", "ReturnTensors"]

ReturnTensors = Literal["pt", "np"]


class Column(NamedTuple):
    """Rows as the core reads them where there may be gaps between rows: the values of all rows in one array, and where each row starts
    and stops in it (int64). The core also reads a `Ragged`, and a contiguous 2-D array.
    """

    values: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]


Bounds = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]

# The dtypes that the core reads, and those that are widened for it.
TOKEN_DTYPES = {np.dtype(np.uint16), np.dtype(np.uint32), np.dtype(np.int32), np.dtype(np.int64)}
# Dtypes of torch that NumPy lacks.
NARROW_FLOATS = {"torch.bfloat16"}
WIDENED_DTYPES = {np.dtype(np.int8), np.dtype(np.uint8), np.dtype(np.int16)}


class Ragged:
    """Rows of token ids: row `i` is `values[offsets[i]:offsets[i + 1]]`. This is Arrow's layout of lists.

    Args:
        values: 1-D ids of all rows; uint16, uint32, int32 or int64 (bool for masks, float32 for weights).
        offsets: 1-D int64, rows + 1 entries, ascending from 0 to `len(values)`.

    Raises:
        ValueError: the offsets do not ascend from 0 to the number of values.
        TypeError: the values are not integers.

    >>> rows = Ragged.from_rows([[5, 6, 7], [], [8]])
    >>> len(rows), rows[0].tolist(), rows.to_list()
    (3, [5, 6, 7], [[5, 6, 7], [], [8]])
    >>> rows.to_padded(0, side="left")
    array([[5, 6, 7],
           [0, 0, 0],
           [0, 0, 8]])
    >>> rows == [[5, 6, 7], [], [8]]
    True
    """

    __slots__ = ("offsets", "values")
    __array_ufunc__ = None  # `array == ragged` then calls our `__eq__`, instead of comparing element by element

    values: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    def __init__(self, values: npt.ArrayLike, offsets: npt.ArrayLike) -> None:
        array = as_array(values, "values")
        if array.ndim != 1:
            raise ValueError(f"values: expected 1-D, got shape {array.shape}.")
        is_ready = array.dtype in (np.bool_, np.float32) and not isinstance(array, np.ma.MaskedArray)
        self.values = array if is_ready else token_array(array, "values")
        offsets = as_array(offsets, "offsets")
        if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or not len(offsets):
            raise ValueError(f"offsets: expected 1-D integers, rows + 1 of them, got {offsets.dtype} of shape {offsets.shape}.")
        self.offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.values):
            raise ValueError(f"offsets: run from {self.offsets[0]} to {self.offsets[-1]}; expected 0 to {len(self.values)}.")
        descents = np.flatnonzero(self.offsets[1:] < self.offsets[:-1])
        if len(descents):
            raise ValueError(f"offsets: row {descents[0]} has a negative length; offsets must ascend.")

    @classmethod
    def _unchecked(cls, values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> Ragged:
        """Rows from arrays that were made here and need no checks."""
        ragged = cls.__new__(cls)
        ragged.values, ragged.offsets = values, offsets
        return ragged

    @classmethod
    def from_rows(cls, rows: Any, name: str = "rows") -> Ragged:
        """Make rows from what users pass, without a copy if they are in one array already.

        Args:
            rows: a list (or other sequence) of rows, each a list, tuple, array or tensor; a 2-D array or tensor; an Arrow list
                array (also chunked or sliced); a `Ragged`.
            name: the argument's name in error messages.

        Raises:
            TypeError: ids are not integers, rows differ in kind or dtype, or `rows` is one flat row.
            ValueError: there are nulls, or ids do not fit in int64.

        >>> import numpy as np
        >>> Ragged.from_rows(np.array([[1, 2], [3, 4]], dtype=np.uint16))
        Ragged([[1, 2], [3, 4]], dtype=uint16)
        """
        if isinstance(rows, Ragged):
            return rows
        if is_arrow(rows):
            return from_arrow(rows, name)
        if is_tensor(rows):
            rows = tensor_to_numpy(rows, name)
        if isinstance(rows, np.ndarray) and rows.dtype != np.object_:
            if rows.ndim != 2:
                shape = f"{rows.ndim}-D array"
                raise TypeError(f"{name}: expected rows, got one {shape}; wrap a single row in a list: [{name}].")
            return cls._unchecked(token_array(rows, name).reshape(-1), edges_of(*rows.shape))
        if isinstance(rows, (str, bytes, Mapping)) or not isinstance(rows, Iterable):
            raise TypeError(f"{name}: expected a list of rows of token ids, got {type(rows).__name__}.")
        return from_sequence(items_of(rows, name), name)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Row `row` as a view; negative numbers count from the end."""
        try:
            row = index(row)
        except TypeError:
            raise TypeError(f"row: expected the number of a row, got {type(row).__name__} {row!r}.") from None
        count = len(self)
        if not -count <= row < count:
            raise IndexError(f"row {row} of {count} rows")
        row %= count
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        for row in range(len(self)):
            yield self[row]

    def __eq__(self, other: object) -> bool:
        """Whether the rows hold the same ids, in whatever types."""
        if not isinstance(other, Ragged):
            try:
                other = Ragged.from_rows(other)
            except (TypeError, ValueError):
                return NotImplemented
        return np.array_equal(self.offsets, other.offsets) and np.array_equal(self.values, other.values)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        if len(self.values) > 100 or len(self) > 20:
            return f"Ragged({len(self)} rows, {len(self.values)} values, dtype={self.values.dtype})"
        return f"Ragged({self.to_list()}, dtype={self.values.dtype})"

    def to_list(self) -> list[list[int]]:
        """The rows as lists of Python integers."""
        return [row.tolist() for row in self]

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.LargeListArray` over the same memory."""
        pa = import_pyarrow("Ragged.to_arrow")
        return pa.LargeListArray.from_arrays(pa.array(self.offsets), pa.array(self.values))

    def to_padded(self, value: float, side: Literal["right", "left"] = "right") -> npt.NDArray[Any]:
        """The rows as one array [rows, longest], int64 (masks and weights in their own type), `value` on one side of shorter ones."""
        if not isinstance(side, str) or side not in ("right", "left"):
            raise ValueError(f"side: expected 'right' or 'left', got {short(side)}.")
        kind = self.values.dtype.kind
        if kind == "b":
            check_choice("value", value, Literal[False, True])
        padding = bool(value) if kind == "b" else as_number("value", value) if kind == "f" else check_ignore_index("value", value)
        return _core.pad(self, _core.Layout.padded(side), padding)

    def column(self) -> Column:
        """The rows as the core reads them, without a copy."""
        return Column(self.values, self.offsets[:-1], self.offsets[1:])

    def bounds(self) -> Bounds:
        """Where each row starts and stops in `values`: two views of the offsets."""
        return self.offsets[:-1], self.offsets[1:]


class RowsView:
    """Rows as the core reads them (`rows`), and the conversion back to the kind and shape that users passed.

    2-D rows stay 2-D: the output has their shape, and `attention_mask` bounds the real tokens. Everything else becomes `Ragged`.
    """

    rows: Ragged | npt.NDArray[Any] | Column

    def __init__(self, rows: Any, attention_mask: Any = None, name: str = "rows") -> None:
        self.tensor = type(rows) is not np.ndarray and is_tensor(rows)
        array = tensor_to_numpy(rows, name) if self.tensor else rows
        self.shape: tuple[int, int] | None = None
        self.offsets: npt.NDArray[np.int64] | None = None
        if isinstance(array, np.ndarray) and array.ndim == 2:
            self.shape = array.shape
            self.rows = token_array(array, name)
            if attention_mask is not None:
                bounds = _core.mask_bounds(two_dimensional(attention_mask, "attention_mask", self.shape))
                self.rows = Column(self.rows, bounds.starts, bounds.stops)
        else:
            if attention_mask is not None:
                raise TypeError("attention_mask: only supported for 2-D input; pass ragged rows without padding.")
            self.rows = Ragged.from_rows(rows, name)
            self.offsets = self.rows.offsets

    def __len__(self) -> int:
        return len(self.rows.starts) if isinstance(self.rows, Column) else len(self.rows)

    @property
    def column(self) -> Column:
        """The rows with the bounds of each, whatever they are."""
        if isinstance(self.rows, Column):
            return self.rows._replace(values=self.rows.values.reshape(-1))
        return self.rows.column() if isinstance(self.rows, Ragged) else column_of_array(self.rows)

    def aligned(self, column: Any, name: str) -> Column:
        """A column that has an entry for every token, as int64."""
        rows = self.column
        if self.shape is not None:
            values = two_dimensional(column, name, self.shape).reshape(-1)
        else:
            ragged = Ragged.from_rows(column, name)
            check_aligned(ragged, self.rows, name)  # type: ignore[arg-type]  # rows are ragged or 2-D
            values = ragged.values
        return rows._replace(values=values.astype(np.int64, copy=False))

    def wrap(self, flat: npt.NDArray[Any], kept: npt.NDArray[np.int64] | None = None) -> Any:
        """The core's flat output in the kind and shape of the input. `kept`: the rows that it holds, if not all."""
        everything = kept is None or len(kept) == len(self)
        if self.offsets is not None:
            if everything:
                return Ragged._unchecked(flat, self.offsets)
            stays, lengths = np.zeros(len(self), np.bool_), np.diff(self.offsets)
            stays[kept] = True
            return Ragged._unchecked(flat[np.repeat(stays, lengths)], np.append(0, np.cumsum(lengths[stays])))
        assert self.shape is not None  # rows are ragged or 2-D
        out = flat.reshape(self.shape) if everything else flat.reshape(self.shape)[kept]
        if not self.tensor:
            return out
        import torch

        return torch.from_numpy(out)


def column_of_array(array: npt.NDArray[Any]) -> Column:
    """The rows of a contiguous 2-D array."""
    edges = edges_of(*array.shape)
    return Column(array.reshape(-1), edges[:-1], edges[1:])


def core_rows(rows: Any, name: str, int64: bool = False) -> Any:
    """Rows as `_core.plan_labels` reads them: lists of lists or of arrays are read there, in the same call.

    `int64`: arrays must be int64.
    """
    if isinstance(rows, list) and rows:
        first = rows[0]
        if isinstance(first, (list, tuple)):
            return rows
        if isinstance(first, np.ndarray) and (first.dtype == np.int64 if int64 else first.dtype in TOKEN_DTYPES):
            return rows
    column = Ragged.from_rows(rows, name).column()
    return column._replace(values=column.values.astype(np.int64, copy=False)) if int64 else column


def is_list_of_arrays(rows: Any) -> bool:
    """Whether rows are a list of arrays, of which the first has a token dtype."""
    return isinstance(rows, list) and bool(rows) and isinstance(rows[0], np.ndarray) and rows[0].dtype in TOKEN_DTYPES


def in_one_array(rows: Any, name: str, int64: bool = False) -> Any:
    """Rows that `core_rows` left to the core, copied into one column. For lists of arrays that the core cannot read."""
    if not isinstance(rows, list) or isinstance(rows[0], (list, tuple)):
        return rows
    column = Ragged.from_rows(rows, name).column()
    return column._replace(values=column.values.astype(np.int64, copy=False)) if int64 else column


def edges_of(rows: int, width: int) -> npt.NDArray[np.int64]:
    """The offsets of rows of one length."""
    return np.arange(0, rows * width + 1, width, dtype=np.int64) if width else np.zeros(rows + 1, np.int64)


def check_aligned(column: Ragged, rows: Ragged, name: str) -> None:
    """Raise unless `column` has one entry for each token of `rows`."""
    check_row_count(column, rows, name)
    wrong = np.flatnonzero(np.diff(column.offsets) != np.diff(rows.offsets))
    if len(wrong):
        row = int(wrong[0])
        check_row_length(column[row], rows[row], row, name)


def check_row_count(column: Sized, rows: Sized, name: str) -> None:
    """Raise unless `column` has as many rows as `rows`."""
    if len(column) != len(rows):
        raise ValueError(f"{name}: {len(column)} rows for {len(rows)} rows of ids; pass one for each.")


def check_row_length(entries: Sized, ids: Sized, row: int, name: str) -> None:
    """Raise unless row number `row` of a column has one entry for each id."""
    if len(entries) != len(ids):
        raise ValueError(f"{name}: row {row} has {len(entries)} entries for {len(ids)} ids; pass one for each token.")


def two_dimensional(column: Any, name: str, shape: tuple[int, int]) -> npt.NDArray[Any]:
    """A 2-D column of integers or flags in the shape of the rows."""
    column = listed(column)
    if isinstance(column, (list, tuple)):
        column = [to_numpy(row, f"{name}: row {number}") for number, row in enumerate(column)]
    array = as_array(column, name)
    if array.shape != shape:
        raise ValueError(f"{name}: has shape {array.shape}, the rows {shape}; pass one entry for each token.")
    return token_array(array.view(np.uint8) if array.dtype == np.bool_ else array, name)


def from_sequence(rows: list[Any], name: str) -> Ragged:
    """A list of rows, all of one kind."""
    if not rows:
        return Ragged(np.empty(0, np.int64), [0])
    first = rows[0]
    if first is None:
        raise TypeError(f"{name}: row 0 is None; remove such rows or fill them.")
    if isinstance(first, (list, tuple)):
        made = _core.from_lists(rows, name)
        return Ragged._unchecked(made.values, made.offsets)
    if isinstance(first, (str, bytes, Mapping, int, np.integer)) or not isinstance(first, Iterable):
        kind = type(first).__name__
        raise TypeError(
            f"{name}: expected a list of rows of token ids, but row 0 is of type {kind}; wrap a single row in a list: [{name}]."
        )
    arrays = _core.from_arrays(rows) if is_list_of_arrays(rows) else None
    if arrays is not None:
        return Ragged._unchecked(arrays.values, arrays.offsets)
    checked = [row_array(row, name, number) for number, row in enumerate(rows)]
    filled = {array.dtype: number for number, array in reversed(list(enumerate(checked))) if len(array)}
    if len(filled) > 1:
        (one, first_row), (other, other_row) = sorted(filled.items(), key=lambda item: item[1])[:2]
        raise TypeError(f"{name}: row {other_row} has dtype {other}, row {first_row} has {one}; cast all rows to one dtype.")
    dtype = next(iter(filled), np.dtype(np.int64))
    offsets = np.zeros(len(checked) + 1, np.int64)
    np.cumsum([len(array) for array in checked], out=offsets[1:])
    return Ragged._unchecked(np.concatenate([array.astype(dtype, copy=False) for array in checked]), offsets)


def row_array(row: Any, name: str, number: int) -> npt.NDArray[Any]:
    """One row as a 1-D array of ids; `number` is used in error messages."""
    where = f"{name}: row {number}"
    if isinstance(row, (list, tuple)):
        raise TypeError(f"{where} is of type {type(row).__name__}, row 0 is an array; all rows must have the same type.")
    if row is None:
        raise TypeError(f"{where} is None; remove such rows or fill them.")
    array = as_array(row, where)
    if array.ndim != 1:
        raise ValueError(f"{where} has shape {array.shape}; expected 1-D.")
    return token_array(array, where)


def as_array(values: Any, name: str) -> npt.NDArray[Any]:
    """Anything that NumPy or torch makes an array of integers of, in whatever shape and dtype.

    Raises:
        ValueError, TypeError: they do not; the message has the argument's name, which theirs have not.
    """
    if is_tensor(values):
        return tensor_to_numpy(values, name)
    try:
        return values if isinstance(values, np.ndarray) else np.asarray(values)
    except ValueError:
        raise ValueError(
            f"{name}: rows of different lengths, or no numbers; pass a 2-D array, or one array for each row."
        ) from None
    except (TypeError, OverflowError) as error:
        raise TypeError(f"{name}: NumPy makes no array of {type(values).__name__}: {error}.") from error


def token_array(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """`array` in a dtype and memory order that the core reads: itself if possible, otherwise a lossless copy."""
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array, whose mask would be ignored; pass its data and an attention_mask.")
    array = np.asarray(array)  # an np.matrix, for instance, would never become one-dimensional
    flags = array.flags
    if array.dtype in TOKEN_DTYPES and flags.c_contiguous and flags.aligned:
        return array
    if array.dtype in WIDENED_DTYPES:
        array = array.astype(np.int32)
    elif array.dtype == np.uint64:
        if array.size and (largest := int(array.max())) >= 2**63:  # as Python's integers: NumPy 1 compares such numbers as floats
            raise ValueError(f"{name}: id {largest} does not fit in int64; token ids must be below 2**63.")
        array = array.astype(np.int64)
    elif array.size == 0 and array.dtype == np.float64:  # NumPy's array of an empty list
        array = array.astype(np.int64)
    native = array.dtype.newbyteorder("=")
    if native not in TOKEN_DTYPES:
        raise TypeError(f"{name}: expected integer token ids, got {array.dtype}; cast them, for instance with .astype('int64').")
    return np.require(array, native, ["C_CONTIGUOUS", "ALIGNED"])


def is_tensor(value: Any) -> bool:
    """Whether `value` is a torch tensor, or of a class derived from it, without importing torch."""
    return hasattr(type(value), "__torch_function__") and hasattr(value, "numpy")


def tensor_to_numpy(tensor: Any, name: str) -> npt.NDArray[Any]:
    """The tensor's memory as an array.

    Raises:
        TypeError: it is on another device, holds no integers, or is not dense.
    """
    if not tensor.is_cpu:
        raise TypeError(f"{name}: the tensor is on {tensor.device}; masks are made on the CPU, move it there with .cpu().")
    dtype = tensor.dtype
    if dtype.is_floating_point and tensor.dim() == 1 and not tensor.numel():  # torch's tensor of an empty list
        return np.empty(0, np.int64)
    if dtype.is_floating_point or dtype.is_complex:
        raise TypeError(f"{name}: expected integer token ids, got {dtype}; cast them with .long().")
    return dense_array(tensor, name)


def dense_array(tensor: Any, name: str) -> npt.NDArray[Any]:
    """A tensor without a gradient as an array; bits that only say "negate" or "conjugate" are applied.

    Raises:
        TypeError: its values are not in this process's memory as an array: meta, sparse, quantized, nested, of a dtype that NumPy lacks.
    """
    dense = str(tensor.layout) == "torch.strided"
    if tensor.device.type == "meta" or tensor.is_nested or tensor.is_quantized or not dense:
        kinds = {"on meta": tensor.device.type == "meta", "nested": tensor.is_nested, "quantized": tensor.is_quantized}
        kind = next((kind for kind, found in kinds.items() if found), str(tensor.layout).removeprefix("torch."))
        raise TypeError(f"{name}: the tensor is {kind}; pass a dense tensor on the CPU, or a list of rows.")
    try:
        array: npt.NDArray[Any] = tensor.resolve_conj().resolve_neg().numpy()
    except (RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name}: NumPy cannot read this tensor of {tensor.dtype}: {error}") from error
    return array


def is_arrow(value: Any) -> bool:
    """Whether `value` supports the Arrow PyCapsule interface, or is a chunked array of pyarrow 15, which does not yet."""
    if hasattr(value, "__arrow_c_array__") or hasattr(value, "__arrow_c_stream__"):
        return True
    return type(value).__module__ == "pyarrow.lib" and type(value).__name__ == "ChunkedArray"


def pyarrow_array(value: Any, what: str) -> Any:
    """An Arrow array of any library as one of pyarrow, chunked or not.

    Raises:
        ImportError: there is no pyarrow, or one that does not read such arrays.
        TypeError: it holds what Arrow has no type for, such as a column of pandas with other objects than numbers.
    """
    pa = import_pyarrow(what)
    if isinstance(value, (pa.Array, pa.ChunkedArray)):
        return value
    is_array = hasattr(value, "__arrow_c_array__")
    if not is_array and not hasattr(pa.ChunkedArray, "__arrow_c_stream__"):  # pyarrow 15 would take its rows for chunks
        kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
        raise ImportError(f"{what} of {kind} needs pyarrow 16 or newer; install it with: pip install --upgrade pyarrow")
    try:
        return pa.array(value) if is_array else pa.chunked_array(value)
    except (ValueError, TypeError, OverflowError, NotImplementedError) as error:  # pyarrow's own are such
        raise TypeError(f"{what} cannot be read: {error}") from error


def items_of(rows: Any, name: str) -> list[Any]:
    """The items of an iterable.

    Raises:
        TypeError: it has none, although it seems to be iterable: a tensor without memory, an array without dimensions.
    """
    try:
        return list(rows)
    except (TypeError, RuntimeError) as error:
        raise TypeError(f"{name}: expected rows, got a {type(rows).__name__} that has none: {error}") from error


def listed(column: Any) -> Any:
    """An Arrow array, or a column of pandas or Polars, as a list, JSON parsed; anything else is returned unchanged."""
    if not is_arrow(column):
        return column
    if hasattr(column, "to_list") and not hasattr(column, "to_pylist"):  # pandas and Polars
        return column.to_list()
    return python_objects(column if hasattr(column, "to_pylist") else pyarrow_array(column, "an Arrow column"))


def from_arrow(array: Any, name: str) -> Ragged:
    """An Arrow list array of integers, from any library."""
    flat, offsets = arrow_lists(array, name)
    if flat.null_count:
        position = flat.is_null().index(True).as_py()
        row = int(np.searchsorted(offsets, position, side="right")) - 1
        raise ValueError(f"{name}: row {row} has a null at position {position - offsets[row]}; remove or fill it.")
    if not len(flat):
        return Ragged._unchecked(np.empty(0, np.int64), offsets.astype(np.int64))  # lists without entries may have no type
    if not import_pyarrow(f"an Arrow {name}").types.is_integer(flat.type):
        raise TypeError(f"{name}: expected an Arrow list of integers, got a list of {flat.type}; cast it.")
    return Ragged(token_array(flat.to_numpy(), name), offsets)


def arrow_lists(array: Any, name: str) -> tuple[Any, npt.NDArray[np.int64]]:
    """The values of an Arrow list array, as an Arrow array, and the offsets of its rows."""
    pa = import_pyarrow(f"an Arrow {name}")
    if not isinstance(array, (pa.Array, pa.ChunkedArray)):
        if hasattr(array, "column_names") or hasattr(array, "columns"):
            raise TypeError(f"{name}: expected one column of token ids, got a table; pass for instance table['input_ids'].")
        array = pyarrow_array(array, f"{name}: an Arrow column")
    if isinstance(array, pa.ChunkedArray):  # combining copies, even a single chunk
        array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
    if isinstance(array, pa.ExtensionArray):  # tensors of one shape
        array = array.storage
    if pa.types.is_dictionary(array.type):
        array = array.dictionary.take(array.indices)
    kind = array.type
    has_offsets = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (has_offsets or pa.types.is_fixed_size_list(kind) or "list_view" in str(kind).partition("<")[0]):
        raise TypeError(f"{name}: expected an Arrow list of integers, got {kind}.")
    if array.null_count:
        raise ValueError(f"{name}: row {array.is_null().index(True).as_py()} is null; remove such rows or fill them.")
    if not has_offsets:  # a cast to lists leaves out the last offset of list views in pyarrow 26
        lengths = array.value_lengths().to_numpy()
        offsets, flat = np.append(0, np.cumsum(lengths, dtype=np.int64)), array.flatten()
    else:
        offsets = array.offsets.to_numpy()
        flat = array.values[offsets[0] : offsets[-1]] if len(offsets) else array.values
        offsets = offsets - offsets[0] if len(offsets) else np.zeros(1, np.int64)
    return (flat.dictionary_decode() if pa.types.is_dictionary(flat.type) else flat), offsets


def import_pyarrow(what: str) -> Any:
    """Import pyarrow, or raise an error that says how to install it."""
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"{what} needs pyarrow; install it with: pip install 'spanmask[arrow]'") from error
    return pyarrow


def as_rows(column: Any, name: str, *, integers: bool = True) -> list[npt.NDArray[Any]]:
    """One row or several rows, in any type that users pass, as a list of 1-D arrays.

    Unlike `Ragged.from_rows` it also takes a single row, tensors on any device and flags. It visits the rows one by one in Python,
    so use it only for a few rows.

    Args:
        column: a list, tuple, array or tensor of ids or of rows; a `Ragged`; an Arrow list array.
        name: the argument's name in error messages.
        integers: entries are integers or flags; `False` accepts any numbers, for instance loss weights.

    Raises:
        TypeError: the argument is neither a row nor rows, or entries are not integers.
        ValueError: a row is not 1-D.

    >>> as_rows([5, 6], "rows"), as_rows([[5], [6, 7]], "rows")
    ([array([5, 6])], [array([5]), array([6, 7])])
    """
    if is_arrow(column):
        column = Ragged.from_rows(column, name) if integers else listed(column)
    column = to_numpy(column, name)
    if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected token ids or rows of token ids, got {type(column).__name__}.")
    items = [to_numpy(item, f"{name}: row {number}") for number, item in enumerate(items_of(column, name))]
    try:
        is_row = bool(items) and all(np.ndim(item) == 0 for item in items)
    except ValueError:  # an item holds lists of different lengths
        is_row = False
    if is_row:
        items = [np.asarray(items)]
    arrays = [
        item if isinstance(item, np.ndarray) else as_array(item, f"{name}: row {number}") for number, item in enumerate(items)
    ]
    for number, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(f"{name}: row {number} has shape {array.shape}; expected 1-D.")
        if integers and array.dtype != np.bool_:
            arrays[number] = token_array(array, f"{name}: row {number}")
        elif array.dtype.kind not in "biuf":
            raise TypeError(f"{name}: row {number} holds {array.dtype}; expected numbers.")
    return arrays


def to_numpy(value: Any, name: str) -> Any:
    """A tensor on any device, with or without a gradient, as an array; anything else is returned unchanged. `name`: for errors.

    Raises:
        TypeError: NumPy cannot read the tensor; or the value is a masked array, whose mask nothing here reads.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array, whose mask would be ignored; pass its data, or fill it: .filled(0).")
    if is_tensor(value):
        value = value.detach()
        if value.dtype.is_floating_point and not value.is_quantized and str(value.dtype) in NARROW_FLOATS:
            value = value.float()  # exact
        return dense_array(value if value.device.type == "meta" else value.cpu(), name)
    return value


def check_return_tensors(return_tensors: Any) -> None:
    """Raise unless batches can be returned as these: `"pt"`, where torch is installed, or `"np"`."""
    check_choice("return_tensors", return_tensors, ReturnTensors)
    if return_tensors == "pt":
        check_installed("torch", "torch", "return_tensors: 'pt'", "; or pass return_tensors='np'")


def to_tensors(batch: Mapping[str, Any], return_tensors: str) -> dict[str, Any]:
    """Arrays as torch tensors over the same memory (`"pt"`), or unchanged (`"np"`)."""
    if return_tensors == "np":
        return dict(batch)
    check_return_tensors(return_tensors)
    import torch

    return {name: torch.from_numpy(value) if isinstance(value, np.ndarray) else value for name, value in batch.items()}
