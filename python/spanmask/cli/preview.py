"""`spanmask preview`: a few rows with their mask."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from spanmask.cli.jobs import named_columns
from spanmask.cli.messages import Progress, one_line_errors
from spanmask.cli.options import Column, ComparePolicy, Drop, Reasoning, Roles, TrainOnEos, Turns, other_policy, policy_of
from spanmask.cli.tokenizer import load_tokenizer
from spanmask.data.audit.pick import pick_rows
from spanmask.data.audit.sources import source_of
from spanmask.data.output import replaced
from spanmask.errors import DataError

__all__ = ["preview_command"]


class Pick(str, Enum):
    """Which rows are shown."""

    first = "first"
    untrained = "untrained"
    longest = "longest"
    fewest = "fewest"
    mismatch = "mismatch"
    random = "random"


def preview_command(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or globs.")],
    tokenizer: Annotated[Path, typer.Option(help="A folder that save_pretrained wrote, or a tokenizer.json.")],
    chat_template: Annotated[Path | None, typer.Option(help="A file with the chat template.")] = None,
    row: Annotated[list[int] | None, typer.Option(min=0, help="A row by its number, from 0; may be repeated.")] = None,
    pick: Annotated[Pick, typer.Option(help="Which rows, without --row.")] = Pick.first,
    rows: Annotated[int, typer.Option(min=1, help="How many rows, without --row.")] = 8,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="For --pick random.")] = 0,
    compare: Annotated[list[str] | None, typer.Option(help="Files with another masking of the same rows, shown beside.")] = None,
    compare_policy: ComparePolicy = None,
    html: Annotated[Path | None, typer.Option(help="Write a page instead.")] = None,
    roles: Roles = None,
    turns: Turns = "all",
    train_on_eos: TrainOnEos = "turn",
    reasoning: Reasoning = "ignore_empty",
    column: Column = None,
    drop: Drop = None,
) -> None:
    """Show rows with the tokens that train: in colour in a terminal, else in [[ ]].

    With --compare or --compare-policy, two masks side by side.

    Example: spanmask preview chats.jsonl --tokenizer ./my-model --pick untrained
    """
    with one_line_errors():
        if compare and compare_policy:
            raise ValueError("--compare, --compare-policy: pass one of them.")
        policy = policy_of(roles, turns, train_on_eos, reasoning)
        loaded = load_tokenizer(tokenizer, chat_template)
        source = source_of(data).without(drop or ())
        with Progress(source.rows or 0, "preview") as progress:
            shown = pick_rows(
                source,
                loaded,
                policy,
                columns=named_columns(column),
                numbers=row or None,
                other=other_policy(compare_policy) if compare_policy else compare or None,
                pick=pick.value,
                max_rows=rows,
                seed=seed,
                progress=progress.add,
            )
        if html is not None:
            with replaced(html) as file:
                shown.save(file, title=f"Masks of {', '.join(data)}")
        elif not shown.rows and shown.unusable:
            raise DataError(f"{', '.join(data)}: {shown.unusable}")
        elif not shown.rows:
            print("no such rows")
        elif sys.stdout.isatty():
            from rich.console import Console

            console = Console()
            os.environ.setdefault("LESS", "-RFX")  # so that less shows colours, and ends by itself where all fits on the screen
            with console.pager(styles=True):
                console.print(shown)
        else:
            print(shown.to_text())
