"""What is hidden as one, and what may be hidden, spelled out. Twin of `noise/units.rs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

__all__ = ["expand", "units_of"]

Span = tuple[int, int]


def units_of(
    row: Sequence[int],
    protected_ids: Collection[int] = (),
    protected: Sequence[Any] | None = None,
    words: Sequence[Any] | None = None,
    continuation_ids: Collection[int] | None = None,
) -> list[Span]:
    """The tokens, or words, of a row that may be hidden.

    `words`: bools that flag first tokens, or numbers (negative or `None`: no word).

    >>> units_of([5, 6, 7, 8], protected_ids=[8], words=[True, False, True, True])
    [(0, 2), (2, 3)]
    """
    flags = words is not None and any(isinstance(word, bool) for word in words)
    groups: list[list[int]] = []
    for at, token in enumerate(row):
        if words is None:
            goes_on = continuation_ids is not None and token in continuation_ids
        elif flags:
            goes_on = not words[at]
        else:
            goes_on = at > 0 and words[at] == words[at - 1]
        if goes_on and at > 0:
            groups[-1].append(at)
        else:
            groups.append([at])

    def free(at: int) -> bool:
        no_word = words is not None and not flags and (words[at] is None or words[at] < 0)
        return not (row[at] in protected_ids or no_word or (protected is not None and protected[at]))

    return [(group[0], group[-1] + 1) for group in groups if all(map(free, group))]


def expand(units: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Spans of units -> spans of tokens; units join where they touch."""
    expanded: list[Span] = []
    for start, stop in spans:
        for unit in units[start:stop]:
            if expanded and expanded[-1][1] == unit[0]:
                expanded[-1] = (expanded[-1][0], unit[1])
            else:
                expanded.append(unit)
    return expanded
