"""`mask_labels`: labels for chat rows. Which tokens train is decided in `labels/mod.rs`; this file checks, calls and wraps."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import check_ignore_index, check_threads
from spanmask.chat.format import ChatFormat
from spanmask.policy import DEFAULT_POLICY, MaskPolicy
from spanmask.ragged import Bounds, Layout, RowsView, TurnColumn, turn_columns
from spanmask.report import MaskReport, Tally

__all__ = ["MaskedLabels", "mask_labels"]


class MaskedLabels:
    """What `mask_labels` returns.

    Attributes:
        labels: int64, the ids where loss is wanted and `ignore_index` elsewhere; `Ragged`, or the kind and shape of a 2-D input.
        weights: loss weights aligned with `labels`, float32, 0 where no loss is wanted; `None` where all tokens weigh the same.
        rows: int64, the numbers of the rows that `labels` holds: all of them, unless `on_untrained_row="drop"` left some out.
        report: a `MaskReport`.
    """

    def __init__(self, labels: Any, weights: Any, tally: Tally, kept: npt.NDArray[np.int64] | None) -> None:
        self.labels = labels
        self.weights = weights
        self._tally = tally
        self._kept = kept

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows that `labels` holds."""
        return np.arange(len(self._tally.outcomes)) if self._kept is None else self._kept

    @cached_property
    def report(self) -> MaskReport:
        """What masking did."""
        return self._tally.report

    def __repr__(self) -> str:
        return f"MaskedLabels(labels={self.labels!r}, weights={self.weights!r}, rows={self.rows!r}, report={self.report!r})"


def mask_labels(
    rows: Any,
    chat_format: ChatFormat,
    policy: MaskPolicy | None = None,
    *,
    attention_mask: Any = None,
    labels: Any = None,
    turn_mask: Any = None,
    turn_weights: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedLabels:
    """Labels for chat rows: a token keeps its id where it carries loss.

    Args:
        rows: token ids: whatever `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format: how turns open and close.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        attention_mask: with 2-D rows: nonzero for real tokens, which must stand together in a row. Padding is never told by an id.
        labels: existing labels, aligned with `rows`: where they are `ignore_index` nothing trains.
        turn_mask: a row of flags for each row, one flag for each turn of a trained role. Flags left over belong to turns that were
            cut off.
        turn_weights: the same with loss weights instead of flags; give one of the two.
        ignore_index: the label of a token without loss.
        num_threads: threads for bulk work; results do not depend on it.

    Raises:
        ValueError: shapes that do not fit, a mask with holes, no trained turn under `on_no_trained_turn="raise"`, no trained token
            under `on_untrained_row="raise"`; the message names the row.
        TypeError: ids that are not integers.

    Example:
        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> out = mask_labels([[5, 7, 8, 2, 5, 6, 9, 2], [5, 7, 8]], fmt)
        >>> out.labels.to_list()
        [[-100, -100, -100, -100, -100, -100, 9, 2], [-100, -100, -100]]
        >>> out.report.untrained_rows
        [(1, 'truncated before the answer')]
    """
    policy = DEFAULT_POLICY if policy is None else policy
    view = RowsView(rows, attention_mask)
    flat, weights, tally = mask_rows(
        view.values,
        view.bounds,
        view.layout,
        chat_format,
        policy,
        labels=None if labels is None else view.aligned(labels, "labels"),
        turn_weights=turn_columns(turn_mask, turn_weights),
        ignore_index=ignore_index,
        num_threads=num_threads,
    )
    kept = tally.kept_rows(policy)
    return MaskedLabels(view.wrap(flat, kept), None if weights is None else view.wrap(weights, kept), tally, kept)


def mask_rows(
    values: npt.NDArray[Any],
    bounds: Bounds,
    layout: Layout,
    chat_format: ChatFormat,
    policy: MaskPolicy,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    turn_weights: tuple[TurnColumn, bool] | None = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32] | None, Tally]:
    """Labels and loss weights of rows anywhere in `values`, written flat in `layout`; what `mask_labels` and the collators share.

    `labels` are existing ones, aligned with `values`; `turn_weights` is what `turn_columns` makes.
    """
    if not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    check_threads(num_threads)
    check_ignore_index("ignore_index", ignore_index)
    starts, stops = bounds
    column, fractional = turn_weights or (None, False)
    out, weights, outcomes, counts = _core.mask_labels(
        values,
        starts,
        stops,
        chat_format._compiled,
        policy.compile(chat_format.roles, chat_format.ignore_ids),
        layout,
        labels=None if labels is None else (labels, starts, stops),
        turn_weights=column,
        ignore_index=ignore_index,
        weighted=policy.weighted or fractional,
        num_threads=num_threads,
    )
    return out, weights, Tally(counts, outcomes, chat_format.roles)
