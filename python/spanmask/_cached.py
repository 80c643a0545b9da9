"""`cached_property` without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

__all__ = ["cached_property"]

T = TypeVar("T")


class cached_property(Generic[T]):  # noqa: N801 (it takes the place of that of functools)
    """A property that is computed with its first use.

    Before Python 3.12, that of `functools` has a lock for all objects of a class. A process that is forked while another thread holds it,
    such as the worker of a `DataLoader`, waits for it forever. Here two threads may both compute a value, and the first one counts.

    >>> class Row:
    ...     ids = [5, 6]
    ...     @cached_property
    ...     def length(self) -> int:
    ...         return len(self.ids)
    >>> Row().length
    2
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.name = function.__name__
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any]) -> cached_property[T] | T:
        if instance is None:
            return self
        value: T = instance.__dict__.setdefault(self.name, self.function(instance))
        return value
