"""What TRL's packing did to rows before they can be labeled."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from spanmask.chat.format import ChatFormat
from spanmask.errors import SpanmaskWarning
from spanmask.integrations.answers.labeled import IGNORE
from spanmask.policy import MaskPolicy
from spanmask.report import MaskReport

__all__ = ["check_wrapped", "packing_note", "packing_strategy", "warn_of_cut_answers"]


def packing_strategy(trainer: Any, name: str) -> str | None:
    """How SFTTrainer packed a data set: "bfd", "bfd_split", "wrapped"; `None`: it did not."""
    args = trainer.args
    packing = getattr(args, "packing", False)
    if name != "train" and getattr(args, "eval_packing", None) is not None:
        packing = args.eval_packing
    if not packing or getattr(trainer, "_skip_prepare_dataset", False):
        return None
    return str(args.packing_strategy)


def packing_note(strategy: str | None, sample: Mapping[str, Any]) -> str:
    """What users of a packed set should know: TRL dropped the messages and their columns, and with them what they say about their loss.

    Nothing where the rows have labels that were made before, since those were made while everything was there.
    """
    labels = sample.get("labels", ())
    if strategy is None or any(label == IGNORE for label in labels):
        return ""
    return (
        "packed by TRL, without the messages: if contents hold text of markers, or rows have weights, turn_mask or turn_weights, map "
        "encode_chat before and pass its input_ids and labels"
    )


def check_wrapped(policy: MaskPolicy, chat_format: ChatFormat) -> None:
    """Raise if labels depend on where rows begin and end, which wrapped packing does not tell."""
    trained = [boundary for boundary in chat_format.boundaries if boundary.role in policy.roles]
    needs = {
        "turns='last'": policy.turns == "last",
        "train_on_eos='last'": policy.train_on_eos == "last",
        "truncated_turn='drop'": policy.truncated_turn == "drop",
        "a chat format whose answers have no closing marker": not all(boundary.end for boundary in trained),
    }
    for need, wanted in needs.items():
        if wanted:
            raise ValueError(
                f"policy: {need} needs to know where rows end, which packing_strategy='wrapped' does not tell; use 'bfd', or make a column "
                "of labels before packing."
            )


def warn_of_cut_answers(strategy: str | None, shuffled: bool, counts: MaskReport, name: str) -> None:
    """Warn if packing cut answers and moved the second part to where it cannot be found, or if it joined rows that were cut before."""
    if not counts.truncated_turns:
        return
    if strategy == "wrapped" and not shuffled:
        warnings.warn(
            f"{name} set: {counts.truncated_turns} answers have no closing marker, because their rows were cut before "
            "packing_strategy='wrapped' joined them. Where the next row begins cannot be seen, so these answers do not train. Use 'bfd', "
            "pass rows that are not truncated, or make a column of labels before packing.",
            SpanmaskWarning,
            stacklevel=5,
        )
        return
    if strategy == "wrapped" and shuffled:
        cause = "shuffle_dataset=True moved pieces after packing_strategy='wrapped' cut them; shuffle the rows yourself"
    elif strategy == "bfd_split":
        cause = "packing_strategy='bfd_split' moves the pieces of long rows; use 'bfd', or a larger max_length"
    else:
        return
    warnings.warn(
        f"{name} set: packing cut up to {counts.truncated_turns} answers, which train only up to the cut: {cause}, or make a column of "
        "labels before packing.",
        SpanmaskWarning,
        stacklevel=5,
    )
