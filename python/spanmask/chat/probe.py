"""Probe conversations: what a chat template makes of messages whose contents are known.

A probe is a list of (kind, content). Kinds are the roles of messages, and the parts of an assistant's turn that are no plain content:
`thought` (reasoning), `preamble` (text in front of a call) and `call` (a tool call; its content is the argument's value).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, NamedTuple

__all__ = ["ASSISTANT", "BEGIN", "END", "Gap", "Mark", "Probe", "Template", "bare", "gaps_of", "locate", "role_of"]

Probe = Sequence[tuple[str, str]]

ASSISTANT = "assistant"
BEGIN, END = "(start of text)", "(end of text)"
PARTS_OF_A_TURN = {"thought": ASSISTANT, "preamble": ASSISTANT, "call": ASSISTANT}
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
STAND_INS = {"tools": [], "documents": [], "functions": [], "datetime": "2024-01-01", "date_string": "2024-01-01"}
CALL_ID = "a1b2c3d4e"  # Mistral's templates insist on nine letters or digits


class Mark(NamedTuple):
    """A content in a rendered text: the characters [start, stop); `place`: its index in the probe."""

    kind: str
    start: int
    stop: int
    place: int


class Gap(NamedTuple):
    """The template's own text between two contents that follow each other."""

    before: str
    after: str
    text: str


def role_of(kind: str) -> str:
    """The role whose turn a content belongs to."""
    return PARTS_OF_A_TURN.get(kind, kind)


def bare(kinds: Sequence[str]) -> list[tuple[str, str]]:
    """A probe of unique contents of one width, letters and digits only."""
    return [(kind, f"zq{place:03d}kx") for place, kind in enumerate(kinds)]


class Template:
    """A tokenizer's (or processor's) chat template, and the form in which it takes messages.

    Templates differ in what they take as content (a string, a list of parts), as arguments of a call (a mapping, JSON), as content beside
    a call (none, empty), in the variables that they need, and in whether calls need `tools`. `settle` tries the forms out, once.
    """

    def __init__(self, renderer: Any, kwargs: dict[str, Any]) -> None:
        self.renderer = renderer
        self.kwargs = kwargs
        self.parts: frozenset[str] = frozenset()  # roles whose content is a list of parts
        self.json_arguments = False
        self.empty_content: str | None = ""
        self.tools = False
        self.stand_ins: dict[str, Any] = {}  # for variables that a template fails without
        self.refusal: Exception | None = None  # the last one, for the error message
        self.found: dict[tuple[tuple[tuple[str, str], ...], bool], tuple[str, list[Mark]] | None] = {}  # what `marks` saw

    def render(self, probe: Probe, generation: bool = False) -> str | None:
        """The text of a probe, or None where the template refuses it."""
        has_call = any(kind in ("call", "tool") for kind, _ in probe)
        kwargs = {**self.stand_ins, **({"tools": [TOOL_SCHEMA]} if has_call and self.tools else {}), **self.kwargs}
        try:
            text = self.renderer.apply_chat_template(
                self.messages(probe), tokenize=False, add_generation_prompt=generation, **kwargs
            )
        except Exception as refusal:  # a template may raise whatever Python raises
            self.refusal = refusal
            return None
        return text if isinstance(text, str) else None

    def messages(self, probe: Probe) -> list[dict[str, Any]]:
        """A probe as messages: thought, preamble and call are parts of one assistant message."""
        messages: list[dict[str, Any]] = []
        is_open = False  # the last message is an assistant's that waits for its content or call
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
                message |= {"reasoning_content": content, "reasoning": content, "thinking": content}
            elif kind == "call":
                arguments: Any = {ARGUMENT: content}
                function = {"name": TOOL, "arguments": json.dumps(arguments) if self.json_arguments else arguments}
                message.setdefault("content", self.empty_content)
                message["tool_calls"] = [{"type": "function", "id": CALL_ID, "function": function}]
            else:
                message["content"] = self.content(ASSISTANT, content)
        return messages

    def content(self, role: str, text: str) -> Any:
        """A text in the form that the template takes for this role."""
        return [{"type": "text", "text": text}] if role in self.parts else text

    def settle(self) -> bool:
        """Find the forms in which contents come through; False where even one question and its answer do not."""
        if not self.settle_content():
            self.stand_ins = STAND_INS
            return self.settle_content()
        return True

    def settle_content(self) -> bool:
        """Find which roles' content is a list of parts."""
        roles = ("user", ASSISTANT, "system", "tool")
        for parts in ((), roles, roles[:1], roles[:2], roles[1:2], (*roles[:1], *roles[2:3]), roles[1:3]):
            self.parts = frozenset(parts)
            if self.takes(["user", ASSISTANT]):
                break
        else:
            self.parts = frozenset()
            return False
        for role, opening in (("system", ["system", "user", ASSISTANT]), ("user", ["user"])):
            if not self.takes(opening):
                self.parts ^= {role}
                if not self.takes(opening) or not self.takes(["user", ASSISTANT]):
                    self.parts ^= {role}
        return True

    def settle_calls(self) -> bool:
        """Find the form of tool calls and their results; False where the template shows none."""
        kinds = ["user", "call", "tool", ASSISTANT]
        for self.tools, self.json_arguments, self.empty_content, flip in product(
            (False, True), (False, True), ("", None), (False, True)
        ):
            self.parts ^= {"tool"} if flip else set()
            if self.takes(kinds):
                return True
            self.parts ^= {"tool"} if flip else set()
        self.tools, self.json_arguments, self.empty_content = False, False, ""
        return False

    def takes(self, kinds: Sequence[str]) -> bool:
        """Whether every content of such a conversation comes through, once."""
        probe = bare(kinds)
        text = self.render(probe)
        return text is not None and all(text.count(content) == 1 for _, content in probe)

    def marks(self, probe: Probe, generation: bool = False) -> tuple[str, list[Mark]] | None:
        """A bare probe's text, and where its contents stand: None where the template refuses it, drops or doubles an answer."""
        key = (tuple(probe), generation)
        if key not in self.found:
            text = self.render(probe, generation)
            self.found[key] = None if text is None else marks_in(text, probe)
        return self.found[key]


def marks_in(text: str, probe: Probe) -> tuple[str, list[Mark]] | None:
    """Where a bare probe's contents stand in its text; blank ones leave no mark."""
    marks = []
    for place, (kind, content) in enumerate(probe):
        if not content.strip():
            continue
        starts = [match.start() for match in re.finditer(re.escape(content), text)]
        if role_of(kind) == ASSISTANT and len(starts) != 1:
            return None
        marks += [Mark(kind, at, at + len(content), place) for at in starts]
    return text, sorted(marks, key=lambda mark: mark.start)


def gaps_of(text: str, marks: Sequence[Mark]) -> list[Gap]:
    """The template's own text, cut at the contents."""
    kinds = [BEGIN, *(mark.kind for mark in marks), END]
    cuts = [0, *(edge for mark in marks for edge in (mark.start, mark.stop)), len(text)]
    return [Gap(kinds[at], kinds[at + 1], text[cuts[2 * at] : cuts[2 * at + 1]]) for at in range(len(marks) + 1)]


def locate(text: str, gaps: Sequence[str], contents: Sequence[str]) -> list[tuple[int, int]] | None:
    """Where the contents stand in a text of known gaps: templates may strip a content's blanks, or quote it as JSON.

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
    """A content as templates write it, each form once."""
    seen = {content: None, content.strip(): None, content.lstrip(): None, content.rstrip(): None, content.strip("\n"): None}
    for some in (content, content.strip()):
        seen |= {json.dumps(some)[1:-1]: None, json.dumps(some, ensure_ascii=False)[1:-1]: None}
    yield from seen
