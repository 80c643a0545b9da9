"""`train_on_answers`: makes a trainer train on answers only, whatever its data looks like. Frameworks are imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from spanmask.chat.format import ChatFormat
from spanmask.collators.base import ChatCollator
from spanmask.errors import ChatFormatError
from spanmask.integrations.answers.collators import our_collator, passes_all_labels
from spanmask.integrations.answers.labeled import LabeledCollator
from spanmask.integrations.answers.labels import is_weight_column
from spanmask.integrations.answers.report import AnswersReport
from spanmask.integrations.answers.sets import Setup, first_row, label_later_sets, label_set, maps
from spanmask.integrations.answers.weights import REMEDY, ignores_weights
from spanmask.policy import MaskPolicy

__all__ = ["train_on_answers"]

T = TypeVar("T")


def train_on_answers(
    trainer: T,
    policy: MaskPolicy | None = None,
    *,
    chat_format: ChatFormat | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    turn_column: str | None = None,
) -> T:
    """Make a trainer train on answers only: TRL's `SFTTrainer` or transformers' `Trainer`, with data of any layout that they take.

    Tokenized rows (those that `SFTTrainer` prepared included: packed, padding-free, streamed) get a column `labels`. For rows that are
    tokenized in batches (messages in a `Trainer` or with `skip_prepare_dataset`, images), for policies with loss weights, and where the
    trainer's collator does not pass labels on, it is replaced by `DataCollatorForChat` or `DataCollatorForVisionChat`, which keeps its
    `max_length` and padding, and `args.remove_unused_columns` becomes False. Evaluation sets are labeled too, those passed to
    `trainer.evaluate` later included.

    What it did is printed, and kept as `trainer.spanmask_report` (an `AnswersReport`). A second call with the same arguments does nothing.

    Args:
        trainer: the trainer, before `train()`. It must have a `processing_class` with a chat template, unless `chat_format` is given.
        policy: which tokens train; by default that of the trainer's spanmask collator, or the assistant's turns with their closing tokens.
        chat_format: how turns open and close; by default derived from the chat template that the trainer uses.
        template_kwargs: variables of the chat template, as for `ChatFormat.from_tokenizer`.
        turn_column: a column with an entry for each turn of a trained role that every row must have: flags (bools or integers) or loss
            weights (floats). Without this option `turn_mask` and `turn_weights` are read where the trainer has not dropped them.

    Rows that already have labels (those that TRL makes of prompt and completion, or with `assistant_only_loss`) only lose some. In rows
    without labels, what `attention_mask`, `completion_mask`, `assistant_masks` or `loss_mask` mark with 0 does not train.

    Returns:
        The trainer.

    Raises:
        TypeError: not such a trainer, or a collator of the user's that does not pass labels on.
        ChatFormatError: there is no chat template, or its format cannot be derived.
        ValueError: no row of a data set would train, the trainer ignores the weights that were asked for, or an option does not fit; the
            message names the remedy.

    Example:
        `trainer = train_on_answers(SFTTrainer(model, args, train_dataset=rows))`
    """
    check_trainer(trainer)
    done: Setup | None = getattr(trainer, "_spanmask_setup", None)
    if done is not None:
        given = (policy, chat_format, turn_column)
        if all(
            value in (None, before)
            for value, before in zip(given, (done.policy, done.chat_format, done.turn_column), strict=True)
        ):
            say(trainer, "nothing to do, this trainer was set up before")
            return trainer
        raise ValueError(
            "policy, chat_format, turn_column: this trainer was set up with others, and labels only narrow; make a new trainer."
        )
    setup = make_setup(trainer, policy, chat_format, template_kwargs, turn_column)
    report = AnswersReport()
    label_data(trainer, setup, template_kwargs, report)
    trainer._spanmask_setup = setup  # type: ignore[attr-defined]
    trainer.spanmask_report = report  # type: ignore[attr-defined]
    for line in str(report).splitlines():
        say(trainer, line)
    return trainer


def check_trainer(trainer: Any) -> None:
    """Raise unless the trainer is one whose batches have labels by token."""
    library = sys.modules.get("transformers.trainer")
    if library is None or not isinstance(trainer, library.Trainer):
        raise TypeError(
            f"trainer: expected TRL's SFTTrainer or transformers' Trainer, got {type(trainer).__name__}; for a loop of your own use "
            "DataCollatorForChat or mask_labels."
        )
    origin = next((cls for cls in type(trainer).__mro__ if cls.__module__.partition(".")[0] == "trl"), None)
    if origin is not None and not isinstance(trainer, sys.modules["trl"].SFTTrainer):
        raise TypeError(
            f"trainer: {origin.__name__} does not train on labels by token; of TRL's trainers, only SFTTrainer and its subclasses do. For "
            "rollouts use response_mask."
        )
    if getattr(getattr(trainer.model, "config", None), "is_encoder_decoder", False):
        raise ValueError(
            "trainer: its model is an encoder-decoder, whose labels are the decoder's rows; mask those with mask_labels."
        )


def make_setup(
    trainer: Any,
    policy: MaskPolicy | None,
    chat_format: ChatFormat | None,
    template_kwargs: Mapping[str, Any] | None,
    turn_column: str | None,
) -> Setup:
    """The options, those that were not given taken from the trainer."""
    if policy is not None and not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    if chat_format is not None and not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    collator = trainer.data_collator
    if isinstance(collator, ChatCollator):
        for name, value in (("policy", policy), ("chat_format", chat_format), ("turn_column", turn_column)):
            if value is not None and value != getattr(collator, name):
                raise ValueError(
                    f"{name}: the trainer's {type(collator).__name__} has another one; give it to the collator, or leave the collator out."
                )
        policy, chat_format, turn_column = collator.policy, collator.chat_format, collator.turn_column
    policy = MaskPolicy() if policy is None else policy
    if policy.shift != "none":
        raise ValueError(f"policy: shift={policy.shift!r}, but transformers' models shift labels themselves; use shift='none'.")
    if chat_format is None:
        chat_format = derive(trainer, template_kwargs or {})
    policy._compile(chat_format.roles, chat_format.ignore_ids)  # a role that the format lacks is an error now
    return Setup(policy, chat_format, turn_column, dict(template_kwargs or {}))


def derive(trainer: Any, template_kwargs: Mapping[str, Any]) -> ChatFormat:
    """The format of the template that the trainer renders rows with."""
    processing = trainer.processing_class
    if processing is None:
        raise TypeError("trainer: has no tokenizer; pass processing_class=tokenizer to the trainer, or chat_format= here.")
    template = getattr(trainer, "chat_template", None)  # set by SFTTrainer if it replaced the tokenizer's
    options = {**template_kwargs, **({} if template is None else {"chat_template": template})}
    try:
        from_ = ChatFormat.from_tokenizer if tokenizer_of(processing) is processing else ChatFormat.from_processor
        return from_(processing, **options)
    except ChatFormatError as error:
        raise ChatFormatError(
            f"trainer.processing_class: {error}\nPass the format as train_on_answers(trainer, chat_format=ChatFormat.from_strings(...))."
        ) from error


def tokenizer_of(processing: Any) -> Any:
    """A processor's tokenizer, or the tokenizer itself."""
    return getattr(processing, "tokenizer", None) or processing


def label_data(trainer: Any, setup: Setup, template_kwargs: Mapping[str, Any] | None, report: AnswersReport) -> None:
    """Label the trainer's data sets, and see to it that the labels reach the model."""
    sets = data_sets(trainer)
    samples = {name: first_row(data, name) for name, data in sets.items()}
    for name, sample in samples.items():
        check_turn_column(setup, sample, name, packed="seq_lengths" in sample)
    weighted = setup.policy.weighted or any(has_weights(setup, sample) for sample in samples.values())
    if weighted:
        check_weights(trainer, samples)
    in_batches = {name for name, data in sets.items() if "input_ids" not in samples[name] or not maps(data)}
    ours = None
    tokenized = [sample for name, sample in samples.items() if name not in in_batches]
    if in_batches or weighted or not passes_all_labels(trainer, tokenized):
        ours = our_collator(trainer, setup, samples, template_kwargs, weighted)
        trainer.args.remove_unused_columns = False
    weights = isinstance(ours, LabeledCollator)
    labeled = {}
    for name, data in sets.items():
        if name in in_batches:
            labeled[name] = data
            continue
        labeled[name] = label_set(trainer, setup, data, name, report, weights)
    label_later_sets(trainer, setup, weights, in_batches=ours is not None)
    if ours is not None:
        trainer.data_collator = ours
        made_by = "DataCollatorForChat" if weights else type(ours).__name__
        later = f"batches are masked and counted by {made_by} while they are made"
        for name in in_batches:
            report.add(name, lambda: ours.report, later)
    if "train" in labeled:
        trainer.train_dataset = labeled.pop("train")
    if isinstance(trainer.eval_dataset, Mapping):
        trainer.eval_dataset = {name: labeled[f"eval_{name}"] for name in trainer.eval_dataset}
    elif trainer.eval_dataset is not None:
        trainer.eval_dataset = labeled["eval"]


def data_sets(trainer: Any) -> dict[str, Any]:
    """The trainer's data sets: "train", and "eval" or "eval_" and a name for each of several."""
    sets = {} if trainer.train_dataset is None else {"train": trainer.train_dataset}
    if isinstance(trainer.eval_dataset, Mapping):
        sets |= {f"eval_{name}": data for name, data in trainer.eval_dataset.items()}
    elif trainer.eval_dataset is not None:
        sets["eval"] = trainer.eval_dataset
    if not sets:
        raise ValueError("trainer: has no train_dataset and no eval_dataset; call train_on_answers after you have given it one.")
    return sets


def check_turn_column(setup: Setup, sample: Mapping[str, Any], name: str, packed: bool) -> None:
    """Raise if the column of turn flags that was asked for is not there."""
    if setup.turn_column is not None and setup.turn_column not in sample:
        why = "packing drops it: make a column of labels before packing" if packed else "add it to the data set"
        raise ValueError(
            f"turn_column: the {name} set has no column {setup.turn_column!r}, but {', '.join(map(repr, sample))}; {why}."
        )


def has_weights(setup: Setup, sample: Mapping[str, Any]) -> bool:
    """Whether a row has loss weights by turn."""
    column = setup.turn_column or "turn_weights"
    return column in sample and bool(column == "turn_weights" or is_weight_column([sample[column]], column))


def check_weights(trainer: Any, samples: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise if the trainer cannot use loss weights."""
    if ignores_weights(trainer):
        name = type(trainer).__name__
        raise ValueError(f"policy: has loss weights, which {name} ignores; {REMEDY.format(trainer=name)}.")
    for name, sample in samples.items():
        if "seq_lengths" in sample:
            raise ValueError(f"policy: has loss weights, but the {name} set is packed, which drops them; set packing=False.")


def say(trainer: Any, line: str) -> None:
    """Print a line, once for all processes."""
    if trainer.is_world_process_zero():
        print(f"train_on_answers: {line}")  # noqa: T201  # like the trainers' own logs
