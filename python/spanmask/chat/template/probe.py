"""Probe conversations: what a chat template makes of messages whose contents are known.

A probe is a list of (kind, content). Kinds are the roles of messages, and the parts of an assistant's turn that are not plain content:
`thought` (reasoning), `preamble` (text before a call) and `call` (a tool call; its content is the argument's value).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

from spanmask.chat.coverage import REASONING_FIELDS

__all__ = [
    "ASSISTANT",
    "BEGIN",
    "END",
    "TOOL",
    "ContentSpan",
    "Gap",
    "Probe",
    "Template",
    "describe",
    "gaps_of",
    "locate",
    "marked_probe",
    "role_of",
]

Probe = Sequence[tuple[str, str]]

ASSISTANT = "assistant"
BEGIN, END = "(start of text)", "(end of text)"
PARTS_OF_A_TURN = {"thought": ASSISTANT, "preamble": ASSISTANT, "call": ASSISTANT}
DESCRIPTIONS = {"thought": "reasoning", "preamble": "the text before a tool call", "call": "a tool call", "tool": "a tool result"}
TOOL, ARGUMENT = "get_weather", "city"
TOOL_SCHEMA = {
    "type": "function",
    "function": {
        "name": TOOL,
        "description": "Weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {ARGUMENT: {"type": "string", "description": "Its name."}},
            "required": [ARGUMENT],
        },
    },
}
DEFAULT_VARIABLES = {"tools": [], "documents": [], "functions": [], "datetime": "2024-01-01", "date_string": "2024-01-01"}
CALL_ID = "a1b2c3d4e"  # Mistral's templates require nine letters or digits


class ContentSpan(NamedTuple):
    """A content in a rendered text: the characters [start, stop); `number`: its index in the probe."""

    kind: str
    start: int
    stop: int
    number: int


class Gap(NamedTuple):
    """The template's own text between two consecutive contents; `before` and `after` are their kinds."""

    before: str
    after: str
    text: str


def role_of(kind: str) -> str:
    """The role whose turn a content belongs to."""
    return PARTS_OF_A_TURN.get(kind, kind)


def describe(kind: str) -> str:
    """A kind of content in error messages."""
    return DESCRIPTIONS.get(kind, kind)


def marked_probe(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """A probe of unique contents of equal length, letters and digits only."""
    return [(kind, f"zq{number:03d}kx") for number, kind in enumerate(kinds)]


class Template:
    """The chat template of a tokenizer or processor, and the message format that it accepts.

    Templates differ in the form of contents (a string, a list of parts), of a call's arguments (a mapping, JSON) and of the content next
    to a call (none, empty), in the variables that they require, and in whether calls require `tools`. `detect_message_format` and
    `detect_call_format` try these forms.
    """

    def __init__(self, renderer: Any, kwargs: dict[str, Any]) -> None:
        self.renderer = renderer
        self.kwargs = kwargs
        self.roles_in_parts: frozenset[str] = frozenset()  # roles whose content is a list of parts
        self.json_arguments = False
        self.empty_content: str | None = ""
        self.with_tools = False
        self.default_variables: dict[str, Any] = {}  # for templates that fail without them
        self.refusal: Exception | None = None  # the last one, for the error message
        self.located: dict[tuple[tuple[tuple[str, str], ...], bool], tuple[str, list[ContentSpan]] | None] = {}

    def render(self, probe: Probe, generation: bool = False) -> str | None:
        """The text of a probe, or None if the template refuses it."""
        has_call = any(kind in ("call", "tool") for kind, _ in probe)
        tools = {"tools": [TOOL_SCHEMA]} if has_call and self.with_tools else {}
        try:
            text = self.renderer.apply_chat_template(
                self.messages(probe),
                tokenize=False,
                add_generation_prompt=generation,
                **{**self.default_variables, **tools, **self.kwargs},
            )
        except Exception as refusal:  # a template may raise any exception
            self.refusal = refusal
            return None
        return text if isinstance(text, str) else None

    def messages(self, probe: Probe) -> list[dict[str, Any]]:
        """A probe as messages: thought, preamble and call are parts of one assistant message."""
        messages: list[dict[str, Any]] = []
        is_open = False  # the last message is the assistant's and still lacks its content or call
        for kind, content in probe:
            if role_of(kind) != ASSISTANT:
                message: dict[str, Any] = {"role": kind, "content": self.content(kind, content)}
                if kind == "tool":
                    message |= {"name": TOOL, "tool_call_id": CALL_ID}
                messages.append(message)
                is_open = False
                continue
            if not is_open:
                messages.append({"role": ASSISTANT})
            message = messages[-1]
            is_open = kind in ("thought", "preamble")
            if kind == "thought":
                message |= dict.fromkeys(REASONING_FIELDS, content)
            elif kind == "call":
                arguments: Any = {ARGUMENT: content}
                function = {"name": TOOL, "arguments": json.dumps(arguments) if self.json_arguments else arguments}
                message.setdefault("content", self.empty_content)
                message["tool_calls"] = [{"type": "function", "id": CALL_ID, "function": function}]
            else:
                message["content"] = self.content(ASSISTANT, content)
        return messages

    def content(self, role: str, text: str) -> Any:
        """A text in the form that the template accepts for this role."""
        return [{"type": "text", "text": text}] if role in self.roles_in_parts else text

    def detect_message_format(self) -> bool:
        """Find the forms in which contents are rendered; False if not even one question and its answer are."""
        if not self.detect_content_format():
            self.default_variables = DEFAULT_VARIABLES
            return self.detect_content_format()
        return True

    def detect_content_format(self) -> bool:
        """Find the roles whose content is a list of parts."""
        roles = ("user", ASSISTANT, "system", "tool")
        for in_parts in ((), roles, roles[:1], roles[:2], roles[1:2], (*roles[:1], *roles[2:3]), roles[1:3]):
            self.roles_in_parts = frozenset(in_parts)
            if self.accepts(["user", ASSISTANT]):
                break
        else:
            self.roles_in_parts = frozenset()
            return False
        for role, opening in (("system", ["system", "user", ASSISTANT]), ("user", ["user"])):
            if not self.accepts(opening):
                self.roles_in_parts ^= {role}
                if not self.accepts(opening) or not self.accepts(["user", ASSISTANT]):
                    self.roles_in_parts ^= {role}
        return True

    def detect_call_format(self) -> bool:
        """Find the form of tool calls and their results; False if the template renders none."""
        kinds = ["user", "call", "tool", ASSISTANT]
        for self.with_tools, self.json_arguments, self.empty_content, flip in product(
            (False, True), (False, True), ("", None), (False, True)
        ):
            self.roles_in_parts ^= {"tool"} if flip else set()
            if self.accepts(kinds):
                return True
            self.roles_in_parts ^= {"tool"} if flip else set()
        self.with_tools, self.json_arguments, self.empty_content = False, False, ""
        return False

    def accepts(self, kinds: Sequence[str]) -> bool:
        """Whether the rendered text of such a conversation has every content exactly once."""
        probe = marked_probe(kinds)
        text = self.render(probe)
        return text is not None and all(text.count(content) == 1 for _, content in probe)

    def locate_contents(self, probe: Probe, generation: bool = False) -> tuple[str, list[ContentSpan]] | None:
        """The text of a marked probe and its contents in it.

        None if the template refuses the probe, drops an answer or repeats one.
        """
        key = (tuple(probe), generation)
        if key not in self.located:
            text = self.render(probe, generation)
            self.located[key] = None if text is None else content_spans(text, probe)
        return self.located[key]


def content_spans(text: str, probe: Probe) -> tuple[str, list[ContentSpan]] | None:
    """The contents of a marked probe in its text; blank contents are left out."""
    spans = []
    for number, (kind, content) in enumerate(probe):
        if not content.strip():
            continue
        starts = [match.start() for match in re.finditer(re.escape(content), text)]
        if role_of(kind) == ASSISTANT and len(starts) != 1:
            return None
        spans += [ContentSpan(kind, at, at + len(content), number) for at in starts]
    return text, sorted(spans, key=lambda span: span.start)


def gaps_of(text: str, spans: Sequence[ContentSpan]) -> list[Gap]:
    """The template's own text, cut at the contents."""
    kinds = [BEGIN, *(span.kind for span in spans), END]
    cuts = [0, *(edge for span in spans for edge in (span.start, span.stop)), len(text)]
    return [Gap(kinds[at], kinds[at + 1], text[cuts[2 * at] : cuts[2 * at + 1]]) for at in range(len(spans) + 1)]


def locate(text: str, gaps: Sequence[str], contents: Sequence[str]) -> list[tuple[int, int]] | None:
    """The places of contents in a text of known gaps: templates may strip whitespace around a content, or quote it as JSON.

    >>> locate("<u>Hi </u><a>yo</a>", ["<u>", "</u><a>", "</a>"], ["Hi ", " yo"])
    [(3, 6), (13, 15)]
    """

    def place(number: int, at: int) -> list[tuple[int, int]] | None:
        if not text.startswith(gaps[number], at):
            return None
        at += len(gaps[number])
        if number == len(contents):
            return [] if at == len(text) else None
        for form in forms(contents[number]):
            if text.startswith(form, at):
                rest = place(number + 1, at + len(form))
                if rest is not None:
                    return [(at, at + len(form)), *rest]
        return None

    return place(0, 0)


def forms(content: str) -> Iterator[str]:
    """The distinct forms in which templates may write a content."""
    seen = {content: None, content.strip(): None, content.lstrip(): None, content.rstrip(): None, content.strip("\n"): None}
    for some in (content, content.strip()):
        seen |= {json.dumps(some)[1:-1]: None, json.dumps(some, ensure_ascii=False)[1:-1]: None}
    yield from seen
