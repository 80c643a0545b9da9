"""Files of rows: Parquet, JSON lines (also .gz, .zst) and Arrow. They are read in parts, each part in pieces of bounded size."""

from __future__ import annotations

import glob
import json
import os
import warnings
from codecs import BOM_UTF8
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

from spanmask.errors import DataError, SpanmaskWarning
from spanmask.ragged import import_pyarrow

__all__ = ["MANIFEST", "Part", "Piece", "expand", "parts_of_files", "read_part", "warn_of_rows_not_read"]

PIECE_ROWS = 1024  # rows in memory at once, fewer if they are long
PIECE_BYTES = 8 << 20

SUFFIXES = {
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
MANIFEST = ".spanmask.json"  # what our commands write beside the data; readers of whole folders pass over such a name
# Others, which people use too, are not read.
OTHER_COMPRESSIONS = (".bz2", ".xz", ".lz4", ".br", ".snappy", ".lzma", ".zip", ".7z")
LOOKED_AT = 10_000  # entries of folders that are not read
# What `datasets.save_to_disk` writes beside the data.
NO_DATA = ("dataset_info.json", "state.json", "dataset_dict.json")


@dataclass(frozen=True)
class Part:
    """The rows `first` to `stop` of a file.

    `offset`: the byte at which the first of them begins, for uncompressed JSON lines.
    """

    path: Path
    first: int
    stop: int
    offset: int = 0

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.stop - self.first


@dataclass(frozen=True)
class Piece:
    """Rows that are in memory.

    Attributes:
        first: the number of the first row in its file.
        columns: the columns by name, each a list or an Arrow array.
        bad: rows that could not be read, by their number in the file: what is wrong, and their text. They are not in the columns.
        numbers: the number of each row in its file.
    """

    columns: Mapping[str, Any]
    numbers: Sequence[int]
    bad: Mapping[int, tuple[str, str]]

    def __len__(self) -> int:
        return len(self.numbers)


def expand(patterns: Iterable[str]) -> list[Path]:
    """The files that names, folders and globs stand for, in sorted order for each.

    Raises:
        DataError: nothing matches, or a file is of an unknown kind or cannot be read twice.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir():
            matches = files_in(path)
        elif path.exists():
            matches = [path]
        else:
            matches = [path for path in matches_of(pattern) if is_file(path)]
        if not matches:
            below, _ = rows_not_read(pattern, ())
            rest = "" if below is None else f" There is {below}; folders in a folder are passed over."
            raise DataError(
                f"{pattern}: no such file, and no folder or pattern with files of rows ({', '.join(SUFFIXES)}).{rest}"
            )
        for file in matches:
            if file.exists() and not file.is_file():
                raise DataError(f"{file}: is a pipe or a device, and rows are read twice; write them to a file.")
            if kind_of(file) is None:
                raise DataError(
                    f"{file}: expected a file with one of the endings {', '.join(SUFFIXES)}, the JSON ones also with .gz or .zst."
                )
        found += matches
    return list(dict.fromkeys(found))


def files_in(folder: Path) -> list[Path]:
    """The files of rows in a folder, without hidden ones. Of one that a command of ours wrote, only its output."""
    files = sorted(
        file
        for file in folder.iterdir()
        if kind_of(file) and file.name not in NO_DATA and not file.name.startswith(".") and is_file(file)
    )
    if (folder / MANIFEST).exists():
        return [file for file in files if file.match("part-*.parquet")]
    return files


def is_file(path: Path) -> bool:
    """Whether this is a file, or a link to one that is gone: passing over that would lose its rows."""
    return path.is_file() or (path.is_symlink() and not path.exists())


def matches_of(pattern: str) -> list[Path]:
    """What a glob matches."""
    return sorted(map(Path, glob.glob(pattern, recursive=True)))


def warn_of_rows_not_read(patterns: Iterable[str], files: Iterable[Path]) -> None:
    """Warn about rows that one may think are among `files`, to which the patterns were expanded."""
    read = set(files)
    for pattern in patterns:
        below, compressed = rows_not_read(pattern, read)
        if below is not None:
            warnings.warn(
                f"{pattern}: {below} is not read, since folders in a folder are passed over. To read it, name {below.parent} too.",
                SpanmaskWarning,
                stacklevel=3,
            )
        if compressed is not None:
            warnings.warn(
                f"{pattern}: {compressed} is not read. Decompress it, or compress it with gzip or zstd.",
                SpanmaskWarning,
                stacklevel=3,
            )


def rows_not_read(pattern: str, files: Collection[Path]) -> tuple[Path | None, Path | None]:
    """What a folder holds or a glob matches that has rows and is not one of the files: one in a folder below, one that is compressed in
    another way.
    """
    path = Path(pattern)
    if path.is_dir():
        others = [] if (path / MANIFEST).exists() else sorted(path.iterdir())
    else:
        others = [] if path.exists() else matches_of(pattern)
    others = [other for other in others if not other.name.startswith(".")]
    # `Path.exists` would raise for a folder that may not be looked into.
    folders = [other for other in others if other.is_dir() and not os.path.exists(other / MANIFEST)]
    below = next((file for file in rows_below(folders) if file not in files), None)
    compressed = [one for one in others if one.suffix.lower() in OTHER_COMPRESSIONS and kind_of(one.with_suffix("")) is not None]
    return below, next(iter(compressed), None)


def rows_below(tops: Iterable[Path]) -> Iterator[Path]:
    """Files of rows in folders and their folders, among the first of all entries."""
    entries = 0
    for path, folders, names in chain.from_iterable(map(os.walk, tops)):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        entries += len(folders) + len(names)
        yield from (file for name in sorted(names) if kind_of(file := Path(path, name)) and name not in NO_DATA)
        if entries > LOOKED_AT:
            return


def kind_of(path: Path) -> str | None:
    """`parquet`, `jsonl` or `arrow`, by the file's name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        return "jsonl" if len(suffixes) > 1 and SUFFIXES.get(suffixes[-2]) == "jsonl" else None
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def parts_of_files(paths: Sequence[Path], part_rows: int) -> list[Part]:
    """All rows of files in parts. The same files give the same parts.

    Lines are counted for this; Parquet and Arrow files state their rows.

    Raises:
        DataError: a file cannot be read.
    """
    parts = []
    for path in paths:
        try:
            edges = line_edges(path, part_rows) if kind_of(path) == "jsonl" else row_edges(rows_in(path), part_rows)
        except (DataError, ImportError):
            raise
        except Exception as error:
            raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}).") from error
        parts += [Part(path, first, stop, offset) for (first, offset), (stop, _) in pairwise(edges)]
    return parts


def row_edges(rows: int, part_rows: int) -> list[tuple[int, int]]:
    """Where parts begin, and where the last one ends."""
    return [(first, 0) for first in (*range(0, rows, part_rows), rows)]


def rows_in(path: Path) -> int:
    """The rows of a Parquet or Arrow file."""
    pa = import_pyarrow("a file of rows")
    if kind_of(path) == "parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    with pa.memory_map(str(path)) as file:
        return sum(batch.num_rows for batch in arrow_batches(file))


def line_edges(path: Path, part_rows: int) -> list[tuple[int, int]]:
    """Rows and bytes at which parts of JSON lines begin, and the end. Empty lines are counted, and skipped when they are read. A file with
    nothing else has no parts.
    """
    edges, lines, position, is_blank = [(0, 0)], 0, 0, True
    with open_lines(path) as file:
        last = b"\n"
        for block in iter(lambda: file.read(1 << 20), b""):
            count = block.count(b"\n")
            if lines + count >= edges[-1][0] + part_rows:
                place = 0
                while (at := block.find(b"\n", place)) >= 0:
                    lines, place = lines + 1, at + 1
                    if lines == edges[-1][0] + part_rows:
                        edges.append((lines, position + place))
            else:
                lines += count
            begin = block if position else block.removeprefix(BOM_UTF8)
            is_blank = is_blank and not begin.strip()
            if not position and begin.lstrip()[:1] == b"[":
                raise DataError(f"{path}: holds one JSON array; expected JSON lines, an object a line (jq -c '.[]' makes them).")
            position, last = position + len(block), block[-1:]
    if last != b"\n":
        lines += 1
    if lines > edges[-1][0]:
        edges.append((lines, position))
    return edges[:1] if is_blank else edges


def open_lines(path: Path) -> Any:
    """A file of lines, decompressed by its name."""
    pa = import_pyarrow("a file of rows")
    compression = COMPRESSIONS.get(path.suffix.lower())
    return pa.input_stream(str(path), compression=compression)


def read_part(part: Part, columns: Sequence[str] | None = None) -> Iterator[Piece]:
    """The rows of a part, in pieces of bounded size.

    Args:
        part: which rows.
        columns: the columns to read, where a file lets one choose; by default all.

    Raises:
        DataError: the file cannot be read; the message names the row group or the row.
    """
    try:
        yield from read_pieces(part, columns)
    except DataError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own errors are such
        raise DataError(f"{part.path}: cannot be read ({error}). Write the file again, or leave it out.") from error


def read_pieces(part: Part, columns: Sequence[str] | None) -> Iterator[Piece]:
    """The rows of a part, in pieces."""
    kind = kind_of(part.path)
    if kind == "jsonl":
        yield from read_lines(part)
        return
    read = read_parquet(part, columns) if kind == "parquet" else read_arrow(part)
    for first, batch in read:
        names = [name for name in batch.schema.names if columns is None or name in columns]
        if len({*names}) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise DataError(f"{part.path}: has two columns {twice!r}. Write the file again with different names.")
        yield Piece({name: batch[name] for name in names}, range(first, first + batch.num_rows), {})


def read_parquet(part: Part, columns: Sequence[str] | None) -> Iterator[tuple[int, Any]]:
    """The batches of a part of a Parquet file, each with the number of its first row."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(part.path, pre_buffer=False) as file:
        stop = 0
        for group in range(file.metadata.num_row_groups):
            described = file.metadata.row_group(group)
            start, stop = stop, stop + described.num_rows
            if stop <= part.first or start >= part.stop:
                continue
            size = max(1, described.total_byte_size // max(1, described.num_rows))
            step = max(1, min(PIECE_ROWS, PIECE_BYTES // size))
            at = start
            try:
                for batch in file.iter_batches(step, row_groups=[group], columns=columns, use_threads=False):
                    low, high = max(part.first - at, 0), min(part.stop - at, batch.num_rows)
                    if low < high:
                        yield at + low, batch.slice(low, high - low)
                    at += batch.num_rows
                    if at >= part.stop:
                        break
            except (OSError, ValueError) as error:  # pyarrow's own errors are such
                raise DataError(
                    f"{part.path}: row group {group} cannot be read ({error}). Write the file again, or leave it out."
                ) from error


def read_arrow(part: Part) -> Iterator[tuple[int, Any]]:
    """The batches of a part of an Arrow file, each with the number of its first row."""
    pa = import_pyarrow("a file of rows")
    with pa.memory_map(str(part.path)) as file:
        at = 0
        for batch in arrow_batches(file):
            size = max(1, batch.nbytes // max(1, batch.num_rows))
            step = max(1, min(PIECE_ROWS, PIECE_BYTES // size))
            low, high = max(part.first - at, 0), min(part.stop - at, batch.num_rows)
            for first in range(low, high, step):
                yield at + first, batch.slice(first, min(step, high - first))
            at += batch.num_rows


def arrow_batches(file: Any) -> Iterator[Any]:
    """The batches of an Arrow file, in the format with or without a footer (`datasets` writes the latter)."""
    pa = import_pyarrow("a file of rows")
    magic = file.read(6)
    file.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
    else:
        yield from pa.ipc.open_stream(file)


def read_lines(part: Part) -> Iterator[Piece]:
    """The rows of a part of JSON lines. All columns are lists; a column that a row lacks is None there."""
    if part.path.suffix.lower() in COMPRESSIONS:
        yield from read_compressed_lines(part)
        return
    with part.path.open("rb") as file:
        file.seek(part.offset)
        yield from pieces_of(part, iter(file))


def read_compressed_lines(part: Part) -> Iterator[Piece]:
    """The same of a compressed file, in which a row is only found through all rows before it: parts in order are read in one go."""
    described = part.path.stat()
    file = os.getpid(), part.path, described.st_ino, described.st_size, described.st_mtime_ns  # a fork would share its place
    lines, first = LAST_READ.pop(file, (None, 0))  # no other reader may use them meanwhile
    if lines is None or first > part.first:
        lines, first = all_lines(part.path), 0
    yield from pieces_of(part, skipped(lines, part.first - first))
    LAST_READ.clear()
    LAST_READ[file] = lines, part.stop


# The lines of the compressed file that was read last, and how many were read.
LAST_READ: dict[tuple[Any, ...], tuple[Iterator[bytes] | None, int]] = {}


def all_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, which is closed at their end or with the iterator."""
    with open_lines(path) as file:
        yield from lines_of(file)


def skipped(lines: Iterator[bytes], count: int) -> Iterator[bytes]:
    """The lines after the first `count`."""
    for _ in range(count):
        next(lines, None)
    return lines


def lines_of(file: Any) -> Iterator[bytes]:
    """The lines of a stream."""
    begun: list[bytes] = []  # the blocks of a line that has not ended: a row may be many blocks long
    for block in iter(lambda: file.read(1 << 20), b""):
        first, *lines = block.split(b"\n")
        begun.append(first)
        if lines:
            yield b"".join(begun)
            yield from lines[:-1]
            begun = [lines[-1]]
    if any(begun):
        yield b"".join(begun)


def pieces_of(part: Part, lines: Iterator[bytes]) -> Iterator[Piece]:
    """Rows of JSON lines as columns."""
    rows: dict[int, dict[str, Any]] = {}
    bad: dict[int, tuple[str, str]] = {}
    size = 0
    for number, line in zip(range(part.first, part.stop), lines, strict=False):
        size += len(line)
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=object_of)
            if not isinstance(row, dict):
                raise ValueError(f"expected an object with columns, got {type(row).__name__}")
            rows[number] = row
        except (ValueError, RecursionError) as error:
            bad[number] = f"is not a row of JSON lines ({error})", line.decode("utf-8", "replace").rstrip("\r\n")
        if len(rows) + len(bad) >= PIECE_ROWS or size >= PIECE_BYTES:
            yield piece_of(rows, bad)
            rows, bad, size = {}, {}, 0
    if rows or bad:
        yield piece_of(rows, bad)


def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Of two values under one key, Python's own reader would drop the first without a word.

    Raises:
        ValueError: a key occurs twice.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"an object has the key {twice!r} twice")
    return made


def piece_of(rows: Mapping[int, Mapping[str, Any]], bad: Mapping[int, tuple[str, str]]) -> Piece:
    """The columns of rows: those of all rows together."""
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return Piece({name: [row.get(name) for row in rows.values()] for name in names}, list(rows), bad)
