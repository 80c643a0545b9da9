"""Messages with `from` and `value`, as ShareGPT, LLaVA and LLaMA-Factory write them."""

from __future__ import annotations

from typing import Any

from spanmask.chat.conversation.layouts import Place, kind_of

__all__ = ["ROLES", "from_value"]

CALLER = "function_call"
ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "chatgpt", "bing", "bard", "model", CALLER), "assistant"),
    **dict.fromkeys(("observation", "tool", "function_response"), "tool"),
    "system": "system",
    "developer": "developer",
}


def from_value(fields: dict[str, Any], place: Place) -> dict[str, Any]:
    """A message with `role` and `content`, or `tool_calls` as JSON text; its other keys stay.

    Raises:
        ValueError: `from` is not a known name.
        TypeError: the value of a `function_call` is not text.
    """
    speaker = fields["from"]
    if speaker not in ROLES:
        raise ValueError(
            f"{place}: 'from' is {speaker!r}; names that are known: {', '.join(map(repr, ROLES))}. Rename it, or write the message with "
            "'role' and 'content'."
        )
    renamed = {{"from": "role", "value": "content"}.get(key, key): value for key, value in fields.items()}
    renamed["role"] = ROLES[speaker]
    if speaker == CALLER:
        value = renamed.pop("content", None)
        if not isinstance(value, str) or not value.strip():
            found = repr(value) if isinstance(value, str) else kind_of(value)
            raise TypeError(f"{place}: the value of a 'function_call' is {found}; expected a call as JSON text.")
        renamed["tool_calls"] = value  # JSON text: `read_calls` parses it
    return renamed
