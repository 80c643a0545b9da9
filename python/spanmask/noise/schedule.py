"""When noise is drawn: seed, epoch and step of a collator, whether they are held, and a check for passes that repeat the same noise.

multiprocessing takes as long to import as a third of spanmask, and only processes with children need it. It is therefore imported where it
is used.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from spanmask._shared import SharedIntegers
from spanmask._validate import as_uint64, check_choice
from spanmask.errors import SpanmaskWarning
from spanmask.noise.training import in_training

__all__ = ["ALGORITHM", "HasSchedule", "NoiseSchedule", "OnRepeat", "ScheduleOption", "check_collators", "schedules_of"]

OnRepeat = Literal["warn", "ignore", "raise"]

# The version of everything that determines noise: streams, draws, plans. Another version draws different noise for the same seed.
ALGORITHM = 1

# A pass is recognized when this many of the first rows have been seen again. A few are not enough: a dataset may hold some rows twice.
WATCHED_KEYS = 32

# Seed (of a collator without one), epoch and step of noise that is held.
HELD_AT = 0

# The numbers of the integers that worker processes share.
EPOCH, STEP, HELD = range(3)


class NoiseSchedule:
    """Seed, epoch and step of the next batch.

    Noise is a pure function of (seed, epoch, key of the row); the step only moves rates that are functions of it. Worker processes share
    epoch and step: they see what `set_epoch` wrote in their parent, persistent ones too, under fork, spawn and forkserver. A plain pickle
    or a deep copy has its own; a deep copy that draws noise while only the original's epoch moves says so.

    Args:
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state, or from NumPy's global random state
            where torch is not installed. `torch.manual_seed` then repeats a run, for the same number of workers.
        epoch: the first epoch, 0 to 2**64 - 1.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"`
            (ValueError) or `"ignore"`. Each process only knows what it drew itself, so workers that end with their pass cannot see
            a repeat; the main process and persistent workers can.

    Raises:
        ValueError, TypeError: the seed or the epoch is not such an integer, or `on_repeat` is unknown.
    """

    def __init__(self, seed: int | None = None, epoch: int = 0, on_repeat: OnRepeat = "warn") -> None:
        self._integers = SharedIntegers(3, np.uint64, carry=True)
        self._held_when: Callable[[], bool] | None = None
        self._said_lost = False
        self._original: tuple[SharedIntegers, int] | None = None
        self.seed = seed
        self.epoch = epoch
        self.on_repeat = on_repeat
        self._watch = RepeatWatch()

    @property
    def seed(self) -> int | None:
        """The seed; `None`: each call draws one."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = None if seed is None else as_uint64("seed", seed)

    @property
    def epoch(self) -> int:
        """The epoch that was set."""
        return self._integers[EPOCH]

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._set(EPOCH, as_uint64("epoch", epoch))
        self._original = None  # a copy with an epoch of its own

    @property
    def step(self) -> int:
        """The step that was set."""
        return self._integers[STEP]

    @step.setter
    def step(self, step: int) -> None:
        self._set(STEP, as_uint64("step", step))

    def _set(self, number: int, value: int) -> None:
        """Set one of the integers that worker processes share.

        Warns once if there are workers that do not.
        """
        self._integers[number] = value
        if self._integers.lost and not self._said_lost:
            self._said_lost = True
            warnings.warn(
                "epoch: no memory could be shared with the workers of a loader (no free file descriptor, no writable temporary directory), "
                "so that persistent workers keep the epoch of their start. Set TMPDIR to a folder that can be written, or set "
                "persistent_workers=False.",
                SpanmaskWarning,
                stacklevel=4,
            )

    @property
    def on_repeat(self) -> OnRepeat:
        """What to do when a pass repeats the noise of the previous pass."""
        return self._on_repeat

    @on_repeat.setter
    def on_repeat(self, on_repeat: OnRepeat) -> None:
        check_choice("on_repeat", on_repeat, OnRepeat)
        self._on_repeat = on_repeat

    def hold(self, when: bool | Callable[[], bool]) -> None:
        """Hold noise for evaluation: epoch 0 and step 0 whatever is set, and without a seed, seed 0.

        Args:
            when: `True`: from now on, in all processes, except in batches of a loader that `for_training` has marked; `False`: not
                any more; or a function that this process asks for each batch. Workers keep the answer of the time at which they start.
        """
        self._set(HELD, when is True)
        self._held_when = when if callable(when) else None

    @property
    def is_held(self) -> bool:
        """Whether the next batch has the noise of evaluation."""
        return self._held_here() or (bool(self._integers[HELD]) and not in_training())

    def _held_here(self) -> bool:
        return self._held_when is not None and self._held_when()

    def seed_epoch(self) -> tuple[int, int]:
        """Seed and epoch of the next batch. Without a seed, each call draws a new one, unless noise is held."""
        if self.is_held:
            return (HELD_AT if self.seed is None else self.seed), HELD_AT
        return (draw_seed() if self.seed is None else self.seed), self.epoch

    def step_epoch(self) -> tuple[int, int]:
        """Step and epoch at which rates are taken."""
        return (HELD_AT, HELD_AT) if self.is_held else (self.step, self.epoch)

    def watch(self, seed_epoch: tuple[int, int], keys: npt.NDArray[np.uint64]) -> None:
        """Warn or raise, once for each seed and epoch, when the first rows drawn for them have all been seen again; and once if this is a
        copy whose epoch does not follow that of its original.

        `keys`: the keys of the rows of this batch for which noise was drawn.

        Raises:
            ValueError: the noise repeats, or does not follow the original's epoch, and `on_repeat="raise"`.
        """
        if self.seed is None or self.on_repeat == "ignore" or self.is_held:
            return
        seed, epoch = seed_epoch
        self._watch_original(epoch)
        if not self._watch.repeats(seed_epoch, keys):
            return
        message = (
            f"seed: the masks repeat: these rows were already drawn for seed {seed} and epoch {epoch}. Call "
            "collator.set_epoch(epoch) before each pass (EpochCallback does), or leave seed=None for fresh masks in every call. "
            "If the dataset contains equal rows, distinguish them with key_column. If the same masks are wanted (evaluation), "
            'set on_repeat="ignore".'
        )
        if self.on_repeat == "raise":
            raise ValueError(message)
        warnings.warn(message, SpanmaskWarning, stacklevel=3)

    def _watch_original(self, epoch: int) -> None:
        """Warn or raise if this is a copy that stays at this epoch while its original moves."""
        if self._original is None:
            return
        integers, epoch_then = self._original
        if integers[EPOCH] == epoch_then:
            return
        message = (
            f"epoch: this collator is a copy, and draws noise for epoch {epoch}, while the epoch of its original is {integers[EPOCH]}. "
            "Data sets copy what is mapped, or set as their transform, before interleave_datasets, concatenate_datasets or rename_column: "
            "call map or set_transform after these, or pass the collator as collate_fn. For a copy whose masks are to repeat "
            '(evaluation), set on_repeat="ignore".'
        )
        if self.on_repeat == "raise":
            raise ValueError(message)
        self._original = None  # said once
        warnings.warn(message, SpanmaskWarning, stacklevel=4)

    def forget(self) -> None:
        """Let the next pass draw the same noise again without a warning: what was drawn was an evaluation."""
        self._watch = RepeatWatch()

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch, step and algorithm version."""
        return {"seed": self.seed, "epoch": self.epoch, "step": self.step, "algorithm": ALGORITHM}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned.

        Raises:
            ValueError: an entry is missing, or the state is of another algorithm version.
            TypeError: the state is not a dict.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"state_dict: expected what state_dict() returned, got {type(state).__name__}.")
        missing = [name for name in ("seed", "epoch", "algorithm") if name not in state]
        if missing:
            raise ValueError(f"state_dict: has no {missing[0]!r}; pass what state_dict() returned.")
        if state["algorithm"] != ALGORITHM:
            raise ValueError(
                f"state_dict: has algorithm {state['algorithm']!r}, but this version of spanmask draws algorithm {ALGORITHM}, so the "
                "noise would differ. Continue with the version of spanmask that started the run."
            )
        self.seed, self.epoch, self.step = state["seed"], state["epoch"], state.get("step", 0)
        self._watch = RepeatWatch()

    def __getstate__(self) -> dict[str, Any]:
        from multiprocessing.context import get_spawning_popen

        state = {"seed": self.seed, "on_repeat": self.on_repeat}
        if get_spawning_popen() is None:
            return {**state, "values": (self.epoch, self.step, False)}
        # What decides whether noise is held may be a trainer: the child gets its answer.
        return {**state, "integers": self._integers, "held": self._held_here(), "original": self._original}

    def __deepcopy__(self, memo: dict[int, Any]) -> NoiseSchedule:
        made = NoiseSchedule.__new__(NoiseSchedule)
        made.__setstate__(self.__getstate__())
        made._original = self._original or (self._integers, self.epoch)
        return made

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["seed"], on_repeat=state["on_repeat"])  # type: ignore[misc]
        for number, value in enumerate(state.get("values", ())):
            self._integers[number] = value
        self._integers = state.get("integers", self._integers)
        self._held_when = always if state.get("held") else None
        self._original = state.get("original")


def always() -> bool:
    """Noise is held in a process that was started for evaluation."""
    return True


class RepeatWatch:
    """What this process drew for the current seed and epoch: the keys of the first rows, and which of them have not been seen again."""

    def __init__(self) -> None:
        self._drawn_for: tuple[int, ...] = ()
        self._first: set[int] = set()
        self._awaited: set[int] = set()
        self._reported = False

    def repeats(self, seed_epoch: tuple[int, int], keys: npt.NDArray[np.uint64]) -> bool:
        """Whether the first rows have now all been seen again. True only once for each seed and epoch."""
        drawn_for = (*seed_epoch, os.getpid())  # a forked worker starts from scratch, as a spawned one does
        if drawn_for != self._drawn_for:
            self._drawn_for, self._first, self._awaited, self._reported = drawn_for, set(), set(), False
        if self._reported or not len(keys):
            return False
        drawn = keys.tolist()
        self._awaited.difference_update(drawn)
        if len(self._first) < WATCHED_KEYS:
            new = list(set(drawn) - self._first)[: WATCHED_KEYS - len(self._first)]
            self._first.update(new)
            self._awaited.update(new)
        self._reported = not self._awaited
        return self._reported


def draw_seed() -> int:
    """A seed from torch's random state, or from NumPy's if torch is not installed."""
    try:
        import torch
    except ImportError:
        return int(np.random.randint(2**63, dtype=np.uint64))  # noqa: NPY002  # np.random.seed repeats a run
    return int(torch.empty((), dtype=torch.int64, device="cpu").random_())


class ScheduleOption:
    """A field of a collator (a dataclass) whose value is kept in the collator's `schedule`, under the same name.

    A dataclass takes the field's default from the class, then sets and reads the field through this descriptor: "Descriptor-typed
    fields" in Python's documentation of dataclasses.
    """

    def __init__(self, default: object) -> None:
        self._default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, collator: Any, owner: type) -> Any:
        return self._default if collator is None else getattr(collator.schedule, self._name)

    def __set__(self, collator: Any, value: Any) -> None:
        setattr(collator.schedule, self._name, value)


@runtime_checkable
class HasSchedule(Protocol):
    """A collator whose noise depends on the epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `load_state_dict` needs."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned."""


def check_collators(collators: Iterable[object]) -> None:
    """Raise TypeError unless each object has an epoch to set and a state to save."""
    for collator in collators:
        if not isinstance(collator, HasSchedule):
            raise TypeError(
                f"collators: expected collators with set_epoch, state_dict and load_state_dict, got {type(collator).__name__}."
            )


def schedules_of(collators: Iterable[object]) -> list[NoiseSchedule]:
    """The schedules of those collators that are this package's own."""
    schedules = (getattr(collator, "schedule", None) for collator in collators)
    return [schedule for schedule in schedules if isinstance(schedule, NoiseSchedule)]
