"""What a chat collator counts in all processes: its own and the workers of its loaders.

multiprocessing is imported where it is used: only collators whose processes have children need it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np

from spanmask import _core
from spanmask._shared import SharedIntegers
from spanmask.noise.training import in_training

__all__ = ["MaskCounts", "SharedCounts"]


@dataclass(frozen=True)
class MaskCounts:
    """Counts of batches. The difference of two is what was counted in between.

    Attributes:
        rows, tokens, trained_tokens, truncated_turns, unclosed_regions, role_mismatches, aligned_rows, searched_rows: as in `MaskReport`.
        untrained_rows: rows without trained tokens.
        dropped_rows: rows that the policy left out of their batches. They are counted in all other numbers too.

    >>> before, after = MaskCounts(rows=2, tokens=10, trained_tokens=4), MaskCounts(rows=5, tokens=30, trained_tokens=9)
    >>> (after - before).trained_share
    0.25
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    truncated_turns: int = 0
    unclosed_regions: int = 0
    untrained_rows: int = 0
    dropped_rows: int = 0
    role_mismatches: int = 0
    aligned_rows: int = 0
    searched_rows: int = 0

    @property
    def trained_share(self) -> float:
        """The trained tokens divided by all tokens; 0 if there are none."""
        return self.trained_tokens / self.tokens if self.tokens else 0.0

    def __add__(self, other: MaskCounts) -> MaskCounts:
        if not isinstance(other, MaskCounts):
            return NotImplemented
        return MaskCounts(*map(int.__add__, numbers_of(self), numbers_of(other)))

    def __sub__(self, other: MaskCounts) -> MaskCounts:
        if not isinstance(other, MaskCounts):
            return NotImplemented
        return MaskCounts(*map(int.__sub__, numbers_of(self), numbers_of(other)))

    def to_dict(self) -> dict[str, int | float]:
        """All numbers by name, `trained_share` first."""
        return {"trained_share": self.trained_share, **asdict(self)}


KINDS = len(fields(MaskCounts))
numbers_of = attrgetter(*(kind.name for kind in fields(MaskCounts)))


class SharedCounts:
    """Counts of the batches that this process and its child processes make, those for training apart from all others.

    They are integers in memory that processes share, each added to atomically: there is no lock, which a fork could copy or a killed worker
    keep. What was counted before the first child process started is this process's own. A plain pickle or a deep copy starts at zero.
    """

    def __init__(self) -> None:
        self._integers = SharedIntegers(2 * KINDS, np.int64, carry=False)
        self._asked: Callable[[], bool] | None = None
        self._made_in = os.getpid()

    @property
    def lost(self) -> bool:
        """Whether a child process was started for which no memory could be shared: what it counts stays with it."""
        return self._integers.lost

    def add(self, counts: tuple[int, ...]) -> None:
        """Count a batch: the fields of its `MaskCounts` in order."""
        half = self._half(in_training() or (self._asked is not None and self._asked()))
        integers = self._integers
        _core.add_shared((integers.own if integers.shared is None else integers.shared)[half], counts)

    def read(self, training: bool) -> MaskCounts:
        """The counts of batches for training, or of all others. A batch that another process is counting may be counted in part."""
        half, nothing = self._half(training), (0,) * KINDS
        own, shared = self._integers.own, self._integers.shared
        counted = MaskCounts(*_core.add_shared(own[half], nothing))
        return counted if shared is None else counted + MaskCounts(*_core.add_shared(shared[half], nothing))

    def count_as_training_when(self, asked: Callable[[], bool]) -> None:
        """Count a batch as one for training also if this function says so. Child processes keep the answer of their start."""
        self._asked = asked

    def start_here(self) -> None:
        """Start at zero if this process was started with the counts of its parent: ranks count for themselves."""
        if self._made_in != os.getpid():
            self.__init__()  # type: ignore[misc]

    @staticmethod
    def _half(training: bool) -> slice:
        return slice(0, KINDS) if training else slice(KINDS, None)

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.context import get_spawning_popen

        if get_spawning_popen() is None:
            return {}
        return {"integers": self._integers, "made_in": self._made_in, "asked": self._asked is not None and self._asked()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]
        self._made_in = state.get("made_in", self._made_in)
        self._asked = always if state.get("asked") else None
        self._integers = state.get("integers", self._integers)


def always() -> bool:
    """All batches of a process that was started for training are for training."""
    return True
