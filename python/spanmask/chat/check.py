"""A derived format on trial: random conversations, masked by it, against what the rendered text says.

The truth needs no format: a conversation is aligned with the bare one of its shape, so each content's characters are known, and by the
tokenizer's offsets its tokens. Every token wholly inside an assistant's content must train, none wholly inside another's, the stop token
behind an answer must train, and nothing of the template's own text beyond what closes or heads the assistant's turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import numpy as np

from spanmask import _core
from spanmask.chat.boundaries import Atoms
from spanmask.chat.format import ChatFormat
from spanmask.chat.markers import EDGES
from spanmask.chat.probe import ASSISTANT, Mark, Template, bare, gaps_of, locate, role_of
from spanmask.chat.tokens import Tokens, encode
from spanmask.ragged import Column

__all__ = ["Trial", "check", "draw_content", "locate_probe", "trained_flags", "wrong_token"]

WORDS = (
    "Hello there", "the park", "42", "3.14", "你好，世界", "Zoë", "😀 ok", "x = [1, 2]", "def f(x):", "{curly}", "(round)", "<b>bold</b>",
    "- item", "end.", "Why?", "a_b", "C:\\dir", "it's", '"quoted"', "50%", "#1", "user", "tool", "привет", "e\u0301",
)  # fmt: skip


class Trial(NamedTuple):
    """The outcome: how many conversations were held against the text, how many could not be aligned, and the first fault."""

    checked: int
    unaligned: int
    fault: str | None


def check(
    template: Template,
    tokenizer: Any,
    chat_format: ChatFormat,
    atoms: Atoms,
    shapes: Sequence[Sequence[str]],
    *,
    seed: int,
    count: int,
) -> Trial:
    """Mask `count` random conversations of the shapes, in turn, and compare."""
    rng = Random(seed)
    probes = [[(kind, draw_content(rng, kind)) for kind in shapes[number % len(shapes)]] for number in range(count)]
    located = [(len(probe), *found) for probe in probes if (found := locate_probe(template, probe)) is not None]
    rows = encode(tokenizer, [text for _, text, _ in located])
    for (places, text, marks), row, flags in zip(
        located, rows, trained_flags([row.ids for row in rows], chat_format), strict=True
    ):
        at = wrong_token(text, marks, places, row, flags, atoms)
        if at is not None:
            return Trial(len(located), count - len(located), show_fault(text, row, flags, at))
    return Trial(len(located), count - len(located), None)


def draw_content(rng: Random, kind: str) -> str:
    """A content with a hard edge on either side; sometimes blank. Arguments of calls are words: templates quote them in their own ways."""
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
    if kind == "call":
        return "".join(char for char in words if char.isalnum() or char == " ").strip() or "Paris"
    if kind in ("user", ASSISTANT) and rng.random() < 0.03:
        return rng.choice(["", " ", "\n"])
    return rng.choice(["", rng.choice(EDGES)]) + words + rng.choice(["", rng.choice(EDGES)])


def locate_probe(template: Template, probe: Sequence[tuple[str, str]]) -> tuple[str, list[Mark]] | None:
    """A conversation's text and the characters of its contents; None where it is refused or not of its bare twin's shape."""
    text = template.render(probe)
    unique = bare([kind for kind, _ in probe])
    found = template.marks(
        [twin if content.strip() else (kind, content) for (kind, content), twin in zip(probe, unique, strict=True)]
    )
    if text is None or found is None:
        return None
    spans = locate(text, [gap.text for gap in gaps_of(*found)], [probe[mark.place][1] for mark in found[1]])
    if spans is None:
        return None
    return text, [Mark(mark.kind, start, stop, mark.place) for mark, (start, stop) in zip(found[1], spans, strict=True)]


def trained_flags(rows: Sequence[Sequence[int]], chat_format: ChatFormat) -> list[list[bool]]:
    """Which tokens train under the default policy: the assistant's contents, what closes them, a stop token behind them."""
    flags = [[False] * len(row) for row in rows]
    bounds = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    values = np.array([token for row in rows for token in row], dtype=np.int64)
    turns = _core.find_turns(Column(values, bounds[:-1], bounds[1:]), chat_format._compiled)
    trained = chat_format.roles.index(ASSISTANT)
    columns = (turns.row, turns.role, turns.content_start, turns.stop)
    for number, role, content_start, stop in zip(*(column.tolist() for column in columns), strict=True):
        if role == trained:
            if stop < len(rows[number]) and rows[number][stop] in chat_format.stop_token_ids:
                stop += 1
            flags[number][content_start:stop] = [True] * (stop - content_start)
    return flags


def wrong_token(text: str, marks: Sequence[Mark], places: int, row: Tokens, flags: Sequence[bool], atoms: Atoms) -> int | None:
    """A token whose flag contradicts the text. `places`: contents in the conversation, with those that leave no mark."""
    edges = [0, *(edge for mark in marks for edge in (mark.start, mark.stop)), len(text)]
    spans = [(start, stop, at) for at, (start, stop) in enumerate(row.spans) if start < stop]
    pieces = [[at for start, stop, at in spans if left <= start and stop <= right] for left, right in pairwise(edges)]
    trained = [role_of(mark.kind) == ASSISTANT for mark in marks]
    for number, mark in enumerate(marks):
        for at in pieces[2 * number + 1]:
            if flags[at] != trained[number]:
                return at
        if mark.kind == ASSISTANT:
            after = text[mark.stop : edges[2 * number + 3]]
            stop = next((span for span in atoms.spans(after) if not after[: span[0]].strip()), None)
            for at in pieces[2 * number + 2]:
                if stop and not flags[at] and row.spans[at][0] <= mark.stop + stop[0] and mark.stop + stop[1] <= row.spans[at][1]:
                    return at
    numbers = [-1, *(mark.place for mark in marks), places]
    for number in range(len(marks) + 1):  # the template's own text: only what closes a trained turn, or heads one
        if numbers[number + 1] != numbers[number] + 1:
            continue  # a blank or dropped content hides in between
        between = pieces[2 * number]
        leaves = number > 0 and trained[number - 1]
        enters = number < len(marks) and trained[number]
        changes = [at for at, after in pairwise(between) if flags[at] != flags[after]]
        for at in between:
            if flags[at] and not (leaves or enters):
                return at
            if flags[at] and not enters and changes and at > changes[0]:
                return at
            if flags[at] and not leaves and changes and at <= changes[-1]:
                return at
    return None


def show_fault(text: str, row: Tokens, flags: Sequence[bool], at: int) -> str:
    """The wrong token in its text, for the error message."""
    start, stop = row.spans[at]
    what = "trains, and must not" if flags[at] else "does not train, and must"
    return f"token {row.ids[at]} {text[start:stop]!r} {what}, in ...{text[max(0, start - 80) : start]!r} >>> {text[start : stop + 40]!r}"
