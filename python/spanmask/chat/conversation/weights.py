"""What a message says about its own loss: `weight`, `train`, `training`, `trainable` or `loss`."""

from __future__ import annotations

from typing import Any

import numpy as np

from spanmask._validate import MAX_WEIGHT
from spanmask.chat.conversation.layouts import Place

__all__ = ["WEIGHT_KEYS", "take_weight"]

FLAG_KEYS = frozenset({"train", "training", "trainable"})
WEIGHT_KEYS = FLAG_KEYS | {"weight", "loss"}


def take_weight(fields: dict[str, Any], place: Place) -> float | None:
    """Take the keys out of a message, since some templates write whole messages, and return what they say; `None` if nothing.

    A flag says whether a message trains, a number how much: `train=True` agrees with each weight above 0.

    Raises:
        ValueError: a value is neither a flag nor a finite number >= 0, or two keys disagree.
    """
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


def scalar(value: Any) -> Any:
    """An array or tensor without dimensions, as `datasets` returns numbers with some formats, as a number."""
    return value.item() if getattr(value, "shape", None) == () and hasattr(value, "item") else value
