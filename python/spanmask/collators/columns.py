"""Examples as columns, and columns as tensors: what all collators do before and after they call the core."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.ragged import is_arrow, items_of, listed, to_numpy

__all__ = [
    "add_columns",
    "check_distinct",
    "columns_of",
    "is_batch",
    "required_column",
    "select_rows",
    "stack_columns",
    "token_column",
]

# Columns that a chat template reads, as Python's own lists and dicts.
RENDERED = ("messages", "tools")


def is_batch(features: Any) -> bool:
    """Whether these are not examples, but a batch that a collator made of some: a mapping with ids and labels."""
    return isinstance(features, Mapping) and "input_ids" in features and "labels" in features


def columns_of(features: Any) -> dict[str, Any]:
    """The columns of a batch of examples: a list of dicts, a table (Arrow, pandas or Polars) or a list of tables, or a dict of columns.

    Raises:
        ValueError: there is no example, one does not have the same columns as the first (the message names both), columns differ in
            length, or two have the same name.
        TypeError: the examples are not dicts, or a column has no entries.
    """
    if type(features) is list and set(map(type, features)) == {dict} and len(set(map(len, features))) == 1:
        try:  # the usual case, before the slower checks of others
            return {name: list(map(itemgetter(name), features)) for name in features[0]}
        except KeyError:
            pass  # the example that lacks a name is found below
    if is_data_frame(features):
        check_distinct(map(str, features.columns), "features")
        features = {str(name): list(features[name]) for name in features.columns}
    if is_polars_frame(features):
        features = features.to_arrow()
    if is_arrow(features) and hasattr(features, "column_names"):
        if not features.num_rows:
            raise ValueError("features: the batch is empty; a collator needs at least one example.")
        check_distinct(features.column_names, "features")
        return {name: listed(features[name]) if name in RENDERED else features[name] for name in features.column_names}
    if isinstance(features, Mapping):
        sizes = {name: size_of(name, column) for name, column in features.items()}
        if not any(sizes.values()):
            raise ValueError("features: the batch is empty; a collator needs at least one example.")
        if len(set(sizes.values())) > 1:
            counts = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"features: the columns have different numbers of entries ({counts}); pass one for each example.")
        # A column of pandas is numbered by its index, not by its places.
        return {name: list(column) if is_series(column) else column for name, column in features.items()}
    if isinstance(features, (str, bytes)) or not isinstance(features, Iterable):
        raise TypeError(f"features: expected a list of examples, got {type(features).__name__}.")
    examples = items_of(features, "features")
    if not examples:
        raise ValueError("features: the batch is empty; a collator needs at least one example.")
    if any(map(is_table, examples)):
        # A data set in the format "arrow", "pandas" or "polars" returns each example as a table of one row.
        examples = [example for table in examples for example in examples_of(table)]
    for number, example in enumerate(examples):
        if not isinstance(example, Mapping):
            raise TypeError(f"features: example {number} is of type {type(example).__name__}; expected a dict of columns.")
    names = examples[0].keys()
    for number, example in enumerate(examples):
        if example.keys() != names:  # a column of a single example, such as labels, would be silently dropped
            name = next(name for name in (*names, *example) if name not in example or name not in names)
            has, lacks = (0, number) if name in names else (number, 0)
            raise ValueError(
                f"features: example {lacks} has no {name!r}, which example {has} has; give all examples the same columns."
            )
    return {name: [example[name] for example in examples] for name in names}


def size_of(name: object, column: Any) -> int:
    """The number of entries of a column.

    Raises:
        TypeError: it has none, such as a number, a nested tensor or a dict.
    """
    try:
        if isinstance(column, Mapping):
            raise TypeError
        return len(column)
    except (TypeError, RuntimeError):  # torch's own
        raise TypeError(
            f"features: column {name!r} is of type {type(column).__name__}; expected an entry for each example."
        ) from None


def is_data_frame(value: Any) -> bool:
    """Whether `value` is a pandas DataFrame, without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "columns")


def is_polars_frame(value: Any) -> bool:
    """Whether `value` is a DataFrame of Polars, without importing Polars."""
    return type(value).__module__.partition(".")[0] == "polars" and hasattr(value, "to_arrow") and hasattr(value, "columns")


def is_table(value: Any) -> bool:
    """Whether `value` is a table: of Arrow, pandas or Polars."""
    return is_data_frame(value) or is_polars_frame(value) or (is_arrow(value) and hasattr(value, "column_names"))


def check_distinct(names: Iterable[str], argument: str) -> None:
    """Raise ValueError if a table has two columns of the same name: which of them is meant cannot be known."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"{argument}: two columns are called {name!r}; rename or remove one of them.")
        seen.add(name)


def is_series(value: Any) -> bool:
    """Whether `value` is a column of pandas, without importing pandas."""
    return type(value).__module__.partition(".")[0] == "pandas" and hasattr(value, "iloc") and not hasattr(value, "columns")


def examples_of(table: Any) -> list[Any]:
    """The examples of a table as dicts; anything else is returned as a single example."""
    if not is_table(table):
        return [table]
    columns = columns_of(table)
    rows = zip(*map(listed, columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def select_rows(columns: Mapping[str, Any], kept: Sequence[int]) -> dict[str, Any]:
    """The columns of the rows `kept`."""
    places = np.asarray(kept, np.int64)
    selected = {}
    for name, column in columns.items():
        if hasattr(column, "to_pylist"):  # pyarrow's
            selected[name] = column.take(places)
        else:
            entries = listed(column)  # numbers in the index of a pandas column are not places
            selected[name] = [entries[row] for row in kept]
    return selected


def add_columns(batch: dict[str, Any], option: str, columns: Mapping[str, Any]) -> None:
    """Put columns that `option` names into a batch.

    Raises:
        ValueError: the batch has a column of this name already.
    """
    for name, column in columns.items():
        if name in batch:
            raise ValueError(f"{option}: the collator creates the column {name!r} itself; remove it from {option}.")
        batch[name] = column


def stack_columns(columns: Mapping[str, Any], names: Iterable[str]) -> dict[str, npt.NDArray[Any]]:
    """The named columns, each as one array.

    Raises:
        ValueError: a column is missing, or its entries differ in shape.
    """
    stacked = {}
    for name in names:
        column = required_column(columns, "keep_columns", name)
        what = f"keep_columns: column {name!r}"
        entries = [to_numpy(entry, f"{what}: row {row}") for row, entry in enumerate(items_of(listed(column), what))]
        try:
            array = np.asarray([np.asarray(entry) for entry in entries])
        except (ValueError, OverflowError):
            array = np.asarray(None)
        if array.dtype.kind not in "iufb":
            raise ValueError(f"keep_columns: column {name!r} cannot be stacked into one array of numbers; drop or pad it first.")
        stacked[name] = array
    return stacked


def required_column(columns: Mapping[str, Any], option: str, name: str) -> Any:
    """A column that an option of the collator names.

    Raises:
        ValueError: the examples do not have it.
    """
    if name not in columns:
        raise ValueError(
            f"{option}: no column {name!r}; the examples have {', '.join(map(repr, columns))}. A trainer drops columns that its model does "
            "not take: set remove_unused_columns=False in its arguments."
        )
    return columns[name]


def token_column(columns: Mapping[str, Any]) -> Any:
    """The column of token ids.

    Raises:
        ValueError: there is none.
    """
    if "input_ids" not in columns:
        raise ValueError(f"features: no 'input_ids'; the examples have {', '.join(map(repr, columns))}.")
    return columns["input_ids"]
