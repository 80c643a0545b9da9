"""Parts of the input -> Parquet files, one for each part; in this process or in several."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from spanmask.data.files import Part, Piece, read_part
from spanmask.data.operator import Operator, arrow_array
from spanmask.data.output import Folder, replaced
from spanmask.errors import ChatFormatError, DataError, SpanmaskWarning, UntrainedRowsWarning
from spanmask.ragged import import_pyarrow, is_arrow, listed

__all__ = ["Job", "OnBadRow", "PartDone", "run_job", "write_part"]

OnBadRow = Literal["raise", "skip", "quarantine"]
GROUP_BYTES = 32 << 20  # of a row group, before compression


@dataclass(frozen=True)
class Job:
    """What is done with each part.

    Attributes:
        operator: makes columns.
        schema: the schema of the output files.
        columns: the columns that are read.
        left_out: columns that are not passed on; `None`: all that the schema lacks.
        on_bad_row: what happens to a row that cannot be used: an error, it is left out, or it is left out and written to a file beside.
        dropped: columns that are treated as if they were not there.
    """

    operator: Operator
    schema: Any
    columns: Sequence[str]
    left_out: Collection[str] | None = None
    on_bad_row: OnBadRow = "raise"
    dropped: Collection[str] = ()


@dataclass
class PartDone:
    """What became of a part.

    Attributes:
        rows, written, bad: rows read, written, and left out because they cannot be used.
        tokens, trained: of the rows written.
        untrained: rows written that train nothing.
        first_bad: what is wrong with the first bad row.
        warnings: the distinct warnings, in order; not those of rows that train nothing, which are counted.
    """

    rows: int = 0
    written: int = 0
    bad: int = 0
    tokens: int = 0
    trained: int = 0
    untrained: int = 0
    first_bad: str | None = None
    warnings: list[str] = field(default_factory=list)


def run_job(
    job: Job, parts: Sequence[Part], folder: Folder, pool: ProcessPoolExecutor | None, on_done: Callable[[int, PartDone], None]
) -> None:
    """Write the files of all parts that are missing. `on_done` is called with the number of each part that is written.

    Args:
        pool: the processes that do it; `None`: this one.

    Raises:
        DataError: a row or a file cannot be used, or a worker died.
    """
    missing = [number for number in range(len(parts)) if not folder.part(number).exists()]
    if pool is None:
        for number in missing:
            on_done(number, write_part(job, parts[number], folder, number))
        return
    try:
        futures = {pool.submit(write_part, job, parts[number], folder, number): number for number in missing}
        for future in as_completed(futures):
            on_done(futures[future], future.result())
    except BrokenProcessPool:
        raise DataError(
            f"{folder.path}: a worker process died, perhaps for lack of memory. What is complete is kept: run the command again with "
            "--resume, or with fewer workers."
        ) from None


def write_part(job: Job, part: Part, folder: Folder, number: int) -> PartDone:
    """Write the file of one part, and that of its bad rows if there are any and they are kept.

    Raises:
        DataError: a row cannot be used, and bad rows are errors; or a file cannot be read or written.
    """
    import pyarrow.parquet

    done = PartDone()
    with ExitStack() as stack:
        beside = None
        path = stack.enter_context(replaced(folder.part(number), in_folder=True))
        writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, job.schema, compression="zstd"))
        pending: list[Any] = []
        for piece in read_part(part, job.columns):
            piece = without(piece, job.dropped)
            bad = dict(piece.bad)
            for table in tables_of(job, part, piece, bad, done.warnings):
                done.written += table.num_rows
                count_tokens(table, done)
                pending.append(table)
                if sum(one.nbytes for one in pending) >= GROUP_BYTES:
                    write_group(writer, pending)
            done.rows += len(piece) + len(piece.bad)
            done.bad += len(bad)
            if bad and job.on_bad_row == "raise":
                row, (why, _) = min(bad.items())
                drop = ", or --drop labels if they are not labels of tokens" if why.startswith("labels: ") else ""
                raise DataError(f"{part.path}: row {row}: {why} Correct it, or pass --on-bad-row skip or quarantine{drop}.")
            if bad:
                row, (why, _) = min(bad.items())
                done.first_bad = done.first_bad or f"{part.path}: row {row}: {why}"
            if bad and job.on_bad_row == "quarantine":
                if beside is None:
                    beside = stack.enter_context(stack.enter_context(replaced(folder.bad_rows(number), in_folder=True)).open("w"))
                for row, (why, text) in sorted(bad.items()):
                    beside.write(json.dumps({"file": str(part.path), "row": row, "why": why, "text": text}) + "\n")
        write_group(writer, pending)
    return done


def write_group(writer: Any, pending: list[Any]) -> None:
    """Write tables as one row group."""
    pa = import_pyarrow("a Parquet file")
    if pending:
        table = pa.concat_tables(pending)
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        pending.clear()


def count_tokens(table: Any, done: PartDone) -> None:
    """Add the tokens of a table to the counts."""
    import pyarrow.compute as pc

    done.tokens += int(pc.sum(pc.list_value_length(table["input_ids"])).as_py() or 0)
    name = "loss_mask" if "loss_mask" in table.column_names else "labels"
    column = table[name].combine_chunks()  # pyarrow 15 filters an array by an array only
    ignored = arrow_array(np.array([0 if name == "loss_mask" else -100]))[0]
    trains = pc.not_equal(pc.list_flatten(column), ignored)
    done.trained += int(pc.sum(trains).as_py() or 0)
    done.untrained += table.num_rows - len(pc.unique(pc.list_parent_indices(column).filter(trains)))


def tables_of(job: Job, part: Part, piece: Piece, bad: dict[int, tuple[str, str]], warned: list[str]) -> Iterator[Any]:
    """The output for the rows of a piece. Rows that cannot be used are added to `bad`: they are found by halving."""
    if not len(piece) or (job.on_bad_row == "raise" and bad and min(bad) < piece.numbers[0]):
        return
    try:
        check_columns(job, piece)
        with warnings_of(part, piece, warned):
            table = job.operator.table_of(piece.columns, job.schema)
    except (ValueError, TypeError) as error:
        if isinstance(error, ChatFormatError):
            raise DataError(f"{part.path}: {error}") from error
        if len(piece) == 1:
            row = piece.numbers[0]
            bad[row] = re.sub(r"\brow 0\b", f"row {row}", str(error)), text_of(piece.columns)
            return
        for half in halves(piece):
            yield from tables_of(job, part, half, bad, warned)
        return
    yield table


@contextmanager
def warnings_of(part: Part, piece: Piece, warned: list[str]) -> Iterator[None]:
    """Add the warnings about a piece to `warned`, with the numbers that its rows have in the file."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always", SpanmaskWarning)
        warnings.simplefilter("ignore", UntrainedRowsWarning)
        try:
            yield
        finally:
            for one in seen:
                if issubclass(one.category, SpanmaskWarning):
                    text = re.sub(r"\brow (\d+)\b", lambda found: f"row {number_of(piece, int(found[1]))}", str(one.message))
                    text = text if text == str(one.message) else f"{part.path}: {text}"
                    if text not in warned:
                        warned.append(text)


def number_of(piece: Piece, row: int) -> int:
    """The number in its file of a row of a piece."""
    return piece.numbers[row] if row < len(piece) else row


def check_columns(job: Job, piece: Piece) -> None:
    """Nothing is lost without a word.

    Raises:
        ValueError: a column of JSON lines that the first rows did not show has a value.
    """
    if job.left_out is None:
        return
    for name, column in piece.columns.items():
        if name in job.schema.names or name in job.left_out or is_arrow(column):  # Arrow columns show their types before
            continue
        if any(value is not None for value in column):
            raise ValueError(
                f"{name}: has a value, but the output has no such column, because the first rows of the files have no value, or values of "
                "several types. Name the columns to keep with --keep."
            )


def without(piece: Piece, names: Collection[str]) -> Piece:
    """A piece without some of its columns."""
    if not names:
        return piece
    return replace(piece, columns={name: column for name, column in piece.columns.items() if name not in names})


def halves(piece: Piece) -> Iterator[Piece]:
    """The two halves of a piece."""
    middle = len(piece) // 2
    for rows in (range(middle), range(middle, len(piece))):
        columns = {
            name: column.slice(rows.start, len(rows)) if is_arrow(column) else column[rows.start : rows.stop]
            for name, column in piece.columns.items()
        }
        yield Piece(columns, [piece.numbers[row] for row in rows], {})


def text_of(columns: Mapping[str, Any]) -> str:
    """A single row as JSON."""
    row = {name: listed(column)[0] for name, column in columns.items()}
    return json.dumps(row, default=str, ensure_ascii=False)
