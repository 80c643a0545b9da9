"""Which tokens carry loss, spelled out. Twin of `labels/`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.reference.batch import cut, cut_turns
from spanmask.reference.turns import find_turns, longest

__all__ = ["mask_labels", "mask_weights"]


def mask_labels(
    row: Sequence[int],
    chat_format: Any,
    policy: Any,
    *,
    labels: Sequence[int] | None = None,
    turn_weights: Sequence[float] | None = None,
    ignore_index: int = -100,
    max_length: int | None = None,
) -> list[int]:
    """Labels of one row: its ids where loss is wanted, `ignore_index` elsewhere.

    `row`: ids without padding; `chat_format`: a `ChatFormat`; `policy`: a `MaskPolicy`; `labels`: existing labels, intersected;
    `turn_weights`: a weight (or a flag) for each turn of a trained role; `max_length`: the row is cut to so many tokens after its turns
    are found.

    >>> from spanmask import ChatFormat, MaskPolicy, RoleBoundary
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> mask_labels([5, 7, 8, 2, 5, 6, 9, 2], fmt, MaskPolicy())
    [-100, -100, -100, -100, -100, -100, 9, 2]
    """
    kept = list(row if labels is None else labels)
    weights = token_weights(list(row), chat_format, policy, turn_weights, max_length)
    kept = kept[: len(weights)]
    masked = [label if weight else ignore_index for label, weight in zip(kept, weights, strict=True)]
    return masked if policy.shift == "none" else [*masked[1:], ignore_index][: len(masked)]


def mask_weights(
    row: Sequence[int],
    chat_format: Any,
    policy: Any,
    *,
    labels: Sequence[int] | None = None,
    turn_weights: Sequence[float] | None = None,
    ignore_index: int = -100,
    max_length: int | None = None,
) -> list[float]:
    """The loss weights of the same tokens: 0 where no loss is wanted."""
    kept = list(row if labels is None else labels)
    weights = token_weights(list(row), chat_format, policy, turn_weights, max_length)
    kept = kept[: len(weights)]
    weights = [0.0 if label == ignore_index else weight for label, weight in zip(kept, weights, strict=True)]
    return weights if policy.shift == "none" else [*weights[1:], 0.0][: len(weights)]


def token_weights(
    row: list[int], chat_format: Any, policy: Any, turn_weights: Sequence[float] | None, max_length: int | None
) -> list[float]:
    """The loss weight of each token that is kept, before existing labels and the shift.

    Whether there is a turn of a trained role, and which is the last one, is decided before the cut.
    """
    turns = find_turns(row, chat_format)
    length = len(cut(row, max_length))
    candidates = [turn for turn in turns if chat_format.roles[turn.role] in policy.roles]
    if not candidates and policy.on_no_trained_turn == "raise":
        raise ValueError("no turn of a trained role")
    # None: no trained turn decides about the token.
    weights: list[float | None] = [None] * length
    if not candidates and policy.on_no_trained_turn == "keep":
        weights = [1.0] * length

    if policy.train_on_eos == "all":
        for turn in cut_turns(turns, length) if length < len(row) else turns:
            if turn.include_end and chat_format.roles[turn.role] not in policy.roles:
                fill(weights, turn.content_stop, turn.stop, 1.0)
    for number, turn in enumerate(cut_turns(candidates, length) if length < len(row) else candidates):
        is_last = number == len(candidates) - 1
        weight = dict(policy.role_weights).get(chat_format.roles[turn.role], 1.0)
        if turn_weights is not None:
            weight *= turn_weights[number]
        trains = (policy.turns == "all" or is_last) and (policy.truncated_turn == "train" or turn.closed)
        if trains and (policy.include_start or turn.include_start):
            fill(weights, turn.start, turn.content_start, weight)
        if trains:
            start = turn.content_start if policy.train_generation_prefill else turn.prefill_stop
            fill(weights, start, turn.content_stop, weight)
        if policy.train_on_eos == "all" and not trains:
            weight = 1.0
        elif policy.train_on_eos == "none" or not trains or (policy.train_on_eos == "last" and not is_last):
            continue
        if turn.include_end:
            stops = turn.stop < length and row[turn.stop] in chat_format.stop_token_ids
            fill(weights, turn.content_stop, turn.stop + stops, weight)

    filled = [policy.prompt_weight if weight is None else weight for weight in weights]
    never = ignored(row, turns, chat_format, policy)
    return [0.0 if position in never else weight for position, weight in enumerate(filled)]


def fill(weights: list[float | None], start: int, stop: int, weight: float) -> None:
    """Give `weight` to those positions of [start, stop) that have none yet."""
    for position in range(start, stop):
        if weights[position] is None:
            weights[position] = weight


def ignored(row: list[int], turns: Any, chat_format: Any, policy: Any) -> set[int]:
    """The positions that never train."""
    never = {position for position, token in enumerate(row) if token in policy.ignore_ids or token in chat_format.ignore_ids}
    position = 0
    while position < len(row):
        length = longest(row, position, policy.ignore_sequences)
        never.update(range(position, position + length))
        position += max(length, 1)
    for turn in turns:
        if policy.reasoning == "ignore" or (policy.reasoning == "ignore_empty" and turn.empty_reasoning):
            never.update(range(turn.content_start, turn.reasoning_stop))
    contents = [(turn.content_start, turn.content_stop) for turn in turns] or [(0, len(row))]
    for start, stop in contents:
        never.update(between(row[:stop], start, policy))
    return never


def between(row: list[int], position: int, policy: Any) -> set[int]:
    """The positions between the markers of `policy.ignore_between`, from `position` to the end of `row`."""
    found: set[int] = set()
    keep = policy.train_between_markers
    while position < len(row):
        pairs = [(longest(row, position, opens), -number) for number, (opens, _) in enumerate(policy.ignore_between)]
        length, number = max(pairs, default=(0, 0))
        if not length:
            position += 1
            continue
        closes = policy.ignore_between[-number][1]
        inside = close = position + length
        while close < len(row) and not longest(row, close, closes):
            close += 1
        stop = close + longest(row, close, closes)
        found.update(range(inside, close) if keep else range(position, stop))
        position = stop
    return found
