"""Conversations with calls of tools, whose every text has its own words: what trains is known without looking at markers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import count, product
from random import Random
from typing import Any, NamedTuple

from support.text_truth import ENDS, MIDDLES

NAMES = ("lookup_person", "now", "f3", "sendMail")
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"What {name} does.",
            "parameters": {
                "type": "object",
                "properties": {"q": {"type": "string", "description": "A text."}},
                "required": ["q"],
            },
        },
    }
    for name in NAMES
]
IDS = ("call_{}AbC", "toolu_0{}X", "a{}b2c3d4e9", "chatcmpl-tool-{}")


class CallForm(NamedTuple):
    """The form in which a template takes calls."""

    parts: bool
    tools: bool
    json_arguments: bool
    empty: str | None


class AgentRow(NamedTuple):
    """A conversation, its text, and (words, whether they train) for each of its texts."""

    messages: list[dict[str, Any]]
    tools: list[Any] | None
    text: str
    words: list[tuple[str, bool]]


def call_form(tokenizer: Any, kwargs: Mapping[str, object]) -> CallForm | None:
    """The first form in which a template writes the words of a call, of its result and of the answer once each."""
    for form in (CallForm(*some) for some in product((False, True), (False, True), (False, True), ("", None))):
        messages = [
            {"role": "user", "content": content("uuu1", form)},
            {"role": "assistant", "content": form.empty, "tool_calls": [call("x1y2z3w4v", NAMES[0], {"q": "uuu2"}, form)]},
            {"role": "tool", "name": NAMES[0], "tool_call_id": "x1y2z3w4v", "content": content("uuu3", form)},
            {"role": "assistant", "content": content("uuu4", form)},
        ]
        try:
            text = tokenizer.apply_chat_template(messages, tools=TOOLS if form.tools else None, tokenize=False, **kwargs)
        except Exception:
            continue
        if all(text.count(f"uuu{number}") == 1 for number in range(1, 5)):
            return form
    return None


def content(text: str, form: CallForm) -> Any:
    return [{"type": "text", "text": text}] if form.parts else text


def call(number: str, name: str, arguments: dict[str, Any], form: CallForm) -> dict[str, Any]:
    return {
        "type": "function",
        "id": number,
        "function": {"name": name, "arguments": json.dumps(arguments) if form.json_arguments else arguments},
    }


def agent_row(rng: Random, form: CallForm, tokenizer: Any, kwargs: Mapping[str, object]) -> AgentRow | None:
    """A random conversation: one or two questions, up to two rounds of one to three calls for each; `None` if the template refuses it."""
    numbers = count()
    words: list[tuple[str, bool]] = []

    def text(trains: bool, edges: bool = True) -> str:
        ends = (rng.choice(ENDS), rng.choice(ENDS)) if edges else ("", "")
        made = f"{ends[0]}{rng.choice(MIDDLES)} q{next(numbers)}z{ends[1]}"
        words.append((made.strip(), trains))
        return made

    def one_call() -> dict[str, Any]:
        arguments: dict[str, Any] = {} if rng.random() < 0.2 else {"q": text(True, edges=False)}
        if arguments and rng.random() < 0.4:
            arguments |= {"n": rng.randint(1, 10**6), "deep": {"list": [text(True, edges=False), 1.5, True]}}
        return call((rng.choice(IDS).format(next(numbers)) + "123456789")[:9], rng.choice(NAMES), arguments, form)

    messages: list[dict[str, Any]] = []
    for _ in range(rng.randint(1, 2)):
        messages.append({"role": "user", "content": content(text(False), form)})
        for _ in range(rng.randint(0, 2)):
            answer: dict[str, Any] = {"role": "assistant", "content": form.empty}
            if rng.random() < 0.3:
                answer["content"] = content(text(True), form)
            if rng.random() < 0.3:
                answer["reasoning_content"] = text(True)
            answer["tool_calls"] = [one_call() for _ in range(rng.randint(1, 3))]
            messages.append(answer)
            messages += [
                {
                    "role": "tool",
                    "name": one["function"]["name"],
                    "tool_call_id": one["id"],
                    "content": content(text(False), form),
                }
                for one in answer["tool_calls"]
            ]
        messages.append({"role": "assistant", "content": content(text(True), form)})
    tools = TOOLS if form.tools or rng.random() < 0.5 else None
    try:
        rendered = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, **kwargs)
    except Exception:
        return None
    return AgentRow(messages, tools, rendered, words)


def places(text: str, words: str) -> Iterator[tuple[int, int]]:
    """Where words occur in a text, as they are or as JSON. Templates drop some of them."""
    for form in {words, json.dumps(words)[1:-1], json.dumps(words, ensure_ascii=False)[1:-1]}:
        for match in re.finditer(re.escape(form), text):
            yield match.span()
