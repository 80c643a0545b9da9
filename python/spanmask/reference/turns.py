"""The chat state machine, spelled out. Twin of `turns/mod.rs`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    prefill_stop: int
    reasoning_stop: int
    empty_reasoning: bool


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
        boundary, length = longest_start(row, position, chat_format)
        if boundary is None:
            position += 1
            continue
        start, content_start = position, position + length
        content_stop, stop, closed = find_close(row, content_start, boundary.role, chat_format)
        role = chat_format.roles.index(boundary.role)
        content = row[content_start:content_stop]
        prefill = longest(content, 0, chat_format.generation_prefills)
        reasoning, empty = find_reasoning(content, prefill, chat_format)
        flags = boundary.include_start, boundary.include_end
        edges = content_start + prefill, content_start + reasoning
        turns.append(Turn(role, start, content_start, content_stop, stop, closed, *flags, *edges, empty))
        position = stop
    return turns


def find_close(row: list[int], content_start: int, role: str, chat_format: Any) -> tuple[int, int, bool]:
    """Where the content stops, where its closing tokens stop, and whether anything closed it."""
    ends = [end for boundary in chat_format.boundaries if boundary.role == role for end in boundary.end]
    for position in range(content_start, len(row)):
        lengths = [len(end) for end in ends if matches(row, position, end)]
        if lengths:
            return position, position + max(lengths), True
        if longest_start(row, position, chat_format)[0] is not None:
            return position, position, True
    return len(row), len(row), False


def longest_start(row: list[int], position: int, chat_format: Any) -> tuple[Any, int]:
    """The boundary whose start opens a turn at `position` with the most tokens (first listed on a tie), and that length."""
    found, length = None, 0
    for boundary in chat_format.boundaries:
        for start in boundary.start:
            counts = not boundary.anchored or may_begin(row, position, chat_format)
            if counts and len(start) > length and matches(row, position, start):
                found, length = boundary, len(start)
    return found, length


def may_begin(row: list[int], position: int, chat_format: Any) -> bool:
    """Whether an anchored start may be at `position`: first in the row, or directly after a token or marker that ends something."""
    anchors = [[token] for token in (*chat_format.stop_token_ids, *chat_format.anchor_ids)]
    anchors += [list(end) for boundary in chat_format.boundaries for end in boundary.end]
    return position == 0 or any(row[:position][-len(anchor) :] == anchor for anchor in anchors)


def find_reasoning(content: list[int], prefill: int, chat_format: Any) -> tuple[int, bool]:
    """How many tokens of the content are reasoning, tags included, and whether the template added them without any text between.

    It begins at the content's first token, inside the prefill, or directly after it.
    """
    openings, closings = chat_format.reasoning or ((), ())
    for start in range(prefill + 1):
        block = longest(content, start, chat_format.empty_reasoning)
        if block:
            return start + block, True
        opening = longest(content, start, openings)
        if opening:
            for position in range(start + opening, len(content)):
                closing = longest(content, position, closings)
                if closing:
                    return position + closing, False
            return len(content), False
    return 0, False


def longest(row: list[int], position: int, sequences: Iterable[Sequence[int]]) -> int:
    """The length of the longest of `sequences` that occurs at `position`, 0 if none does."""
    return max((len(sequence) for sequence in sequences if matches(row, position, sequence)), default=0)


def matches(row: list[int], position: int, marker: Sequence[int]) -> bool:
    """Whether the whole marker occurs at `position`."""
    return row[position : position + len(marker)] == list(marker)
