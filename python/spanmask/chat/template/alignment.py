"""Contents in a rendered text: where they are, and the template's own text between them.

Ids, names and numbers of calls differ from row to row, as contents do, but may be anywhere in the template's text. In a gap each is a
*hole*, one character of the private use area that no marker contains.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from spanmask.chat.align import align
from spanmask.chat.template.shapes import ASSISTANT, BEGIN, CALL, END, PREAMBLE, THOUGHT, role_of

__all__ = [
    "DETAIL",
    "HOLES",
    "NAME",
    "NAME_HOLE",
    "ContentSpan",
    "Gap",
    "Located",
    "before_hole",
    "content_spans",
    "gaps_of",
    "locate",
    "with_holes",
]

DETAIL, NAME = "(detail)", "(name of a tool)"
NAME_HOLE = "\ue001"
HOLES = {DETAIL: "\ue000", NAME: NAME_HOLE}


class ContentSpan(NamedTuple):
    """A content or a detail in a rendered text: the characters [start, stop); `number`: its index in the probe."""

    kind: str
    start: int
    stop: int
    number: int


class Located(NamedTuple):
    """A rendered text, its contents, and its details, each in the order of the text."""

    text: str
    contents: list[ContentSpan]
    details: list[ContentSpan]


class Gap(NamedTuple):
    """The template's own text between two consecutive contents; `before` and `after` are their kinds."""

    before: str
    after: str
    text: str


def content_spans(text: str, turns: Sequence[tuple[str, str]], details: Sequence[tuple[str, str]]) -> Located | None:
    """The contents and details of a marked probe in its text; blank contents are left out.

    None if an answer is missing or repeated. Reasoning and calls may be missing where others of their kind are there: templates drop
    the reasoning of earlier turns, and some render only the first of parallel calls.
    """
    found = []
    for number, (kind, content) in enumerate(turns):
        if content.strip():
            starts = [match.start() for match in re.finditer(re.escape(content), text)]
            if role_of(kind) == ASSISTANT and len(starts) != 1 and (starts or kind == ASSISTANT):
                return None
            found += [ContentSpan(kind, at, at + len(content), number) for at in starts]
    kinds = {span.kind for span in found}
    if any(kind in (THOUGHT, PREAMBLE, CALL) and kind not in kinds for kind, _ in turns):
        return None
    spans = []
    for number, (kind, detail) in enumerate(details):
        spans += [ContentSpan(kind, match.start(), match.end(), number) for match in re.finditer(re.escape(detail), text)]
    return Located(text, sorted(found, key=lambda span: span.start), sorted(spans, key=lambda span: span.start))


def gaps_of(located: Located) -> list[Gap]:
    """The template's own text, cut at the contents, with holes for the details."""
    contents = located.contents
    kinds = [BEGIN, *(span.kind for span in contents), END]
    cuts = [0, *(edge for span in contents for edge in (span.start, span.stop)), len(located.text)]
    return [
        Gap(kinds[at], kinds[at + 1], with_holes(located, cuts[2 * at], cuts[2 * at + 1])[0]) for at in range(len(contents) + 1)
    ]


def with_holes(located: Located, start: int, stop: int) -> tuple[str, list[int]]:
    """The characters [start, stop) with holes for the details, and where each character of the result begins in the text."""
    out, at = "", start
    positions: list[int] = []
    for span in located.details:
        if at <= span.start and span.stop <= stop:
            out += located.text[at : span.start] + HOLES[span.kind]
            positions += [*range(at, span.start), span.start]
            at = span.stop
    return out + located.text[at:stop], [*positions, *range(at, stop + 1)]


def before_hole(text: str) -> str:
    """The text up to its first hole."""
    return re.split(f"[{''.join(HOLES.values())}]", text, maxsplit=1)[0]


def locate(text: str, twin: Located, contents: Sequence[str], details: Sequence[str]) -> Located | None:
    """The contents and details of a text that is rendered like its twin: the same template's text between other strings.

    Templates may strip whitespace around a content, or quote it as JSON.
    """
    keys = sorted(
        [*((span, contents) for span in twin.contents), *((span, details) for span in twin.details)], key=lambda key: key[0].start
    )
    cuts = [0, *(edge for span, _ in keys for edge in (span.start, span.stop)), len(twin.text)]
    gaps = [twin.text[cuts[2 * at] : cuts[2 * at + 1]] for at in range(len(keys) + 1)]
    starts = align(text, gaps, [strings[span.number] for span, strings in keys])
    if starts is None:
        return None
    stops = [start + len(gap) for start, gap in zip(starts, gaps, strict=True)]
    spans = [
        ContentSpan(span.kind, start, stop, span.number) for (span, _), start, stop in zip(keys, stops, starts[1:], strict=False)
    ]
    return Located(text, [span for span in spans if span.kind not in HOLES], [span for span in spans if span.kind in HOLES])
