"""`ChatMasker`: conversations or chat rows in an Arrow table -> token ids and labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import check_choice, check_flag
from spanmask.chat.format import ChatFormat
from spanmask.collators.columns import RENDERED
from spanmask.collators.labeller import ChatLabeller
from spanmask.data.operator import Operator, entry_kind, list_kind
from spanmask.policy import MaskPolicy
from spanmask.ragged import listed
from spanmask.report import MaskReport, RunningReport
from spanmask.token_columns import real_rows

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
            made["input_ids"] = list_kind(ids, entry_kind(ids, "input_ids"))
            if "attention_mask" in types:
                made["attention_mask"] = list_kind(ids, entry_kind(types["attention_mask"], "attention_mask"))
        made[self._output] = list_kind(ids, "int32" if self._output == "labels" else "int8")
        if self._weights:
            made["loss_weights"] = list_kind(ids, "float32")
        return made

    def _make(
        self, columns: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], npt.NDArray[np.int64] | None]:
        columns = {name: listed(column) if name in RENDERED else column for name, column in columns.items()}
        max_length, ignore_index = self._labeller.max_length, self._labeller.label_pad_token_id
        rows = self._labeller.label(columns)
        labels, weights = rows.labels, rows.weights
        if "input_ids" in columns and "attention_mask" in columns and max_length is None:  # rows keep their padding
            read = real_rows(columns["input_ids"], columns["attention_mask"], None, "input_ids")
            labels, weights = rows.padded(read, ignore_index)
        if weights is not None and not self._weights:
            raise ValueError(
                "weights: the rows have loss weights other than 0 and 1, for which the output has no column; pass weights=True."
            )
        trained = labels.values != ignore_index
        output = labels.values if self._output == "labels" else trained
        made: dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]] = {self._output: (output, labels.offsets)}
        if "input_ids" not in columns or max_length is not None:
            made["input_ids"] = rows.input_ids.values, labels.offsets
            if "attention_mask" in columns:
                made["attention_mask"] = np.ones(len(labels.values), np.int8), labels.offsets
        if self._weights:
            made["loss_weights"] = trained if weights is None else weights.values, labels.offsets
        return made, None if rows.kept is None else np.array(rows.kept, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        labeller = copy(self._labeller)
        labeller._running = RunningReport()
        return {**self.__dict__, "_labeller": labeller}

    def __repr__(self) -> str:
        return f"ChatMasker({self._labeller!r}, output={self._output!r})"


class Labeller(ChatLabeller):
    """The labeller of a table's parts."""

    def _refuse_all_dropped(self, reasons: str) -> None:
        """A part of a table may lose all rows."""
