"""`DataCollatorForFillInTheMiddle`: rows of token ids -> padded batches for a causal LM that learns to fill in the middle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import InitVar, dataclass
from typing import Any, ClassVar

from spanmask import _core
from spanmask._validate import as_fraction
from spanmask.collators.noise_base import NoiseCollator, NoiseColumns, NoisedBatch, given_options, protects_spec
from spanmask.noise.fill_in_the_middle import FillInTheMiddle, Level, Loss, RowLength
from spanmask.noise.middle_ids import SpmFormat
from spanmask.noise.rates import Rate, rates_at, take_moving_rates
from spanmask.noise.row_options import RowOptions, per_row
from spanmask.noise.spec import FromTokenizer, OnSentinel

__all__ = ["DataCollatorForFillInTheMiddle"]


@protects_spec
@dataclass(kw_only=True, eq=False, repr=False)
class DataCollatorForFillInTheMiddle(NoiseCollator):
    """Moves the middle of documents to their end: a causal LM learns to fill it in between what precedes and what follows it.

    In:  dicts with `input_ids` (integers, any length): one document, or several with BOS or EOS between them. Columns that are read
         where present: `attention_mask` (nonzero for real tokens), `token_type_ids`, and `fim_rate`, one number for each row, which
         replaces the spec's `rate`. An Arrow table or a dict with these columns is also accepted.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row]; labels are not shifted (models of transformers do that), and are
         `label_pad_token_id` at padding and, with `loss="middle"`, before the middle. `token_type_ids` if the examples have it, and
         `token_columns`: laid out as `input_ids` are.

    With a seed, noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: the tokens for prefix, middle and suffix, BOS and EOS, pad token, padding side.
        rate: the probability that a document is transformed, from 0 to 1; .5 by default. Or a function of (step, epoch) that returns
            it, such as `LinearRate`; it can also be given next to `spec`.
        spm_rate: the probability that the suffix of a transformed document comes first; .5 by default.
        prefix_id, middle_id, suffix_id, eot_id, boundary_ids, pad_id, spm_format, level, length, loss, on_sentinel: see
            `FillInTheMiddle`; by default what `FillInTheMiddle.from_tokenizer` chooses.
        spec: a `FillInTheMiddle` instead of the options above. The attribute `spec` always holds the spec in use.
        seed: 0 to 2**64 - 1. `None`: each call draws its seed from torch's random state (NumPy's where torch is not installed), so
            every pass has fresh noise, and `torch.manual_seed` repeats a run.
        epoch: the first epoch, 0 to 2**64 - 1; `set_epoch` changes it, in worker processes too.
        step: the first step, for rates that are functions of it; `set_step` changes it.
        on_repeat: with a seed, what to do the first time that a pass repeats the noise of the previous pass: `"warn"`, `"raise"` or
            `"ignore"` (for evaluation). Each process only knows what it drew itself: workers that end with their pass cannot see a repeat.
        key_column: the column that identifies an example (integers or strings). By default its content does, so equal rows in one
            epoch get the same noise.
        max_length: no row of a batch is longer. See `level` of `FillInTheMiddle`: with `"context"`, rows are cut before their documents
            are transformed, so that no middle is lost.
        pad_to_multiple_of: the width is rounded up to a multiple of it.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        label_pad_token_id: the label of padding and of tokens without loss.
        keep_columns: further columns to stack into the batch, one value of a fixed shape for each row.
        token_columns: further columns with a number for each token, laid out as `input_ids` are and padded with 0: integers become int64,
            floats float32, bools stay bools. An id that is added has the value of the token after it in the row, `eot_id` that of the
            document's last token. `token_type_ids` need not be named; its padding is the tokenizer's `pad_token_type_id`. All other
            columns are dropped.
        return_tensors: `"pt"` or `"np"`.

    Raises:
        SentinelError: the tokenizer has no tokens for prefix, middle and suffix, or a row contains one of them already.
        TypeError: `spec` together with an option that belongs in it.
        ValueError: an option, a row or a column that cannot be used; the message names it. A column of numbers is one if it is meant
            for noise, but not read, such as `word_ids`: cuts are anywhere between tokens.

    Source: Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle".

    Example:
        `collator = DataCollatorForFillInTheMiddle(tokenizer, rate=.9, level="context", max_length=2048, seed=42)`
    """

    rate: InitVar[float | Rate | None] = None
    spm_rate: InitVar[float | None] = None
    prefix_id: InitVar[int | None] = None
    middle_id: InitVar[int | None] = None
    suffix_id: InitVar[int | None] = None
    eot_id: InitVar[int | FromTokenizer | None] = "tokenizer"
    boundary_ids: InitVar[Iterable[int] | None] = None
    pad_id: InitVar[int | None] = None
    spm_format: InitVar[SpmFormat | None] = None
    level: InitVar[Level | None] = None
    length: InitVar[RowLength | None] = None
    loss: InitVar[Loss | None] = None
    on_sentinel: InitVar[OnSentinel | None] = None
    spec: FillInTheMiddle | None = None

    rate_columns: ClassVar[tuple[str, ...]] = ("fim_rate",)
    noise_columns: ClassVar[tuple[str, ...]] = ("special_tokens_mask",)  # tokenizers return it; no token is hidden here

    def __post_init__(
        self,
        rate: float | Rate | None,
        spm_rate: float | None,
        prefix_id: int | None,
        middle_id: int | None,
        suffix_id: int | None,
        eot_id: int | FromTokenizer | None,
        boundary_ids: Iterable[int] | None,
        pad_id: int | None,
        spm_format: SpmFormat | None,
        level: Level | None,
        length: RowLength | None,
        loss: Loss | None,
        on_sentinel: OnSentinel | None,
    ) -> None:
        options = {
            "rate": rate,
            "spm_rate": spm_rate,
            "prefix_id": prefix_id,
            "middle_id": middle_id,
            "suffix_id": suffix_id,
            "eot_id": eot_id,
            "boundary_ids": boundary_ids,
            "pad_id": pad_id,
            "spm_format": spm_format,
            "level": level,
            "length": length,
            "loss": loss,
            "on_sentinel": on_sentinel,
        }
        self.moving_rates = take_moving_rates(options)
        given = given_options(self.spec, options)
        if self.spec is None:
            given.update(rates_at(self.moving_rates, 0, 0))
            self.spec = FillInTheMiddle.from_tokenizer(self.tokenizer, **given)
        elif not isinstance(self.spec, FillInTheMiddle):
            raise TypeError(f"spec: expected FillInTheMiddle, got {type(self.spec).__name__}.")
        self._check_options()

    def _pad_id(self) -> int:
        assert self.spec is not None  # `__post_init__` sets it
        own = getattr(self.tokenizer, "pad_token_id", None)
        return self.spec.pad_id if own is None and self.spec.pad_id is not None else super()._pad_id()

    def _cut(self) -> int | None:
        return None  # the core cuts rows, before or after their documents are transformed

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        assert self.spec is not None
        count = len(rows) if isinstance(rows, list) else len(rows.starts)
        by_row = extra.rates.get("fim_rate")
        rate = per_row("rate", extra.rates.get("rate"), count, as_fraction)
        seed, epoch = seed_epoch
        out = _core.fill_in_the_middle(
            rows,
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            layout=self._layout(),
            ignore_index=self.label_pad_token_id,
            pad_token_id=self.pad_token_id,
            with_sources=bool(extra.names),
            name="input_ids",
            keys=options["keys"],
            rate=rate if by_row is None else per_row("fim_rate", by_row, count, as_fraction),
            max_length=self.max_length,
        )
        batch = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        return NoisedBatch(batch, out.keys[out.documents > 0], out.labelled, out.sources)

    def _remedy_for_no_label(self) -> str:
        return (
            'With loss="middle" a document whose middle is empty has labels only in its eot_id and in the EOS after it. End documents in '
            "EOS, set eot_id, or use larger batches."
        )
