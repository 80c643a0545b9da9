"""What users pass as data -> pieces of rows, each row with its number in the whole."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from spanmask._validate import short
from spanmask.data.files import (
    PIECE_BYTES,
    PIECE_ROWS,
    Piece,
    expand,
    kind_of,
    parts_of_files,
    piece_of,
    read_part,
    warn_of_rows_not_read,
)
from spanmask.data.write import without
from spanmask.errors import DataError
from spanmask.ragged import import_pyarrow, is_arrow

__all__ = ["GIVEN", "READ", "Source", "source_of"]

# Labels of the data, or flags of the tokens that train; the first that there is. The last two are TRL's.
GIVEN = ("labels", "loss_mask", "assistant_masks", "completion_mask")
# The columns that say something about masks; others are not read.
READ = (
    *("input_ids", *GIVEN, "attention_mask", "turn_mask", "turn_weights"),
    *("messages", "prompt", "completion", "conversations", "text", "tools", "chat_template_kwargs", "system"),
)


class _Pieces(Protocol):
    def __call__(self, names: Sequence[str]) -> Iterator[Piece]: ...


@dataclass(frozen=True)
class Source:
    """Where rows come from. `source_of` returns a source as it is.

    Attributes:
        name: what to call the data.
        pieces: called with the names of the columns to read; gives pieces whose `numbers` count all rows, from 0.
        rows: how many there are; `None` if that is not known before they are read.
        files: each file, and the number of its first row.
        made_by: what `spanmask mask` wrote into the first file about itself.
    """

    name: str
    pieces: _Pieces
    rows: int | None = None
    files: Sequence[tuple[str, int]] = ()
    made_by: Mapping[str, Any] = field(default_factory=dict)

    def without(self, dropped: Collection[str]) -> Source:
        """The same rows without some columns."""

        def pieces(names: Sequence[str]) -> Iterator[Piece]:
            for piece in self.pieces([name for name in names if name not in dropped]):
                yield without(piece, dropped)

        return replace(self, pieces=pieces) if dropped else self


def source_of(data: Any, name: str = "data") -> Source:
    """Read the argument `data`; errors name it `name`.

    Raises:
        TypeError: it is nothing that holds rows.
        DataError: files cannot be found or read.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, (str, Path)):
        return files_source([str(data)])
    module = type(data).__module__.partition(".")[0]
    if module == "datasets" and not isinstance(data, Mapping):
        rows = len(data) if hasattr(data, "__len__") else None
        return Source(type(data).__name__, partial(dataset_pieces, data), rows)
    if is_arrow(data) and hasattr(data, "column_names"):
        metadata = data.schema.metadata or {}
        return Source("Arrow table", partial(table_pieces, data), data.num_rows, made_by=made_by(metadata))
    if isinstance(data, Mapping):
        columns = list(data.values())
        if not columns or not all(is_arrow(column) or isinstance(column, (Sequence, np.ndarray)) for column in columns):
            raise TypeError(
                f"{name}: expected a data set, files, a table or a list of dicts, got {type(data).__name__}. Pass one split of a "
                f"DatasetDict: {name}['train']."
            )
        examples = [dict(zip(data, row, strict=True)) for row in zip(*columns, strict=True)]
        return Source("columns", partial(list_pieces, examples), len(examples))
    if isinstance(data, (list, tuple)) and data and all(isinstance(one, (str, Path)) for one in data):
        return files_source([str(one) for one in data])
    if isinstance(data, bytes) or not isinstance(data, Iterable) or getattr(data, "ndim", 1) == 0:
        raise TypeError(f"{name}: expected a data set, files, a table or a list of dicts, got {type(data).__name__}.")
    return Source(type(data).__name__, partial(list_pieces, data), len(data) if isinstance(data, Sequence) else None)


def files_source(patterns: Sequence[str]) -> Source:
    """The rows of files."""
    paths = expand(patterns)
    warn_of_rows_not_read(patterns, paths)
    parts = parts_of_files(paths, 1 << 62)
    if not parts:
        raise DataError(f"{', '.join(patterns)}: no rows.")
    firsts = [0, *np.cumsum([part.stop for part in parts]).tolist()]

    def pieces(names: Sequence[str]) -> Iterator[Piece]:
        for part, first in zip(parts, firsts, strict=False):
            for piece in read_part(part, names):
                numbers = np.asarray(piece.numbers, np.int64) + first
                yield Piece(piece.columns, numbers, {first + row: bad for row, bad in piece.bad.items()})

    files = [(str(part.path), first) for part, first in zip(parts, firsts, strict=False)]
    return Source(", ".join(patterns), pieces, firsts[-1], files, file_made_by(parts[0].path))


def file_made_by(path: Path) -> Mapping[str, Any]:
    """What the metadata of a Parquet file say about the command that made it."""
    if kind_of(path) != "parquet":
        return {}
    import pyarrow.parquet

    return made_by(pyarrow.parquet.read_schema(path).metadata or {})


def made_by(metadata: Mapping[bytes, bytes]) -> Mapping[str, Any]:
    """The entry `spanmask` of a schema's metadata."""
    try:
        described = json.loads(metadata.get(b"spanmask", b"{}"))
    except ValueError:
        return {}
    return described if isinstance(described, dict) else {}


def numbered(first: int, columns: Mapping[str, Any], rows: int) -> Piece:
    """A piece whose first row has the number `first`."""
    return Piece(columns, range(first, first + rows), {})


def table_pieces(table: Any, names: Sequence[str], first: int = 0) -> Iterator[Piece]:
    """Slices of a table or record batch."""
    size = max(1, table.nbytes // max(1, table.num_rows))
    step = max(1, min(PIECE_ROWS, PIECE_BYTES // size))
    known = [name for name in table.column_names if name in names]
    for start in range(0, table.num_rows, step):
        part = table.slice(start, step)
        yield numbered(first + start, {name: part[name] for name in known}, part.num_rows)


def dataset_pieces(dataset: Any, names: Sequence[str]) -> Iterator[Piece]:
    """The rows of a data set of `datasets`, whatever its format is."""
    pa = import_pyarrow("audit of a data set")
    kind = (getattr(dataset, "format", None) or {}).get("type") if hasattr(dataset, "format") else None
    rows = dataset if kind == "custom" else dataset.with_format("arrow")  # a transform of the user's makes the rows
    first = 0
    for batch in rows.iter(batch_size=PIECE_ROWS):
        if isinstance(batch, pa.Table):
            yield from table_pieces(batch, names, first)
            first += batch.num_rows
        else:
            count = len(next(iter(batch.values())))
            yield numbered(first, {name: column for name, column in batch.items() if name in names}, count)
            first += count


def batches(examples: Iterable[Any]) -> Iterator[list[Any]]:
    """Rows in lists of bounded size."""
    some: list[Any] = []
    size = 0
    for one in examples:
        some.append(one)
        ids: Any = one.get("input_ids") if isinstance(one, Mapping) else None
        size += 8 * len(ids) if hasattr(ids, "__len__") else 0
        if len(some) >= PIECE_ROWS or size >= PIECE_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def list_pieces(examples: Iterable[Any], names: Sequence[str]) -> Iterator[Piece]:
    """Dicts, in pieces."""
    first = 0
    for some in batches(examples):
        good = {first + at: one for at, one in enumerate(some) if isinstance(one, Mapping)}
        bad = {
            first + at: (f"expected a dict of columns, got {type(one).__name__}.", short(one))
            for at, one in enumerate(some)
            if not isinstance(one, Mapping)
        }
        piece = piece_of(good, bad)
        yield Piece({name: column for name, column in piece.columns.items() if name in names}, piece.numbers, piece.bad)
        first += len(some)
