"""Where token sequences occur, spelled out. Twin of `search/`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["find_all"]


def find_all(row: Sequence[int], sequences: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    """Every match as (position, number of the sequence), by position, longest first; overlapping matches too.

    >>> find_all([5, 6, 5], [[5], [5, 6]])
    [(0, 1), (0, 0), (2, 0)]
    """
    longest_first = sorted(range(len(sequences)), key=lambda number: -len(sequences[number]))
    found = []
    for position in range(len(row)):
        for number in longest_first:
            sequence = list(sequences[number])
            if sequence and list(row[position : position + len(sequence)]) == sequence:
                found.append((position, number))
    return found
