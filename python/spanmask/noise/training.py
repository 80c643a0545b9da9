"""Batches for training: a loader that is marked for it, so that collators can hold their noise everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import FunctionType, MethodType
from typing import Any

__all__ = ["calls_one_of", "for_training", "in_training"]

_IN_TRAINING = ContextVar("in_training", default=False)

# A collator is looked for this far from a loader's `collate_fn`, which is the first.
DEPTH = 5


def in_training() -> bool:
    """Whether this thread is making a batch for a loader that `for_training` has marked."""
    return _IN_TRAINING.get()


class ForTraining:
    """A `collate_fn` whose batches are for training. It can be pickled if the function can."""

    def __init__(self, collate_fn: Callable[[Any], Any]) -> None:
        self.collate_fn = collate_fn

    def __call__(self, features: Any) -> Any:
        """What the function returns."""
        token = _IN_TRAINING.set(True)
        try:
            return self.collate_fn(features)
        finally:
            _IN_TRAINING.reset(token)


def for_training(loader: Any, collators: Iterable[object]) -> bool:
    """Mark a loader's batches as batches for training, if its `collate_fn` calls one of the collators.

    `loader`: a torch `DataLoader`, or one of accelerate's, which has it as `base_dataloader`. No pass over it may have begun.

    Returns whether it is marked. It is not if the rows were collated earlier, by the dataset for instance.
    """
    while hasattr(loader, "base_dataloader"):
        loader = loader.base_dataloader
    # A wrapper that passes the attribute on would not pass on what is set here.
    collate_fn = getattr(loader, "__dict__", {}).get("collate_fn")
    if isinstance(collate_fn, ForTraining):  # perhaps for other collators
        return calls_one_of(collate_fn.collate_fn, collators)
    if collate_fn is None or not calls_one_of(collate_fn, collators):
        return False
    loader.collate_fn = ForTraining(collate_fn)
    return True


def calls_one_of(function: Any, collators: Iterable[object]) -> bool:
    """Whether a function is one of the collators or refers to one: in its closure, its globals, its attributes or its arguments."""
    wanted = {id(collator) for collator in collators}
    seen: set[int] = set()
    level = [function]
    for _ in range(DEPTH):
        if any(id(part) in wanted for part in level):
            return True
        seen.update(map(id, level))
        level = [part for parent in level for part in parts_of(parent) if id(part) not in seen]
    return False


def parts_of(function: Any) -> Iterable[Any]:
    """The callable objects that a function or a callable object refers to."""
    parts: list[Any] = []
    if isinstance(function, partial):
        parts = [function.func, *function.args, *function.keywords.values()]
    elif isinstance(function, MethodType):
        parts = [function.__self__, function.__func__]
    elif isinstance(function, FunctionType):
        variables = function.__globals__
        parts = [variables[name] for name in function.__code__.co_names if name in variables]
        for cell in function.__closure__ or ():
            with suppress(ValueError):  # a variable that has no value yet
                parts.append(cell.cell_contents)
    elif not isinstance(function, type):
        method = getattr(type(function), "__call__", None)  # noqa: B004  # the method itself may refer to a collator
        parts = [*getattr(function, "__dict__", {}).values(), method]
    for part in parts:
        members = part.values() if isinstance(part, dict) else part if isinstance(part, (list, tuple)) else (part,)
        yield from filter(callable, members)
