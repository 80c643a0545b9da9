"""Masked diffusion: tokens become the mask, each row with its own probability (`MaskedDiffusion`, `diffuse`). `diffusion.rs` masks them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._short_repr import short_repr
from spanmask._validate import (
    as_density,
    as_probability,
    as_token_id,
    as_token_ids,
    as_uint64,
    check_choice,
    check_flag,
    check_ignore_index,
    check_threads,
)
from spanmask.noise.row_options import as_keys, flag_column, per_row
from spanmask.ragged import RowsView

__all__ = ["Diffused", "MaskedDiffusion", "Weighting", "diffuse"]

Weighting = Literal["token", "row"]
# How the mask is written in the vocabularies of LLaDA and Dream, some of whose tokenizers do not say which token it is.
MASK_TOKENS = ("<|mdm_mask|>", "<|mask|>")


@dataclass(frozen=True, repr=False)
class MaskedDiffusion:
    """Tokens of a row become the mask with one probability, the row's mask ratio, which is drawn too (LLaDA, Dream, MDLM).

    Every eligible token is masked independently; there are no random ids, and no chosen tokens that stay. A masked token's loss is
    weighted by 1 / ratio, which makes the weighted sum of losses an estimate of a bound on the row's negative log-likelihood.

    Args:
        mask_token_id: the id that hides a token. Tokens that are this id already are never masked.
        eps: ratios are uniform from `eps` to 1; strictly between 0 and 1.
        special_ids: ids that are never masked. LLaDA masks every token, so there are none by default.
        antithetic: the ratios of a call cover the range evenly: with n rows, each n-th part of it has one of them. That lowers the
            variance of the loss, and every ratio on its own is still uniform; but a row's ratio then depends on the other rows of its
            batch (not on their order).
        weighting: `"token"`: weights are 1 / ratio, so that those of a row add up to its number of eligible tokens, in expectation.
            `"row"`: they are also divided by that number, so that those of a row add up to 1. Which divisor of the loss belongs to which:
            docs/how-to/train-a-diffusion-model.

    Raises:
        ValueError: an id or `eps` is out of range, or an option is unknown.
        TypeError: the ids are not integers.

    Source: Nie et al. 2025 (LLaDA), sections 2.1 to 2.3; antithetic ratios: Sahoo et al. 2024 (MDLM), Kingma et al. 2021 (VDM).

    >>> MaskedDiffusion(mask_token_id=4)
    MaskedDiffusion(mask_token_id=4)
    """

    mask_token_id: int
    _: KW_ONLY
    eps: float = 1e-3
    special_ids: Sequence[int] = ()
    antithetic: bool = False
    weighting: Weighting = "token"

    def __repr__(self) -> str:
        """The options that differ from their defaults; long lists of ids are shortened."""
        return short_repr(self)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "mask_token_id", as_token_id("mask_token_id", self.mask_token_id))
        set_(self, "eps", as_density("eps", self.eps))
        set_(self, "special_ids", as_token_ids("special_ids", self.special_ids))
        check_flag("antithetic", self.antithetic)
        check_choice("weighting", self.weighting, Weighting)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        eps: float = 1e-3,
        mask_token_id: int | None = None,
        special_ids: Sequence[int] = (),
        antithetic: bool = False,
        weighting: Weighting = "token",
    ) -> MaskedDiffusion:
        """The spec for a tokenizer: by default its mask token; if it names none, `<|mdm_mask|>` (LLaDA) or `<|mask|>` (Dream).

        The options are those of the class.

        Raises:
            ValueError: the tokenizer has no mask token.
        """
        return cls(
            mask_of(tokenizer) if mask_token_id is None else mask_token_id,
            eps=eps,
            special_ids=special_ids,
            antithetic=antithetic,
            weighting=weighting,
        )

    @cached_property
    def _compiled(self) -> _core.DiffusionSpec:
        """The spec as the core uses it. It is made at first use and not pickled."""
        return _core.DiffusionSpec(
            mask_token_id=self.mask_token_id,
            eps=self.eps,
            protected_ids=self.special_ids,
            antithetic=self.antithetic,
            by_row=self.weighting == "row",
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


def mask_of(tokenizer: Any) -> int:
    """The id of the mask: the tokenizer's mask token, or the one of `MASK_TOKENS` that its vocabulary has.

    Raises:
        ValueError: there is none, or more than one.
        TypeError: this is not a tokenizer.
    """
    mask = getattr(tokenizer, "mask_token_id", None)
    if mask is not None:
        return int(mask)
    if not hasattr(tokenizer, "get_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    vocabulary = tokenizer.get_vocab()
    found = [token for token in MASK_TOKENS if token in vocabulary]
    if len(found) != 1:
        has = f"has {' and '.join(found)}, but does not say which is the mask" if found else "has no mask token"
        raise ValueError(
            f'tokenizer: {has}; set tokenizer.mask_token, pass mask_token_id, or add one: tokenizer.add_special_tokens({{"mask_token": '
            '"<|mask|>"}), then resize the embeddings of the model.'
        )
    return int(vocabulary[found[0]])


@dataclass(eq=False)  # not frozen: that costs 0.3 us for each call
class Diffused:
    """Rows with masks, as `diffuse` returns them.

    Attributes:
        input_ids: the rows, masked tokens replaced by the mask; int64, `Ragged` or of the kind and shape of a 2-D input.
        labels: the masked tokens, each at its own position, `ignore_index` elsewhere; of the same kind.
        loss_weights: the weight of each masked token's loss, 0 elsewhere; float32, of the same kind.
        mask_ratio: float64 [rows]: the probability with which the row's tokens were masked.
        eligible: int64 [rows]: tokens that could be masked. With `weighting="token"` their sum is the divisor of the weighted losses.
        masked: int64 [rows]: tokens that were. A row without any has no loss, which is not an error: others make up for it.
        keys: uint64 [rows]: what the noise of each row was drawn from, together with seed and epoch.
    """

    input_ids: Any
    labels: Any
    loss_weights: Any
    mask_ratio: npt.NDArray[np.float64]
    eligible: npt.NDArray[np.int64]
    masked: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]


def diffuse(
    rows: Any,
    spec: MaskedDiffusion,
    *,
    labels: Any = None,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    attention_mask: Any = None,
    protected_mask: Any = None,
    mask_ratio: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> Diffused:
    """Mask tokens of each row, as a diffusion model needs them for training.

    Noise is a pure function of (seed, epoch, key of the row), as in `corrupt`, unless `spec.antithetic` is set. Each token has one random
    number, and is masked if it is below the row's ratio: with the same seed, epoch and key, a higher ratio masks the same tokens
    and more.

    Args:
        rows: token ids from 0 to 2**32 - 1; ragged, or a 2-D array or tensor.
        spec: a `MaskedDiffusion`.
        labels: for fine-tuning, in the form of the rows: only tokens with a label may be masked, the others (the prompt) stay clear. A
            label is the token at its position, or `ignore_index`; so `mask_labels` and the chat collators make them.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids.
        attention_mask: for 2-D rows, in their shape: nonzero for real tokens. Padding is neither masked nor hashed, and keeps its ids.
        protected_mask: a flag for each token that must not be masked, in addition to `spec.special_ids`. It requires ragged rows.
        mask_ratio: one number for each row, or one for all, above 0 and at most 1, instead of drawn ones.
        ignore_index: the label of tokens that are not masked; any int64.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `Diffused`: `input_ids`, `labels`, `loss_weights`, `mask_ratio`, `eligible`, `masked`, `keys`.

    Raises:
        ValueError: an id, seed, key, ratio or column is out of range or does not fit the rows, or a label is not its token; the message
            names row and position.
        TypeError: ids that are not integers.

    >>> from spanmask import MaskedDiffusion, diffuse
    >>> out = diffuse([[70, 71, 72, 73]], MaskedDiffusion(4), labels=[[-100, -100, 72, 73]], mask_ratio=1.0)
    >>> out.input_ids.to_list(), out.labels.to_list(), out.loss_weights.to_list()
    ([[70, 71, 4, 4]], [[-100, -100, 72, 73]], [[0.0, 0.0, 1.0, 1.0]])
    """
    check_diffusion(spec)
    view = RowsView(rows, attention_mask)
    if view.shape is not None and protected_mask is not None:
        raise TypeError("protected_mask: only supported for ragged rows; pass rows without padding.")
    count = len(view)
    out = _core.diffuse(
        view.rows,
        spec._compiled,
        seed=as_uint64("seed", seed),
        epoch=as_uint64("epoch", epoch),
        labels=None if labels is None else view.aligned(labels, "labels"),
        keys=as_keys(keys, count),
        protected_mask=flag_column(protected_mask, "protected_mask", count),
        mask_ratio=per_row("mask_ratio", mask_ratio, count, as_probability),
        ignore_index=check_ignore_index("ignore_index", ignore_index),
        num_threads=check_threads(num_threads),
    )
    input_ids, made, weights = (view.wrap(array) for array in (out.input_ids, out.labels, out.loss_weights))
    return Diffused(input_ids, made, weights, out.mask_ratio, out.eligible, out.masked, out.keys)


def check_diffusion(spec: Any) -> None:
    """Raise unless `spec` says how tokens are masked for diffusion."""
    if not isinstance(spec, MaskedDiffusion):
        raise TypeError(f"spec: expected MaskedDiffusion, got {type(spec).__name__}.")
