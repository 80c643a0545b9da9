"""Makes the page of the command line, `docs/reference/command-line.md`, from the commands themselves.

Run it in the root of the repository after a change to `python/spanmask/cli/`: `python docs/command_line.py`. A test compares the page.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_type_hints

from spanmask.cli.app import app
from typer.models import ArgumentInfo

PAGE = Path("docs/reference/command-line.md")
HEAD = """\
# The command line

Mask, corrupt, look at and audit whole files without writing Python. Every command with all its options:

{index}

Install it with the extra `cli`: `pip install 'spanmask[cli]'`. `python -m spanmask` runs the same commands,
`spanmask --version` prints the version.
[Mask a data set](../how-to/mask-a-data-set.md) and [audit your data](../how-to/audit-your-data.md) show them at work.

A command that fails prints one line and exits with status 1; wrong options are status 2.

<!-- Written by docs/command_line.py: change the commands, not this page. -->
"""
METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


def page() -> str:
    """The text of the page."""
    commands = [
        (str(command.name), command.callback)
        for command in app.registered_commands
        if command.callback
    ]
    index = "\n".join(
        f"- [`spanmask {name}`](#spanmask-{name}): {first_line(callback)}"
        for name, callback in commands
    )
    return "\n".join(
        [
            HEAD.format(index=index),
            *("\n".join(section(name, callback)) for name, callback in commands),
        ]
    )


def first_line(callback: Callable[..., Any]) -> str:
    """What a command does."""
    return marked(str(inspect.getdoc(callback)).splitlines()[0])


def section(name: str, callback: Callable[..., Any]) -> Iterator[str]:
    """One command: what it does, an example, its arguments and options."""
    about, _, example = str(inspect.getdoc(callback)).partition("Example: ")
    parameters = list(described(callback))
    yield from (
        f"## spanmask {name}",
        "",
        marked(about.strip()),
        "",
        "```sh",
        example.strip(),
        "```",
        "",
    )
    for title, wanted in (("argument", True), ("option", False)):
        rows = [
            (shown, text)
            for shown, text, is_argument in parameters
            if is_argument == wanted
        ]
        if rows:
            yield from (
                f"| {title} | |",
                "|---|---|",
                *(f"| {shown} | {text} |" for shown, text in rows),
                "",
            )


def described(callback: Callable[..., Any]) -> Iterator[tuple[str, str, bool]]:
    """The parameters of a command: as they are written, what they do, and whether they are arguments."""
    hints = get_type_hints(callback, include_extras=True)
    for name, parameter in inspect.signature(callback).parameters.items():
        kind, info = get_args(hints[name])[:2]
        text, default = str(info.help), parameter.default
        bare = next(part for part in (*get_args(kind), kind) if part is not type(None))
        bare = next(iter(get_args(bare)), bare)
        if isinstance(info, ArgumentInfo):
            yield f"`{info.metavar or name.upper()}`", text, True
            continue
        # In `Annotated`, the first name of an option is where its default would be.
        flags = [
            flag
            for flag in (info.default, *(info.param_decls or ()))
            if str(flag).startswith("--")
        ]
        flag = str(flags[0]) if flags else f"--{name.replace('_', '-')}"
        if issubclass(bare, Enum):
            text = f"{text} One of {', '.join(f'`{choice.value}`' for choice in bare)}."
            default = default.value
        if default is inspect.Parameter.empty:
            text = f"{text} **Required.**"
        elif default is not None and default is not False:
            text = f"{text} Default: `{default}`."
        written = (
            f"`{flag}`" if bare is bool else f"`{flag} {METAVARS.get(bare, 'TEXT')}`"
        )
        if bare is bool and default is None:
            written += f" `--no-{flag[2:]}`"
        yield written, marked(text), False


def marked(text: str) -> str:
    """Help for a terminal as Markdown: options and brackets as code."""
    return re.sub(r"(?<![`\w])(--[a-z][a-z-]*|\[\[ \]\])", r"`\1`", text)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
