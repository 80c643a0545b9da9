"""Marker text -> id alternatives, found in context.

A marker's ids change with what stands next to it: `"assistant\\n"` before `"\\nHi"`, `"USER:"` behind a space or at the start of the text.
So it is tokenized between many neighbours; each distinct sequence of tokens that lies wholly inside it is an alternative.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from spanmask.chat.boundary import Marker, RoleBoundary
from spanmask.chat.format import ChatFormat, MarkerText
from spanmask.chat.tokens import Tokens, atomic_ids, encode, text_tokenizer
from spanmask.errors import ChatFormatError

__all__ = ["EDGES", "Placed", "alternatives", "format_from_strings", "ids_in_context", "marker_ids"]

# What a content may begin or end with, as far as tokenizers care: letters, digits, blanks, each bracket, punctuation that merges,
# scripts without blanks, characters of several tokens.
EDGES = (
    *("Hi a I Zoë 7 42 . , : ; ! ? \" ' ` ``` ( ) [ ] { } < > </ / | # ## * ** - _ = ~ \\ 中 。 é 😀").split(),
    *(" ", "  ", "\n", "\n\n", "\t", "\u00a0", " a", "\na", " \n", ". ", ".\n", ": ", ">\n"),
)
OVERHANGS = ("none", "blanks", "merged")  # how far a token may hang over a marker's edge, one after the other
MERGING = 500  # tokens looked at that begin with a marker's last character
PLAIN = ("", "Hi", " ", "\n", ".", "中")  # crossed with all edges on the other side


class Placed(NamedTuple):
    """A marker in a text: the characters [start, stop)."""

    text: str
    start: int
    stop: int


def format_from_strings(tokenizer: Any, roles: dict[str, MarkerText], ignore_ids: Iterable[int]) -> ChatFormat:
    """What `ChatFormat.from_strings` promises."""
    tokenizer = text_tokenizer(tokenizer)
    if not roles:
        raise ChatFormatError('roles: none given; write for example assistant=("ASSISTANT:", "</s>"), user="USER:".')
    texts = {role: role_texts(role, marker) for role, marker in roles.items()}
    starts = [start for start, _ in texts.values()]
    ends = [end for _, role_ends in texts.values() for end in role_ends]
    lefts, rights = neighbours(tokenizer, starts, ends)

    shown: dict[Marker, str] = {}
    boundaries = []
    for role, (start, role_ends) in texts.items():
        found = [in_context(tokenizer, f"start of role {role!r}", start, lefts, rights)]
        found += [in_context(tokenizer, f"end of role {role!r}", end, lefts, rights) for end in role_ends]
        boundaries.append(RoleBoundary(role, found[0], [ids for some in found[1:] for ids in some]))
        for some in reversed(found):
            shown.update(some)
    return ChatFormat(boundaries, ignore_ids=ignore_ids, texts=shown.items())


def ids_in_context(tokenizer: Any, text: str) -> tuple[Marker, ...]:
    """All id sequences of a marker that stands as text in contents, one for each way in which it merges with its neighbours.

    For `MaskPolicy(ignore_between=..., ignore_sequences=...)`: `<think>` that is no token of its own has other ids before a line break,
    before a letter, behind a blank.

    Args:
        tokenizer: a transformers tokenizer.
        text: the marker.

    Returns:
        The alternatives, the longest text first.

    Raises:
        ChatFormatError: the marker has no token of its own in any context; the tokenizer gives no offsets.
        TypeError: the marker is not text.

    Example:
        `MaskPolicy(ignore_between=[(ids_in_context(tokenizer, "<think>"), ids_in_context(tokenizer, "</think>"))])`
    """
    if not isinstance(text, str):
        raise TypeError(f"text: expected a marker as text, got {type(text).__name__}.")
    if not text:
        raise ChatFormatError("text: an empty marker stands everywhere; give its text.")
    tokenizer = text_tokenizer(tokenizer)
    return tuple(in_context(tokenizer, "text", text, *neighbours(tokenizer, (), ())))


def role_texts(role: str, marker: MarkerText) -> tuple[str, list[str]]:
    """One role's argument -> (start, ends), checked."""
    parts: Any = (marker, ()) if isinstance(marker, str) else marker
    start, ends = parts if isinstance(parts, tuple) and len(parts) == 2 else (None, ())
    ends = list(ends) if isinstance(ends, (list, tuple)) else [ends]
    if not all(isinstance(text, str) for text in (start, *ends)):
        raise TypeError(f"role {role!r}: expected a start, (start, end) or (start, [end, ...]) as text, got {marker!r}.")
    if not all((start, *ends)):
        raise ChatFormatError(
            f"role {role!r}: an empty marker in {marker!r}; leave the end out where a turn ends at the next start."
        )
    return str(start), ends


def neighbours(tokenizer: Any, starts: Sequence[str], ends: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts to put left and right of a marker: content edges, the ends of the text, and the other markers."""
    special = [token for token in (tokenizer.bos_token, tokenizer.eos_token) if token]
    lefts = [*("", *EDGES), *(end + gap for end in (*special, *ends) for gap in ("", " ", "\n", "\n\n")), *starts]
    rights = [*("", *EDGES), *special, *(gap + start for start in starts for gap in ("", " ", "\n", "\n\n")), *ends]
    return list(dict.fromkeys(lefts)), list(dict.fromkeys(rights))


def in_context(tokenizer: Any, name: str, marker: str, lefts: Sequence[str], rights: Sequence[str]) -> dict[Marker, str]:
    """All alternatives of one marker, with the text that each spells."""
    pairs = dict.fromkeys(
        [
            *((a, b) for a in lefts for b in PLAIN),
            *((a, b) for a in PLAIN for b in rights),
            *((" ", b) for b in merging(tokenizer, marker)),
        ]
    )
    found = alternatives(tokenizer, [Placed(a + marker + b, len(a), len(a) + len(marker)) for a, b in pairs])
    if not found:
        raise ChatFormatError(
            f"{name}: {marker!r} has no tokens of its own, whatever stands next to it; give a longer marker, or its ids: RoleBoundary."
        )
    return found


def merging(tokenizer: Any, marker: str) -> list[str]:
    """What the vocabulary merges with a marker's last signs: `"<"` for `"助手："`, where `"：<"` is a token."""
    if not marker.strip() or marker[-1].isalnum() or any(text in marker for text in tokenizer.get_added_vocab() if text.strip()):
        return []  # beside an added token a missing character does not matter
    texts: dict[str, None] = {}
    at = len(marker.rstrip())
    while at and not marker[at - 1].isalnum():
        at -= 1
        last = marker[at:]
        spelled = "".join(tokenizer.convert_ids_to_tokens(tokenizer(last, add_special_tokens=False)["input_ids"])).lstrip("▁")
        longer = sorted(token for token in tokenizer.get_vocab() if len(token) > len(spelled) and token.startswith(spelled))
        merged = [tokenizer.convert_tokens_to_string([token]) for token in longer[:MERGING]]
        texts |= dict.fromkeys(text[len(last) :] for text in merged if text.startswith(last) and "\ufffd" not in text)
    return list(texts)


def alternatives(tokenizer: Any, places: Iterable[Placed]) -> dict[Marker, str]:
    """The distinct id sequences of a marker in its places, each with the text that it spells; the longest text first."""
    places = list(dict.fromkeys(places))
    atoms = atomic_ids(tokenizer)
    found: dict[Marker, str] = {}
    for place, tokens in zip(places, encode(tokenizer, [place.text for place in places]), strict=True):
        hit = marker_ids(place, tokens, atoms)
        if hit is not None:
            found.setdefault(*hit)
    return dict(sorted(found.items(), key=lambda item: -len(item[1].strip())))


def marker_ids(place: Placed, tokens: Tokens, atoms: frozenset[int]) -> tuple[Marker, str] | None:
    """The ids of a marker in one place, and what of its text they spell; None where its letters merged with a neighbour.

    A token that hangs over the marker's edge stays outside: it may hold content. Only if that would cost the marker a visible
    character, it is taken in: while it hangs over by blanks (SentencePiece: `"▁USER"`), else on the right side also with what merged
    (`"：<"`). What merged on the left is content: there, losing punctuation is accepted while what is left is more than a bare word.
    Beside an added token punctuation is never missed.
    """
    marker = place.text[place.start : place.stop]
    letters = [char for char in marker if char.isalnum()]
    partial: tuple[Marker, str] | None = None
    for overhang in OVERHANGS:
        inside = [at for at in range(len(tokens.ids)) if lies_inside(place, tokens, at, atoms, overhang)]
        if not inside:
            continue
        ids = tuple(tokens.ids[inside[0] : inside[-1] + 1])
        start = max(place.start, min(tokens.spans[at][0] for at in inside))
        stop = min(place.stop, max(tokens.spans[at][1] for at in inside))
        kept = place.text[start:stop]
        if visible(kept) == visible(marker) and (visible(marker) or kept == marker):
            return ids, kept
        if letters and [char for char in kept if char.isalnum()] == letters:
            if not atoms.isdisjoint(ids):
                return ids, kept
            if len(visible(kept)) > len(letters):
                partial = ids, kept
    return partial


def lies_inside(place: Placed, tokens: Tokens, at: int, atoms: frozenset[int], overhang: str) -> bool:
    """Whether a token belongs to the marker. Added tokens may hang over by the blanks that they swallow."""
    start, stop = tokens.spans[at]
    if place.start <= start and stop <= place.stop:
        return start < stop or place.start < start < place.stop
    if overhang == "none" and tokens.ids[at] not in atoms:
        return False
    text = place.text[start:stop]
    start += len(text) - len(text.lstrip())
    stop -= len(text) - len(text.rstrip())
    return place.start <= start < min(stop, place.stop) and (stop <= place.stop or overhang == "merged")


def visible(text: str) -> str:
    """The text without its blanks."""
    return "".join(text.split())
