"""Two maskings of the same rows, in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask.data.audit.rows import IGNORE, LabelledRows

__all__ = ["Difference", "InStep", "difference"]

Int64 = npt.NDArray[np.int64]


class InStep:
    """Reads the other data as far as it is needed."""

    def __init__(self, rows: Iterator[LabelledRows]) -> None:
        self._rows = rows
        self._held: list[LabelledRows] = []
        self._last = -1

    def up_to(self, number: int) -> list[LabelledRows]:
        """The other rows up to this number, and perhaps more; those that ended before the last call are dropped."""
        while self._last < number:
            more = next(self._rows, None)
            if more is None:
                break
            if len(more):
                self._held.append(more)
                self._last = int(more.ordinals[-1])
        return self._held

    def drop_before(self, number: int) -> None:
        """Forget pieces that end before this row."""
        self._held = [one for one in self._held if int(one.ordinals[-1]) >= number]


@dataclass
class Difference:
    """How some rows differ.

    Attributes:
        different: positions of rows with other labels.
        incomparable: positions of rows that have other tokens, or are missing.
        compared: rows that were compared.
        only_first, only_second, both: trained tokens.
        other: gives the other labels of a row by position, as long as the row.
    """

    different: list[int]
    incomparable: list[int]
    compared: int
    only_first: int
    only_second: int
    both: int
    other: Callable[[int], Int64]


def difference(rows: LabelledRows, others: list[LabelledRows]) -> Difference:
    """Compare rows with those of the same place. A row that one of them cuts is compared with its rest, which does not train."""
    labels = np.full(len(rows.ids), IGNORE, np.int64)
    comparable = np.zeros(len(rows), np.bool_)
    for other in others:
        _, mine, theirs = np.intersect1d(rows.ordinals, other.ordinals, assume_unique=True, return_indices=True)
        for at, there in zip(mine.tolist(), theirs.tolist(), strict=True):
            start, stop = int(rows.offsets[at]), int(rows.offsets[at + 1])
            low, high = int(other.offsets[there]), int(other.offsets[there + 1])
            size = min(stop - start, high - low)
            if np.array_equal(rows.ids[start : start + size], other.ids[low : low + size]) and (
                size or stop - start == high - low
            ):
                comparable[at] = True
                labels[start : start + size] = other.labels[low : low + size]
    first, second = rows.trained, labels != IGNORE
    counted = np.repeat(comparable, rows.lengths)
    differs = (rows.labels != labels) & counted
    before = np.append(0, np.cumsum(differs))
    per_row = np.diff(before[rows.offsets])
    return Difference(
        np.flatnonzero(per_row).tolist(),
        np.flatnonzero(~comparable).tolist(),
        int(comparable.sum()),
        int((first & ~second & counted).sum()),
        int((second & ~first & counted).sum()),
        int((first & second & counted).sum()),
        lambda at: labels[rows.offsets[at] : rows.offsets[at + 1]],
    )
