"""Ids of sentinels, EOS and mode tokens, found by name in a tokenizer."""

from __future__ import annotations

import re
from typing import Any

from spanmask.errors import SentinelError

__all__ = ["eos_of", "mode_id", "sentinels_of"]

SENTINEL = re.compile(r"<extra_id_(\d+)>")


def sentinels_of(tokenizer: Any) -> tuple[int, ...]:
    """The ids of `<extra_id_0>`, `<extra_id_1>`, ... in this order.

    The ids of T5 descend, those of ByT5 ascend. They are found by name, so tokens that are added later change nothing.

    Raises:
        SentinelError: the vocabulary has no such tokens.
        TypeError: this is not a tokenizer.
    """
    if not hasattr(tokenizer, "get_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    named = {}
    for token, number in tokenizer.get_vocab().items():
        match = SENTINEL.fullmatch(token)
        if match:
            named[int(match[1])] = int(number)
    if not named:
        raise SentinelError(
            "tokenizer: has no <extra_id_0>, <extra_id_1>, ... tokens; add them (tokenizer.add_tokens, then resize the model's "
            "embeddings), or pass sentinel_ids."
        )
    return tuple(named[number] for number in sorted(named))


def eos_of(tokenizer: Any) -> int:
    """The tokenizer's EOS id.

    Raises:
        ValueError: it has none.
    """
    eos = getattr(tokenizer, "eos_token_id", None)
    if eos is None:
        raise ValueError("tokenizer: has no EOS token; set tokenizer.eos_token, or pass eos_token_id.")
    return int(eos)


def mode_id(tokenizer: Any, token: str) -> int:
    """The id of a mode token such as `[NLU]`.

    Raises:
        ValueError: the vocabulary does not contain it.
    """
    number = tokenizer.get_vocab().get(token)
    if number is None:
        raise ValueError(
            f"mode_token: the tokenizer has no {token!r}; add it with tokenizer.add_tokens([{token!r}]), then resize the "
            "model's embeddings."
        )
    return int(number)
