"""Text infilling of rows (BART): `TextInfilling`, `infill`. Tokens are handled in the core (`noise/infill/`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._short_repr import short_repr
from spanmask._validate import (
    NOT_NUMBERS,
    as_fraction,
    as_number,
    as_token_id,
    as_token_ids,
    as_uint64,
    check_flag,
    check_threads,
    mask_token_of,
    short,
)
from spanmask.noise.random_ids import random_ids_of
from spanmask.noise.row_options import flag_column, per_row, row_options
from spanmask.noise.sentences import sentence_end_ids_of
from spanmask.noise.spec import FromTokenizer
from spanmask.noise.words import vocabulary_words
from spanmask.ragged import Ragged

__all__ = ["InfillReport", "Infilled", "ReplaceLength", "TextInfilling", "check_units", "infill"]

ReplaceLength = Literal[1, -1, 0]
# What the core calls them.
REPLACE = {1: "one_mask", -1: "each_token", 0: "nothing"}


@dataclass(frozen=True, repr=False)
class TextInfilling:
    """Spans of a row are replaced, each by one mask; its sentences change places (BART). The model must produce the whole row.

    Args:
        mask_token_id: the id that replaces a span.
        special_ids: ids that are never hidden and never drawn as random ids. Before, between and after sentences they stay in place (BOS,
            EOS, separators).
        mask_ratio: the fraction of the other tokens (or words) that is hidden, from 0 to 1, rounded up to a whole number of them.
        poisson_lambda: mean of the Poisson distribution of span lengths, from .1 to 100. A span of length 0 is a mask that is inserted.
            The last span that is drawn for a row is shortened to what is left of `mask_ratio`.
        replace_length: what replaces a span: `1` a mask, `-1` a mask for each token, `0` nothing. Insertions are masks in all cases.
        random_ratio: the fraction of spans and insertions that get random ids instead of masks, from 0 to 1.
        vocab_size: random ids are drawn below it; required with `random_ratio`.
        unused_ids: further ids that are never drawn as random ids: those that the vocabulary lacks, and reserved ones.
        permute_sentence_ratio: the fraction of a row's sentences that change places before spans are drawn, from 0 to 1: so many of them,
            rounded up, are chosen, and get each other's places in a random order.
        sentence_end_ids: ids that end a sentence, such as the full stop. Of several in a row, the last one does. `()`: each call must pass
            `sentence_starts`.
        whole_word_mask: words are hidden whole, and spans count words. Words are given by `word_ids=` or `word_starts=` of the call, or by
            `continuation_ids`. A sentence begins with a word, or with a token that belongs to none.
        continuation_ids: ids that continue the word before them (`##ing`). `None`: each call must pass words.
        word_end_ids: ids after which a word begins, even with one of `continuation_ids`: line breaks, `dog</w>`, special tokens. Only with
            `continuation_ids`.

    Raises:
        ValueError: a ratio or the mean is out of range, or no id is left to draw.
        TypeError: the ids are not integers.

    Source: Lewis et al. 2020, section 2.2. The draw, and how it differs from the paper's program: docs/reference/reproducibility,
    docs/how-to/pretrain-bart.

    >>> TextInfilling(mask_token_id=4, special_ids=range(5))
    TextInfilling(mask_token_id=4, special_ids=(0, 1, 2, 3, 4))
    """

    mask_token_id: int
    _: KW_ONLY
    special_ids: Sequence[int] = ()
    mask_ratio: float = 0.3
    poisson_lambda: float = 3.5
    replace_length: ReplaceLength = 1
    random_ratio: float = 0.0
    vocab_size: int | None = None
    unused_ids: Sequence[int] = ()
    permute_sentence_ratio: float = 0.0
    sentence_end_ids: Sequence[int] = ()
    whole_word_mask: bool = False
    continuation_ids: Sequence[int] | None = None
    word_end_ids: Sequence[int] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "mask_token_id", as_token_id("mask_token_id", self.mask_token_id))
        for name in ("special_ids", "unused_ids", "sentence_end_ids", "word_end_ids"):
            set_(self, name, as_token_ids(name, getattr(self, name)))
        for name in ("mask_ratio", "random_ratio", "permute_sentence_ratio"):
            set_(self, name, as_fraction(name, getattr(self, name)))
        set_(self, "poisson_lambda", as_number("poisson_lambda", self.poisson_lambda))
        if not 0.1 <= self.poisson_lambda <= 100:
            raise ValueError(f"poisson_lambda: expected a mean span length from .1 to 100, got {self.poisson_lambda!r}.")
        length = self.replace_length
        if isinstance(length, NOT_NUMBERS) or not isinstance(length, (int, np.integer)) or length not in get_args(ReplaceLength):
            raise ValueError(
                f"replace_length: expected 1 (a mask for each span), -1 (for each token) or 0 (spans are deleted), got {short(length)}."
            )
        set_(self, "replace_length", int(length))
        if self.vocab_size is not None:
            set_(self, "vocab_size", as_token_id("vocab_size", self.vocab_size))
        elif self.random_ratio > 0:
            raise ValueError("vocab_size: required with random_ratio; pass the size of the vocabulary, special ids included.")
        check_flag("whole_word_mask", self.whole_word_mask)
        if self.continuation_ids is not None:
            set_(self, "continuation_ids", as_token_ids("continuation_ids", self.continuation_ids))
        elif self.word_end_ids:
            raise ValueError(
                "word_end_ids: requires continuation_ids; pass the ids that continue a word (all, if only the ends of words are marked)."
            )
        self._compiled  # noqa: B018  # a vocabulary without an id to draw is an error here, not in the first batch

    def __repr__(self) -> str:
        """The options that differ from their defaults; long lists of ids are shortened."""
        return short_repr(self)

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        mask_ratio: float = 0.3,
        poisson_lambda: float = 3.5,
        replace_length: ReplaceLength = 1,
        random_ratio: float = 0.0,
        permute_sentence_ratio: float = 0.0,
        sentence_end_ids: Sequence[int] | None = None,
        whole_word_mask: bool = False,
        continuation_ids: Sequence[int] | FromTokenizer | None = "tokenizer",
        word_end_ids: Sequence[int] | None = None,
        mask_token_id: int | None = None,
        vocab_size: int | None = None,
        special_ids: Sequence[int] | None = None,
        unused_ids: Sequence[int] | None = None,
    ) -> TextInfilling:
        """The spec for a tokenizer: by default its mask token, vocabulary and special ids; with `permute_sentence_ratio` also the ids
        that end a sentence (`.`, `!`, `?`, and what closes a quotation after them), with `whole_word_mask` the ids that continue words
        and those that end them.

        The options are those of the class. `unused_ids` are by default those of `MaskedLM.from_tokenizer`, with `random_ratio`.
        `word_end_ids` is only taken from the tokenizer together with `continuation_ids`.

        Raises:
            ValueError: the tokenizer has no mask token, no token that ends a sentence, or its tokens do not show where words begin.
        """
        if mask_token_id is None:
            mask_token_id = mask_token_of(tokenizer)
        check_flag("whole_word_mask", whole_word_mask)
        if isinstance(continuation_ids, str) and continuation_ids == "tokenizer":
            words = vocabulary_words(tokenizer) if whole_word_mask else None
            continuation_ids = None if words is None else words.continuation_ids
            if words is not None and word_end_ids is None:
                word_end_ids = words.word_end_ids
        if sentence_end_ids is None:
            permute_sentence_ratio = as_fraction("permute_sentence_ratio", permute_sentence_ratio)
            sentence_end_ids = sentence_end_ids_of(tokenizer) if permute_sentence_ratio else ()
        random_ratio = as_fraction("random_ratio", random_ratio)
        size, unused = random_ids_of(tokenizer) if random_ratio else (len(tokenizer), ())
        return cls(
            mask_token_id=mask_token_id,
            special_ids=sorted(tokenizer.all_special_ids) if special_ids is None else special_ids,
            mask_ratio=mask_ratio,
            poisson_lambda=poisson_lambda,
            replace_length=replace_length,
            random_ratio=random_ratio,
            vocab_size=size if vocab_size is None else vocab_size,
            unused_ids=unused if unused_ids is None else unused_ids,
            permute_sentence_ratio=permute_sentence_ratio,
            sentence_end_ids=sentence_end_ids,
            whole_word_mask=whole_word_mask,
            continuation_ids=continuation_ids,
            word_end_ids=() if word_end_ids is None else word_end_ids,
        )

    @cached_property
    def _compiled(self) -> _core.InfillSpec:
        """The spec as the core uses it. It is made at first use and not pickled."""
        return _core.InfillSpec(
            mask_token_id=self.mask_token_id,
            vocab_size=self.vocab_size or 0,
            mask_ratio=self.mask_ratio,
            span_weights=poisson_weights(self.poisson_lambda),
            replace=REPLACE[self.replace_length],
            random_ratio=self.random_ratio,
            permute_sentence_ratio=self.permute_sentence_ratio,
            sentence_end_ids=self.sentence_end_ids,
            protected_ids=self.special_ids,
            unused_ids=self.unused_ids,
            continuation_ids=self.continuation_ids if self.whole_word_mask else None,
            word_end_ids=self.word_end_ids if self.whole_word_mask and self.word_end_ids else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


def poisson_weights(poisson_lambda: float) -> list[float]:
    """How likely the lengths 0, 1, 2, ... are, relative to 0, which needs no exponential, so that all machines agree.

    The last length is the first beyond the mean that is less likely than one in 2**33: thresholds have 32 bits.
    """
    weights, total = [1.0], 1.0
    while len(weights) <= poisson_lambda or weights[-1] * 2**33 >= total:
        weights.append(weights[-1] * poisson_lambda / len(weights))
        total += weights[-1]
    return weights


@dataclass(frozen=True)
class InfillReport:
    """How much was hidden.

    Attributes:
        rows, tokens: totals.
        noise_tokens, spans: hidden tokens, and the spans that they form.
        inserted_masks: masks (or random ids) that hide nothing.
        moved_sentences: sentences that are at another place than before.
        uncorrupted_rows: rows that were copied unchanged: none of their tokens may be hidden, or a ratio is 0.
    """

    rows: int
    tokens: int
    noise_tokens: int
    spans: int
    inserted_masks: int
    moved_sentences: int
    uncorrupted_rows: int


@dataclass(eq=False)  # not frozen: that costs 0.6 us for each call
class Infilled:
    """Infilled rows, as `infill` returns them.

    Attributes:
        input_ids: `Ragged` of int64: what the encoder reads.
        labels: `Ragged` of int64: the rows, which the decoder must produce.
        keys: uint64 [rows]: what the noise of each row was drawn from, together with seed and epoch.
        report: `InfillReport`.
    """

    input_ids: Ragged
    labels: Ragged
    keys: npt.NDArray[np.uint64]
    _batch: _core.InfilledBatch = field(repr=False)

    @cached_property
    def report(self) -> InfillReport:
        """Totals of what was hidden."""
        batch = self._batch
        return InfillReport(
            rows=len(self.keys),
            tokens=len(self.labels.values),
            noise_tokens=int(batch.hidden.sum()),
            spans=int(batch.spans.sum()),
            inserted_masks=int(batch.inserted.sum()),
            moved_sentences=int(batch.moved.sum()),
            uncorrupted_rows=int(np.count_nonzero(batch.hidden + batch.inserted + batch.moved == 0)),
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "report": self.report}  # the report is made from the core's object, which cannot be pickled
        del state["_batch"]
        return state


def infill(
    rows: Any,
    spec: TextInfilling,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    protected_mask: Any = None,
    word_ids: Any = None,
    word_starts: Any = None,
    sentence_starts: Any = None,
    mask_ratio: Any = None,
    num_threads: int = 1,
) -> Infilled:
    """Replace spans of each row by masks, and permute its sentences.

    Noise is a pure function of (seed, epoch, key of the row), as in `corrupt`. Inputs alone do not say what a mask hides, or where
    sentences were, so there is no inverse: the labels are the rows.

    Args:
        rows: token ids from 0 to 2**32 - 1, in any form that `Ragged.from_rows` accepts, with the special tokens that the model expects.
            Rows in which no token may be hidden are copied.
        spec: a `TextInfilling`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids, so that rows with equal content get the same noise.
        protected_mask: a flag for each token that must not be hidden, in addition to `spec.special_ids`. A protected token inside a span
            divides it: each part has its own mask.
        word_ids: the number of each token's word, so that words are hidden whole: adjacent tokens with the same number form one word; a
            token with a negative number or `None` belongs to no word and is never hidden. `mask_ratio` and span lengths then count words.
        word_starts: the same information as a flag for each token that begins a word.
        sentence_starts: a flag for each token that begins a sentence, instead of `spec.sentence_end_ids`. A flag inside a word has no
            effect.
        mask_ratio: one number for each row, or one for all, instead of the spec's.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `Infilled`: `input_ids`, `labels`, `keys`, `report`.

    Raises:
        ValueError: an id, seed, key, ratio or column is out of range or does not fit the rows (the message names row and position); or
            words or sentences are missing that the spec requires.
        TypeError: the ids are not integers.

    >>> from spanmask import TextInfilling, infill
    >>> spec = TextInfilling(mask_token_id=4, special_ids=[0, 2, 4], mask_ratio=.5)
    >>> out = infill([[0, 70, 71, 72, 73, 74, 75, 2]], spec, seed=3)
    >>> out.input_ids.to_list(), out.labels.to_list()
    ([[0, 70, 71, 72, 4, 2]], [[0, 70, 71, 72, 73, 74, 75, 2]])
    """
    if not isinstance(spec, TextInfilling):
        raise TypeError(f"spec: expected TextInfilling, got {type(spec).__name__}.")
    check_units(spec, words=word_ids is not None or word_starts is not None, sentences=sentence_starts is not None)
    ragged = Ragged.from_rows(rows)
    count = len(ragged)
    out = _core.infill(
        ragged,
        spec._compiled,
        seed=as_uint64("seed", seed),
        epoch=as_uint64("epoch", epoch),
        mask_ratio=per_row("mask_ratio", mask_ratio, count, as_fraction),
        sentence_starts=flag_column(sentence_starts, "sentence_starts", count),
        num_threads=check_threads(num_threads),
        **row_options(count, keys=keys, protected_mask=protected_mask, word_ids=word_ids, word_starts=word_starts),
    )
    return Infilled(
        Ragged._unchecked(out.input_ids, out.input_offsets), Ragged._unchecked(out.labels, out.label_offsets), out.keys, out
    )


def check_units(spec: TextInfilling, *, words: bool, sentences: bool) -> None:
    """Raise if a call has neither words nor sentences that the spec requires.

    Raises:
        ValueError: they are missing.
    """
    if spec.whole_word_mask and spec.continuation_ids is None and not words:
        raise ValueError("word_ids: required with whole_word_mask (or word_starts, or continuation_ids in the spec).")
    if spec.permute_sentence_ratio and not spec.sentence_end_ids and not sentences:
        raise ValueError("sentence_starts: required with permute_sentence_ratio (or sentence_end_ids in the spec).")
