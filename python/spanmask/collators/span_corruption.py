"""`DataCollatorForSpanCorruption`: rows of token ids -> padded batches for an encoder-decoder that learns to denoise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

from spanmask import _core
from spanmask._validate import as_density, as_span_length, as_token_id, check_length
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, NoisedBatch, given_options, protects_spec
from spanmask.noise.corrupt import check_protectable, check_rates, has_own_rates
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.rates import Rate, rates_at, take_moving_rates
from spanmask.noise.row_options import RowOptions, per_row
from spanmask.noise.spec import CorruptionSpec, FromTokenizer, OnExhausted, OnSentinel, SpanCorruption, SpanLayout, check_spec

__all__ = ["DataCollatorForSpanCorruption"]


@protects_spec
@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForSpanCorruption(NoiseCollator):
    """Corrupts spans of each row for T5-style denoising: the decoder must produce the tokens that are hidden.

    In:  dicts with `input_ids` (integers, any length, with or without EOS). Columns that are read where present, each with an entry
         for each token: `attention_mask` (nonzero for real tokens), `protected_mask` and `special_tokens_mask` (nonzero: never
         hidden), `word_ids` (numbers; None, NaN, null or negative: not a word) or `word_starts` (flags): spans then cover whole words;
         `token_type_ids`. One number for each row: `noise_density`, `mean_noise_span_length`, which replace the spec's (an error with a
         mixture, which has its own for each denoiser). An Arrow table or a dict with these columns is also accepted.
    Out: `input_ids`, `attention_mask` int64 [B, longest input]; `labels` int64 [B, longest target], padded with
         `label_pad_token_id`; with `decoder_start_token_id` also `decoder_input_ids`, the labels shifted by one place. With
         `inputs_length` every batch has the same two widths. `token_type_ids` if the examples have it, and `token_columns`: laid out
         as `input_ids` are.

    With a seed, noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: sentinels, EOS, pad token, padding side.
        noise_density: fraction of tokens that is hidden, strictly between 0 and 1; .15 by default.
        mean_noise_span_length: tokens in a hidden span, on average; at least 1, 3 by default. Both rates may also be functions of
            (step, epoch), such as `LinearRate`; these can be given next to `spec`.
        sentinel_ids, eos_token_id, bos_token_ids, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: see `SpanCorruption`;
            by default what `SpanCorruption.from_tokenizer` chooses. `layout="classic"` hides the end of every short row in every epoch:
            use `"uniform"` for rows of a sentence. All options up to here are those of the spec: read and change
            them there (`collator.spec = dataclasses.replace(collator.spec, ...)`).
        spec: a `SpanCorruption` or a `DenoiserMixture` instead of the options above. The attribute `spec` always holds the spec in use.
        inputs_length: fixes both widths: every batch is [B, inputs_length] and [B, targets_length]. Of a row that does not fit, a
            beginning is used: the longest that fits; where lengths depend on the draw (words, protected tokens, a prefix that ends
            anywhere), one that would not fit with one more token. A beginning that needs more sentinels than there are does not fit.
        targets_length: requires `inputs_length`; by default what `plan_lengths` returns.
        decoder_start_token_id: adds `decoder_input_ids`, for losses that are computed outside of the model.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        step: the first step, for rates that are functions of it; `set_step` changes it.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process only knows what it drew itself: workers that end with their pass cannot see a repeat.
        key_column: the column that identifies an example (integers or strings). By default its content does, so equal rows in one
            epoch get the same noise.
        max_length: rows are truncated to this many tokens (EOS counts) before noise is drawn. The default key is then that of the row as
            it was cut; inputs and labels end in EOS all the same.
        pad_to_multiple_of: both widths are rounded up to a multiple of it, unless `inputs_length` fixes them.
        padding_side: of the inputs, `"right"` or `"left"`; the tokenizer's own by default. Labels are padded on the right.
        label_pad_token_id: pads `labels`; -100 carries no loss.
        keep_columns: further columns to stack into the batch, one value of a fixed shape for each row.
        token_columns: further columns with a number for each token, laid out as `input_ids` are and padded with 0: integers become int64,
            floats float32, bools stay bools. A sentinel has the value of the first token that it hides, a mode token that of the row's
            first token, EOS that of the row's last token. `token_type_ids` need not be named; its padding is the tokenizer's
            `pad_token_type_id`. All other columns are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        SentinelError: a row needs more sentinels than the spec has, or holds one already; the planned rows need more than there are.
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option, a row or a column that cannot be used; the message names it. A column of numbers is one if it is meant
            for noise, but not read under its name, such as `mlm_probability`.

    Source: Raffel et al. 2020, section 3.3.4.

    Example:
        `collator = DataCollatorForSpanCorruption(tokenizer, noise_density=.15, mean_noise_span_length=3.0, seed=42)`
    """

    noise_density: InitVar[float | Rate | None] = None
    mean_noise_span_length: InitVar[float | Rate | None] = None
    sentinel_ids: InitVar[Iterable[int] | None] = None
    eos_token_id: InitVar[int | FromTokenizer | None] = "tokenizer"
    bos_token_ids: InitVar[Iterable[int] | None] = None
    layout: InitVar[SpanLayout | None] = None
    final_sentinel: InitVar[bool | None] = None
    on_exhausted: InitVar[OnExhausted | None] = None
    on_sentinel: InitVar[OnSentinel | None] = None
    protected_ids: InitVar[Iterable[int] | None] = None
    spec: CorruptionSpec | None = None
    inputs_length: int | None = None
    targets_length: int | None = None
    decoder_start_token_id: int | None = None

    encoder_decoder: ClassVar[bool] = True
    rate_columns: ClassVar[tuple[str, ...]] = ("noise_density", "mean_noise_span_length")

    def __post_init__(
        self,
        noise_density: float | Rate | None,
        mean_noise_span_length: float | Rate | None,
        sentinel_ids: Iterable[int] | None,
        eos_token_id: int | FromTokenizer | None,
        bos_token_ids: Iterable[int] | None,
        layout: SpanLayout | None,
        final_sentinel: bool | None,
        on_exhausted: OnExhausted | None,
        on_sentinel: OnSentinel | None,
        protected_ids: Iterable[int] | None,
    ) -> None:
        options = {
            "noise_density": noise_density,
            "mean_noise_span_length": mean_noise_span_length,
            "sentinel_ids": sentinel_ids,
            "eos_token_id": eos_token_id,
            "bos_token_ids": bos_token_ids,
            "layout": layout,
            "final_sentinel": final_sentinel,
            "on_exhausted": on_exhausted,
            "on_sentinel": on_sentinel,
            "protected_ids": protected_ids,
        }
        self.moving_rates = take_moving_rates(options)
        given = given_options(self.spec, options)
        if self.spec is None:
            given.update(rates_at(self.moving_rates, 0, 0))
            self.spec = SpanCorruption.from_tokenizer(self.tokenizer, **given)
        check_spec(self.spec)
        check_rates(self.spec, **self.moving_rates)
        if isinstance(self.spec, DenoiserMixture):
            self.spec = self.spec.for_tokenizer(self.tokenizer)
        check_length("inputs_length", self.inputs_length)
        check_length("targets_length", self.targets_length)
        if self.targets_length is not None and self.inputs_length is None:
            raise ValueError("targets_length: requires inputs_length.")
        if self.inputs_length is not None:
            self.inputs_length, self.targets_length = self.spec._widths(self.inputs_length, self.targets_length, self.max_length)
        if self.decoder_start_token_id is not None:
            self.decoder_start_token_id = as_token_id("decoder_start_token_id", self.decoder_start_token_id)
        self._check_options()

    def _rates_by_row(self) -> tuple[str, ...]:
        return () if self.spec is not None and has_own_rates(self.spec) else self.rate_columns

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        assert self.spec is not None  # `__post_init__` sets it
        if options["protected_mask"] is not None:
            check_protectable(self.spec)
        count = len(rows) if isinstance(rows, list) else len(rows.starts)
        densities, span_lengths = (extra.rates.get(name) for name in self.rate_columns)
        check_rates(self.spec, noise_density=densities, mean_noise_span_length=span_lengths)
        seed, epoch = seed_epoch
        out = _core.corrupt(
            rows,
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            noise_density=per_row("noise_density", densities, count, as_density),
            mean_noise_span_length=per_row("mean_noise_span_length", span_lengths, count, as_span_length),
            layout=_core.SeqToSeqLayout(
                padding_side=str(self.padding_side),
                pad_token_id=self.pad_token_id,
                label_pad_token_id=self.label_pad_token_id,
                pad_to_multiple_of=self.pad_to_multiple_of,
                input_width=self.inputs_length,
                label_width=self.targets_length,
                decoder_start_token_id=self.decoder_start_token_id,
            ),
            with_sources=bool(extra.names),
            name="input_ids",
            **options,
        )
        batch = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        if out.decoder_input_ids is not None:
            batch["decoder_input_ids"] = out.decoder_input_ids
        keys = out.stats.keys[out.stats.denoisers >= 0]  # the other rows have no noise that could repeat
        return NoisedBatch(batch, keys, out.stats.noise_tokens, out.sources)

    def _remedy_for_no_label(self) -> str:
        return (
            "A row is corrupted if at least two of its tokens (or words), EOS not counted, may be hidden. Remove such rows, or use larger "
            "batches."
        )
