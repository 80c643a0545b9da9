"""Shapes of probe conversations: the kinds of their contents, in order.

A content's kind is the role of its message, or a part of an assistant's message: `thought` (reasoning), `preamble` (text before a call)
and `call` (a tool call; its content is an argument's value). Calls in a row are parallel. `declared` stands for one declared tool; its
content is the description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from spanmask.chat.coverage import (
    ANSWER_FIRST,
    ANSWER_TO_SYSTEM,
    DECLARATIONS,
    LATE_SYSTEM,
    LATER_CALLS,
    OTHER_ROLES,
    PARALLEL_CALLS,
    REASONING,
    REASONING_WITH_CALLS,
    RESULTS_ALONE,
    ROLE_MESSAGES,
    SYSTEM_MESSAGES,
    TEXT_BEFORE_CALLS,
    TOOL_CALLS,
    TWO_ANSWERS,
    TWO_QUESTIONS,
)

__all__ = [
    "ASSISTANT",
    "BEGIN",
    "CALL",
    "CALLS",
    "DECLARED",
    "END",
    "ONE_CALL",
    "PLAIN_KINDS",
    "PREAMBLES",
    "RARE",
    "ROUND",
    "THOUGHT",
    "TOOL",
    "Shape",
    "describe",
    "kinds_of_shapes",
    "role_of",
    "with_declarations",
]

Shape = tuple[str, ...]

ASSISTANT, TOOL = "assistant", "tool"
THOUGHT, PREAMBLE, CALL = "thought", "preamble", "call"
DECLARED = "declared"
BEGIN, END = "(start of text)", "(end of text)"
PARTS_OF_A_TURN = {THOUGHT: ASSISTANT, PREAMBLE: ASSISTANT, CALL: ASSISTANT}
DESCRIPTIONS = {
    THOUGHT: "reasoning",
    PREAMBLE: "the text before a tool call",
    CALL: "a tool call",
    TOOL: "a tool result",
    DECLARED: "a declared tool",
}
PLAIN_KINDS = frozenset({"user", "system", ASSISTANT, BEGIN, END})

ROUND = ("user", ASSISTANT)
ONE_CALL = ("user", CALL, TOOL, ASSISTANT)
TALKS = (*((*ROUND * rounds, *last) for last in ((), ("user",)) for rounds in (1, 2, 3)), ("user",))
SYSTEMS = tuple(("system", *talk) for talk in TALKS)
CALLS = (
    ("user", CALL),
    ("user", CALL, TOOL),
    ONE_CALL,
    (*ONE_CALL, *ROUND),
    (*ROUND, *ONE_CALL, "user"),
    ("system", *ONE_CALL),
    ("user", CALL, TOOL, CALL),
    ("user", CALL, TOOL, CALL, TOOL, CALL),
    ("user", CALL, TOOL, CALL, TOOL, ASSISTANT),
    ("user", CALL, TOOL, CALL, TOOL, CALL, TOOL, ASSISTANT, "user"),
)
PARALLEL = (
    ("user", CALL, CALL),
    ("user", CALL, CALL, CALL),
    ("user", CALL, CALL, TOOL, TOOL),
    ("user", CALL, CALL, TOOL, TOOL, ASSISTANT, *ROUND),
    ("user", CALL, CALL, CALL, TOOL, TOOL, TOOL, ASSISTANT),
    ("system", "user", CALL, TOOL, CALL, CALL, TOOL, TOOL, ASSISTANT, "user"),
)
LATER = ((*ONE_CALL, *ONE_CALL), (*ONE_CALL, "user", CALL, TOOL, CALL, TOOL, ASSISTANT, *ONE_CALL))
PREAMBLES = (
    ("user", PREAMBLE, CALL, TOOL, ASSISTANT),
    ("user", PREAMBLE, CALL, TOOL, ASSISTANT, "user"),
    ("user", CALL, TOOL, PREAMBLE, CALL, TOOL, ASSISTANT),
)
THOUGHTS = (
    ("user", THOUGHT, ASSISTANT),
    ("user", THOUGHT, ASSISTANT, "user", THOUGHT, ASSISTANT),
    (*ROUND, "user", THOUGHT, ASSISTANT),
)
THOUGHTS_AND_CALLS = (
    ("user", THOUGHT, CALL, TOOL, THOUGHT, ASSISTANT),
    ("user", THOUGHT, CALL, TOOL, ASSISTANT, "user"),
    ("user", THOUGHT, CALL, TOOL, THOUGHT, CALL, TOOL, ASSISTANT, *ROUND),
)
RESULTS = (("user", ASSISTANT, TOOL, ASSISTANT), (*ROUND, "user", ASSISTANT, TOOL, ASSISTANT, "user"))


def with_declarations(shapes: Iterable[Shape]) -> tuple[Shape, ...]:
    """The shapes with one to three declared tools."""
    return tuple((*(DECLARED,) * (1 + number % 3), *shape) for number, shape in enumerate(shapes))


def between(role: str) -> tuple[Shape, ...]:
    """Conversations with messages of a further role: first, after a question, after an answer."""
    return ((role, *ROUND), ("user", role, ASSISTANT), (*ROUND, role, ASSISTANT), (*ROUND, "user", ASSISTANT, role, *ROUND))


# Orders and roles that few datasets have: markers that fit them are looked for, but they never cost another kind its marker.
RARE: Mapping[str, tuple[Shape, ...]] = {
    TWO_ANSWERS: ((*ROUND, ASSISTANT), (*ROUND, ASSISTANT, *ROUND), (*ROUND, *ROUND, ASSISTANT, ASSISTANT, "user")),
    TWO_QUESTIONS: (("user", *ROUND), (*ROUND, "user", *ROUND), ("user", "user")),
    LATE_SYSTEM: ((*ROUND, "system", *ROUND), ("system", *ROUND, "system", "user"), ("user", "system", ASSISTANT, *ROUND)),
    ANSWER_TO_SYSTEM: (("system", ASSISTANT), ("system", ASSISTANT, *ROUND), (*ROUND, "system", ASSISTANT)),
    ANSWER_FIRST: ((ASSISTANT, *ROUND), (ASSISTANT, "user")),
    RESULTS_ALONE: RESULTS,
    **{name: between(role) for role, name in ROLE_MESSAGES.items()},
    OTHER_ROLES: between("critic"),
}


def kinds_of_shapes(has_calls: bool, needs_tools: bool) -> dict[str, tuple[Shape, ...]]:
    """The shapes of each kind, plain conversations first. `needs_tools`: the template renders calls only with declared tools.

    Templates that drop calls mostly still render results, which must not train.
    """
    kinds = {
        "conversations": TALKS,
        SYSTEM_MESSAGES: SYSTEMS,
        DECLARATIONS: with_declarations((*TALKS, *SYSTEMS)),
        REASONING: (*THOUGHTS, *with_declarations(THOUGHTS)),
    }
    if not has_calls:
        return kinds | {TOOL_CALLS: RESULTS}
    calls = {
        TOOL_CALLS: CALLS,
        PARALLEL_CALLS: PARALLEL,
        LATER_CALLS: LATER,
        TEXT_BEFORE_CALLS: PREAMBLES,
        REASONING_WITH_CALLS: THOUGHTS_AND_CALLS,
    }
    return kinds | {name: (*(() if needs_tools else some), *with_declarations(some)) for name, some in calls.items()}


def role_of(kind: str) -> str:
    """The role whose turn a content belongs to."""
    return PARTS_OF_A_TURN.get(kind, kind)


def describe(kind: str) -> str:
    """A kind of content in error messages."""
    return DESCRIPTIONS.get(kind, kind)
