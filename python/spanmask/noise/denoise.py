"""`denoise`: a sentence in, a training pair out. For a first look, a notebook or a test; loaders use the collator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask import _core
from spanmask._validate import as_list, as_uint64, check_installed, pad_token_id
from spanmask.noise.spec import FromTokenizer, OnExhausted, OnSentinel, SpanCorruption, SpanLayout
from spanmask.ragged import Column, Ragged, to_tensors

__all__ = ["denoise"]


def denoise(
    tokenizer: Any,
    text: str | list[str],
    *,
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    seed: int | None = None,
    sentinel_ids: Sequence[int] | None = None,
    eos_token_id: int | FromTokenizer | None = "tokenizer",
    layout: SpanLayout = "classic",
    final_sentinel: bool = False,
    on_exhausted: OnExhausted = "raise",
    on_sentinel: OnSentinel = "raise",
    protected_ids: Sequence[int] = (),
) -> dict[str, Any]:
    """Turn text into a training pair for T5.

    Args:
        tokenizer: a T5 or ByT5 tokenizer, or another one with `<extra_id_*>` tokens and EOS.
        text: a string, or a list of strings.
        noise_density, mean_noise_span_length: as in `SpanCorruption`.
        seed: 0 to 2**64 - 1; by default drawn from torch's random state.
        sentinel_ids, eos_token_id, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: as in
            `SpanCorruption.from_tokenizer`.

    Returns:
        `input_ids`, `attention_mask`, `labels`: torch int64 [texts, longest], labels padded with -100.

    Raises:
        SentinelError: the tokenizer has no sentinels, or too few for the text.
        ValueError, TypeError: as in `SpanCorruption`.

    Example:
        `model(**denoise(tokenizer, "The cute dog walks in the green park", seed=0)).loss`
    """
    check_installed("torch", "torch", "denoise")
    import torch

    texts = [text] if isinstance(text, str) else as_list("text", text, "a string or a list of strings")
    for number, item in enumerate(texts):
        if not isinstance(item, str):
            raise TypeError(f"text: expected a string or a list of strings, but item {number} is of type {type(item).__name__}.")
        if not item.isascii() and any("\ud800" <= char <= "\udfff" for char in item):
            raise ValueError(f"text: item {number} has half of a surrogate pair, which no tokenizer reads; repair its encoding.")
    if not texts:
        raise ValueError("text: the list is empty; pass at least one text.")
    spec = SpanCorruption.from_tokenizer(
        tokenizer,
        noise_density=noise_density,
        mean_noise_span_length=mean_noise_span_length,
        sentinel_ids=sentinel_ids,
        eos_token_id=eos_token_id,
        layout=layout,
        final_sentinel=final_sentinel,
        on_exhausted=on_exhausted,
        on_sentinel=on_sentinel,
        protected_ids=protected_ids,
    )
    rows = Ragged.from_rows([tokenizer(item)["input_ids"] for item in texts], "text")
    batch = _core.corrupt(
        Column(rows.values, *rows.bounds()),
        spec._compiled,
        seed=int(torch.randint(2**63 - 1, ())) if seed is None else as_uint64("seed", seed),
        epoch=0,
        layout=_core.SeqToSeqLayout(padding_side="right", pad_token_id=pad_token_id(tokenizer), label_pad_token_id=-100),
        name="text",
    )
    arrays = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, "labels": batch.labels}
    return to_tensors(arrays, "pt")
