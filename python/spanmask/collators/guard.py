"""Warnings and errors about rows without trained tokens, and about rows whose turns differ from those of their messages."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

from spanmask._core import LabelCounts
from spanmask.errors import SpanmaskWarning, UntrainedRowsWarning
from spanmask.report import MaskReport, RunningReport

__all__ = [
    "OnUntrainedBatch",
    "check_unclosed",
    "check_untrained",
    "describe_mismatch",
    "describe_uncovered",
    "roles_of_messages",
]

OnUntrainedBatch = Literal["raise", "warn", "ignore"]

# By the beginning of a reason.
REMEDIES = {
    "empty row": "Drop such rows from the dataset.",
    "no turn marker found": "The chat format does not fit these ids: print(collator.chat_format) and compare it with the row.",
    "truncated by max_length": "Raise max_length, or drop such rows.",
    "truncated in the answer": "Keep more tokens where rows are made, or train such answers: truncated_turn='train'.",
    "truncated before the answer": "The row ends before an answer. Keep more tokens where rows are made, or drop such rows.",
    "all trained tokens ignored": "Check what the policy ignores (ids, sequences, regions, reasoning), and ignore_ids of the chat format.",
    "empty assistant turn": "Drop rows without an answer, or check the policy.",
    "excluded by labels or turn weights": "Check these columns of the dataset.",
    "only the first token would train": "With padding_free, or shift='left', a row's first token never trains. Drop such rows.",
    "no trained turn": "Drop rows without an answer, or add their roles to the policy.",
}


def check_untrained(
    report: MaskReport,
    on_untrained_batch: OnUntrainedBatch,
    running: RunningReport,
    decode: Callable[[int], str],
    name: Callable[[int], str],
) -> None:
    """Warn about the first rows without trained tokens; raise if no row of the batch has any.

    `decode(row)` gives the text of a row for the message, `name(row)` its name.

    Raises:
        ValueError: no row of the batch has trained tokens, and `on_untrained_batch="raise"`.
    """
    whole_batch = report.untrained_row_count == report.rows
    if whole_batch and on_untrained_batch == "raise":
        raise ValueError(
            f"features: no row in this batch has any trained tokens. {describe(report, decode, name)} "
            'Set on_untrained_batch="warn" to continue with such batches.'
        )
    if running.is_first("untrained") or (whole_batch and on_untrained_batch == "warn"):
        warnings.warn(
            f"{report.untrained_row_count} of {report.rows} rows in a batch have no trained tokens. {describe(report, decode, name)} "
            "Further occurrences are only counted; see collator.report.",
            UntrainedRowsWarning,
            stacklevel=4,
        )


def describe(report: MaskReport, decode: Callable[[int], str], name: Callable[[int], str]) -> str:
    """Describe the first row without trained tokens: its number, the reason, the remedy, its text."""
    row, reason = report.untrained_rows[0]
    remedy = next(
        (remedy for beginning, remedy in REMEDIES.items() if reason.startswith(beginning)),
        "Drop such rows, or train their roles: MaskPolicy(roles=...).",
    )
    return f"{name(row).capitalize()}: {reason}. {remedy} Decoded: {shorten(decode(row))!r}."


def check_unclosed(counts: LabelCounts, running: RunningReport, decode: Callable[[int], str]) -> None:
    """Warn once if a region of `ignore_between`, or reasoning that does not train, opened but did not close."""
    if counts.unclosed_row is not None and running.is_first("unclosed"):
        warnings.warn(
            f"policy: row {counts.unclosed_row} has a region of ignore_between, or reasoning, that opens but does not close before its "
            f"turn ends, so that nothing after the opening trains (such regions in the batch: {counts.unclosed_regions}). The row was "
            "truncated there, or the closing ids differ from those in the row, because they merge with the text next to them: pass the "
            f'markers of ignore_between as text, ("<think>", "</think>"). Decoded: {shorten(decode(counts.unclosed_row))!r}. Further '
            "occurrences are only counted; see collator.report.",
            SpanmaskWarning,
            stacklevel=4,
        )


def shorten(text: str) -> str:
    """The beginning and the end of a long text."""
    return text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"


def describe_mismatch(row: int, wanted: list[str], found: list[str]) -> str:
    """Describe a row whose turns differ from those of its messages."""
    return (
        f"messages: row {row} has the roles {', '.join(map(spelled, wanted))}, but the token ids contain the turns "
        f"{', '.join(map(spelled, found)) or 'none'}: a "
        "message may contain marker text, or the chat format does not fit. Inspect the row with spanmask.preview."
    )


def spelled(role: str) -> str:
    """A role for a message. Roles come from data: control characters would reach the terminal."""
    return role if isinstance(role, str) and role.isprintable() else ascii(role)


def describe_uncovered(row: int, kind: str) -> str:
    """Describe a row of a kind that the chat format does not cover."""
    return (
        f"messages: row {row} contains {kind}, which the chat format does not cover, so its turns may be wrong. Inspect the row with "
        "spanmask.preview, write the boundaries by hand (ChatFormat.from_strings), or set on_role_mismatch='drop'."
    )


def roles_of_messages(messages: Any, row: int) -> list[str]:
    """The role of each message of a row.

    Raises:
        TypeError: the argument is not a list of messages.
    """
    try:
        return [message["role"] for message in messages]
    except (TypeError, KeyError, IndexError, ValueError, RuntimeError, AttributeError):
        raise TypeError(f"messages: row {row} is not a list of dicts with 'role' and 'content'.") from None
