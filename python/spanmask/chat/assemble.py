"""Markers as text, and the gaps they stand in -> a `ChatFormat`.

A marker's ids depend on what stands next to it. In a template that is known: the rest of its gap, and then the edge of a content, which may
be anything. So each marker is tokenized in all its gaps, with all kinds of content edges on the sides where no added token keeps them away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spanmask.chat.boundaries import Atoms, Markers
from spanmask.chat.boundary import Marker, RoleBoundary
from spanmask.chat.format import ChatFormat
from spanmask.chat.markers import EDGES, PLAIN, Placed, alternatives, merging
from spanmask.chat.probe import ASSISTANT, BEGIN, END, TOOL, Gap, role_of

__all__ = ["assemble"]

ORDER = ("system", "user", ASSISTANT, "tool")
NEAR = 40  # characters of a gap that a marker's tokens may depend on


def assemble(tokenizer: Any, markers: Markers, gaps: Sequence[Gap], atoms: Atoms, ignore_ids: Iterable[int]) -> ChatFormat | None:
    """The format of these markers; None where the assistant's have no tokens of their own.

    Where two roles' markers have the same ids, they belong to the first role.
    """
    shown: dict[Marker, str] = {}
    owners: dict[Marker, str] = {}
    boundaries = []
    for role in sorted(markers.starts, key=lambda role: ORDER.index(role) if role in ORDER else len(ORDER)):
        found = ids_of(tokenizer, markers.starts[role], gaps, atoms)
        starts = {ids: text for ids, text in found.items() if owners.setdefault(ids, role) == role}
        ends = ids_of(tokenizer, markers.ends.get(role, []), [gap for gap in gaps if role_of(gap.before) == role], atoms)
        shown = {**ends, **starts, **shown}
        if starts:
            boundaries.append(RoleBoundary(role, list(starts), list(ends)))
    if all(boundary.role != ASSISTANT for boundary in boundaries):
        return None
    stops = ids_of(tokenizer, markers.stops, gaps, atoms)
    heads = ids_of(tokenizer, markers.heads, gaps, atoms)
    return ChatFormat(
        boundaries,
        ignore_ids=ignore_ids,
        stop_token_ids=dict.fromkeys(ids[0] for ids in stops),
        generation_prefills=heads,
        texts={**heads, **stops, **shown}.items(),
    )


def ids_of(tokenizer: Any, texts: Sequence[str], gaps: Sequence[Gap], atoms: Atoms) -> dict[Marker, str]:
    """The alternatives of several markers, wherever they stand in the gaps."""
    found: dict[Marker, str] = {}
    for text in texts:
        merged = merging(tokenizer, text)
        places = [place for surroundings in surroundings_of(text, gaps, atoms) for place in placed(text, surroundings, merged)]
        found = {**alternatives(tokenizer, places), **found}
    return found


class Surroundings(NamedTuple):
    """What the template has left and right of a marker, and whether a content's edge on that side can reach it."""

    left: str
    open_left: bool
    right: str
    open_right: bool


def surroundings_of(text: str, gaps: Sequence[Gap], atoms: Atoms) -> list[Surroundings]:
    """Each place of a marker, once. An added token splits the text: nothing beyond it matters. The probes' tool may have any name."""
    found: dict[Surroundings, None] = {}
    for gap in gaps:
        at = gap.text.find(text)
        while at >= 0:
            left, right = gap.text[:at], gap.text[at + len(text) :]
            open_left, open_right = gap.before != BEGIN, gap.after != END
            if TOOL in left:
                left, open_left = left.rpartition(TOOL)[2], True
            if TOOL in right:
                right, open_right = right.partition(TOOL)[0], True
            spans = [(start - len(left), stop - len(left)) for start, stop in atoms.spans(left + text + right)]  # 0: the marker
            if before := [start for start, _ in spans if start <= 0]:
                left, open_left = left[len(left) + before[-1] :], False
            if behind := [stop for _, stop in spans if stop >= len(text)]:
                right, open_right = right[: behind[0] - len(text)], False
            found[
                Surroundings(left[-NEAR:], open_left and len(left) <= NEAR, right[:NEAR], open_right and len(right) <= NEAR)
            ] = None
            at = gap.text.find(text, at + 1)
    return list(found)


def placed(text: str, surroundings: Surroundings, merged: Sequence[str]) -> list[Placed]:
    """The marker in its surroundings, between content edges: all on one side times a few on the other."""
    left, open_left, right, open_right = surroundings
    # No empty edge on the left: a text that begins with the marker has tokens (SentencePiece's first blank) that no turn but the first has.
    lefts, few_lefts = (EDGES, PLAIN[1:]) if open_left else (("",), ("",))
    rights, few_rights = (("", *EDGES), PLAIN) if open_right else (("",), ("",))
    pairs = dict.fromkeys(
        [
            *((a, b) for a in lefts for b in few_rights),
            *((a, b) for a in few_lefts for b in rights),
            *((few_lefts[0], b) for b in (merged if open_right and not right else ())),
        ]
    )
    return [Placed(a + left + text + right + b, len(a + left), len(a + left + text)) for a, b in pairs]
