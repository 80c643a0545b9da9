"""Rates that move while a model trains: functions of the step and the epoch, in place of a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from inspect import signature
from math import cos, isfinite, pi
from typing import Any

from spanmask._validate import as_density, as_fraction, as_number, as_positive, as_probability, as_span_length

__all__ = ["CosineRate", "LinearRate", "Rate", "rates_at", "take_moving_rates"]

Rate = Callable[[int, int], float]

# The rates of noise, and what a number must be for each.
CHECKS: Mapping[str, Callable[[str, Any], float]] = {
    "mask_ratio": as_fraction,
    "mlm_probability": as_probability,
    "noise_density": as_density,
    "mean_noise_span_length": as_span_length,
    "rate": as_fraction,
}


@dataclass(frozen=True)
class LinearRate:
    """A rate that goes from `start` to `stop` in a straight line, and stays there.

    Args:
        start, stop: the rate at step (or epoch) 0, and from number `steps` (or `epochs`) on.
        steps, epochs: what is counted; exactly one of them.

    Raises:
        ValueError, TypeError: a rate is not a finite number, or not exactly one count is given.

    >>> rate = LinearRate(0.3, 0.1, steps=100)
    >>> [round(rate(step, epoch=0), 2) for step in (0, 50, 100, 1000)]
    [0.3, 0.2, 0.1, 0.1]
    """

    start: float
    stop: float
    _: KW_ONLY
    steps: int | None = None
    epochs: int | None = None

    def __post_init__(self) -> None:
        for name in ("start", "stop"):
            number = as_number(name, getattr(self, name))
            if not isfinite(number):
                raise ValueError(f"{name}: expected a finite number, got {number}.")
            object.__setattr__(self, name, number)
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("steps: pass either steps or epochs, the number after which the rate no longer moves.")
        counted = "epochs" if self.steps is None else "steps"
        object.__setattr__(self, counted, as_positive(counted, getattr(self, counted)))

    def __call__(self, step: int, epoch: int) -> float:
        """The rate at this step and epoch, which count from 0."""
        passed = epoch / self.epochs if self.epochs is not None else step / (self.steps or 1)
        return self.stop if passed >= 1 else self.start + (self.stop - self.start) * self._part(passed)

    def _part(self, passed: float) -> float:
        """The part of the way to `stop` at this part of all steps."""
        return passed


@dataclass(frozen=True)
class CosineRate(LinearRate):
    """The same in half a cosine wave: slowly at both ends.

    >>> rate = CosineRate(0.3, 0.1, epochs=4)
    >>> [round(rate(0, epoch), 3) for epoch in range(6)]
    [0.3, 0.271, 0.2, 0.129, 0.1, 0.1]
    """

    def _part(self, passed: float) -> float:
        return (1 - cos(pi * passed)) / 2


def take_moving_rates(options: dict[str, Any]) -> dict[str, Rate]:
    """Take the rates that are functions out of a spec's options, and leave `None` there.

    Raises:
        ValueError, TypeError: a function's first rate is out of range or no number.
    """
    moving = {name: rate for name, rate in options.items() if name in CHECKS and callable(rate)}
    for name, rate in moving.items():
        try:
            signature(rate).bind(0, 0)
        except (TypeError, ValueError) as error:  # ValueError: no signature is known
            raise TypeError(f"{name}: expected a number or a function of (step, epoch): {error}.") from None
    rates_at(moving, 0, 0)
    options.update(dict.fromkeys(moving))
    return moving


def rates_at(moving: Mapping[str, Rate], step: int, epoch: int) -> dict[str, float]:
    """The rates at a step and an epoch.

    Raises:
        ValueError, TypeError: one is out of range or no number; the message names it, the step and the epoch.
    """
    return {name: CHECKS[name](f"{name}: at step {step}, epoch {epoch}", rate(step, epoch)) for name, rate in moving.items()}
