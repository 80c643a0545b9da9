"""`denoise`: a sentence in, a training pair out. For a first look, a notebook, a test; loaders use the collator."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spanmask.noise.spec import SpanCorruption

__all__ = ["denoise"]


def denoise(
    tokenizer: Any,
    text: str | list[str],
    noise_density: float = 0.15,
    mean_noise_span_length: float = 3.0,
    seed: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Text to what a T5 trains on.

    Args:
        tokenizer: a T5 or ByT5 tokenizer, or any with `<extra_id_*>` tokens and EOS.
        text: a text, or a list of them.
        noise_density, mean_noise_span_length: as in `SpanCorruption`.
        seed: 0 to 2**64 - 1; by default torch's own (`torch.initial_seed()`).
        **options: more of `SpanCorruption`.

    Returns:
        `input_ids`, `attention_mask`, `labels`: torch int64 [texts, longest], labels padded with -100.

    Raises:
        SentinelError: the tokenizer has no sentinels, or too few for the text.
        ValueError, TypeError: as in `SpanCorruption`.

    Example:
        `model(**denoise(tokenizer, "The cute dog walks in the green park", seed=0)).loss`
    """
    from spanmask.collators.span_corruption import DataCollatorForSpanCorruption

    if not isinstance(text, Iterable):
        raise TypeError(f"text: expected a string or a list of them, got {type(text).__name__}.")
    texts = [text] if isinstance(text, str) else list(text)
    for number, item in enumerate(texts):
        if not isinstance(item, str):
            raise TypeError(f"text: expected a string or a list of them, item {number} is a {type(item).__name__}.")
    if not texts:
        raise ValueError("text: no text given.")
    spec = SpanCorruption.from_tokenizer(
        tokenizer, noise_density=noise_density, mean_noise_span_length=mean_noise_span_length, **options
    )
    collator = DataCollatorForSpanCorruption(tokenizer, spec=spec, seed=seed, on_repeat="ignore")
    return collator([{"input_ids": tokenizer(item)["input_ids"]} for item in texts])
