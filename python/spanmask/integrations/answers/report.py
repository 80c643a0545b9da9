"""`AnswersReport`: what each data set of a trainer trains."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from spanmask.report import MaskReport

__all__ = ["AnswersReport", "counted"]


class AnswersReport(Mapping[str, MaskReport]):
    """A `MaskReport` for each data set of a trainer: "train" and "eval", or "eval_..." for each of several. `print` shows a line each.

    Data sets are counted before training. Streams, and data whose batches a collator masks, are counted while they are read in this
    process; the workers of a loader count for themselves.
    """

    def __init__(self) -> None:
        self._counted: dict[str, tuple[Callable[[], MaskReport], str, str]] = {}

    def add(self, name: str, counts: Callable[[], MaskReport], later: str = "", note: str = "") -> None:
        """Add a data set. `later`: why its counts are not known yet. `note`: what its user should know."""
        self._counted[name] = counts, later, note

    def __getitem__(self, name: str) -> MaskReport:
        return self._counted[name][0]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._counted)

    def __len__(self) -> int:
        return len(self._counted)

    def __str__(self) -> str:
        return "\n".join(
            f"{name}: {describe(self[name], later)}{f'; {note}' if note else ''}"
            for name, (_, later, note) in self._counted.items()
        )

    def __repr__(self) -> str:
        return f"AnswersReport({dict(self)!r})"


def describe(report: MaskReport, later: str) -> str:
    """One line for one data set."""
    if later and not report.rows:
        return later
    return counted(report) + (" so far" if later else "")


def counted(report: MaskReport) -> str:
    """The counts on one line."""
    share = f" ({report.trained_tokens / report.tokens:.1%})" if report.tokens else ""
    text = f"{report.trained_tokens} of {report.tokens} tokens train{share}, {report.rows} rows"
    if report.untrained_row_count:
        reasons = ", ".join(f"{reason} {count}" for reason, count in report.reasons.items())
        text += f", {report.untrained_row_count} of them train nothing ({reasons})"
    if report.role_mismatches:
        text += f", {report.role_mismatches} have other roles than their messages"
    return text
