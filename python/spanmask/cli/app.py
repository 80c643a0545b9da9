"""The commands together."""

from __future__ import annotations

from typing import Annotated

import typer

from spanmask.cli.audit import audit_command
from spanmask.cli.corrupt import corrupt_command
from spanmask.cli.format import format_command
from spanmask.cli.mask import mask_command
from spanmask.cli.preview import preview_command

__all__ = ["app"]

app = typer.Typer(
    name="spanmask",
    help="Token ids to training targets: which tokens carry loss, which spans are hidden.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("format")(format_command)
app.command("preview")(preview_command)
app.command("audit")(audit_command)
app.command("mask")(mask_command)
app.command("corrupt")(corrupt_command)


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    """Print the version, if that is asked for."""
    if show:
        from importlib.metadata import version as version_of

        print(version_of("spanmask"))
        raise typer.Exit
