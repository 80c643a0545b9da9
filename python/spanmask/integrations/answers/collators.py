"""The collators of trainers: whether labels pass through one, and ours in its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import copy
from typing import Any

import numpy as np

from spanmask.collators.base import ChatCollator
from spanmask.collators.chat import DataCollatorForChat
from spanmask.collators.vision import DataCollatorForVisionChat
from spanmask.integrations.answers.labeled import IGNORE, LabeledCollator

__all__ = ["our_collator", "passes_all_labels"]

LIBRARIES = ("transformers", "trl")


def our_collator(
    trainer: Any,
    setup: Any,
    samples: Mapping[str, Mapping[str, Any]],
    template_kwargs: Mapping[str, Any] | None,
    weighted: bool,
) -> ChatCollator:
    """A collator of ours with the lengths and the padding of the trainer's.

    Raises:
        TypeError: the trainer's collator is the user's own, or the trainer has no tokenizer.
    """
    current, processing = trainer.data_collator, trainer.processing_class
    if type(current) is DataCollatorForChat:
        return LabeledCollator.like(current, weighted)
    if isinstance(current, ChatCollator):
        return current
    check_replaceable(current)
    if processing is None:
        raise TypeError("trainer: has no tokenizer to make batches with; pass processing_class=tokenizer to the trainer.")
    for name, sample in samples.items():
        if "text" in sample and "input_ids" not in sample and "messages" not in sample:
            raise ValueError(f"{name} set: has rows of plain text; tokenize it first, or give rows of messages.")
    options: dict[str, Any] = {
        "chat_format": setup.chat_format,
        "policy": setup.policy,
        "turn_column": setup.turn_column,
        "max_length": getattr(current, "max_length", getattr(trainer.args, "max_length", None)),
        "pad_to_multiple_of": getattr(current, "pad_to_multiple_of", None),
    }
    if template_kwargs:
        options["template_kwargs"] = template_kwargs
    if type(current).__module__.startswith("trl."):
        options["padding_side"] = "right"
    if getattr(processing, "tokenizer", None) is not None:
        return DataCollatorForVisionChat(processing, **options)
    if getattr(trainer, "padding_free", False):
        options |= {"padding_free": True, "pad_to_multiple_of": None}
    return LabeledCollator(processing, weighted=weighted, **options)


def check_replaceable(collator: Any) -> None:
    """Raise if a collator is not one that a library chose or made for causal language models."""
    if getattr(collator, "mlm", False):
        raise ValueError("data_collator: draws masked tokens, which is another objective; use DataCollatorForMaskedLM for it.")
    if not replaceable(collator):
        raise TypeError(
            f"data_collator: {name_of(collator)} is not one of transformers or TRL, and labels do not come through it; let it pass the "
            "column labels on, or use DataCollatorForChat(tokenizer)."
        )


def replaceable(collator: Any) -> bool:
    """Whether a collator is a library's."""
    module = collator.__module__ if hasattr(collator, "__qualname__") else type(collator).__module__
    return str(module).partition(".")[0] in LIBRARIES


def name_of(collator: Any) -> str:
    return str(getattr(collator, "__qualname__", type(collator).__name__))


def passes_all_labels(trainer: Any, samples: Iterable[Mapping[str, Any]]) -> bool:
    """Whether labels of tokenized rows reach the model: the trainer's collator is tried on rows of its data sets."""
    if isinstance(trainer.data_collator, ChatCollator):
        return type(trainer.data_collator) is not DataCollatorForChat  # it would search again
    return all(passes_labels(trainer, with_some_labels(sample)) for sample in samples)


def with_some_labels(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with labels that nothing but a column of labels could give."""
    ids = np.asarray(row["input_ids"]).tolist()
    return {**row, "labels": [label if at % 3 == 1 else IGNORE for at, label in enumerate(ids)]}


def passes_labels(trainer: Any, row: Mapping[str, Any]) -> bool:
    """Whether the trainer's collator puts labels into a batch as they are, tried with a row and with the same row twice in one."""
    collator = trainer.data_collator
    if replaceable(collator) and getattr(collator, "max_length", None) is not None:  # TRL 1.7 truncates rows here
        collator = copy(collator)
        collator.max_length = None
    collate = trainer._get_collator_with_removed_columns(collator)
    tokens = len(row["input_ids"])
    twice = {name: doubled(value) if name == "seq_lengths" or lies_by(value, tokens) else value for name, value in row.items()}
    try:
        labels = collate([dict(row), twice])["labels"].reshape(-1).tolist()
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    lengths = [int(length) for length in row.get("seq_lengths", [tokens])]
    starts = {sum(lengths[:number]) for number in range(len(lengths))}  # the first token of a row is masked without padding
    wanted = [int(label) for label in row["labels"]]
    after_start = [-100 if at in starts else label for at, label in enumerate(wanted)]
    got = [label for label in labels if label != -100]
    return got in ([label for label in 3 * part if label != -100] for part in (wanted, after_start))


def lies_by(value: Any, tokens: int) -> bool:
    """Whether a column of a row has an entry for each token."""
    return hasattr(value, "__len__") and not isinstance(value, (str, Mapping)) and len(value) == tokens


def doubled(value: Any) -> Any:
    """A list, an array or a tensor, twice."""
    return (
        value * 2 if isinstance(value, (list, tuple)) else value.repeat(2) if hasattr(value, "new_empty") else np.tile(value, 2)
    )
