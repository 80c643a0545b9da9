"""A few rows of a data set, chosen by number or by what is remarkable about them, as a `Preview`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import check_choice
from spanmask.chat.format import ChatFormat
from spanmask.data.audit.rows import LabelledRows, RowLabeller
from spanmask.data.audit.run import labelled_rows
from spanmask.data.audit.samples import RowShower
from spanmask.data.audit.sources import source_of
from spanmask.data.files import DataError
from spanmask.policy import MaskPolicy
from spanmask.preview.model import Row
from spanmask.preview.show import Preview

__all__ = ["Pick", "pick_rows"]

Pick = Literal["first", "untrained", "longest", "fewest", "random"]
Ranks = npt.NDArray[np.int64]


def pick_rows(
    data: Any,
    tokenizer: Any,
    policy: MaskPolicy | None = None,
    *,
    chat_format: ChatFormat | None = None,
    columns: Mapping[str, str] | None = None,
    numbers: Iterable[int] | None = None,
    pick: Pick = "first",
    max_rows: int = 8,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Preview:
    """Show a few rows of a data set with their mask.

    Args:
        data, tokenizer, policy, chat_format, columns, progress: as in `audit`.
        numbers: the rows to show, counted from 0.
        pick: without `numbers`: the `"first"` rows; the first ones that train nothing (`"untrained"`); the `"longest"`; those with the
            `"fewest"` trained tokens, of those that have some; or some at `"random"`.
        max_rows: how many.
        seed: for `"random"`: the same seed gives the same rows.

    Raises:
        DataError: a row does not exist or cannot be used, or a file cannot be read.
        ChatFormatError, ValueError, TypeError: as in `audit`.
    """
    check_choice("pick", pick, Pick)
    wanted = None if numbers is None else sorted(set(numbers))
    source = source_of(data)
    labeller = RowLabeller(tokenizer, policy, chat_format=chat_format, columns=columns)
    shower = RowShower(tokenizer)
    bad: dict[int, tuple[str, str]] = {}
    kept: list[tuple[int, int, Row]] = []  # rank, number and row; the smallest ranks are kept
    seen = 0
    most = max_rows if wanted is None else len(wanted)
    for rows in labelled_rows(source, labeller, bad):
        seen += len(rows)
        ranks = ranks_of(rows, pick, seed) if wanted is None else np.where(np.isin(rows.numbers, wanted), rows.numbers, -1)
        for at in np.argsort(ranks, kind="stable").tolist():
            rank = int(ranks[at])
            if rank >= 0 and (len(kept) < most or rank < kept[-1][0]):
                kept = sorted([*kept, (rank, int(rows.numbers[at]), shower.row(rows, at))], key=lambda one: one[:2])[:most]
        if progress is not None:
            progress(len(rows), len(rows.ids))
        enough = len(kept) == most and (pick in ("first", "untrained") or wanted is not None)
        if enough:
            break
    shown = {number for _, number, _ in kept}
    for number in wanted or ():
        if number not in shown:
            why = f"cannot be used: {bad[number][0]}" if number in bad else f"does not exist; there are {seen + len(bad)}."
            raise DataError(f"{source.name}: row {number} {why}")
    return Preview(tuple(row for _, _, row in kept))


def ranks_of(rows: LabelledRows, pick: str, seed: int) -> Ranks:
    """A number for each row: the smallest are shown first, those below 0 never."""
    if pick == "longest":
        return np.asarray((1 << 40) - rows.lengths)
    if pick == "fewest":
        return np.where(rows.trained_counts > 0, rows.trained_counts, -1)
    if pick == "untrained":
        return np.where(rows.trained_counts == 0, rows.numbers, -1)
    if pick == "random":
        keys = (rows.numbers + (seed << 32)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0xBF58476D1CE4E5B9)
        return np.asarray(keys >> np.uint64(1), np.int64)
    return rows.numbers
