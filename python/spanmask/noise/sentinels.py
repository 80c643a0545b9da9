"""Ids of sentinels, EOS, BOS and mode tokens, found by name in a tokenizer."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from spanmask.errors import SentinelError

__all__ = ["bos_of", "eos_of", "mode_id", "sentinels_of"]

# T5, UL2, umT5, ByT5 and CodeT5 write <extra_id_0>; mT5's vocabulary has the piece with its space.
SENTINEL = re.compile(r"(▁?)<extra_id_(0|[1-9][0-9]*)>")


def sentinels_of(tokenizer: Any) -> tuple[int, ...]:
    """The ids of `<extra_id_0>`, `<extra_id_1>`, ... in this order; in mT5's vocabulary, of `▁<extra_id_0>` and so on.

    The ids of T5 descend, those of ByT5 ascend. They are found by name, so tokens that are added later change nothing.

    Raises:
        SentinelError: the vocabulary has no such tokens, both spellings of them, or not all from 0 to the highest.
        TypeError: this is not a tokenizer.
    """
    if not hasattr(tokenizer, "get_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    series: dict[str, dict[int, int]] = {}
    for token, number in tokenizer.get_vocab().items():
        match = SENTINEL.fullmatch(token) if isinstance(token, str) else None
        if match:
            series.setdefault(match[1], {})[int(match[2])] = int(number)
    if not series:
        raise SentinelError(
            "tokenizer: has no <extra_id_0>, <extra_id_1>, ... tokens (nor ▁<extra_id_0>, ...). If the model was trained with other "
            "sentinels, pass their ids as sentinel_ids. If it has none, add new ones (tokenizer.add_tokens, then "
            "model.resize_token_embeddings): their embeddings are untrained."
        )
    if len(series) > 1:
        found = " and ".join(f"{mark}<extra_id_*> ({span_of(named.values())})" for mark, named in sorted(series.items()))
        raise SentinelError(
            f"tokenizer: has two series of sentinels, {found}; pass the ids of those that the model was trained with as sentinel_ids "
            "(mT5: the series with ▁; the other was added by the tokenizer's extra_ids)."
        )
    [(mark, named)] = series.items()
    for number in range(len(named)):
        if number not in named:
            raise SentinelError(
                f"tokenizer: has {mark}<extra_id_{max(named)}>, but no {mark}<extra_id_{number}>; pass the ids that the model was "
                "trained with, in their order, as sentinel_ids."
            )
    return tuple(named[number] for number in range(len(named)))


def span_of(ids: Collection[int]) -> str:
    """The lowest and the highest of some ids."""
    low, high = min(ids), max(ids)
    return f"id {low}" if low == high else f"ids {low} to {high}"


def bos_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's BOS and CLS ids, as far as it has them."""
    ids = (getattr(tokenizer, name, None) for name in ("bos_token_id", "cls_token_id"))
    return tuple(dict.fromkeys(int(number) for number in ids if number is not None))


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
