"""Marker text -> id alternatives, found in context.

The ids of a marker change with the text next to it: `"assistant\\n"` before `"\\nHi"`, `"USER:"` after a space or at the start of the text.
A marker is therefore tokenized between many texts; each distinct sequence of tokens that lies entirely inside it is an alternative.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from spanmask.chat.boundary import MarkerIds
from spanmask.chat.tokens import Tokens, added_token_ids, added_tokens, encode

__all__ = ["EDGES", "PLAIN", "PlacedMarker", "alternatives", "marker_ids"]

# What a content may begin or end with, as far as tokenizers distinguish: letters, digits, whitespace, each bracket and sign, scripts
# without spaces, marks that combine with what precedes them, characters of several tokens. `Merges` adds what a vocabulary merges.
EDGES = (
    *("Hi a I Zoë 7 42 . , : ; ! ? \" ' ` ``` ( ) [ ] { } < > </ / | # ## * ** - _ = ~ \\ 中 。 é 😀").split(),
    *(" ", "  ", "\n", "\n\n", "\t", "\u00a0", " a", "\na", " \n", ". ", ".\n", ": ", ">\n"),
    *("$", "%", "&", "+", "@", "^", "0", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u200b", "\u200f", "\ufeff", "\u0301"),
    *("   ", "    ", "        ", "\n\n\n", "\n\n\n\n", "\t\t", "\r\n\r\n", "👩\u200d👧", "“", "–", "שלום", "مرحبا"),
)
PLAIN = ("", "Hi", " ", "\n", ".", "中")  # the edges on one side that are combined with all edges on the other
OVERHANGS = ("none", "blanks", "merged")  # how far a token may extend over a marker's edge, tried in this order


class PlacedMarker(NamedTuple):
    """A marker in a text: the characters [start, stop)."""

    text: str
    start: int
    stop: int


def alternatives(tokenizer: Any, places: Iterable[PlacedMarker]) -> dict[MarkerIds, str]:
    """The distinct id sequences of a marker in its places, each with the text that it spells; the longest text first."""
    places = list(dict.fromkeys(places))
    added, texts = added_token_ids(tokenizer), added_tokens(tokenizer)
    found: dict[MarkerIds, str] = {}
    for place, tokens in zip(places, encode(tokenizer, [place.text for place in places]), strict=True):
        if any(start < edge < stop for start, stop in texts.spans(place.text) for edge in (place.start, place.stop)):
            continue  # the marker and the text next to it make up an added token: that is another marker
        # Ids alone do not tell: a vocabulary may list the bytes of plain characters among its added tokens.
        hit = marker_ids(place, tokens, added if texts.spans(place.text[place.start : place.stop]) else frozenset())
        if hit is not None:
            found.setdefault(*hit)
    return dict(sorted(found.items(), key=lambda item: -len(item[1].strip())))


def marker_ids(place: PlacedMarker, tokens: Tokens, added: frozenset[int]) -> tuple[MarkerIds, str] | None:
    """The ids of a marker in one place, and the part of its text that they spell; None if its letters merged with the text next to it.

    A token that extends over the marker's edge is left out, because it may contain content. If that would cost the marker a visible
    character, the token is included where it extends over the edge only by whitespace (SentencePiece: `"▁USER"`), and on the right side
    also with the text that merged (`"：<"`). Text that merged on the left is content: there, punctuation may be lost as long as more than
    a bare word remains. Next to an added token, punctuation may always be lost.
    """
    marker = place.text[place.start : place.stop]
    letters = [char for char in marker if char.isalnum()]
    partial: tuple[MarkerIds, str] | None = None
    for overhang in OVERHANGS:
        inside = [at for at in range(len(tokens.ids)) if lies_inside(place, tokens, at, added, overhang)]
        if not inside:
            continue
        ids = tuple(tokens.ids[inside[0] : inside[-1] + 1])
        start = max(place.start, min(tokens.spans[at][0] for at in inside))
        stop = min(place.stop, max(tokens.spans[at][1] for at in inside))
        kept = place.text[start:stop]
        if visible(kept) == visible(marker) and (visible(marker) or kept == marker):
            return ids, kept
        if letters and [char for char in kept if char.isalnum()] == letters:
            if not added.isdisjoint(ids):
                return ids, kept
            if len(visible(kept)) > len(letters):
                partial = ids, kept
    return partial


def lies_inside(place: PlacedMarker, tokens: Tokens, at: int, added: frozenset[int], overhang: str) -> bool:
    """Whether a token belongs to the marker. Added tokens may extend over its edge by the whitespace that they absorb."""
    start, stop = tokens.spans[at]
    if place.start <= start and stop <= place.stop:
        return start < stop or place.start < start < place.stop
    if overhang == "none" and tokens.ids[at] not in added:
        return False
    text = place.text[start:stop]
    start += len(text) - len(text.lstrip())
    stop -= len(text) - len(text.rstrip())
    return place.start <= start < min(stop, place.stop) and (stop <= place.stop or overhang == "merged")


def visible(text: str) -> str:
    """The text without its whitespace."""
    return "".join(text.split())
