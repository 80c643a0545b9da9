"""`AuditReport`: what an audit found, as an object, text, JSON and HTML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.data.audit.findings import FINDINGS, Kind
from spanmask.data.audit.tally import Cost, Distribution
from spanmask.data.output import replaced
from spanmask.preview.decode import spell_controls
from spanmask.preview.model import Row

__all__ = ["AuditReport", "Comparison", "Finding", "Sample", "Truncation"]

LISTED = 100  # rows that text, JSON and HTML name


@dataclass(frozen=True)
class Sample:
    """A row that a finding shows.

    Attributes:
        number: its number, from 0.
        place: its file and its number there; empty if the data are not files.
        why: what is wrong with it, where more than the finding's title can be said.
        row: its text with the mask; `None` if it cannot be used.
        other: its text with the other mask, in a comparison.
        text: what the row holds, if it cannot be used.
    """

    number: int
    place: str = ""
    why: str = ""
    row: Row | None = None
    other: Row | None = None
    text: str = ""


@dataclass
class Finding:
    """Rows of one kind.

    Attributes:
        name: as in `AuditReport.rows`.
        row_numbers: all of them, ascending; int64.
        reasons: how many for each reason, where there are several.
        samples: some of them.
    """

    name: str
    row_numbers: npt.NDArray[np.int64]
    reasons: Counter[str] = field(default_factory=Counter)
    samples: list[Sample] = field(default_factory=list)

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.row_numbers)

    @property
    def kind(self) -> Kind:
        """What the finding means."""
        return FINDINGS[self.name]


@dataclass(frozen=True)
class Truncation:
    """What `max_length` costs, computed against the uncut rows.

    Attributes:
        max_length: the length.
        rows: rows that are cut.
        tokens, trained_tokens: tokens, and trained tokens, that are lost.
        answers_cut, answers_lost: turns of trained roles that are cut into, and that are cut off entirely.
        unanswered: rows that have trained tokens and lose all of them.
    """

    max_length: int
    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    answers_cut: int = 0
    answers_lost: int = 0
    unanswered: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two maskings of the same rows.

    Attributes:
        first, second: what they are.
        rows: rows that were compared.
        different: rows in which they differ.
        only_first, only_second: tokens that only one of them trains.
        both: tokens that both train.
    """

    first: str
    second: str
    rows: int = 0
    different: int = 0
    only_first: int = 0
    only_second: int = 0
    both: int = 0


@dataclass
class AuditReport:
    """What an audit found. `print` shows a summary, `len` is the number of rows. It can be pickled.

    Rows are numbered from 0 through all files; `place` says where one is.

    Attributes:
        name: what the data are called.
        row_count, tokens, trained_tokens: totals of the rows that can be used; padding is not counted.
        turns: turns by role; empty if there is no chat format.
        findings: a `Finding` for each name that was looked for, also where nothing was found.
        skipped: what was not looked for, and why.
        lengths, trained, shares: distributions of the tokens, the trained tokens and the trained share (in percent) of rows.
        costs: what several maximum lengths would cost.
        truncation: what `max_length` costs; `None` without it.
        comparison: what `compare` found; `None` without it.
        policy: the policy; `None` if all labels are those of the data.
        tokenizer: the tokenizer's name.
        made_by: what `spanmask mask` wrote into the data: version, policy, and the hash of the tokenizer.
        notes: warnings of all kinds.
        files: each file, and the number of its first row.
        ordinary: rows chosen at random.
    """

    name: str
    row_count: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    lengths: Distribution | None = None
    trained: Distribution | None = None
    shares: Distribution | None = None
    costs: tuple[Cost, ...] = ()
    truncation: Truncation | None = None
    comparison: Comparison | None = None
    policy: str | None = None
    tokenizer: str = ""
    made_by: Mapping[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    files: Sequence[tuple[str, int]] = ()
    ordinary: list[Sample] = field(default_factory=list)

    def __len__(self) -> int:
        return self.row_count

    def __bool__(self) -> bool:
        return True

    @property
    def all_rows(self) -> int:
        """The rows, with those that cannot be used."""
        return self.row_count + (self.findings["bad"].count if "bad" in self.findings else 0)

    def rows(self, name: str) -> npt.NDArray[np.int64]:
        """The numbers of all rows of a finding, ascending, int64: `dataset.select` takes what is left of `range(len(dataset))`.

        Raises:
            ValueError: there is no such finding; the message names those that there are.
        """
        if name not in self.findings:
            known = ", ".join(self.findings)
            raise ValueError(
                f"name: {name!r} was not looked for ({self.skipped.get(name, 'no such finding')}); there are {known}."
            )
        return self.findings[name].row_numbers

    def place(self, number: int) -> str:
        """The file of a row and its number there; `row 7` if the data are not files."""
        return place_of(self.files, number)

    def __str__(self) -> str:
        share = f" ({self.trained_tokens / self.tokens:.1%})" if self.tokens else ""
        lines = [
            ("rows", f"{self.row_count:,}"),
            ("tokens", f"{self.tokens:,}"),
            ("trained tokens", f"{self.trained_tokens:,}{share}"),
        ]
        if self.turns:
            lines.append(("turns", ", ".join(f"{role} {count:,}" for role, count in self.turns.items())))
        if self.lengths is not None:
            lines.append(("tokens a row", f"median {self.lengths.median:,.0f}, longest {self.lengths.most:,.0f}"))
        if self.truncation is not None:
            cut = self.truncation
            lost = f" ({cut.tokens / self.tokens:.1%})" if self.tokens else ""
            lines.append(
                (f"cut to {cut.max_length:,}", f"{cut.tokens:,} tokens lost{lost}, {cut.trained_tokens:,} of them trained")
            )
            lines.append(
                ("", f"{cut.answers_cut:,} answers cut, {cut.answers_lost:,} cut off, {cut.unanswered:,} rows without one left")
            )
        if self.comparison is not None:
            both = self.comparison
            lines.append(("compared", f"{both.different:,} of {both.rows:,} rows differ"))
            lines.append(
                ("", f"{both.only_first:,} tokens train only in {both.first}, {both.only_second:,} only in {both.second}")
            )
        found = [one for one in self.findings.values() if one.count]
        for one in found:
            lines.append((one.name, f"{one.count:,}  {one.kind.title}: {row_list(one.row_numbers, 5)}"))
            lines += [(f"  {count:,}", reason) for reason, count in one.reasons.most_common(5)]
        fine = [one.name for one in self.findings.values() if not one.count]
        if fine:
            lines.append(("none", ", ".join(fine)))
        for reason in dict.fromkeys(self.skipped.values()):
            lines.append(("not checked", f"{', '.join(name for name, why in self.skipped.items() if why == reason)}: {reason}"))
        lines += [("note", note) for note in self.notes]
        width = max(len(name) for name, _ in lines)
        return spell_controls("\n".join(f"{name:<{width}}  {value}".rstrip() for name, value in lines))

    def as_dict(self) -> dict[str, Any]:
        """Everything but the samples' texts, in types of JSON. Findings name their first 100 rows."""
        plain = {
            name: asdict(value) if hasattr(value, "__dataclass_fields__") else value
            for name, value in vars(self).items()
            if name not in ("findings", "ordinary", "costs")
        }
        plain["costs"] = [asdict(cost) for cost in self.costs]
        plain["made_by"] = dict(self.made_by)
        plain["files"] = [list(file) for file in self.files]
        plain["findings"] = {
            name: {
                "title": one.kind.title,
                "count": one.count,
                "rows": one.row_numbers[:LISTED].tolist(),
                "reasons": dict(one.reasons.most_common()),
            }
            for name, one in self.findings.items()
        }
        return plain

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write everything but the samples as JSON. The file is there when it is complete."""
        text = json.dumps(self.as_dict(), indent=1)
        with replaced(Path(path)) as file:
            file.write_text(text + "\n", encoding="utf-8")

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write a page for people who do not run code: one file that needs no network. The file is there when it is complete."""
        from spanmask.data.audit.page import page

        text = page(self)
        with replaced(Path(path)) as file:
            file.write_text(text, encoding="utf-8", errors="backslashreplace")


def place_of(files: Sequence[tuple[str, int]], number: int) -> str:
    """The file of a row and its number there."""
    for path, first in reversed(files):
        if number >= first:
            return f"{path}: row {number - first}"
    return f"row {number}"


def row_list(numbers: npt.NDArray[np.int64], most: int) -> str:
    """`row 3`, `rows 3, 4, 5, ...`."""
    shown = ", ".join(map(str, numbers[:most].tolist()))
    return f"row{'s' if len(numbers) > 1 else ''} {shown}{', ...' if len(numbers) > most else ''}"
