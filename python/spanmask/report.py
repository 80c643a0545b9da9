"""`MaskReport`: what masking did, and why rows have no trained tokens."""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.policy import MaskPolicy

__all__ = ["MaskReport", "RowOutcomes", "RunningReport"]

# By the core's `Outcome`: why a row has no trained tokens. Entry 0 is for rows that have some.
REASONS = (
    "",
    "empty row",
    "no turn marker found",
    "truncated before the answer",
    "all trained tokens ignored",
    "empty assistant turn",
    "excluded by labels or turn weights",
    "no trained turn",
    "only the first token would train",
    "truncated by max_length={} before the answer",
    "truncated in the answer, which truncated_turn='drop' leaves out",
    "truncated by max_length={} in the answer, which truncated_turn='drop' leaves out",
)
# A report names this many untrained rows; it counts all of them.
NAMED_ROWS = 100


@dataclass
class MaskReport:
    """What masking did: counts, and a reason for each row without trained tokens. Reports can be added with `+`.

    Attributes:
        rows, tokens, trained_tokens: totals; padding is not counted.
        turns: turns found, by role.
        truncated_turns: rows that end inside their last turn, or are truncated there.
        unclosed_regions: regions of `MaskPolicy.ignore_between`, and reasoning that `reasoning="ignore"` leaves out, that opened but did
            not close before their turn ended, so that nothing after the opening trains. Reasoning is counted only where turns are
            searched for.
        reasons: how many rows have no trained tokens, by reason: "no turn marker found", "no trained turn", ...
        untrained_rows: the first of these rows, as (row, reason); rows count from 0, over all calls that were added.
        role_mismatches: of a collator: rows whose turns are not known, or have other roles than the example's messages, or that the chat
            format does not cover.
        mismatched_rows: the first of these rows.
        aligned_rows: rows of messages whose turns come from the rendered text.
        searched_rows: rows of messages whose turns were searched for, because their text could not be aligned.

    >>> print(MaskReport(rows=2, tokens=10, trained_tokens=4, turns={"assistant": 1}, reasons=Counter({"no turn marker found": 1})))
    rows                         2
    tokens                       10
    trained tokens               4 (40.0%)
    turns                        assistant 1
    truncated turns              0
    rows without trained tokens  1
      no turn marker found       1
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    truncated_turns: int = 0
    unclosed_regions: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    untrained_rows: list[tuple[int, str]] = field(default_factory=list)
    role_mismatches: int = 0
    mismatched_rows: list[int] = field(default_factory=list)
    aligned_rows: int = 0
    searched_rows: int = 0

    @property
    def untrained_row_count(self) -> int:
        """The number of rows without trained tokens, for any reason."""
        return self.reasons.total()

    def to_dict(self) -> dict[str, Any]:
        """The attributes, `untrained_row_count` and `trained_share`, as numbers, lists and dicts that `json.dumps` takes.

        `untrained_rows` are lists of a row and its reason. `trained_share` is 0 if there are no tokens.
        """
        return {
            **vars(self),
            "turns": dict(self.turns),
            "reasons": dict(self.reasons),
            "untrained_rows": [[row, reason] for row, reason in self.untrained_rows],
            "mismatched_rows": list(self.mismatched_rows),
            "untrained_row_count": self.untrained_row_count,
            "trained_share": self.trained_tokens / self.tokens if self.tokens else 0.0,
        }

    def __add__(self, other: MaskReport) -> MaskReport:
        if not isinstance(other, MaskReport):
            return NotImplemented
        shifted = [(row + self.rows, reason) for row, reason in other.untrained_rows]
        return MaskReport(
            rows=self.rows + other.rows,
            tokens=self.tokens + other.tokens,
            trained_tokens=self.trained_tokens + other.trained_tokens,
            turns={role: self.turns.get(role, 0) + other.turns.get(role, 0) for role in {**self.turns, **other.turns}},
            truncated_turns=self.truncated_turns + other.truncated_turns,
            unclosed_regions=self.unclosed_regions + other.unclosed_regions,
            reasons=self.reasons + other.reasons,
            untrained_rows=(self.untrained_rows + shifted)[:NAMED_ROWS],
            role_mismatches=self.role_mismatches + other.role_mismatches,
            mismatched_rows=(self.mismatched_rows + [row + self.rows for row in other.mismatched_rows])[:NAMED_ROWS],
            aligned_rows=self.aligned_rows + other.aligned_rows,
            searched_rows=self.searched_rows + other.searched_rows,
        )

    def __str__(self) -> str:
        fraction = f" ({self.trained_tokens / self.tokens:.1%})" if self.tokens else ""
        lines = [
            ("rows", f"{self.rows}"),
            ("tokens", f"{self.tokens}"),
            ("trained tokens", f"{self.trained_tokens}{fraction}"),
            ("turns", ", ".join(f"{role} {count}" for role, count in self.turns.items()) or "none"),
            ("truncated turns", f"{self.truncated_turns}"),
            ("rows without trained tokens", f"{self.untrained_row_count}"),
            *((f"  {reason}", f"{count}") for reason, count in self.reasons.items()),
        ]
        if self.unclosed_regions:
            lines.append(("unclosed regions", f"{self.unclosed_regions}"))
        if self.role_mismatches:
            lines.append(("roles differ from messages", f"{self.role_mismatches}"))
        if self.searched_rows:
            lines.append(("rows searched, not aligned", f"{self.searched_rows}"))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


@dataclass(slots=True)  # not frozen: one is made in every call, and a frozen one costs twice as much
class RowOutcomes:
    """What the core counted, and each row's outcome. The report is made only when it is requested: on small batches it takes as long as the
    labels.
    """

    counts: _core.LabelCounts
    outcomes: npt.NDArray[np.uint8]
    roles: Sequence[str]
    max_length: int | None = None
    causes: Mapping[int, str] = field(default_factory=dict)  # what the messages show about rows without trained tokens
    aligned: int = 0
    searched: int = 0

    @property
    def any_untrained(self) -> bool:
        """Whether some row has no trained tokens."""
        return self.counts.untrained_rows > 0

    @property
    def report(self) -> MaskReport:
        """Make the report from the counts."""
        counts = self.counts
        untrained = [(row, self.reason(row)) for row in np.flatnonzero(self.outcomes).tolist()]
        return MaskReport(
            rows=counts.rows,
            tokens=counts.tokens,
            trained_tokens=counts.trained_tokens,
            turns=dict(zip(self.roles, counts.turns, strict=True)),
            truncated_turns=counts.truncated_turns,
            unclosed_regions=counts.unclosed_regions,
            reasons=Counter(reason for _, reason in untrained),
            untrained_rows=untrained[:NAMED_ROWS],
            aligned_rows=self.aligned,
            searched_rows=self.searched,
        )

    def reason(self, row: int) -> str:
        """Why a row has no trained tokens."""
        return self.causes.get(row) or REASONS[self.outcomes[row]].format(self.max_length)

    def kept_rows(self, policy: MaskPolicy) -> npt.NDArray[np.int64] | None:
        """The rows that `policy.on_untrained_row` keeps; `None`: all.

        Raises:
            ValueError: a row has no trained tokens, and `on_untrained_row="raise"`.
        """
        if policy.on_untrained_row == "keep" or not self.any_untrained:
            return None
        if policy.on_untrained_row == "raise":
            row = int(np.flatnonzero(self.outcomes)[0])
            raise ValueError(
                f"rows: row {row} has no trained tokens: {self.reason(row)}. Fix or remove it, or set on_untrained_row to "
                "'drop' or 'keep'."
            )
        return np.flatnonzero(self.outcomes == 0)


class RunningReport:
    """Adds up the reports of the batches that this process made, and remembers which warnings were given. It is thread-safe."""

    def __init__(self) -> None:
        self._total = MaskReport()
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        REPORTS.add(self)

    @property
    def total(self) -> MaskReport:
        """The sum of all batches so far."""
        with self._lock:
            return self._total + MaskReport()

    def reset(self) -> None:
        """Forget all batches and warnings."""
        with self._lock:
            self._total = MaskReport()
            self._warned.clear()

    def add(self, outcomes: RowOutcomes, mismatched: list[int]) -> None:
        """Count one batch, and which of its rows have other roles than their messages."""
        with self._lock:
            if outcomes.any_untrained or mismatched:
                report = outcomes.report
                report.role_mismatches, report.mismatched_rows = len(mismatched), mismatched
                self._total = self._total + report
                return
            total, counts = self._total, outcomes.counts  # no row to list: the numbers are enough
            total.rows += counts.rows
            total.tokens += counts.tokens
            total.trained_tokens += counts.trained_tokens
            total.truncated_turns += counts.truncated_turns
            total.aligned_rows += outcomes.aligned
            total.searched_rows += outcomes.searched
            total.unclosed_regions += counts.unclosed_regions
            for role, turns in zip(outcomes.roles, counts.turns, strict=True):
                total.turns[role] = total.turns.get(role, 0) + turns

    def is_first(self, what: str) -> bool:
        """Whether this is the first call with `what`."""
        with self._lock:
            first = what not in self._warned
            self._warned.add(what)
        return first

    def __getstate__(self) -> dict[str, object]:
        return {}  # counts belong to a process; with them, the hash of a collator would change with each batch, and caches would miss

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__init__()  # type: ignore[misc]


# All reports of this process. A fork copies a lock as it is: one that another thread held would never be released in the child.
REPORTS: WeakSet[RunningReport] = WeakSet()


def renew_locks() -> None:
    """Give each report a lock that nobody holds. A child process has no thread but the one that runs this."""
    for report in REPORTS:
        report._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renew_locks)
