"""Positions in a row of text -> positions in the row that a processor makes of it by writing out its placeholders.

A processor replaces each placeholder with a run of placeholders, often with wrappers, sometimes with text as well (newlines between the
tiles of an image, the times of a video's frames), and tokenizes the result. The stretches of text before, between and after the
placeholders stay the same, but for the tokens at their edges: what the processor adds there may merge with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.chat.encode import EncodedRow

__all__ = ["expanded_positions", "expanded_row"]

Ids = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

UNKNOWN = -1
MERGED = 2  # tokens at an edge of a stretch that may have merged with what the processor added
DISTINCTIVE = 3  # fewer tokens may occur by chance in what the processor added
TRIMS = sorted(((left, right) for left in range(MERGED + 1) for right in range(MERGED + 1)), key=sum)


class Place(NamedTuple):
    """A stretch in the row: from its token `first`, its tokens are those at [start, stop) of the row."""

    first: int
    start: int
    stop: int


def expanded_positions(text_ids: Any, processor_ids: Any, media_ids: Iterable[int]) -> npt.NDArray[np.int64] | None:
    """Where each token of a text begins in the row that a processor made of that text.

    Args:
        text_ids: the tokens of the text before its placeholders are written out, 1-D, n integers; special tokens as in the row.
        processor_ids: the processor's row without padding, 1-D.
        media_ids: the ids of placeholders and wrappers, as in `ChatFormat.ignore_ids`.

    Returns:
        int64 [n + 1]: tokens `[a, b)` of the text are `[positions[a], positions[b])` of the row, with what was added between them.
        A token that merged with what the processor added counts as added. -1 where the place is not certain: inside a run of
        placeholders, and where a few tokens between placeholders may be in several places.
        `None` if the row is not this text with its placeholders written out.

    >>> expanded_positions([5, 6, 99, 7, 2], [5, 6, 90, 99, 99, 99, 91, 7, 2], media_ids=[90, 91, 99]).tolist()
    [0, 1, 2, 7, 8, 9]
    """
    text, row = np.asarray(text_ids, np.int64), np.asarray(processor_ids, np.int64)
    media = media_table(tuple(media_ids))
    stretches, targets = stretches_between(text, media), stretches_between(row, media)
    if len(stretches) == 1:
        return np.arange(len(text) + 1) if np.array_equal(text, row) else None
    first, last = text[slice(*stretches[0])], text[slice(*stretches[-1])]
    kept = common_prefix(first, row[slice(*targets[0])])
    kept_at_end = common_prefix(last[::-1], row[slice(*targets[-1])][::-1])
    if len(targets) == 1 or max(len(first) - kept, len(last) - kept_at_end) > MERGED:
        return None
    inner = inner_places([text[slice(*stretch)] for stretch in stretches[1:-1]], row, targets)
    if inner is None:
        return None
    places = [Place(0, 0, kept), *inner, Place(len(last) - kept_at_end, len(row) - kept_at_end, len(row))]
    positions = np.full(len(text) + 1, UNKNOWN, np.int64)
    for (start, stop), place in zip(stretches, places, strict=True):
        if place is not None:
            # The token after the last one begins there too: it merged with what was added, or it is the placeholder.
            begin = start + place.first
            positions[begin : begin + place.stop - place.start + 1] = np.arange(place.start, place.stop + 1)
            positions[stop] = place.stop
    return positions


def expanded_row(encoded: EncodedRow, row: Ids, media_ids: Iterable[int], trained_roles: Iterable[str]) -> EncodedRow:
    """The turns of a text, in the row that a processor made of it. Without turns if an edge of a trained turn is not certain."""
    ids = row.tolist()
    positions = None if encoded.turns is None else expanded_positions(encoded.ids, row, media_ids)
    if encoded.turns is None or positions is None:
        return EncodedRow(ids, None, encoded.dropped)
    roles = set(trained_roles)
    edges = np.array([turn.places for turn in encoded.turns], np.int64).reshape(-1, 6)
    trained = np.array([turn.role in roles for turn in encoded.turns], np.bool_)
    if (positions[edges[trained]] == UNKNOWN).any():
        return EncodedRow(ids, None, encoded.dropped)
    # Edges of other turns may be inside placeholders: they are put after the last certain place.
    moved = np.maximum.accumulate(positions)[edges].tolist()
    turns = [turn._replace(places=tuple(places)) for turn, places in zip(encoded.turns, moved, strict=True)]
    return EncodedRow(ids, turns, encoded.dropped)


@lru_cache(maxsize=64)
def media_table(media_ids: tuple[int, ...]) -> Flags:
    """`table[id + 1]`: whether an id is that of media. The first and the last entry are for all smaller and all greater ids."""
    table = np.zeros(max(media_ids, default=-1) + 3, np.bool_)
    table[[token + 1 for token in media_ids]] = True
    return table


def stretches_between(ids: Ids, media: Flags) -> list[tuple[int, int]]:
    """The maximal stretches [start, stop) without media. Those at both ends of the row may be empty, but are always included."""
    is_media = np.zeros(len(ids) + 2, np.bool_)
    is_media[1:-1] = media.take(ids + 1, mode="clip")  # one lookup a token: `np.isin` took longer than all the rest
    edges = np.flatnonzero(is_media[1:] != is_media[:-1]).tolist()  # media begin and end by turns
    return list(zip([0, *edges[1::2]], [*edges[::2], len(ids)], strict=True))


def common_prefix(some: Ids, others: Ids) -> int:
    """The number of tokens with which both begin."""
    length = min(len(some), len(others))
    unequal = some[:length] != others[:length]
    at = int(unequal.argmax()) if length else 0
    return at if length and unequal[at] else length


def inner_places(stretches: Sequence[Ids], row: Ids, targets: Sequence[tuple[int, int]]) -> list[Place | None] | None:
    """The place of each stretch between placeholders, `None` where it is not certain. `None` if they do not fit the row.

    `targets`: [start, stop) of the row's own stretches, the first and the last included. Each stretch is in one of those between them,
    each in another, in order. A place is certain if it is the first possible one from the left and from the right.
    """
    if not stretches:
        return []
    inside = np.array(targets[1:-1], np.int64).reshape(-1, 2)
    one_to_one = len(inside) == len(stretches)
    places: list[Place | None] = [None] * len(stretches)
    found = []
    for number, stretch in enumerate(stretches):
        first, length, starts = occurrences(stretch, row, inside[number : number + 1] if one_to_one else inside)
        if length >= DISTINCTIVE or (one_to_one and 0 < length == len(stretch)):
            found.append((number, first, length, starts))
        elif len(stretch) > 2 * MERGED:
            return None
    numbers = [np.searchsorted(inside[:, 0], starts, side="right") for *_, starts in found]
    left, right = earliest(numbers), earliest([len(inside) - own[::-1] for own in reversed(numbers)])
    if left is None or right is None:
        return None
    for (number, first, length, starts), at, from_end in zip(found, left, right[::-1], strict=True):
        if at == len(starts) - 1 - from_end:
            places[number] = Place(first, int(starts[at]), int(starts[at]) + length)
    return places


def earliest(numbers: Sequence[Ids]) -> list[int] | None:
    """For each list of ascending numbers the index of its first that is greater than the one chosen before; `None` if there is none."""
    chosen, above = [], -1
    for own in numbers:
        at = int(np.searchsorted(own, above, side="right"))
        if at == len(own):
            return None
        chosen.append(at)
        above = int(own[at])
    return chosen


def occurrences(stretch: Ids, row: Ids, targets: Ids) -> tuple[int, int, Ids]:
    """Where a stretch is in these targets, as few tokens as possible left out at its edges: the first one kept, their number, the starts.

    The number is 0 if there is no such place.
    """
    for left, right in TRIMS:
        part = stretch[left : len(stretch) - right]
        if len(part):
            starts = np.flatnonzero(row[: len(row) - len(part) + 1] == part[0])
            starts = starts[(row[starts[:, None] + np.arange(len(part))] == part).all(axis=1)]
            number = np.searchsorted(targets[:, 0], starts, side="right") - 1
            starts = starts[(number >= 0) & (starts + len(part) <= targets[number, 1])]
            if len(starts):
                return left, len(part), starts
    return 0, 0, np.empty(0, np.int64)
