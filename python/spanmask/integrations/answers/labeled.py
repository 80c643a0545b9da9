"""`LabeledCollator`: `DataCollatorForChat` for data sets that were labeled before the training."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np

from spanmask import _core
from spanmask.collators.base import TokenRows
from spanmask.collators.chat import DataCollatorForChat
from spanmask.errors import SpanmaskWarning
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, core_rows
from spanmask.turns import TurnEntries, Turns, turn_columns

__all__ = ["IGNORE", "WEIGHTS_COLUMN", "LabeledCollator"]

IGNORE = -100
# The loss weights of tokens, in data sets whose labels are complete: nothing is searched for in their rows.
WEIGHTS_COLUMN = "spanmask_weights"
COLUMNS = ("input_ids", "attention_mask", "labels", WEIGHTS_COLUMN)


@dataclass(kw_only=True)
class LabeledRows(TokenRows):
    """Rows whose labels are complete: each stretch of tokens of one loss weight is a turn that trains."""

    stretches: Turns
    weights: list[list[float]] | None


@dataclass(repr=False, eq=False)
class LabeledCollator(DataCollatorForChat):
    """Pads rows with a column of weights as their labels say, without a search, and masks other rows.

    Args:
        weighted: batches have loss weights.
    """

    _: KW_ONLY
    weighted: bool = False

    @classmethod
    def like(cls, collator: DataCollatorForChat, weighted: bool) -> LabeledCollator:
        """A collator with the options of another one, which counts its batches."""
        options = {field.name: getattr(collator, field.name) for field in fields(collator)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpanmaskWarning)  # the other one has warned
            made = cls(**options, weighted=weighted)
        for name in ("_running", "_counts", "_is_derived", "_uncovered", "_format_error"):
            setattr(made, name, getattr(collator, name))
        return made

    def _examples(self, features: Any) -> Any:
        examples = super()._examples(features)
        if WEIGHTS_COLUMN not in examples[0]:
            return examples
        names = (*COLUMNS, *self.keep_columns)
        return [{name: example[name] for name in names if name in example} for example in examples]

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        if WEIGHTS_COLUMN not in columns:
            return super()._rows(columns)
        ids, labels = (Ragged.from_rows(columns[name], name) for name in ("input_ids", "labels"))
        weights = np.concatenate([np.asarray(row, np.float32).reshape(-1) for row in columns[WEIGHTS_COLUMN]])
        real = np.ones(len(ids.values), np.bool_)
        if "attention_mask" in columns:
            real = Ragged.from_rows(columns["attention_mask"], "attention_mask").values != 0
        offsets = np.concatenate([[0], np.cumsum(real)])[ids.offsets]
        is_label = (labels.values != IGNORE)[real]
        weights = np.where(is_label, weights[real], np.float32(0))
        known = np.where(is_label, labels.values[real], self.label_pad_token_id)
        stretches, entries = stretches_of(weights, offsets, self._format().roles, self._trained_role)
        return LabeledRows(
            core_rows(Ragged(ids.values[real], offsets), "input_ids"),
            "input_ids",
            labels=core_rows(Ragged(known, offsets), "labels", int64=True),
            stretches=stretches,
            weights=entries if self.weighted else None,
        )

    @property
    def _trained_role(self) -> str:
        return next(role for role in self._format().roles if role in self._policy.roles)

    def _turns_and_policy(self, rows: TokenRows) -> tuple[_core.Format | Turns, _core.Policy]:
        if not isinstance(rows, LabeledRows):
            return super()._turns_and_policy(rows)
        policy = MaskPolicy(roles=self._trained_role, truncated_turn=self._policy.truncated_turn)
        return rows.stretches, policy._compile(rows.stretches.roles, ())

    def _entries_of_turns(self, rows: TokenRows, columns: Mapping[str, Any]) -> TurnEntries:
        if isinstance(rows, LabeledRows):
            return turn_columns(None, rows.weights)
        return super()._entries_of_turns(rows, columns)


def stretches_of(weights: Any, offsets: Any, roles: tuple[str, ...], role: str) -> tuple[Turns, list[list[float]]]:
    """The stretches of tokens of one loss weight above 0, as turns of one role, and their weights by row.

    A row that trains nothing is one stretch of weight 0: reports say that its labels leave it out.
    """
    first = np.zeros(len(weights) + 1, np.bool_)
    first[1:-1] = weights[1:] != weights[:-1]
    first[offsets] = True
    edges = np.flatnonzero(first)
    begins, ends = edges[:-1], edges[1:]
    row = np.searchsorted(offsets, begins, side="right") - 1
    trained = weights[begins] > 0
    kept = trained | ~np.isin(row, row[trained])
    row, begins, ends = row[kept], begins[kept], ends[kept]
    start, stop = begins - offsets[row], ends - offsets[row]
    turns = Turns(
        row=row,
        role=np.full(len(row), roles.index(role)),
        start=start,
        content_start=start,
        content_stop=stop,
        stop=stop,
        closed=np.ones(len(row), np.bool_),
        roles=roles,
        row_lengths=np.diff(offsets),
    )
    by_row: list[list[float]] = [[] for _ in range(len(offsets) - 1)]
    for number, weight in zip(row.tolist(), weights[begins].tolist(), strict=True):
        by_row[number].append(weight)
    return turns, by_row
