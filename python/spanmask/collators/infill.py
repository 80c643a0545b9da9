"""`DataCollatorForTextInfilling`: rows of token ids -> padded batches for an encoder-decoder that learns to restore whole rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

import numpy as np

from spanmask import _core
from spanmask._validate import as_fraction, as_token_id
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, NoisedBatch, given_options, protects_spec
from spanmask.noise.infill import ReplaceLength, TextInfilling, check_units
from spanmask.noise.rates import Rate, rates_at, take_moving_rates
from spanmask.noise.row_options import RowOptions, per_row
from spanmask.noise.spec import FromTokenizer

__all__ = ["DataCollatorForTextInfilling"]


@protects_spec
@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForTextInfilling(NoiseCollator):
    """Replaces spans of each row by one mask each, for BART-style training: the decoder must produce the whole row.

    In:  dicts with `input_ids` (integers, any length) with the special tokens that the model expects. Columns that are read where
         present, each with an entry for each token: `attention_mask` (nonzero for real tokens), `protected_mask` and
         `special_tokens_mask` (nonzero: never hidden), `word_ids` (numbers; None or negative: not a word) or `word_starts` (flags): words
         are then hidden whole; `sentence_starts` (nonzero: begins a sentence), instead of `sentence_end_ids`. One number for each row:
         `mask_ratio`, which replaces the spec's. An Arrow table or a dict with these columns is also accepted.
    Out: `input_ids`, `attention_mask` int64 [B, longest input]; `labels` int64 [B, longest row]: the rows, padded with
         `label_pad_token_id`; with `decoder_start_token_id` also `decoder_input_ids`, the labels shifted by one place. transformers'
         `BartForConditionalGeneration` makes them from the labels itself. `token_type_ids` if the examples have it, and `token_columns`:
         laid out as `input_ids` are.

    With a seed, noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: mask token, special tokens, vocabulary, pad token, padding side.
        mask_ratio: the fraction of the tokens (or words) that is hidden, from 0 to 1; .3 by default. Or a function of (step, epoch) that
            returns it, such as `LinearRate`; it can also be given next to `spec`.
        poisson_lambda: mean length of the spans, from .1 to 100; 3.5 by default.
        replace_length, random_ratio, permute_sentence_ratio, sentence_end_ids, whole_word_mask, continuation_ids, word_end_ids,
            mask_token_id, vocab_size, special_ids, unused_ids: see `TextInfilling`; by default what `TextInfilling.from_tokenizer`
            chooses. All options up to here are those of the spec: read and change them there
            (`collator.spec = replace(collator.spec, ...)`).
        spec: a `TextInfilling` instead of the options above. The attribute `spec` always holds the spec in use.
        decoder_start_token_id: adds `decoder_input_ids`, for losses that are computed outside of the model.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        step: the first step, for rates that are functions of it; `set_step` changes it.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process only knows what it drew itself: workers that end with their pass cannot see a repeat.
        key_column: the column that identifies an example (integers or strings). By default its content does, so equal rows in one
            epoch get the same noise.
        max_length: rows are truncated to this many tokens before noise is drawn. Inserted masks that would make inputs longer than that,
            the last ones of a row, are left out.
        pad_to_multiple_of: both widths are rounded up to a multiple of it.
        padding_side: of the inputs, `"right"` or `"left"`; the tokenizer's own by default. Labels are padded on the right.
        label_pad_token_id: pads `labels`; -100 carries no loss.
        keep_columns: further columns to stack into the batch, one value of a fixed shape for each row.
        token_columns: further columns with a number for each token, laid out as `input_ids` are and padded with 0: integers become int64,
            floats float32, bools stay bools. A mask has the value of the first token that it hides, an inserted one that of the token after
            it (at the end of a row, before it). `token_type_ids` need not be named; its padding is the tokenizer's `pad_token_type_id`. All
            other columns are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option, a row or a column that cannot be used; the message names it. A column of numbers is one if it is meant
            for noise, but not read under its name, such as `mlm_probability`.

    Source: Lewis et al. 2020, section 2.2.

    Example:
        `collator = DataCollatorForTextInfilling(tokenizer, mask_ratio=.3, poisson_lambda=3.5, permute_sentence_ratio=1.0, seed=42)`
    """

    mask_ratio: InitVar[float | Rate | None] = None
    poisson_lambda: InitVar[float | None] = None
    replace_length: InitVar[ReplaceLength | None] = None
    random_ratio: InitVar[float | None] = None
    permute_sentence_ratio: InitVar[float | None] = None
    sentence_end_ids: InitVar[Iterable[int] | None] = None
    whole_word_mask: InitVar[bool | None] = None
    continuation_ids: InitVar[Iterable[int] | FromTokenizer | None] = "tokenizer"
    word_end_ids: InitVar[Iterable[int] | None] = None
    mask_token_id: InitVar[int | None] = None
    vocab_size: InitVar[int | None] = None
    special_ids: InitVar[Iterable[int] | None] = None
    unused_ids: InitVar[Iterable[int] | None] = None
    spec: TextInfilling | None = None
    decoder_start_token_id: int | None = None

    encoder_decoder: ClassVar[bool] = True
    rate_columns: ClassVar[tuple[str, ...]] = ("mask_ratio",)
    flag_columns: ClassVar[tuple[str, ...]] = ("sentence_starts",)

    def __post_init__(
        self,
        mask_ratio: float | Rate | None,
        poisson_lambda: float | None,
        replace_length: ReplaceLength | None,
        random_ratio: float | None,
        permute_sentence_ratio: float | None,
        sentence_end_ids: Iterable[int] | None,
        whole_word_mask: bool | None,
        continuation_ids: Iterable[int] | FromTokenizer | None,
        word_end_ids: Iterable[int] | None,
        mask_token_id: int | None,
        vocab_size: int | None,
        special_ids: Iterable[int] | None,
        unused_ids: Iterable[int] | None,
    ) -> None:
        options = {
            "mask_ratio": mask_ratio,
            "poisson_lambda": poisson_lambda,
            "replace_length": replace_length,
            "random_ratio": random_ratio,
            "permute_sentence_ratio": permute_sentence_ratio,
            "sentence_end_ids": sentence_end_ids,
            "whole_word_mask": whole_word_mask,
            "continuation_ids": continuation_ids,
            "word_end_ids": word_end_ids,
            "mask_token_id": mask_token_id,
            "vocab_size": vocab_size,
            "special_ids": special_ids,
            "unused_ids": unused_ids,
        }
        self.moving_rates = take_moving_rates(options)
        given = given_options(self.spec, options)
        if self.spec is None:
            given.update(rates_at(self.moving_rates, 0, 0))
            self.spec = TextInfilling.from_tokenizer(self.tokenizer, **given)
        elif not isinstance(self.spec, TextInfilling):
            raise TypeError(f"spec: expected TextInfilling, got {type(self.spec).__name__}.")
        if self.decoder_start_token_id is not None:
            self.decoder_start_token_id = as_token_id("decoder_start_token_id", self.decoder_start_token_id)
        self._check_options()

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        assert self.spec is not None  # `__post_init__` sets it
        words = options["word_ids"] is not None or options["word_starts"] is not None
        sentence_starts = extra.flags.get("sentence_starts")
        check_units(self.spec, words=words, sentences=sentence_starts is not None)
        count = len(rows) if isinstance(rows, list) else len(rows.starts)
        seed, epoch = seed_epoch
        out = _core.infill(
            rows,
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            mask_ratio=per_row("mask_ratio", extra.rates.get("mask_ratio"), count, as_fraction),
            sentence_starts=sentence_starts,
            max_inputs=self.max_length,
            layout=_core.SeqToSeqLayout(
                padding_side=str(self.padding_side),
                pad_token_id=self.pad_token_id,
                label_pad_token_id=self.label_pad_token_id,
                pad_to_multiple_of=self.pad_to_multiple_of,
                decoder_start_token_id=self.decoder_start_token_id,
            ),
            with_sources=bool(extra.names),
            name="input_ids",
            **options,
        )
        batch = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        if out.decoder_input_ids is not None:
            batch["decoder_input_ids"] = out.decoder_input_ids
        keys = out.keys[out.hidden + out.inserted + out.moved > 0]  # the other rows have no noise that could repeat
        return NoisedBatch(batch, keys, np.diff(out.label_offsets), out.sources)

    def _remedy_for_no_label(self) -> str:
        return "All of its rows are empty. Remove such rows."
