"""The Rust core. Arrays of ids are 1-D, contiguous, uint16, uint32, int32 or int64; `starts` and `stops` bound their rows."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, final

import numpy as np
import numpy.typing as npt

from spanmask.ragged import Column

_Ids: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Uint64: TypeAlias = npt.NDArray[np.uint64]
_Bool: TypeAlias = npt.NDArray[np.bool_]
# (kind, width, max_len): kind "packed", "left", "right" or "in_place".
_Layout: TypeAlias = tuple[str, int, int | None]

@final
class Format:
    def __new__(
        cls,
        boundaries: Sequence[tuple[int, Sequence[Sequence[int]], Sequence[Sequence[int]], bool, bool]],
        stop_token_ids: Sequence[int],
        generation_prefills: Sequence[Sequence[int]],
    ) -> Format: ...

@final
class CorruptedBatch:
    """Corrupted rows: ragged (values and offsets), or padded ([rows, width])."""

    @property
    def input_ids(self) -> _Int64: ...
    @property
    def input_offsets(self) -> _Int64: ...
    @property
    def labels(self) -> _Int64: ...
    @property
    def label_offsets(self) -> _Int64: ...
    @property
    def attention_mask(self) -> _Int64 | None: ...
    @property
    def decoder_input_ids(self) -> _Int64 | None: ...
    @property
    def stats(self) -> RowStats: ...

@final
class MaskSpec:
    def __new__(
        cls,
        *,
        mlm_probability: float,
        mask_replace_prob: float,
        random_replace_prob: float,
        mask_token_id: int,
        vocab_size: int,
        span_weights: Sequence[float],
        protected_ids: Sequence[int],
        continuation_ids: Sequence[int] | None,
    ) -> MaskSpec: ...

@final
class MaskedBatch:
    """Masked rows: concatenated, or [rows, width]."""

    @property
    def input_ids(self) -> _Int64: ...
    @property
    def labels(self) -> _Int64: ...
    @property
    def attention_mask(self) -> _Int64 | None: ...
    @property
    def keys(self) -> _Uint64: ...
    @property
    def chosen(self) -> _Int64: ...

@final
class MergedRows:
    @property
    def values(self) -> _Int64: ...
    @property
    def offsets(self) -> _Int64: ...

@final
class Policy:
    def __new__(
        cls,
        *,
        roles: Sequence[float | None],
        prompt_weight: float,
        turns: str,
        train_on_eos: str,
        include_start: bool,
        train_generation_prefill: bool,
        truncated_turn: str,
        on_no_trained_turn: str,
        ignore_ids: Sequence[int],
        ignore_sequences: Sequence[Sequence[int]],
        ignore_between: Sequence[tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]],
        train_markers: bool,
        shift: str,
    ) -> Policy: ...

@final
class RowStats:
    """What was done with each row: one entry for each. `denoisers` is -1 where the row was copied unchanged."""

    @property
    def keys(self) -> _Uint64: ...
    @property
    def denoisers(self) -> _Int64: ...
    @property
    def noise_tokens(self) -> _Int64: ...
    @property
    def spans(self) -> _Int64: ...
    @property
    def tokens(self) -> _Int64: ...

@final
class SeqToSeqLayout:
    """How inputs and labels are padded. Fixed widths truncate rows until both sides fit. Labels are padded on the right."""

    def __new__(
        cls,
        *,
        padding_side: str,
        pad_token_id: int,
        label_pad_token_id: int,
        pad_to_multiple_of: int | None = None,
        input_width: int | None = None,
        label_width: int | None = None,
        decoder_start_token_id: int | None = None,
    ) -> SeqToSeqLayout: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, Any]]: ...
    @property
    def padding_side(self) -> str: ...
    @property
    def pad_token_id(self) -> int: ...
    @property
    def label_pad_token_id(self) -> int: ...
    @property
    def pad_to_multiple_of(self) -> int | None: ...
    @property
    def input_width(self) -> int | None: ...
    @property
    def label_width(self) -> int | None: ...
    @property
    def decoder_start_token_id(self) -> int | None: ...

class _Denoiser(Protocol):
    """What `SpanSpec` reads of a `Denoiser`. `mode_token` must be an id or None."""

    @property
    def kind(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def noise_density(self) -> float: ...
    @property
    def mean_noise_span_length(self) -> float: ...
    @property
    def mode_token(self) -> int | str | None: ...
    @property
    def sentinel(self) -> bool: ...

@final
class SpanSpec:
    def __new__(
        cls,
        *,
        denoisers: Sequence[_Denoiser],
        weights: Sequence[float],
        sentinel_ids: Sequence[int],
        allow_sentinels: bool,
        eos_token_id: int | None,
        final_sentinel: bool,
        layout: str,
        on_exhausted: str,
        protected_ids: Sequence[int],
    ) -> SpanSpec: ...
    def plan_lengths(self, inputs_length: int) -> list[tuple[int, int, int] | None]: ...

# Rows in one array, or an array for each row (contiguous, all of one dtype).
_Rows: TypeAlias = Column | list[_Ids]

def corrupt(
    rows: _Rows,
    spec: SpanSpec,
    *,
    seed: int,
    epoch: int,
    keys: _Uint64 | None = None,
    noise_density: _Float64 | None = None,
    mean_noise_span_length: _Float64 | None = None,
    noise_mask: Column | None = None,
    protected_mask: Column | None = None,
    word_starts: Column | None = None,
    word_ids: Column | None = None,
    layout: SeqToSeqLayout | None = None,
    name: str = "rows",
    num_threads: int = 1,
) -> CorruptedBatch: ...
def find_all(values: _Ids, sequences: Sequence[Sequence[int]]) -> tuple[_Int64, _Int64]: ...
def find_turns(
    values: _Ids, starts: _Int64, stops: _Int64, format: Format
) -> tuple[tuple[_Int64, _Int64, _Int64, _Int64, _Int64, _Int64], _Bool]: ...
def from_arrays(rows: list[_Ids]) -> tuple[_Ids, _Int64] | None: ...
def from_lists(rows: list[Any], name: str) -> tuple[_Int64, _Int64]: ...
def mask_bounds(mask: _Ids, starts: _Int64, stops: _Int64) -> tuple[_Int64, _Int64]: ...
def mask_labels(
    values: _Ids,
    starts: _Int64,
    stops: _Int64,
    format: Format,
    policy: Policy,
    layout: _Layout,
    *,
    labels: tuple[_Int64, _Int64, _Int64] | None,
    turn_weights: tuple[_Float32, _Int64, _Int64] | None,
    ignore_index: int,
    weighted: bool,
    num_threads: int,
) -> tuple[_Int64, _Float32 | None, npt.NDArray[np.uint8], _Int64]: ...
def mask_tokens(
    rows: _Rows,
    spec: MaskSpec,
    *,
    seed: int,
    epoch: int,
    layout: _Layout,
    ignore_index: int,
    keys: _Uint64 | None = None,
    mlm_probability: _Float64 | None = None,
    protected_mask: Column | None = None,
    word_starts: Column | None = None,
    word_ids: Column | None = None,
    pad_token_id: int = 0,
    name: str = "rows",
    num_threads: int = 1,
) -> MaskedBatch: ...
def merge(input_ids: Column, labels: Column, spec: SpanSpec) -> MergedRows: ...
def name_keys(names: Sequence[str]) -> _Uint64: ...
def noise_mask(
    rows: _Rows,
    spec: SpanSpec,
    *,
    seed: int,
    epoch: int,
    keys: _Uint64 | None = None,
    noise_density: _Float64 | None = None,
    mean_noise_span_length: _Float64 | None = None,
    noise_mask: Column | None = None,
    protected_mask: Column | None = None,
    word_starts: Column | None = None,
    word_ids: Column | None = None,
    name: str = "rows",
    num_threads: int = 1,
) -> _Bool: ...
def pad(values: _Ids, starts: _Int64, stops: _Int64, layout: _Layout, padding: int) -> _Int64: ...
def pad_mask(starts: _Int64, stops: _Int64, layout: _Layout) -> _Int64: ...
def paint(len: int, starts: _Int64, stops: _Int64, numbers: _Int64) -> _Int64: ...
def plan_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int] | None: ...
def positions(starts: _Int64, stops: _Int64, layout: _Layout) -> tuple[_Int64, npt.NDArray[np.int32]]: ...
