"""Rows as an HTML fragment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spanmask.preview.model import Row, Segment

__all__ = ["ESCAPES", "html_document", "html_fragment", "html_row", "legend"]

# Each element has its own style, since notebooks and sites remove style sheets. Colours are translucent, so that the text colour and
# background of the page show through, light or dark.
BOX = 'style="font-family:ui-monospace,monospace;font-size:13px;line-height:1.7;text-align:left"'
DIM = 'style="opacity:.65;margin:.6em 0 .2em"'
GRID = 'style="display:grid;grid-template-columns:max-content 1fr;column-gap:1.2em"'
GUTTER = 'style="opacity:.65;text-align:right"'
# As `html.escape`; importing `html` takes about 1 ms, which `import spanmask` would pay.
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})
TEXT = 'style="white-space:pre-wrap;overflow-wrap:anywhere"'


def html_fragment(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The rows, and the notes after them, in one element."""
    parts = ["".join(html_row(row)) for row in rows]
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
    yield f"<div {DIM}>{row.headline.translate(ESCAPES)}</div><div {GRID}>"
    for line in row.lines:
        yield f"<div {GUTTER}>{line.gutter.translate(ESCAPES)}</div><div {TEXT}>"
        yield from map(html_segment, line.segments)
        yield "</div>"
    yield "</div>"


def html_segment(segment: Segment) -> str:
    """One segment. Trained text is a `<mark>`, so that it is marked even where styles are removed."""
    text = segment.text.translate(ESCAPES).replace("\n", '<span style="opacity:.5">&#8629;</span>\n')
    style = "font-style:italic;" if segment.special else ""
    title = tokens_of(segment)
    if segment.trained:
        style += f"color:inherit;background:rgba(46,160,67,{0.12 + 0.33 * segment.shade:.2f})"
        kind = "trained" if segment.weight is None else f"trained, weight {segment.weight:g}"
        return f'<mark style="{style}" title="{kind}{title}">{text}</mark>'
    if segment.ignored:
        style += "background:rgba(218,54,51,.18);text-decoration:line-through"
        return f'<span style="{style}" title="ignored{title}">{text}</span>'
    if segment.special or segment.marker:
        return f'<span style="{style}opacity:.6" title="not trained{title}">{text}</span>'
    return f'<span title="not trained{title}">{text}</span>' if segment.size else text


def tokens_of(segment: Segment) -> str:
    """The places and ids of a segment's tokens, which the pointer shows."""
    if not segment.size:
        return ""
    ids = " ".join(map(str, segment.ids)) + (" ..." if segment.size > len(segment.ids) else "")
    if segment.size == 1:
        return f"; token {segment.start}, id {ids}"
    return f"; tokens {segment.start} to {segment.start + segment.size - 1}, ids {ids}"
