"""What a mask must be, determined from the rendered text alone. It is independent of `spanmask.chat`: each content has a unique word."""

from __future__ import annotations

from collections.abc import Container
from random import Random
from typing import NamedTuple

ENDS = (
    "", " ", "  ", "\n", "\n\n", "\t", ".", ". ", ".\n", ",", ":", ": ", ";", "!", "?", '"', "'", "`", "(", ")", "[", "]", "{", "}",
    "<", ">", "</", "#", "*", "-", "_", "=", "7", "42", "a", "Zoë", "中", "。", "é", "😀", "the", "END", "\u00a0",
)  # fmt: skip
MIDDLES = (
    "hello there",
    "x = [1, 2]",
    "你好，世界",
    "3.14 apples",
    "<b>bold</b>",
    "line\nbreak",
    "two\n\nparagraphs",
    "привет",
    "😀 ok",
    "{a: b}",
)
ROLES = ("system", "user", "assistant")


class Content(NamedTuple):
    role: str
    text: str
    trains: bool


def conversation(rng: Random, roles: list[str]) -> list[Content]:
    """Contents with edges that are hard to tokenize; one in twelve is blank."""
    contents = []
    for number, role in enumerate(roles):
        blank = rng.random() < 1 / 12 and role != "system"
        text = rng.choice(["", " ", "\n"]) if blank else f"{rng.choice(ENDS)}{rng.choice(MIDDLES)} q{number}z{rng.choice(ENDS)}"
        contents.append(Content(role, text, role == "assistant"))
    return contents


def shapes(system: bool, tail: bool) -> list[list[str]]:
    """One to five rounds, with or without a system message before them and a last question after them."""
    return [
        [*start, *["user", "assistant"] * rounds, *end]
        for rounds in range(1, 6)
        for start in ([[], ["system"]] if system else [[]])
        for end in ([[], ["user"]] if tail else [[]])
    ]


def messages(contents: list[Content], in_parts: Container[str] = ()) -> list[dict[str, object]]:
    """The contents as messages; `in_parts`: the roles whose content is a list of parts."""
    return [{"role": c.role, "content": [{"type": "text", "text": c.text}] if c.role in in_parts else c.text} for c in contents]


def spans_in(text: str, contents: list[Content]) -> list[tuple[int, int, Content]]:
    """The places of the contents, without whitespace around them. Templates may move the system message, so each is found by its word."""
    found = []
    for content in contents:
        stripped = content.text.strip()
        if stripped:
            assert text.count(stripped) == 1, (content, text)
            at = text.index(stripped)
            found.append((at, at + len(stripped), content))
    return found


def faults(tokenizer: object, text: str, contents: list[Content], trained: list[bool]) -> list[str]:
    """Each token entirely inside a content with a wrong flag, and each answer with a stop token that does not train."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)  # type: ignore[operator]
    ids, offsets = encoding["input_ids"], encoding["offset_mapping"]
    special = {number: token for token, number in tokenizer.get_added_vocab().items()}  # type: ignore[attr-defined]
    wrong = []
    for start, stop, content in spans_in(text, contents):
        inside = [at for at, (a, b) in enumerate(offsets) if start <= a < b <= stop]
        wrong += [f"{text[slice(*offsets[at])]!r} of {content}" for at in inside if trained[at] != content.trains]
        if content.trains and inside:
            following = next(
                (at for at in range(inside[-1] + 1, len(ids)) if offsets[at][0] >= stop and text[slice(*offsets[at])].strip()),
                None,
            )
            if following is None or trained[following]:
                continue
            shown = text[slice(*offsets[following])]
            if (
                special.get(ids[following]) == shown.strip()
            ):  # else a character's byte that the vocabulary lists as an added token
                wrong.append(f"stop {shown!r} after {content}")
    return wrong
