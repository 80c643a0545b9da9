"""`ChatLabeller`: chat rows -> token ids with labels, not yet a batch. For collators that change the tokens that carry loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spanmask import _core
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.collators.chat import DataCollatorForChat
from spanmask.ragged import Ragged

__all__ = ["ChatLabeller", "LabelledRows"]


class LabelledRows(NamedTuple):
    """Rows without padding, cut to `max_length`.

    Attributes:
        input_ids, labels: int64.
        weights: float32 loss weights; `None`: all tokens weigh the same.
        kept: the rows that were kept; `None`: all.
    """

    input_ids: Ragged
    labels: Ragged
    weights: Ragged | None
    kept: Kept


class ChatLabeller(DataCollatorForChat):
    """The chat collator up to the labels: it takes the same columns and options, and counts, warns and raises as that does."""

    def label(self, columns: Mapping[str, Any]) -> LabelledRows:
        """The ids and labels of the rows of these columns.

        Raises:
            ValueError, TypeError: as from the chat collator.
        """
        rows = self._rows(columns)
        plan = self._plan(rows, columns)
        kept = self._kept(plan, rows, columns)
        written = plan.write(_core.Layout.packed(self.max_length), padding=0, kept=kept)
        offsets = np.asarray(written.cu_seq_lens, np.int64)

        def ragged(values: Any) -> Ragged:
            return Ragged._unchecked(values.reshape(-1), offsets)

        weights = None if written.weights is None else ragged(written.weights)
        return LabelledRows(ragged(written.input_ids), ragged(written.labels), weights, kept)

    def _plan(self, rows: TokenRows, columns: Mapping[str, Any], skip_first: bool = False) -> _core.LabelPlan:
        return ChatCollator._plan(self, rows, columns)  # rows are not concatenated for a model: a first token may train
