"""Rows as findings show them: text with the mask, long parts folded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.data.audit.compare import Difference
from spanmask.data.audit.report import Sample
from spanmask.data.audit.rows import IGNORE, LabelledRows
from spanmask.preview.decode import TokenDecoder
from spanmask.preview.model import Row, TokenStyles, beside, labelled_row

__all__ = ["RowShower"]

Int64 = npt.NDArray[np.int64]
HEAD, TAIL, AROUND = 600, 300, 300  # tokens that are shown at the ends of a long row, and around a place


class RowShower:
    """Makes the samples of labelled rows."""

    def __init__(self, tokenizer: Any) -> None:
        self._decoder = TokenDecoder(getattr(tokenizer, "tokenizer", tokenizer))

    def sample(
        self,
        rows: LabelledRows,
        at: int,
        place: Callable[[int], str],
        why: str = "",
        cut: int | None = None,
        other: Callable[[int], Int64] | None = None,
    ) -> Sample:
        """The row at a position. `cut`: where it would be cut; `other`: other labels by position."""
        number = int(rows.numbers[at])
        labels = rows.labels[rows.offsets[at] : rows.offsets[at + 1]]
        row, second = self._row(rows, at, labels, cut), None
        if other is not None:
            theirs = other(at)
            differs = np.flatnonzero(labels != theirs)
            near = int(differs[0]) if len(differs) else None
            row, second = self._row(rows, at, labels, near), self._row(rows, at, theirs, near)
        return Sample(number, place(number), why, row, second)

    def row(self, rows: LabelledRows, at: int, other: Difference | None = None) -> Row:
        """The row at a position, as `preview` shows it, with another mask beside it."""
        labels = rows.labels[rows.offsets[at] : rows.offsets[at + 1]]
        if other is None:
            return self._row(rows, at, labels, None, by_token=True)
        if at in other.incomparable:
            row = self._row(rows, at, labels, None, by_token=True)
            return Row(f"{row.headline}; the other has other tokens", row.lines)
        theirs = other.other(at)
        differs = np.flatnonzero(labels != theirs)
        near = int(differs[0]) if len(differs) else None
        row, second = (self._row(rows, at, one, near, by_token=True) for one in (labels, theirs))
        return beside(row, second, len(differs))

    def _row(self, rows: LabelledRows, at: int, labels: Int64, near: int | None, *, by_token: bool = False) -> Row:
        start, stop = rows.offsets[at], rows.offsets[at + 1]
        weights = None if rows.weights is None else rows.weights[start:stop]
        styles = TokenStyles.from_labels(
            rows.ids[start:stop],
            labels,
            weights,
            ignore_index=IGNORE,
            max_weight=1.0 if weights is None else float(weights.max(initial=0)),
        )
        turns = None if rows.turns is None else rows.turns._part(np.array([at], np.int64), None)
        return labelled_row(
            int(rows.numbers[at]),
            styles,
            self._decoder,
            None,
            turns=turns,
            windows=windows(int(stop - start), near),
            by_token=by_token,
        )


def windows(size: int, near: int | None) -> list[tuple[int, int]]:
    """The tokens to show of a row of `size`: its ends, and those around a place."""
    if size <= HEAD + TAIL + 50:
        return [(0, size)]
    wanted = [(0, HEAD), (size - TAIL, size)]
    if near is not None:
        wanted.append((max(0, near - AROUND), min(size, near + AROUND)))
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(wanted):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged
