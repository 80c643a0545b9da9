"""Markers written as text -> ids, found in context: for boundaries (`Parts`), and for what a policy ignores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from spanmask.chat.boundary import MarkerIds, Parts, RoleBoundary
from spanmask.chat.context import EDGES, PLAIN, PlacedMarker, alternatives
from spanmask.chat.merges import merging
from spanmask.chat.tokens import bos_and_eos, text_edge_ids, text_tokenizer
from spanmask.errors import ChatFormatError

if TYPE_CHECKING:
    from spanmask.policy import MaskPolicy

__all__ = ["MarkerText", "ids_in_context", "parts_from_strings", "policy_with_ids"]

MarkerText = str | tuple[str, str | Sequence[str]]
GAPS = (" ", "\n", "\n\n")  # what templates write between a closing marker and the next header


def parts_from_strings(tokenizer: Any, roles: dict[str, MarkerText], anchored: bool = False) -> Parts:
    """The boundaries of `ChatFormat.from_strings`."""
    tokenizer = text_tokenizer(tokenizer)
    if not roles:
        raise ChatFormatError('roles: none given; pass for example assistant=("ASSISTANT:", "</s>"), user="USER:".')
    texts = {role: role_texts(role, marker) for role, marker in roles.items()}
    if anchored:
        check_ends(texts)
    starts = [start for start, _ in texts.values()]
    ends = [end for _, role_ends in texts.values() for end in role_ends]
    lefts, rights = neighbours(tokenizer, starts, ends)

    shown: dict[MarkerIds, str] = {}
    boundaries = []
    for role, (start, role_ends) in texts.items():
        starts_in_context = in_context(tokenizer, f"start of role {role!r}", start, lefts, rights)
        for gap in GAPS if anchored else ():  # the start must directly follow what precedes it
            starts_in_context |= in_context(tokenizer, f"start of role {role!r}", gap + start, lefts, rights)
        found = [starts_in_context]
        found += [in_context(tokenizer, f"end of role {role!r}", end, lefts, rights) for end in role_ends]
        boundaries.append(RoleBoundary(role, found[0], [ids for some in found[1:] for ids in some], anchored=anchored))
        for some in reversed(found):
            shown.update(some)
    return Parts(tuple(boundaries), anchor_ids=text_edge_ids(tokenizer) if anchored else (), texts=tuple(shown.items()))


def ids_in_context(tokenizer: Any, text: str) -> tuple[MarkerIds, ...]:
    """Find all id sequences of a marker inside contents, one for each way in which it merges with its neighbours.

    `policy_with_ids` does this for all texts of a policy: a `<think>` that is not an added token has different ids before a line
    break, before a letter and after a space.

    Args:
        tokenizer: a transformers tokenizer.
        text: the marker.

    Returns:
        The alternatives, the longest text first.

    Raises:
        ChatFormatError: the marker is empty, its tokens merge with its neighbours in every context, or the tokenizer returns no
            offsets.
        TypeError: the marker is not text.

    >>> from transformers import ByT5Tokenizer
    >>> ids_in_context(ByT5Tokenizer(), "]]")
    ((96, 96),)
    """
    if not isinstance(text, str):
        raise TypeError(f"text: expected a marker as text, got {type(text).__name__}.")
    if not text:
        raise ChatFormatError("text: an empty marker would match everywhere; pass the marker's text.")
    tokenizer = text_tokenizer(tokenizer)
    return tuple(in_context(tokenizer, "text", text, *neighbours(tokenizer, (), ())))


def policy_with_ids(tokenizer: Any, policy: MaskPolicy) -> MaskPolicy:
    """The same policy with ids instead of text in `ignore_between` and `ignore_sequences`, for `mask_labels`; collators do this themselves.

    The ids of a text depend on the text next to it, so each becomes several alternatives: see `ids_in_context`.

    Args:
        tokenizer: a transformers tokenizer or processor.
        policy: a policy; it is returned as it is if it has no text.

    Raises:
        ChatFormatError: as in `ids_in_context`.

    >>> from transformers import ByT5Tokenizer
    >>> policy_with_ids(ByT5Tokenizer(), MaskPolicy(ignore_between=[("[[", "]]")])).ignore_between
    ((((94, 94),), ((96, 96),)),)
    """
    if not policy._texts():
        return policy

    def ids(markers: Iterable[Any]) -> list[MarkerIds]:
        found = [ids_in_context(tokenizer, marker) if isinstance(marker, str) else (marker,) for marker in markers]
        return [marker for alternatives in found for marker in alternatives]

    pairs: Any = policy.ignore_between
    return replace(
        policy,
        ignore_between=[(ids(opening), ids(closing)) for opening, closing in pairs],
        ignore_sequences=ids(policy.ignore_sequences),
    )


def role_texts(role: str, marker: MarkerText) -> tuple[str, list[str]]:
    """Check one role's argument and split it into (start, ends)."""
    parts: Any = (marker, ()) if isinstance(marker, str) else marker
    start, ends = parts if isinstance(parts, tuple) and len(parts) == 2 else (None, ())
    ends = list(ends) if isinstance(ends, (list, tuple)) else [ends]
    if not all(isinstance(text, str) for text in (start, *ends)):
        raise TypeError(f"role {role!r}: expected a start, (start, end) or (start, [end, ...]) as text, got {marker!r}.")
    if not all((start, *ends)):
        raise ChatFormatError(
            f"role {role!r}: an empty marker in {marker!r}; if turns end at the next start, pass only the start."
        )
    return str(start), ends


def check_ends(texts: dict[str, tuple[str, list[str]]]) -> None:
    """Raise unless each role has an end: a start that must follow one would never be found after a role without."""
    for role, (start, ends) in texts.items():
        if not ends:
            raise ChatFormatError(
                f"role {role!r}: has no end, so that no start after its turns can be anchored; pass ({start!r}, end), or write "
                "RoleBoundary(..., anchored=True) for the roles whose turns follow an end."
            )


def neighbours(tokenizer: Any, starts: Sequence[str], ends: Sequence[str]) -> tuple[list[str], list[str]]:
    """Texts to put to the left and right of a marker: edges of contents, the ends of the text, and the other markers."""
    special = bos_and_eos(tokenizer)
    lefts = [*("", *EDGES), *(end + gap for end in (*special, *ends) for gap in ("", *GAPS)), *starts]
    rights = [*("", *EDGES), *special, *(gap + start for start in starts for gap in ("", *GAPS)), *ends]
    return list(dict.fromkeys(lefts)), list(dict.fromkeys(rights))


def in_context(tokenizer: Any, name: str, marker: str, lefts: Sequence[str], rights: Sequence[str]) -> dict[MarkerIds, str]:
    """All alternatives of one marker, with the text that each spells."""
    pairs = dict.fromkeys(
        [
            *((a, b) for a in lefts for b in PLAIN),
            *((a, b) for a in PLAIN for b in rights),
            *((" ", b) for b in merging(tokenizer, marker)),
        ]
    )
    found = alternatives(tokenizer, [PlacedMarker(a + marker + b, len(a), len(a) + len(marker)) for a, b in pairs])
    if not found:
        raise ChatFormatError(
            f"{name}: the tokens of {marker!r} merge with the text next to it in every context; use a longer marker, "
            "or pass token ids: RoleBoundary(role, start=[...], end=[...])."
        )
    return found
