"""The running report of a collator: what its masks did so far, and the warnings and errors that follow from it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from typing import Any, Literal

from spanmask.errors import SpanmaskWarning
from spanmask.labels import MaskReport

__all__ = ["OnAllEmpty", "RunningReport"]

OnAllEmpty = Literal["raise", "warn", "ignore"]

REMEDIES = {
    "empty row": "Drop such rows from the dataset.",
    "no marker": "The chat format does not fit these ids: print(collator.chat_format) and compare it with the row.",
    "truncated before the answer": "Raise max_length, or drop rows without an answer.",
    "only ignored ids": "Check ignore_ids of the policy and of the chat format.",
    "empty answer": "Drop rows without an answer, or check the policy.",
    "excluded by labels or turn_mask": "Check these columns of the dataset.",
}


class RunningReport:
    """Adds up the reports of all batches. Threads may call one collator; pickled copies count for themselves."""

    def __init__(self) -> None:
        self.total = MaskReport()
        self._lock = threading.Lock()
        self._warned = False

    def add(self, report: MaskReport, on_all_empty: OnAllEmpty, decode: Callable[[int], str]) -> None:
        """Count one batch. `decode(row)` gives the text of a row for the message.

        Raises:
            ValueError: no row of the batch trains anything, and `on_all_empty="raise"`.
        """
        with self._lock:
            self.total += report
            first = bool(report.untrained_rows) and not self._warned
            self._warned |= first
        all_empty = report.rows > 0 and report.rows_without_trained_token == report.rows
        if all_empty and on_all_empty == "raise":
            raise ValueError(
                f"features: no row of this batch has a token to train. {describe(report, decode)} "
                'Set on_all_empty="warn" to go on with such batches.'
            )
        if first or (all_empty and on_all_empty == "warn"):
            warnings.warn(
                f"{report.rows_without_trained_token} of {report.rows} rows of a batch have no token to train. "
                f"{describe(report, decode)} Later rows are only counted: print(collator.report).",
                SpanmaskWarning,
                stacklevel=4,
            )

    def __getstate__(self) -> dict[str, Any]:
        return {"total": self.total, "_warned": self._warned}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def describe(report: MaskReport, decode: Callable[[int], str]) -> str:
    """The first row that trains nothing: its number, the reason, its text, the remedy."""
    row, reason = report.untrained_rows[0]
    text = decode(row)
    shown = text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"
    return f"Row {row}: {reason}. {REMEDIES[reason]} It reads: {shown!r}."
