"""What a batch looks like, spelled out. Twin of `batch.rs` and `labels/batch.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["attention_mask", "cut_turns", "flatten", "pad", "real_tokens", "take", "width_of"]


def width_of(rows: Sequence[Sequence[Any]], max_length: int | None = None, multiple_of: int = 1) -> int:
    """How wide a padded batch is: the longest row after the cut, rounded up to a multiple.

    >>> width_of([[1, 2, 3], [1]], multiple_of=8)
    8
    """
    longest = max((len(cut(row, max_length)) for row in rows), default=0)
    while longest % multiple_of:
        longest += 1
    return longest


def pad(
    rows: Sequence[Sequence[Any]], value: Any, side: str = "right", max_length: int | None = None, multiple_of: int = 1
) -> list[list[Any]]:
    """The rows, each cut to `max_length`, with `value` on one side of the shorter ones.

    >>> pad([[1, 2, 3], [4]], 0, "left")
    [[1, 2, 3], [0, 0, 4]]
    """
    width = width_of(rows, max_length, multiple_of)
    padded = []
    for row in rows:
        kept = cut(row, max_length)
        padding = [value] * (width - len(kept))
        padded.append(kept + padding if side == "right" else padding + kept)
    return padded


def take(rows: Sequence[Sequence[Any]], sources: Sequence[Sequence[int]], padding: Any) -> list[list[Any]]:
    """For each place the value of the token of its row that it stands for, `padding` where it stands for none.

    >>> take([[7, 8, 9], [4]], [[2, 0, 0], [0, -1, -1]], 5)
    [[9, 7, 7], [4, 5, 5]]
    """
    return [[padding if at < 0 else row[at] for at in places] for row, places in zip(rows, sources, strict=True)]


def attention_mask(
    rows: Sequence[Sequence[Any]], side: str = "right", max_length: int | None = None, multiple_of: int = 1
) -> list[list[int]]:
    """1 for each token of the padded rows, 0 for padding.

    >>> attention_mask([[7, 8, 9], [7]])
    [[1, 1, 1], [1, 0, 0]]
    """
    return pad([[1] * len(row) for row in rows], 0, side, max_length, multiple_of)


def flatten(rows: Sequence[Sequence[int]], max_length: int | None = None) -> dict[str, Any]:
    """The rows concatenated, and the columns that separate them.

    >>> flatten([[7, 8], [9]])
    {'input_ids': [7, 8, 9], 'position_ids': [0, 1, 0], 'seq_idx': [0, 0, 1], 'cu_seq_lens': [0, 2, 3], 'max_length': 2}
    """
    kept = [cut(row, max_length) for row in rows]
    edges = [0]
    for row in kept:
        edges.append(edges[-1] + len(row))
    return {
        "input_ids": [token for row in kept for token in row],
        "position_ids": [position for row in kept for position in range(len(row))],
        "seq_idx": [number for number, row in enumerate(kept) for _ in row],
        "cu_seq_lens": edges,
        "max_length": max(map(len, kept), default=0),
    }


def real_tokens(mask: Sequence[Any]) -> tuple[int, int]:
    """Where the real tokens of an attention mask start and stop.

    >>> real_tokens([0, 1, 1, 0])
    (1, 3)
    """
    real = [position for position, entry in enumerate(mask) if entry]
    if not real:
        return len(mask), len(mask)
    start, stop = real[0], real[-1] + 1
    if len(real) != stop - start:
        raise ValueError("the mask has zeros between ones")
    return start, stop


def cut_turns(turns: Sequence[Any], kept: int) -> list[Any]:
    """The turns of a row that is cut to its first `kept` tokens: those that start before the cut, which closes none of them."""
    edges = ("content_start", "content_stop", "stop", "prefill_stop", "reasoning_stop")
    return [
        turn._replace(closed=turn.closed and turn.stop <= kept, **{name: min(getattr(turn, name), kept) for name in edges})
        for turn in turns
        if turn.start < kept
    ]


def cut(row: Sequence[Any], max_length: int | None) -> list[Any]:
    """The first `max_length` entries."""
    return list(row) if max_length is None else list(row)[:max_length]
