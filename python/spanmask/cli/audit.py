"""`spanmask audit`: everything that can be wrong with files of chat rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from spanmask.cli.jobs import named_columns
from spanmask.cli.messages import FAILED, Progress, one_line_errors
from spanmask.cli.options import Column, ComparePolicy, Drop, Reasoning, Roles, TrainOnEos, Turns, other_policy, policy_of
from spanmask.cli.tokenizer import load_tokenizer, tokenizer_hash
from spanmask.data.audit.limits import Limit
from spanmask.data.audit.run import audit
from spanmask.data.audit.sources import source_of

__all__ = ["audit_command"]

OF_MAX_LENGTH, OF_COMPARE = ("truncated", "answers-cut", "unanswered"), ("different", "incomparable")


def audit_command(
    data: Annotated[list[str], typer.Argument(metavar="DATA...", help="Files, folders or globs.")],
    tokenizer: Annotated[Path, typer.Option(help="A folder that save_pretrained wrote, or a tokenizer.json.")],
    chat_template: Annotated[Path | None, typer.Option(help="A file with the chat template.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Find out what this maximum length costs.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page for people who do not run code.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON; - for standard output.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(help="Exit with status 1 above this limit: untrained=1% or duplicates=10; may be repeated."),
    ] = None,
    compare: Annotated[
        list[str] | None, typer.Option(help="Files with another masking of the same rows; may be repeated.")
    ] = None,
    compare_policy: ComparePolicy = None,
    samples: Annotated[int, typer.Option(min=0, help="Rows that each finding shows on the page.")] = 5,
    roles: Roles = None,
    turns: Turns = "all",
    train_on_eos: TrainOnEos = "turn",
    reasoning: Reasoning = "ignore_empty",
    column: Column = None,
    drop: Drop = None,
) -> None:
    """Look at every row: what trains, and what can be wrong.

    Reads Parquet, JSON lines (also .gz, .zst) and Arrow files with messages, prompt and completion, conversations, text or input_ids. Where
    there are input_ids with labels, these labels are looked at, whoever made them.

    Exit status 1 if --fail-on is exceeded, or if there is no row that can be used.

    Example: spanmask audit masked --tokenizer ./my-model --html report.html --fail-on untrained=1%
    """
    with one_line_errors():
        limits = [Limit.parse(text) for text in fail_on or ()]
        for limit in limits:
            for names, option, value in (
                (OF_MAX_LENGTH, "--max-length", max_length),
                (OF_COMPARE, "--compare", compare or compare_policy),
            ):
                if limit.name in names and value is None:
                    raise ValueError(f"--fail-on: {limit.name} is found only with {option}; pass it too.")
        if compare and compare_policy:
            raise ValueError("--compare, --compare-policy: pass one of them.")
        policy = policy_of(roles, turns, train_on_eos, reasoning)
        loaded = load_tokenizer(tokenizer, chat_template)
        source = source_of(data).without(drop or ())
        hashed = source.made_by.get("tokenizer")
        warning = None
        if hashed is not None and hashed != tokenizer_hash(loaded):
            warning = (
                f"The data were made with another tokenizer or chat template (hash {hashed}) than {tokenizer} ({tokenizer_hash(loaded)}): "
                "their texts and turns may be shown wrongly. Pass the one that made them."
            )
        with Progress(source.rows or 0, "audit") as progress:
            report = audit(
                source,
                loaded,
                policy,
                max_length=max_length,
                columns=named_columns(column),
                compare=other_policy(compare_policy) if compare_policy else compare or None,
                samples=samples,
                progress=progress.add,
            )
        if warning is not None:
            report.notes.insert(0, warning)
        exceeded = [text for limit in limits if (text := limit.exceeded(report)) is not None]
        if not report.row_count:
            one, many = "1 row, which cannot be used.", f"{report.all_rows:,} rows, none of which can be used."
            exceeded.append(one if report.all_rows == 1 else many)
        if html is not None:
            report.to_html(html)
        if json_file is not None and str(json_file) != "-":
            report.to_json(json_file)
        print(json.dumps(report.as_dict()) if str(json_file) == "-" else report)
        for note in report.notes:
            print(f"warning: {' '.join(note.split())}", file=sys.stderr)
        for text in exceeded:
            print(f"failed: {text}", file=sys.stderr)
    if exceeded:
        raise typer.Exit(FAILED)
