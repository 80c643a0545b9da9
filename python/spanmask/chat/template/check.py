"""The self-check of a derived format: the masks of random conversations are compared with the rendered text.

The comparison does not depend on the format. A conversation is aligned with the marked one of its shape, which gives each content's
characters and, by the tokenizer's offsets, its tokens. Every token entirely inside an assistant's content must train, none entirely inside
another role's content, and the stop token after an answer must train. Of the template's own text, only tokens next to the assistant's
contents may train; whether they do is not checked. The generation prefill is such text, and the default policy leaves it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import numpy as np

from spanmask import _core
from spanmask.chat.context import EDGES
from spanmask.chat.template.probe import ASSISTANT, ContentSpan, Template, gaps_of, locate, marked_probe, role_of
from spanmask.chat.tokens import AddedTokens, Tokens, encode
from spanmask.ragged import Column

__all__ = ["Trial", "check"]

WORDS = (
    "Hello there", "the park", "42", "3.14", "你好，世界", "Zoë", "😀 ok", "x = [1, 2]", "def f(x):", "{curly}", "(round)", "<b>bold</b>",
    "- item", "end.", "Why?", "a_b", "C:\\dir", "it's", '"quoted"', "50%", "#1", "user", "tool", "привет", "e\u0301",
)  # fmt: skip


class Trial(NamedTuple):
    """The outcome of a check: how many conversations were compared, how many could not be aligned, and the first fault."""

    checked: int
    unaligned: int
    fault: str | None


def check(
    template: Template,
    tokenizer: Any,
    chat_format: _core.Format,
    policy: _core.Policy,
    added: AddedTokens,
    shapes: Sequence[Sequence[str]],
    *,
    seed: int,
    count: int,
) -> Trial:
    """Mask `count` random conversations, taking the shapes in turn, and compare the masks with the text."""
    rng = Random(seed)
    probes = [[(kind, draw_content(rng, kind)) for kind in shapes[number % len(shapes)]] for number in range(count)]
    located = [(len(probe), *found) for probe in probes if (found := locate_probe(template, probe)) is not None]
    rows = encode(tokenizer, [text for _, text, _ in located])
    flags = trained_flags([row.ids for row in rows], chat_format, policy)
    for (length, text, spans), row, row_flags in zip(located, rows, flags, strict=True):
        at = wrong_token(text, spans, length, row, row_flags, added)
        if at is not None:
            return Trial(len(located), count - len(located), show_fault(text, row, row_flags, at))
    return Trial(len(located), count - len(located), None)


def trained_flags(rows: Sequence[Sequence[int]], chat_format: _core.Format, policy: _core.Policy) -> list[list[bool]]:
    """Which tokens train. The only call of the core in `template/`."""
    untrained = -1  # tokenizers return ids >= 0
    bounds = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    masked = _core.mask_labels(
        Column(np.array([token for row in rows for token in row], dtype=np.int64), bounds[:-1], bounds[1:]),
        turns=chat_format,
        policy=policy,
        layout=_core.Layout.packed(),
        labels=None,
        turn_mask=None,
        turn_weights=None,
        ignore_index=untrained,
        weighted=False,
        num_threads=1,
    )
    flags = (masked.labels != untrained).tolist()
    return [flags[start:stop] for start, stop in pairwise(bounds.tolist())]


def draw_content(rng: Random, kind: str) -> str:
    """A content whose edges are hard to tokenize; sometimes blank.

    Arguments of calls are words, because templates quote them in different ways.
    """
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
    if kind == "call":
        return "".join(char for char in words if char.isalnum() or char == " ").strip() or "Paris"
    if kind in ("user", ASSISTANT) and rng.random() < 0.03:
        return rng.choice(["", " ", "\n"])
    return rng.choice(["", rng.choice(EDGES)]) + words + rng.choice(["", rng.choice(EDGES)])


def locate_probe(template: Template, probe: Sequence[tuple[str, str]]) -> tuple[str, list[ContentSpan]] | None:
    """A conversation's text and its contents in it; None if it is refused, or not rendered like the marked probe."""
    text = template.render(probe)
    marked = marked_probe([kind for kind, _ in probe])
    found = template.locate_contents(
        [twin if content.strip() else (kind, content) for (kind, content), twin in zip(probe, marked, strict=True)]
    )
    if text is None or found is None:
        return None
    places = locate(text, [gap.text for gap in gaps_of(*found)], [probe[span.number][1] for span in found[1]])
    if places is None:
        return None
    return text, [ContentSpan(span.kind, start, stop, span.number) for span, (start, stop) in zip(found[1], places, strict=True)]


def wrong_token(
    text: str, contents: Sequence[ContentSpan], length: int, row: Tokens, flags: Sequence[bool], added: AddedTokens
) -> int | None:
    """A token whose flag contradicts the text. `length`: the number of contents in the conversation, blank ones included."""
    edges = [0, *(edge for content in contents for edge in (content.start, content.stop)), len(text)]
    spans = [(start, stop, at) for at, (start, stop) in enumerate(row.spans) if start < stop]
    pieces = [[at for start, stop, at in spans if left <= start and stop <= right] for left, right in pairwise(edges)]
    trained = [role_of(content.kind) == ASSISTANT for content in contents]
    for number, content in enumerate(contents):
        for at in pieces[2 * number + 1]:
            if flags[at] != trained[number]:
                return at
        if content.kind == ASSISTANT:
            after = text[content.stop : edges[2 * number + 3]]
            stop = next((span for span in added.spans(after) if not after[: span[0]].strip()), None)
            for at in pieces[2 * number + 2]:
                covers_stop = stop and row.spans[at][0] <= content.stop + stop[0] and content.stop + stop[1] <= row.spans[at][1]
                if covers_stop and not flags[at]:
                    return at
    numbers = [-1, *(content.number for content in contents), length]
    for number in range(
        len(contents) + 1
    ):  # the template's own text: only what closes a trained turn, or comes before its content
        if numbers[number + 1] != numbers[number] + 1:
            continue  # a blank or dropped content is in between
        between = pieces[2 * number]
        leaves = number > 0 and trained[number - 1]
        enters = number < len(contents) and trained[number]
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
    what = "trains but must not" if flags[at] else "does not train but must"
    return f"token {row.ids[at]} {text[start:stop]!r} {what}, in ...{text[max(0, start - 80) : start]!r} >>> {text[start : stop + 40]!r}"
