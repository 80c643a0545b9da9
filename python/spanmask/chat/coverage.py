"""Kinds of conversations beyond plain questions and answers. A format may not cover all of them; messages show which kind they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

__all__ = [
    "ANSWER_FIRST",
    "ANSWER_TO_SYSTEM",
    "DECLARATIONS",
    "LATER_CALLS",
    "LATE_SYSTEM",
    "OTHER_ROLES",
    "PARALLEL_CALLS",
    "REASONING",
    "REASONING_FIELDS",
    "REASONING_WITH_CALLS",
    "RESULTS_ALONE",
    "ROLE_MESSAGES",
    "SYSTEM_MESSAGES",
    "TEXT_BEFORE_CALLS",
    "TOOL_CALLS",
    "TWO_ANSWERS",
    "TWO_QUESTIONS",
    "kinds_in",
]

SYSTEM_MESSAGES = "system messages"
DECLARATIONS = "declared tools"
REASONING = "reasoning"
TOOL_CALLS = "tool calls"
PARALLEL_CALLS = "parallel tool calls"
LATER_CALLS = "tool calls in several rounds"
TEXT_BEFORE_CALLS = "text before tool calls"
REASONING_WITH_CALLS = "reasoning with tool calls"
RESULTS_ALONE = "tool results without a call"
TWO_ANSWERS = "two assistant messages in a row"
TWO_QUESTIONS = "two user messages in a row"
LATE_SYSTEM = "system messages after the first message"
ANSWER_TO_SYSTEM = "an assistant message after a system message"
ANSWER_FIRST = "an assistant message first"
ROLE_MESSAGES = {role: f"{role} messages" for role in ("developer", "function", "observation")}
OTHER_ROLES = "other roles"

REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
ORDERS = {
    ("assistant", "assistant"): TWO_ANSWERS,
    ("user", "user"): TWO_QUESTIONS,
    ("system", "assistant"): ANSWER_TO_SYSTEM,
    ("", "assistant"): ANSWER_FIRST,
}


def kinds_in(messages: Iterable[Mapping[str, Any]], tools: Any = None) -> set[str]:
    """The kinds that occur in a conversation; `tools`: the tools declared with it.

    >>> sorted(kinds_in([{"role": "assistant", "content": "Let me look.", "tool_calls": [{}]}, {"role": "tool", "content": "42"}]))
    ['an assistant message first', 'text before tool calls', 'tool calls']
    """
    messages = list(messages)
    roles = [str(message.get("role")) for message in messages]
    kinds = {ORDERS[pair] for pair in pairwise(["", *roles]) if pair in ORDERS}
    kinds |= {ROLE_MESSAGES.get(role, OTHER_ROLES) for role in roles if role not in ("system", "user", "assistant", "tool")}
    if "system" in roles:
        kinds.add(SYSTEM_MESSAGES)
    if "system" in roles[1:]:
        kinds.add(LATE_SYSTEM)
    if tools:
        kinds.add(DECLARATIONS)
    for message in messages:
        if message.get("role") == "assistant" and has_reasoning(message):
            kinds.add(REASONING)
    return kinds | kinds_of_calls(messages)


def kinds_of_calls(messages: Iterable[Mapping[str, Any]]) -> set[str]:
    """The kinds that concern tool calls and their results."""
    kinds: set[str] = set()
    rounds, called, is_new = 0, False, True  # `called`: by the last message that is not a result; `is_new`: a question came since
    for message in messages:
        role, calls = message.get("role"), message.get("tool_calls")
        if role == "tool":
            kinds |= {TOOL_CALLS} if called else {TOOL_CALLS, RESULTS_ALONE}
            continue
        called = role == "assistant" and bool(calls or message.get("function_call"))
        if role == "user":
            is_new = True
        if not called:
            continue
        rounds, is_new = rounds + is_new, False
        kinds.add(TOOL_CALLS)
        if isinstance(calls, (list, tuple)) and len(calls) > 1:
            kinds.add(PARALLEL_CALLS)
        if has_text(message.get("content")):
            kinds.add(TEXT_BEFORE_CALLS)
        if has_reasoning(message):
            kinds.add(REASONING_WITH_CALLS)
    return kinds | ({LATER_CALLS} if rounds > 1 else set())


def has_reasoning(message: Mapping[str, Any]) -> bool:
    """Whether a message has reasoning, in a field of its own or in a part of its content."""
    fields = any(message.get(name) for name in REASONING_FIELDS)
    return fields or has_part(message.get("content"), ("reasoning", "thinking"))


def has_text(content: Any) -> bool:
    """Whether a content has visible text."""
    return bool(content.strip()) if isinstance(content, str) else has_part(content, ("text",))


def has_part(content: Any, types: tuple[str, ...]) -> bool:
    """Whether a content is a list of parts that has a non-empty part of one of these types."""
    if isinstance(content, str) or not isinstance(content, Iterable):
        return False
    parts = (part for part in content if isinstance(part, Mapping) and part.get("type") in types)
    return any(str(part.get(part["type"]) or "").strip() for part in parts)
