"""What a message says about its own loss: `weight`, `train`, `training`, `trainable`, `loss` or `loss_scale`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spanmask._validate import MAX_WEIGHT
from spanmask.chat.conversation.layouts import Place

__all__ = ["DETAIL_KEYS", "WEIGHT_KEYS", "take_part_flags", "take_weight"]

FLAG_KEYS = frozenset({"train", "training", "trainable"})
WEIGHT_KEYS = FLAG_KEYS | {"weight", "loss", "loss_scale"}
# Axolotl's names for a list of the characters of a content that train.
DETAIL_KEYS = ("train_detail", "training_detail")


def take_weight(fields: dict[str, Any], place: Place) -> float | None:
    """Take the keys out of a message, since some templates write whole messages, and return what they say; `None` if nothing.

    A flag says whether a message trains, a number how much: `train=True` agrees with each weight above 0.

    Raises:
        ValueError: a value is neither a flag nor a finite number >= 0, two keys disagree, or a key says which characters train.
    """
    for key in DETAIL_KEYS:
        detail = fields.pop(key, None)
        if detail is not None and np.size(detail):
            raise ValueError(
                f"{place}: has {key!r}, which says which characters of the content train; a message trains as a whole here. Remove the "
                "key, and leave such text out with MaskPolicy(ignore_between=...) or ignore_sequences=."
            )
    if WEIGHT_KEYS.isdisjoint(fields):
        return None
    said = {key: scalar(fields.pop(key)) for key in sorted(WEIGHT_KEYS & fields.keys())}
    flags, numbers = {}, {}
    for key, value in said.items():
        if isinstance(value, (bool, np.bool_)):
            flags[key] = bool(value)
        elif isinstance(value, (int, float, np.integer, np.floating)) and 0 <= value <= MAX_WEIGHT:
            if key in FLAG_KEYS and value in (0, 1):
                flags[key] = bool(value)
            else:
                numbers[key] = float(value)
        else:
            raise ValueError(f"{place}: {key!r} is {value!r}; expected True, False, or a weight >= 0 that is finite in float32.")
    if len({*flags.values(), *(number > 0 for number in numbers.values())}) > 1 or len({*numbers.values()}) > 1:
        found = ", ".join(f"{key}={value!r}" for key, value in said.items())
        raise ValueError(f"{place}: {found} disagree about the message's loss; keep one of them.")
    return [*numbers.values(), *map(float, flags.values())][0]


def take_part_flags(parts: Sequence[dict[str, Any]], place: Place) -> bool | None:
    """Take the keys out of the texts of a content, as Axolotl writes them, and return what they say of the message; `None` if nothing.

    Raises:
        ValueError: a value is not a flag, or only a part of the content is to train.
    """
    texts = [part for part in parts if part["type"] == "text"]
    flags = []
    for part in texts:
        said = {key: scalar(part.pop(key)) for key in sorted(WEIGHT_KEYS & part.keys())}
        for key, value in said.items():
            if value not in (0, 1):
                raise ValueError(
                    f"{place}: {key!r} of a part is {value!r}; expected True or False. Weights are those of whole messages."
                )
        flags.append({bool(value) for value in said.values()})
    if not any(flags):
        return None
    if {True} == set.union(*flags):  # parts without a key train as their message does
        return True
    if all(flag == {False} for flag in flags):
        return False
    raise ValueError(
        f"{place}: only some parts of its content are to train; a message trains as a whole here. Remove the keys, and leave such text "
        "out with MaskPolicy(ignore_between=...) or ignore_sequences=."
    )


def scalar(value: Any) -> Any:
    """An array or tensor without dimensions, as `datasets` returns numbers with some formats, as a number."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
