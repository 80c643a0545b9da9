"""What the commands that write files have in common."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from spanmask.cli.messages import Progress
from spanmask.data.files import Part, expand, parts_of_files, read_part, warn_of_rows_not_read
from spanmask.data.operator import Operator, joined
from spanmask.data.output import Folder
from spanmask.data.workers import workers
from spanmask.data.write import Job, PartDone, run_job, without
from spanmask.errors import DataError
from spanmask.ragged import import_pyarrow, is_arrow

__all__ = ["Existing", "OnBadRow", "Totals", "Work", "named_columns", "run"]

TYPED_ROWS = 1000  # of JSON lines, which have no types: those of their columns are found from so many rows


class OnBadRow(str, Enum):
    """What happens to a row that cannot be used."""

    stop = "raise"
    skip = "skip"
    quarantine = "quarantine"


class Existing(Enum):
    """What is done about output that exists."""

    REFUSE = "refuse"
    RESUME = "resume"
    OVERWRITE = "overwrite"

    @classmethod
    def of(cls, *, resume: bool, overwrite: bool) -> Existing:
        """From the two options.

        Raises:
            ValueError: both are given.
        """
        if resume and overwrite:
            raise ValueError("--resume, --overwrite: pass one of them.")
        return cls.RESUME if resume else cls.OVERWRITE if overwrite else cls.REFUSE


@dataclass
class Totals:
    """What a command did."""

    out: str
    files: int = 0
    rows: int = 0
    written: int = 0
    bad: int = 0
    tokens: int = 0
    trained: int = 0
    untrained: int = 0
    known: int = 0
    first_bad: str | None = None
    bad_files: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, done: PartDone) -> None:
        """Count a part."""
        self.files += 1
        for name in ("rows", "written", "bad", "tokens", "trained", "untrained"):
            setattr(self, name, getattr(self, name) + getattr(done, name))
        self.first_bad = self.first_bad or done.first_bad

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        share = f" ({self.trained / self.tokens:.1%})" if self.tokens else ""
        files = f"{self.files} file{'s' * (self.files != 1)}"
        lines = [
            f"{self.out}: {files}"
            + (f" beside {self.known} of an earlier run, whose rows are not counted" if self.known else ""),
            f"rows     {self.written:,} of {self.rows:,}",
            f"tokens   {self.tokens:,}",
            f"trained  {self.trained:,}{share}",
        ]
        if self.untrained:
            lines.append(f"train nothing: {self.untrained:,} of the rows written; spanmask audit says why")
        if self.bad:
            lines.append(f"left out {self.bad:,} of the rows, as they cannot be used; the first: {self.first_bad}")
        lines += [f"left out, with the reasons: {path}" for path in self.bad_files[:1]]
        if len(self.bad_files) > 1:
            lines[-1] += f" and {len(self.bad_files) - 1} more"
        return "\n".join(lines)


@dataclass(frozen=True)
class Work:
    """What a command does with rows.

    Attributes:
        operator: makes the columns.
        described: everything that decides the bytes of the output, but the inputs.
        read: columns that are not passed on by default.
    """

    operator: Operator
    described: dict[str, Any]
    read: Sequence[str]


def run(
    prepare: Callable[[], Work],
    paths: Sequence[str],
    *,
    keep: Sequence[str] | None,
    existing: Existing,
    on_bad_row: OnBadRow,
    rows_per_file: int,
    processes: int,
    what: str,
    drop: Sequence[str] = (),
) -> Totals:
    """Run an operator over files.

    Args:
        prepare: loads the tokenizer and makes the operator, while worker processes start.
        paths: inputs, and last the folder to write to.
        keep: the columns to pass on.
        existing: what is done about output that exists.
        on_bad_row: what happens to a row that cannot be used.
        rows_per_file: rows of one output file, before any are left out.
        processes: how many do the work.
        what: the command's name, for the progress.
        drop: columns that are treated as if they were not there.

    Raises:
        DataError: an input or the output cannot be used.
    """
    if len(paths) < 2:
        raise ValueError("IN... OUT: pass at least one input, and last the folder to write to.")
    *inputs, out = paths
    files = expand(inputs)
    warn_of_rows_not_read(inputs, files)
    for file in files:
        if Path(out).resolve() in file.resolve().parents:
            raise DataError(f"{file}: is in the folder to write to, {out}; name the inputs without it, or choose another folder.")
    before = [state_of(file) for file in files]
    parts = parts_of_files(files, rows_per_file)
    if not parts:
        raise DataError(f"{', '.join(inputs)}: no rows.")
    with workers(min(processes, len(parts))) as pool:
        work = prepare()
        job, passed = job_of(work, parts, ", ".join(inputs), keep, on_bad_row, drop)
        metadata = {
            **work.described,
            "inputs": [[str(file), *(state or ())] for file, state in zip(files, before, strict=True)],
            "keep": passed,
            "drop": sorted(drop),
            "rows_per_file": rows_per_file,
        }
        folder = Folder(Path(out), metadata, resume=existing is Existing.RESUME, overwrite=existing is Existing.OVERWRITE)
        totals = write_parts(job, parts, folder, pool, what)
    for file, state in zip(files, before, strict=True):
        if state_of(file) not in (state, None):
            raise DataError(
                f"{file}: has changed while it was read, so that rows may be missing; write the output again: --overwrite."
            )
    return totals


def state_of(file: Path) -> tuple[int, int] | None:
    """What shows whether a file has changed; `None` if it is gone."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def job_of(
    work: Work, parts: Sequence[Part], inputs: str, keep: Sequence[str] | None, on_bad_row: OnBadRow, drop: Sequence[str]
) -> tuple[Job, list[str]]:
    """What is done with each part, and the columns that are passed on.

    Args:
        inputs: the names of the inputs, for messages.
    """
    pa = import_pyarrow("a file of rows")
    types = types_of(
        parts,
        lambda name: name in ("input_ids", "attention_mask") or (name not in work.read if keep is None else name in keep),
        drop,
    )
    check_labels(pa, types, inputs)
    passed = [name for name in types if (name not in work.read and types[name] != pa.null() if keep is None else name in keep)]
    for name in keep or ():
        if name not in types:
            raise ValueError(f"--keep: no column {name!r}; the input has {', '.join(map(repr, types))}.")
    check_parquet(pa, {name: types[name] for name in passed}, inputs)
    whole = work.operator.schema(pa.schema(list(types.items())))
    makes = {field.name for field in whole} - set(types)
    changed = {name for name in types if name in whole.names and whole.field(name).type != types[name]}
    made = [field for field in whole if field.name in passed or field.name in makes | changed | {"input_ids", "labels"}]
    # Columns by token that no longer fit are left out by the operator, unless they are asked for.
    asked_for = [pa.field(name, types[name]) for name in passed if name not in whole.names]
    schema = pa.schema(made + asked_for, {"spanmask": json.dumps(work.described)})
    left_out = work.read if keep is None else None
    return Job(work.operator, schema, tuple(types), left_out, on_bad_row.value, tuple(drop)), passed


def write_parts(job: Job, parts: Sequence[Part], folder: Folder, pool: ProcessPoolExecutor | None, what: str) -> Totals:
    """Write all parts that are missing, and show the progress."""
    totals = Totals(str(folder.path))
    warned: set[str] = set()
    with folder.open():
        totals.known = sum(folder.part(number).exists() for number in range(len(parts)))
        known = sum(part.rows for number, part in enumerate(parts) if folder.part(number).exists())
        with Progress(sum(part.rows for part in parts), what, known) as progress:

            def done(number: int, part: PartDone) -> None:
                totals.add(part)
                if folder.bad_rows(number).exists():
                    totals.bad_files.append(str(folder.bad_rows(number)))
                progress.add(part.rows, part.tokens)
                for text in part.warnings:
                    if (kind := kind_of_warning(text)) not in warned:
                        warned.add(kind)
                        totals.warnings.append(text)
                        print(f"warning: {' '.join(text.split())}", file=sys.stderr)

            run_job(job, parts, folder, pool, done)
    return totals


def kind_of_warning(text: str) -> str:
    """A warning without what differs from row to row: each kind is printed once, also where several processes give it."""
    return re.sub(r"^.*?: (?=\w+: )|'.*'|\".*\"|\([^)]*\)|\d+", "", text)


def check_labels(pa: Any, types: Mapping[str, Any], inputs: str) -> None:
    """A column `labels` is read: where it allows no training, no token trains. Labels of a classifier, say, are not such labels.

    Raises:
        DataError: it holds no lists.
    """
    kind = types.get("labels", pa.null())
    if not (
        pa.types.is_null(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    ):
        raise DataError(
            f"{inputs}: column 'labels' is {kind}, but labels of tokens are lists of integers, and the output has such a column; pass "
            "--drop labels to leave it out, or give it another name in the files."
        )


def types_of(parts: Sequence[Part], is_needed: Callable[[str], bool], drop: Sequence[str] = ()) -> dict[str, Any]:
    """The types of the columns of all files but `drop`, in the order in which the files show them; of JSON lines, those that the first
    rows show.

    Raises:
        DataError: a column that is needed has different types in two files.
    """
    pa = import_pyarrow("a file of rows")
    types: dict[str, Any] = {}
    found_in: dict[str, Path] = {}
    firsts: dict[Path, Part] = {}
    for part in parts:
        firsts.setdefault(part.path, part)
    typed: set[str] = set()  # columns of Parquet and Arrow files, whose types are fixed
    for part in firsts.values():
        seen: dict[str, list[Any]] = {}
        for piece in read_part(part):
            piece = without(piece, drop)
            for name, column in piece.columns.items():
                if is_arrow(column):
                    seen[name] = column.type
                else:
                    seen.setdefault(name, []).extend(column)
            if (piece.numbers and piece.numbers[-1] - part.first >= TYPED_ROWS) or not isinstance(
                next(iter(seen.values()), None), list
            ):
                break
        for name, value in seen.items():
            kind = type_of_values(pa, value) if isinstance(value, list) else value
            known = types.get(name, pa.null())
            both = joined(kind, known)
            if kind != pa.null() and not isinstance(value, list):
                typed.add(name)
            # Rows of JSON can be written in a wider type; Arrow columns stay as they are.
            if both is not None and (name not in typed or known == pa.null() or both == known):
                if both != known or name not in types:
                    types[name], found_in[name] = both, part.path
            elif is_needed(name):
                raise DataError(
                    f"{part.path}: column {name!r} is {kind}, but {types[name]} in {found_in[name]}; run the command on each, or leave out "
                    "the column: --keep names those to keep."
                )
    return types


def type_of_values(pa: Any, values: list[Any]) -> Any:
    """The Arrow type of Python values: numbers, flags, texts, lists of integers; null for others."""
    try:
        kind = pa.infer_type([value for value in values if value is not None])
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.null()
    return kind


def check_parquet(pa: Any, types: Mapping[str, Any], inputs: str) -> None:
    """Raise DataError for a column that Parquet cannot hold: objects without keys, unions, intervals, and whatever else pyarrow refuses."""
    import pyarrow.parquet

    for name, kind in types.items():
        try:
            pyarrow.parquet.write_table(pa.table({name: pa.nulls(1, kind)}), pa.BufferOutputStream())
        except pa.ArrowException:
            raise DataError(
                f"{inputs}: column {name!r} is {kind}, which Parquet cannot hold; name the columns to keep with --keep."
            ) from None


def named_columns(column: list[str] | None) -> dict[str, str]:
    """`messages=dialogue` as a dict."""
    named = {}
    for pair in column or ():
        known, equals, own = pair.partition("=")
        if not (known and equals and own):
            raise ValueError(f"--column: expected NAME=COLUMN such as messages=dialogue, got {pair!r}.")
        named[known] = own
    return named
