"""Tokenized rows whose messages are still there: their turns from the text, where a search in the ids could be wrong or is not enough."""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask.chat.conversation import Conversation, conversations_of, layout_of
from spanmask.chat.conversation.weights import DETAIL_KEYS, WEIGHT_KEYS
from spanmask.chat.coverage import REASONING_FIELDS
from spanmask.chat.encode import ChatEncoder, EncodedRow
from spanmask.chat.encoded import EncodedConversations, with_turns
from spanmask.chat.format import ChatFormat
from spanmask.chat.text.twin import REASONING_TAGS
from spanmask.chat.tokens import text_tokenizer
from spanmask.errors import ChatFormatError, SpanmaskWarning
from spanmask.integrations.answers.labeled import IGNORE
from spanmask.policy import MaskPolicy
from spanmask.ragged import Ragged, core_rows, listed
from spanmask.report import MaskReport, RunningReport
from spanmask.turns import TurnEntries

__all__ = ["MessageLabels", "RowLabels"]

COLUMNS = ("messages", "prompt", "completion", "tools", "chat_template_kwargs")


class RowLabels(NamedTuple):
    """The labels and loss weights of one row, and their counts."""

    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    report: MaskReport


class MessageLabels:
    """Labels rows by their messages.

    Args:
        renderer: the tokenizer or processor that the rows were tokenized with.
        template_kwargs: variables of its template.
        chat_format: the format that the other rows are searched with.
        policy: which tokens train.
        weights: whether the loss weights of messages are used.
    """

    def __init__(
        self, renderer: Any, template_kwargs: Mapping[str, Any], chat_format: ChatFormat, policy: MaskPolicy, weights: bool
    ) -> None:
        self.weights = weights
        self.renderer, self.template_kwargs = renderer, template_kwargs
        self.chat_format, self.policy = chat_format, policy
        self._running = RunningReport()

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

    def conversations(self, batch: Any, names: Sequence[str]) -> list[Conversation | None] | None:
        """The conversations of a batch, `None` for rows that only their trainer can read; `None` if its rows are made of something else.

        The answers in a prompt are like those in a completion: the trainer's labels say whether prompts train.

        Raises:
            ValueError, TypeError: a row that cannot be read has messages that say what trains.
        """
        columns = {name: listed(batch[name]) for name in COLUMNS if name in names}
        if not {"messages", "prompt"} & set(columns) or layout_of(columns).is_text:
            return None
        try:
            read: list[Conversation | None] = list(conversations_of(columns, template_kwargs=dict(self.template_kwargs)))
        except (TypeError, ValueError):
            read = [
                self._conversation({"index": [row], **{name: [column[row]] for name, column in columns.items()}})
                for row in range(len(next(iter(columns.values()))))
            ]
        return [None if one is None else replace(one, prompt_messages=0) for one in read]

    def _conversation(self, columns: Mapping[str, Any]) -> Conversation | None:
        """The conversation of a single row."""
        try:
            return conversations_of(columns, template_kwargs=dict(self.template_kwargs))[0]
        except (TypeError, ValueError):
            messages = [message for name in COLUMNS[:3] for rows in columns.get(name, ()) for message in rows or ()]
            if any(states_weight(message) for message in messages):
                raise
            return None

    def as_rendered(self, row: Any, names: Sequence[str], conversation: Conversation) -> Conversation:
        """A conversation as TRL gives it to the template: messages, tools and variables with the nulls that Arrow filled in, and no
        variables but the row's.

        `row`: a batch of this row alone.
        """
        columns = {name: listed(row[name])[0] for name in COLUMNS if name in names}
        tools, variables = columns.get("tools"), columns.get("chat_template_kwargs")
        options = {
            "tools": json.loads(tools) if isinstance(tools, str) and tools.strip() else tools,
            **(variables if isinstance(variables, Mapping) else {}),
        }
        layout = ("messages",) if "messages" in columns else ("prompt", "completion")
        messages = [message for name in layout for message in columns[name]]
        return replace(conversation, messages=messages, tools=options.pop("tools"), template_kwargs=options)

    def needs_text(self, conversation: Conversation) -> bool:
        """Whether a search could find other turns, cannot know their weights, or may not know what is reasoning or a call that the template
        leaves out.
        """
        trained = [message for message in conversation.messages if message["role"] in self.policy.roles]
        if (
            conversation.weights is not None
            or any("tool_calls" in message for message in conversation.messages)
            or any(map(may_reason, trained))
            or self.chat_format.uncovered_kind(conversation.messages, conversation.tools) is not None
        ):
            return True
        return any(marker in text for message in conversation.messages for text in texts_in(message) for marker in self.markers)

    def label(
        self,
        conversations: Mapping[int, Conversation],
        ids: Ragged,
        existing: Ragged | None,
        entries: Mapping[int, TurnEntries],
        as_rendered: Callable[[int], Conversation],
    ) -> dict[int, RowLabels]:
        """The labels of some rows, by their numbers; without rows whose ids are not those of their messages.

        Rows whose messages have weights are labeled in any case: nothing in them trains if their ids are not those of their messages.

        Raises:
            ValueError: messages have weights other than 0 and 1, for which a column of labels has no place.
        """
        labeled = {}
        for number, encoded_row in self.encoded(conversations, ids, as_rendered).items():
            conversation, real = conversations[number], ids[number].tolist()
            encoded = None
            if encoded_row is not None:
                encoded = with_turns([encoded_row], [conversation], self.policy.roles, lambda: self.chat_format)
            if encoded_row is None or encoded is None or encoded.unknown:
                if conversation.weights is not None:
                    labeled[number] = untrained(len(real), "messages have weights, but the ids are not those of the messages")
                continue
            self._warn_of_what_is_left_out(encoded)
            by_turn = encoded.turn_entries(self.policy.roles, entries.get(number, TurnEntries()))
            if not self.weights and any(weight not in (0, 1) for weight in conversation.weights or ()):
                raise ValueError(
                    f"messages: {conversation.name} has messages with loss weights other than 0 and 1, which a column of labels cannot "
                    "hold; give the trainer rows that it does not tokenize (dataset_kwargs={'skip_prepare_dataset': True}), and "
                    "WeightedLossMixin."
                )
            start = start_of(real, encoded_row.ids)
            stop = start + len(real)
            max_length = stop if stop < len(encoded_row.ids) else None
            known = None
            if existing is not None:
                known = [*encoded_row.ids[:start], *existing[number].tolist(), *encoded_row.ids[stop:]]
            plan = _core.plan_labels(
                core_rows([encoded_row.ids], "input_ids"),
                turns=encoded.turns,
                policy=self.policy._compile(encoded.turns.roles, self.chat_format.ignore_ids),
                attention_mask=None,
                labels=None if known is None else core_rows([known], "labels", int64=True),
                turn_mask=by_turn.turn_mask,
                turn_weights=by_turn.turn_weights,
                ignore_index=IGNORE,
                weighted=self.policy.weighted or by_turn.turn_weights is not None,
                max_length=max_length,
                skip_first=False,
                uncut_ids=(),
                with_roles=False,
                name="input_ids",
            )
            written = plan.write(_core.Layout.packed(max_length), padding=0, kept=None)
            labels = written.labels.reshape(-1)[start:]
            weights = np.where(labels == IGNORE, 0, 1).astype(np.float32)
            if written.weights is not None:
                weights = written.weights.reshape(-1)[start:]
            report = encoded.outcomes(plan, self.policy.roles, max_length).report
            trained = int((labels != IGNORE).sum())
            if report.trained_tokens and not trained:
                labeled[number] = untrained(len(real), "truncated after the answer")
            else:
                labeled[number] = RowLabels(labels, weights, replace(report, tokens=len(real), trained_tokens=trained))
        return labeled

    def _warn_of_what_is_left_out(self, encoded: EncodedConversations) -> None:
        """Warn once of each kind of thing that the template leaves out of answers."""
        for what, text in encoded.notes(self.policy.roles).items():
            if what.startswith("dropped") and self._running.is_first(what):
                warnings.warn(text, SpanmaskWarning, stacklevel=2)

    def encoded(
        self, conversations: Mapping[int, Conversation], ids: Ragged, as_rendered: Callable[[int], Conversation]
    ) -> dict[int, EncodedRow | None]:
        """Each conversation encoded so that a row's ids are a part of it: with messages as templates take them, as they were read, or as
        the trainer rendered them. `None` where none of them fits.
        """
        found: dict[int, EncodedRow | None] = dict.fromkeys(conversations)
        for form in ("taken", "read", "rendered"):
            missing = [number for number, row in found.items() if row is None]
            some = [as_rendered(number) if form == "rendered" else conversations[number] for number in missing]
            for number, row in zip(missing, self.encode(some, as_is=form != "taken"), strict=True):
                fits = row is not None and start_of(ids[number].tolist(), row.ids) >= 0
                found[number] = row if fits else None
        return found

    def encode(self, conversations: Sequence[Conversation], as_is: bool) -> list[EncodedRow | None]:
        """Encode conversations; `None` for those that cannot be."""
        try:
            return list(self.encoder.encode(conversations, as_is=as_is))
        except ChatFormatError:  # a tokenizer whose tokens do not spell the text
            return [None] * len(conversations)
        except ValueError:  # one of them
            return [None] if len(conversations) == 1 else [self.encode([one], as_is)[0] for one in conversations]


def start_of(ids: list[int], whole: list[int]) -> int:
    """Where the ids of a row begin in those of its whole text, of which the end or the beginning may be cut off; -1 if nowhere."""
    if whole[: len(ids)] == ids:
        return 0
    start = max(len(whole) - len(ids), 0)
    return start if whole[start:] == ids else -1


def untrained(tokens: int, reason: str) -> RowLabels:
    """The labels of a row that trains nothing."""
    report = MaskReport(rows=1, tokens=tokens, reasons=Counter({reason: 1}), untrained_rows=[(0, reason)])
    return RowLabels(np.full(tokens, IGNORE, np.int64), np.zeros(tokens, np.float32), report)


def states_weight(message: Any) -> bool:
    """Whether a message says whether it trains, or how much, or which of its characters do."""
    return isinstance(message, Mapping) and any(message.get(key) is not None for key in (*WEIGHT_KEYS, *DETAIL_KEYS))


def may_reason(message: Mapping[str, Any]) -> bool:
    """Whether a message has a field of reasoning, or text that may be a tag of it."""
    if any(message.get(name) for name in REASONING_FIELDS):
        return True
    return any(re.search(REASONING_TAGS, text, re.IGNORECASE) for text in texts_in(message.get("content")))


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
