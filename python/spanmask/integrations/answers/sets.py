"""The data sets of a trainer: labels for tokenized rows, counted where that is possible."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from spanmask.chat.format import ChatFormat
from spanmask.collators.guard import REMEDIES
from spanmask.errors import SpanmaskWarning
from spanmask.integrations.answers.labeled import IGNORE, WEIGHTS_COLUMN
from spanmask.integrations.answers.labels import AnswerLabels
from spanmask.integrations.answers.packing import check_wrapped, packing_note, packing_strategy, warn_of_cut_answers
from spanmask.integrations.answers.report import AnswersReport, counted
from spanmask.policy import MaskPolicy
from spanmask.report import MaskReport

__all__ = ["Setup", "first_row", "label_later_sets", "label_set", "maps"]

# A stream is labeled in batches of so many rows: the first step waits for the first of them.
STREAM_BATCH = 100


@dataclass(frozen=True)
class Setup:
    """How a trainer's data is labeled; two of them are equal if they label alike."""

    policy: MaskPolicy
    chat_format: ChatFormat
    turn_column: str | None
    template_kwargs: Mapping[str, Any]


def first_row(data: Any, name: str) -> Mapping[str, Any]:
    """The first row of a data set, which shows its columns."""
    row = next(iter(data), None)
    if row is None:
        raise ValueError(f"{name} set: has no rows; was everything filtered out, or truncated before the answer (max_length)?")
    if not isinstance(row, Mapping):
        raise TypeError(f"{name} set: its rows are of type {type(row).__name__}; expected dicts with input_ids or messages.")
    return row


def maps(data: Any) -> bool:
    """Whether a column can be added to a data set: one of `datasets`, without a transform of the user's."""
    import datasets

    if isinstance(data, datasets.Dataset):
        return str(data.format["type"]) != "custom"
    return isinstance(data, datasets.IterableDataset)


def label_set(trainer: Any, setup: Setup, data: Any, name: str, report: AnswersReport, weights: bool) -> Any:
    """A data set of tokenized rows with labels. `weights`: with a column of loss weights, for `LabeledCollator`.

    Raises:
        ValueError: no row would train.
    """
    import datasets

    sample = first_row(data, name)
    if "input_ids" not in sample:
        raise ValueError(f"{name} set: has no 'input_ids', which the trainer's other sets have; tokenize it first.")
    strategy, shuffled = packing_strategy(trainer, name), bool(getattr(trainer.args, "shuffle_dataset", False))
    if strategy == "wrapped":
        check_wrapped(setup.policy, setup.chat_format)
    policy = completions_policy(trainer, setup, sample)
    if policy.reasoning == "ignore" and not setup.chat_format.reasoning and not {"messages", "prompt"} & set(sample):
        warnings.warn(
            f"{name} set: reasoning='ignore' leaves nothing out of it, because it has no messages (packing drops them) and the chat format "
            "names no tags of reasoning. Name them in ChatFormat.reasoning, or leave them out with "
            "MaskPolicy(ignore_between=[('<think>', '</think>')]).",
            SpanmaskWarning,
            stacklevel=5,
        )
    labels = AnswerLabels(
        setup.chat_format,
        policy,
        turn_column=setup.turn_column,
        wrapped=strategy == "wrapped" and not shuffled,
        weights=weights,
        renderer=None if strategy else renderer_of(trainer),
        template_kwargs=setup.template_kwargs,
    )
    if isinstance(data, datasets.IterableDataset):
        labeled = data.map(labels, batched=True, batch_size=STREAM_BATCH, with_indices=labels.wrapped)
    else:
        labeled, counts = label_rows(trainer, data, labels, name)
        check_counts(counts, setup, name, packed=strategy is not None)
        report.add(name, lambda: counts, note=packing_note(strategy, sample))
    if policy.on_untrained_row == "drop":
        labeled = labeled.filter(trains)
    if isinstance(data, datasets.IterableDataset):
        next(row for row in labeled if trains(row))  # the first batch is counted
        counts = labels.report
        report.add(
            name,
            lambda: labels.report,
            f"a stream, counted while it is read; at its start {counted(counts)}",
            packing_note(strategy, sample),
        )
        labels.count()
    warn_of_cut_answers(strategy, shuffled, counts, name)
    return labeled


def renderer_of(trainer: Any) -> Any:
    """The tokenizer or processor with the template that the trainer renders with; `None` if there is none."""
    template = getattr(trainer, "chat_template", None)
    if template is None:
        return trainer.processing_class if getattr(trainer.processing_class, "chat_template", None) else None
    renderer = copy(trainer.processing_class)
    renderer.chat_template = template
    return renderer


def label_rows(trainer: Any, data: Any, labels: AnswerLabels, name: str) -> tuple[Any, MaskReport]:
    """Label rows that can be counted. The counts need a pass of their own, because `map` may find its result in the cache."""
    table, start = data.with_format("arrow"), 0
    for batch in table.iter(1000):
        labels.labels(batch, range(start, start + len(batch)))
        start += len(batch)
    counts = labels.report
    labels.count()
    workers = None if labels.wrapped else getattr(trainer.args, "dataset_num_proc", None)
    with trainer.args.main_process_first(desc="labels of answers"):
        labeled = table.map(labels, batched=True, with_indices=labels.wrapped, num_proc=workers, desc=f"Labeling {name} dataset")
    before = data.format
    columns = [
        *before["columns"],
        *(name for name in ("labels", WEIGHTS_COLUMN) if name in labeled.column_names and name not in before["columns"]),
    ]
    return labeled.with_format(before["type"], columns, before["output_all_columns"], **before["format_kwargs"]), counts


def check_counts(counts: MaskReport, setup: Setup, name: str, packed: bool) -> None:
    """Raise or warn about rows that train nothing."""
    if counts.role_mismatches and setup.policy.on_role_mismatch == "warn":
        warnings.warn(
            f"{name} set: {counts.role_mismatches} rows (row {counts.mismatched_rows[0]}, ...) have messages whose roles differ from the "
            "turns in their ids: a message may contain marker text. Inspect them with spanmask.preview, or set on_role_mismatch='drop'.",
            SpanmaskWarning,
            stacklevel=6,
        )
    if not counts.untrained_row_count:
        return
    row, reason = counts.untrained_rows[0]
    reasons = ", ".join(f"{reason}: {count}" for reason, count in counts.reasons.items())
    remedy = next((text for start, text in REMEDIES.items() if reason.startswith(start)), "Drop such rows.").replace(
        "collator.chat_format", "ChatFormat.from_tokenizer(tokenizer)"
    )
    if not counts.trained_tokens:
        raise ValueError(f"{name} set: no row would train anything ({reasons}). {remedy}")
    if setup.policy.on_untrained_row == "raise":
        raise ValueError(f"{name} set: row {row} has no trained tokens: {reason}. {remedy}")
    if setup.policy.on_untrained_row == "keep" and not packed:
        warnings.warn(
            f"{name} set: {counts.untrained_row_count} of {counts.rows} rows train nothing ({reasons}), row {row} for one. {remedy} "
            "MaskPolicy(on_untrained_row='drop') leaves them out.",
            SpanmaskWarning,
            stacklevel=6,
        )


def completions_policy(trainer: Any, setup: Setup, sample: Mapping[str, Any]) -> MaskPolicy:
    """The policy, which keeps TRL's labels of text completions: such rows have no turns."""
    if not getattr(trainer, "completion_only_loss", False) or "labels" not in sample or setup.policy.on_no_trained_turn != "mask":
        return setup.policy
    if "prompt" in sample:
        text = isinstance(sample["prompt"], str)
    else:  # packed: the column is gone
        text = not AnswerLabels(setup.chat_format, setup.policy).finds_turns(sample)
    return replace(setup.policy, on_no_trained_turn="keep") if text else setup.policy


def trains(row: Mapping[str, Any]) -> bool:
    """Whether a row has labels."""
    return any(label != IGNORE for label in row["labels"])


def label_later_sets(trainer: Any, setup: Setup, weights: bool, in_batches: bool) -> None:
    """Label data sets that are passed to `evaluate` or `predict` later. `in_batches`: the collator masks those that are not tokenized."""

    def labeled(get: Any, data: Any = None, *args: Any, **kwargs: Any) -> Any:
        if data is not None and maps(data) and not (in_batches and "input_ids" not in first_row(data, "eval")):
            data = label_set(trainer, setup, data, "eval", AnswersReport(), weights)
        return get(data, *args, **kwargs)

    for name in ("get_eval_dataloader", "get_test_dataloader"):
        setattr(trainer, name, partial(labeled, getattr(trainer, name)))
