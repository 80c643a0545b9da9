"""`MaskReport`: what masking did to a batch or a data set, and why rows train nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spanmask.policy import MaskPolicy

__all__ = ["NAMED_ROWS", "REASONS", "TOTALS", "MaskReport", "Tally"]

# By the core's `Outcome`: why a row trains nothing. Index 0: it trains.
REASONS = (
    "",
    "empty row",
    "no marker",
    "truncated before the answer",
    "only ignored ids",
    "empty answer",
    "excluded by labels or turn weights",
)
# What the core counts first; then come rows by outcome and turns by role.
TOTALS = ("rows", "tokens", "trained_tokens", "truncated_turns")
# A report names this many rows that train nothing; it counts all of them.
NAMED_ROWS = 100


@dataclass
class MaskReport:
    """What masking did: counts, and a reason for each row that trains nothing. Reports add up with `+`.

    Attributes:
        rows, tokens, trained_tokens: totals; tokens are real ones, padding is not counted.
        turns: turns found, by role.
        truncated_turns: rows whose last turn the row's end cut off.
        reasons: how many rows train nothing, by reason: "no marker", "truncated before the answer", "only ignored ids", ...
        untrained_rows: the first of these rows, as (row, reason); rows count from 0, over all calls that were added up.
        mismatches: rows in which the roles found differ from those of the example's messages.
        mismatched_rows: the first of these rows.

    >>> print(MaskReport(rows=2, tokens=10, trained_tokens=4, turns={"assistant": 1}, reasons=Counter({"no marker": 1})))
    rows                          2
    tokens                        10
    tokens trained                4 (40.0%)
    turns                         assistant 1
    turns cut off                 0
    rows without a trained token  1
      no marker                   1
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    truncated_turns: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    untrained_rows: list[tuple[int, str]] = field(default_factory=list)
    mismatches: int = 0
    mismatched_rows: list[int] = field(default_factory=list)

    @classmethod
    def _from_counts(cls, counts: npt.NDArray[np.int64], roles: Sequence[str]) -> MaskReport:
        """Of what the core counts, in this order: `TOTALS`, rows by outcome, turns by role."""
        numbers = counts.tolist()
        outcomes, turns = numbers[len(TOTALS) :][: len(REASONS)], numbers[len(TOTALS) + len(REASONS) :]
        return cls(
            **dict(zip(TOTALS, numbers, strict=False)),
            turns=dict(zip(roles, turns, strict=True)),
            reasons=Counter({reason: count for reason, count in zip(REASONS[1:], outcomes[1:], strict=True) if count}),
        )

    @property
    def untrained_row_count(self) -> int:
        """How many rows train nothing, for whatever reason."""
        return self.reasons.total()

    def __add__(self, other: MaskReport) -> MaskReport:
        shifted = [(row + self.rows, reason) for row, reason in other.untrained_rows]
        return MaskReport(
            rows=self.rows + other.rows,
            tokens=self.tokens + other.tokens,
            trained_tokens=self.trained_tokens + other.trained_tokens,
            turns={role: self.turns.get(role, 0) + other.turns.get(role, 0) for role in {**self.turns, **other.turns}},
            truncated_turns=self.truncated_turns + other.truncated_turns,
            reasons=self.reasons + other.reasons,
            untrained_rows=(self.untrained_rows + shifted)[:NAMED_ROWS],
            mismatches=self.mismatches + other.mismatches,
            mismatched_rows=(self.mismatched_rows + [row + self.rows for row in other.mismatched_rows])[:NAMED_ROWS],
        )

    def __str__(self) -> str:
        share = f" ({self.trained_tokens / self.tokens:.1%})" if self.tokens else ""
        lines = [
            ("rows", f"{self.rows}"),
            ("tokens", f"{self.tokens}"),
            ("tokens trained", f"{self.trained_tokens}{share}"),
            ("turns", ", ".join(f"{role} {count}" for role, count in self.turns.items()) or "none"),
            ("turns cut off", f"{self.truncated_turns}"),
            ("rows without a trained token", f"{self.untrained_row_count}"),
            *((f"  {reason}", f"{count}") for reason, count in self.reasons.items()),
        ]
        if self.mismatches:
            lines.append(("roles differ from messages", f"{self.mismatches}"))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


class Tally:
    """What the core counted, and each row's outcome. The report is made of it when someone asks: on small batches it takes as long as
    the labels.
    """

    __slots__ = ("counts", "outcomes", "roles")

    def __init__(self, counts: npt.NDArray[np.int64], outcomes: npt.NDArray[np.uint8], roles: tuple[str, ...]) -> None:
        self.counts = counts
        self.outcomes = outcomes
        self.roles = roles

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.outcomes)

    @property
    def untrained(self) -> bool:
        """Whether some row trains nothing."""
        return bool(self.outcomes.any())

    @property
    def report(self) -> MaskReport:
        """The counts with their names."""
        report = MaskReport._from_counts(self.counts, self.roles)
        untrained = np.flatnonzero(self.outcomes)[:NAMED_ROWS]
        report.untrained_rows = [(int(row), REASONS[self.outcomes[row]]) for row in untrained]
        return report

    def kept_rows(self, policy: MaskPolicy) -> npt.NDArray[np.int64] | None:
        """The rows that stay under `policy.on_untrained_row`; `None`: all.

        Raises:
            ValueError: a row has nothing to train, and `on_untrained_row="raise"`.
        """
        if policy.on_untrained_row == "keep" or not self.untrained:
            return None
        if policy.on_untrained_row == "raise":
            row, reason = self.report.untrained_rows[0]
            raise ValueError(
                f'rows: row {row} has no trained tokens: {reason}. Fix or remove it, or set on_untrained_row to "drop" or "keep".'
            )
        return np.flatnonzero(self.outcomes == 0)
