"""The chat state machine, spelled out. Twin of `turns.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Turn", "find_turns"]


class Turn(NamedTuple):
    """One turn: header [start, content_start), content [content_start, content_stop), closing tokens [content_stop, stop)."""

    role: int
    start: int
    content_start: int
    content_stop: int
    stop: int
    closed: bool
    include_start: bool
    include_end: bool


def find_turns(row: Sequence[int], chat_format: Any) -> list[Turn]:
    """The turns of one row, in order. `row`: ids without padding; `chat_format`: a `ChatFormat`.

    >>> from spanmask import ChatFormat, RoleBoundary
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> [tuple(turn)[:6] for turn in find_turns([1, 5, 7, 8, 2, 5, 6, 9], fmt)]
    [(1, 1, 3, 4, 5, True), (0, 5, 7, 8, 8, False)]
    """
    row = list(row)
    turns = []
    position = 0
    while position < len(row):
        boundary, length = longest_start(row, position, chat_format.boundaries)
        if boundary is None:
            position += 1
            continue
        start, content_start = position, position + length
        content_stop, stop, closed = find_close(row, content_start, boundary.role, chat_format.boundaries)
        role = chat_format.roles.index(boundary.role)
        turns.append(Turn(role, start, content_start, content_stop, stop, closed, boundary.include_start, boundary.include_end))
        position = stop
    return turns


def find_close(row: list[int], content_start: int, role: str, boundaries: Any) -> tuple[int, int, bool]:
    """Where the content stops, where its closing tokens stop, and whether anything closed it."""
    ends = [end for boundary in boundaries if boundary.role == role for end in boundary.end]
    for position in range(content_start, len(row)):
        lengths = [len(end) for end in ends if matches(row, position, end)]
        if lengths:
            return position, position + max(lengths), True
        if longest_start(row, position, boundaries)[0] is not None:
            return position, position, True
    return len(row), len(row), False


def longest_start(row: list[int], position: int, boundaries: Any) -> tuple[Any, int]:
    """The boundary whose start matches at `position` with the most tokens (first listed on a tie), and that length."""
    found, longest = None, 0
    for boundary in boundaries:
        for start in boundary.start:
            if len(start) > longest and matches(row, position, start):
                found, longest = boundary, len(start)
    return found, longest


def matches(row: list[int], position: int, marker: Sequence[int]) -> bool:
    """Whether the whole marker occurs at `position`."""
    return row[position : position + len(marker)] == list(marker)
