"""Which spans are hidden. Twin of `noise/draw.rs`."""

from __future__ import annotations

from itertools import pairwise

from spanmask.reference.bounded import below
from spanmask.reference.philox import Stream

__all__ = ["composition", "draw", "place"]

Span = tuple[int, int]


def composition(stream: Stream, total: int, parts: int) -> list[int]:
    """`total` as a sum of `parts` positive integers, each such list equally likely: Floyd's sample of `parts - 1` cuts."""
    cuts: set[int] = set()
    for place in range(total - parts, total - 1):
        drawn = below(stream, place + 1)
        cuts.add(place if drawn in cuts else drawn)
    edges = [0, *(cut + 1 for cut in sorted(cuts)), total]
    return [stop - start for start, stop in pairwise(edges)]


def draw(stream: Stream, length: int, noise: int, spans: int, layout: str = "classic", most: int | None = None) -> list[Span]:
    """The spans of a row: `noise` tokens of `length` in `spans` spans; those after the `most`-th join it."""
    hidden = composition(stream, noise, spans)
    if layout == "classic":
        clear = composition(stream, length - noise, spans)
    else:  # the outer parts may be empty
        clear = composition(stream, length - noise + 2, spans + 1)
        clear[0] -= 1
    if most is not None and spans > most:
        hidden = [*hidden[: most - 1], sum(hidden[most - 1 :])]
        clear = [*clear[: most - 1], sum(clear[most - 1 : spans])]
    return place(clear, hidden)


def place(clear: list[int], hidden: list[int]) -> list[Span]:
    """The spans of the hidden parts, from the lengths of alternating clear and hidden parts."""
    spans, position = [], 0
    for gap, size in zip(clear, hidden, strict=False):
        spans.append((position + gap, position + gap + size))
        position += gap + size
    return spans
