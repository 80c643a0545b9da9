"""`SpanCorrupter`, `TokenMasker`, `MiddleFiller`: rows of an Arrow table -> noised rows and their targets."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import KW_ONLY, InitVar, dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from spanmask._short_repr import short_repr
from spanmask._validate import as_uint64, check_length, check_name
from spanmask.chat.completions import encode_texts
from spanmask.chat.conversation import entries
from spanmask.collators.columns import required_column
from spanmask.collators.noise_base import given_options
from spanmask.collators.unread_columns import check_unread, is_type_of_numbers
from spanmask.data.operator import Operator, entry_kind, list_kind
from spanmask.noise.corrupt import corrupt
from spanmask.noise.fill_in_the_middle import FillInTheMiddle, fill_in_the_middle
from spanmask.noise.masked_lm import MaskedLM, mask_tokens
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.row_options import column_of_probabilities, is_by_token
from spanmask.noise.spec import CorruptionSpec, SpanCorruption, check_spec
from spanmask.ragged import Ragged, check_aligned
from spanmask.token_columns import column_of_flags, word_rows

__all__ = ["MiddleFiller", "NoiseOperator", "SpanCorrupter", "TokenMasker"]

FLAGS = ("protected_mask", "special_tokens_mask")
# What reads each argument with an entry for each token.
COLUMNS: Mapping[str, Callable[[Any, str], Ragged]] = {
    "protected_mask": column_of_flags,
    "word_ids": word_rows,
    "word_starts": column_of_flags,
    "mlm_probability": column_of_probabilities,
}


def same_names(*names: str) -> Mapping[str, str]:
    """Columns that are called as the arguments are."""
    return MappingProxyType({name: name for name in names})


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

    read: ClassVar[Mapping[str, str]] = {}
    """Columns that are arguments of the function `noise`, where the table has them, and what the function calls each."""
    token_columns: ClassVar[tuple[str, ...]] = (*FLAGS, "word_ids", "word_starts")
    """Columns with an entry for each token that noise depends on."""
    moves_tokens: ClassVar[bool] = True
    """Rows do not keep their length, so that what belongs to each of their tokens is out of place afterwards."""
    noise: ClassVar[Callable[..., Any]]
    """The function that draws noise and writes rows."""

    def _check_options(self, columns: Mapping[str, str] | None, keep_columns: Iterable[str] | None) -> None:
        super().__init__(columns, keep_columns)
        self.seed, self.epoch = as_uint64("seed", self.seed), as_uint64("epoch", self.epoch)
        self.max_length = check_length("max_length", self.max_length)
        check_name("key_column", self.key_column)

    def _made(self, types: Mapping[str, Any]) -> dict[str, Any]:
        known = {"input_ids", "text", "attention_mask", "token_type_ids", "special_tokens_mask", self.key_column}
        rates = [] if isinstance(self.spec, DenoiserMixture) else [name for name in self.read if name not in self.token_columns]
        check_unread(types, known.union(self.token_columns, self.read), rates, is_type_of_numbers, "operator")
        kind = list_kind(types.get("input_ids"), "int32")
        made = {"input_ids": kind, "labels": kind}
        if "attention_mask" in types and self._changes_lengths:
            made["attention_mask"] = list_kind(types.get("input_ids"), entry_kind(types["attention_mask"], "attention_mask"))
        return made

    @property
    def _changes_lengths(self) -> bool:
        return self.moves_tokens or self.max_length is not None

    def _left_out(self) -> Collection[str]:
        return ("token_type_ids", *FLAGS, "word_ids", "word_starts") if self._changes_lengths else ()

    def _make(
        self, columns: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[npt.NDArray[Any], npt.NDArray[np.int64]]], npt.NDArray[np.int64] | None]:
        if "input_ids" not in columns and "text" not in columns:
            raise ValueError(f"input_ids, text: no such column; the table has {', '.join(map(repr, columns))}.")
        given = columns["input_ids"] if "input_ids" in columns else encode_texts(self.tokenizer, entries(columns, "text"))
        rows = Ragged.from_rows(given, "input_ids")
        if "attention_mask" in columns:
            mask = column_of_flags(columns["attention_mask"], "attention_mask")
            check_aligned(mask, rows, "attention_mask")
            if not mask.values.all():
                raise ValueError(
                    "attention_mask: the rows have padding; pass rows without padding, which is added when batches are made."
                )
        options = self._options(columns, rows)
        if self.key_column is not None:
            options["keys"] = required_column(columns, "key_column", self.key_column)
        if self.max_length is not None:
            rows, options = self._cut(rows, options, self.max_length)
        out = type(self).noise(rows, self.spec, seed=self.seed, epoch=self.epoch, **options)
        made = {name: (made.values, made.offsets) for name, made in (("input_ids", out.input_ids), ("labels", out.labels))}
        if "attention_mask" in columns and self._changes_lengths:
            made["attention_mask"] = np.ones(len(out.input_ids.values), np.int8), out.input_ids.offsets
        return made, None

    def _options(self, columns: Mapping[str, Any], rows: Ragged) -> dict[str, Any]:
        """The columns that noise depends on, as arguments of `noise`.

        Raises:
            ValueError: a column with an entry for each token is not aligned with the rows.
            TypeError: a column has the wrong type.
        """
        options: dict[str, Any] = {argument: columns[name] for name, argument in self.read.items() if name in columns}
        flags = {name: column_of_flags(columns[name], name) for name in FLAGS if name in columns and name in self.token_columns}
        for name, column in flags.items():
            check_aligned(column, rows, name)
        if flags:
            options["protected_mask"] = Ragged(np.logical_or.reduce([column.values for column in flags.values()]), rows.offsets)
        return options

    def _cut(self, rows: Ragged, options: dict[str, Any], count: int) -> tuple[Ragged, dict[str, Any]]:
        """The first `count` tokens of each row, and of the columns with an entry for each token."""
        cut = dict(options)
        for name in ("protected_mask", "word_ids", "word_starts", "mlm_probability"):
            if name not in options or (name == "mlm_probability" and not is_by_token(options[name])):
                continue
            column = COLUMNS[name](options[name], name)
            check_aligned(column, rows, name)
            cut[name] = first_tokens(column, count)
        return first_tokens(rows, count), cut

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short_repr(self.spec)}, seed={self.seed}, epoch={self.epoch})"


def first_tokens(rows: Ragged, count: int) -> Ragged:
    """The first `count` tokens of each row."""
    starts, stops = rows.bounds()
    lengths = np.minimum(stops - starts, count)
    places = np.arange(len(rows.values)) - np.repeat(starts, stops - starts)
    return Ragged._unchecked(rows.values[places < count], np.append(0, np.cumsum(lengths)))


@dataclass(kw_only=True, eq=False, repr=False)
class SpanCorrupter(NoiseOperator):
    """Hides spans of rows (T5, UL2), as `DataCollatorForSpanCorruption` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`. Columns that are read where present:
         `protected_mask`, `special_tokens_mask`, `word_ids`, `word_starts`, `noise_density`, `mean_noise_span_length`.
    Out: the same kind, with `input_ids` and `labels` as lists of int32 (large lists where `input_ids` is one), without padding; with an
         `attention_mask` of ones if the table has one. Other columns stay as they are, but those with an entry for each token of the old
         rows (`token_type_ids`, `special_tokens_mask`, `protected_mask`, `word_ids`, `word_starts`) are left out, unless `keep_columns`
         names them.

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
        ValueError, TypeError: an option or a row that cannot be used; the message names it. A column of numbers is one if it is meant for
            noise, but not read under its name, such as `mlm_probability`.
    """

    read = same_names("word_ids", "word_starts", "noise_density", "mean_noise_span_length")
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
        given = given_options(self.spec, {"noise_density": noise_density, "mean_noise_span_length": mean_noise_span_length})
        if self.spec is None:
            self.spec = SpanCorruption.from_tokenizer(self.tokenizer, **given)
        check_spec(self.spec)
        if isinstance(self.spec, DenoiserMixture):
            self.spec = self.spec.for_tokenizer(self.tokenizer)


@dataclass(kw_only=True, eq=False, repr=False)
class TokenMasker(NoiseOperator):
    """Masks tokens of rows (BERT), as `DataCollatorForMaskedLM` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`. Columns that are read where present:
         `protected_mask`, `special_tokens_mask`, `word_ids`, `word_starts`, `mlm_probability`.
    Out: the same kind, with `input_ids` and `labels` (-100 where nothing was chosen) as lists of int32 (large lists where `input_ids` is
         one). Other columns stay as they are; with `max_length`, those with an entry for each token as in `SpanCorrupter`.

    Args:
        tokenizer: supplies mask token, special tokens and vocabulary, and tokenizes `text`.
        spec: a `MaskedLM` instead of the next two options.
        mlm_probability: each unprotected token (or word) is chosen with this probability; .15 by default.
        whole_word_mask: words are chosen whole.
        seed, epoch, key_column, max_length, columns, keep_columns: as in `SpanCorrupter`.

    Raises:
        ValueError, TypeError: an option or a row that cannot be used; the message names it.
    """

    read = same_names("word_ids", "word_starts", "mlm_probability")
    moves_tokens = False
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
        given = given_options(self.spec, {"mlm_probability": mlm_probability, "whole_word_mask": whole_word_mask})
        if self.spec is None:
            self.spec = MaskedLM.from_tokenizer(self.tokenizer, **given)
        elif not isinstance(self.spec, MaskedLM):
            raise TypeError(f"spec: expected MaskedLM, got {type(self.spec).__name__}.")


@dataclass(kw_only=True, eq=False, repr=False)
class MiddleFiller(NoiseOperator):
    """Moves the middle of documents to their end, as `DataCollatorForFillInTheMiddle` does, in Arrow tables.

    In:  a `pyarrow.Table` or `RecordBatch` with `input_ids` (a list of integers a row) or `text`; `fim_rate`, one number for each row, is
         read where present.
    Out: the same kind, with `input_ids` and `labels` as lists of int32 (large lists where `input_ids` is one). Other columns as in
         `SpanCorrupter`.

    Args:
        tokenizer: supplies the tokens for prefix, middle and suffix, and tokenizes `text`.
        spec: a `FillInTheMiddle` instead of the next two options.
        rate, spm_rate: as in `FillInTheMiddle`; .5 each by default.
        max_length: no row becomes longer, as in `DataCollatorForFillInTheMiddle`.
        seed, epoch, key_column, columns, keep_columns: as in `SpanCorrupter`.

    Raises:
        SentinelError: the tokenizer lacks the tokens, or a row holds one already.
        ValueError, TypeError: an option or a row that cannot be used; the message names it.
    """

    read = MappingProxyType({"fim_rate": "rate"})
    token_columns = ()
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

    def _cut(self, rows: Ragged, options: dict[str, Any], count: int) -> tuple[Ragged, dict[str, Any]]:
        return rows, {**options, "max_length": count}  # the added ids count too
