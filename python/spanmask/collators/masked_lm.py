"""`DataCollatorForMaskedLM`: rows of token ids -> padded batches whose chosen tokens are masked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

from spanmask import _core
from spanmask._validate import as_probability
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, NoisedBatch, given_options, protects_spec
from spanmask.noise.masked_lm import MaskedLM, Mode, check_by_token
from spanmask.noise.rates import Rate, rates_at, take_moving_rates
from spanmask.noise.row_options import RowOptions, per_row
from spanmask.noise.spec import FromTokenizer

__all__ = ["DataCollatorForMaskedLM"]


@protects_spec
@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForMaskedLM(NoiseCollator):
    """Masks tokens of each row for BERT-style training: the model must predict what they were.

    In:  dicts with `input_ids` (integers, any length). Columns that are read where present, each with an entry for each token:
         `attention_mask` (nonzero for real tokens), `protected_mask` and `special_tokens_mask` (nonzero: never chosen), `word_ids`
         (numbers; None, NaN, null or negative: not a word) or `word_starts` (flags): words are then chosen whole; `token_type_ids`. One
         number for each row, or for each token: `mlm_probability`, which replaces the spec's. An Arrow table or a dict with these
         columns is also accepted.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row]; labels are `label_pad_token_id` where nothing was chosen.
         `token_type_ids` if the examples have it, and `token_columns`: padded as the ids are.

    With a seed, noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: mask token, special tokens, vocabulary, pad token, padding side.
        mlm_probability: each unprotected token (or word) is chosen with this probability; above 0 and at most 1, .15 by default. Or
            a function of (step, epoch) that returns it, such as `LinearRate`; it can also be given next to `spec`.
        whole_word_mask: words are chosen whole: those of the columns `word_ids` or `word_starts`, otherwise those of the vocabulary.
        mask_token_id, vocab_size, special_ids, unused_ids, mask_replace_prob, random_replace_prob, continuation_ids, word_end_ids,
            mode, span_length_p, max_span_length: see `MaskedLM`; by default what `MaskedLM.from_tokenizer` chooses.
        min_one: each row in which a token (or word) may be chosen gets at least one label; False by default. The first batch without
            any label warns: its mean loss is NaN.
        spec: a `MaskedLM` instead of the options above. The attribute `spec` always holds the spec in use.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        step: the first step, for rates that are functions of it; `set_step` changes it.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process only knows what it drew itself: workers that end with their pass cannot see a repeat.
        key_column: the column that identifies an example (integers or strings). By default its content does, so equal rows in one
            epoch get the same noise.
        max_length: rows are truncated to this many tokens before noise is drawn, so that a closing `[SEP]` is cut off too. The default
            key is then that of the row as it was cut.
        pad_to_multiple_of: the width is rounded up to a multiple of it.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        label_pad_token_id: the label of tokens that were not chosen and of padding; -100 carries no loss.
        keep_columns: further columns to stack into the batch, one value of a fixed shape for each row, such as `next_sentence_label`.
        token_columns: further columns with a number for each token, padded as the ids are, with 0: integers become int64, floats float32,
            bools stay bools. `token_type_ids` need not be named; its padding is the tokenizer's `pad_token_type_id`. All other columns
            are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option, a row or a column that cannot be used; the message names it. A column of numbers is one if it is meant
            for noise, but not read under its name, such as `noise_density`.

    Source: Devlin et al. 2019, section 3.1.

    Example:
        `collator = DataCollatorForMaskedLM(tokenizer, mlm_probability=.15, whole_word_mask=True, seed=42)`
    """

    mlm_probability: InitVar[float | Rate | None] = None
    whole_word_mask: InitVar[bool | None] = None
    mask_token_id: InitVar[int | None] = None
    vocab_size: InitVar[int | None] = None
    special_ids: InitVar[Iterable[int] | None] = None
    unused_ids: InitVar[Iterable[int] | None] = None
    mask_replace_prob: InitVar[float | None] = None
    random_replace_prob: InitVar[float | None] = None
    continuation_ids: InitVar[Iterable[int] | FromTokenizer | None] = "tokenizer"
    word_end_ids: InitVar[Iterable[int] | None] = None
    mode: InitVar[Mode | None] = None
    span_length_p: InitVar[float | None] = None
    max_span_length: InitVar[int | None] = None
    min_one: InitVar[bool | None] = None
    spec: MaskedLM | None = None

    rate_columns: ClassVar[tuple[str, ...]] = ("mlm_probability",)
    token_rate_columns: ClassVar[tuple[str, ...]] = ("mlm_probability",)

    def __post_init__(
        self,
        mlm_probability: float | Rate | None,
        whole_word_mask: bool | None,
        mask_token_id: int | None,
        vocab_size: int | None,
        special_ids: Iterable[int] | None,
        unused_ids: Iterable[int] | None,
        mask_replace_prob: float | None,
        random_replace_prob: float | None,
        continuation_ids: Iterable[int] | FromTokenizer | None,
        word_end_ids: Iterable[int] | None,
        mode: Mode | None,
        span_length_p: float | None,
        max_span_length: int | None,
        min_one: bool | None,
    ) -> None:
        options = {
            "mlm_probability": mlm_probability,
            "whole_word_mask": whole_word_mask,
            "mask_token_id": mask_token_id,
            "vocab_size": vocab_size,
            "special_ids": special_ids,
            "unused_ids": unused_ids,
            "mask_replace_prob": mask_replace_prob,
            "random_replace_prob": random_replace_prob,
            "continuation_ids": continuation_ids,
            "word_end_ids": word_end_ids,
            "mode": mode,
            "span_length_p": span_length_p,
            "max_span_length": max_span_length,
            "min_one": min_one,
        }
        self.moving_rates = take_moving_rates(options)
        given = given_options(self.spec, options)
        if self.spec is None:
            given.update(rates_at(self.moving_rates, 0, 0))
            self.spec = MaskedLM.from_tokenizer(self.tokenizer, **given)
        elif not isinstance(self.spec, MaskedLM):
            raise TypeError(f"spec: expected MaskedLM, got {type(self.spec).__name__}.")
        self._check_options()

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        assert self.spec is not None  # `__post_init__` sets it
        no_words = options["word_ids"] is None and options["word_starts"] is None
        if no_words and self.spec.whole_word_mask and self.spec.continuation_ids is None:
            raise ValueError("word_ids: whole_word_mask requires this column or word_starts, or a spec with continuation_ids.")
        if extra.token_rates:
            check_by_token(self.spec)
        count = len(rows) if isinstance(rows, list) else len(rows.starts)
        seed, epoch = seed_epoch
        out = _core.mask_tokens(
            rows,
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            layout=self._layout(),
            ignore_index=self.label_pad_token_id,
            pad_token_id=self.pad_token_id,
            name="input_ids",
            mlm_probability=per_row("mlm_probability", extra.rates.get("mlm_probability"), count, as_probability),
            token_probabilities=extra.token_rates.get("mlm_probability"),
            **options,
        )
        batch = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        return NoisedBatch(batch, out.keys[out.chosen > 0], out.chosen)  # other rows have no noise that could repeat

    def _remedy_for_no_label(self) -> str:
        assert self.spec is not None  # `__post_init__` sets it
        if self.spec.min_one:
            return "No token of these rows may be chosen: all are special, protected or outside of words. Remove such rows."
        return (
            "Tokens are chosen at random, and few or short rows may get no label. Set min_one=True: each row in which a token may be "
            "chosen then has a label."
        )
