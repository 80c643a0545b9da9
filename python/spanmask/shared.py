"""Integers that a process and its workers share.

multiprocessing takes as long to import as a third of spanmask, and only collators need it: it is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SharedIntegers"]


class SharedIntegers:
    """int64s in multiprocessing's own shared memory: one object, seen by all workers under fork, spawn and forkserver.

    A plain pickle (to disk, to another machine) copies the values. Writes are not atomic: give each writer places of its own.
    """

    array: npt.NDArray[np.int64]
    """The integers, as a view."""

    def __init__(self, values: Iterable[int]) -> None:
        self._share(list(values))

    def _share(self, memory: Any) -> None:
        """Use this memory, or fresh memory that holds these values."""
        if isinstance(memory, list):
            from multiprocessing.sharedctypes import RawArray

            memory = RawArray("q", memory)
        self._memory = memory
        self.array = np.frombuffer(memory, dtype=np.int64)

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.context import get_spawning_popen

        # Only on its way into a child process can the memory itself go along.
        return {"_memory": self.array.tolist() if get_spawning_popen() is None else self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._share(state["_memory"])
