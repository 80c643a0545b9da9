"""`ChatMasker`: conversations or chat rows in an Arrow table -> token ids and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import check_choice, check_flag
from spanmask.chat.format import ChatFormat
from spanmask.collators.base import ChatCollator, TokenRows
from spanmask.collators.chat import DataCollatorForChat
from spanmask.collators.columns import RENDERED
from spanmask.data.operator import Operator, list_kind
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, is_arrow
from spanmask.report import MaskReport, RunningReport

__all__ = ["ChatMasker"]

Output = Literal["labels", "loss_mask"]


class ChatMasker(Operator):
    """Labels the tokens of chat rows that carry loss, as `DataCollatorForChat` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row), or with `messages`, `prompt` and `completion`,
         `conversations` or `text`; further columns as in `DataCollatorForChat`.
    Out: the same kind, with these columns added, or replaced where the table has them:
         `input_ids`, if the rows are rendered here (list of int32) or cut by `max_length` (in their own type);
         `labels`, list of int32, the ids where loss is wanted and -100 elsewhere; or `loss_mask`, list of int8, 1 where loss is wanted;
         `loss_weights`, list of float32, with `weights`. Where `input_ids` is a large list, so are these. Other columns stay as they are.

    Args:
        tokenizer: a transformers tokenizer.
        policy: which tokens train; by default the assistant's turns with their closing tokens. With `on_untrained_row="drop"` the output
            lacks rows that train nothing.
        chat_format: how turns open and close, for rows of ids; by default derived from the tokenizer's chat template.
        columns: the names of columns that are read, where the table has other names: `{"messages": "dialogue"}`.
        keep_columns: names of the table's columns to pass on; by default all of them.
        output: `"labels"` or `"loss_mask"`.
        max_length: rows are truncated to this many tokens, after their turns are found.
        template_kwargs: variables of the chat template, for all rows.
        turn_column: as in `DataCollatorForChat`.
        weights: whether there is a column `loss_weights`; by default if the policy has weights. The schema of the output must not depend
            on the rows, so rows whose messages or turns have weights other than 0 and 1 are an error without it.

    Raises:
        ChatFormatError: rows hold token ids, and the chat format could not be derived from the template.
        ValueError: an option or a row that cannot be used; the message names it.
        TypeError: an option has the wrong type, or a table is not an Arrow table.

    >>> import pyarrow
    >>> from transformers import ByT5Tokenizer
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> table = pyarrow.table({"id": ["a"], "input_ids": [[5, 7, 8, 2, 5, 6, 9, 2]]})
    >>> ChatMasker(ByT5Tokenizer(), chat_format=fmt, output="loss_mask")(table)["loss_mask"].to_pylist()
    [[0, 0, 0, 0, 0, 0, 1, 1]]
    """

    def __init__(
        self,
        tokenizer: Any,
        policy: MaskPolicy | None = None,
        *,
        chat_format: ChatFormat | None = None,
        columns: Mapping[str, str] | None = None,
        keep_columns: Iterable[str] | None = None,
        output: Output = "labels",
        max_length: int | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        turn_column: str | None = None,
        weights: bool | None = None,
    ) -> None:
        super().__init__(columns, keep_columns)
        check_choice("output", output, Output)
        if weights is not None:
            check_flag("weights", weights)
        self._output = output
        self._labeller = Labeller(
            tokenizer,
            policy=policy,
            chat_format=chat_format,
            max_length=max_length,
            template_kwargs=template_kwargs,
            turn_column=turn_column,
            on_untrained_batch="warn",
            return_tensors="np",
            weight_key="loss_weights",
            padding_free=True,  # nothing is padded, so that no pad token is needed
        )
        weighted = self._labeller.policy is not None and self._labeller.policy.weighted
        self._weights = weighted if weights is None else weights

    @property
    def report(self) -> MaskReport:
        """What this process masked, and why rows have no trained tokens."""
        return self._labeller.report

    def reset_report(self) -> None:
        """Set all counts of the report to zero."""
        self._labeller.reset_report()

    def _made(self, types: Mapping[str, Any]) -> dict[str, Any]:
        ids = types.get("input_ids")
        made = {}
        if ids is None:
            made["input_ids"] = list_kind(None, "int32")
        elif self._labeller.max_length is not None:
            made["input_ids"] = list_kind(ids, str(ids.value_type))
            if "attention_mask" in types:
                made["attention_mask"] = list_kind(ids, str(types["attention_mask"].value_type))
        made[self._output] = list_kind(ids, "int32" if self._output == "labels" else "int8")
        if self._weights:
            made["loss_weights"] = list_kind(ids, "float32")
        return made

    def _make(
        self, columns: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], npt.NDArray[np.int64] | None]:
        masked = self._labeller.mask(columns)
        if masked.weights is not None and not self._weights:
            raise ValueError(
                "weights: the rows have loss weights other than 0 and 1, for which the output has no column; pass weights=True."
            )
        trained = masked.labels != self._labeller.label_pad_token_id
        output = masked.labels if self._output == "labels" else trained
        made: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]] = {self._output: (output, masked.offsets)}
        if "input_ids" not in columns or self._labeller.max_length is not None:
            made["input_ids"] = masked.input_ids, masked.offsets
            if "attention_mask" in columns:
                made["attention_mask"] = np.ones(len(masked.input_ids), np.int8), masked.offsets
        if self._weights:
            made["loss_weights"] = trained if masked.weights is None else masked.weights, masked.offsets
        return made, masked.kept

    def __getstate__(self) -> dict[str, Any]:
        labeller = copy(self._labeller)
        labeller._running = RunningReport()
        return {**self.__dict__, "_labeller": labeller}

    def __repr__(self) -> str:
        return f"ChatMasker({self._labeller!r}, output={self._output!r})"


@dataclass
class MaskedRows:
    """Rows with labels, without padding unless it was kept. `kept`: the rows there are; `None`: all."""

    input_ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None
    offsets: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64] | None


class Labeller(DataCollatorForChat):
    """The chat collator, without a batch: rows stay rows."""

    def mask(self, columns: Mapping[str, Any]) -> MaskedRows:
        """Label the rows of these columns."""
        columns = {
            name: column.to_pylist() if name in RENDERED and is_arrow(column) else column for name, column in columns.items()
        }
        rows = self._rows(columns)
        plan = self._plan(rows, columns)
        kept = self._kept(plan, rows, columns)
        written = plan.write(_core.Layout.packed(self.max_length), padding=0, kept=kept)
        masked = MaskedRows(
            written.input_ids.reshape(-1),
            written.labels.reshape(-1),
            None if written.weights is None else written.weights.reshape(-1),
            np.asarray(written.cu_seq_lens, np.int64),
            None if kept is None else np.array(kept, np.int64),
        )
        if "input_ids" in columns and "attention_mask" in columns and self.max_length is None:
            return with_padding(masked, Ragged.from_rows(columns["attention_mask"], "attention_mask"), self.label_pad_token_id)
        return masked

    def _plan(self, rows: TokenRows, columns: Mapping[str, Any], skip_first: bool = False) -> _core.LabelPlan:
        return ChatCollator._plan(self, rows, columns)  # a row's first token may train: rows are not concatenated

    def _refuse_all_dropped(self, reasons: str) -> None:
        """A part of a table may lose all rows."""


def with_padding(masked: MaskedRows, mask: Ragged, ignore_index: int) -> MaskedRows:
    """The same rows with the padding that their attention mask shows."""
    lengths, is_real = np.diff(mask.offsets), mask.values != 0
    if masked.kept is not None:
        stays = np.zeros(len(lengths), np.bool_)
        stays[masked.kept] = True
        lengths, is_real = lengths[stays], is_real[np.repeat(stays, lengths)]
    padded = {
        name: np.full(len(is_real), value, getattr(masked, name).dtype)
        for name, value in (("input_ids", 0), ("labels", ignore_index))
    }
    weights = None if masked.weights is None else np.zeros(len(is_real), np.float32)
    padded["input_ids"][is_real], padded["labels"][is_real] = masked.input_ids, masked.labels
    if weights is not None:
        weights[is_real] = masked.weights
    return MaskedRows(padded["input_ids"], padded["labels"], weights, np.append(0, np.cumsum(lengths)), masked.kept)
