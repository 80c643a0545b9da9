"""Which tokens are hidden or chosen together. Twin of `noise/words.rs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["expand", "words_of"]

Span = tuple[int, int]


def words_of(
    row: Sequence[int],
    word_ids: Sequence[int | None] | None = None,
    word_starts: Sequence[bool] | None = None,
    continuation_ids: Collection[int] | None = None,
    word_end_ids: Collection[int] = (),
) -> list[Span]:
    """The words of a row, or its tokens if no argument says what a word is. After a token of `word_end_ids` a word begins, even with one
    of `continuation_ids`.

    >>> words_of([5, 6, 7, 8], word_ids=[0, 0, None, 1])
    [(0, 2), (2, 3), (3, 4)]
    >>> words_of([5, 6, 7, 8], word_starts=[True, False, True, True])
    [(0, 2), (2, 3), (3, 4)]
    >>> words_of([5, 6, 7, 8], continuation_ids=[6])
    [(0, 2), (2, 3), (3, 4)]
    >>> words_of([5, 6, 7, 8], continuation_ids=[6, 7], word_end_ids=[6])
    [(0, 2), (2, 3), (3, 4)]
    """

    def begins(at: int) -> bool:
        if word_ids is not None:
            return word_ids[at] != word_ids[at - 1]
        if word_starts is not None:
            return bool(word_starts[at])
        return continuation_ids is None or row[at] not in continuation_ids or row[at - 1] in word_end_ids

    starts = [at for at in range(len(row)) if at == 0 or begins(at)]
    return list(zip(starts, [*starts[1:], len(row)], strict=False))


def expand(units: Sequence[Span], spans: Sequence[Span]) -> list[Span]:
    """Spans of units -> spans of tokens; adjacent units of one span are joined."""
    expanded: list[Span] = []
    for start, stop in spans:
        for unit in units[start:stop]:
            if expanded and expanded[-1][1] == unit[0]:
                expanded[-1] = (expanded[-1][0], unit[1])
            else:
                expanded.append(unit)
    return expanded
