"""Masked LM: tokens are replaced in place (`MaskedLM`, `mask_tokens`). `masked_lm.rs` decides which tokens are chosen."""

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
    as_fraction,
    as_positive,
    as_probability,
    as_token_id,
    as_token_ids,
    as_uint64,
    check_choice,
    check_flag,
    check_ignore_index,
    check_threads,
    mask_token_of,
)
from spanmask.noise.random_ids import random_ids_of
from spanmask.noise.row_options import column_of_probabilities, counted, is_by_token, per_row, row_options
from spanmask.noise.spec import FromTokenizer
from spanmask.noise.words import vocabulary_words
from spanmask.ragged import RowsView

__all__ = ["MaskedLM", "MaskedTokens", "check_by_token", "mask_tokens"]

Mode = Literal["token", "span"]


@dataclass(frozen=True, repr=False)
class MaskedLM:
    """Which tokens a masked LM must predict, and what takes their place (BERT; spans: SpanBERT).

    Args:
        mask_token_id: the id that hides a token.
        vocab_size: random ids are drawn below it.
        special_ids: ids that are never chosen and never drawn as random ids.
        unused_ids: further ids that are never drawn as random ids: those that the vocabulary lacks, and reserved ones.
        mlm_probability: the probability that an unprotected token (or word) is chosen, above 0 and at most 1; with
            `mode="span"`, exactly this fraction of them is chosen.
        mask_replace_prob, random_replace_prob: fractions of the chosen tokens that become the mask and a random id;
            the rest are not changed.
        whole_word_mask: words are chosen whole. Words are given by `word_ids=` or `word_starts=` of the call, or by `continuation_ids`.
        continuation_ids: ids that continue the word before them (`##ing`). `None`: each call must pass words.
        word_end_ids: ids after which a word begins, even with one of `continuation_ids`: line breaks, `dog</w>`, special tokens. Only with
            `continuation_ids`.
        mode: `"token"`: each token (or word) is chosen independently; `"span"`: spans of them are chosen, of geometric length, with an
            unchosen token (or word) between any two and one replacement decision per span.
        span_length_p, max_span_length: parameter and maximum of the (truncated) geometric distribution of span lengths.
        min_one: each row that has a token (or word) that may be chosen gets at least one label. Tokens are chosen as usual; if that
            leaves a row without a label, one of its tokens (or words) is chosen, each with the same probability. Of n tokens, each is
            then chosen with probability p + (1 - p)**n / n instead of p: no difference in long rows. With `mode="span"`, one token
            (or word) is chosen where the fraction rounds to none.

    Raises:
        ValueError: a probability or fraction is out of range, the fractions add up to more than 1, or no id is left to draw.
        TypeError: the ids are not integers.

    Source: Devlin et al. 2019, section 3.1; Joshi et al. 2020, section 3.1.

    >>> MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=[0, 1, 2, 3, 4]).mlm_probability
    0.15
    """

    mask_token_id: int
    vocab_size: int
    _: KW_ONLY
    special_ids: Sequence[int] = ()
    unused_ids: Sequence[int] = ()
    mlm_probability: float = 0.15
    mask_replace_prob: float = 0.8
    random_replace_prob: float = 0.1
    whole_word_mask: bool = False
    continuation_ids: Sequence[int] | None = None
    word_end_ids: Sequence[int] = ()
    mode: Mode = "token"
    span_length_p: float = 0.2
    max_span_length: int = 10
    min_one: bool = False

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "mask_token_id", as_token_id("mask_token_id", self.mask_token_id))
        set_(self, "vocab_size", as_token_id("vocab_size", self.vocab_size))
        set_(self, "special_ids", as_token_ids("special_ids", self.special_ids))
        set_(self, "unused_ids", as_token_ids("unused_ids", self.unused_ids))
        if self.continuation_ids is not None:
            set_(self, "continuation_ids", as_token_ids("continuation_ids", self.continuation_ids))
        set_(self, "word_end_ids", as_token_ids("word_end_ids", self.word_end_ids))
        if self.word_end_ids and self.continuation_ids is None:
            raise ValueError(
                "word_end_ids: requires continuation_ids; pass the ids that continue a word (all, if only the ends of words are marked)."
            )
        set_(self, "mlm_probability", as_probability("mlm_probability", self.mlm_probability))
        set_(self, "mask_replace_prob", as_fraction("mask_replace_prob", self.mask_replace_prob))
        set_(self, "random_replace_prob", as_fraction("random_replace_prob", self.random_replace_prob))
        if self.mask_replace_prob + self.random_replace_prob > 1:
            raise ValueError(
                f"mask_replace_prob, random_replace_prob: expected a sum of at most 1, got {self.mask_replace_prob} and "
                f"{self.random_replace_prob}."
            )
        check_choice("mode", self.mode, Mode)
        check_flag("whole_word_mask", self.whole_word_mask)
        check_flag("min_one", self.min_one)
        set_(self, "span_length_p", as_density("span_length_p", self.span_length_p))
        set_(self, "max_span_length", as_positive("max_span_length", self.max_span_length))
        self._compiled  # noqa: B018  # a vocabulary without an id to draw is an error here, not in the first batch

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        mlm_probability: float = 0.15,
        mask_replace_prob: float = 0.8,
        random_replace_prob: float = 0.1,
        whole_word_mask: bool = False,
        mode: Mode = "token",
        span_length_p: float = 0.2,
        max_span_length: int = 10,
        min_one: bool = False,
        mask_token_id: int | None = None,
        vocab_size: int | None = None,
        special_ids: Sequence[int] | None = None,
        unused_ids: Sequence[int] | None = None,
        continuation_ids: Sequence[int] | FromTokenizer | None = "tokenizer",
        word_end_ids: Sequence[int] | None = None,
    ) -> MaskedLM:
        """The spec for a tokenizer: by default its mask token, vocabulary and special ids; with `whole_word_mask` also the ids that
        continue words and those that end them.

        The options are those of the class. `unused_ids` are by default the ids below the highest that no token has, and those of added
        special tokens that are not among `all_special_ids`. `word_end_ids` is only taken from the tokenizer together with
        `continuation_ids`.

        Raises:
            ValueError: the tokenizer has no mask token; or `whole_word_mask` is set and its tokens do not show where words begin.
        """
        if mask_token_id is None:
            mask_token_id = mask_token_of(tokenizer)
        check_flag("whole_word_mask", whole_word_mask)
        if isinstance(continuation_ids, str) and continuation_ids == "tokenizer":
            words = vocabulary_words(tokenizer) if whole_word_mask else None
            continuation_ids = None if words is None else words.continuation_ids
            if words is not None and word_end_ids is None:
                word_end_ids = words.word_end_ids
        size, unused = random_ids_of(tokenizer)
        return cls(
            mask_token_id=mask_token_id,
            vocab_size=size if vocab_size is None else vocab_size,
            special_ids=sorted(tokenizer.all_special_ids) if special_ids is None else special_ids,
            unused_ids=unused if unused_ids is None else unused_ids,
            mlm_probability=mlm_probability,
            mask_replace_prob=mask_replace_prob,
            random_replace_prob=random_replace_prob,
            whole_word_mask=whole_word_mask,
            continuation_ids=continuation_ids,
            word_end_ids=() if word_end_ids is None else word_end_ids,
            mode=mode,
            span_length_p=span_length_p,
            max_span_length=max_span_length,
            min_one=min_one,
        )

    @cached_property
    def _compiled(self) -> _core.MaskSpec:
        """The spec as the core uses it. It is made at first use and not pickled."""
        weights: list[float] = []
        if self.mode == "span":
            weight = 1.0
            for _ in range(self.max_span_length):
                weights.append(weight)
                weight *= 1 - self.span_length_p
        return _core.MaskSpec(
            mlm_probability=self.mlm_probability,
            mask_replace_prob=self.mask_replace_prob,
            random_replace_prob=self.random_replace_prob,
            mask_token_id=self.mask_token_id,
            vocab_size=self.vocab_size,
            span_weights=weights,
            protected_ids=self.special_ids,
            unused_ids=self.unused_ids,
            continuation_ids=self.continuation_ids if self.whole_word_mask else None,
            word_end_ids=self.word_end_ids if self.whole_word_mask and self.word_end_ids else None,
            min_one=self.min_one,
        )

    def __repr__(self) -> str:
        """The options that differ from their defaults; long lists of ids are shortened."""
        return short_repr(self)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


@dataclass(eq=False)  # not frozen: that costs 0.3 us for each call
class MaskedTokens:
    """Masked rows, as `mask_tokens` returns them.

    Attributes:
        input_ids: the rows with chosen tokens replaced; int64, `Ragged` or of the kind and shape of a 2-D input.
        labels: the chosen tokens, `ignore_index` where nothing was chosen; of the same kind as `input_ids`.
        chosen: int64 [rows]: tokens with a label.
        keys: uint64 [rows]: what the noise of each row was drawn from, together with seed and epoch.
    """

    input_ids: Any
    labels: Any
    chosen: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]


def mask_tokens(
    rows: Any,
    spec: MaskedLM,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    attention_mask: Any = None,
    protected_mask: Any = None,
    word_ids: Any = None,
    word_starts: Any = None,
    mlm_probability: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedTokens:
    """Choose tokens that a masked LM must predict, and replace them.

    Noise is a pure function of (seed, epoch, key of the row), as in `corrupt`.

    Args:
        rows: token ids from 0 to 2**32 - 1; ragged, or a 2-D array or tensor.
        spec: a `MaskedLM`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids.
        attention_mask: for 2-D rows, in their shape: nonzero for real tokens. Padding is neither chosen nor hashed, and keeps its
            ids.
        protected_mask: a flag for each token that must not be chosen, in addition to `spec.special_ids`. Like `word_ids` and
            `word_starts`, it requires ragged rows.
        word_ids: the number of each token's word, so that words are chosen whole; a token without one (`None`, a negative
            number, NaN, an Arrow null, `pandas.NA`, a masked entry) belongs to no word and is never chosen.
        word_starts: the same information as a flag for each token that begins a word.
        mlm_probability: instead of the spec's, one number for each row, one for all, or one for each token: ragged, or in the shape of
            2-D rows. Numbers by token are from 0 (never chosen) to 1 (always), apply to whole words by their first token, and are
            drawn otherwise than one for all: equal numbers do not choose the same tokens. They require `mode="token"`.
        ignore_index: the label of tokens that were not chosen; any int64.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `MaskedTokens`: `input_ids`, `labels`, `chosen`, `keys`.

    Raises:
        ValueError: an id, seed, key, probability or column is out of range or does not fit the rows; or `whole_word_mask` without
            words; or probabilities by token with `mode="span"`.
        TypeError: ids that are not integers, or probabilities that are not numbers.

    >>> from spanmask import MaskedLM, mask_tokens
    >>> spec = MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=range(5), mlm_probability=.5)
    >>> out = mask_tokens([[1, 70, 71, 72, 73, 2]], spec, seed=1)
    >>> out.labels.to_list()[0][0], out.labels.to_list()[0][-1]
    (-100, -100)
    >>> mask_tokens([[1, 70, 71, 72, 2]], spec, mlm_probability=[[0, 1, 0, 1, 0]]).labels.to_list()  # an entity, always
    [[-100, 70, -100, 72, -100]]
    """
    if not isinstance(spec, MaskedLM):
        raise TypeError(f"spec: expected MaskedLM, got {type(spec).__name__}.")
    if spec.whole_word_mask and spec.continuation_ids is None and word_ids is None and word_starts is None:
        raise ValueError("word_ids: required with whole_word_mask (or word_starts=, or continuation_ids in the spec).")
    view = RowsView(rows, attention_mask)
    if view.shape is not None:
        for name, column in (("protected_mask", protected_mask), ("word_ids", word_ids), ("word_starts", word_starts)):
            if column is not None:
                raise TypeError(f"{name}: only supported for ragged rows; pass rows without padding.")
    count, by_token = len(view), None
    if is_by_token(mlm_probability):
        check_by_token(spec)
        by_token = counted(column_of_probabilities(mlm_probability, "mlm_probability"), count, "mlm_probability")
        mlm_probability = None
    out = _core.mask_tokens(
        view.rows,
        spec._compiled,
        seed=as_uint64("seed", seed),
        epoch=as_uint64("epoch", epoch),
        mlm_probability=per_row("mlm_probability", mlm_probability, count, as_probability),
        token_probabilities=by_token,
        ignore_index=check_ignore_index("ignore_index", ignore_index),
        num_threads=check_threads(num_threads),
        **row_options(count, keys=keys, protected_mask=protected_mask, word_ids=word_ids, word_starts=word_starts),
    )
    return MaskedTokens(view.wrap(out.input_ids), view.wrap(out.labels), out.chosen, out.keys)


def check_by_token(spec: MaskedLM) -> None:
    """Raise unless a spec can take a probability for each token."""
    if spec.mode != "token":
        raise ValueError(
            f"mlm_probability: one for each token requires mode='token'; mode={spec.mode!r} chooses an exact fraction of a row. "
            "Pass one for each row, or another spec."
        )
