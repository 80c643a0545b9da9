"""Counts over all rows: distributions, rows that occur again, and what a maximum length costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

__all__ = ["Cost", "Distribution", "SeenRows", "costs_of", "distribution", "row_hashes", "shares_of"]

Int64 = npt.NDArray[np.int64]
BINS = 24


@dataclass(frozen=True)
class Distribution:
    """How values are distributed.

    Attributes:
        edges: where bins begin, and the end of the last one. The last bin also holds everything above.
        counts: rows in each bin.
        least, median, mean, most: of the values; 0 without rows.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    least: float
    median: float
    mean: float
    most: float


@dataclass(frozen=True)
class Cost:
    """What a maximum length costs.

    Attributes:
        max_length: the length.
        rows: rows that are longer.
        tokens: tokens that are cut off.
        unanswered: rows whose trained tokens are all cut off.
    """

    max_length: int
    rows: int
    tokens: int
    unanswered: int


def distribution(values: npt.NDArray[np.int32]) -> Distribution:
    """Counts in bins of one round width; the largest hundredth of the values is in the last bin."""
    if not len(values):
        return Distribution((0.0, 1.0), (0,), 0.0, 0.0, 0.0, 0.0)
    top = max(1, int(np.quantile(values, 0.99)))
    width = round_width(top / BINS)
    bins = min(BINS, top // width + 1)
    counts = np.bincount(np.minimum(values // width, bins - 1), minlength=bins)
    edges = tuple(float(width * number) for number in range(bins + 1))
    return Distribution(
        edges,
        tuple(counts.tolist()),
        float(values.min()),
        float(np.median(values)),
        float(values.mean(dtype=np.float64)),
        float(values.max()),
    )


def round_width(width: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50, ..."""
    power = 1
    while True:
        for step in (1, 2, 5):
            if step * power >= width:
                return step * power
        power *= 10


def shares_of(trained: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32]) -> Distribution:
    """The trained share of each row in percent, in bins of five; rows without tokens are left out."""
    some = lengths > 0
    shares = 100.0 * trained[some] / lengths[some]
    counts = np.bincount(np.minimum(shares // 5, 19).astype(np.int64), minlength=20)
    edges = tuple(float(5 * number) for number in range(21))
    if not len(shares):
        return Distribution(edges, tuple(counts.tolist()), 0.0, 0.0, 0.0, 0.0)
    return Distribution(
        edges,
        tuple(counts.tolist()),
        float(shares.min()),
        float(np.median(shares)),
        float(shares.mean()),
        float(shares.max()),
    )


def costs_of(lengths: npt.NDArray[np.int32], first_trained: npt.NDArray[np.int32], also: int | None) -> tuple[Cost, ...]:
    """What maximum lengths cost: powers of two up to the longest row, and `also`.

    Args:
        lengths: tokens of each row.
        first_trained: the position of each row's first trained token, -1 without one.
    """
    most = int(lengths.max(initial=0))
    sizes = {1 << power for power in range(7, 31) if 1 << (power - 1) < most}
    return tuple(
        Cost(
            size,
            int((lengths > size).sum()),
            int(np.maximum(lengths.astype(np.int64) - size, 0).sum()),
            int((first_trained >= size).sum()),
        )
        for size in sorted(sizes | ({also} if also else set()))
    )


def row_hashes(ids: Int64, offsets: Int64) -> npt.NDArray[np.uint64]:
    """A hash of each row's tokens: Python's own of bytes, keyed anew in each process.

    Mixing all tokens in NumPy took a sixth of the time of an audit, in many passes over them; this is one pass.
    """
    tokens = memoryview(ids.tobytes())
    edges = (ids.itemsize * offsets).tolist()
    hashes = np.fromiter((hash(tokens[start:stop]) for start, stop in pairwise(edges)), np.int64, len(offsets) - 1)
    return hashes.view(np.uint64)


class SeenRows:
    """Remembers rows by their hashes, 16 bytes each, in a few sorted arrays that are merged as they grow."""

    def __init__(self) -> None:
        self._runs: list[tuple[npt.NDArray[np.uint64], Int64]] = []

    def add(self, ids: Int64, offsets: Int64, numbers: Int64) -> Int64:
        """For each row, the number of the first row with the same tokens, or -1; rows without tokens are not compared."""
        lengths = np.diff(offsets)
        hashes = row_hashes(ids, offsets)
        earlier = np.full(len(numbers), -1, np.int64)
        for known, first in self._runs:
            at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
            hit = known[at] == hashes
            earlier[hit] = first[at[hit]]
        unique, first_at, inverse = np.unique(hashes, return_index=True, return_inverse=True)
        is_copy = (first_at[inverse] != np.arange(len(numbers))) & (earlier < 0)
        earlier[is_copy] = numbers[first_at[inverse][is_copy]]
        earlier[lengths == 0] = -1
        new = (earlier[first_at] < 0) & (lengths[first_at] > 0)
        self._merge(unique[new], numbers[first_at[new]])
        return earlier

    def _merge(self, hashes: npt.NDArray[np.uint64], numbers: Int64) -> None:
        if not len(hashes):
            return
        self._runs.append((hashes, numbers))
        while len(self._runs) > 1 and len(self._runs[-1][0]) * 2 > len(self._runs[-2][0]):
            last, other = self._runs.pop(), self._runs.pop()
            both = np.concatenate([other[0], last[0]])
            order = np.argsort(both, kind="stable")
            self._runs.append((both[order], np.concatenate([other[1], last[1]])[order]))


def joined(parts: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.int32]:
    """Arrays one after the other."""
    return np.concatenate(parts) if parts else np.zeros(0, np.int32)
