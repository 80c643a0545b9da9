"""Integers and choices from a stream. Twin of `rng/bounded.rs`."""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.reference.philox import Stream

__all__ = ["below", "choose", "cumulative", "threshold"]


def below(stream: Stream, bound: int) -> int:
    """A uniform integer from 0 to `bound - 1` (Lemire 2019): the high half of word times bound, unless the low half is biased."""
    while True:
        product = stream.next_u32() * bound
        if product % 2**32 >= 2**32 % bound:
            return product >> 32


def threshold(probability: float) -> int:
    """A probability in 32 bits: a random word below it is a success."""
    return round(min(max(probability, 0.0), 1.0) * 2**32)


def cumulative(weights: Sequence[float]) -> list[int]:
    """Running thresholds of weights; the entry of the last weight above zero and all after it are 2**32.

    >>> cumulative([1, 1, 0]) == [2**31, 2**32, 2**32]
    True
    """
    total = 0.0
    for weight in weights:
        total += weight
    thresholds, sum_ = [], 0.0
    for weight in weights:
        sum_ += weight
        thresholds.append(threshold(sum_ / total))
    last = max(number for number, weight in enumerate(weights) if weight > 0)
    return thresholds[:last] + [2**32] * (len(weights) - last)


def choose(stream: Stream, thresholds: Sequence[int]) -> int:
    """The entry to which the next word belongs."""
    word = stream.next_u32()
    return next(number for number, limit in enumerate(thresholds) if word < limit)
