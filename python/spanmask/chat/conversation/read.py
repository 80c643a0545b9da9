"""Columns of a batch -> conversations. What a row says, whatever its layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spanmask.chat.conversation.layouts import Layout, Place, entries, kind_of, layout_of, row_name
from spanmask.chat.conversation.message import Message, read_message
from spanmask.chat.conversation.sharegpt import ALIASES
from spanmask.chat.conversation.variables import (
    KWARGS_COLUMN,
    TOOLS_COLUMN,
    read_kwargs,
    read_tools,
    variables_by_row,
)

__all__ = ["Conversation", "conversations_of"]

SYSTEM_COLUMN = "system"


@dataclass(slots=True)
class Conversation:
    """The messages of one row, and what else its chat template reads.

    Messages and tools may be shared with the row that they come from: make copies before you change them.

    Attributes:
        messages: dicts with `role`; `content` a text, a list of parts (dicts with `type`), or not there; `tool_calls` in the form
            `{"type": "function", "function": {"name": ..., "arguments": ...}}`. No key has the value None, and none states a weight.
        tools: the tools of the row; `None` if it has none.
        template_kwargs: the template's variables.
        weights: a loss weight for each message, 1.0 for those that state none; `None` if no message states one. It applies to messages
            whose role trains: a weight does not make another role train.
        prompt_messages: the first so many messages never train.
        dropped_nulls: the number of keys without a value that were removed from the arguments of calls and from tools. Arrow fills them
            in; if a row means None there, it must write the arguments or the tools as JSON text.
        name: the row in error messages, as `row_name` gives it.
    """

    messages: list[dict[str, Any]]
    tools: list[Any] | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    weights: list[float] | None = None
    prompt_messages: int = 0
    dropped_nulls: int = 0
    name: str = "the conversation"


def conversations_of(columns: Mapping[str, Any], *, tools: Any = None, template_kwargs: Any = None) -> list[Conversation]:
    """Read the conversations of a batch.

    The first of these that the columns have: `messages`; `prompt` and `completion`, lists of messages of which the prompt's never train;
    `conversations`, with which `system` may hold the text of a system message. The columns `tools` and `chat_template_kwargs` are read
    where present.

    Messages are dicts with `role` and `content`, or with `from` and `value`. The roles human, gpt, chatgpt, bing, bard and model become
    user and assistant. `weight`, `train`, `training`, `trainable`, `loss` or `loss_scale` in a message states its weight.

    Args:
        columns: columns of equal length, one entry a row: lists or Arrow arrays.
        tools: for all rows, or a list with one entry a row; a row's own tools take their place.
        template_kwargs: variables of the template, for all rows, or a list with one dict a row; a row's own values take their place.
            `tools` among a row's variables takes the place of its column, as in TRL.

    Returns:
        One conversation a row.

    Raises:
        ValueError, TypeError: no columns that are read, or a row that cannot be used; the message names row and message.

    >>> row = {"messages": [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?", "weight": 0.5}]]}
    >>> conversations_of(row)[0].weights
    [1.0, 0.5]
    """
    layout = layout_of(columns)
    if layout.is_text:
        raise ValueError(
            f"features: the layout of the columns is {layout.value!r}; expected messages, as 'messages', 'prompt' + 'completion' or "
            "'conversations'."
        )
    named = {
        name: entries(columns, name) for name in (*layout.columns, SYSTEM_COLUMN, TOOLS_COLUMN, KWARGS_COLUMN) if name in columns
    }
    rows = len(named[layout.columns[0]])
    given_tools, given_kwargs = variables_by_row(tools, template_kwargs, rows)
    conversations = []
    for row in range(rows):
        conversation = read_row(layout, named, row, row_name(columns, row))
        own_tools = named[TOOLS_COLUMN][row] if TOOLS_COLUMN in named else None
        own_kwargs = named[KWARGS_COLUMN][row] if KWARGS_COLUMN in named else None
        if own_kwargs is not None:
            read = read_kwargs(own_kwargs, f"{KWARGS_COLUMN}: {conversation.name}")
            own_tools = read.pop(TOOLS_COLUMN, own_tools)
            conversation.template_kwargs = {**given_kwargs[row], **read}
        else:
            conversation.template_kwargs = dict(given_kwargs[row])
        said, removed = (None, 0) if own_tools is None else read_tools(own_tools, f"{TOOLS_COLUMN}: {conversation.name}")
        conversation.tools = (given_tools[row] if said is None else said) or None
        conversation.dropped_nulls += removed
        conversations.append(conversation)
    return conversations


def read_row(layout: Layout, named: Mapping[str, Sequence[Any]], row: int, name: str) -> Conversation:
    """The messages of one row."""
    read = [read_messages(named[column][row], column, name) for column in layout.columns]
    messages = [message for column in read for message in column]
    prompt_messages = len(read[0]) if layout is Layout.PROMPT_COMPLETION else 0
    if layout is Layout.CONVERSATIONS and SYSTEM_COLUMN in named:
        messages = with_system(messages, named[SYSTEM_COLUMN][row], Place(SYSTEM_COLUMN, name))
    weights = [message.weight for message in messages]
    return Conversation(
        [message.fields for message in messages],
        weights=None if weights.count(None) == len(weights) else [1.0 if weight is None else weight for weight in weights],
        prompt_messages=prompt_messages,
        dropped_nulls=sum(message.dropped_nulls for message in messages),
        name=name,
    )


def read_messages(entry: Any, column: str, name: str) -> list[Message]:
    """The messages in one row of a column."""
    if isinstance(entry, np.ndarray):
        entry = entry.tolist()
    if not isinstance(entry, (list, tuple)):
        remedy = (
            " Parse JSON text first, for example with json.loads in prepare= or in dataset.map." if isinstance(entry, str) else ""
        )
        raise TypeError(f"{Place(column, name)} holds {kind_of(entry)}; expected a list of messages.{remedy}")
    if not entry and column != "prompt":
        raise ValueError(f"{Place(column, name)} holds no messages; remove the row, or give it at least one.")
    messages = []
    for number, message in enumerate(entry):
        if type(message) is dict:  # the usual message, without further fields or with nulls in them
            fields = {key: value for key, value in message.items() if value is not None}
            role = fields.get("role")
            if type(role) is str and role and role not in ALIASES and len(fields) == 2 and type(fields.get("content")) is str:
                messages.append(Message(fields))
                continue
        messages.append(read_message(message, Place(column, name, number)))
    return messages


def with_system(messages: list[Message], text: Any, place: Place) -> list[Message]:
    """The messages after a system message with the text of the column `system`, if it has one."""
    if text is None or text == "":
        return messages
    if not isinstance(text, str):
        raise TypeError(f"{place} holds {kind_of(text)}; expected the text of the system message, or None.")
    first = messages[0].fields
    if first["role"] != "system":
        return [Message({"role": "system", "content": text}), *messages]
    if first.get("content") != text:
        raise ValueError(f"{place} has a text in this column and another one in a system message; keep one of them.")
    return messages
