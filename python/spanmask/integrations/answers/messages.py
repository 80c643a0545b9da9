"""Tokenized rows whose messages are still there: their turns from the text, where a search in the ids could be wrong or is not enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask.chat.conversation import Conversation, conversations_of, layout_of
from spanmask.chat.encode import ChatEncoder
from spanmask.chat.encoded import with_turns
from spanmask.chat.format import ChatFormat
from spanmask.chat.tokens import text_tokenizer
from spanmask.errors import ChatFormatError
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, core_rows, is_arrow
from spanmask.report import MaskReport
from spanmask.turns import TurnEntries

__all__ = ["MessageLabels", "RowLabels"]

COLUMNS = ("messages", "prompt", "completion", "tools", "chat_template_kwargs")


class RowLabels(NamedTuple):
    """The labels of one row, and their counts."""

    labels: npt.NDArray[np.int64]
    report: MaskReport


class MessageLabels:
    """Labels rows by their messages.

    Args:
        renderer: the tokenizer or processor that the rows were tokenized with.
        template_kwargs: variables of its template.
        chat_format: the format that the other rows are searched with.
        policy: which tokens train.
    """

    def __init__(self, renderer: Any, template_kwargs: Mapping[str, Any], chat_format: ChatFormat, policy: MaskPolicy) -> None:
        self.renderer, self.template_kwargs = renderer, template_kwargs
        self.chat_format, self.policy = chat_format, policy

    @cached_property
    def encoder(self) -> ChatEncoder:
        """Encodes conversations. It is made when a row needs it."""
        return ChatEncoder(self.renderer, self.renderer)

    @cached_property
    def markers(self) -> tuple[str, ...]:
        """The texts of all markers, without blanks around them."""
        tokenizer, known = text_tokenizer(self.renderer), dict(self.chat_format.texts)
        markers = {marker for boundary in self.chat_format.boundaries for marker in (*boundary.start, *boundary.end)}
        texts = {(known.get(marker) or str(tokenizer.decode(list(marker)))).strip() for marker in markers}
        return tuple(sorted(text for text in texts if text))

    def conversations(self, batch: Any, names: Sequence[str]) -> list[Conversation] | None:
        """The conversations of a batch; `None` if its rows are made of something else, or of what only their trainer can read."""
        columns = {name: entries_of(batch[name]) for name in COLUMNS if name in names}
        if not {"messages", "prompt"} & set(columns) or layout_of(columns).is_text:
            return None
        try:
            return conversations_of(columns, template_kwargs=dict(self.template_kwargs))
        except (TypeError, ValueError):
            return None

    def needs_text(self, conversation: Conversation) -> bool:
        """Whether a search could find other turns, or cannot know their weights."""
        if conversation.weights is not None or self.chat_format.uncovered_kind(conversation.messages) is not None:
            return True
        return any(marker in text for message in conversation.messages for text in texts_in(message) for marker in self.markers)

    def label(
        self,
        conversations: Mapping[int, Conversation],
        ids: Ragged,
        existing: Ragged | None,
        entries: Mapping[int, TurnEntries],
    ) -> dict[int, RowLabels]:
        """The labels of some rows, by their numbers; without rows whose ids are not those of their messages.

        Raises:
            ValueError: messages have weights other than 0 and 1, for which a column of labels has no place.
        """
        labeled = {}
        try:
            encoded_rows = list(self.encoder.encode(list(conversations.values())))
        except ChatFormatError:  # a tokenizer whose tokens do not spell the text
            return {}
        for (number, conversation), row in zip(conversations.items(), encoded_rows, strict=True):
            real = ids[number].tolist()
            if row.ids[: len(real)] != real:
                continue
            encoded = with_turns([row], [conversation], self.policy.roles, lambda: self.chat_format)
            if encoded.unknown:
                continue
            by_turn = encoded.turn_entries(self.policy.roles, entries.get(number, TurnEntries()))
            if by_turn.turn_weights is not None and not self.policy.weighted and number not in entries:
                raise ValueError(
                    f"messages: {conversation.name} has messages with loss weights other than 0 and 1, which a column of labels cannot "
                    "hold; give the trainer rows that it does not tokenize (dataset_kwargs={'skip_prepare_dataset': True}), and "
                    "WeightedLossMixin."
                )
            max_length = len(real) if len(real) < len(row.ids) else None
            plan = _core.plan_labels(
                core_rows([row.ids], "input_ids"),
                turns=encoded.turns,
                policy=self.policy._compile(encoded.turns.roles, self.chat_format.ignore_ids),
                attention_mask=None,
                labels=None
                if existing is None
                else core_rows([[*existing[number].tolist(), *row.ids[len(real) :]]], "labels", int64=True),
                turn_mask=by_turn.turn_mask,
                turn_weights=by_turn.turn_weights,
                ignore_index=-100,
                weighted=by_turn.turn_weights is not None,
                max_length=max_length,
                skip_first=False,
                uncut_ids=(),
                with_roles=False,
                name="input_ids",
            )
            written = plan.write(_core.Layout.packed(max_length), padding=0, kept=None)
            labeled[number] = RowLabels(written.labels.reshape(-1), encoded.outcomes(plan, self.policy.roles, max_length).report)
        return labeled


def entries_of(column: Any) -> Any:
    """The entries of a column as Python's own."""
    return column.to_pylist() if is_arrow(column) else column


def texts_in(value: Any) -> Iterator[str]:
    """All texts inside a message."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            if key != "role":
                yield from texts_in(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from texts_in(entry)
