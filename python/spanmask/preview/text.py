"""Rows as plain text: `[[ ]]` around trained text, `(( ))` around ignored text.

A `[[` or `]]` of a row would look like what trains: its first bracket is shown as its number, as control characters are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from spanmask.preview.model import Line, Row

__all__ = ["plain_text"]


def plain_text(rows: Sequence[Row], notes: Sequence[str]) -> str:
    """The rows, and the notes after them, with an empty line between each two."""
    return "\n\n".join([*("\n".join([row.headline, *text_lines(row)]) for row in rows), *notes])


def text_lines(row: Row) -> Iterator[str]:
    """The lines of a row, each after its gutter; neighbours that differ only in kind have one pair of brackets.

    A line on which two masks differ is there twice, as A and as B.
    """
    width = max((len(line.gutter) for line in row.lines), default=0)
    for line, other in row.pairs():
        for letter, one in [("", line)] if other is None else [("A", line), ("B", other)]:
            gutter = one.gutter if letter != "B" else ""
            yield from one_line(one, gutter, letter, width, has_letters=bool(row.others))


def one_line(line: Line, gutter: str, letter: str, width: int, *, has_letters: bool) -> Iterator[str]:
    """A line of tokens, split at its newlines."""
    text = ""
    for (trained, ignored, weight), run in groupby(line.segments, key=lambda s: (s.trained, s.ignored, s.weight)):
        inner = spell_brackets("".join(segment.shown for segment in run)).replace("\n", "\\n\n")
        prefix = "" if weight is None else f"{weight:g}: "
        text += f"[[{prefix}{inner}]]" if trained else f"(({inner}))" if ignored else inner
    for number, part in enumerate(split_lines(text)):
        first = f"{gutter if number == 0 else '':<{width}}"
        first += f" {letter if number == 0 else '':<1}" if has_letters else ""
        yield f"{first} | {part}" if first else part


def spell_brackets(text: str) -> str:
    """The text without `[[` and `]]`.

    >>> spell_brackets("a[[1], [b[2]]]")
    'a<U+005B>[1], [b[2<U+005D><U+005D>]'
    """
    return re.sub(r"\[(?=\[)|\](?=\])", lambda bracket: f"<U+{ord(bracket[0]):04X}>", text)


def split_lines(text: str) -> Sequence[str]:
    """The text split at newlines only (`splitlines` splits at more characters), without an empty line at the end."""
    return text.removesuffix("\n").split("\n")
