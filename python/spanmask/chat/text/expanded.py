"""Positions in a row of text -> positions in the row that a processor makes of it by writing out its placeholders.

A processor replaces each placeholder with a run of placeholders, often with wrappers, sometimes with text as well (newlines between the
tiles of an image, the times of a video's frames), and tokenizes the result. The stretches of text before, between and after the
placeholders stay the same, but for the tokens at their edges: what the processor adds there may merge with them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.chat.encode import EncodedRow

__all__ = ["Flags", "expanded_positions", "expanded_row", "is_media", "media_table"]

Ids = npt.NDArray[np.integer[Any]]
Flags = npt.NDArray[np.bool_]

UNKNOWN = -1
MERGED = 2  # tokens at an edge of a stretch that may have merged with what the processor added
DISTINCTIVE = 3  # fewer tokens may occur by chance in what the processor added
MERGED_COUNTS = range(1, MERGED + 1)
TRIMS = sorted(((left, right) for left in range(MERGED + 1) for right in range(MERGED + 1)), key=sum)


class Place(NamedTuple):
    """A stretch in the row: from its token `first`, its tokens are those at [start, stop) of the row."""

    first: int
    start: int
    stop: int


Placed = tuple[tuple[int, int], Place | None]  # a stretch [start, stop) of a text, and its place


def expanded_positions(text_ids: Any, processor_ids: Any, media_ids: Iterable[int]) -> npt.NDArray[np.int64] | None:
    """Where each token of a text begins in the row that a processor made of that text.

    Args:
        text_ids: the tokens of the text before its placeholders are written out, 1-D, n integers; special tokens as in the row.
        processor_ids: the processor's row without padding, 1-D.
        media_ids: the ids of placeholders and wrappers, as in `ChatFormat.ignore_ids`.

    Returns:
        int64 [n + 1]: tokens `[a, b)` of the text are `[positions[a], positions[b])` of the row, with what was added between them.
        A token that merged with what the processor added counts as added. -1 where the place is not certain: inside a run of
        placeholders, where tokens merged, and where a few tokens between placeholders may be in several places.
        `None` if the row is not this text with its placeholders written out.

    >>> expanded_positions([5, 6, 99, 7, 2], [5, 6, 90, 99, 99, 99, 91, 7, 2], media_ids=[90, 91, 99]).tolist()
    [0, 1, 2, 7, 8, 9]
    """
    text = np.asarray(text_ids, np.int64)
    placed = placed_stretches(text, np.asarray(processor_ids, np.int64), media_table(tuple(media_ids)))
    return None if placed is None else positions_of(placed, len(text))


def expanded_row(
    encoded: EncodedRow,
    row: Ids,
    media_ids: Iterable[int],
    trained_roles: Iterable[str],
    text_of: Callable[[list[int]], str],
    written: Iterable[tuple[int, int]] = (),
) -> tuple[EncodedRow, Flags | None]:
    """The turns of a text, in the row that a processor made of it. Without turns if an edge of a trained turn is not certain.

    Args:
        encoded: the text's tokens and turns.
        row, media_ids: as for `expanded_positions`.
        trained_roles: the roles whose turns must be certain.
        text_of: gives the text of tokens.
        written: tokens [start, stop) of the text that the template wrote for media, if one of them is a placeholder.

    Returns:
        The row, and which of its tokens the processor added (or may have added) or the template wrote for a medium: they are input,
        whatever turn they are in. `None` if nothing is known about them.
    """
    ids = row.tolist()
    text = np.asarray(encoded.ids, np.int64)
    placed = None if encoded.turns is None else placed_stretches(text, row.astype(np.int64), media_table(tuple(media_ids)))
    if encoded.turns is None or placed is None:
        return EncodedRow(ids, None, encoded.dropped), None
    # The edge of a turn at a token that merged is at the edge of what was added.
    positions = positions_of(placed, len(text), with_merged=True)
    roles = set(trained_roles)
    edges = np.array([turn.places for turn in encoded.turns], np.int64).reshape(-1, 6)
    trained = np.array([turn.role in roles for turn in encoded.turns], np.bool_)
    added = added_tokens(placed, text, row, text_of)
    media = is_media(text, media_table(tuple(media_ids)))
    for_media = [slice(*gap) for gap in written if media[slice(*gap)].any()]
    if for_media:
        certain = positions_of(placed, len(text))
        own = np.concatenate([certain[gap] for gap in for_media])
        added[own[own != UNKNOWN]] = True
    if (positions[edges[trained]] == UNKNOWN).any():
        return EncodedRow(ids, None, encoded.dropped), added
    # Edges of other turns may be inside placeholders: they are put after the last certain place.
    moved = np.maximum.accumulate(positions)[edges].tolist()
    turns = [turn._replace(places=tuple(places)) for turn, places in zip(encoded.turns, moved, strict=True)]
    return EncodedRow(ids, turns, encoded.dropped), added


def added_tokens(placed: Sequence[Placed], text: Ids, row: Ids, text_of: Callable[[list[int]], str]) -> Flags:
    """Which tokens of a row the processor added. Tokens that merged with what it added count as the text's."""
    added = np.ones(len(row), np.bool_)
    for (start, stop), place in placed:
        if place is not None:
            begin, end = start + place.first, start + place.first + place.stop - place.start
            before = merged(
                text[start:begin], [row[max(place.start - count, 0) : place.start] for count in MERGED_COUNTS], text_of
            )
            after = merged(text[end:stop], [row[place.stop : place.stop + count] for count in MERGED_COUNTS], text_of)
            added[max(place.start - before, 0) : place.stop + after] = False
    return added


def merged(tokens: Ids, candidates: Sequence[Ids], text_of: Callable[[list[int]], str]) -> int:
    """How many tokens of the row hold the text of tokens that merged: the number of the first of `candidates` that does, 0 if none does."""
    own = text_of(tokens.tolist()).strip() if len(tokens) else ""
    found = (count for count, some in zip(MERGED_COUNTS, candidates, strict=True) if own in text_of(some.tolist()))
    return next(found, 0) if own else 0


def placed_stretches(text: Ids, row: Ids, media: Flags) -> list[Placed] | None:
    """The stretches [start, stop) of a text between its media, and the place of each in the row, `None` where it is not certain.

    `None` if the row is not this text with its placeholders written out.
    """
    stretches, targets = stretches_between(text, media), stretches_between(row, media)
    if len(stretches) == 1:
        return [(stretches[0], Place(0, 0, len(text)))] if np.array_equal(text, row) else None
    first, last = text[slice(*stretches[0])], text[slice(*stretches[-1])]
    kept = common_prefix(first, row[slice(*targets[0])])
    kept_at_end = common_prefix(last[::-1], row[slice(*targets[-1])][::-1])
    if len(targets) == 1 or max(len(first) - kept, len(last) - kept_at_end) > MERGED:
        return None
    inner = inner_places([text[slice(*stretch)] for stretch in stretches[1:-1]], row, targets)
    if inner is None:
        return None
    places = [Place(0, 0, kept), *inner, Place(len(last) - kept_at_end, len(row) - kept_at_end, len(row))]
    return list(zip(stretches, places, strict=True))


def positions_of(placed: Sequence[Placed], tokens: int, with_merged: bool = False) -> npt.NDArray[np.int64]:
    """The positions that `expanded_positions` returns, for a text of so many tokens. `with_merged`: those of merged tokens are not -1 but
    the edges of what was added.
    """
    positions = np.full(tokens + 1, UNKNOWN, np.int64)
    for (start, stop), place in placed:
        if place is not None:
            # The token after the last one begins there too: it merged with what was added, or it is the placeholder.
            begin, end = start + place.first, start + place.first + place.stop - place.start
            positions[begin : end + 1] = np.arange(place.start, place.stop + 1)
            positions[stop] = place.stop
            if with_merged:
                positions[start:begin] = place.start
                positions[end : stop + 1] = place.stop
    return positions


@lru_cache(maxsize=64)
def media_table(media_ids: tuple[int, ...]) -> Flags:
    """`table[id + 1]`: whether an id is that of media. The first and the last entry are for all smaller and all greater ids."""
    table = np.zeros(max(media_ids, default=-1) + 3, np.bool_)
    table[[token + 1 for token in media_ids]] = True
    return table


def is_media(ids: Ids, media: Flags) -> Flags:
    """Which ids are those of media. One lookup a token: `np.isin` took longer than all the rest."""
    return media.take(ids + 1, mode="clip")


def stretches_between(ids: Ids, media: Flags) -> list[tuple[int, int]]:
    """The maximal stretches [start, stop) without media. Those at both ends of the row may be empty, but are always included."""
    flags = np.zeros(len(ids) + 2, np.bool_)
    flags[1:-1] = is_media(ids, media)
    edges = np.flatnonzero(flags[1:] != flags[:-1]).tolist()  # media begin and end by turns
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
        own = inside[number : number + 1] if one_to_one else inside
        first, length, starts = occurrences(stretch, row, own)
        if length >= DISTINCTIVE or (
            one_to_one and length and (length == len(stretch) or is_only_part(stretch, row, own, length))
        ):
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
    return with_short_places(places, stretches, row, inside)


def with_short_places(places: list[Place | None], stretches: Sequence[Ids], row: Ids, targets: Ids) -> list[Place | None]:
    """The places, and those of stretches that had none: each is a whole target between the places before and after it.

    Only where as many targets as stretches are equal, so that the processor has added none of them.
    """
    starts = targets[:, 0]
    for is_placed, run in groupby(range(len(places)), key=lambda number: places[number] is not None):
        if is_placed:
            continue
        numbers = list(run)
        before = places[numbers[0] - 1] if numbers[0] else None
        after = places[numbers[-1] + 1] if numbers[-1] + 1 < len(places) else None
        low = 0 if before is None else int(np.searchsorted(starts, before.start, side="right"))
        high = len(starts) if after is None else int(np.searchsorted(starts, after.start, side="right")) - 1
        own: defaultdict[bytes, list[int]] = defaultdict(list)
        given: defaultdict[bytes, list[Place]] = defaultdict(list)
        for number in numbers:
            own[stretches[number].tobytes()].append(number)
        for start, stop in targets[low:high].tolist():
            given[row[start:stop].tobytes()].append(Place(0, start, stop))
        found = {
            number: place
            for content, some in own.items()
            if len(some) == len(given[content])
            for number, place in zip(some, given[content], strict=True)
        }
        in_order = [found[number].start for number in numbers if number in found]
        if in_order == sorted(in_order):
            for number, place in found.items():
                places[number] = place
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
        starts = starts_in(part, row, targets)
        if len(starts):
            return left, len(part), starts
    return 0, 0, np.empty(0, np.int64)


def is_only_part(stretch: Ids, row: Ids, targets: Ids, length: int) -> bool:
    """Whether one part of so many tokens of a stretch, of those that leave out tokens at its edges, is in these targets, and once."""
    parts = [stretch[left : len(stretch) - right] for left, right in TRIMS if len(stretch) - left - right == length]
    return sum(len(starts_in(part, row, targets)) for part in parts) == 1


def starts_in(part: Ids, row: Ids, targets: Ids) -> Ids:
    """Where these tokens begin inside a target."""
    if not len(part):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(row[: len(row) - len(part) + 1] == part[0])
    starts = starts[(row[starts[:, None] + np.arange(len(part))] == part).all(axis=1)]
    number = np.searchsorted(targets[:, 0], starts, side="right") - 1
    inside: Ids = starts[(number >= 0) & (starts + len(part) <= targets[number, 1])]
    return inside
