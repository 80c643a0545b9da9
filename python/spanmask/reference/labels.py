"""Which tokens carry loss, spelled out. Twin of `labels.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.reference.turns import find_turns

__all__ = ["mask_labels"]


def mask_labels(
    row: Sequence[int],
    chat_format: Any,
    policy: Any,
    *,
    labels: Sequence[int] | None = None,
    turn_mask: Sequence[bool] | None = None,
    ignore_index: int = -100,
) -> list[int]:
    """Labels of one row: its ids where loss is wanted, `ignore_index` elsewhere.

    `row`: ids without padding; `chat_format`: a `ChatFormat`; `policy`: a `MaskPolicy`; `labels`: existing labels, intersected;
    `turn_mask`: a flag for each turn of a trained role.

    >>> from spanmask import ChatFormat, MaskPolicy, RoleBoundary
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> mask_labels([5, 7, 8, 2, 5, 6, 9, 2], fmt, MaskPolicy())
    [-100, -100, -100, -100, -100, -100, 9, 2]
    """
    row = list(row)
    turns = find_turns(row, chat_format)
    candidates = [turn for turn in turns if chat_format.roles[turn.role] in policy.roles]
    train = [False] * len(row)
    if not candidates and policy.on_missing == "raise":
        raise ValueError("no turn of a trained role")
    if not candidates and policy.on_missing == "keep":
        train = [True] * len(row)

    for number, turn in enumerate(candidates):
        is_last = turn is candidates[-1]
        if turn_mask is not None and not turn_mask[number]:
            continue
        if policy.turns == "last" and not is_last:
            continue
        if policy.open_turn == "drop" and not turn.closed:
            continue
        if policy.include_start or turn.include_start:
            mark(train, turn.start, turn.content_start)
        mark(train, turn.content_start, turn.content_stop)
        if policy.train_on_eos == "turn" or (policy.train_on_eos == "last" and is_last):
            mark_end(train, turn)
    if policy.train_on_eos == "all":
        for turn in turns:
            mark_end(train, turn)

    never = {*policy.ignore_ids, *chat_format.ignore_ids}
    kept = labels if labels is not None else row
    return [
        label if wanted and token not in never else ignore_index for token, label, wanted in zip(row, kept, train, strict=True)
    ]


def mark(train: list[bool], start: int, stop: int) -> None:
    """Set the flags of the half-open span [start, stop)."""
    train[start:stop] = [True] * (stop - start)


def mark_end(train: list[bool], turn: Any) -> None:
    """Set the flags of a turn's closing tokens, where its boundary lets them train."""
    if turn.include_end:
        mark(train, turn.content_stop, turn.stop)
