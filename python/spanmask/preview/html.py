"""Rows as an HTML fragment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spanmask.preview.decode import spell_controls
from spanmask.preview.model import Row, Segment

__all__ = ["ESCAPES", "html_document", "html_fragment", "html_row", "legend"]

# Each element has its own style, since notebooks and sites remove style sheets. Colours are translucent, so that the text colour and
# background of the page show through, light or dark.
BOX = 'style="font-family:ui-monospace,monospace;font-size:13px;line-height:1.7;text-align:left"'
DIM = 'style="opacity:.65;margin:.6em 0 .2em"'
GRID = 'style="display:grid;grid-template-columns:max-content 1fr;column-gap:1.2em"'
TWO = 'style="display:grid;grid-template-columns:max-content 1fr 1fr;column-gap:1.2em"'
GUTTER_A = 'style="opacity:.65"'
GUTTER = 'style="opacity:.65;text-align:right"'
# As `html.escape`; importing `html` takes about 1 ms, which `import spanmask` would pay.
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
TEXT = 'style="white-space:pre-wrap;overflow-wrap:anywhere;min-width:0"'
BOTH = 'style="white-space:pre-wrap;overflow-wrap:anywhere;min-width:0;grid-column:span 2"'
# The borders of the token under the pointer. Where style sheets are removed, its position and id are shown all the same.
HOVER = "<style>.spanmask-token:hover{outline:1px solid;outline-offset:1px}</style>"


def html_fragment(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The rows, and the notes after them, in one element."""
    parts = [HOVER, *("".join(html_row(row)) for row in rows)]
    after = [f"<div {DIM}>{note.translate(ESCAPES)}</div>" for note in notes]
    return f"<div {BOX}>{''.join([*parts, *after])}</div>"


def html_document(rows: Sequence[Row], notes: Sequence[str], title: str) -> str:
    """A page with the legend and the rows, which needs no network. Light or dark, as the reader's browser prefers."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title.translate(ESCAPES)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root{color-scheme:light dark}'
        "body{margin:1em auto;max-width:72em;padding:0 1em}</style></head>"
        f"<body>{legend()}{html_fragment(rows, notes)}</body></html>\n"
    )


def legend() -> str:
    """What the colours mean, in one line."""
    samples = (
        (Segment("green", trained=True), "is trained"),
        (Segment("struck through", ignored=True), "is part of an answer and is not trained"),
        (Segment("faint", marker=True), "opens or closes a turn, or is a special token"),
    )
    parts = (f"{html_segment(segment)} {what}" for segment, what in samples)
    return f'<div style="font-size:13px;margin:.4em 0">{" &#183; ".join(parts)} &#183; all else is only read</div>'


def html_row(row: Row) -> Iterator[str]:
    """A row as HTML: its headline, then a grid of gutter and text."""
    yield f"<div {DIM}>{row.headline.translate(ESCAPES)}</div><div {TWO if row.others else GRID}>"
    if row.others:
        yield f"<div></div><div {GUTTER_A}>A</div><div {GUTTER_A}>B</div>"
    for line, other in row.pairs():
        yield f"<div {GUTTER}>{line.gutter.translate(ESCAPES)}</div>"
        kind = BOTH if row.others and other is None else TEXT
        for one in (line,) if other is None else (line, other):
            yield f"<div {kind}>"
            yield from map(html_segment, one.segments)
            yield "</div>"
    yield "</div>"


def html_segment(segment: Segment) -> str:
    """One segment. Trained text is a `<mark>`, so that it is marked even where styles are removed."""
    if segment.folded:
        inner = html_segment(replace(segment, folded=False))
        return f'<details style="display:inline"><summary style="display:inline;cursor:pointer">{segment.shown}</summary>{inner}</details>'
    style = "font-style:italic;" if segment.special else ""
    if segment.trained:
        style += f"color:inherit;background:rgba(46,160,67,{0.12 + 0.33 * segment.shade:.2f})"
        kind = "trained" if segment.weight is None else f"trained, weight {segment.weight:g}"
        tag = "mark"
    elif segment.ignored:
        style += "background:rgba(218,54,51,.18);text-decoration:line-through"
        kind, tag = "ignored", "span"
    else:
        style += "opacity:.6" if segment.special or segment.marker else ""
        kind, tag = "not trained", "span"
    styled = f' style="{style}"' if style else ""
    if segment.pieces:
        return f"<{tag}{styled}>{''.join(html_pieces(segment, kind))}</{tag}>"
    if not segment.size and not style:
        return html_text(segment.text)
    return f'<{tag}{styled} title="{kind}{tokens_of(segment)}">{html_text(segment.text)}</{tag}>'


def html_pieces(segment: Segment, kind: str) -> Iterator[str]:
    """The tokens of a segment, each with its borders and its id under the pointer."""
    at = 0
    for size, text in segment.pieces:
        part = replace(segment, start=segment.start + at, ids=segment.ids[at : at + size], size=size)
        yield f'<span class="spanmask-token" title="{kind}{tokens_of(part)}">{html_text(spell_controls(text))}</span>'
        at += size


def html_text(text: str) -> str:
    """Text with newlines that can be seen."""
    return text.translate(ESCAPES).replace("\n", '<span style="opacity:.5">&#8629;</span>\n')


def tokens_of(segment: Segment) -> str:
    """The places and ids of a segment's tokens, which the pointer shows."""
    if not segment.size:
        return ""
    ids = " ".join(map(str, segment.ids)) + (" ..." if segment.size > len(segment.ids) else "")
    if segment.size == 1:
        return f"; token {segment.start}, id {ids}"
    return f"; tokens {segment.start} to {segment.start + segment.size - 1}, ids {ids}"
