"""Contents in a rendered text: where they are, and the template's own text between them.

Ids, names and numbers of calls differ from row to row, as contents do, but may be anywhere in the template's text. In a gap each is a
*hole*, one character of the private use area that no marker contains.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

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
    places = place(text, gaps, [strings[span.number] for span, strings in keys])
    if places is None:
        return None
    spans = [ContentSpan(span.kind, *found, span.number) for (span, _), found in zip(keys, places, strict=True)]
    return Located(text, [span for span in spans if span.kind not in HOLES], [span for span in spans if span.kind in HOLES])


def place(text: str, gaps: Sequence[str], strings: Sequence[str]) -> list[tuple[int, int]] | None:
    """The places of strings in a text of known gaps.

    >>> place("<u>Hi </u><a>yo</a>", ["<u>", "</u><a>", "</a>"], ["Hi ", " yo"])
    [(3, 6), (13, 15)]
    """
    tried: list[tuple[tuple[int, int], Iterator[str]]] = []  # the place of each string so far, and its further forms
    if not text.startswith(gaps[0]):
        return None
    at, rest = len(gaps[0]), iter(forms(strings[0])) if strings else iter(())
    while len(tried) < len(strings):
        for form in rest:
            stop = at + len(form)
            if text.startswith(form, at) and text.startswith(gap := gaps[len(tried) + 1], stop):
                last = len(tried) + 1 == len(strings)
                if last and stop + len(gap) != len(text):
                    continue
                tried.append(((at, stop), rest))
                at, rest = stop + len(gap), iter(()) if last else forms(strings[len(tried)])
                break
        else:
            if not tried:
                return None
            (at, _), rest = tried.pop()
    return [found for found, _ in tried] if tried or len(gaps[0]) == len(text) else None


def forms(content: str) -> Iterator[str]:
    """The distinct forms in which templates may write a content."""
    yield content
    seen = {content.strip(): None, content.lstrip(): None, content.rstrip(): None, content.strip("\n"): None}
    for some in (content, content.strip()):
        seen |= {json.dumps(some)[1:-1]: None, json.dumps(some, ensure_ascii=False)[1:-1]: None}
    yield from (form for form in seen if form != content)
