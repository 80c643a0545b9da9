"""Conversations in the form that a chat template takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from spanmask.chat.conversation.layouts import kind_of
from spanmask.chat.conversation.read import Conversation

__all__ = ["MessageForms", "adapt"]

# The role whose content has the same form, for roles that templates seldom know.
SIMILAR = {"developer": "system", "function": "tool", "observation": "tool", "ipython": "tool"}
DETECTED = ("user", "assistant", "system", "tool")


class MessageForms(NamedTuple):
    """What a template takes.

    Attributes:
        roles_in_parts: the roles whose content is a list of parts; all other contents are strings.
        json_arguments: the arguments of calls are JSON text; else they are mappings.
        empty_content: the content of a message that has calls and no text.
        with_tools: calls are written only where the conversation has tools.
    """

    roles_in_parts: frozenset[str] = frozenset()
    json_arguments: bool = False
    empty_content: str | None = ""
    with_tools: bool = False


def adapt(conversation: Conversation, forms: MessageForms, *, media: bool = False) -> list[dict[str, Any]]:
    """Bring the messages of a conversation into the forms that a template takes, so that it drops no content and writes no Python.

    Texts become lists of one part and lists of text parts become texts, as the role needs it, and consecutive text parts become one, since
    some templates read only the first. Arguments become JSON text or mappings; JSON text stays as it is where the template takes it.
    Messages without content get an empty one. All other fields stay.

    Args:
        conversation: what `conversations_of` made of a row. It is not changed; messages that fit are returned as they are.
        forms: what the template takes. A role other than user, assistant, system and tool has the form of the one that it resembles:
            developer that of system; function, observation and ipython that of tool; any other that of user.
        media: leave lists that have parts other than text as they are, for templates that write images, videos or sounds.

    Returns:
        The messages for `apply_chat_template`.

    Raises:
        ValueError: a content has parts that are not text and the template takes strings, or arguments cannot be converted. The message
            names the row, the message and the call.

    >>> chat = Conversation([{"role": "user", "content": "Hi"}])
    >>> adapt(chat, MessageForms(roles_in_parts=frozenset({"user"})))
    [{'role': 'user', 'content': [{'type': 'text', 'text': 'Hi'}]}]
    """
    in_parts = forms.roles_in_parts
    messages = []
    for number, message in enumerate(conversation.messages):
        content = message.get("content")
        role = message["role"]
        fits = isinstance(content, str) and not (in_parts and takes_parts(role, in_parts))
        if not fits or "tool_calls" in message:
            message = adapted(message, forms, f"messages: {conversation.name}, message {number}", media)
        messages.append(message)
    return messages


def takes_parts(role: str, in_parts: frozenset[str]) -> bool:
    """Whether the content of a role is a list of parts."""
    return role in in_parts or (role not in DETECTED and SIMILAR.get(role, "user") in in_parts)


def adapted(message: Mapping[str, Any], forms: MessageForms, where: str, media: bool) -> dict[str, Any]:
    """A copy of one message in the forms that the template takes."""
    role, content, calls = message["role"], message.get("content"), message.get("tool_calls")
    made: Any = content
    if calls and is_blank(content):
        made = forms.empty_content
    elif not isinstance(content, list):
        made = [{"type": "text", "text": content or ""}] if takes_parts(role, forms.roles_in_parts) else content or ""
    elif takes_parts(role, forms.roles_in_parts) or (media and any(part["type"] != "text" for part in content)):
        made = merged(content)
    else:
        made = joined(content, where)
    changed = {**message, "content": made}
    if calls:
        changed["tool_calls"] = [adapted_call(call, forms, f"{where}, call {index}") for index, call in enumerate(calls)]
    return changed


def is_blank(content: Any) -> bool:
    """Whether a content has no text and no media. White space is text."""
    return not any(part["type"] != "text" or part["text"] for part in content) if isinstance(content, list) else not content


def merged(parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts with consecutive texts in one part: some templates read only the first (LLaVA-NeXT), or put spaces between them.

    Texts whose further keys differ remain apart.
    """
    made: list[dict[str, Any]] = []
    for part in parts:
        if part["type"] == "text" and made and {**made[-1], "text": ""} == {**part, "text": ""}:
            made[-1] = {**part, "text": made[-1]["text"] + part["text"]}
        else:
            made.append(part)
    return made


def joined(parts: list[dict[str, Any]], where: str) -> str:
    """The text of a list of text parts."""
    for number, part in enumerate(parts):
        if part["type"] != "text":
            raise ValueError(
                f"{where}, part {number}: is of type {part['type']!r}, but the chat template takes contents as text. For images, videos "
                "and sounds use DataCollatorForVisionChat; write reasoning as the message's 'reasoning_content', calls as its 'tool_calls'."
            )
    return "".join(part["text"] for part in parts)


def adapted_call(call: dict[str, Any], forms: MessageForms, where: str) -> dict[str, Any]:
    """A call whose arguments have the form that the template takes."""
    arguments = call["function"].get("arguments", {})
    if isinstance(arguments, str):
        made = arguments if forms.json_arguments else parsed(arguments, where)
    else:
        made = as_json(arguments, where) if forms.json_arguments else arguments
    if made is call["function"].get("arguments"):
        return call
    return {**call, "function": {**call["function"], "arguments": made}}


def parsed(text: str, where: str) -> dict[str, Any]:
    """Arguments from JSON text. An empty text has none."""
    try:
        arguments = json.loads(text) if text.strip() else {}
    except ValueError as error:
        raise ValueError(f"{where}: its arguments are not JSON ({error}); the chat template takes them as a mapping.") from None
    if not isinstance(arguments, dict):
        raise ValueError(
            f"{where}: its arguments are JSON of {kind_of(arguments)}; expected an object, since the chat template takes them as a mapping."
        )
    return arguments


def as_json(arguments: Mapping[str, Any], where: str) -> str:
    """Arguments as JSON text."""
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: its arguments cannot be written as JSON ({error}); write them as JSON text.") from None
