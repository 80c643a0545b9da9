"""When noise is drawn: the seed and the epoch of a collator, seen by all of its workers.

The epoch lives in shared memory: a collator that was copied into a worker process (fork, spawn or forkserver) reads what
`set_epoch` wrote in the parent. A plain pickle copies the value.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import UINT64_RANGE, as_uint64, check_choice
from spanmask.errors import SpanmaskWarning
from spanmask.shared import SharedIntegers

__all__ = ["ALGORITHM", "Clock", "Clocked", "OnRepeat"]

OnRepeat = Literal["warn", "ignore"]

# The version of everything that decides noise: streams, draws, plans. Another one: other noise for the same seed.
ALGORITHM = 1

# Places in the shared array: the epoch, then what the watch over repeats knows.
EPOCH, SEED, WATCHED_EPOCH, PASS, COUNT = range(5)
MARKS = 4
FIRST_MARK = 5
FIRST_SEEN = FIRST_MARK + MARKS
WARNED = MARKS + 1  # in COUNT
NO_LOADER = UINT64_RANGE - 1  # in PASS


class Clock:
    """Seed, epoch, and the watch over repeated masks.

    Args:
        seed: 0 to 2**64 - 1, or `None`: torch's own. In a loader's worker that is the seed of the pass over the data, without
            the worker's number; without workers likewise; outside of a loader it is `torch.initial_seed()`.
        epoch: where to begin.
        on_repeat: `"warn"` when a pass draws the masks of an earlier one again.
    """

    def __init__(self, seed: int | None, epoch: int, on_repeat: OnRepeat) -> None:
        self.seed = None if seed is None else as_uint64("seed", seed)
        self.on_repeat = on_repeat
        self._memory = SharedIntegers([0] * (FIRST_SEEN + MARKS))
        self._passes = Passes()
        self.epoch = epoch

    @property
    def _shared(self) -> npt.NDArray[np.uint64]:
        return self._memory.array.view(np.uint64)

    @property
    def epoch(self) -> int:
        """The epoch that the next batch is drawn for."""
        return int(self._shared[EPOCH])

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._shared[EPOCH] = as_uint64("epoch", epoch)

    def source(self) -> tuple[int, int]:
        """Seed and epoch of the next batch."""
        seed = self._passes.seed() if self.seed is None else self.seed
        return seed, self.epoch

    def watch(self, source: tuple[int, int], keys: npt.NDArray[np.uint64]) -> None:
        """Warn when a pass draws the masks of an earlier one again.

        The first few keys that were drawn for a (seed, epoch) are kept in shared memory, where workers of the next pass find
        them. One of them in another pass of a loader is a repeat. Outside of loaders nobody tells passes apart: there all of
        them must come up again, since a row may be in the data twice.
        """
        shared = self._shared
        if self.on_repeat == "ignore" or not len(keys):
            return
        seed, epoch = source
        this_pass = self._passes.number()
        count = int(shared[COUNT])
        if not count or (shared[SEED], shared[WATCHED_EPOCH]) != source:
            marks = list(dict.fromkeys(keys[:MARKS].tolist()))
            shared[COUNT] = 0
            shared[SEED], shared[WATCHED_EPOCH], shared[PASS] = seed, epoch, this_pass
            shared[FIRST_MARK : FIRST_MARK + len(marks)] = marks
            shared[FIRST_SEEN:] = 0
            shared[COUNT] = len(marks)
            return
        same_pass = bool(shared[PASS] == this_pass)
        if count == WARNED or (same_pass and this_pass != NO_LOADER):
            return
        found = (keys[:, None] == shared[FIRST_MARK : FIRST_MARK + count]).any(axis=0)
        seen = shared[FIRST_SEEN : FIRST_SEEN + count]
        seen[found] = 1
        if seen.all() or (not same_pass and found.any()):
            shared[COUNT] = WARNED
            warnings.warn(
                f"the masks repeat: these rows were drawn for seed {seed} and epoch {epoch} before. Call "
                "collator.set_epoch(epoch) before each pass (or use EpochCallback), or leave seed=None; where the same masks are "
                'wanted (evaluation), set on_repeat="ignore".',
                SpanmaskWarning,
                stacklevel=4,
            )

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch, algorithm."""
        return {"seed": self.seed, "epoch": self.epoch, "algorithm": ALGORITHM}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: an entry is missing, or the state is of another algorithm version.
        """
        missing = [name for name in ("seed", "epoch", "algorithm") if name not in state]
        if missing:
            raise ValueError(f"state_dict: has no {missing[0]!r}; give what state_dict() returned.")
        if state["algorithm"] != ALGORITHM:
            raise ValueError(
                f"state_dict: algorithm {state['algorithm']!r}, this version draws algorithm {ALGORITHM}: the noise would differ. "
                "Go on with the version of spanmask that began the run."
            )
        self.seed = None if state["seed"] is None else as_uint64("seed", state["seed"])
        self.epoch = state["epoch"]
        self._shared[COUNT] = 0


class Clocked:
    """What collators that draw noise have in common: seed, epoch, state."""

    def __init__(self, seed: int | None, epoch: int, on_repeat: OnRepeat) -> None:
        check_choice("on_repeat", on_repeat, OnRepeat)
        self.clock = Clock(seed, epoch, on_repeat)

    @property
    def seed(self) -> int | None:
        """The seed; `None`: torch's own."""
        return self.clock.seed

    @property
    def epoch(self) -> int:
        """The epoch that the next batch is drawn for; all workers see `set_epoch`."""
        return self.clock.epoch

    def set_epoch(self, epoch: int) -> None:
        """Draw other noise from now on: call it before each pass, as one does with a `DistributedSampler`."""
        self.clock.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch, algorithm: all that noise depends on beside the rows."""
        return self.clock.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken.

        Raises:
            ValueError: the state is of another algorithm version.
        """
        self.clock.load_state_dict(state)


class Passes:
    """torch's own seed, fresh for every pass over a loader and the same for any number of workers.

    A loader draws a base seed for each pass, and gives worker `w` base + w. Without workers nobody is told, so it is read from
    the loader's iterator, which stands on the call stack above the collator. Persistent workers keep their seed; each new pass
    shows itself by a new fetcher there, and is added to the seed.
    """

    def __init__(self) -> None:
        self._fetcher: Any = None
        self._count = 0

    def seed(self) -> int:
        """The seed of this pass; outside of loaders torch's own."""
        import torch

        number = self._of_loader()
        return int(torch.initial_seed()) % UINT64_RANGE if number is None else number

    def number(self) -> int:
        """What tells this pass from others; `NO_LOADER` where nothing does."""
        number = self._of_loader() if "torch" in sys.modules else None
        return NO_LOADER if number is None else number

    def _of_loader(self) -> int | None:
        from torch.utils.data import get_worker_info

        worker = get_worker_info()
        fetcher, iterator = loader_frames()
        if worker is None:
            base = getattr(iterator, "_base_seed", None)
            return None if base is None else int(base) % UINT64_RANGE
        if fetcher is not self._fetcher:
            self._count += self._fetcher is not None
            self._fetcher = fetcher
        # Weyl's constant: passes of one loader do not run into the seeds of the next.
        return int(worker.seed - worker.id + self._count * 0x9E3779B97F4A7C15) % UINT64_RANGE

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__()  # type: ignore[misc]


def loader_frames() -> tuple[Any, Any]:
    """The fetcher and the iterator of the torch loader that called, where they are found on the stack."""
    frame = sys._getframe(1)
    fetcher = iterator = None
    for _ in range(16):
        if frame.f_back is None:
            break
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        if module == "torch.utils.data._utils.fetch" and fetcher is None:
            fetcher = frame.f_locals.get("self")
        elif module == "torch.utils.data.dataloader":
            iterator = frame.f_locals.get("self")
            if hasattr(iterator, "_base_seed"):
                break
    return fetcher, iterator
