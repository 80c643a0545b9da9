"""One message of a row: checked, and freed of the nulls that Arrow filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from spanmask.chat.conversation.calls import read_calls
from spanmask.chat.conversation.layouts import Place, kind_of
from spanmask.chat.conversation.sharegpt import ALIASES, from_value
from spanmask.chat.conversation.weights import take_part_flags, take_weight
from spanmask.chat.coverage import REASONING_FIELDS

__all__ = ["Message", "read_message"]

CONVERSATIONS_COLUMN = "conversations"
# Fields that may stand for the content of a message.
SUBSTITUTES = ("tool_calls", *REASONING_FIELDS)


class Message(NamedTuple):
    """A message as templates read it; its weight, None if it says none; the nulls that were removed from its calls' arguments."""

    fields: dict[str, Any]
    weight: float | None = None
    dropped_nulls: int = 0


def read_message(message: Any, place: Place) -> Message:
    """Check and copy one message, with `role` and `content` or with `from` and `value`.

    In `conversations`, the roles human, gpt and their like become user and assistant, as they do with `from` and `value`. Keys without a
    value are left out. All others stay, in their order,
    but those that state a weight, in a message or in the texts of its content.

    Raises:
        TypeError: the message, its role, content or calls are of a wrong type.
        ValueError: the role or the content is missing, a call has no name, or a weight is not usable.
    """
    if not isinstance(message, Mapping):
        raise TypeError(f"{place}: is {kind_of(message)}; expected a dict with 'role' and 'content'.")
    fields = {key: value for key, value in message.items() if value is not None}
    is_empty = "content" in message or ("from" in message and "value" in message)
    if "role" not in fields and "from" in fields:
        fields = from_value(fields, place)
    role = fields.get("role")
    if role is None:
        raise ValueError(f"{place}: has no 'role'; its keys are {', '.join(map(repr, message)) or 'none'}.")
    if not isinstance(role, str) or not role:
        raise TypeError(f"{place}: 'role' is {role!r}; expected a name such as 'user' or 'assistant'.")
    if place.column == CONVERSATIONS_COLUMN:  # `messages` are what the template is called with, as they are
        fields["role"] = ALIASES.get(role, role)
    weight = take_weight(fields, place)
    dropped_nulls = read_calls(fields, place)
    if "content" in fields:
        fields["content"] = content = read_content(fields["content"], place)
        flag = None if isinstance(content, str) else take_part_flags(content, place)
        if flag is not None:
            weight = flag * (1.0 if weight is None else weight)
    elif not is_empty and not any(name in fields for name in SUBSTITUTES):
        raise ValueError(f"{place}: has no 'content'; its keys are {', '.join(map(repr, message))}.")
    return Message(fields, weight, dropped_nulls)


def read_content(content: Any, place: Place) -> str | list[dict[str, Any]]:
    """A text, or a list of parts without nulls."""
    if isinstance(content, str):
        return content
    if isinstance(content, np.ndarray):
        content = content.tolist()
    if not isinstance(content, (list, tuple)):
        raise TypeError(
            f"{place}: 'content' is {kind_of(content)}; expected a string, a list of parts such as {{'type': 'text', 'text': ...}}, or "
            "None. Write other values as text, for example with json.dumps."
        )
    return [read_part(part, f"{place}, part {number}") for number, part in enumerate(content)]


def read_part(part: Any, where: str) -> dict[str, Any]:
    """One part of a content."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise TypeError(f"{where}: is {kind_of(part)}; expected a dict such as {{'type': 'text', 'text': ...}}.")
    fields = {key: value for key, value in part.items() if value is not None}
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise ValueError(f"{where}: 'type' is {kind!r}; expected a name such as 'text' or 'image'.")
    if kind == "text" and not isinstance(fields.get("text"), str):
        raise TypeError(f"{where}: 'text' is {kind_of(fields.get('text'))}; expected a string.")
    return fields
