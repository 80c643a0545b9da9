"""Probe conversations: what a chat template makes of messages whose contents are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from spanmask.chat.coverage import REASONING_FIELDS
from spanmask.chat.template.alignment import DETAIL, NAME, Located, content_spans
from spanmask.chat.template.shapes import (
    ASSISTANT,
    CALL,
    DECLARED,
    ONE_CALL,
    PREAMBLE,
    ROUND,
    THOUGHT,
    TOOL,
    role_of,
    with_declarations,
)

__all__ = ["Names", "Probe", "Template", "marked_probe"]

DEFAULT_VARIABLES = {"tools": [], "documents": [], "functions": [], "datetime": "2024-01-01", "date_string": "2024-01-01"}


class Names(NamedTuple):
    """What one call and one declared tool of a probe use besides their contents.

    `first` and `second` are names of arguments, in alphabetical order, because some templates sort them; `number`: an argument's value.
    """

    id: str
    tool: str
    first: str
    second: str
    number: str


@dataclass(frozen=True)
class Probe:
    """A conversation: (kind, content) of each content, and the names of its calls and tools.

    The n-th call, the n-th result and the n-th declared tool use `names[n]`. The forms of arguments and parameters depend on n, so that
    two probes of one shape differ only in their strings.
    """

    turns: tuple[tuple[str, str], ...]
    names: tuple[Names, ...]

    @property
    def details(self) -> list[tuple[str, str]]:
        """The strings of all names, with their kinds."""
        kinds = Names(DETAIL, NAME, DETAIL, DETAIL, DETAIL)
        return [pair for names in self.names for pair in zip(kinds, names, strict=True)]

    def arguments(self, number: int, value: str) -> dict[str, Any]:
        """The arguments of a call: the value alone, with a number after it, or with a number before it."""
        names = self.names[number]
        if number % 3 == 1:
            return {names.first: value, names.second: int(names.number)}
        if number % 3 == 2:
            return {names.first: int(names.number), names.second: value}
        return {names.first: value}

    def schema(self, number: int, description: str) -> dict[str, Any]:
        """The declaration of a tool: with one, two or no parameters."""
        names = self.names[number]
        parameters: dict[str, Any] = {names.first: {"type": "string", "description": "Its name."}}
        if number % 3 == 1:
            parameters[names.second] = {"type": "integer", "description": "How many.", "enum": [1, 2]}
        if number % 3 == 2:
            parameters = {}
        return {
            "type": "function",
            "function": {
                "name": names.tool,
                "description": description,
                "parameters": {"type": "object", "properties": parameters, "required": [*parameters][:1]},
            },
        }


def marked_probe(kinds: Sequence[str]) -> Probe:
    """A probe of unique contents and names of equal length, letters and digits only: Mistral's templates require ids of nine."""
    count = max(kinds.count(CALL), kinds.count(TOOL), kinds.count(DECLARED))
    names = tuple(
        Names(f"qid{at:03d}jwv", f"zqt{at:03d}kx", f"zqa{at:03d}kx", f"zqb{at:03d}kx", f"{61007 + 13 * at}")
        for at in range(count)
    )
    return Probe(tuple((kind, f"zq{number:03d}kx") for number, kind in enumerate(kinds)), names)


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
        self.with_tools = False  # calls are rendered only where tools are declared
        self.default_variables: dict[str, Any] = {}  # for templates that fail without them
        self.refusal: Exception | None = None  # the last one, for the error message
        self.located: dict[tuple[Probe, bool], Located | None] = {}

    def render(self, probe: Probe, generation: bool = False) -> str | None:
        """The text of a probe, or None if the template refuses it."""
        tools = [content for kind, content in probe.turns if kind == DECLARED]
        declared = {"tools": [probe.schema(number, text) for number, text in enumerate(tools)]} if tools else {}
        try:
            text = self.renderer.apply_chat_template(
                self.messages(probe),
                tokenize=False,
                add_generation_prompt=generation,
                **{**self.default_variables, **self.kwargs, **declared},
            )
        except Exception as refusal:  # a template may raise any exception
            self.refusal = refusal
            return None
        return text if isinstance(text, str) else None

    def messages(self, probe: Probe) -> list[dict[str, Any]]:
        """A probe as messages: thought, preamble and calls in a row are parts of one assistant message."""
        messages: list[dict[str, Any]] = []
        before = ""
        calls = results = 0
        for kind, content in probe.turns:
            if kind == DECLARED:
                continue
            if role_of(kind) != ASSISTANT:
                message: dict[str, Any] = {"role": kind, "content": self.content(kind, content)}
                if kind == TOOL:
                    message |= {"name": probe.names[results].tool, "tool_call_id": probe.names[results].id}
                    results += 1
                messages.append(message)
            else:
                if before not in (THOUGHT, PREAMBLE) and not (before == CALL == kind):
                    messages.append({"role": ASSISTANT})
                message = messages[-1]
                if kind == THOUGHT:
                    message |= dict.fromkeys(REASONING_FIELDS, content)
                elif kind == CALL:
                    message.setdefault("content", self.empty_content)
                    message.setdefault("tool_calls", []).append(self.call(probe, calls, content))
                    calls += 1
                else:
                    message["content"] = self.content(ASSISTANT, content)
            before = kind
        return messages

    def call(self, probe: Probe, number: int, value: str) -> dict[str, Any]:
        """One tool call."""
        arguments = probe.arguments(number, value)
        function = {"name": probe.names[number].tool, "arguments": json.dumps(arguments) if self.json_arguments else arguments}
        return {"type": "function", "id": probe.names[number].id, "function": function}

    def content(self, role: str, text: str) -> Any:
        """A text in the form that the template accepts for this role."""
        listed = role in ("system", "user", ASSISTANT, TOOL)
        return [{"type": "text", "text": text}] if (role if listed else "user") in self.roles_in_parts else text

    def detect_message_format(self) -> bool:
        """Find the forms in which contents are rendered; False if not even one question and its answer are."""
        if not self.detect_content_format():
            self.default_variables = DEFAULT_VARIABLES
            return self.detect_content_format()
        return True

    def detect_content_format(self) -> bool:
        """Find the roles whose content is a list of parts."""
        roles = ("user", ASSISTANT, "system", TOOL)
        for in_parts in ((), roles, roles[:1], roles[:2], roles[1:2], (*roles[:1], *roles[2:3]), roles[1:3]):
            self.roles_in_parts = frozenset(in_parts)
            if self.accepts(ROUND):
                break
        else:
            self.roles_in_parts = frozenset()
            return False
        for role, opening in (("system", ("system", *ROUND)), ("user", ("user",))):
            if not self.accepts(opening):
                self.roles_in_parts ^= {role}
                if not self.accepts(opening) or not self.accepts(ROUND):
                    self.roles_in_parts ^= {role}
        return True

    def detect_call_format(self) -> bool:
        """Find the form of tool calls and their results; False if the template renders none."""
        for self.with_tools, self.json_arguments, self.empty_content, flip in product(
            (False, True), (False, True), ("", None), (False, True)
        ):
            self.roles_in_parts ^= {TOOL} if flip else set()
            if self.accepts(with_declarations([ONE_CALL])[0] if self.with_tools else ONE_CALL):
                return True
            self.roles_in_parts ^= {TOOL} if flip else set()
        self.with_tools, self.json_arguments, self.empty_content = False, False, ""
        return False

    def accepts(self, kinds: Sequence[str]) -> bool:
        """Whether the rendered text of such a conversation has the content of every message exactly once, and no part as it is."""
        probe = marked_probe(kinds)
        text = self.render(probe)
        if text is not None and any(
            repr(call["arguments"]) in text and repr(call) not in text
            for message in self.messages(probe)
            for call in (one["function"] for one in message.get("tool_calls", ()))
        ):
            return False  # arguments in Python's notation: the template expects JSON text
        return text is not None and all(
            text.count(content) == 1 and not any(write({"type": "text", "text": content}) in text for write in (repr, json.dumps))
            for kind, content in probe.turns
            if kind != DECLARED
        )

    def locate_contents(self, probe: Probe, generation: bool = False) -> Located | None:
        """The text of a marked probe, its contents and details.

        None if the template refuses the probe, drops an answer or repeats one.
        """
        key = (probe, generation)
        if key not in self.located:
            text = self.render(probe, generation)
            self.located[key] = None if text is None else content_spans(text, probe.turns, probe.details)
        return self.located[key]
