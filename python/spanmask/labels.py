"""`mask_labels`: labels for chat rows. The core (`labels/`) decides which tokens train; this file checks, calls and wraps."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._validate import check_ignore_index, check_threads
from spanmask.chat.format import ChatFormat
from spanmask.policy import DEFAULT_POLICY, MaskPolicy
from spanmask.ragged import RowsView
from spanmask.report import MaskReport, RowOutcomes
from spanmask.turns import Turns, check_products, turn_columns

__all__ = ["MaskedLabels", "mask_labels"]


class MaskedLabels:
    """What `mask_labels` returns.

    Attributes:
        labels: int64, the ids where loss is wanted and `ignore_index` elsewhere; `Ragged`, or the kind and shape of a 2-D input.
        weights: loss weights aligned with `labels`, float32, 0 where no loss is wanted; `None` if all tokens have the same weight.
        rows: int64, the numbers of the rows that `labels` holds: all of them, unless `on_untrained_row="drop"` left some out.
        report: a `MaskReport`.
    """

    def __init__(self, labels: Any, weights: Any, outcomes: RowOutcomes, kept: npt.NDArray[np.int64] | None) -> None:
        self.labels = labels
        self.weights = weights
        self._outcomes = outcomes
        self._kept = kept

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows that `labels` holds."""
        return np.arange(len(self._outcomes.outcomes)) if self._kept is None else self._kept

    @cached_property
    def report(self) -> MaskReport:
        """The counts of this call, with a reason for each row without trained tokens."""
        return self._outcomes.report

    def __getstate__(self) -> dict[str, Any]:
        return {"labels": self.labels, "weights": self.weights, "rows": self.rows, "report": self.report}

    def __repr__(self) -> str:
        return f"MaskedLabels(labels={self.labels!r}, weights={self.weights!r}, rows={self.rows!r}, report={self.report!r})"


def mask_labels(
    rows: Any,
    chat_format_or_turns: ChatFormat | Turns,
    policy: MaskPolicy | None = None,
    *,
    attention_mask: Any = None,
    labels: Any = None,
    turn_mask: Any = None,
    turn_weights: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedLabels:
    """Make labels for chat rows: a token's label is its id if it carries loss.

    Args:
        rows: token ids: anything that `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format_or_turns: a `ChatFormat`, whose turns are searched for in the rows, or the rows' `Turns`.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        attention_mask: only with 2-D rows: nonzero for real tokens, which must be contiguous in a row. Padding is determined from it,
            never from a token id.
        labels: existing labels, aligned with `rows`: where they are `ignore_index`, nothing trains.
        turn_mask: a list of flags for each row, one flag for each turn of a trained role. Extra flags belong to turns that were
            cut off.
        turn_weights: the same with loss weights instead of flags; pass one of the two.
        ignore_index: the label of a token without loss.
        num_threads: threads for bulk work; results do not depend on it.

    Raises:
        ValueError: shapes do not match, a mask has gaps, a row has no trained turn (with `on_no_trained_turn="raise"`) or no trained
            token (with `on_untrained_row="raise"`), or turns do not fit the rows; the message names the row.
        TypeError: the ids are not integers.

    Example:
        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> out = mask_labels([[5, 7, 8, 2, 5, 6, 9, 2], [5, 7, 8]], fmt)
        >>> out.labels.to_list()
        [[-100, -100, -100, -100, -100, -100, 9, 2], [-100, -100, -100]]
        >>> out.report.untrained_rows
        [(1, 'truncated before the answer')]
    """
    policy = DEFAULT_POLICY if policy is None else policy
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    turns: _core.Format | Turns
    if isinstance(chat_format_or_turns, Turns):
        turns = chat_format_or_turns
    elif isinstance(chat_format_or_turns, ChatFormat):
        turns = chat_format_or_turns._compiled
    else:
        raise TypeError(f"chat_format_or_turns: expected a ChatFormat or Turns, got {type(chat_format_or_turns).__name__}.")
    check_threads(num_threads)
    view = RowsView(rows, attention_mask)
    if isinstance(turns, Turns):
        turns._check_rows(view)
    by_turn = turn_columns(turn_mask, turn_weights)
    check_products(by_turn, policy.role_weights)
    masked = _core.mask_labels(
        view.rows,
        turns=turns,
        policy=policy._compile(chat_format_or_turns.roles, chat_format_or_turns.ignore_ids),
        labels=None if labels is None else view.aligned(labels, "labels"),
        turn_mask=by_turn.turn_mask,
        turn_weights=by_turn.turn_weights,
        ignore_index=check_ignore_index("ignore_index", ignore_index),
        weighted=policy.weighted or by_turn.turn_weights is not None,
        num_threads=num_threads,
    )
    outcomes = RowOutcomes(masked.counts, masked.outcomes, chat_format_or_turns.roles)
    kept = outcomes.kept_rows(policy)
    weights = None if masked.weights is None else view.wrap(masked.weights, kept)
    return MaskedLabels(view.wrap(masked.labels, kept), weights, outcomes, kept)
