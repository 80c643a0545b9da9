"""Two maskings of the same rows, in step with each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from spanmask.data.audit.rows import IGNORE, LabelledRows

__all__ = ["Difference", "InStep"]

Int64 = npt.NDArray[np.int64]
# Where one of the two lacks rows, the others are found again within so many rows.
REACH = 4096


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


@dataclass
class Held:
    """A piece of the other rows. `places`: where rows with some tokens are; it is made when it is needed."""

    rows: LabelledRows
    places: dict[bytes, list[int]] = field(default_factory=dict)

    def ids(self, at: int) -> Int64:
        """The tokens of a row."""
        return self.rows.ids[self.rows.offsets[at] : self.rows.offsets[at + 1]]

    def labels(self, at: int) -> Int64:
        """The labels of a row."""
        return self.rows.labels[self.rows.offsets[at] : self.rows.offsets[at + 1]]

    def find(self, ids: Int64, after: int) -> int | None:
        """The first row with these tokens and a greater ordinal."""
        if not self.places:
            for at in range(len(self.rows)):
                self.places.setdefault(self.ids(at).tobytes(), []).append(at)
        return next((at for at in self.places.get(ids.tobytes(), ()) if int(self.rows.ordinals[at]) > after), None)


class InStep:
    """Reads the other data as far as it is needed, and compares them row by row.

    Rows with the same ordinal belong together. Where that row has other tokens, a row with the same tokens, followed by the same row, is
    searched for nearby: one of the two may lack rows. Then the ordinals after it are shifted.
    """

    def __init__(self, rows: Iterator[LabelledRows]) -> None:
        self._rows = rows
        self._held: list[Held] = []
        self._last = self._matched = -1
        self._shift = 0

    def difference(self, rows: LabelledRows) -> Difference:
        """Compare rows. A row that one of the two cuts is compared with its rest, which does not train."""
        labels = np.full(len(rows.ids), IGNORE, np.int64)
        comparable = np.zeros(len(rows), np.bool_)
        for at, ordinal in enumerate(rows.ordinals.tolist()):
            start, stop = int(rows.offsets[at]), int(rows.offsets[at + 1])
            following = rows.ids[stop : int(rows.offsets[at + 2])] if at + 1 < len(rows) else None
            found = self._counterpart(ordinal, rows.ids[start:stop], following)
            if found is not None:
                comparable[at] = True
                size = min(stop - start, len(found))
                labels[start : start + size] = found[:size]
        passed = max(self._matched, int(rows.ordinals[-1]) + self._shift - REACH)
        self._held = [one for one in self._held if int(one.rows.ordinals[-1]) > passed]
        first, second = rows.trained, labels != IGNORE
        counted = np.repeat(comparable, rows.lengths)
        differs = (rows.labels != labels) & counted
        per_row = np.diff(np.append(0, np.cumsum(differs))[rows.offsets])
        return Difference(
            np.flatnonzero(per_row).tolist(),
            np.flatnonzero(~comparable).tolist(),
            int(comparable.sum()),
            int((first & ~second & counted).sum()),
            int((second & ~first & counted).sum()),
            int((first & second & counted).sum()),
            lambda at: labels[rows.offsets[at] : rows.offsets[at + 1]],
        )

    def _counterpart(self, ordinal: int, ids: Int64, following: Int64 | None) -> Int64 | None:
        """The other labels of a row, if the other data have it. `following`: the tokens of the next row, if it is known."""
        found = self._at(ordinal + self._shift)
        if found is not None and is_same(ids, found[0].ids(found[1])):
            self._matched = ordinal + self._shift
            return found[0].labels(found[1])
        self._read_up_to(ordinal + self._shift + REACH)
        for held in self._held:
            place = held.find(ids, self._matched)
            if place is None:
                continue
            there = int(held.rows.ordinals[place])
            after = self._at(there + 1)
            if following is not None and after is not None and not is_same(following, after[0].ids(after[1])):
                continue  # a row that occurs again
            self._matched, self._shift = there, there - ordinal
            return held.labels(place)
        return None

    def _at(self, ordinal: int) -> tuple[Held, int] | None:
        """Where the other row with an ordinal is."""
        self._read_up_to(ordinal)
        for held in self._held:
            at = int(np.searchsorted(held.rows.ordinals, ordinal))
            if at < len(held.rows) and int(held.rows.ordinals[at]) == ordinal:
                return held, at
        return None

    def _read_up_to(self, ordinal: int) -> None:
        while self._last < ordinal:
            more = next(self._rows, None)
            if more is None:
                return
            if len(more):
                self._held.append(Held(more))
                self._last = int(more.ordinals[-1])


def is_same(ids: Int64, other: Int64) -> bool:
    """Whether two rows have the same tokens, as far as both go."""
    size = min(len(ids), len(other))
    return np.array_equal(ids[:size], other[:size]) and (size > 0 or len(ids) == len(other))
