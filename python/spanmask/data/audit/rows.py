"""The rows of a piece with their labels, their turns, and what is known about each."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._validate import as_column_names
from spanmask.chat.conversation import Conversation
from spanmask.chat.conversation.message import SUBSTITUTES
from spanmask.chat.format import ChatFormat
from spanmask.collators.columns import RENDERED
from spanmask.data.audit.sources import GIVEN
from spanmask.data.chat_masker import Labeller
from spanmask.data.files import Piece
from spanmask.data.write import halves, text_of
from spanmask.errors import ChatFormatError, SpanmaskWarning
from spanmask.labels import mask_labels
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, check_aligned, listed
from spanmask.report import RowOutcomes
from spanmask.token_columns import as_integers
from spanmask.turns import Turns, find_turns

__all__ = ["IGNORE", "LabelledRows", "RowLabeller"]

Int64 = npt.NDArray[np.int64]
IGNORE = -100
MOST_NOTES = 20
Use = Literal["labels", "ids", "messages"]
MESSAGES = ("messages", "prompt", "conversations")
OF_IDS = ("input_ids", "attention_mask", "turn_mask", "turn_weights")
NO_LABELS = "all its labels are -100"


def no_rows() -> Int64:
    """No numbers."""
    return np.zeros(0, np.int64)


@dataclass
class LabelledRows:
    """Rows with labels, without padding.

    Attributes:
        numbers, ordinals: the number of each row, and its place among the rows that are not empty lines.
        ids, labels: int64, the tokens of all rows.
        offsets: where rows begin and end in them.
        weights: loss weights; `None` if all tokens weigh the same.
        turns: their turns; `None` if there is no chat format.
        given: the labels are those of the data.
        cut_labels: the labels that are left when rows are cut to `max_length`, and their offsets.
        untrained: why rows have no label, by position.
        unknown, left_out, empty: rows whose turns are not known, rows of which the template leaves out a part, and rows with an answer
            that says nothing, by position: what it is.
        from_messages: the rows are made of messages or texts.
        searched, marked, unclosed: positions of rows whose turns were searched for, whose contents hold marker text, and with a
            region of `ignore_between` that does not close.
    """

    numbers: Int64
    ids: Int64
    labels: Int64
    offsets: Int64
    weights: npt.NDArray[Any] | None = None
    ordinals: Int64 = field(default_factory=no_rows)
    turns: Turns | None = None
    given: bool = False
    from_messages: bool = False
    cut_labels: tuple[Int64, Int64] | None = None
    untrained: dict[int, str] = field(default_factory=dict)
    unknown: dict[int, str] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)
    empty: dict[int, str] = field(default_factory=dict)
    searched: list[int] = field(default_factory=list)
    marked: list[int] = field(default_factory=list)
    unclosed: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def lengths(self) -> Int64:
        """Tokens of each row."""
        return np.diff(self.offsets)

    @cached_property
    def trained(self) -> npt.NDArray[np.bool_]:
        """Which tokens have a label."""
        trained: npt.NDArray[np.bool_] = self.labels != IGNORE
        return trained

    @cached_property
    def trained_before(self) -> Int64:
        """For each token, and for the end, how many trained tokens are before it."""
        counts = np.zeros(len(self.labels) + 1, np.int64)
        np.cumsum(self.trained, out=counts[1:])
        return counts

    @cached_property
    def trained_counts(self) -> Int64:
        """Trained tokens of each row."""
        return np.diff(self.trained_before[self.offsets])


class RowLabeller:
    """Labels the rows of pieces.

    Args:
        tokenizer, policy, chat_format, template_kwargs: as in `audit`.
        max_length: also find the labels of rows cut to it.
        columns: the names of columns, where the data has other names.
        use: what labels come from, of what a row has: its own labels, else its ids, else its messages; `"ids"`: not its own labels;
            `"messages"`: its messages, if it has any.
    """

    def __init__(
        self,
        tokenizer: Any,
        policy: MaskPolicy | None,
        *,
        chat_format: ChatFormat | None = None,
        max_length: int | None = None,
        columns: Mapping[str, str] | None = None,
        template_kwargs: Mapping[str, Any] | None = None,
        use: Use = "labels",
    ) -> None:
        self._use = use
        policy = MaskPolicy() if policy is None else policy
        if isinstance(policy, MaskPolicy):
            # All rows are looked at, and labels are at their tokens.
            policy = replace(policy, on_untrained_row="keep", on_role_mismatch="warn", shift="none")
            if policy.on_no_trained_turn == "raise":
                policy = replace(policy, on_no_trained_turn="mask")
        self._columns = as_column_names(columns)
        self._labeller = Labeller(
            tokenizer,
            policy=policy,
            chat_format=chat_format,
            template_kwargs=template_kwargs,
            on_untrained_batch="ignore",
            return_tensors="np",
            weight_key="loss_weights",
            padding_free=True,
        )
        assert self._labeller.policy is not None
        self.policy: MaskPolicy = self._labeller.policy
        self._cutter = copy(self._labeller)
        self._cutter.max_length = max_length
        self.max_length = max_length
        self.special = special_tokens(tokenizer, self._labeller.chat_format)
        texts = sorted((text for text in self.special.values() if len(text) > 1), key=len, reverse=True)
        self._marker = re.compile("|".join(map(re.escape, texts))) if texts else None
        self.warnings: dict[str, None] = {}

    @property
    def chat_format(self) -> ChatFormat | None:
        """The format that turns are searched for with."""
        return self._labeller.chat_format

    def label(self, piece: Piece, bad: dict[int, tuple[str, str]]) -> Iterator[LabelledRows]:
        """The rows of a piece. Rows that cannot be used are added to `bad`; they are found by halving.

        Raises:
            ChatFormatError: rows of ids have no labels, and no chat format can be derived.
        """
        if not len(piece):
            return
        try:
            with warnings.catch_warnings(record=True) as seen:
                warnings.simplefilter("always", SpanmaskWarning)
                labelled = self._label(self._known(piece.columns))
        except ChatFormatError:
            raise
        except (ValueError, TypeError) as error:
            if len(piece) == 1:
                row = int(piece.numbers[0])
                bad[row] = re.sub(r"\brow 0\b", "the row", str(error)), text_of(piece.columns)
                return
            for half in halves(piece):
                yield from self.label(half, bad)
            return
        for one in seen:
            if issubclass(one.category, SpanmaskWarning):
                self._note(str(one.message))
        labelled.numbers = np.asarray(piece.numbers, np.int64)
        yield labelled

    def _note(self, text: str) -> None:
        """Remember a warning, without the number of its row in its piece."""
        if len(self.warnings) < MOST_NOTES:
            self.warnings[re.sub(r"\brow \d+\b( \(id .*?\))?", "a row", text)] = None

    def own_names(self, names: Iterable[str]) -> Iterator[str]:
        """The data's own names of these columns."""
        return (self._columns.get(name, name) for name in names)

    def _known(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        renamed = {own: known for known, own in self._columns.items()}
        known = {
            renamed.get(name, name): column for name, column in columns.items() if name not in self._columns or name in renamed
        }
        left_out: tuple[str, ...] = () if self._use == "labels" else GIVEN
        if self._use == "messages" and any(name in known for name in MESSAGES):
            left_out = (*GIVEN, *OF_IDS)
        return {name: column for name, column in known.items() if name not in left_out}

    def _label(self, columns: dict[str, Any]) -> LabelledRows:
        given = next((name for name in GIVEN if name in columns), None) if "input_ids" in columns else None
        labelled = self._with_own_labels(columns) if given is None else self._with_given_labels(columns, given)
        if labelled.turns is not None and self.policy.ignore_between and given is None:
            labelled.unclosed = list(self._unclosed(labelled, np.arange(len(labelled.offsets) - 1)))
        return labelled

    def _with_own_labels(self, columns: dict[str, Any]) -> LabelledRows:
        columns = {name: listed(entry) if name in RENDERED else entry for name, entry in columns.items()}
        rows = self._labeller._rows(columns)
        plan = self._labeller._plan(rows, columns)
        written = plan.write(_core.Layout.packed(None), padding=0)
        out = LabelledRows(
            np.zeros(0, np.int64),
            written.input_ids.reshape(-1),
            written.labels.reshape(-1),
            np.asarray(written.cu_seq_lens, np.int64),
            None if written.weights is None else written.weights.reshape(-1),
        )
        encoded = rows.encoded
        if self.max_length is not None and (out.lengths > self.max_length).any():
            cut = self._cutter._plan(rows, columns).write(_core.Layout.packed(self.max_length), padding=0)
            out.cut_labels = cut.labels.reshape(-1), np.asarray(cut.cu_seq_lens, np.int64)
        if encoded is None:
            fmt = self._labeller._format()
            out.turns = find_turns(Ragged._unchecked(out.ids, out.offsets), fmt)
            reasons = _reasons(plan, fmt.roles)
            if "messages" in columns:
                out.unknown = self._labeller._mismatches(plan, columns)
        else:
            out.turns, out.from_messages = encoded.turns, True
            outcomes = encoded.outcomes(plan, self.policy.roles, None)
            reasons = {row: outcomes.reason(row) for row in np.flatnonzero(plan.outcomes).tolist()}
            out.unknown, out.searched = dict(encoded.unknown), list(encoded.searched)
            for what, text in encoded.notes(self.policy.roles).items():
                if not what.startswith("dropped"):  # that is a finding
                    self._note(text)
            for row, message, what in encoded.dropped:
                out.left_out.setdefault(row, f"the {what} of message {message}")
            for row, one in enumerate(encoded.conversations):
                for message in _empty_answers(one, self.policy.roles):
                    out.empty.setdefault(row, f"message {message}")
            if self._marker is not None:
                out.marked = [
                    row for row, one in enumerate(encoded.conversations) if any(map(self._marker.search, _texts(one.messages)))
                ]
        out.untrained = reasons
        return out

    def _with_given_labels(self, columns: Mapping[str, Any], name: str) -> LabelledRows:
        ids = Ragged.from_rows(columns["input_ids"], "input_ids")
        own = Ragged.from_rows(columns[name] if name == "labels" else as_integers(columns[name]), name)
        check_aligned(own, ids, name)
        values, labels, offsets = ids.values.astype(np.int64), own.values.astype(np.int64), ids.offsets
        if name != "labels":
            labels = np.where(labels != 0, values, IGNORE)
        if "attention_mask" in columns:
            mask = Ragged.from_rows(as_integers(columns["attention_mask"]), "attention_mask")
            check_aligned(mask, ids, "attention_mask")
            real = mask.values != 0
            kept = np.append(0, np.cumsum(real))[offsets]
            values, labels, offsets = values[real], labels[real], kept
        out = LabelledRows(np.zeros(0, np.int64), values, labels, offsets, given=True)
        fmt = self.chat_format
        if fmt is not None:
            out.turns = find_turns(Ragged._unchecked(values, offsets), fmt)
        none = np.flatnonzero(out.trained_counts == 0)
        if len(none):
            out.untrained = dict.fromkeys(none.tolist(), NO_LABELS)
            if fmt is not None:
                outcomes = mask_labels(rows_at(values, offsets, none), fmt, self.policy)._outcomes
                out.untrained |= {int(none[at]): outcomes.reason(at) for at in np.flatnonzero(outcomes.outcomes).tolist()}
            out.untrained |= dict.fromkeys(none[out.lengths[none] == 0].tolist(), "empty row")
        if self.max_length is not None and (out.lengths > self.max_length).any():
            within = np.arange(len(values)) - np.repeat(offsets[:-1], out.lengths) < self.max_length
            out.cut_labels = labels[within], np.append(0, np.cumsum(np.minimum(out.lengths, self.max_length)))
        return out

    def _unclosed(self, rows: LabelledRows, some: Int64) -> Iterator[int]:
        """The rows among `some` with a region that opens and does not close, found by halving."""
        assert rows.turns is not None
        turns = rows.turns._part(some, None)
        report = mask_labels(rows_at(rows.ids, rows.offsets, some), turns, self.policy).report
        if report.unclosed_regions and len(some) == 1:
            yield int(some[0])
        elif report.unclosed_regions:
            yield from self._unclosed(rows, some[: len(some) // 2])
            yield from self._unclosed(rows, some[len(some) // 2 :])


def _reasons(plan: _core.LabelPlan, roles: tuple[str, ...]) -> dict[int, str]:
    """Why rows have no label, by position."""
    outcomes = RowOutcomes(plan.counts, plan.outcomes, roles)
    return {row: outcomes.reason(row) for row in np.flatnonzero(plan.outcomes).tolist()}


def rows_at(values: Int64, offsets: Int64, rows: Int64) -> Ragged:
    """Some rows, in ascending order."""
    lengths = np.diff(offsets)
    stays = np.zeros(len(lengths), np.bool_)
    stays[rows] = True
    return Ragged._unchecked(values[np.repeat(stays, lengths)], np.append(0, np.cumsum(lengths[stays])))


def is_in(ids: Int64, wanted: Int64) -> npt.NDArray[np.bool_]:
    """Which ids are among `wanted`, by a table."""
    wanted = wanted[wanted >= 0]
    table = np.zeros(int(wanted.max(initial=0)) + 2, np.bool_)
    table[wanted] = True
    table[-1] = False  # for all ids that the table lacks; negative ones are the greatest as unsigned numbers
    found: npt.NDArray[np.bool_] = table[np.minimum(ids.view(np.uint64), np.uint64(len(table) - 1)).view(np.int64)]
    return found


def special_tokens(tokenizer: Any, chat_format: ChatFormat | None) -> dict[int, str]:
    """The tokens that control a model, by id: those that the tokenizer calls special, and added ones that open or close turns."""
    added = {int(number): token for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
    special = dict(
        zip(getattr(tokenizer, "all_special_ids", ()), map(str, getattr(tokenizer, "all_special_tokens", ())), strict=False)
    )
    special |= {number: str(token) for number, token in added.items() if getattr(token, "special", False)}
    if chat_format is not None:
        used = {token for one in chat_format.boundaries for markers in (one.start, one.end) for ids in markers for token in ids}
        special |= {number: str(token) for number, token in added.items() if number in used}
        for number in chat_format.ignore_ids:
            special.pop(number, None)
    return special


def _empty_answers(one: Conversation, trained_roles: Collection[str]) -> Iterator[int]:
    """The messages that are to train and have no text, no reasoning, no call and no media."""
    for number, message in enumerate(one.messages[one.prompt_messages :], one.prompt_messages):
        trains = message["role"] in trained_roles and (one.weights is None or one.weights[number] != 0)
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        says = any(message.get(name) for name in SUBSTITUTES) or any(part.get("type") != "text" for part in parts)
        if trains and not says and not "".join(_texts(parts)).strip():
            yield number


def _texts(value: Any) -> Iterator[str]:
    """The texts of contents."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        if "role" in value:
            yield from _texts(value.get("content"))
        else:
            yield from _texts(value.get("text"))
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _texts(one)
