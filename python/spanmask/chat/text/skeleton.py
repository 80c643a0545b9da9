"""The skeleton of a rendered twin: the template's own text between the marks, and where turns begin and end in it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Place", "Skeleton", "TurnPlaces"]


class Place(NamedTuple):
    """A place in a template's own text: a gap of the skeleton, and the characters before the place in it."""

    gap: int
    offset: int


class TurnPlaces(NamedTuple):
    """A turn in a skeleton.

    `places`: start, content_start, prefill_stop, reasoning_stop, content_stop and stop, as in the columns of `Turns`.
    """

    role: str
    message: int
    places: tuple[Place, Place, Place, Place, Place, Place]
    stop_token: bool
    empty_reasoning: bool


class Skeleton(NamedTuple):
    """What all conversations of one shape have in common.

    `order`: the leaves in the order of the text; `gaps[i]` is before leaf `order[i]`, and the last gap ends the text.
    `dropped`: messages of the assistant of which the template leaves something out, and what.
    """

    gaps: tuple[str, ...]
    order: tuple[int, ...]
    turns: tuple[TurnPlaces, ...]
    dropped: tuple[tuple[int, str], ...]
