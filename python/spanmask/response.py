"""`response_mask`: which tokens of a rollout the model wrote, for stacks that pass token ids on as they are (RL, distillation)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from spanmask.chat.format import ChatFormat
from spanmask.labels import mask_labels
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged
from spanmask.turns import Turns

__all__ = ["response_mask"]

# Ids may be negative, -100 among them (LLaVA marks images with -200); none is as low as this.
NO_LABEL = -(2**63)
# A rollout's empty block of reasoning was sampled, unless it is a generation prefill.
RESPONSE_POLICY = MaskPolicy(reasoning="train")


def response_mask(
    rows: Any,
    chat_format_or_turns: ChatFormat | Turns,
    policy: MaskPolicy | None = None,
    *,
    roles: Iterable[str] | str | None = None,
    turns: Literal["all", "last"] | None = None,
    shift: Literal["none", "left"] | None = None,
    attention_mask: Any = None,
    turn_mask: Any = None,
    num_threads: int = 1,
) -> Any:
    """1 for tokens that count as responses, 0 for prompts, tool results, headers and padding.

    The ids are read as they are and never decoded, so that ids which a model sampled, and which no tokenizer would give for their text, are
    masked correctly. The mask is 1 where `mask_labels` with the same policy gives a label.

    Args:
        rows: token ids: anything that `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format_or_turns: a `ChatFormat`, whose turns are searched for in the rows, or the rows' `Turns` (`Turns.from_segments` makes
            them from the lengths that a rollout knows).
        policy: which tokens of a response count; by default the content of the assistant's turns and its closing tokens,
            reasoning included.
        roles, turns, shift: replace these options of the policy. `shift="left"`: an entry is at the position whose logits predict the
            token, so that `mask[:, :-1]` is aligned with `log_softmax(logits[:, :-1])` gathered at `ids[:, 1:]`.
        attention_mask: only with 2-D rows: nonzero for real tokens, which must be contiguous in a row.
        turn_mask: a list of flags for each row, one flag for each turn of these roles.
        num_threads: threads for bulk work; results do not depend on it.

    Returns:
        int64, 0 or 1: a `Ragged`, or the kind and shape of a 2-D input. Rows without a response are all 0.

    Raises:
        ValueError: an option is invalid, the policy drops rows, or an argument does not fit the rows; the message names it.
        TypeError: the ids are not integers.

    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("tool", start=[5, 7], end=[2])])
    >>> ids = np.array([[5, 6, 9, 2, 5, 7, 8, 2, 5, 6, 9, 9, 2, 0]])
    >>> response_mask(ids, fmt).tolist()
    [[0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0]]
    >>> response_mask(ids, fmt, turns="last", shift="left").tolist()
    [[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]]
    """
    policy = RESPONSE_POLICY if policy is None else policy
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    given: dict[str, Any] = {
        name: value for name, value in (("roles", roles), ("turns", turns), ("shift", shift)) if value is not None
    }
    if given:
        policy = replace(policy, **given)
    if policy.on_untrained_row == "drop":
        raise ValueError("policy: on_untrained_row='drop' would leave rows out of the mask; use 'keep' or 'raise'.")
    labels = mask_labels(
        rows,
        chat_format_or_turns,
        policy,
        attention_mask=attention_mask,
        turn_mask=turn_mask,
        ignore_index=NO_LABEL,
        num_threads=num_threads,
    ).labels
    if isinstance(labels, Ragged):
        return Ragged._unchecked((labels.values != NO_LABEL).astype(np.int64), labels.offsets)
    if isinstance(labels, np.ndarray):
        return (labels != NO_LABEL).astype(np.int64)
    return (labels != NO_LABEL).long()
