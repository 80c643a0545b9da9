"""Which ids of a tokenizer may be drawn at random: `random_ids_of`."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["random_ids_of"]


def random_ids_of(tokenizer: Any) -> tuple[int, tuple[int, ...]]:
    """One more than the highest id, and the ids below it that no token has, or an added special token that `all_special_ids` lacks.

    `len(tokenizer)` counts tokens, so it is too low where ids are missing. It decides for a tokenizer that does not show its vocabulary.
    """
    if not hasattr(tokenizer, "get_vocab"):
        return len(tokenizer), ()
    known = np.fromiter(tokenizer.get_vocab().values(), np.int64)
    size = max(len(tokenizer), int(known.max(initial=-1)) + 1)
    is_missing = np.ones(size, np.bool_)  # `np.unique` takes longer than `get_vocab`
    is_missing[known] = False
    added = getattr(tokenizer, "added_tokens_decoder", {}).items()
    special = [number for number, token in added if getattr(token, "special", False)]
    unused = {*np.flatnonzero(is_missing).tolist(), *special}
    return size, tuple(sorted(unused.difference(tokenizer.all_special_ids)))
