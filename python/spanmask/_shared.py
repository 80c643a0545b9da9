"""Integers of a process that its child processes come to share, by fork, spawn or forkserver.

They are plain memory until the first child process starts. `multiprocessing.RawArray` is not used where Linux offers memory without a
file: its file is in /dev/shm or in a temporary folder, of which none may be writable, and is not reserved. Where /dev/shm is full, a
write to it ends the process.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterator
from itertools import repeat
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import numpy.typing as npt

__all__ = ["SharedIntegers"]

# Bytes that are shared at once, and how many of them one object gets.
SIZE, PLACE = 1 << 16, 256


class SharedIntegers:
    """Integers that this process has for itself, and memory that it shares with its child processes once there are any.

    Attributes:
        own: this process's integers.
        shared: the shared ones, `None` until a child process starts.
        lost: a child process was started with which no memory could be shared.

    Args:
        count: how many; up to 32.
        dtype: int64 or uint64.
        carry: the shared memory starts with the values of `own` and takes its place; otherwise it starts at zero beside it.
    """

    def __init__(self, count: int, dtype: type[np.integer[Any]], *, carry: bool) -> None:
        self.own: npt.NDArray[Any] = np.zeros(count, dtype)
        self.shared: npt.NDArray[Any] | None = None
        self.lost = False
        self._carry = carry
        UNSHARED[id(self)] = self

    def __getitem__(self, number: int) -> int:
        return int((self.own if self.shared is None else self.shared)[number])

    def __setitem__(self, number: int, value: int) -> None:
        self.own[number] = value  # first, so that a thread that shares it meanwhile copies it
        if self.shared is not None:
            self.shared[number] = value

    def share(self) -> None:
        """Share memory with child processes that start from now on."""
        if self.shared is not None:
            return
        try:
            place = PLACES.take()
        except OSError:
            self.lost = True
            return
        self._use(*self.__dict__.setdefault("_place", place))  # of two threads that share it at once, the first decides

    def _use(self, memory: Any, offset: int) -> None:
        shared = np.frombuffer(memory.create_memoryview(), self.own.dtype, len(self.own), offset)
        if self._carry:
            shared[:] = self.own
        self.shared = shared
        if self._carry:
            shared[:] = self.own  # with what another thread has set since
        UNSHARED.pop(id(self), None)

    def __getstate__(self) -> dict[str, Any]:
        # Only a child process that is being started can be given memory.
        self.share()
        return {"own": self.own, "carry": self._carry, "place": self.__dict__.get("_place")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        own, place = state["own"], state["place"]
        self.__init__(len(own), own.dtype.type, carry=False)  # type: ignore[misc]
        if state["carry"] or place is None:
            self.own[:] = own
        if place is not None:
            self._place = place
            self._use(*place)
        self._carry = state["carry"]


class MemoryFile:
    """Memory of a file descriptor, in no folder, all of it reserved."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, SIZE)

    @classmethod
    def new(cls) -> MemoryFile:
        """Memory of zeros.

        Raises:
            OSError: there is no memory, or no descriptor left.
        """
        descriptor = os.memfd_create("spanmask")
        try:
            os.posix_fallocate(descriptor, 0, SIZE)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)  # which closes it

    def create_memoryview(self) -> memoryview:
        """The memory. The name is that of `multiprocessing.heap.BufferWrapper`."""
        return memoryview(self._map)

    def __reduce__(self) -> tuple[Callable[..., MemoryFile], tuple[Any]]:
        from multiprocessing.reduction import DupFd

        return received, (DupFd(self._descriptor),)

    def __del__(self) -> None:
        os.close(self._descriptor)


def received(descriptor: Any) -> MemoryFile:
    """The memory that the parent process passed."""
    return MemoryFile(descriptor.detach())


def new_memory() -> Any:
    """Memory that child processes share.

    Raises:
        OSError: there is none.
    """
    if hasattr(os, "memfd_create"):
        try:
            return MemoryFile.new()
        except OSError:
            pass  # such as a container that does not allow it
    from multiprocessing.heap import BufferWrapper

    return BufferWrapper(SIZE)


class Places:
    """Places in shared memory. None is used twice: a child may still write to it. The memory is freed with the last of its objects."""

    def __init__(self) -> None:
        self._free: Iterator[tuple[Any, int]] = iter(())

    def take(self) -> tuple[Any, int]:
        """A place: memory, and an offset in it. One step of an iterator needs no lock, which a fork could copy.

        Raises:
            OSError: there is no memory.
        """
        while (place := next(self._free, None)) is None:
            self._free = zip(repeat(new_memory()), range(0, SIZE, PLACE), strict=False)
        return place


PLACES = Places()
# The integers of this process that are not shared yet.
UNSHARED: WeakValueDictionary[int, SharedIntegers] = WeakValueDictionary()


def share_all() -> None:
    """Share all integers with a process that is about to be forked."""
    for reference in UNSHARED.valuerefs():
        integers = reference()
        if integers is not None:
            integers.share()


if hasattr(os, "register_at_fork"):
    # A child takes no place that its parent may take too.
    os.register_at_fork(before=share_all, after_in_child=PLACES.__init__)  # type: ignore[misc]
