"""Integers, choices and coins from a stream, spelled out. Twin of `rng/bounded.rs`."""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.reference.philox import Stream

__all__ = ["below", "choose", "coins", "cumulative", "threshold"]


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
    """Running thresholds of weights; from the last weight above zero on, 2**32.

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
    """The entry that the next word falls in."""
    word = stream.next_u32()
    return next(number for number, limit in enumerate(thresholds) if word < limit)


def coins(stream: Stream, threshold: int, count: int) -> list[bool]:
    """Up to 64 coins side by side: coin `i` compares the bits `i` of successive words, a binary fraction, with the threshold's.

    Words are drawn until every coin is decided, or no place of the threshold that could decide one is left.
    """
    if threshold >= 2**32:
        return [True] * count
    heads, undecided = [False] * count, set(range(count))
    for place in range(31, -1, -1):
        if not undecided or not threshold % 2 ** (place + 1):
            break
        word = stream.next_u64()
        wanted = threshold >> place & 1
        for coin in sorted(undecided):
            bit = word >> coin & 1
            if bit != wanted:
                heads[coin] = bit < wanted
                undecided.remove(coin)
    return heads
