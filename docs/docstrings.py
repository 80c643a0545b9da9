"""Reads this project's docstrings for the API pages: an extension of Griffe, which mkdocstrings calls.

In a terminal a docstring says `In:` and `Out:`, describes `seed, epoch:` in one entry, and ends in an example. Here these become
paragraphs, an entry for each name (so that each has its own type and default), and a section.
"""

import re
from typing import Any

import griffe

griffe.stdlib_decorators["spanmask._cached.cached_property"] = griffe.stdlib_decorators[
    "functools.cached_property"
]

PARAGRAPH = re.compile(r"^(In|Out|Source): +(.*)$")
TITLES = {"In": "Input", "Out": "Output", "Source": "Source"}
SECTION = re.compile(r"^(Args|Attributes):$")
NAME = r"\*{0,2}\w+"
SEVERAL = re.compile(rf"^    ({NAME}(?:, {NAME})+): (.*)$")
UNFINISHED = re.compile(rf"^    {NAME}(, {NAME})*,$")


def rewritten(text: str) -> str:
    """A docstring as Griffe's Google parser reads it."""
    lines: list[str] = []
    block = ""  # what a line is a part of
    names: list[str] = []  # of the entry that a line is a part of, all but the first
    unfinished = ""
    for line in text.split("\n"):
        line, unfinished = unfinished + (line.strip() if unfinished else line), ""
        if block == "example" and line:
            lines.append(f"    {line}")
            continue
        if not line.startswith(" "):
            lines += [f"    {name}: See `{names[0]}`." for name in names[1:]]
            names, block = [], block if not line and block == "section" else ""
        if start := PARAGRAPH.match(line):
            block = "paragraph"
            lines += ["", f"**{TITLES[start[1]]}**: {start[2]}"]
        elif line.startswith(">>>"):
            block = "example"
            lines += ["", "Examples:", f"    {line}"]
        elif SECTION.match(line):
            block = "section"
            lines.append(line)
        elif block == "paragraph":
            lines.append(line.strip())
        elif block == "section" and UNFINISHED.match(line):
            unfinished = f"{line} "
        elif block == "section" and line.startswith("    ") and line[4] != " ":
            lines += [f"    {name}: See `{names[0]}`." for name in names[1:]]
            several = SEVERAL.match(line)
            names = several[1].split(", ") if several else []
            lines.append(f"    {names[0]}: {several[2]}" if several else line)
        else:
            lines.append(line)
    lines += [f"    {name}: See `{names[0]}`." for name in names[1:]]
    return "\n".join(lines)


class Docstrings(griffe.Extension):
    """Rewrites each docstring before it is parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for each object of the package."""
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)
