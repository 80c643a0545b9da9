"""`spanmask format`: how turns open and close."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from spanmask.chat.format import ChatFormat
from spanmask.cli.messages import fail, one_line_errors
from spanmask.cli.tokenizer import load_tokenizer
from spanmask.errors import ChatFormatError

__all__ = ["format_command"]


def format_command(
    tokenizer: Annotated[Path, typer.Argument(help="A folder that save_pretrained wrote, or a tokenizer.json.")],
    chat_template: Annotated[Path | None, typer.Option(help="A file with the chat template.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Derive how turns open and close from the chat template, check it, and print it.

    Exit status 1 if it cannot be derived. Example: spanmask format ./my-model
    """
    with one_line_errors():
        loaded = load_tokenizer(tokenizer, chat_template)
        try:
            fmt = ChatFormat.from_tokenizer(loaded)
        except ChatFormatError as error:
            fail(str(error))
        if not as_json:
            print(fmt)
            return
        roles = [{"role": one.role, "start": one.start, "end": one.end, "anchored": one.anchored} for one in fmt.boundaries]
        print(json.dumps({"boundaries": roles, "ignore_ids": fmt.ignore_ids, "uncovered": fmt.uncovered}))
