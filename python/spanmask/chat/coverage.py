"""Kinds of conversations beyond plain questions and answers. A format may not cover all of them; messages show which kind they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["REASONING", "REASONING_FIELDS", "SYSTEM_MESSAGES", "TEXT_BEFORE_CALLS", "TOOL_CALLS", "kinds_in"]

SYSTEM_MESSAGES = "system messages"
REASONING = "reasoning"
TOOL_CALLS = "tool calls"
TEXT_BEFORE_CALLS = "text before tool calls"
REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")


def kinds_in(messages: Iterable[Mapping[str, Any]]) -> set[str]:
    """The kinds that occur in a conversation.

    >>> sorted(kinds_in([{"role": "assistant", "content": "Let me look.", "tool_calls": [{}]}, {"role": "tool", "content": "42"}]))
    ['text before tool calls', 'tool calls']
    """
    kinds = set()
    for message in messages:
        role, content = message.get("role"), message.get("content")
        if role in ("system", "developer"):
            kinds.add(SYSTEM_MESSAGES)
        elif role in ("tool", "function"):
            kinds.add(TOOL_CALLS)
        elif role == "assistant":
            if any(message.get(name) for name in REASONING_FIELDS) or has_part(content, ("reasoning", "thinking")):
                kinds.add(REASONING)
            if message.get("tool_calls") or message.get("function_call"):
                kinds.add(TOOL_CALLS)
                if (isinstance(content, str) and content.strip()) or has_part(content, ("text",)):
                    kinds.add(TEXT_BEFORE_CALLS)
    return kinds


def has_part(content: Any, types: tuple[str, ...]) -> bool:
    """Whether a content is a list of parts that has a non-empty part of one of these types."""
    if isinstance(content, str) or not isinstance(content, Iterable):
        return False
    parts = (part for part in content if isinstance(part, Mapping) and part.get("type") in types)
    return any(str(part.get(part["type"]) or "").strip() for part in parts)
