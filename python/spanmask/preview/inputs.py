"""What users pass to `preview`, as one array per row and column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.labels import MaskedLabels
from spanmask.preview.pick import ranks_of
from spanmask.ragged import as_rows, check_row_count, check_row_length, to_numpy

__all__ = ["PreviewInputs"]

Rows = list[npt.NDArray[Any]]


@dataclass(eq=False, repr=False)
class PreviewInputs:
    """The columns of all rows. They have the same number of rows; lengths are checked when a row is requested.

    Attributes:
        ids: the token ids, padding included.
        labels: aligned with the ids, or the targets of a decoder.
        attention_mask: 0 for padding; `None`: there is none.
        weights: loss weights aligned with the labels; `None`: all tokens weigh the same.
        decoder_inputs: the rows come with the inputs of a decoder, so that labels are its targets.
    """

    ids: Rows
    labels: Rows
    attention_mask: Rows | None = None
    weights: Rows | None = None
    decoder_inputs: bool = False

    @classmethod
    def read(cls, rows: Any, labels: Any, attention_mask: Any, weights: Any) -> PreviewInputs:
        """Read the arguments of `preview`. A batch supplies the columns that are not passed as separate arguments.

        Raises:
            TypeError: there are no ids or no labels, or entries are not integers.
            ValueError: columns have different numbers of rows, or rows are not 1-D.
        """
        if is_result(rows):
            labels = rows.labels if labels is None else labels
            weights = getattr(rows, "weights", None) if weights is None else weights
            rows = rows.input_ids
        decoder_inputs = isinstance(rows, Mapping) and rows.get("decoder_input_ids") is not None
        if isinstance(rows, Mapping):
            batch: Mapping[str, Any] = rows
            if "input_ids" not in batch:
                raise TypeError(f"rows: the batch has no 'input_ids', only {', '.join(map(repr, batch)) or 'nothing'}.")
            rows = batch["input_ids"]
            labels = batch.get("labels") if labels is None else labels
            weights = batch.get("loss_weights") if weights is None else weights
            attention_mask = batch.get("attention_mask") if attention_mask is None else attention_mask
            if "cu_seq_lens_q" in batch:  # a padding-free batch
                offsets = as_rows(batch["cu_seq_lens_q"], "cu_seq_lens_q")[0]
                rows, labels, weights = (
                    None if column is None else split_concatenated(column, name, offsets)
                    for name, column in (("rows", rows), ("labels", labels), ("weights", weights))
                )
        if labels is None:
            raise TypeError("labels: None; pass the rows' labels, or a batch that has 'labels'.")
        if isinstance(labels, MaskedLabels):
            labels, weights = labels.labels, labels.weights if weights is None else weights
        inputs = cls(
            as_rows(rows, "rows"),
            [row.astype(np.int64, copy=False) for row in as_rows(labels, "labels")],  # `ignore_index` must fit
            None if attention_mask is None else as_rows(attention_mask, "attention_mask"),
            None if weights is None else as_rows(weights, "weights", integers=False),
            decoder_inputs,
        )
        for number, row in enumerate(inputs.weights or ()):
            wrong = np.flatnonzero(~((row >= 0) & np.isfinite(row)))
            if len(wrong):
                raise ValueError(
                    f"weights: row {number} has {row[wrong[0]]} at position {wrong[0]}; expected finite weights >= 0."
                )
        for name in ("labels", "attention_mask", "weights"):
            column = getattr(inputs, name)
            if column is not None:
                check_row_count(column, inputs.ids, name)
        return inputs

    def max_weight(self) -> float:
        """The greatest loss weight of all rows, shown or not; 0 without weights."""
        return max((float(row.max(initial=0.0)) for row in self.weights or ()), default=0.0)

    def is_aligned(self, number: int) -> bool:
        """Whether the row has as many labels as ids."""
        return len(self.labels[number]) == len(self.ids[number])

    def is_encoder_decoder(self, ignore_index: int) -> bool:
        """Whether labels are targets of a decoder, although they may be as wide as the ids.

        There are decoder inputs, or labels for padding that differ from it. (Labels that equal the padding are a mistake of a batch whose
        labels are aligned.)
        """
        if self.decoder_inputs or self.attention_mask is None:
            return self.decoder_inputs
        for ids, labels, mask in zip(self.ids, self.labels, self.attention_mask, strict=True):
            if len(ids) == len(labels) == len(mask) and ((mask == 0) & (labels != ignore_index) & (labels != ids)).any():
                return True
        return False

    def picked(self, pick: str, seed: int, ignore_index: int, shift: str, others: PreviewInputs | None) -> list[int]:
        """The numbers of the rows to show, in order."""
        rows = range(len(self.ids))
        if pick == "first":
            return list(rows)
        lengths = [int(self._real(number).sum()) for number in rows]
        trained = [int((labels != ignore_index).sum()) for labels in self.labels]
        differs = np.zeros(len(rows), np.bool_)
        if others is not None and pick == "mismatch":
            columns = (
                (self.aligned_columns(n, shift, ignore_index)[1], others.aligned_columns(n, shift, ignore_index)[1]) for n in rows
            )
            differs[:] = [not np.array_equal(ours, theirs) for ours, theirs in columns]
        ranks = ranks_of(pick, seed, np.arange(len(rows)), np.array(lengths, np.int64), np.array(trained, np.int64), differs)
        return [row for row in np.argsort(ranks, kind="stable").tolist() if ranks[row] >= 0]

    def encoder_decoder_pair(self, number: int, ignore_index: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """The ids of the input and of the target, both without padding."""
        labels = self.labels[number]
        return self.ids[number][self._real(number)], labels[labels != ignore_index]

    def aligned_columns(
        self, number: int, shift: str, ignore_index: int
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | None]:
        """The ids, labels and weights of a row without padding, each label and weight at the position of its token.

        Raises:
            ValueError: a column differs in length from the ids.
        """
        ids, real = self.ids[number], self._real(number)
        places = 1 if shift == "left" else 0
        check_row_length(self.labels[number], ids, number, "labels")
        labels = shifted_right(self.labels[number][real], places, ignore_index)
        if self.weights is None:
            return ids[real], labels, None
        check_row_length(self.weights[number], ids, number, "weights")
        return ids[real], labels, shifted_right(self.weights[number][real], places, 0)

    def _real(self, number: int) -> npt.NDArray[np.bool_]:
        """Which tokens of a row are not padding."""
        ids = self.ids[number]
        if self.attention_mask is None:
            return np.ones(len(ids), np.bool_)
        check_row_length(self.attention_mask[number], ids, number, "attention_mask")
        real: npt.NDArray[np.bool_] = self.attention_mask[number] != 0
        return real


def shifted_right(column: npt.NDArray[Any], places: int, fill: int) -> npt.NDArray[Any]:
    """A row of the same length, shifted to the right; `fill` is inserted at the left."""
    return np.concatenate([np.full(min(places, len(column)), fill, column.dtype), column[: len(column) - places]])


def is_result(rows: Any) -> bool:
    """Whether rows are what `encode_chat` or a function of noise returns: an object with ids and labels."""
    return type(rows).__module__.partition(".")[0] == "spanmask" and hasattr(rows, "input_ids") and hasattr(rows, "labels")


def split_concatenated(column: Any, name: str, offsets: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The rows of a column [1, T] that holds them concatenated; `offsets` as in `cu_seq_lens_q`."""
    return np.split(to_numpy(column, name).reshape(-1), offsets[1:-1])
