"""What may be hidden. Twin of `noise/rules.rs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from spanmask.reference.words import words_of

__all__ = ["units_of"]

Span = tuple[int, int]


def units_of(
    row: Sequence[int],
    protected_ids: Collection[int] = (),
    protected_mask: Sequence[bool] | None = None,
    word_ids: Sequence[int | None] | None = None,
    word_starts: Sequence[bool] | None = None,
    continuation_ids: Collection[int] | None = None,
    leading_ids: Collection[int] = (),
    word_end_ids: Collection[int] = (),
) -> list[Span]:
    """The tokens, or words, of a row that may be hidden: those without a protected token. A first token is protected by `leading_ids`.

    >>> units_of([5, 6, 7, 8], protected_ids=[8], word_starts=[True, False, True, True])
    [(0, 2), (2, 3)]
    """

    def protected(at: int) -> bool:
        if row[at] in protected_ids or (protected_mask is not None and protected_mask[at]):
            return True
        if at == 0 and row[at] in leading_ids:
            return True
        number = 0 if word_ids is None else word_ids[at]
        return number is None or number < 0

    words = words_of(row, word_ids, word_starts, continuation_ids, word_end_ids)
    return [(start, stop) for start, stop in words if not any(map(protected, range(start, stop)))]
