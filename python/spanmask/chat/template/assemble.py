"""Markers as text, and the gaps that contain them -> boundaries as ids.

A marker's ids depend on the text next to it. In a template that text is known: the rest of the gap, and then the edge of a content, which
may be anything. So each marker is tokenized in all its gaps, with all kinds of content edges on the sides where no added token separates
them from the marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from spanmask.chat.boundary import MarkerIds, Parts, RoleBoundary
from spanmask.chat.context import EDGES, PLAIN, PlacedMarker, alternatives
from spanmask.chat.template.alignment import HOLES, Gap, before_hole
from spanmask.chat.template.gaps import MarkerTexts, scan_text
from spanmask.chat.template.shapes import ASSISTANT, BEGIN, END, role_of
from spanmask.chat.tokens import AddedTokens, merging, text_edge_ids

__all__ = ["assemble", "bare_words"]

ORDER = ("system", "user", ASSISTANT, "tool")
NEAR = 40  # characters of a gap that a marker's tokens may depend on


def assemble(tokenizer: Any, markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> Parts | None:
    """The boundaries of these markers; None if the tokens of every assistant marker merge with its neighbours.

    If the markers of two roles have the same ids, the ids belong to the first role.
    """
    shown: dict[MarkerIds, str] = {}
    owners: dict[MarkerIds, str] = {}
    boundaries = []
    for role in sorted(markers.starts, key=lambda role: ORDER.index(role) if role in ORDER else len(ORDER)):
        ends = ids_of(tokenizer, markers.ends.get(role, []), [gap for gap in gaps if role_of(gap.before) == role], added)
        anchored = {start: blanks for start in markers.starts[role] if (blanks := blanks_after_ends(start, markers, gaps, added))}
        free = [start for start in markers.starts[role] if start not in anchored]
        after_ends = [blank + start for start, blanks in anchored.items() for blank in sorted({"", *blanks})]
        for texts, is_anchored in ((free, False), (after_ends, True)):
            found = ids_of(tokenizer, texts, gaps, added)
            starts = {ids: text for ids, text in found.items() if owners.setdefault(ids, role) == role}
            shown = {**ends, **starts, **shown}
            if starts:
                boundaries.append(RoleBoundary(role, starts, ends, anchored=is_anchored))
    if all(boundary.role != ASSISTANT for boundary in boundaries):
        return None
    stop_tokens = ids_of(tokenizer, markers.stop_tokens, gaps, added)
    prefills = ids_of(tokenizer, markers.prefills, gaps, added)
    return Parts(
        tuple(boundaries),
        stop_token_ids=tuple(dict.fromkeys(ids[0] for ids in stop_tokens)),
        anchor_ids=text_edge_ids(tokenizer) if any(boundary.anchored for boundary in boundaries) else (),
        generation_prefills=tuple(prefills),
        texts=tuple({**prefills, **stop_tokens, **shown}.items()),
    )


def blanks_after_ends(start: str, markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> set[str]:
    """The blanks between a start marker and what it follows, if that is always an end marker or an end of the text; else nothing.

    Such a start is anchored: its words inside a content open no turn. A header with an added token needs no anchor: contents have
    none, and in packed rows other tokens may precede it.
    """
    if added.spans(start):
        return set()
    ends = (*(end for some in markers.ends.values() for end in some), *markers.stop_tokens, *added.neutral)
    blanks: set[str] = set()
    for gap in gaps:
        for turn in scan_text(gap.text, role_of(gap.before), markers)[0]:
            if turn.start != start:
                continue
            left = gap.text[: turn.at]
            follows = left.rstrip().endswith(ends) if left.strip() else gap.before == BEGIN
            if not follows:
                return set()
            blanks.add(left[len(left.rstrip()) :])
    return blanks


def bare_words(markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> dict[str, str]:
    """Roles with a start marker that is only a word, which contents have too: without punctuation, added token, line breaks on both sides,
    or an anchor.
    """
    return {
        role: start
        for role, starts in markers.starts.items()
        for start in starts
        if start.strip().isalnum() and not (start[0] == start[-1] == "\n") and not blanks_after_ends(start, markers, gaps, added)
    }


def ids_of(tokenizer: Any, texts: Sequence[str], gaps: Sequence[Gap], added: AddedTokens) -> dict[MarkerIds, str]:
    """The alternatives of several markers, in all gaps that contain them."""
    found: dict[MarkerIds, str] = {}
    for text in texts:
        merged = merging(tokenizer, text)
        places = [
            place for surroundings in surroundings_of(text, gaps, added) for place in placements(text, surroundings, merged)
        ]
        found = {**alternatives(tokenizer, places), **found}
    return found


class Surroundings(NamedTuple):
    """The template's text to the left and right of a marker, and whether the edge of a content on that side may change its tokens."""

    left: str
    open_left: bool
    right: str
    open_right: bool


def surroundings_of(text: str, gaps: Sequence[Gap], added: AddedTokens) -> list[Surroundings]:
    """The distinct places of a marker.

    An added token splits the text: nothing beyond it matters. A hole may be any text.
    """
    found: dict[Surroundings, None] = {}
    for gap in gaps:
        at = gap.text.find(text)
        while at >= 0:
            left, right = gap.text[:at], gap.text[at + len(text) :]
            open_left, open_right = gap.before != BEGIN, gap.after != END
            if hole := max(left.rfind(hole) for hole in HOLES.values()) + 1:
                left, open_left = left[hole:], True
            if (known := before_hole(right)) != right:
                right, open_right = known, True
            spans = [(start - len(left), stop - len(left)) for start, stop in added.spans(left + text + right)]  # 0: the marker
            if before := [start for start, _ in spans if start <= 0]:
                left, open_left = left[len(left) + before[-1] :], False
            if after := [stop for _, stop in spans if stop >= len(text)]:
                right, open_right = right[: after[0] - len(text)], False
            found[
                Surroundings(left[-NEAR:], open_left and len(left) <= NEAR, right[:NEAR], open_right and len(right) <= NEAR)
            ] = None
            at = gap.text.find(text, at + 1)
    return list(found)


def placements(text: str, surroundings: Surroundings, merged: Sequence[str]) -> list[PlacedMarker]:
    """The marker in its surroundings, between content edges: all edges on one side combined with a few on the other."""
    left, open_left, right, open_right = surroundings
    # No empty edge on the left: a text that begins with the marker has tokens (SentencePiece's leading space) that only a first turn has.
    lefts, few_lefts = (EDGES, PLAIN[1:]) if open_left else (("",), ("",))
    rights, few_rights = (("", *EDGES), PLAIN) if open_right else (("",), ("",))
    pairs = dict.fromkeys(
        [
            *((a, b) for a in lefts for b in few_rights),
            *((a, b) for a in few_lefts for b in rights),
            *((few_lefts[0], b) for b in (merged if open_right and not right else ())),
        ]
    )
    return [PlacedMarker(a + left + text + right + b, len(a + left), len(a + left + text)) for a, b in pairs]
