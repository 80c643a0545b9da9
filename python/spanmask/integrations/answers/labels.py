"""`AnswerLabels`: adds a column of labels to batches of tokenized rows, as `datasets` maps them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.chat.format import ChatFormat
from spanmask.chat.roles import same_roles
from spanmask.collators.guard import describe_mismatch
from spanmask.integrations.answers.labeled import IGNORE, WEIGHTS_COLUMN
from spanmask.integrations.answers.messages import MessageLabels, RowLabels
from spanmask.labels import mask_labels
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, is_arrow, listed
from spanmask.report import NAMED_ROWS, MaskReport
from spanmask.token_columns import TRAINED_FLAGS
from spanmask.turns import Turns, find_turns, named_turn_column, turn_columns

__all__ = ["AnswerLabels", "is_weight_column"]

# Part of the fingerprint by which `datasets` finds its cached results: raise it when labels change.
VERSION = 4
# Masks of rows without labels: what is 0 never trains.
MASKS = ("attention_mask", *TRAINED_FLAGS)


class AnswerLabels:
    """Labels tokenized rows, packed ones included. Its pickled state is its configuration, so that `datasets` can cache its results.

    Args:
        chat_format, policy: as for `mask_labels`.
        turn_column: a column of flags or weights of turns that must be there.
        wrapped: rows are pieces of one stream, which may be cut anywhere (TRL's packing strategy "wrapped"); they are passed in order, with
            their indices.
        weights: a column of loss weights by token is added, too, for `LabeledCollator`.
        renderer, template_kwargs: what rows of messages were tokenized with. With it, rows whose contents hold text of markers, or whose
            messages have weights, are labeled by their messages, where the trainer has kept them.
    """

    def __init__(
        self,
        chat_format: ChatFormat,
        policy: MaskPolicy,
        *,
        turn_column: str | None = None,
        wrapped: bool = False,
        weights: bool = False,
        renderer: Any = None,
        template_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.chat_format, self.policy, self.turn_column, self.wrapped = chat_format, policy, turn_column, wrapped
        self.weights, self.renderer, self.template_kwargs = weights, renderer, template_kwargs
        # Untrained rows are dropped, or refused, where the whole data set is known.
        self._policy = replace(policy, on_untrained_row="keep")
        self._by_messages = (
            None if renderer is None else MessageLabels(renderer, template_kwargs or {}, chat_format, self._policy, weights)
        )
        self.count()

    def count(self) -> None:
        """Start counting anew, at the first row."""
        self.report = MaskReport()
        self._next_index = 0
        self._carried = np.zeros(0, np.int64)

    def __getstate__(self) -> dict[str, Any]:
        names = ("chat_format", "policy", "turn_column", "wrapped", "weights", "renderer", "template_kwargs")
        return {"version": VERSION, **{name: getattr(self, name) for name in names}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**{name: value for name, value in state.items() if name != "version"})  # type: ignore[misc]

    def __call__(self, batch: Any, indices: Sequence[int] | None = None) -> Any:
        """A batch with labels: an Arrow table for one, otherwise the new columns alone."""
        ids, labels, weights = self.labels(batch, indices)
        if not is_arrow(batch):  # a stream
            if not self.report.trained_tokens:
                raise ValueError(
                    f"stream: none of the first {self.report.rows} rows trains anything ({', '.join(self.report.reasons)}). Compare "
                    "print(chat_format) with a row, and see spanmask.preview."
                )
            return {"labels": labels.to_list(), **({WEIGHTS_COLUMN: weights.to_list()} if self.weights else {})}
        kind = batch.schema.field("input_ids").type
        batch = with_column(batch, "labels", like_column(labels, np.int64 if ids.values.dtype.itemsize > 4 else np.int32, kind))
        return with_column(batch, WEIGHTS_COLUMN, like_column(weights, np.float32, kind)) if self.weights else batch

    def finds_turns(self, row: Mapping[str, Any]) -> bool:
        """Whether there is a turn in a row."""
        return len(find_turns([row["input_ids"]], self.chat_format)) > 0

    def labels(self, batch: Any, indices: Sequence[int] | None = None) -> tuple[Ragged, Ragged, Ragged]:
        """The ids, the labels and the loss weights of a batch; its counts are added to the report.

        Raises:
            ValueError: a column is missing, or does not fit the rows.
        """
        names = batch.column_names if is_arrow(batch) else list(batch)
        stored = Ragged.from_rows(batch["input_ids"], "input_ids")
        existing = existing_labels(batch, names, stored)
        ids, real = stored, None
        if "attention_mask" in names and "seq_lengths" not in names and not self.wrapped:
            real = without_padding(Ragged.from_rows(batch["attention_mask"], "attention_mask"), ids.offsets)
        if real is not None:
            ids = Ragged(stored.values[real], np.concatenate([[0], np.cumsum(real)])[stored.offsets])
            existing = None if existing is None else Ragged(existing.values[real], ids.offsets)
        if self.wrapped:
            labels, weights, report = self._label_stream(ids, existing, indices)
        else:
            labels, weights, report = self._label_rows(batch, names, ids, existing)
        self.report = self.report + report
        if real is None:
            return ids, labels, weights
        padded_labels, padded_weights = np.full(len(real), IGNORE, np.int64), np.zeros(len(real), np.float32)
        padded_labels[real], padded_weights[real] = labels.values, weights.values
        return stored, Ragged(padded_labels, stored.offsets), Ragged(padded_weights, stored.offsets)

    def _label_rows(
        self, batch: Any, names: Sequence[str], ids: Ragged, existing: Ragged | None
    ) -> tuple[Ragged, Ragged, MaskReport]:
        by_messages = {} if "seq_lengths" in names else self._label_by_messages(batch, names, ids, existing)
        if not by_messages:
            return self._search_rows(batch, names, ids, existing)
        others = [row for row in range(len(ids)) if row not in by_messages]
        found = {row: (one.labels, one.weights) for row, one in by_messages.items()}
        reports: dict[tuple[int, ...], MaskReport] = {(row,): one.report for row, one in by_messages.items()}
        if others:
            some_existing = None if existing is None else rows_of(existing, others)
            labels, weights, report = self._search_rows(rows_taken(batch, others), names, rows_of(ids, others), some_existing)
            found |= dict(zip(others, zip(labels, weights, strict=True), strict=True))
            reports[tuple(others)] = report
        joined = [Ragged(np.concatenate([found[row][at] for row in range(len(ids))]), ids.offsets) for at in range(2)]
        return joined[0], joined[1], added(reports)

    def _label_by_messages(self, batch: Any, names: Sequence[str], ids: Ragged, existing: Ragged | None) -> dict[int, RowLabels]:
        """The labels of rows for which a search in the ids is not enough."""
        conversations = None if self._by_messages is None else self._by_messages.conversations(batch, names)
        if conversations is None or self._by_messages is None:
            return {}
        known = {row: one for row, one in enumerate(conversations) if one is not None}
        # Which turn is the last one of a row that was cut, only its messages show.
        counts_turns = "last" in (self.policy.turns, self.policy.train_on_eos)
        doubtful = known.keys() & set(self._mismatches(batch, names, ids, whole=counts_turns))
        doubtful |= {row for row, one in known.items() if self._by_messages.needs_text(one)}
        if self.policy.truncated_turn == "drop":  # a last answer without a closing marker may be whole (GLM 4), or cut
            turns = find_turns(ids, self.chat_format)
            doubtful |= known.keys() & set(turns.row[~turns.closed].tolist())
        if self._by_turn(batch, names):  # they count messages, some of which may have no turn
            doubtful = set(known)
        entries = {}
        for row in doubtful:
            by_turn = self._by_turn(rows_taken(batch, [row]), names)
            if by_turn:
                entries[row] = turn_columns(by_turn.get("turn_mask"), by_turn.get("turn_weights"))
        by_messages = self._by_messages
        return by_messages.label(
            {row: known[row] for row in sorted(doubtful)},
            ids,
            existing,
            entries,
            lambda row: by_messages.as_rendered(rows_taken(batch, [row]), names, known[row]),
        )

    def _search_rows(
        self, batch: Any, names: Sequence[str], ids: Ragged, existing: Ragged | None
    ) -> tuple[Ragged, Ragged, MaskReport]:
        rows = ids
        if "seq_lengths" in names:
            rows = Ragged(ids.values, document_offsets(batch["seq_lengths"], ids))
            existing = None if existing is None else Ragged(existing.values, rows.offsets)
        mismatched = self._mismatches(batch, names, ids) if "seq_lengths" not in names else {}
        if mismatched and self.policy.on_role_mismatch == "raise":
            raise ValueError(next(iter(mismatched.values())))
        masked = mask_labels(rows, self.chat_format, self._policy, labels=existing, **self._by_turn(batch, names))
        report = masked.report
        report.role_mismatches, report.mismatched_rows = len(mismatched), list(mismatched)[:NAMED_ROWS]
        labels = Ragged(masked.labels.values, ids.offsets)
        if mismatched and self.policy.on_role_mismatch == "drop":
            for row in mismatched:
                report.trained_tokens -= int((labels[row] != IGNORE).sum())
                labels.values[labels.offsets[row] : labels.offsets[row + 1]] = IGNORE
        return labels, weights_of(labels, masked.weights), report

    def _by_turn(self, batch: Any, names: Sequence[str]) -> dict[str, Any]:
        """Flags or weights of turns, as arguments of `mask_labels`."""
        if self.turn_column is None:
            return {name: batch[name] for name in ("turn_mask", "turn_weights") if name in names}
        if self.turn_column not in names:
            raise ValueError(
                f"turn_column: no column {self.turn_column!r}; the rows have {', '.join(map(repr, names))}. Packing drops such columns; "
                "otherwise add it to the dataset."
            )
        if self.turn_column == "turn_weights" or is_weight_column(batch[self.turn_column], self.turn_column):
            return {"turn_weights": batch[self.turn_column]}
        return {"turn_mask": batch[self.turn_column]}

    def _mismatches(self, batch: Any, names: Sequence[str], ids: Ragged, whole: bool = False) -> dict[int, str]:
        """The rows whose messages have other roles than the turns that were found in their ids, and what is wrong. `whole`: rows that were
        cut, so that turns are missing, are among them.
        """
        columns = [name for name in ("messages", "prompt", "completion") if name in names]
        if not columns or ("messages" in columns and len(columns) > 1):
            return {}
        wanted = [messages_of_column(batch[name]) for name in columns]
        if any(rows is None for rows in wanted):
            return {}
        mismatches = {}
        turns = find_turns(ids, self.chat_format)
        edges = np.searchsorted(turns.row, np.arange(1, len(wanted[0] or ())))
        found, closed = np.split(turns.role, edges), np.split(turns.closed, edges)
        for row, parts in enumerate(zip(*wanted, strict=True)):
            messages = [message for part in parts for message in part]
            names_found = [self.chat_format.roles[number] for number in found[row]]
            is_cut = not whole and len(closed[row]) > 0 and not closed[row][-1]
            if not same_roles(messages, names_found, self.chat_format, is_cut=is_cut):
                mismatches[row] = describe_mismatch(row, [str(one["role"]) for one in messages], names_found)
        return mismatches

    def _label_stream(
        self, ids: Ragged, existing: Ragged | None, indices: Sequence[int] | None
    ) -> tuple[Ragged, Ragged, MaskReport]:
        """Label pieces of a stream. A turn that the last batch left open goes on in this one, if this one follows it."""
        first = self._next_index if indices is None else int(indices[0])
        carried = self._carried if first == self._next_index else self._carried[:0]
        self._next_index = first + len(ids)
        stream = np.concatenate([carried.astype(ids.values.dtype), ids.values])
        row = Ragged(stream, [0, len(stream)])
        turns = find_turns(row, self.chat_format)
        cut = self._cut_turns(turns)
        if existing is not None or cut:
            known = np.concatenate([carried.astype(np.int64), ids.values if existing is None else existing.values]).astype(
                np.int64
            )
            for turn in cut:
                known[turns.start[turn] : turns.stop[turn]] = IGNORE
            existing = Ragged(known, row.offsets)
        masked = mask_labels(row, turns, self._policy, labels=existing)
        # The last turn may be open, or a header may be cut: all that follows its start is searched again.
        self._carried = stream[turns.start[-1] if len(turns) else len(stream) - min(len(stream), self._longest_marker()) :].copy()
        labels = Ragged(masked.labels.values[len(carried) :], ids.offsets)
        report = self._count_pieces(labels, masked.report, turns if len(carried) else None)
        weights = None if masked.weights is None else Ragged(masked.weights.values[len(carried) :], ids.offsets)
        return labels, weights_of(labels, weights), replace(report, truncated_turns=len(cut))

    def _cut_turns(self, turns: Turns) -> list[int]:
        """The trained turns of a stream that have no closing marker although another turn follows: their row was cut before it was packed.

        Where it was cut cannot be seen, so what seems to be the rest of the turn may be the beginning of the next row.
        """
        roles = [number for number, role in enumerate(self.chat_format.roles) if role in self.policy.roles]
        is_open = np.isin(turns.role, roles) & (turns.content_stop == turns.stop)
        if turns.stop_token is not None:
            is_open &= ~turns.stop_token
        cut: list[int] = np.flatnonzero(is_open[:-1]).tolist()
        return cut

    def _longest_marker(self) -> int:
        return max(len(marker) for boundary in self.chat_format.boundaries for marker in (*boundary.start, *boundary.end))

    def _count_pieces(self, labels: Ragged, report: MaskReport, carried: Turns | None) -> MaskReport:
        """A report by pieces. `carried`: the turns, if the first was counted with the batch before."""
        trained = np.diff(np.append(0, np.cumsum(labels.values != IGNORE))[labels.offsets])
        untrained = np.flatnonzero(trained == 0)
        found = dict(report.turns)
        if carried is not None and len(carried) and carried.start[0] == 0:
            found[self.chat_format.roles[carried.role[0]]] -= 1
        return MaskReport(
            rows=len(labels),
            tokens=len(labels.values),
            trained_tokens=int(trained.sum()),
            turns=found,
            reasons=Counter({"no trained turn": len(untrained)} if len(untrained) else {}),
            untrained_rows=[(int(row), "no trained turn") for row in untrained[:NAMED_ROWS]],
        )


def rows_taken(batch: Any, rows: Sequence[int]) -> Any:
    """Some rows of a batch."""
    if is_arrow(batch):
        return batch.take(list(rows))
    return {name: [column[row] for row in rows] for name, column in batch.items()}


def rows_of(ragged: Ragged, rows: Sequence[int]) -> Ragged:
    """Some rows of a `Ragged`."""
    taken = [ragged[row] for row in rows]
    return Ragged(np.concatenate(taken), np.append(0, np.cumsum([len(row) for row in taken])))


def without_padding(mask: Ragged, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
    """What is left of all rows without the zeros at the ends of their attention masks; `None`: everything.

    `offsets`: those of the ids. TRL leaves the masks of rows with labels as they are when it truncates the rows.
    """
    real: npt.NDArray[np.bool_] = mask.values != 0
    if real.all() or not np.array_equal(mask.offsets, offsets):
        return None
    for start, stop in pairwise(mask.offsets.tolist()):
        inside = np.flatnonzero(real[start:stop])
        if len(inside):  # zeros inside a row are no padding
            real[start + inside[0] : start + inside[-1]] = True
    return real


def added(reports: Mapping[tuple[int, ...], MaskReport]) -> MaskReport:
    """The sum of the reports of some rows each, whose rows keep their numbers."""
    total = MaskReport()
    untrained: list[tuple[int, str]] = []
    mismatched: list[int] = []
    for rows, report in reports.items():
        total = total + report
        untrained += [(rows[row], reason) for row, reason in report.untrained_rows]
        mismatched += [rows[row] for row in report.mismatched_rows]
    return replace(total, untrained_rows=sorted(untrained)[:NAMED_ROWS], mismatched_rows=sorted(mismatched)[:NAMED_ROWS])


def existing_labels(batch: Any, names: Sequence[str], ids: Ragged) -> Ragged | None:
    """What may train: the rows' labels, or what their masks leave; `None`: everything."""
    if "labels" in names:
        labels = Ragged.from_rows(batch["labels"], "labels")
        return Ragged(labels.values.astype(np.int64), labels.offsets)
    masks = [Ragged.from_rows(batch[name], name) for name in MASKS if name in names]
    if not masks:
        return None
    for name, mask in zip([name for name in MASKS if name in names], masks, strict=True):
        if not np.array_equal(mask.offsets, ids.offsets):
            raise ValueError(f"{name}: its rows differ in length from those of input_ids.")
    kept = np.logical_and.reduce([mask.values != 0 for mask in masks])
    return Ragged(np.where(kept, ids.values.astype(np.int64), IGNORE), ids.offsets)


def document_offsets(lengths: Any, ids: Ragged) -> npt.NDArray[np.int64]:
    """Where the documents of packed rows begin, and where the last ends."""
    documents = Ragged.from_rows(lengths, "seq_lengths")
    offsets = np.concatenate([[0], np.cumsum(documents.values, dtype=np.int64)])
    if not np.array_equal(offsets[documents.offsets], ids.offsets):
        raise ValueError("seq_lengths: do not add up to the lengths of input_ids.")
    return offsets


def weights_of(labels: Ragged, weights: Ragged | None) -> Ragged:
    """The loss weights of tokens, 0 where there is no label. `weights`: `None` if all of them are 1."""
    trained = labels.values != IGNORE
    return Ragged(np.where(trained, np.float32(1) if weights is None else weights.values, np.float32(0)), labels.offsets)


def like_column(rows: Ragged, dtype: npt.DTypeLike, kind: Any) -> Any:
    """An Arrow column of lists of the same kind as the ids'."""
    import pyarrow as pa

    values = pa.array(rows.values.astype(dtype))
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(rows.offsets), values)
    return pa.ListArray.from_arrays(pa.array(rows.offsets.astype(np.int32)), values)


def with_column(table: Any, name: str, column: Any) -> Any:
    """A table with a column that is added or replaced."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def is_weight_column(column: Any, name: str) -> bool:
    """Whether a column of entries by turn holds weights (floats) and not flags."""
    return named_turn_column(name, column).turn_weights is not None


def messages_of_column(column: Any) -> list[list[Mapping[str, Any]]] | None:
    """The messages of each row; `None` if the rows are texts."""
    rows = listed(column)
    if not all(isinstance(row, list) and all(isinstance(one, Mapping) and "role" in one for one in row) for row in rows):
        return None
    return list(rows)
