"""`spanmask corrupt`: files of rows -> Parquet files with noise drawn: T5, UL2, masked LM, fill-in-the-middle."""

from __future__ import annotations

import json
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from spanmask.cli.jobs import Existing, OnBadRow, Work, named_columns, run
from spanmask.cli.messages import one_line_errors
from spanmask.cli.options import Drop
from spanmask.cli.tokenizer import load_tokenizer, tokenizer_hash
from spanmask.data.noise_maskers import MiddleFiller, NoiseOperator, SpanCorrupter, TokenMasker
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.schedule import ALGORITHM

__all__ = ["corrupt_command"]


class Objective(str, Enum):
    """What is hidden."""

    t5 = "t5"
    ul2 = "ul2"
    mlm = "mlm"
    fim = "fim"


# The options of each objective.
OPTIONS = {
    Objective.t5: ("noise_density", "mean_noise_span_length"),
    Objective.ul2: ("on_exhausted",),
    Objective.mlm: ("mlm_probability", "whole_word_mask"),
    Objective.fim: ("fim_rate", "spm_rate"),
}


def corrupt_command(
    paths: Annotated[
        list[str], typer.Argument(metavar="IN... OUT", help="Files, folders or globs; last, the folder to write to.")
    ],
    tokenizer: Annotated[Path, typer.Option(help="A folder that save_pretrained wrote, or a tokenizer.json.")],
    objective: Annotated[Objective, typer.Option(help="T5 spans, UL2's mixture, masked LM, fill-in-the-middle.")] = Objective.t5,
    noise_density: Annotated[float | None, typer.Option(help="t5: fraction of tokens that is hidden; .15 by default.")] = None,
    mean_noise_span_length: Annotated[float | None, typer.Option(help="t5: mean length of hidden spans; 3 by default.")] = None,
    on_exhausted: Annotated[str | None, typer.Option(help="ul2: raise, fewer_spans or merge_last, for long rows.")] = None,
    mlm_probability: Annotated[float | None, typer.Option(help="mlm: how often a token is chosen; .15 by default.")] = None,
    whole_word_mask: Annotated[bool | None, typer.Option(help="mlm: words are chosen whole.")] = None,
    fim_rate: Annotated[float | None, typer.Option(help="fim: share of documents that are cut in three; .5 by default.")] = None,
    spm_rate: Annotated[float | None, typer.Option(help="fim: share of these with the suffix first; .5 by default.")] = None,
    seed: Annotated[int, typer.Option(help="The seed of the noise.")] = 0,
    epoch: Annotated[int, typer.Option(help="The epoch of the noise: another one for each pass over the data.")] = 0,
    key_column: Annotated[str | None, typer.Option(help="The column that identifies a row; by default its content does.")] = None,
    max_length: Annotated[int | None, typer.Option(help="Truncate rows to this many tokens before noise is drawn.")] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="A column with another name: input_ids=tokens; may be repeated.")
    ] = None,
    keep: Annotated[list[str] | None, typer.Option(help="A column to keep; by default all but texts.")] = None,
    drop: Drop = None,
    on_bad_row: Annotated[OnBadRow, typer.Option(help="What happens to a row that cannot be used.")] = OnBadRow.stop,
    rows_per_file: Annotated[int, typer.Option(min=1, help="Rows of one output file.")] = 10_000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    resume: Annotated[bool, typer.Option(help="Go on with a run that was interrupted.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace what an earlier run wrote.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Draw noise for whole files: what the model sees, and what it must produce.

    Reads Parquet, JSON lines (also .gz, .zst) and Arrow files with text or input_ids. Writes Parquet files with input_ids and labels into a
    folder. The same seed and epoch give the same noise, for any number of workers.

    Example: spanmask corrupt texts.jsonl noised --tokenizer ./my-t5 --noise-density .15
    """
    options = {
        "noise_density": noise_density,
        "mean_noise_span_length": mean_noise_span_length,
        "on_exhausted": on_exhausted,
        "mlm_probability": mlm_probability,
        "whole_word_mask": whole_word_mask,
        "fim_rate": fim_rate,
        "spm_rate": spm_rate,
    }
    given = {name: value for name, value in options.items() if value is not None}

    def prepare() -> Work:
        loaded = load_tokenizer(tokenizer, renders=False)
        operator = operator_of(
            objective,
            loaded,
            given,
            {
                "seed": seed,
                "epoch": epoch,
                "key_column": key_column,
                "max_length": max_length,
                "columns": named_columns(column),
            },
        )
        described: dict[str, Any] = {
            "command": "corrupt",
            "version": version("spanmask"),
            "algorithm": ALGORITHM,
            "tokenizer": tokenizer_hash(loaded),
            "objective": objective.value,
            **options,
            "seed": seed,
            "epoch": epoch,
            "key_column": key_column,
            "max_length": max_length,
            "columns": named_columns(column),
            "on_bad_row": on_bad_row.value,
        }
        read = ("text", *operator.read, "protected_mask", "special_tokens_mask", "attention_mask", "token_type_ids")
        return Work(operator, described, read)

    with one_line_errors():
        for name in given:
            if name not in OPTIONS[objective]:
                raise ValueError(f"--{name.replace('_', '-')}: is not an option of --objective {objective.value}.")
        totals = run(
            prepare,
            paths,
            keep=keep,
            existing=Existing.of(resume=resume, overwrite=overwrite),
            on_bad_row=on_bad_row,
            rows_per_file=rows_per_file,
            processes=workers,
            what="corrupt",
            drop=drop or (),
        )
        print(json.dumps(totals.as_dict()) if as_json else totals)


def operator_of(objective: Objective, tokenizer: Any, given: dict[str, Any], common: dict[str, Any]) -> NoiseOperator:
    """The operator of an objective, with its options and those of all."""
    if objective is Objective.t5:
        return SpanCorrupter(tokenizer, **given, **common)
    if objective is Objective.ul2:
        return SpanCorrupter(tokenizer, spec=DenoiserMixture.ul2(tokenizer, **given), **common)
    if objective is Objective.mlm:
        return TokenMasker(tokenizer, **given, **common)
    return MiddleFiller(tokenizer, rate=given.get("fim_rate"), spm_rate=given.get("spm_rate"), **common)
