"""The self-check of a derived format: the masks of random conversations are compared with the rendered text.

The comparison does not depend on the format. A conversation is aligned with the marked one of its shape, which gives each content's
characters and, by the tokenizer's offsets, its tokens. Every token entirely inside an assistant's content must train, none entirely inside
another role's content, and the stop token after an answer and the name of a called tool must train. Of the template's own text, only what
closes an assistant's content may train, one stop token after it, and what leads to the next; whether it does is not checked. The generation
prefill is such text, and the default policy leaves it out. Contents, ids, names and numbers are drawn: no string of the derivation's own
probes occurs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import dropwhile, pairwise
from random import Random
from string import ascii_letters, digits
from typing import Any, NamedTuple

import numpy as np

from spanmask import _core
from spanmask.chat.context import EDGES
from spanmask.chat.template.alignment import NAME, ContentSpan, Located, gaps_of, locate, with_holes
from spanmask.chat.template.gaps import Closings
from spanmask.chat.template.probe import Names, Probe, Template, marked_probe
from spanmask.chat.template.shapes import ASSISTANT, CALL, DECLARED, TOOL, Shape, role_of
from spanmask.chat.tokens import AddedTokens, Tokens, encode
from spanmask.ragged import Column

__all__ = ["Trial", "check"]

CLOSES_REASONING = r"(?i)(?:[<\[]/[^<>\[\]\s]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]|<channel\|>)\s*$"
WORDS = (
    "Hello there", "the park", "42", "3.14", "你好，世界", "Zoë", "😀 ok", "x = [1, 2]", "def f(x):", "{curly}", "(round)", "<b>bold</b>",
    "- item", "end.", "Why?", "a_b", "C:\\dir", "it's", '"quoted"', "50%", "#1", "user", "tool", "привет", "e\u0301",
)  # fmt: skip
VERBS, THINGS = ("find", "list", "read", "send", "open"), ("order", "mail", "price", "route", "file", "event")


class Trial(NamedTuple):
    """The outcome of a check: how many conversations of each shape were compared, the first fault and its shape."""

    located: Counter[Shape]
    fault: str | None
    shape: Shape = ()


def check(
    template: Template,
    tokenizer: Any,
    chat_format: _core.Format,
    policy: _core.Policy,
    added: AddedTokens,
    shapes: Sequence[Shape],
    *,
    seed: int,
    count: int,
    words: Sequence[str] = (),
) -> Trial:
    """Mask `count` random conversations, taking the shapes in turn, and compare the masks with the text.

    `words`: texts that contents hold besides the usual ones: those of anchored markers.
    """
    rng = Random(seed)
    drawn = (shapes[number % len(shapes)] for number in range(count))
    probes = [(shape, draw_probe(rng, shape, words)) for shape in drawn]
    located = [(shape, found) for shape, probe in probes if (found := locate_probe(template, probe, rng)) is not None]
    rows = encode(tokenizer, [found.text for _, found in located])
    flags = trained_flags([row.ids for row in rows], chat_format, policy)
    closings = closings_of(template, shapes, added)
    compared = Counter(shape for shape, _ in located)
    for (shape, found), row, row_flags in zip(located, rows, flags, strict=True):
        at = wrong_token(found, shape, row, row_flags, added, closings)
        if at is not None:
            return Trial(compared, show_fault(found.text, row, row_flags, at), shape)
    return Trial(compared, None)


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


def draw_probe(rng: Random, shape: Shape, words: Sequence[str]) -> Probe:
    """A conversation of this shape with random strings."""
    count = max(shape.count(CALL), shape.count(TOOL), shape.count(DECLARED))
    return Probe(tuple((kind, draw_content(rng, kind, words)) for kind in shape), tuple(draw_names(rng) for _ in range(count)))


def draw_names(rng: Random) -> Names:
    """An id, the name of a tool, and names and numbers of arguments, in the styles of common interfaces."""
    style = rng.choice(["call_{}", "chatcmpl-tool-{}", "toolu_01{}", "{}"])
    join = rng.choice(["_", "-", ""])
    tool = f"{rng.choice(VERBS)}{join}{rng.choice(THINGS).title() if not join else rng.choice(THINGS)}{rng.choice(['', '2'])}"
    first, second = sorted(rng.sample(["day", "item_id", "limit", "path", "query", "to", "unit", "where"], 2))
    return Names(style.format(draw_id(rng, 16)), tool, first, second, str(rng.randrange(10 ** rng.randint(1, 6))))


def draw_id(rng: Random, length: int) -> str:
    """Random letters and digits."""
    return "".join(rng.choices(ascii_letters + digits, k=length))


def draw_content(rng: Random, kind: str, more: Sequence[str]) -> str:
    """A content whose edges are hard to tokenize; sometimes blank.

    Arguments of calls and descriptions of tools are words, because templates quote them in different ways.
    """
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(1, 4)))
    if more and kind in ("user", ASSISTANT) and rng.random() < 0.2:
        words += f" a\n{rng.choice(more)} b"
    if kind in (CALL, DECLARED):
        return "".join(char for char in words if char.isalnum() or char == " ").strip() or "Paris"
    if kind in ("user", ASSISTANT) and rng.random() < 0.03:
        return rng.choice(["", " ", "\n"])
    return rng.choice(["", rng.choice(EDGES)]) + words + rng.choice(["", rng.choice(EDGES)])


def locate_probe(template: Template, probe: Probe, rng: Random) -> Located | None:
    """A conversation's text and its contents in it; None if it is refused, or not rendered like the marked probe."""
    text = template.render(probe)
    if text is None and probe.names:  # Mistral's templates require ids of nine letters or digits
        probe = replace(probe, names=tuple(names._replace(id=draw_id(rng, 9)) for names in probe.names))
        text = template.render(probe)
    marked = marked_probe([kind for kind, _ in probe.turns])
    turns = tuple(twin if turn[1].strip() else turn for turn, twin in zip(probe.turns, marked.turns, strict=True))
    twin = template.locate_contents(replace(marked, turns=turns))
    if text is None or twin is None:
        return None
    return locate(text, twin, [content for _, content in probe.turns], [detail for _, detail in probe.details])


def closings_of(template: Template, shapes: Iterable[Shape], added: AddedTokens) -> Closings:
    """What the model may write after each kind of an assistant's content."""
    located = [template.locate_contents(marked_probe(shape)) for shape in dict.fromkeys(shapes)]
    return Closings((gap for found in located if found is not None for gap in gaps_of(found)), added)


def wrong_token(
    found: Located, shape: Shape, row: Tokens, flags: Sequence[bool], added: AddedTokens, closings: Closings
) -> int | None:
    """A token whose flag contradicts the text."""
    contents = [None, *found.contents, None]
    edges = [0, *(edge for content in found.contents for edge in (content.start, content.stop)), len(found.text)]
    spans = [(start, stop, at) for at, (start, stop) in enumerate(row.spans) if start < stop]
    pieces = [[at for start, stop, at in spans if left <= start and stop <= right] for left, right in pairwise(edges)]
    complete = complete_gaps(found, shape)
    for number, (before, after) in enumerate(pairwise(contents)):
        gap = TokensOfGap(pieces[2 * number], edges[2 * number], edges[2 * number + 1], before, after, complete[number])
        wrong = wrong_in_gap(found, gap, row, flags, added, closings)
        if wrong is None and after is not None:
            trains = role_of(after.kind) == ASSISTANT
            tokens = pieces[2 * number + 1]
            if re.search(CLOSES_REASONING, found.text[edges[2 * number] : edges[2 * number + 1]]):
                # A search cannot tell the line breaks at the head of an answer from those after the reasoning.
                tokens = list(dropwhile(lambda at: found.text[slice(*row.spans[at])].isspace(), tokens))
            wrong = next((at for at in tokens if flags[at] != trains), None)
        if wrong is not None:
            return wrong
    return None


def complete_gaps(found: Located, shape: Shape) -> list[bool]:
    """For each gap, whether the messages around it follow each other: else a blank or dropped content is in between."""
    declared = shape.count(DECLARED)
    before, after = [-1], [len(shape) - declared]  # the numbers of the messages next to each gap
    for content in found.contents:
        before.append(before[-1] if content.kind == DECLARED else content.number - declared)
    for content in reversed(found.contents):
        after.append(after[-1] if content.kind == DECLARED else content.number - declared)
    return [right == left + 1 for left, right in zip(before, reversed(after), strict=True)]


class TokensOfGap(NamedTuple):
    """The tokens between two contents; None: the start or the end of the text. `complete`: no blank or dropped content is in between."""

    tokens: list[int]
    start: int
    stop: int
    before: ContentSpan | None
    after: ContentSpan | None
    complete: bool


def wrong_in_gap(
    found: Located, gap: TokensOfGap, row: Tokens, flags: Sequence[bool], added: AddedTokens, closings: Closings
) -> int | None:
    """A token of the template's own text that trains but must not, or does not but must."""
    tokens, before, after = gap.tokens, gap.before, gap.after
    leaves = before is not None and role_of(before.kind) == ASSISTANT
    enters = after is not None and role_of(after.kind) == ASSISTANT
    text = found.text[gap.start : gap.stop]
    if before is not None and before.kind == ASSISTANT:
        stop = next((span for span in added.spans(text) if not text[: span[0]].strip()), None)
        if stop and after is not None and after.kind != "user" and stop[1] > len(closings.of(ASSISTANT, text)):
            stop = None  # the header of a role that does not follow at inference
        for at in tokens:
            covers = stop and row.spans[at][0] <= gap.start + stop[0] and gap.start + stop[1] <= row.spans[at][1]
            if covers and not flags[at]:
                return at
    if after is not None and after.kind == CALL and not leaves:
        for at in name_tokens(found, gap, row):
            if not flags[at]:
                return at
    if not gap.complete:
        return None
    if before is not None and leaves and not enters and closings.are_known(before.kind):
        limit = limit_of(found, gap, before.kind, closings, added)
        for at in tokens:
            left, right = row.spans[at]
            if flags[at] and left >= limit and (added.spans(text) or not found.text[left:right].isspace()):
                return at
    changes = [at for at, following in pairwise(tokens) if flags[at] != flags[following]]
    for at in tokens:
        if flags[at] and not (leaves or enters):
            return at
        if flags[at] and not enters and changes and at > changes[0]:
            return at
        if flags[at] and not leaves and changes and at <= changes[-1]:
            return at
    return None


def limit_of(found: Located, gap: TokensOfGap, before: str, closings: Closings, added: AddedTokens) -> int:
    """Where the model has stopped after a content: after the closing text, and after one added token that directly follows it."""
    text, positions = with_holes(found, gap.start, gap.stop)
    at = len(closings.of(before, text))
    rest = text[at:]
    stop_token = next((span for span in added.spans(rest) if not rest[: span[0]].strip()), (0, 0))
    return positions[at + stop_token[1]]


def name_tokens(found: Located, gap: TokensOfGap, row: Tokens) -> list[int]:
    """The tokens inside the last tool's name in a gap."""
    name = [span for span in found.details if span.kind == NAME and gap.start <= span.start and span.stop <= gap.stop][-1:]
    return [at for at in gap.tokens for span in name if span.start <= row.spans[at][0] < row.spans[at][1] <= span.stop]


def show_fault(text: str, row: Tokens, flags: Sequence[bool], at: int) -> str:
    """The wrong token in its text, for the error message."""
    start, stop = row.spans[at]
    what = "trains but must not" if flags[at] else "does not train but must"
    return f"token {row.ids[at]} {text[start:stop]!r} {what}, in ...{text[max(0, start - 80) : start]!r} >>> {text[start : stop + 40]!r}"
