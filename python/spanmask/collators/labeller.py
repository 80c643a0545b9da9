"""`ChatLabeller`: chat rows -> token ids with labels, not a batch. For Arrow tables, and for collators that change tokens with labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.collators.chat import DataCollatorForChat
from spanmask.ragged import Ragged
from spanmask.token_columns import RealRows

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

    def padded(self, read: RealRows, ignore_index: int) -> tuple[Ragged, Ragged | None]:
        """The labels and weights at the places that their tokens have in the rows that were labelled.

        Labels of padding and of what `max_length` cut off are `ignore_index`, their weights 0. `read`: all rows, with their padding.
        """
        kept = slice(None) if self.kept is None else self.kept
        starts = (read.real.starts - read.rows.offsets[:-1])[kept]
        offsets = np.append(0, np.cumsum(np.diff(read.rows.offsets)[kept]))
        own = self.labels.offsets
        places = np.repeat(offsets[:-1] + starts - own[:-1], np.diff(own)) + np.arange(own[-1])

        def placed(values: npt.NDArray[Any], padding: int) -> Ragged:
            padded = np.full(offsets[-1], padding, values.dtype)
            padded[places] = values
            return Ragged._unchecked(padded, offsets)

        weights = None if self.weights is None else placed(self.weights.values, 0)
        return placed(self.labels.values, ignore_index), weights


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
