"""A conversation and its preview as plain text; and previews without the parts that a test does not check."""

import io
import re

from rich.console import Console

TEXT = "<s>USER: <image><image><image><image>\nWhat is it? ASSISTANT: A red 中 square. 😀</s>"
SHOWN = "<s>USER: <image> x 4\\n\nWhat is it? ASSISTANT:[[ A red 中 square. 😀</s>]]"


def body(shown):
    """Plain text without the headline."""
    return shown.to_text().partition("\n")[2]


def terminal(shown, **options):
    """What rich writes for a terminal, and its text without escapes."""
    console = Console(
        file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor", **{"no_color": False, **options}
    )
    console.print(shown)
    written = console.file.getvalue()
    return written, re.sub(r"\x1b\[[0-9;]*m", "", written)
