"""Arrow arrays -> Python objects, JSON included: `datasets` stores messages and tools that differ from row to row as Arrow's JSON type."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["python_objects"]

Read = Callable[[Any], Any]


def python_objects(array: Any) -> list[Any]:
    """The entries of a pyarrow array, as `to_pylist` gives them, but values of the type `arrow.json` parsed, at any depth."""
    made: list[Any] = array.to_pylist()
    kind = getattr(array, "type", None)  # a table has none
    read = None if kind is None else reader_of(kind)
    return made if read is None else [read(entry) for entry in made]


def reader_of(kind: Any) -> Read | None:
    """What parses the JSON in an entry of a type; `None` if it has none."""
    from pyarrow import types

    if getattr(kind, "extension_name", "") == "arrow.json":
        return lambda entry: None if entry is None else json.loads(entry)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        read = reader_of(kind.value_type)
        return None if read is None else lambda entry: None if entry is None else [read(item) for item in entry]
    if types.is_struct(kind):
        readers = {
            field.name: read for field in map(kind.field, range(kind.num_fields)) if (read := reader_of(field.type)) is not None
        }
        if readers:
            return lambda entry: (
                None if entry is None else {**entry, **{name: read(entry[name]) for name, read in readers.items()}}
            )
    return None
