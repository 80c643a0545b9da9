"""The base of the chat collators: their options, and the steps from rows to a batch."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import numpy as np

from spanmask import _core
from spanmask._short_repr import short_repr
from spanmask._validate import as_names, check_choice, check_ignore_index, check_length, check_side
from spanmask.chat.format import ChatFormat
from spanmask.chat.strings import policy_with_ids
from spanmask.collators.columns import columns_of, select_rows, stack_columns
from spanmask.collators.guard import (
    OnUntrainedBatch,
    check_unclosed,
    check_untrained,
    describe_mismatch,
    describe_uncovered,
    roles_of_messages,
    same_roles,
)
from spanmask.errors import SpanmaskWarning, UnreadableRowsError
from spanmask.policy import MaskPolicy
from spanmask.ragged import ReturnTensors, in_one_array, to_tensors
from spanmask.report import MaskReport, RowOutcomes, RunningReport
from spanmask.turns import turn_columns

__all__ = ["ChatCollator", "TokenRows"]

Kept = list[int] | None


@dataclass
class TokenRows:
    """The rows of a batch: their ids, and what is known about each token.

    Attributes:
        ids, attention_mask, labels: rows as `_core.plan_labels` reads them.
        name: the name of the rows in error messages.
        uncut_ids: ids that `max_length` must not cut off.
        processed: everything that a processor returned for these rows.
    """

    ids: Any
    name: str
    attention_mask: Any = None
    labels: Any = None
    uncut_ids: tuple[int, ...] = ()
    processed: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True, repr=False, eq=False)
class ChatCollator:
    """A collator whose labels come from turns and a policy. Subclasses make the rows (`_rows`) and the batch (`_write`)."""

    chat_format: ChatFormat | None = None
    policy: MaskPolicy | None = None
    max_length: int | None = None
    padding_side: Literal["right", "left"] | None = None
    pad_to_multiple_of: int | None = None
    return_tensors: ReturnTensors = "pt"
    keep_columns: Iterable[str] = ()
    on_untrained_batch: OnUntrainedBatch = "raise"
    label_pad_token_id: int = -100
    weight_key: str = "loss_weights"

    def _check(self, tokenizer: Any) -> None:
        """Check the options, and fill in those that come from the tokenizer."""
        self.policy = MaskPolicy() if self.policy is None else self.policy
        if not isinstance(self.chat_format, ChatFormat):
            raise TypeError(f"chat_format: expected a ChatFormat, got {type(self.chat_format).__name__}.")
        if not isinstance(self.policy, MaskPolicy):
            raise TypeError(f"policy: expected a MaskPolicy, got {type(self.policy).__name__}.")
        self.policy = policy_with_ids(tokenizer, self.policy)
        self._compiled_policy()  # a role that the format lacks is an error now, not in the first batch
        check_length("max_length", self.max_length)
        check_length("pad_to_multiple_of", self.pad_to_multiple_of)
        self.padding_side = check_side(self.padding_side or getattr(tokenizer, "padding_side", "right"))  # type: ignore[assignment]
        check_choice("return_tensors", self.return_tensors, ReturnTensors)
        check_choice("on_untrained_batch", self.on_untrained_batch, OnUntrainedBatch)
        self.label_pad_token_id = check_ignore_index("label_pad_token_id", self.label_pad_token_id)
        self.keep_columns = as_names("keep_columns", self.keep_columns)
        self._text_tokenizer = tokenizer
        self._running = RunningReport()

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def report(self) -> MaskReport:
        """What the batches of this process trained, and why rows have no trained tokens. The workers of a loader have their own reports."""
        return self._running.total

    def reset_report(self) -> None:
        """Set all counts of the report to zero."""
        self._running.reset()

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """Make one batch; see the class."""
        columns = columns_of(self._examples(features))
        rows = self._rows(columns)
        plan = self._plan(rows, columns)
        kept = self._kept(plan, columns)
        batch = self._write(plan, rows, columns, kept)
        extra = stack_columns(columns if kept is None else select_rows(columns, kept), self.keep_columns)
        for name in extra:
            if name in batch:
                raise ValueError(f"keep_columns: the collator creates the column {name!r} itself; remove it from keep_columns.")
        return to_tensors({**batch, **extra}, return_tensors or self.return_tensors)

    def _examples(self, features: Any) -> Any:
        """The examples of a batch, made from the collator's argument."""
        return features

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        raise NotImplementedError

    def _layout(self) -> _core.Layout:
        return _core.Layout.padded(str(self.padding_side), self.max_length, self.pad_to_multiple_of)

    def _write(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
        raise NotImplementedError

    def _add_weights(self, batch: dict[str, Any], weights: Any) -> None:
        """Put the loss weights into a batch, if there are any."""
        if weights is None:
            return
        if self.weight_key in batch:
            raise ValueError(f"weight_key: the batch already has {self.weight_key!r}; choose another name.")
        batch[self.weight_key] = weights

    def _compiled_policy(self) -> _core.Policy:
        assert self.chat_format is not None  # `_check` sets both
        assert self.policy is not None
        return self.policy._compile(self.chat_format.roles, self.chat_format.ignore_ids)

    def _plan(self, rows: TokenRows, columns: Mapping[str, Any], skip_first: bool = False) -> _core.LabelPlan:
        """Decide the labels of all rows in one scan. Nothing is written yet."""
        assert self.chat_format is not None
        assert self.policy is not None
        by_turn = turn_columns(columns.get("turn_mask"), columns.get("turn_weights"))
        plan = partial(
            _core.plan_labels,
            turns=self.chat_format._compiled,
            policy=self._compiled_policy(),
            turn_mask=by_turn.turn_mask,
            turn_weights=by_turn.turn_weights,
            ignore_index=self.label_pad_token_id,
            weighted=self.policy.weighted or by_turn.turn_weights is not None,
            max_length=self.max_length,
            skip_first=skip_first,
            uncut_ids=rows.uncut_ids,
            with_roles="messages" in columns,
            name=rows.name,
        )
        try:
            return plan(rows.ids, attention_mask=rows.attention_mask, labels=rows.labels)
        except UnreadableRowsError:
            return plan(
                in_one_array(rows.ids, rows.name),
                attention_mask=in_one_array(rows.attention_mask, "attention_mask"),
                labels=in_one_array(rows.labels, "labels", int64=True),
            )

    def _kept(self, plan: _core.LabelPlan, columns: Mapping[str, Any]) -> Kept:
        """The rows to keep, or `None` for all. Counts the batch; warns or raises as the options require.

        Raises:
            ValueError: the options do not allow a row or the whole batch.
        """
        assert self.chat_format is not None
        assert self.policy is not None
        outcomes = RowOutcomes(plan.counts, plan.outcomes, self.chat_format.roles, self.max_length)
        mismatched = self._mismatched(plan, columns) if "messages" in columns else []
        kept = outcomes.kept_rows(self.policy)
        self._running.add(outcomes, mismatched)
        if plan.counts.unclosed_regions:
            check_unclosed(plan.counts, self._running, lambda row: self._decode(plan, row))
        if outcomes.any_untrained:
            check_untrained(outcomes.report, self.on_untrained_batch, self._running, lambda row: self._decode(plan, row))
        if mismatched and self.policy.on_role_mismatch == "drop":
            kept = np.setdiff1d(np.arange(len(plan.outcomes)) if kept is None else kept, mismatched)
        if kept is None:
            return None
        if not len(kept):
            reasons = ", ".join(outcomes.report.reasons) or "roles differ from messages"
            raise ValueError(f"features: all rows of this batch were dropped: {reasons}.")
        return [int(row) for row in kept]

    def _decode(self, plan: _core.LabelPlan, row: int) -> str:
        return str(self._text_tokenizer.decode(plan.row(row)))

    def _mismatched(self, plan: _core.LabelPlan, columns: Mapping[str, Any]) -> list[int]:
        """The rows whose turns may be wrong: their roles differ from those of their messages, or the format does not cover their kind.

        Warns or raises as the policy says.
        """
        assert self.chat_format is not None
        assert self.policy is not None
        known, action = self.chat_format.roles, self.policy.on_role_mismatch
        mismatched = []
        for row, (messages, numbers) in enumerate(zip(columns["messages"], plan.row_roles or (), strict=True)):
            wanted = roles_of_messages(messages, row)
            found = [known[number] for number in numbers]
            uncovered = self.chat_format.uncovered_kind(messages)
            if uncovered is not None:
                text = describe_uncovered(row, uncovered)
            elif not same_roles(wanted, found, known, self.policy.roles):
                text = describe_mismatch(row, wanted, found)
            else:
                continue
            mismatched.append(row)
            if action == "raise":
                raise ValueError(text)
            if action == "warn" and self._running.is_first(uncovered or "mismatch"):
                warnings.warn(text, SpanmaskWarning, stacklevel=4)
        return mismatched
