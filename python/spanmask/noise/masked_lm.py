"""Masked LM: tokens replaced where they stand (`MaskedLM`, `mask_tokens`). What is chosen is `masked_lm.rs`'s business."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import (
    as_density,
    as_fraction,
    as_probability,
    as_token_id,
    as_token_ids,
    as_uint64,
    check_choice,
    check_threads,
)
from spanmask.noise.arguments import given, per_row
from spanmask.ragged import RowsView

__all__ = ["MaskedLM", "MaskedTokens", "mask_tokens"]

Mode = Literal["token", "span"]


@dataclass(frozen=True)
class MaskedLM:
    """Which tokens a masked LM must predict, and what takes their place (BERT; spans: SpanBERT).

    Args:
        mask_token_id: what hides a token.
        vocab_size: random ids are drawn below it.
        special_ids: never chosen, never drawn as random ids.
        mlm_probability: each unprotected token (or word) is chosen with this probability; with `mode="span"`, that share of
            them exactly.
        mask_replace_prob, random_replace_prob: fractions of the chosen tokens that become the mask and a random id;
            the rest stay as they are.
        whole_word_mask: words are chosen whole: by `words=` of the call, or by `continuation_ids`.
        continuation_ids: ids that go on with the word in front of them (`##ing`). `None`: words must be given with each call.
        mode: `"token"`: each token (or word) by itself; `"span"`: spans of them, of geometric length, none touching another,
            one fate for all tokens of a span.
        span_length_p, max_span_length: the geometric distribution of span lengths, cut at the maximum.

    Raises:
        ValueError: a probability or share out of range, shares above 1 together, no id left to draw.
        TypeError: ids that are no integers.

    Source: Devlin et al. 2019, section 3.1; Joshi et al. 2020, section 3.1.

    >>> MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=[0, 1, 2, 3, 4]).mlm_probability
    0.15
    """

    mask_token_id: int
    vocab_size: int
    special_ids: tuple[int, ...] = ()
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    whole_word_mask: bool = False
    continuation_ids: tuple[int, ...] | None = None
    mode: Mode = "token"
    span_length_p: float = 0.2
    max_span_length: int = 10

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "mask_token_id", as_token_id("mask_token_id", self.mask_token_id))
        set_(self, "vocab_size", as_token_id("vocab_size", self.vocab_size))
        set_(self, "special_ids", as_token_ids("special_ids", self.special_ids))
        if self.continuation_ids is not None:
            set_(self, "continuation_ids", as_token_ids("continuation_ids", self.continuation_ids))
        set_(self, "mlm_probability", as_probability("mlm_probability", self.mlm_probability))
        set_(self, "mask_replace_prob", as_fraction("mask_replace_prob", self.mask_replace_prob))
        set_(self, "random_replace_prob", as_fraction("random_replace_prob", self.random_replace_prob))
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError(
                f"mask_replace_prob, random_replace_prob: {self.mask_replace_prob} and {self.random_replace_prob} are more than 1 together."
            )
        check_choice("mode", self.mode, Mode)
        set_(self, "span_length_p", as_density("span_length_p", self.span_length_p))
        if not isinstance(self.max_span_length, int) or isinstance(self.max_span_length, bool) or self.max_span_length < 1:
            raise ValueError(f"max_span_length: expected a positive integer, got {self.max_span_length!r}.")
        self._core  # noqa: B018  # a vocabulary without an id to draw is an error now

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **options: Any) -> MaskedLM:
        """The spec for a tokenizer: its mask token, vocabulary, special ids; with `whole_word_mask`, which tokens go on with words.

        Raises:
            ValueError: the tokenizer has no mask token, or `whole_word_mask` and its tokens do not tell where words begin.
        """
        mask = getattr(tokenizer, "mask_token_id", None)
        if mask is None and "mask_token_id" not in options:
            raise ValueError("tokenizer: has no mask token; set tokenizer.mask_token, or give mask_token_id.")
        options.setdefault("mask_token_id", mask)
        options.setdefault("vocab_size", len(tokenizer))
        options.setdefault("special_ids", sorted(tokenizer.all_special_ids))
        if options.get("whole_word_mask") and "continuation_ids" not in options:
            options["continuation_ids"] = continuation_ids_of(tokenizer)
        return cls(**options)

    @cached_property
    def _core(self) -> _core.MaskSpec:
        """The compiled spec, made at the first use and left out of pickles."""
        weights: list[float] = []
        if self.mode == "span":
            weight = 1.0
            for _ in range(self.max_span_length):
                weights.append(weight)
                weight *= 1 - self.span_length_p
        return _core.MaskSpec(
            probability=self.mlm_probability,
            mask_replace_prob=self.mask_replace_prob,
            random_replace_prob=self.random_replace_prob,
            mask_id=self.mask_token_id,
            vocab_size=self.vocab_size,
            span_weights=weights,
            protected_ids=self.special_ids,
            continuation_ids=self.continuation_ids if self.whole_word_mask else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_core"}


def continuation_ids_of(tokenizer: Any) -> tuple[int, ...]:
    """The ids of a vocabulary that go on with a word, told by how its tokens are written.

    WordPiece marks tokens that go on (`##ing`); SentencePiece (`▁`) and byte-level BPE (`Ġ`) mark those that begin.

    Raises:
        ValueError: none of these marks is in the vocabulary.
    """
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_ids)
    for mark, begins in (("##", False), ("▁", True), ("Ġ", True)):
        if any(token.startswith(mark) for token in vocabulary):
            marked = {number for token, number in vocabulary.items() if token.startswith(mark)}
            return tuple(sorted(set(vocabulary.values()) - marked - special if begins else marked))
    raise ValueError("tokenizer: its tokens do not tell where words begin; give words= with each call, or continuation_ids.")


class MaskedTokens:
    """Masked rows.

    Attributes:
        input_ids: the rows, chosen tokens replaced; labels: what was there, -100 where nothing was chosen. Both int64;
            `Ragged`, or the kind and shape of a 2-D input.
        chosen: int64 [rows]: tokens with a label.
        keys: uint64 [rows]: what the noise of each row was drawn from, with seed and epoch.
    """

    def __init__(self, input_ids: Any, labels: Any, keys: npt.NDArray[np.uint64], chosen: npt.NDArray[np.int64]) -> None:
        self.input_ids = input_ids
        self.labels = labels
        self.keys = keys
        self.chosen = chosen


def mask_tokens(
    rows: Any,
    spec: MaskedLM,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    attention_mask: Any = None,
    protected: Any = None,
    words: Any = None,
    mlm_probability: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedTokens:
    """Choose tokens that a masked LM must predict, and replace them.

    A pure function of (seed, epoch, key of the row), as `corrupt`.

    Args:
        rows: token ids, 0 to 2**32 - 1; ragged, or a 2-D array or tensor with `attention_mask` (then padding is neither chosen
            nor hashed).
        spec: a `MaskedLM`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids.
        protected: a flag for each token that must not be chosen, beside `spec.special_ids`. Ragged rows only, as `words`.
        words: for whole words: a flag for each token that begins one, or a number for each token (negative or `None`: no word,
            never chosen).
        mlm_probability: one for each row, instead of the spec's.
        ignore_index: what labels hold where nothing was chosen.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `MaskedTokens`: `input_ids`, `labels`, `chosen`, `keys`.

    Raises:
        ValueError: an id, seed, key, probability or column that cannot be; `whole_word_mask` without anything that tells words.
        TypeError: ids that are no integers.

    >>> from spanmask import MaskedLM, mask_tokens
    >>> spec = MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=range(5), mlm_probability=.5)
    >>> out = mask_tokens([[1, 70, 71, 72, 73, 2]], spec, seed=1)
    >>> out.labels.to_list()[0][0], out.labels.to_list()[0][-1]
    (-100, -100)
    """
    if not isinstance(spec, MaskedLM):
        raise TypeError(f"spec: expected MaskedLM, got {type(spec).__name__}.")
    view = RowsView(rows, attention_mask)
    beside = mask_given(view, spec, keys, protected, words, mlm_probability)
    input_ids, labels, keys, chosen = _core.mask_tokens(
        *view.column,
        spec._core,
        (as_uint64("seed", seed), as_uint64("epoch", epoch)),
        beside,
        view.layout,
        0,
        int(ignore_index),
        "rows",
        check_threads(num_threads),
    )
    if attention_mask is not None:  # else there is no padding
        keep_padding(view, input_ids)
    return MaskedTokens(view.wrap(input_ids), view.wrap(labels), keys, chosen)


def mask_given(view: RowsView, spec: MaskedLM, keys: Any, protected: Any, words: Any, mlm_probability: Any) -> dict[str, Any]:
    """What goes beside rows, checked."""
    if spec.whole_word_mask and spec.continuation_ids is None and words is None:
        raise ValueError("words: whole_word_mask needs them: a flag or number for each token, or continuation_ids in the spec.")
    if view.shape is not None and (protected is not None or words is not None):
        raise TypeError("protected, words: go with ragged rows; give rows without their padding.")
    rows = len(view)
    return given(
        rows,
        keys=keys,
        densities=per_row("mlm_probability", mlm_probability, rows, as_probability),
        protected=protected,
        words=words,
    )


def keep_padding(view: RowsView, input_ids: npt.NDArray[np.int64]) -> None:
    """Padding of a 2-D input stays what it was: the core writes zeros around the real tokens."""
    values, starts, stops = view.column
    width = view.shape[1] if view.shape else 0
    if width and bool(((stops - starts) < width).any()):
        places = np.arange(len(input_ids)).reshape(-1, width)
        padding = (places < starts[:, None]) | (places >= stops[:, None])
        np.copyto(input_ids.reshape(-1, width), values.reshape(-1, width), where=padding, casting="unsafe")
