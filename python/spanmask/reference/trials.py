"""Trials that all succeed with the same probability. Twin of `rng/trials.rs`."""

from __future__ import annotations

from spanmask.reference.philox import Stream

__all__ = ["failures", "successes"]

RUN = 64  # One word decides at most this many trials.


def failures(word: int, threshold: int) -> int:
    """The failures before the next success, from one 32-bit word; 64 if none of 64 trials succeeds.

    `k` trials fail with probability (1 - p)^k: for that fraction of all words, rounded down at each step.

    >>> failures(2**32 - 1, 2**31), failures(2**31 - 1, 2**31), failures(0, 2**20)
    (0, 1, 64)
    """
    fail = 2**32
    for count in range(RUN):
        fail = fail * (2**32 - threshold) >> 32
        if word >= fail:
            return count
    return RUN


def successes(stream: Stream, threshold: int, count: int) -> list[int]:
    """Which of `count` trials succeed. It uses one word for each success, and one for every 64 failures in a row."""
    found, at = [], 0
    while at < count:
        failed = failures(stream.next_u32(), threshold)
        at += failed
        if failed < RUN:
            found.append(at)
            at += 1
    return [at for at in found if at < count]
