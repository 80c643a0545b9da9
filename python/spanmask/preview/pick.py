"""Which rows are shown: those that are remarkable in some way."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Pick", "ranks_of"]

Pick = Literal["first", "untrained", "longest", "fewest", "mismatch", "random"]
Int64 = npt.NDArray[np.int64]


def ranks_of(pick: str, seed: int, numbers: Int64, lengths: Int64, trained: Int64, differs: npt.NDArray[Any]) -> Int64:
    """A number for each row: the smallest are shown first, those below 0 never.

    Args:
        pick: as in `preview`.
        seed: for `"random"`.
        numbers, lengths, trained: the number of each row, its tokens, and its trained tokens.
        differs: whether its mask is another one than that which it is compared with.
    """
    if pick == "longest":
        return np.asarray((1 << 40) - lengths)
    if pick == "fewest":
        return np.where(trained > 0, trained, -1)
    if pick == "untrained":
        return np.where(trained == 0, numbers, -1)
    if pick == "mismatch":
        return np.where(differs, numbers, -1)
    if pick == "random":
        keys = (numbers + (seed << 32)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0xBF58476D1CE4E5B9)
        return np.asarray(keys >> np.uint64(1), np.int64)
    return numbers
