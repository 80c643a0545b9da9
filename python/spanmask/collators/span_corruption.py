"""`DataCollatorForSpanCorruption`: rows of token ids -> padded batches for an encoder-decoder that denoises."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from spanmask import _core
from spanmask._validate import as_token_id, check_choice, check_length, check_side
from spanmask.batch import ReturnTensors, columns_of, pad_token_id, real_tokens, stack_columns, to_tensors, token_column
from spanmask.noise.clock import Clocked, OnRepeat
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.row_options import row_options
from spanmask.noise.spec import CorruptionSpec, SpanCorruption, check_spec
from spanmask.ragged import Column, Ragged

__all__ = ["DataCollatorForSpanCorruption"]


class DataCollatorForSpanCorruption(Clocked):
    """Hide spans of each row; the decoder must produce them.

    In:  dicts with `input_ids` (integers, any length, with or without EOS). Read where present: `attention_mask` (nonzero for
         real tokens), `key_column`. An Arrow table with these columns, too.
    Out: `input_ids`, `attention_mask` int64 [B, longest input]; `labels` int64 [B, longest target], padded with -100; with
         `decoder_start_token_id`, `decoder_input_ids`: the labels one place later. With `inputs_length`: always of the same two
         lengths.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: sentinels, EOS and pad token.
        noise_density, mean_noise_span_length: as in `SpanCorruption`.
        spec: a `SpanCorruption` or `DenoiserMixture` instead.
        seed: 0 to 2**64 - 1. `None`: torch's own, fresh for every pass over a loader; `torch.manual_seed` repeats a run.
        epoch: the epoch to begin with; `set_epoch` moves it.
        key_column: the column that names an example (integers or strings); by default its content does.
        inputs_length: fixed length: rows are cut so that inputs fit, and all batches are [B, inputs_length] and
            [B, targets_length].
        targets_length: with `inputs_length`; by default what `plan_lengths` gives.
        decoder_start_token_id: adds `decoder_input_ids`, for losses that are computed outside of the model.
        pad_to_multiple_of: widths are rounded up to it.
        padding_side: of the inputs; labels are padded on the right.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_repeat: `"warn"` when masks repeat: a second pass for the same seed and epoch. `"ignore"` for evaluation.
        **options: more of `SpanCorruption`: `layout`, `final_sentinel`, `on_exhausted`, `on_sentinel`, `protected_ids`,
            `sentinel_ids`.

    Raises:
        SentinelError: a row needs more sentinels than the spec has, or holds one already.
        ValueError: an option or a row that cannot be used; the message names it.

    Source: Raffel et al. 2020, section 3.3.4.
    """

    def __init__(
        self,
        tokenizer: Any,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        spec: CorruptionSpec | None = None,
        seed: int | None = None,
        epoch: int = 0,
        key_column: str | None = None,
        inputs_length: int | None = None,
        targets_length: int | None = None,
        decoder_start_token_id: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str = "right",
        return_tensors: ReturnTensors = "pt",
        keep_columns: Iterable[str] = (),
        on_repeat: OnRepeat = "warn",
        **options: Any,
    ) -> None:
        super().__init__(seed, epoch, on_repeat)
        if spec is None:
            spec = SpanCorruption.from_tokenizer(
                tokenizer, noise_density=noise_density, mean_noise_span_length=mean_noise_span_length, **options
            )
        elif options:
            raise TypeError(f"{next(iter(options))}: goes into the spec that you gave.")
        check_spec(spec)
        self.spec: CorruptionSpec = spec.for_tokenizer(tokenizer) if isinstance(spec, DenoiserMixture) else spec
        self.key_column = key_column
        self.inputs_length = check_length("inputs_length", inputs_length)
        self.targets_length = check_length("targets_length", targets_length)
        if self.targets_length is not None and self.inputs_length is None:
            raise ValueError("targets_length: goes with inputs_length.")
        if self.inputs_length is not None:
            planned = self.spec.plan_lengths(self.inputs_length)[1]
            self.targets_length = self.targets_length or planned
        if decoder_start_token_id is not None:
            decoder_start_token_id = as_token_id("decoder_start_token_id", decoder_start_token_id)
        self.decoder_start_token_id = decoder_start_token_id
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", pad_to_multiple_of)
        self.padding_side = check_side(padding_side)
        check_choice("return_tensors", return_tensors, ReturnTensors)
        self.return_tensors = return_tensors
        self.keep_columns = tuple(keep_columns)
        self.pad_token_id = pad_token_id(tokenizer)

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """One batch; see the class."""
        columns = columns_of(features)
        count = len(token_column(columns))
        layout = _core.SeqToSeqLayout(
            padding_side=self.padding_side,
            pad_token_id=self.pad_token_id,
            label_pad_token_id=-100,
            pad_to_multiple_of=self.pad_to_multiple_of,
            input_width=self.inputs_length,
            label_width=self.targets_length,
            decoder_start_token_id=self.decoder_start_token_id,
        )
        options = row_options(count, keys=key_column(columns, self.key_column))
        seed, epoch = self.clock.source()

        def corrupt(rows: Any) -> _core.CorruptedBatch:
            return _core.corrupt(rows, self.spec._compiled, seed=seed, epoch=epoch, layout=layout, name="input_ids", **options)

        out = draw(columns, corrupt)
        stats = out.stats
        self.clock.watch((seed, epoch), stats.keys[stats.denoisers >= 0])  # rows that nothing was drawn for do not repeat
        batch: dict[str, Any] = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        if self.decoder_start_token_id is not None:
            batch["decoder_input_ids"] = out.decoder_input_ids
        batch.update(stack_columns(columns, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)


def draw(columns: Mapping[str, Any], call: Callable[[Any], Any]) -> Any:
    """What `call` makes of the rows: arrays are read where they lie, anything else goes through `Ragged`."""
    column, mask = columns["input_ids"], columns.get("attention_mask")
    if mask is None and isinstance(column, list) and isinstance(column[0], np.ndarray):
        try:
            return call(column)
        except TypeError:  # not all of one token type, contiguous and 1-D: below it is copied, or the error named
            pass
    rows = Ragged.from_rows(column, "input_ids")
    return call(Column(rows.values, *real_tokens(rows, mask)))


def key_column(columns: Mapping[str, Any], name: str | None) -> Any:
    """The column of keys, where one was named."""
    if name is None:
        return None
    if name not in columns:
        raise ValueError(f"key_column: no column {name!r}; the examples have {', '.join(map(repr, columns))}.")
    return columns[name]
