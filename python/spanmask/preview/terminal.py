"""Rows as rich renderables, in colour. rich is imported inside the functions: it is optional."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from spanmask.preview.model import Line, Row, Segment

__all__ = ["has_colour", "rich_legend", "rich_row"]

# Trained text is black on green. The two colours (red, green, blue) are for a weight of 0 and for the greatest weight.
TRAINED_TEXT = "#0b2012"
PALE_GREEN = (225, 240, 228)
FULL_GREEN = (98, 205, 118)


def has_colour(console: Any) -> bool:
    """Whether a rich console shows colour."""
    return bool(console.is_terminal and console.color_system and not console.no_color)


def rich_row(row: Row, *, first: bool) -> Iterator[Any]:
    """A row as rich renderables; an empty line before it unless it is the `first`."""
    from rich.table import Table
    from rich.text import Text

    yield Text(row.headline if first else f"\n{row.headline}", style="dim")
    gutter = any(line.gutter for line in row.lines)
    table = Table.grid(padding=(0, 2, 0, 0))
    if row.others:  # two columns of the same width
        if gutter:
            table.add_column()
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.expand = True
        table.add_row(*([""] if gutter else []), Text("A", style="dim"), Text("B", style="dim"))
    for line, other in row.pairs():
        texts = [rich_line(line)]
        if row.others:
            texts.append(Text("the same", style="dim") if other is None else rich_line(other))
        table.add_row(*([Text(line.gutter, style="cyan")] if gutter else []), *texts)
    yield table


def rich_line(line: Line) -> Any:
    """The text of a line."""
    from rich.text import Text

    text = Text(overflow="fold")
    for segment in line.segments:
        text.append(segment.shown.replace("\n", "\u21b5\n"), style=rich_style(segment))
    text.remove_suffix("\n")
    return text


def rich_legend() -> Any:
    """What the colours mean, in one line."""
    from rich.text import Text

    parts = (
        Segment("trained", trained=True),
        Segment("part of an answer, not trained", ignored=True),
        Segment("opens or closes a turn", marker=True),
    )
    return Text(" ").join(Text(segment.text, style=rich_style(segment)) for segment in parts)


def rich_style(segment: Segment) -> Any:
    """Trained text is on green, paler with a smaller weight; ignored text is struck through."""
    from rich.color import Color
    from rich.style import Style

    if segment.trained:
        green = Color.from_rgb(*(pale + (full - pale) * segment.shade for pale, full in zip(PALE_GREEN, FULL_GREEN, strict=True)))
        return Style(color=TRAINED_TEXT, bgcolor=green, italic=segment.special)
    if segment.ignored:
        return Style(color="red", strike=True, italic=segment.special)
    return Style(dim=segment.special or segment.marker, italic=segment.special)
