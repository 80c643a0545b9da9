"""Markers as text, and the gaps that contain them -> boundaries as ids.

A marker's ids depend on the text next to it. In a template that text is known: the rest of the gap, and then the edge of a content, which
may be anything. So each marker is tokenized in all its gaps, with all kinds of content edges on the sides where no added token separates
them from the marker.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from spanmask.chat.boundary import MarkerIds, Parts, RoleBoundary
from spanmask.chat.context import EDGES, PlacedMarker, alternatives
from spanmask.chat.merges import Merges
from spanmask.chat.template.alignment import HOLES, Gap, before_hole
from spanmask.chat.template.gaps import MarkerTexts, scan_text
from spanmask.chat.template.reasoning import ReasoningTexts
from spanmask.chat.template.shapes import ASSISTANT, BEGIN, END, role_of
from spanmask.chat.tokens import AddedTokens, text_edge_ids

__all__ = ["assemble", "bare_words"]

ORDER = ("system", "user", ASSISTANT, "tool")
FEW = ("Hi", "\n")  # the edges on one side that are combined with all edges on the other
PRELUDES = 4  # texts between an anchored start and what it follows
NEAR = 40  # characters of a gap that a marker's tokens may depend on


def assemble(
    merges: Merges,
    markers: MarkerTexts,
    reasoning: ReasoningTexts,
    gaps: Sequence[Gap],
    anchors: Sequence[Gap],
    added: AddedTokens,
) -> Parts | None:
    """The boundaries of these markers; None if the tokens of every assistant marker merge with its neighbours.

    `anchors`: the gaps that decide which starts are anchored.

    If the markers of two roles have the same ids, the ids belong to the first role.
    """
    shown: dict[MarkerIds, str] = {}
    owners: dict[MarkerIds, str] = {}
    boundaries = []
    for role in sorted(markers.starts, key=lambda role: ORDER.index(role) if role in ORDER else len(ORDER)):
        ends = ids_of(merges, markers.ends.get(role, []), [gap for gap in gaps if role_of(gap.before) == role], added)
        between = {start: before_anchored(start, markers, anchors, added) for start in markers.starts[role]}
        free = [start for start, lefts in between.items() if not lefts]
        anchored = [left + start for start, lefts in between.items() if lefts for left in sorted({"", *lefts})]
        for texts, is_anchored in ((free, False), (anchored, True)):
            found = ids_of(merges, texts, gaps, added)
            starts = {ids: text for ids, text in found.items() if owners.setdefault(ids, role) == role}
            shown = {**ends, **starts, **shown}
            if starts:
                boundaries.append(RoleBoundary(role, starts, ends, anchored=is_anchored))
    if all(boundary.role != ASSISTANT for boundary in boundaries):
        return None
    stop_tokens = ids_of(merges, markers.stop_tokens, gaps, added)
    prefills = ids_of(merges, markers.prefills, gaps, added)
    openings, closings, empty = (ids_of(merges, texts, gaps, added) for texts in reasoning)
    return Parts(
        tuple(boundaries),
        stop_token_ids=tuple(dict.fromkeys(ids[0] for ids in stop_tokens)),
        anchor_ids=text_edge_ids(merges.tokenizer) if any(boundary.anchored for boundary in boundaries) else (),
        generation_prefills=tuple(prefills),
        reasoning=(tuple(openings), tuple(closings)) if openings and closings else (),
        empty_reasoning=tuple(empty) if openings and closings else (),
        texts=tuple({**empty, **closings, **openings, **prefills, **stop_tokens, **shown}.items()),
    )


def before_anchored(start: str, markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> set[str]:
    """What is between a start marker and what it follows, if that is always an end marker or the beginning of the text; else nothing.

    Such a start is anchored: its words inside a content open no turn. Between them are blanks, or the text with which the template
    begins. A header with an added token needs no anchor: contents have none, and in packed rows other tokens may precede it.
    """
    if added.spans(start):
        return set()
    ends = (*(end for some in markers.ends.values() for end in some), *markers.stop_tokens, *added.neutral)
    between: set[str] = set()
    for gap in gaps:
        for turn in scan_text(gap.text, role_of(gap.before), markers)[0]:
            left = gap.text[: turn.at]
            if turn.start != start:
                continue
            if left.rstrip().endswith(ends):
                between.add(left[len(left.rstrip()) :])
            elif gap.before == BEGIN and before_hole(left) == left:
                between.add(without_edge_tokens(left, added))
            else:
                return set()
    return between if len(between) <= PRELUDES else set()


def without_edge_tokens(text: str, added: AddedTokens) -> str:
    """A text without the tokens with which texts begin (BOS): an anchored start may follow those anyway."""
    spans = added.spans(text)
    while spans and spans[0][0] == 0 and text[: spans[0][1]] in added.neutral:
        text = text[spans[0][1] :]
        spans = added.spans(text)
    return text


def bare_words(markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> dict[str, str]:
    """Roles with a start marker that is only a word, which contents have too: without punctuation, added token, line breaks on both sides,
    or an anchor.
    """
    return {
        role: start
        for role, starts in markers.starts.items()
        for start in starts
        if start.strip().isalnum() and not (start[0] == start[-1] == "\n") and not before_anchored(start, markers, gaps, added)
    }


def ids_of(merges: Merges, texts: Sequence[str], gaps: Sequence[Gap], added: AddedTokens) -> dict[MarkerIds, str]:
    """The alternatives of several markers, in all gaps that contain them."""
    found: dict[MarkerIds, str] = {}
    for text in texts:
        places = [place for some in surroundings_of(text, gaps, added) for place in placements(text, some, merges)]
        found = {**alternatives(merges.tokenizer, places), **found}
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


def placements(text: str, surroundings: Surroundings, merges: Merges) -> list[PlacedMarker]:
    """The marker in its surroundings, between content edges: all edges on one side combined with a few on the other.

    No empty edge on the left: a text that begins with the marker has tokens (SentencePiece's leading space) that only a first turn has.
    """
    left, open_left, right, open_right = surroundings
    lefts = (*EDGES, *(merges.before(left + text) if not left.strip() else ())) if open_left else ("",)
    rights = ("", *EDGES, *(merges.after(text + right) if not right.strip() else ())) if open_right else ("",)
    few_lefts = FEW if open_left else ("",)
    few_rights = ("", *FEW) if open_right else ("",)
    pairs = dict.fromkeys([*product(lefts, few_rights), *product(few_lefts, rights)])
    return [PlacedMarker(a + left + text + right + b, len(a + left), len(a + left + text)) for a, b in pairs]
