"""`DataCollatorForSpanCorruption`: rows of token ids -> padded batches for an encoder-decoder that learns to denoise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import as_density, as_span_length, as_token_id, check_length
from spanmask.batch import real_tokens
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, refuse_with_spec
from spanmask.noise.arguments import given, per_row
from spanmask.noise.corrupt import check_spec
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.spec import Marks as CorruptionSpec
from spanmask.noise.spec import OnExhausted, OnSentinel, SpanCorruption, SpanLayout
from spanmask.ragged import Bounds, Ragged

__all__ = ["DataCollatorForSpanCorruption"]


@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForSpanCorruption(NoiseCollator):
    """Corrupts spans of each row for T5-style denoising: the decoder must produce the tokens that are hidden.

    In:  dicts with `input_ids` (integers, any length, with or without EOS). Columns that are read where present, each with an entry
         for each token: `attention_mask` (nonzero for real tokens), `protected_mask` and `special_tokens_mask` (nonzero: never
         hidden), `word_ids` (numbers; None or negative: not a word) or `word_starts` (flags): spans then cover whole words.
         With a number for each row: `noise_density`, `mean_noise_span_length`, instead of the spec's. An Arrow table or a dict with
         these columns is accepted, too.
    Out: `input_ids`, `attention_mask` int64 [B, longest input]; `labels` int64 [B, longest target], padded with
         `label_pad_token_id`; with `decoder_start_token_id` also `decoder_input_ids`, the labels shifted by one place. With
         `inputs_length` every batch has the same two widths.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: sentinels, EOS, pad token, padding side.
        noise_density: fraction of tokens that is hidden, strictly between 0 and 1; .15 by default.
        mean_noise_span_length: tokens in a hidden span, on average; at least 1, 3 by default.
        sentinel_ids, eos_token_id, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: see `SpanCorruption`;
            by default what `SpanCorruption.from_tokenizer` chooses.
        spec: a `SpanCorruption` or a `DenoiserMixture` instead of the options above. The attribute `spec` always holds the spec in use.
        inputs_length: fixes both widths: rows are cut so that their inputs fit, and every batch is [B, inputs_length] and
            [B, targets_length].
        targets_length: requires `inputs_length`; by default what `plan_lengths` gives.
        decoder_start_token_id: adds `decoder_input_ids`, for losses that are computed outside of the model.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        on_repeat: with a seed, what happens once when a pass repeats the noise of the one before it: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process knows only what it drew itself: workers that end with their pass see no repeat.
        key_column: the column that names an example (integers or strings). By default its content does, so equal rows of one epoch
            share their noise.
        max_length: rows are cut to this many tokens before noise is drawn.
        pad_to_multiple_of: both widths are rounded up to a multiple of it.
        padding_side: of the inputs, `"right"` or `"left"`; the tokenizer's own by default. Labels are padded on the right.
        label_pad_token_id: pads `labels`; -100 carries no loss.
        keep_columns: further columns to stack into the batch; all others are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        SentinelError: a row needs more sentinels than the spec has, or holds one already.
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option or a row that cannot be used; the message names it.

    Source: Raffel et al. 2020, section 3.3.4.

    Example:
        `collator = DataCollatorForSpanCorruption(tokenizer, noise_density=.15, mean_noise_span_length=3.0, seed=42)`
    """

    noise_density: InitVar[float | None] = None
    mean_noise_span_length: InitVar[float | None] = None
    sentinel_ids: InitVar[Iterable[int] | None] = None
    eos_token_id: InitVar[int | None] = None
    layout: InitVar[SpanLayout | None] = None
    final_sentinel: InitVar[bool | None] = None
    on_exhausted: InitVar[OnExhausted | None] = None
    on_sentinel: InitVar[OnSentinel | None] = None
    protected_ids: InitVar[Iterable[int] | None] = None
    spec: CorruptionSpec | None = None
    inputs_length: int | None = None
    targets_length: int | None = None
    decoder_start_token_id: int | None = None

    rate_columns: ClassVar[tuple[str, ...]] = ("noise_density", "mean_noise_span_length")

    def __post_init__(
        self,
        noise_density: float | None,
        mean_noise_span_length: float | None,
        sentinel_ids: Iterable[int] | None,
        eos_token_id: int | None,
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
            "layout": layout,
            "final_sentinel": final_sentinel,
            "on_exhausted": on_exhausted,
            "on_sentinel": on_sentinel,
            "protected_ids": protected_ids,
        }
        if self.spec is None:
            set_options = {name: value for name, value in options.items() if value is not None}
            self.spec = SpanCorruption.from_tokenizer(self.tokenizer, **set_options)
        else:
            check_spec(self.spec)
            refuse_with_spec(**options)
        if isinstance(self.spec, DenoiserMixture):
            self.spec = self.spec.for_tokenizer(self.tokenizer)
        check_length("inputs_length", self.inputs_length)
        check_length("targets_length", self.targets_length)
        if self.targets_length is not None and self.inputs_length is None:
            raise ValueError("targets_length: requires inputs_length.")
        if self.inputs_length is not None:
            planned = self.spec.plan_lengths(self.inputs_length)[1]
            self.targets_length = self.targets_length or planned
        if self.decoder_start_token_id is not None:
            self.decoder_start_token_id = as_token_id("decoder_start_token_id", self.decoder_start_token_id)
        self._check_options()

    def _collate(self, columns: Mapping[str, Any], seed_epoch: tuple[int, int]) -> tuple[dict[str, Any], npt.NDArray[np.uint64]]:
        tokens, extra = columns["input_ids"], NoiseColumns(self, columns)
        if (
            isinstance(tokens, list)
            and isinstance(tokens[0], np.ndarray)
            and self.max_length is None
            and not extra.has_token_columns
        ):
            try:  # arrays are read where they are
                return self._corrupt(tokens, extra, seed_epoch)
            except (
                TypeError
            ):  # not all of one token type, contiguous and 1-D: they are copied below, or the error says what is wrong
                pass
        rows = Ragged.from_rows(tokens, "input_ids")
        starts, stops = real_tokens(rows, columns.get("attention_mask"))
        if self.max_length is not None:
            stops = np.minimum(stops, starts + self.max_length)
        extra.read_token_columns(rows)
        self._check_protectable(extra)
        return self._corrupt((rows.values, starts, stops), extra, seed_epoch, (rows, (starts, stops)))

    def _corrupt(
        self, rows: Any, extra: NoiseColumns, seed_epoch: tuple[int, int], aligned: tuple[Ragged, Bounds] | None = None
    ) -> tuple[dict[str, Any], npt.NDArray[np.uint64]]:
        """Call the core: the batch, and the keys of the rows that noise was drawn for.

        `rows`: a list of arrays, or values, starts and stops. `aligned`: the rows that columns are aligned with, and their tokens.
        """
        assert self.spec is not None  # __post_init__ made it
        limits = None if self.inputs_length is None or self.targets_length is None else (self.inputs_length, self.targets_length)
        count = len(rows) if aligned is None else len(aligned[0])
        densities, means = (extra.rates.get(name) for name in self.rate_columns)
        row_options = given(
            count,
            keys=extra.keys,
            densities=per_row("noise_density", densities, count, as_density),
            means=per_row("mean_noise_span_length", means, count, as_span_length),
            protected=extra.protected_mask,
            words=extra.word_ids if extra.word_starts is None else extra.word_starts,
            limits=limits,
            aligned=aligned,
        )
        padding_options = {
            "side": self.padding_side,
            "multiple_of": self.pad_to_multiple_of or 1,
            "widths": limits,
            "padding": self.pad_token_id,
            "ignore_index": self.label_pad_token_id,
            "decoder_start": self.decoder_start_token_id,
        }
        outputs, keys, row_stats = _core.corrupt(rows, self.spec._core, seed_epoch, row_options, padding_options, "input_ids", 1)
        input_ids, _, labels, _, attention_mask, decoder_input_ids = outputs
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if self.decoder_start_token_id is not None:
            batch["decoder_input_ids"] = decoder_input_ids
        batch = {name: array.reshape(count, -1) for name, array in batch.items()}
        return batch, keys[row_stats[0] >= 0]  # rows that nothing was drawn for repeat nothing

    def _check_protectable(self, extra: NoiseColumns) -> None:
        if extra.protected_mask is None or not isinstance(self.spec, DenoiserMixture):
            return
        if not all(denoiser.sentinel for denoiser in self.spec.denoisers):
            raise ValueError(
                "protected_mask: a prefix without a sentinel cannot leave tokens out; give that denoiser a sentinel, or remove the "
                "columns protected_mask and special_tokens_mask."
            )
