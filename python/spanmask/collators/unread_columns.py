"""Columns that a noise collator does not read, although their names say that they are meant for noise: errors, not silently other noise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from spanmask.ragged import is_tensor

__all__ = ["check_unread", "is_type_of_numbers"]

# Columns with an entry for each token, and what else people call them. Names are compared without case, punctuation and a final "s".
TOKEN_NAMES = {
    "attention_mask": ("attn_mask",),
    "noise_mask": (),
    "protected_mask": ("protected", "protect_mask", "is_protected", "protected_tokens"),
    "sentence_starts": ("sentence_begins", "starts_sentence", "is_sentence_start", "sentence_start_mask"),
    "special_tokens_mask": ("special_token_mask", "special_mask", "special_tokens", "is_special"),
    "token_type_ids": ("token_type",),
    "word_ids": ("words", "word_numbers", "word_index", "word_indices"),
    "word_starts": ("starts_word", "is_word_start", "word_begins"),
}
# Columns with a number for each row, of all noise collators.
ROW_NAMES = {
    "fim_rate": ("fim_prob", "fim_probability", "fill_in_the_middle_rate"),
    "mask_ratio": ("masking_ratio", "mask_fraction", "masked_fraction", "masked_ratio", "noise_ratio", "infill_ratio"),
    "mean_noise_span_length": ("mean_span_length", "noise_span_length", "mean_noise_span"),
    "mlm_probability": (
        "mlm_prob",
        "mlm_rate",
        "mask_probability",
        "mask_prob",
        "mask_rate",
        "masking_probability",
        "masking_rate",
    ),
    "noise_density": ("noise_densities", "noise_rate", "mask_density"),
}


def check_unread(
    columns: Mapping[str, Any],
    read: Collection[str | None],
    rates: Sequence[str],
    is_numeric: Callable[[Any, bool], bool] | None = None,
    reader: Literal["collator", "operator"] = "collator",
) -> None:
    """Raise for a column of numbers that is meant for noise, but is not read under its name.

    A column is not meant for noise if the column that its name resembles is there too.

    Args:
        columns: the columns of a batch, or whatever `is_numeric` judges them by.
        read: the names that the collator reads, and those that its options name.
        rates: the names of the columns that it reads a number for each row from.
        is_numeric: whether a column holds a row of numbers for each example (or, if the second argument is false, also a number); by
            default `holds_numbers`.
        reader: what reads them.

    Raises:
        ValueError: there is such a column; the message names the right one.
    """
    for name in columns:
        meant = None if name in read else meant_name(name)
        if (
            meant is None
            or (meant != name and meant in columns)
            or not (is_numeric or holds_numbers)(columns[name], meant in TOKEN_NAMES)
        ):
            continue
        if meant in read:
            remedy = f"Rename it to {meant!r}, which is read, or remove it."
        elif meant == "noise_mask":
            remedy = "Collators draw their masks. Pass it to corrupt(noise_mask=...), or remove the column."
        elif meant == "mean_noise_span_length":
            remedy = "It is a setting of span corruption. Remove the column."
        elif meant == "sentence_starts":  # of examples that are meant for several collators, as below
            continue
        elif meant in TOKEN_NAMES:
            remedy = "It has no effect on this objective. Remove the column."
        elif any(rate in columns for rate in rates):
            continue
        elif rates:
            remedy = f"Rename it to {rates[0]!r} if it is meant for this objective, or remove it."
        else:
            remedy = "It has no rates by row. Remove the column."
        raise ValueError(
            f"{'features' if reader == 'collator' else 'table'}: the column {name!r} is not read by this {reader}, although its name says "
            f"that it is meant for noise. {remedy}"
        )


@cache
def meant_name(name: str) -> str | None:
    """The name that a column is read under, by any collator, if `name` is one or resembles one."""
    for right, others in {**TOKEN_NAMES, **ROW_NAMES}.items():
        if plain(name) in map(plain, (right, *others)):
            return right
    return None


def plain(name: str) -> str:
    """A name as it is compared."""
    return "".join(filter(str.isalnum, str(name).casefold())).rstrip("s")


def holds_numbers(column: Any, by_token: bool) -> bool:
    """Whether a column holds a row of numbers for each example, or also a number if entries are by row.

    Its first entry that is not empty decides.
    """
    for entry in column:
        value = entry.as_py() if hasattr(entry, "as_py") else entry
        if value is None:
            continue
        if is_number(value):
            return not by_token
        if not isinstance(value, (list, tuple)) and not getattr(value, "ndim", 0):
            return False
        for item in value:
            if item is not None:
                return is_number(item)
    return False


def is_type_of_numbers(kind: Any, by_token: bool) -> bool:
    """Whether a column of this Arrow type holds a row of numbers for each example, or also a number if entries are by row."""
    is_list = hasattr(kind, "value_type") and not hasattr(kind, "index_type")
    return (is_list or not by_token) and str(kind.value_type if is_list else kind).startswith(
        ("int", "uint", "bool", "float", "double", "halffloat")
    )


def is_number(value: Any) -> bool:
    """Whether a value is a number or a bool, of Python, NumPy or torch."""
    if isinstance(value, np.ndarray):
        return value.ndim == 0 and value.dtype.kind in "biuf"
    if is_tensor(value):
        return bool(value.ndim == 0)
    return isinstance(value, (int, float, np.number, np.bool_))
