"""`spanmask mask`: files of chat rows -> Parquet files with labels."""

from __future__ import annotations

import json
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from spanmask.cli.jobs import Existing, OnBadRow, Work, named_columns, run
from spanmask.cli.messages import one_line_errors
from spanmask.cli.options import Column, Drop, Reasoning, Roles, TrainOnEos, Turns, policy_of
from spanmask.cli.tokenizer import load_tokenizer, tokenizer_hash
from spanmask.data.chat_masker import ChatMasker

__all__ = ["mask_command"]


class Output(str, Enum):
    """What is written beside the ids."""

    labels = "labels"
    loss_mask = "loss_mask"


def mask_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="IN... OUT", help="Files, folders or globs; last, the folder to write to.")
    ],
    tokenizer: Annotated[Path, typer.Option(help="A folder that save_pretrained wrote, or a tokenizer.json.")],
    chat_template: Annotated[Path | None, typer.Option(help="A file with the chat template.")] = None,
    output: Annotated[Output, typer.Option(help="The column to write.")] = Output.labels,
    max_length: Annotated[int | None, typer.Option(help="Truncate rows to this many tokens.")] = None,
    roles: Roles = None,
    turns: Turns = "all",
    train_on_eos: TrainOnEos = "turn",
    reasoning: Reasoning = "ignore_empty",
    drop_untrained: Annotated[bool, typer.Option(help="Leave out rows that train nothing.")] = False,
    column: Column = None,
    keep: Annotated[list[str] | None, typer.Option(help="A column to keep; by default all but texts and messages.")] = None,
    drop: Drop = None,
    on_bad_row: Annotated[OnBadRow, typer.Option(help="What happens to a row that cannot be used.")] = OnBadRow.stop,
    rows_per_file: Annotated[int, typer.Option(min=1, help="Rows of one output file.")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was interrupted.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace what an earlier run wrote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Label the tokens that carry loss, in whole files.

    Reads Parquet, JSON lines (also .gz, .zst) and Arrow files with messages, prompt and completion, conversations, text or input_ids.
    Writes Parquet files with input_ids and labels into a folder.

    Example: spanmask mask chats.jsonl masked --tokenizer ./my-model --max-length 4096
    """

    def prepare() -> Work:
        loaded = load_tokenizer(tokenizer, chat_template)
        masker = ChatMasker(loaded, policy, columns=named_columns(column), output=output.value, max_length=max_length)
        described: dict[str, Any] = {
            "command": "mask",
            "version": version("spanmask"),
            "tokenizer": tokenizer_hash(loaded),
            "policy": repr(policy),
            "output": output.value,
            "max_length": max_length,
            "columns": named_columns(column),
            "on_bad_row": on_bad_row.value,
        }
        return Work(masker, described, (*READ, *named_columns(column).values()))

    with one_line_errors():
        policy = policy_of(roles, turns, train_on_eos, reasoning, drop_untrained=drop_untrained)
        totals = run(
            prepare,
            paths,
            keep=keep,
            existing=Existing.of(resume=resume, overwrite=overwrite),
            on_bad_row=on_bad_row,
            rows_per_file=rows_per_file,
            processes=workers,
            what="mask",
            drop=drop or (),
        )
        print(json.dumps(totals.as_dict()) if as_json else totals)


# Columns that the masker reads and that are not passed on, unless they are asked for.
READ = ("messages", "prompt", "completion", "conversations", "text", "tools", "chat_template_kwargs", "system")
