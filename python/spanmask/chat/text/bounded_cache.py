"""Results that are kept for the next conversations, within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

__all__ = ["BoundedCache"]

Result = TypeVar("Result")


class BoundedCache(Generic[Result]):
    """Results by key. The oldest are dropped while all together are larger than `most`.

    >>> cache = BoundedCache(most=10)
    >>> [cache.get(name, 4, name.upper) for name in ("a", "b", "c")]
    ['A', 'B', 'C']
    >>> [name in cache for name in ("a", "b", "c")]
    [False, True, True]
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.size = 0
        self.results: dict[Hashable, tuple[Result, int]] = {}

    def __contains__(self, key: Hashable) -> bool:
        return key in self.results

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, key: Hashable) -> Result:
        return self.results[key][0]

    def put(self, key: Hashable, size: int, result: Result) -> None:
        """Keep a result of this size, in place of an earlier one."""
        if key in self.results:
            self.size -= self.results.pop(key)[1]
        self.results[key] = result, size
        self.size += size
        while self.size > self.most and len(self.results) > 1:
            self.size -= self.results.pop(next(iter(self.results)))[1]

    def get(self, key: Hashable, size: int, make: Callable[[], Result]) -> Result:
        """A result, which is made if it is not known."""
        if key not in self.results:
            self.put(key, size, make())
        return self.results[key][0]
