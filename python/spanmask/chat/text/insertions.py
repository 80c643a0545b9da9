"""What a template writes for a medium inside a content: text that it does not write for the same conversation without media."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from spanmask.chat.text.skeleton import Skeleton
from spanmask.chat.text.token_edges import TokenEdges

__all__ = ["insertions"]


def insertions(
    skeleton: Skeleton, starts: Sequence[int], edges: TokenEdges, others: Sequence[str] = ()
) -> Iterator[tuple[int, int]]:
    """The tokens [start, stop) of the template's own text inside the contents of turns, without text that it also writes elsewhere.

    Args:
        skeleton, starts: the skeleton of a text, and where its gaps begin.
        edges: the tokens of the text. Those that are partly content are left out.
        others: the gaps of the same contents in the other conversation; nothing if they are not known.
    """
    known = others if len(others) == len(skeleton.gaps) else [""] * len(skeleton.gaps)
    for turn in skeleton.turns:
        _, first, _, _, last, _ = turn.places
        for gap in range(first.gap, last.gap + 1):
            at, text = starts[gap], skeleton.gaps[gap]
            begin, end = inserted(text, known[gap], partial(is_edge, edges, at))
            start = at + max(begin, first.offset if gap == first.gap else 0)
            stop = at + min(end, last.offset if gap == last.gap else len(text))
            if start < stop:
                yield edges.following(start), edges.covering(stop)


def is_edge(edges: TokenEdges, start: int, at: int) -> bool:
    """Whether a token begins at a character of the gap that begins at `start`."""
    return edges.covering(start + at) == edges.following(start + at)


def inserted(text: str, other: str, begins_token: Callable[[int], bool]) -> tuple[int, int]:
    """The part [start, stop) of a text that another one lacks. If several would do, one that begins with a token is chosen.

    >>> inserted("a <image> <end>", "a <end>", lambda at: "a <image> <end>"[at] == "<")
    (2, 10)
    """
    before, after = common_length(text, other), common_length(text[::-1], other[::-1])
    if before + after < len(other):  # more than an insertion
        return before, len(text) - after
    starts = range(before, len(other) - after - 1, -1)
    start = next((start for start in starts if start < len(text) and begins_token(start)), before)
    return start, start + len(text) - len(other)


def common_length(some: str, others: str) -> int:
    """The number of characters with which both begin."""
    return next(
        (at for at, (one, other) in enumerate(zip(some, others, strict=False)) if one != other), min(len(some), len(others))
    )
