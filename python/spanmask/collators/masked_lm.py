"""`DataCollatorForMaskedLM`: rows of token ids -> padded batches whose chosen tokens are masked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spanmask import _core
from spanmask._validate import check_choice, check_length, check_side
from spanmask.batch import (
    ReturnTensors,
    columns_of,
    pad_token_id,
    padded_layout,
    real_tokens,
    stack_columns,
    to_tensors,
    token_column,
)
from spanmask.collators.span_corruption import key_column as key_column_of
from spanmask.noise.clock import Clocked, OnRepeat
from spanmask.noise.masked_lm import MaskedLM
from spanmask.noise.row_options import row_options
from spanmask.ragged import Column, Ragged, has_bools

__all__ = ["DataCollatorForMaskedLM"]


class DataCollatorForMaskedLM(Clocked):
    """Mask tokens of each row; the model must say what they were.

    In:  dicts with `input_ids` (integers, any length). Read where present: `attention_mask` (nonzero for real tokens),
         `special_tokens_mask` (nonzero: never chosen), `words` (see `mask_tokens`), `key_column`.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], labels -100 where nothing was chosen.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch size, order, number of workers and ranks.

    Args:
        tokenizer: a transformers tokenizer: mask token, special tokens, vocabulary, pad token.
        mlm_probability: each unprotected token (or word) is chosen with this probability.
        whole_word_mask: words are chosen whole: those of the column `words`, or where the vocabulary begins them.
        spec: a `MaskedLM` instead.
        seed, epoch, key_column, on_repeat: as in `DataCollatorForSpanCorruption`.
        max_length: rows keep this many tokens. Masks are made before the cut.
        pad_to_multiple_of: the batch's width is rounded up to it.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        **options: more of `MaskedLM`: `mask_replace_prob`, `random_replace_prob`, `mode`, `span_length_p`,
            `max_span_length`, `special_ids`.

    Raises:
        ValueError: an option or a row that cannot be used; the message names it.

    Source: Devlin et al. 2019, section 3.1.
    """

    def __init__(
        self,
        tokenizer: Any,
        mlm_probability: float = 0.15,
        whole_word_mask: bool = False,
        spec: MaskedLM | None = None,
        seed: int | None = None,
        epoch: int = 0,
        key_column: str | None = None,
        max_length: int | None = None,
        pad_to_multiple_of: int | None = None,
        padding_side: str | None = None,
        return_tensors: ReturnTensors = "pt",
        keep_columns: Iterable[str] = (),
        on_repeat: OnRepeat = "warn",
        **options: Any,
    ) -> None:
        super().__init__(seed, epoch, on_repeat)
        if spec is None:
            spec = MaskedLM.from_tokenizer(tokenizer, mlm_probability=mlm_probability, whole_word_mask=whole_word_mask, **options)
        elif options:
            raise TypeError(f"{next(iter(options))}: goes into the spec that you gave.")
        if not isinstance(spec, MaskedLM):
            raise TypeError(f"spec: expected MaskedLM, got {type(spec).__name__}.")
        self.spec = spec
        self.key_column = key_column
        self.max_length = check_length("max_length", max_length)
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", pad_to_multiple_of)
        self.padding_side = check_side(padding_side or getattr(tokenizer, "padding_side", "right"))
        check_choice("return_tensors", return_tensors, ReturnTensors)
        self.return_tensors = return_tensors
        self.keep_columns = tuple(keep_columns)
        self.pad_token_id = pad_token_id(tokenizer)

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """One batch; see the class."""
        columns = columns_of(features)
        rows = Ragged.from_rows(token_column(columns), "input_ids")
        bounds = real_tokens(rows, columns.get("attention_mask"))
        words = columns.get("words")
        if words is None and self.spec.whole_word_mask and self.spec.continuation_ids is None:
            raise ValueError("words: whole_word_mask needs this column, or a spec with continuation_ids.")
        flags = words is not None and has_bools(words)
        options = row_options(
            len(rows),
            keys=key_column_of(columns, self.key_column),
            protected_mask=columns.get("special_tokens_mask"),
            word_ids=None if flags else words,
            word_starts=words if flags else None,
            aligned=(rows, bounds),
        )
        layout = padded_layout(bounds, self.padding_side, self.max_length, self.pad_to_multiple_of)
        seed, epoch = self.clock.source()
        out = _core.mask_tokens(
            Column(rows.values, *bounds),
            self.spec._compiled,
            seed=seed,
            epoch=epoch,
            layout=layout,
            ignore_index=-100,
            pad_token_id=self.pad_token_id,
            name="input_ids",
            **options,
        )
        self.clock.watch((seed, epoch), out.keys)
        batch: dict[str, Any] = {"input_ids": out.input_ids, "attention_mask": out.attention_mask, "labels": out.labels}
        batch.update(stack_columns(columns, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)
