"""Encoded conversations -> `Turns`: what the collators and `encode_chat` make labels from.

A row whose text could not be aligned has the turns that the derived format finds, if their roles are those of its messages; else it has
none, and nothing in it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.conversation import Conversation
from spanmask.chat.conversation.sharegpt import WRITER_ROLES
from spanmask.chat.encode import AlignedTurn, ChatEncoder, EncodedRow
from spanmask.chat.format import ChatFormat
from spanmask.chat.roles import same_roles
from spanmask.errors import ChatFormatError
from spanmask.ragged import Column
from spanmask.report import RowOutcomes
from spanmask.turns import TurnEntries, Turns, find_turns, turn_columns

__all__ = ["EncodedConversations", "encode_conversations"]

NO_MESSAGE = -1  # a turn that was found by a search, and cannot be told to be that of one message


@dataclass(slots=True)
class EncodedConversations:
    """The ids and turns of many conversations.

    Attributes:
        ids: the token ids of each row.
        turns: the turns of all rows; their roles are those of the messages, and `trained_roles`.
        message: the index of each turn's message, -1 if unknown; int64.
        searched: rows whose turns were found by a search.
        unknown: rows whose turns are not known, and why.
        dropped: (row, message, what) for everything that the template leaves out of the assistant's messages.
    """

    conversations: Sequence[Conversation]
    ids: list[list[int]]
    turns: Turns
    message: npt.NDArray[np.int64]
    searched: list[int]
    unknown: dict[int, str]
    dropped: list[tuple[int, int, str]]

    def turn_entries(self, trained_roles: Sequence[str], by_message: TurnEntries) -> TurnEntries:
        """A loss weight (or flag) for each turn of a trained role.

        Args:
            trained_roles: the roles that train.
            by_message: the entries of a column, one for each message of a trained role. They are multiplied with those of the messages.

        Raises:
            ValueError: a row has another number of entries than messages of a trained role.
        """
        column = by_message.turn_weights if by_message.turn_mask is None else by_message.turn_mask
        if column is None and not any(one.weights or one.prompt_messages for one in self.conversations):
            return by_message
        factors = [self._factors(row, trained_roles, column) for row in range(len(self.conversations))]
        trained = np.isin(self.turns.role, [number for number, role in enumerate(self.turns.roles) if role in trained_roles])
        rows, messages = self.turns.row[trained].tolist(), self.message[trained].tolist()
        entries: list[list[float]] = [[] for _ in self.conversations]
        for row, message in zip(rows, messages, strict=True):
            by_ordinal = list(factors[row].values())
            ordinal = len(entries[row])
            entries[row].append(
                # A result in a message of another role has no weight of its own.
                factors[row].get(message, float(message >= self.conversations[row].prompt_messages))
                if message != NO_MESSAGE
                else by_ordinal[ordinal]
                if ordinal < len(by_ordinal)
                else 1.0
            )
        values = [value for row in entries for value in row]
        are_flags = all(value in (0.0, 1.0) for value in values)
        return turn_columns(entries, None) if are_flags else turn_columns(None, entries)

    def _factors(self, row: int, trained_roles: Sequence[str], column: Column | None) -> dict[int, float]:
        """The loss weight of each message of a trained role in one row."""
        one = self.conversations[row]
        trained = [number for number, message in enumerate(one.messages) if message["role"] in trained_roles]
        factors = {
            number: (0.0 if number < one.prompt_messages else 1.0) * (1.0 if one.weights is None else one.weights[number])
            for number in trained
        }
        if column is not None:
            given = column.values[column.starts[row] : column.stops[row]].tolist()
            if len(given) != len(trained):
                raise ValueError(
                    f"turn_mask, turn_weights: {one.name} has {len(given)} entries for {len(trained)} messages of the roles "
                    f"{', '.join(trained_roles)}; give one for each."
                )
            factors = {number: factors[number] * value for number, value in zip(trained, given, strict=True)}
        return factors

    def outcomes(self, plan: _core.LabelPlan, trained_roles: Sequence[str], max_length: int | None) -> RowOutcomes:
        """What became of the rows when their labels were planned."""
        return RowOutcomes(
            plan.counts,
            plan.outcomes,
            self.turns.roles,
            max_length,
            causes=self.causes(trained_roles) if plan.counts.untrained_rows else {},
            aligned=len(self.ids) - len(self.searched) - len(self.unknown),
            searched=len(self.searched),
        )

    def notes(self, trained_roles: Sequence[str]) -> dict[str, str]:
        """What users should be warned of once, by kind: what a template leaves out of answers, keys that Arrow filled in, and roles whose
        names say that the model writes their messages, but that do not train.
        """
        notes: dict[str, str] = {}
        untrained = WRITER_ROLES.difference(trained_roles)
        for one in self.conversations:
            for message, fields in enumerate(one.messages):
                role = fields["role"]
                if role in untrained:
                    notes.setdefault(
                        f"role {role}",
                        f"messages: {one.name}, message {message}: the role {role!r} does not train, although its name says that the model "
                        "writes such messages. Put calls into 'tool_calls' of an assistant message, and answers under the role "
                        "'assistant'.",
                    )
        for row, message, what in reversed(self.dropped):
            notes[f"dropped {what}"] = (
                f"messages: {self.conversations[row].name}, message {message}: the chat template leaves out its {what}, so the model does "
                "not learn to write it. Check the template, or the form of the messages."
            )
        nulls = next((one for one in self.conversations if one.dropped_nulls), None)
        if nulls is not None:
            notes["nulls"] = (
                f"messages: {nulls.name}: {nulls.dropped_nulls} keys without a value were removed from the arguments of calls or from "
                "tools, because Arrow adds such keys where rows differ. If None is meant, write the arguments as JSON text."
            )
        return notes

    def describe_unknown(self) -> dict[int, str]:
        """A message for each row whose turns are not known."""
        return {
            row: f"messages: {self.conversations[row].name} trains nothing: {why}. Its template may change contents in a way that is not "
            "known here. Tokenize the row yourself and pass input_ids with a chat_format, or set on_role_mismatch='drop'."
            for row, why in self.unknown.items()
        }

    def causes(self, trained_roles: Sequence[str]) -> dict[int, str]:
        """Rows of which the messages or the template show why nothing trains, whatever the tokens look like; and that reason."""
        has_turn = np.zeros(len(self.ids), np.bool_)
        roles = [number for number, role in enumerate(self.turns.roles) if role in trained_roles]
        has_turn[self.turns.row[np.isin(self.turns.role, roles)]] = True
        causes = dict(self.unknown)
        left_out = {row: what for row, _, what in self.dropped}
        for row in np.flatnonzero(~has_turn).tolist():
            if row in causes:
                continue
            found = list(dict.fromkeys(str(message["role"]) for message in self.conversations[row].messages))
            if not set(found) & set(trained_roles):
                causes[row] = f"no {' or '.join(trained_roles)} message, only {', '.join(found)}"
            elif row in left_out:
                causes[row] = f"the chat template leaves out the {left_out[row]}"
        return causes


def encode_conversations(
    encoder: ChatEncoder,
    conversations: Sequence[Conversation],
    trained_roles: Sequence[str],
    chat_format: Callable[[], ChatFormat],
    *,
    add_generation_prompt: bool = False,
) -> EncodedConversations:
    """Encode conversations, and search for the turns of those that could not be aligned.

    Args:
        chat_format: gives the format for the search. It is called only if a row needs it.

    Raises:
        ValueError: the template refuses a conversation, or cannot take what it holds; the message names the row.
        ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
    """
    rows = list(encoder.encode(conversations, add_generation_prompt=add_generation_prompt))
    return with_turns(rows, conversations, trained_roles, chat_format)


def with_turns(
    rows: Sequence[EncodedRow],
    conversations: Sequence[Conversation],
    trained_roles: Sequence[str],
    chat_format: Callable[[], ChatFormat] | None = None,
) -> EncodedConversations:
    """Put the turns of all rows into columns."""
    found = {row: encoded.turns for row, encoded in enumerate(rows) if encoded.turns is not None}
    missing = [row for row in range(len(rows)) if row not in found]
    searched, unknown = search(missing, rows, conversations, chat_format) if missing and chat_format else ({}, {})
    found |= searched
    turns = [(row, turn) for row in range(len(rows)) for turn in found.get(row, ())]
    roles = tuple(dict.fromkeys((*trained_roles, *(turn.role for _, turn in turns))))
    numbers = {role: number for number, role in enumerate(roles)}

    places = np.array([turn.places for _, turn in turns], np.int64).reshape(-1, 6)
    start, content_start, prefill_stop, reasoning_stop, content_stop, stop = np.ascontiguousarray(places.T)
    return EncodedConversations(
        conversations=conversations,
        ids=[row.ids for row in rows],
        turns=Turns(
            row=np.array([row for row, _ in turns], np.int64),
            role=np.array([numbers[turn.role] for _, turn in turns], np.int64),
            start=start,
            content_start=content_start,
            content_stop=content_stop,
            stop=stop,
            closed=np.ones(len(turns), np.bool_),  # the messages are whole, with or without closing tokens
            roles=roles,
            prefill_stop=prefill_stop,
            stop_token=np.array([turn.stop_token for _, turn in turns], np.bool_),
            reasoning_stop=reasoning_stop,
            empty_reasoning=np.array([turn.empty_reasoning for _, turn in turns], np.bool_),
            row_lengths=np.array([len(row.ids) for row in rows], np.int64),
        ),
        message=np.array([turn.message for _, turn in turns], np.int64),
        searched=sorted(searched),
        unknown=unknown,
        dropped=[(row, *what) for row, encoded in enumerate(rows) for what in encoded.dropped],
    )


def search(
    missing: Sequence[int],
    rows: Sequence[EncodedRow],
    conversations: Sequence[Conversation],
    chat_format: Callable[[], ChatFormat],
) -> tuple[dict[int, list[AlignedTurn]], dict[int, str]]:
    """The turns that a search finds in rows that could not be aligned, and why it finds none in the others."""
    unaligned = "the rendered text could not be aligned with the messages"
    try:
        fmt = chat_format()
    except ChatFormatError:
        return {}, dict.fromkeys(missing, f"{unaligned}, and no chat format can be derived")
    turns = find_turns([rows[row].ids for row in missing], fmt)
    assert turns.prefill_stop is not None  # a search finds all columns
    assert turns.reasoning_stop is not None
    assert turns.stop_token is not None
    assert turns.empty_reasoning is not None
    places = (turns.start, turns.content_start, turns.prefill_stop, turns.reasoning_stop, turns.content_stop, turns.stop)
    found: dict[int, list[AlignedTurn]] = {}
    unknown = {}
    for number, row in enumerate(missing):
        messages = conversations[row].messages
        some = [
            AlignedTurn(
                fmt.roles[turns.role[at]],
                NO_MESSAGE,
                tuple(int(column[at]) for column in places),
                bool(turns.stop_token[at]),
                bool(turns.empty_reasoning[at]),
            )
            for at in np.flatnonzero(turns.row == number).tolist()
        ]
        if rows[row].holds_tokens:
            unknown[row] = f"{unaligned}, and a search could take the special tokens in its contents for the template's"
            continue
        is_covered = fmt.uncovered_kind(messages, conversations[row].tools) is None
        if not (is_covered and same_roles(messages, [turn.role for turn in some if turn.places[-1] > turn.places[1]], fmt)):
            unknown[row] = f"{unaligned}, and a search finds other turns"
            continue
        found[row] = some
    return found, unknown
