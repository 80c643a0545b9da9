"""`untrained=1%`: how many rows of a finding are too many."""

from __future__ import annotations

from dataclasses import dataclass

from spanmask.data.audit.findings import FINDINGS
from spanmask.data.audit.report import AuditReport

__all__ = ["Limit"]


@dataclass(frozen=True)
class Limit:
    """The greatest number of rows that a finding may have.

    Attributes:
        name: of the finding.
        most: rows, or percent of all rows.
        is_percent: which of the two.
    """

    name: str
    most: float
    is_percent: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read `untrained=1%` or `duplicates=10`.

        Raises:
            ValueError: it is neither, or there is no such finding.
        """
        name, equals, most = text.partition("=")
        is_percent = most.endswith("%")
        try:
            value = float(most.removesuffix("%"))
        except ValueError:
            value = -1.0
        if not equals or not 0 <= value < float("inf"):
            raise ValueError(f"--fail-on: expected NAME=LIMIT such as untrained=1% or duplicates=10, got {text!r}.")
        if name not in FINDINGS:
            raise ValueError(f"--fail-on: there is no finding {name!r}; there are {', '.join(FINDINGS)}.")
        return cls(name, value, is_percent)

    def exceeded(self, report: AuditReport) -> str | None:
        """What is too much, or `None`.

        Raises:
            ValueError: the finding was not looked for.
        """
        count = len(report.rows(self.name))
        share = 100.0 * count / max(report.all_rows, 1)
        if (share if self.is_percent else count) <= self.most:
            return None
        rows = "1 row" if count == 1 else f"{count:,} rows"
        return f"{self.name}: {rows} ({share:.2g}%), more than {self.most:g}{'%' if self.is_percent else ''}"
