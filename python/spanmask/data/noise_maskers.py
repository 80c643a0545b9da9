"""`SpanCorrupter`, `TokenMasker`, `MiddleFiller`: rows of an Arrow table -> noised rows and their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from spanmask._short_repr import short_repr
from spanmask._validate import as_uint64, check_length
from spanmask.chat.completions import encode_texts
from spanmask.chat.conversation import entries
from spanmask.collators.columns import required_column
from spanmask.collators.masked_lm import DataCollatorForMaskedLM
from spanmask.collators.noise_base import given_options
from spanmask.collators.span_corruption import DataCollatorForSpanCorruption
from spanmask.data.operator import Operator, list_kind
from spanmask.noise.corrupt import corrupt
from spanmask.noise.fill_in_the_middle import FillInTheMiddle, fill_in_the_middle
from spanmask.noise.masked_lm import MaskedLM, mask_tokens
from spanmask.noise.spec import CorruptionSpec
from spanmask.ragged import Ragged, column_of_flags

__all__ = ["MiddleFiller", "NoiseOperator", "SpanCorrupter", "TokenMasker"]

FLAGS = ("protected_mask", "special_tokens_mask")


@dataclass(eq=False, repr=False)
class NoiseOperator(Operator):
    """Draws noise for the rows of a table. Noise is a pure function of (seed, epoch, key of the row): any partitioning gives the same.

    Subclasses make the spec, after `_check_options`.
    """

    tokenizer: Any
    _: KW_ONLY
    seed: int = 0
    epoch: int = 0
    key_column: str | None = None
    max_length: int | None = None
    columns: InitVar[Mapping[str, str] | None] = None
    keep_columns: InitVar[Iterable[str] | None] = None
    spec: Any = None

    read: ClassVar[tuple[str, ...]] = ()
    """Columns that are arguments of the function of the same names, where the table has them."""
    noise: ClassVar[Callable[..., Any]]
    """The function that draws noise and writes rows."""

    def _check_options(self, columns: Mapping[str, str] | None, keep_columns: Iterable[str] | None) -> None:
        super().__init__(columns, keep_columns)
        self.seed, self.epoch = as_uint64("seed", self.seed), as_uint64("epoch", self.epoch)
        self.max_length = check_length("max_length", self.max_length)

    def _made(self, types: Mapping[str, Any]) -> dict[str, Any]:
        kind = list_kind(types.get("input_ids"), "int32")
        return {"input_ids": kind, "labels": kind}

    def _make(
        self, columns: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], npt.NDArray[np.int64] | None]:
        if "input_ids" not in columns and "text" not in columns:
            raise ValueError(f"input_ids, text: no such column; the table has {', '.join(map(repr, columns))}.")
        given = columns["input_ids"] if "input_ids" in columns else encode_texts(self.tokenizer, entries(columns, "text"))
        rows = Ragged.from_rows(given, "input_ids")
        if "attention_mask" in columns and (Ragged.from_rows(columns["attention_mask"], "attention_mask").values == 0).any():
            raise ValueError(
                "attention_mask: the rows have padding; pass rows without padding, which is added when batches are made."
            )
        options: dict[str, Any] = {name: columns[name] for name in self.read if name in columns}
        flags = [column_of_flags(columns[name], name) for name in FLAGS if name in columns]
        if flags:
            options["protected_mask"] = Ragged(np.logical_or.reduce([column.values for column in flags]), flags[0].offsets)
        if self.max_length is not None:
            rows = first_tokens(rows, self.max_length)
            for name in ("protected_mask", "word_ids", "word_starts"):
                if name in options:
                    options[name] = [row[: self.max_length] for row in entries(options, name)]
        if self.key_column is not None:
            options["keys"] = required_column(columns, "key_column", self.key_column)
        out = type(self).noise(rows, self.spec, seed=self.seed, epoch=self.epoch, **options)
        return {name: (made.values, made.offsets) for name, made in (("input_ids", out.input_ids), ("labels", out.labels))}, None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_repr(self.spec)}, seed={self.seed}, epoch={self.epoch})"


def first_tokens(rows: Ragged, count: int) -> Ragged:
    """The first `count` tokens of each row."""
    starts, stops = rows.bounds()
    lengths = np.minimum(stops - starts, count)
    places = np.arange(len(rows.values)) - np.repeat(starts, stops - starts)
    return Ragged(rows.values[places < count], np.append(0, np.cumsum(lengths)))


@dataclass(kw_only=True, eq=False, repr=False)
class SpanCorrupter(NoiseOperator):
    """Hides spans of rows (T5, UL2), as `DataCollatorForSpanCorruption` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`. Columns that are read where present:
         `protected_mask`, `special_tokens_mask`, `word_ids`, `word_starts`, `noise_density`, `mean_noise_span_length`.
    Out: the same kind, with `input_ids` and `labels` as lists of int32 (large lists where `input_ids` is one), without padding. Other
         columns stay as they are.

    Args:
        tokenizer: supplies sentinels and EOS, and tokenizes `text`.
        spec: a `SpanCorruption` or `DenoiserMixture` instead of the next two options.
        noise_density: fraction of tokens that is hidden, .15 by default.
        mean_noise_span_length: tokens in a hidden span, on average; 3 by default.
        seed, epoch: 0 to 2**64 - 1. Each epoch of a data set needs a pass of its own.
        key_column: the column that identifies an example; by default its content does.
        max_length: rows are truncated to this many tokens before noise is drawn.
        columns: the names of columns that are read, where the table has other names: `{"input_ids": "tokens"}`.
        keep_columns: names of the table's columns to pass on; by default all of them.

    Raises:
        SentinelError: the tokenizer has no sentinels, or too few for a row.
        ValueError, TypeError: an option or a row that cannot be used; the message names it.
    """

    read = ("word_ids", "word_starts", "noise_density", "mean_noise_span_length")
    noise = staticmethod(corrupt)

    spec: CorruptionSpec | None = None
    noise_density: InitVar[float | None] = None
    mean_noise_span_length: InitVar[float | None] = None

    def __post_init__(
        self,
        columns: Mapping[str, str] | None,
        keep_columns: Iterable[str] | None,
        noise_density: float | None,
        mean_noise_span_length: float | None,
    ) -> None:
        self._check_options(columns, keep_columns)
        self.spec = DataCollatorForSpanCorruption(
            self.tokenizer,
            spec=self.spec,
            noise_density=noise_density,
            mean_noise_span_length=mean_noise_span_length,
            return_tensors="np",
        ).spec


@dataclass(kw_only=True, eq=False, repr=False)
class TokenMasker(NoiseOperator):
    """Masks tokens of rows (BERT), as `DataCollatorForMaskedLM` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`. Columns that are read where present:
         `protected_mask`, `special_tokens_mask`, `word_ids`, `word_starts`, `mlm_probability`.
    Out: the same kind, with `input_ids` and `labels` (-100 where nothing was chosen) as lists of int32 (large lists where `input_ids` is
         one). Other columns stay as they are.

    Args:
        tokenizer: supplies mask token, special tokens and vocabulary, and tokenizes `text`.
        spec: a `MaskedLM` instead of the next two options.
        mlm_probability: each unprotected token (or word) is chosen with this probability; .15 by default.
        whole_word_mask: words are chosen whole.
        seed, epoch, key_column, max_length, columns, keep_columns: as in `SpanCorrupter`.

    Raises:
        ValueError, TypeError: an option or a row that cannot be used; the message names it.
    """

    read = ("word_ids", "word_starts", "mlm_probability")
    noise = staticmethod(mask_tokens)

    spec: MaskedLM | None = None
    mlm_probability: InitVar[float | None] = None
    whole_word_mask: InitVar[bool | None] = None

    def __post_init__(
        self,
        columns: Mapping[str, str] | None,
        keep_columns: Iterable[str] | None,
        mlm_probability: float | None,
        whole_word_mask: bool | None,
    ) -> None:
        self._check_options(columns, keep_columns)
        self.spec = DataCollatorForMaskedLM(
            self.tokenizer,
            spec=self.spec,
            mlm_probability=mlm_probability,
            whole_word_mask=whole_word_mask,
            return_tensors="np",
        ).spec


@dataclass(kw_only=True, eq=False, repr=False)
class MiddleFiller(NoiseOperator):
    """Moves the middle of documents to their end, as `DataCollatorForFillInTheMiddle` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`; `rate` is read where present.
    Out: the same kind, with `input_ids` and `labels` as lists of int32 (large lists where `input_ids` is one). Other columns stay.

    Args:
        tokenizer: supplies the tokens for prefix, middle and suffix, and tokenizes `text`.
        spec: a `FillInTheMiddle` instead of the next two options.
        rate, spm_rate: as in `FillInTheMiddle`; .5 each by default.
        seed, epoch, key_column, max_length, columns, keep_columns: as in `SpanCorrupter`.

    Raises:
        SentinelError: the tokenizer lacks the tokens, or a row holds one already.
        ValueError, TypeError: an option or a row that cannot be used; the message names it.
    """

    read = ("rate",)
    noise = staticmethod(fill_in_the_middle)

    spec: FillInTheMiddle | None = None
    rate: InitVar[float | None] = None
    spm_rate: InitVar[float | None] = None

    def __post_init__(
        self,
        columns: Mapping[str, str] | None,
        keep_columns: Iterable[str] | None,
        rate: float | None,
        spm_rate: float | None,
    ) -> None:
        self._check_options(columns, keep_columns)
        given = given_options(self.spec, {"rate": rate, "spm_rate": spm_rate})
        if self.spec is None:
            self.spec = FillInTheMiddle.from_tokenizer(self.tokenizer, **given)
