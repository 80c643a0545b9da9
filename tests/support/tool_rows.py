"""Rows with calls, results, declared tools, reasoning and rare orders of messages, and what must train in them.

The truth is read from the rendered text alone: every content and every name is a word that occurs nowhere else. Ids, names and words are
drawn anew for each row, in the styles of real data.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from random import Random
from string import ascii_letters, ascii_lowercase, digits
from typing import Any, NamedTuple


class Row(NamedTuple):
    """One conversation. `contents`: the text of each content in order, and whether it trains; `declared`: words of the declarations."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    contents: list[tuple[str, bool]]
    declared: list[str]


class Writer:
    """Writes one row, message by message, in the forms that a template accepts."""

    def __init__(self, rng: Random, *, in_parts: tuple[str, ...] = (), ids: str = "openai", as_json: bool = False) -> None:
        self.rng, self.in_parts, self.ids, self.as_json = rng, in_parts, ids, as_json
        self.row = Row([], None, [], [])
        self.waiting: list[tuple[str, str]] = []  # calls that wait for their results: (id, name)
        self.count = 0

    def word(self) -> str:
        self.count += 1
        return f"{''.join(self.rng.choices(ascii_lowercase, k=5))}{self.count}w"

    def text(self, trains: bool) -> str:
        said = self.rng.choice(["", "the ", "Say: ", "3 "]) + self.word() + self.rng.choice(["", " now", ".", "!"])
        self.row.contents.append((said, trains))
        return said

    def id(self) -> str:
        def pick(length: int) -> str:
            return "".join(self.rng.choices(ascii_letters + digits, k=length))

        if self.ids == "mistral":
            return pick(9)
        return self.rng.choice([f"call_{pick(24)}", f"toolu_01{pick(12)}", f"chatcmpl-tool-{pick(32)}"])

    def message(self, role: str, trains: bool | None = None, **fields: Any) -> Writer:
        said = self.text(role == "assistant" if trains is None else trains)
        content = [{"type": "text", "text": said}] if role in self.in_parts else said
        self.row.messages.append({"role": role, "content": content, **fields})
        return self

    def thought(self) -> Writer:
        said = self.text(True)
        return self.message("assistant", reasoning_content=said, reasoning=said, thinking=said)

    def calls(self, number: int, *, said: bool = False, thought: bool = False) -> Writer:
        message: dict[str, Any] = {"role": "assistant"}
        if thought:
            message |= dict.fromkeys(("reasoning_content", "reasoning", "thinking"), self.text(True))
        empty: Any = [] if "assistant" in self.in_parts else ""
        if said:
            words = self.text(True)
            message["content"] = [{"type": "text", "text": words}] if "assistant" in self.in_parts else words
        else:
            message["content"] = empty
        message["tool_calls"] = []
        for _ in range(number):
            name, number_of, value = f"find_{self.word()}", f"arg_{self.word()}", self.word()
            self.row.contents.append((value, True))
            arguments: Any = {number_of: value}
            if self.rng.random() < 1 / 2:
                arguments["limit"] = self.rng.randint(2, 900)
            identity = self.id()
            function = {"name": name, "arguments": json.dumps(arguments) if self.as_json else arguments}
            message["tool_calls"].append({"type": "function", "id": identity, "function": function})
            self.waiting.append((identity, name))
        self.row.messages.append(message)
        return self

    def results(self) -> Writer:
        for identity, name in self.waiting:
            self.message("tool", name=name, tool_call_id=identity)
        self.waiting = []
        return self

    def declare(self, number: int) -> Writer:
        """Declare the tools that are called, and as many others."""
        calls = [call["function"]["name"] for m in self.row.messages for call in m.get("tool_calls", ())]
        tools = []
        for name in [*calls, *(f"other_{self.word()}" for _ in range(number))]:
            words = [self.word() for _ in range(3)]
            self.row.declared.extend(words)
            properties = {
                words[1]: {"type": self.rng.choice(["string", "integer"]), "description": f"The {words[2]}."},
                "mode": {"type": "string", "description": "How.", "enum": ["fast", "slow"]},
            }
            required = self.rng.choice([[words[1]], [words[1], "mode"]])
            parameters = {"type": "object", "properties": properties, "required": required}
            function = {"name": name, "description": f"Find a {words[0]} soon.", "parameters": parameters}
            tools.append({"type": "function", "function": function})
        self.row = self.row._replace(tools=tools)
        return self


def ask(w: Writer) -> Writer:
    return w.message("user")


def say(w: Writer) -> Writer:
    return w.message("assistant")


def rounds(w: Writer) -> Writer:
    for _ in range(w.rng.randint(0, 2)):
        say(ask(w))
    return w


def one_call(w: Writer) -> Writer:
    return say(ask(rounds(w)).calls(1).results())


def parallel(w: Writer) -> Writer:
    return say(ask(rounds(w)).calls(w.rng.randint(2, 4)).results())


def successive(w: Writer) -> Writer:
    ask(rounds(w))
    for _ in range(w.rng.randint(2, 4)):
        w.calls(w.rng.randint(1, 2)).results()
    return say(w)


def two_rounds_of_calls(w: Writer) -> Writer:
    one_call(w)
    return one_call(w)


def talk_before_call(w: Writer) -> Writer:
    return say(ask(rounds(w)).calls(w.rng.randint(1, 2), said=True).results())


def ends_with_call(w: Writer) -> Writer:
    return ask(rounds(w)).calls(w.rng.randint(1, 2))


def ends_with_results(w: Writer) -> Writer:
    return ask(rounds(w)).calls(w.rng.randint(1, 3)).results()


def thought_and_call(w: Writer) -> Writer:
    return ask(w).calls(1, thought=True).results().thought()


def thoughts(w: Writer) -> Writer:
    return ask(rounds(w)).thought()


def with_system(make: Callable[[Writer], Writer]) -> Callable[[Writer], Writer]:
    return lambda w: make(w.message("system"))


def with_tools(make: Callable[[Writer], Writer]) -> Callable[[Writer], Writer]:
    return lambda w: make(w).declare(w.rng.randint(1, 3))


def other_role(role: str) -> Callable[[Writer], Writer]:
    return lambda w: say(say(ask(rounds(w))).message(role, False))


KINDS: Mapping[str, Callable[[Writer], Writer]] = {
    "plain": lambda w: say(ask(rounds(w))),
    "system": with_system(lambda w: say(ask(rounds(w)))),
    "reasoning": thoughts,
    "call": one_call,
    "parallel calls": parallel,
    "successive calls": successive,
    "calls in two rounds": two_rounds_of_calls,
    "text before calls": talk_before_call,
    "ends with calls": ends_with_call,
    "ends with results": ends_with_results,
    "reasoning and calls": thought_and_call,
    "tools, no call": with_tools(lambda w: say(ask(rounds(w)))),
    "tools, system, no call": with_tools(with_system(lambda w: say(ask(rounds(w))))),
    "tools, calls": with_tools(parallel),
    "tools, system, calls": with_tools(with_system(successive)),
    "result without call": other_role("tool"),
    "function message": other_role("function"),
    "observation message": other_role("observation"),
    "developer first": lambda w: say(ask(w.message("developer", False))),
    "developer late": other_role("developer"),
    "unknown role": other_role("critic"),
    "two answers in a row": lambda w: say(say(ask(rounds(w)))),
    "two questions in a row": lambda w: say(ask(ask(rounds(w)))),
    "system late": lambda w: say(ask(say(ask(w)).message("system"))),
    "system late, then answer": lambda w: say(say(ask(w)).message("system")),
    "system, then answer": lambda w: say(w.message("system")),
    "answer first": lambda w: say(ask(say(w))),
}


def rendered_rows(
    tokenizer: Any, kind: str, kwargs: Mapping[str, object], count: int, in_parts: tuple[str, ...] = ()
) -> Iterator[tuple[Row, str]]:
    """Up to `count` rows of a kind and their texts, without those that the template refuses or of which it renders no answer.

    Each row is tried in several forms (ids of nine characters, JSON arguments): the first that is accepted counts.
    """
    for number in range(count):
        for ids in ("openai", "mistral"):
            for as_json in (False, True):
                row = KINDS[kind](Writer(Random(f"{kind} {number}"), in_parts=in_parts, ids=ids, as_json=as_json)).row
                try:
                    tools = {"tools": row.tools} if row.tools else {}
                    text = tokenizer.apply_chat_template(row.messages, tokenize=False, **kwargs, **tools)
                except Exception:
                    continue
                break
            else:
                continue
            break
        else:
            continue
        if any(said in text for said, trains in row.contents if trains):
            yield row, text


def wrong_tokens(text: str, offsets: list[tuple[int, int]], flags: list[bool], row: Row) -> list[str]:
    """Tokens whose flag contradicts the text. Only what is in the text is judged: templates may drop contents."""
    spans = sorted(
        (at, at + len(said), trains, number) for number, (said, trains) in enumerate(row.contents) for at in places(text, said)
    )
    wrong = []

    def judge(start: int, stop: int, trains: bool, what: str) -> None:
        for (left, right), flag in zip(offsets, flags, strict=True):
            if start <= left < right <= stop and flag != trains:
                wrong.append(f"{text[left:right]!r} of {what} {text[start:stop]!r} {'trains' if flag else 'does not train'}")

    for start, stop, trains, _ in spans:
        judge(start, stop, trains, "content")
    for word in row.declared:
        for at in places(text, word):
            judge(at, at + len(word), False, "declaration")
    for (_, left, before, number), (right, _, after, following) in pairwise(spans):
        if not before and not after and following == number + 1:  # else a dropped call is between them
            judge(left, right, False, "template text")
    calls = {call["function"]["name"] for m in row.messages for call in m.get("tool_calls", ())}
    values = {said for said, trains in row.contents if trains and " " not in said}
    for (_, left, before, _), (right, stop, _, _) in pairwise([(0, 0, False, -1), *spans]):
        name = next((name for name in calls if name in text[left:right]), None)
        if not before and name and text[right:stop] in values:  # the name of a call, between a question and the call's argument
            at = text.rindex(name, left, right)
            if not row.tools or at > max((text.rfind(word) for word in row.declared), default=-1):
                judge(at, at + len(name), True, "name")
    return wrong


def places(text: str, word: str) -> list[int]:
    """Where a word is in a text."""
    found, at = [], text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found
