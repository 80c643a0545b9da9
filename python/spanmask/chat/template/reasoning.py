"""What opens and closes the reasoning of a turn, and the block that a template writes where there is none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spanmask.chat.template.alignment import Gap, before_hole
from spanmask.chat.template.gaps import MarkerTexts, common_prefix, scan_text
from spanmask.chat.template.shapes import ASSISTANT, THOUGHT, role_of
from spanmask.chat.tokens import AddedTokens

__all__ = ["ReasoningTexts", "find_reasoning"]

# A pair of tags without reasoning, in templates that take no reasoning but write the pair.
PAIR = r"(\s*[<\[][^<>\[\]\s/]*(?:think|thought|reason)[^<>\[\]\s]*[>\]])(\s*[<\[]/[^<>\[\]\s]*[>\]]\s*)"


class ReasoningTexts(NamedTuple):
    """Reasoning as text: each a list of alternatives."""

    openings: Sequence[str] = ()
    closings: Sequence[str] = ()
    empty: Sequence[str] = ()


def find_reasoning(markers: MarkerTexts, gaps: Iterable[Gap], added: AddedTokens) -> ReasoningTexts:
    """The texts around reasoning, as the gaps show them.

    Nothing if the reasoning has no text of its own around it, or if plain answers open like reasoning and do not close it.
    """
    gaps = list(gaps)
    heads = {gap: head for gap in gaps if (head := head_of(gap, markers)) is not None}
    openings = {before_hole(head) for gap, head in heads.items() if gap.after == THOUGHT}
    closing = before_hole(common_prefix({gap.text for gap in gaps if gap.before == THOUGHT}, added))
    plain = {head for gap, head in heads.items() if gap.after == ASSISTANT and gap.before != THOUGHT}
    if not openings:
        pairs = [match for head in plain if (match := re.fullmatch(PAIR, head, re.IGNORECASE))]
        openings, closings = {match[1] for match in pairs}, {match[2] for match in pairs}
    else:
        closings = {closing}
    if not openings or not all(text.strip() for text in (*openings, *closings)):
        return ReasoningTexts()
    empty = set()
    for head in plain:
        for opening in openings:
            if head.lstrip().startswith(opening.strip()):
                block = empty_block(head, opening, closings)
                if block is None:
                    return ReasoningTexts()
                empty.add(block)
    return ReasoningTexts(variants(openings), variants(closings), sorted(empty))


def head_of(gap: Gap, markers: MarkerTexts) -> str | None:
    """What follows the header in a gap that opens the assistant's turn."""
    opened, state = scan_text(gap.text, role_of(gap.before), markers)
    if state != ASSISTANT or not opened or role_of(gap.after) != ASSISTANT:
        return None
    return gap.text[opened[-1].at + len(opened[-1].start) :]


def empty_block(head: str, opening: str, closings: Iterable[str]) -> str | None:
    """The block without reasoning with which a turn begins; None if the reasoning is not closed."""
    inside = head[head.index(opening.strip()) + len(opening.strip()) :]
    for closing in closings:
        if inside.lstrip().startswith(closing.strip()):
            rest = inside.lstrip()[len(closing.strip()) :]
            return head[: len(head) - len(rest.lstrip())]
    return None


def variants(texts: Iterable[str]) -> list[str]:
    """Each text as the template writes it, and without the blanks around it, as contents may have it."""
    return sorted({variant for text in texts for variant in (text, text.strip())}, key=lambda text: (-len(text), text))
