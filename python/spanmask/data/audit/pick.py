"""A few rows of a data set, chosen by number or by what is remarkable about them, as a `Preview`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from spanmask._validate import check_choice
from spanmask.chat.format import ChatFormat
from spanmask.data.audit.compare import Difference, InStep
from spanmask.data.audit.rows import LabelledRows, RowLabeller
from spanmask.data.audit.run import labelled_rows
from spanmask.data.audit.samples import RowShower
from spanmask.data.audit.sources import source_of
from spanmask.errors import DataError
from spanmask.policy import MaskPolicy
from spanmask.preview.model import Row
from spanmask.preview.pick import Pick, ranks_of
from spanmask.preview.show import Preview

__all__ = ["pick_rows"]


def pick_rows(
    data: Any,
    tokenizer: Any,
    policy: MaskPolicy | None = None,
    *,
    chat_format: ChatFormat | None = None,
    columns: Mapping[str, str] | None = None,
    numbers: Iterable[int] | None = None,
    other: Any = None,
    pick: Pick = "first",
    max_rows: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Show a few rows of a data set with their mask.

    Args:
        data, tokenizer, policy, chat_format, columns, progress: as in `audit`.
        numbers: the rows to show, counted from 0.
        other: another masking of the same rows, shown beside the first, as `compare` of `audit`.
        pick, seed: as in `preview`, without `numbers`.
        max_rows: how many.

    Raises:
        DataError: a row does not exist or cannot be used, or a file cannot be read.
        ChatFormatError, ValueError, TypeError: as in `audit`.
    """
    check_choice("pick", pick, Pick)
    wanted = None if numbers is None else sorted(set(numbers))
    source = source_of(data, "rows")
    own: dict[str, Any] = {"chat_format": chat_format, "columns": columns}
    labeller = RowLabeller(tokenizer, policy, **own)
    others: Iterator[LabelledRows] | None = None
    if isinstance(other, MaskPolicy):
        others = labelled_rows(source, RowLabeller(tokenizer, other, use="ids", **own), {})
    elif other is not None:
        others = labelled_rows(source_of(other, "other"), RowLabeller(tokenizer, policy, **own), {})
    elif pick == "mismatch":
        others = only_messages(labelled_rows(source, RowLabeller(tokenizer, policy, use="messages", **own), {}))
    if isinstance(data, Iterator) and others is not None and (other is None or isinstance(other, MaskPolicy)):
        raise TypeError("rows: the data can be read only once; pass a list, a data set or files.")
    in_step = None if others is None else InStep(others)
    shower = RowShower(tokenizer)
    bad: dict[int, tuple[str, str]] = {}
    kept: list[tuple[int, int, Row]] = []  # rank, number and row; the smallest ranks are kept
    seen = 0
    most = max_rows if wanted is None else len(wanted)
    for rows in labelled_rows(source, labeller, bad):
        seen += len(rows)
        differs = np.zeros(len(rows), np.bool_)
        differs[list(rows.unknown)] = other is None
        second: Difference | None = None
        if in_step is not None and (other is not None or not rows.from_messages):
            second = in_step.difference(rows)
            differs[[*second.different, *second.incomparable]] = True
        if wanted is None:
            ranks = ranks_of(pick, seed, rows.numbers, rows.lengths, rows.trained_counts, differs)
        else:
            ranks = np.where(np.isin(rows.numbers, wanted), rows.numbers, -1)
        for at in np.argsort(ranks, kind="stable").tolist():
            rank = int(ranks[at])
            if rank >= 0 and (len(kept) < most or rank < kept[-1][0]):
                shown_row = shower.row(rows, at, second)
                kept = sorted([*kept, (rank, int(rows.numbers[at]), shown_row)], key=lambda one: one[:2])[:most]
        if progress is not None:
            progress(len(rows), len(rows.ids))
        enough = len(kept) == most and (pick in ("first", "untrained", "mismatch") or wanted is not None)
        if enough:
            break
    shown = {number for _, number, _ in kept}
    for number in wanted or ():
        if number not in shown:
            why = f"cannot be used: {bad[number][0]}" if number in bad else f"does not exist; there are {seen + len(bad)}."
            raise DataError(f"{source.name}: row {number} {why}")
    first = min(bad, default=None)
    unusable = "" if first is None else f"{len(bad):,} of {seen + len(bad):,} rows cannot be used; row {first}: {bad[first][0]}"
    return Preview(tuple(row for _, _, row in kept), unusable=unusable)


def only_messages(rows: Iterator[LabelledRows]) -> Iterator[LabelledRows]:
    """The rows, if they are made of messages.

    Raises:
        ValueError: they are not.
    """
    for some in rows:
        if not some.from_messages:
            raise ValueError("pick: 'mismatch' compares masks with messages, and the data have none; pass other= (another mask).")
        yield some
