"""The base of the operators: an Arrow table in, the same kind of table out, with columns added or replaced."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask._validate import as_column_names, as_names, check_installed
from spanmask.collators.columns import check_distinct, select_rows
from spanmask.noise.schedule import ALGORITHM
from spanmask.ragged import import_pyarrow, is_arrow

__all__ = ["Operator", "entry_kind", "joined", "list_array", "list_kind"]

# Rows and tokens that are handled at once: what is made on the way is about 100 MB.
PART_ROWS, PART_TOKENS = 8192, 1 << 22

# What `datasets` and pandas write about the columns of a table; wrong for a table with other columns.
STALE_METADATA = (b"huggingface", b"pandas")


class Operator:
    """Adds columns to Arrow tables. Rows do not depend on their table: any partitioning of a data set gives the same rows.

    An operator can be pickled, and is equal in all processes. `datasets` recognizes it in its cache: its state is its options and the
    version of the algorithm, not what it has done.

    Args:
        columns: the names of columns that are read, where the table has other names: `{"messages": "dialogue"}`.
        keep_columns: names of the table's columns to pass on; by default all of them.
    """

    def __init__(self, columns: Mapping[str, str] | None, keep_columns: Iterable[str] | None) -> None:
        check_installed("pyarrow", "arrow", type(self).__name__)
        self._columns = as_column_names(columns)
        self._keep_columns = None if keep_columns is None else as_names("keep_columns", keep_columns)
        self._algorithm = ALGORITHM

    def __call__(self, table: Any) -> Any:
        """Handle a table or a record batch.

        Returns:
            The same kind, with the schema that `schema` gives.

        Raises:
            TypeError: not an Arrow table or record batch.
            ValueError: a column is missing or there twice, or a row cannot be used; the message names it.
        """
        pa = import_pyarrow(type(self).__name__)
        if isinstance(table, pa.RecordBatch):
            whole = pa.Table.from_batches([table])
        elif isinstance(table, pa.Table):
            whole = table
        else:
            raise TypeError(
                f"table: expected an Arrow table or record batch, got {type(table).__name__}. With datasets: "
                'dataset.with_format("arrow").map(masker, batched=True); with Ray: batch_format="pyarrow".'
            )
        schema = self.schema(whole.schema)
        made = [self.table_of(dict(zip(part.column_names, part.columns, strict=True)), schema) for part in parts_of(whole)]
        # Not `schema.empty_table()`, which cannot make columns of JSON.
        empty = pa.Table.from_arrays([pa.chunked_array([], field.type) for field in schema], schema=schema)
        out = pa.concat_tables([empty, *made])
        if isinstance(table, pa.Table):
            return out
        batches = out.combine_chunks().to_batches()
        return batches[0] if batches else pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)

    def map_in_arrow(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Handle record batches one after the other, as Spark's `DataFrame.mapInArrow` calls it."""
        for batch in batches:
            yield self(batch)

    def schema(self, schema: Any) -> Any:
        """The schema of the output for a table of this schema.

        Args:
            schema: a `pyarrow.Schema`, or the schema of a Spark data frame.

        Returns:
            The same kind.
        """
        if type(schema).__module__.partition(".")[0] == "pyspark":
            from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

            return from_arrow_schema(self.schema(to_arrow_schema(schema)))
        pa = import_pyarrow(type(self).__name__)
        check_distinct(schema.names, "table")
        for name in self._columns.values():
            self._require(schema, "columns", name)
        for name in self._keep_columns or ():
            self._require(schema, "keep_columns", name)
        known = self._known(schema.names)
        made = self._made({name: schema.field(own).type for name, own in known.items()})
        left_out = {known[name] for name in self._left_out() if name in known}
        fields = []
        for field in schema:
            if field.name in made:
                fields.append(pa.field(field.name, made.pop(field.name)))
            elif field.name not in left_out if self._keep_columns is None else field.name in self._keep_columns:
                fields.append(field)
        fields += [pa.field(name, kind) for name, kind in made.items()]
        metadata = {key: value for key, value in (schema.metadata or {}).items() if key not in STALE_METADATA}
        return pa.schema(fields, metadata or None)

    def _require(self, schema: Any, option: str, name: str) -> None:
        if name not in schema.names:
            raise ValueError(f"{option}: no column {name!r}; the table has {', '.join(map(repr, schema.names))}.")

    def _known(self, names: Sequence[str]) -> dict[str, str]:
        """The table's columns by the names under which they are read."""
        renamed = {own: known for known, own in self._columns.items()}
        return {renamed.get(name, name): name for name in names if name not in self._columns or name in renamed}

    def table_of(self, columns: Mapping[str, Any], schema: Any) -> Any:
        """The output for some rows.

        Args:
            columns: the columns of the rows by name, each a list or an Arrow array.
            schema: the schema of the output; a column that is not there is null.

        Raises:
            ValueError, TypeError: a row cannot be used; the message names it.
        """
        pa = import_pyarrow(type(self).__name__)
        known = {name: columns[own] for name, own in self._known(list(columns)).items()}
        made, kept = self._make(known)
        if kept is not None:
            columns = select_rows(columns, kept.tolist())
        rows = len(next(iter(made.values()))[1]) - 1
        arrays = [
            list_array(*made[field.name], field.type, field.name)
            if field.name in made
            else array_of(columns[field.name], field)
            if field.name in columns
            else pa.nulls(rows, field.type)
            for field in schema
        ]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _made(self, types: Mapping[str, Any]) -> dict[str, Any]:
        """The types of the columns that are made, by name. `types`: those of the columns that are read."""
        raise NotImplementedError

    def _left_out(self) -> Collection[str]:
        """The columns that are not passed on unless they are named."""
        return ()

    def _make(
        self, columns: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], npt.NDArray[np.int64] | None]:
        """The columns that are made, as values and offsets, and the rows that they hold (`None`: all)."""
        raise NotImplementedError


def parts_of(table: Any) -> Iterator[Any]:
    """The table in parts of bounded size."""
    rows = table.num_rows
    bytes_per_row = max(1, table.nbytes // max(1, rows))
    step = max(1, min(PART_ROWS, 4 * PART_TOKENS // bytes_per_row))
    for first in range(0, rows, step):
        yield table.slice(first, step)


def list_kind(kind: Any, values: Any) -> Any:
    """The list type for new values, an Arrow type or its name, beside a column of type `kind`: a large list if that is one, else a list."""
    pa = import_pyarrow("an Arrow table")
    value_type = getattr(pa, values)() if isinstance(values, str) else values
    return pa.large_list(value_type) if kind is not None and pa.types.is_large_list(kind) else pa.list_(value_type)


def entry_kind(kind: Any, name: str) -> Any:
    """The type of the entries of a column of lists, however it is stored.

    Raises:
        TypeError: it holds no lists.
    """
    kind = stored_kind(kind)
    if not hasattr(kind, "value_type"):
        raise TypeError(f"{name}: expected an Arrow list with an entry for each token, got {kind}.")
    return stored_kind(kind.value_type)


def stored_kind(kind: Any) -> Any:
    """The type of the values of a column that may have an extension type, or be encoded by a dictionary or by runs."""
    pa = import_pyarrow("an Arrow table")
    kind = getattr(kind, "storage_type", kind)
    return kind.value_type if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind) else kind


def list_array(values: npt.NDArray[Any], offsets: npt.NDArray[np.int64], kind: Any, name: str) -> Any:
    """An Arrow list array of values, cast to the value type of `kind`.

    Raises:
        ValueError: a value does not fit.
    """
    pa = import_pyarrow("an Arrow table")
    wanted = dtype_of(kind.value_type)
    if values.dtype != wanted and wanted.kind == "i" and len(values):
        least, most = int(values.min()), int(values.max())
        limits = np.iinfo(wanted)
        if least < limits.min or most > limits.max:
            raise ValueError(f"{name}: the id {most if most > limits.max else least} does not fit in {wanted}.")
    flat = arrow_array(values.astype(wanted, copy=False))
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(arrow_array(offsets), flat, type=kind)
    return pa.ListArray.from_arrays(arrow_array(offsets.astype(np.int32)), flat, type=kind)


def dtype_of(kind: Any) -> np.dtype[Any]:
    """The dtype of a type of numbers or flags. Its own `to_pandas_dtype` imports pandas before pyarrow 16."""
    pa = import_pyarrow("an Arrow table")
    if pa.types.is_boolean(kind):
        return np.dtype(np.bool_)
    letter = "f" if pa.types.is_floating(kind) else "u" if pa.types.is_unsigned_integer(kind) else "i"
    return np.dtype(f"{letter}{kind.bit_width // 8}")


def arrow_array(values: npt.NDArray[Any]) -> Any:
    """Numbers or flags as an Arrow array. `pyarrow.array` would import pandas first, if it is there: a quarter of a second."""
    pa = import_pyarrow("an Arrow table")
    stored = np.packbits(values, bitorder="little") if values.dtype == np.bool_ else np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(stored)])


def array_of(column: Any, field: Any) -> Any:
    """A column that is passed on, in the type of its field.

    Raises:
        ValueError: an entry of a list has another type, or does not fit in it without loss.
    """
    pa = import_pyarrow("an Arrow table")
    if is_arrow(column):
        return column.cast(field.type) if pa.types.is_null(column.type) else column
    try:
        found = pa.infer_type(column)
        if joined(found, field.type) != field.type:  # pyarrow would cut 1.5 to 1, and leave out keys that a struct lacks
            raise ValueError(f"{field.name}: an entry is {found}, not {field.type} as in the rows before.")
        return pa.array(column, field.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"{field.name}: an entry is not {field.type} as in the rows before ({error}).") from error


def joined(one: Any, other: Any) -> Any:
    """The type that holds the values of two types of JSON without loss; `None` if there is none.

    >>> import pyarrow
    >>> str(joined(pyarrow.struct({"a": pyarrow.int64()}), pyarrow.struct({"a": pyarrow.float64(), "b": pyarrow.string()})))
    'struct<a: double, b: string>'
    """
    pa = import_pyarrow("an Arrow table")
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    if {one, other} == {pa.int64(), pa.float64()}:
        return pa.float64()
    if pa.types.is_struct(one) and pa.types.is_struct(other):
        fields = {field.name: field.type for field in other}
        for field in one:
            kind = joined(fields.get(field.name, field.type), field.type)
            if kind is None:
                return None
            fields[field.name] = kind
        return pa.struct(list(fields.items()))
    if pa.types.is_list(one) and pa.types.is_list(other):
        kind = joined(one.value_type, other.value_type)
        return None if kind is None else pa.list_(kind)
    return None
