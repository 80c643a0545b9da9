"""The places of known texts in a rendered conversation: `align` finds them between the template's own texts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

__all__ = ["align"]

# How many forms a search with backtracking tries, and how many more for each leaf, before the conversation counts as not aligned.
MOST_STEPS = 10_000
STEPS_OF_LEAF = 100


def align(text: str, gaps: Sequence[str], leaves: Sequence[str], replaced: Sequence[tuple[str, str]] = ()) -> list[int] | None:
    """Where the gaps of a text begin, if the text is `gaps[0] leaves[0] gaps[1] ... gaps[-1]`; `None` if it is not.

    Templates may strip whitespace around a leaf, or write it as JSON or in Python's notation. `replaced`: pairs of texts, of which they
    may write the second in place of the first.

    >>> align("<u>Hi </u><a>yo</a>", ["<u>", "</u><a>", "</a>"], ["Hi ", " yo"])
    [0, 6, 15]
    """
    starts, at = [], 0
    for gap, leaf in zip(gaps, leaves, strict=False):  # the usual case: every leaf is written as it is
        if not text.startswith(gap, at):
            return align_forms(text, gaps, leaves, replaced)
        starts.append(at)
        at += len(gap)
        if not text.startswith(leaf, at):
            return align_forms(text, gaps, leaves, replaced)
        at += len(leaf)
    if text.startswith(gaps[-1], at) and at + len(gaps[-1]) == len(text):
        return [*starts, at]
    return align_forms(text, gaps, leaves, replaced)


def align_forms(text: str, gaps: Sequence[str], leaves: Sequence[str], replaced: Sequence[tuple[str, str]]) -> list[int] | None:
    """As `align`, with all forms of each leaf, and backtracking."""
    starts = [0]
    tries: list[Iterator[str]] = []
    # Python quotes a text with an apostrophe by other marks than the leaf's mark in the twin.
    requoted = [False, *(repr(leaf)[0] == '"' for leaf in leaves), False]

    def is_gap(number: int, at: int) -> bool:
        """Whether a gap of the skeleton is here."""
        gap = gaps[number]
        if text.startswith(gap, at):
            return True
        found = text[at : at + len(gap)]
        if requoted[number] and gap[:1] == "'" and found[:1] == '"':
            found = "'" + found[1:]
        if requoted[number + 1] and gap[-1:] == "'" and found[-1:] == '"':
            found = found[:-1] + "'"
        return found == gap

    if not is_gap(0, 0):
        return None
    steps, most = 0, MOST_STEPS + STEPS_OF_LEAF * len(leaves)
    while len(starts) <= len(leaves):
        number = len(starts) - 1
        if len(tries) == number:
            tries.append(forms(leaves[number], replaced))
        at = starts[-1] + len(gaps[number])
        is_last = number + 1 == len(leaves)
        for form in tries[-1]:
            steps += 1
            after = at + len(form)
            fits = text.startswith(form, at) and is_gap(number + 1, after)
            if fits and (not is_last or after + len(gaps[-1]) == len(text)):
                starts.append(after)
                break
        else:
            tries.pop()
            starts.pop()
            if not starts:
                return None
        if steps > most:
            return None
    return starts if starts[-1] + len(gaps[-1]) == len(text) else None


def forms(leaf: str, replaced: Sequence[tuple[str, str]] = ()) -> Iterator[str]:
    """The distinct forms in which templates write a text."""
    seen: dict[str, None] = {}
    for some in rewritten(leaf, replaced):
        for form in forms_as_is(some):
            if form not in seen:
                seen[form] = None
                yield form


def rewritten(leaf: str, replaced: Sequence[tuple[str, str]]) -> Iterator[str]:
    """A text as it is, with all replacements of a template in order, and with each alone."""
    yield leaf
    occurring = [(old, new) for old, new in replaced if old in leaf]
    every = leaf
    for old, new in replaced if occurring else ():
        every = every.replace(old, new)
    yield every
    for old, new in occurring:
        yield leaf.replace(old, new)


def forms_as_is(leaf: str) -> Iterator[str]:
    """The forms of a text that is not rewritten."""
    stripped = leaf.strip()
    left, right = leaf.lstrip(), leaf.rstrip()
    # The last two: a content that is trimmed, then split at a tag, and line breaks next to the tag are stripped (Qwen 3.5).
    seen = dict.fromkeys(
        (
            leaf,
            stripped,
            leaf.strip("\n"),
            right,
            left,
            leaf.lstrip("\n"),
            leaf.rstrip("\n"),
            right.lstrip("\n"),
            left.rstrip("\n"),
        )
    )
    yield from seen
    for some in dict.fromkeys((leaf, stripped)):
        quoted = json.dumps(some)[1:-1]
        unicode = json.dumps(some, ensure_ascii=False)[1:-1]
        apostrophes = some.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n").replace("\r", "\\r")
        for form in (quoted, unicode, json.dumps(unicode, ensure_ascii=False)[1:-1], repr(some)[1:-1], apostrophes):
            if form not in seen:
                seen[form] = None
                yield form
