"""Encoded conversations -> `Turns`: what the collators and `encode_chat` make labels from.

A row whose text could not be aligned has the turns that the derived format finds, if their roles are those of its messages; else it has
none, and nothing in it trains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.chat.conversation import Conversation
from spanmask.chat.encode import AlignedTurn, ChatEncoder, EncodedRow
from spanmask.chat.format import ChatFormat
from spanmask.chat.roles import same_roles
from spanmask.errors import ChatFormatError
from spanmask.turns import Turns, find_turns

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

    def weights(self, trained_roles: Sequence[str], by_message: Sequence[Sequence[float]] | None = None) -> list[list[float]] | None:
        """A loss weight for each turn of a trained role, row by row; `None` if all are 1.

        Args:
            trained_roles: the roles that train.
            by_message: further weights (or flags), one for each message of a trained role.
        """
        if by_message is None and not any(one.weights or one.prompt_messages for one in self.conversations):
            return None
        weights: list[list[float]] = [[] for _ in self.conversations]
        ordinals = [ordinals_of(one, trained_roles) for one in self.conversations]
        trained = [role in trained_roles for role in self.turns.roles]
        for row, role, message in zip(self.turns.row.tolist(), self.turns.role.tolist(), self.message.tolist(), strict=True):
            if not trained[role]:
                continue
            one = self.conversations[row]
            ordinal = len(weights[row]) if message == NO_MESSAGE else ordinals[row].get(message, len(weights[row]))
            weight = 1.0
            if message != NO_MESSAGE:
                if one.weights is not None:
                    weight *= one.weights[message]
                if message < one.prompt_messages:
                    weight = 0.0
            if by_message is not None:
                entries = by_message[row]
                if ordinal >= len(entries):
                    raise ValueError(
                        f"turn_mask: {one.name} has {len(entries)} entries for {len(ordinals[row])} messages of a trained role; "
                        "give one for each."
                    )
                weight *= float(entries[ordinal])
            weights[row].append(weight)
        return weights

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


def ordinals_of(conversation: Conversation, trained_roles: Sequence[str]) -> dict[int, int]:
    """The messages of trained roles, numbered in order."""
    trained = [number for number, message in enumerate(conversation.messages) if message["role"] in trained_roles]
    return {message: ordinal for ordinal, message in enumerate(trained)}


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
    chat_format: Callable[[], ChatFormat],
) -> EncodedConversations:
    """Put the turns of all rows into columns."""
    found = {row: encoded.turns for row, encoded in enumerate(rows) if encoded.turns is not None}
    missing = [row for row in range(len(rows)) if row not in found]
    searched, unknown = search(missing, rows, conversations, chat_format) if missing else ({}, {})
    found |= searched
    turns = [(row, turn) for row in range(len(rows)) for turn in found.get(row, ())]
    roles = tuple(dict.fromkeys((*trained_roles, *(turn.role for _, turn in turns))))
    numbers = {role: number for number, role in enumerate(roles)}

    def column(name: str, dtype: type = np.int64) -> npt.NDArray[Any]:
        return np.array([getattr(turn, name) for _, turn in turns], dtype)

    return EncodedConversations(
        conversations=conversations,
        ids=[row.ids for row in rows],
        turns=Turns(
            row=np.array([row for row, _ in turns], np.int64),
            role=np.array([numbers[turn.role] for _, turn in turns], np.int64),
            start=column("start"),
            content_start=column("content_start"),
            content_stop=column("content_stop"),
            stop=column("stop"),
            closed=np.ones(len(turns), np.bool_),  # the messages are whole, with or without closing tokens
            roles=roles,
            prefill_stop=column("prefill_stop"),
            stop_token=column("stop_token", np.bool_),
            reasoning_stop=column("reasoning_stop"),
            empty_reasoning=column("empty_reasoning", np.bool_),
            row_lengths=np.array([len(row.ids) for row in rows], np.int64),
        ),
        message=column("message"),
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
    positions = (turns.start, turns.content_start, turns.prefill_stop, turns.reasoning_stop, turns.content_stop, turns.stop)
    flags = (turns.stop_token, turns.empty_reasoning)
    found: dict[int, list[AlignedTurn]] = {}
    unknown = {}
    for number, row in enumerate(missing):
        messages = conversations[row].messages
        some = [
            AlignedTurn(fmt.roles[turns.role[at]], NO_MESSAGE, *(int(column[at]) for column in positions), *(bool(column[at]) for column in flags))
            for at in np.flatnonzero(turns.row == number).tolist()
        ]
        wanted = [str(message["role"]) for message in messages]
        if fmt.uncovered_kind(messages) is not None or not same_roles(wanted, [turn.role for turn in some], fmt):
            unknown[row] = f"{unaligned}, and a search finds other turns"
            continue
        found[row] = some
    return found, unknown
