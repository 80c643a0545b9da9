"""Messages with `from` and `value`, as ShareGPT, LLaVA and LLaMA-Factory write them, and their names of roles."""

from __future__ import annotations

from typing import Any

from spanmask.chat.conversation.layouts import Place, kind_of

__all__ = ["ALIASES", "WRITER_ROLES", "from_value"]

CALLER = "function_call"
# Names that mean the same with `role` in a column `conversations`, where data sets were converted by renaming the keys only. `observation`
# is not among them: templates of GLM know that role.
ALIASES = {"human": "user", **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "model"), "assistant")}
ROLES = {
    **ALIASES,
    **{role: role for role in ("system", "developer", "user", "assistant", "tool")},
    **dict.fromkeys(("observation", "function_response"), "tool"),
    CALLER: "assistant",
}
# Names under which data sets keep what the model writes, next to "assistant".
WRITER_ROLES = frozenset(
    {
        *(name for name, role in ROLES.items() if role == "assistant" and name != "assistant"),
        "tool_call",
        "tool_calls",
        "ai",
        "bot",
    }
)


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
