"""Masked diffusion for one row, and the mask ratios of a batch. Twin of `noise/diffusion.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.reference.bounded import threshold
from spanmask.reference.key import row_key
from spanmask.reference.philox import CHOICE, RATE, RATE_OFFSET, stream

__all__ = ["antithetic_ratios", "diffuse"]


def diffuse(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    labels: Sequence[int] | None = None,
    protected_mask: Sequence[bool] | None = None,
    mask_ratio: float | None = None,
    ignore_index: int = -100,
) -> tuple[list[int], list[int], list[float]]:
    """Inputs, labels and loss weights of one row. `spec`: a `MaskedDiffusion`; `key`: 64 bits, by default the row's hash.

    Ratios of a batch that are antithetic are passed as `mask_ratio`.
    """
    key = row_key(row) if key is None else key
    ratio = ratio_of(spec.eps, uniform(seed, epoch, key, RATE)) if mask_ratio is None else mask_ratio
    eligible = [
        token != spec.mask_token_id
        and token not in spec.special_ids
        and (protected_mask is None or not protected_mask[at])
        and (labels is None or labels[at] != ignore_index)
        for at, token in enumerate(row)
    ]
    words = stream(seed, epoch, key, CHOICE)
    # Each token has a word, so that one that may not be masked does not change what happens to the others.
    masked = [words.next_u32() < threshold(ratio) and may for may in eligible]
    weight = 1 / ratio if spec.weighting == "token" else 1 / (ratio * max(sum(eligible), 1))
    return (
        [spec.mask_token_id if hidden else token for token, hidden in zip(row, masked, strict=True)],
        [token if hidden else ignore_index for token, hidden in zip(row, masked, strict=True)],
        [weight if hidden else 0.0 for hidden in masked],
    )


def antithetic_ratios(keys: Sequence[int], seed: int, epoch: int, eps: float) -> list[float]:
    """Mask ratios of a batch: the range has as many parts as there are rows, and the row with the n-th lowest number gets the n-th part."""
    ranked = sorted(range(len(keys)), key=lambda row: uniform(seed, epoch, keys[row], RATE))
    ratios = [0.0] * len(keys)
    for part, row in enumerate(ranked):
        ratios[row] = ratio_of(eps, (part + uniform(seed, epoch, keys[row], RATE_OFFSET)) / len(keys))
    return ratios


def uniform(seed: int, epoch: int, key: int, purpose: int) -> float:
    """A number from 0 to 1, 1 excluded."""
    return stream(seed, epoch, key, purpose).next_u32() / 2**32


def ratio_of(eps: float, number: float) -> float:
    """The mask ratio of a number from 0 to 1: uniform from `eps` to 1.

    >>> ratio_of(.5, .5)
    0.75
    """
    return eps + (1 - eps) * number
