"""The Rust core. Arrays of ids are contiguous, uint16, uint32, int32 or int64; rows are in a 2-D array, or in a 1-D array with bounds."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, final

import numpy as np
import numpy.typing as npt
from typing_extensions import disjoint_base

from spanmask.chat.boundary import Parts
from spanmask.ragged import Column, Ragged
from spanmask.turns import Turns

_Ids: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Bool: TypeAlias = npt.NDArray[np.bool_]
_Uint8: TypeAlias = npt.NDArray[np.uint8]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Uint64: TypeAlias = npt.NDArray[np.uint64]
# Rows in one array: a 2-D array, or values with bounds. The values of a `Column` may be 2-D: its rows are then parts of the array's rows.
_Column: TypeAlias = Column | Ragged | _Ids

__version__: str

@final
class Format:
    def __new__(cls, parts: Parts, *, roles: Sequence[str]) -> Format: ...

@final
class LabelBatch:
    """A batch, ready for a model. Arrays are [rows, width], or [1, tokens] where rows are packed."""

    @property
    def input_ids(self) -> _Int64: ...
    @property
    def attention_mask(self) -> _Int64 | None: ...
    @property
    def labels(self) -> _Int64: ...
    @property
    def weights(self) -> _Float32 | None: ...
    @property
    def position_ids(self) -> _Int64 | None: ...
    @property
    def seq_idx(self) -> _Int32 | None: ...
    @property
    def cu_seq_lens(self) -> _Int32 | None: ...
    @property
    def max_length(self) -> int: ...
    @property
    def columns(self) -> list[_Int64]: ...

@final
class LabelCounts:
    @property
    def rows(self) -> int: ...
    @property
    def tokens(self) -> int: ...
    @property
    def trained_tokens(self) -> int: ...
    @property
    def truncated_turns(self) -> int: ...
    @property
    def unclosed_regions(self) -> int: ...
    @property
    def unclosed_row(self) -> int | None: ...
    @property
    def untrained_rows(self) -> int: ...
    @property
    def outcomes(self) -> list[int]: ...
    @property
    def turns(self) -> list[int]: ...

@final
class LabelPlan:
    @property
    def counts(self) -> LabelCounts: ...
    @property
    def outcomes(self) -> _Uint8: ...
    def row_ends(self, row: int, most: int) -> tuple[list[int], list[int]]: ...
    @property
    def row_roles(self) -> list[list[int]] | None: ...
    @property
    def row_open(self) -> list[bool] | None: ...
    def write(
        self, layout: Layout, *, padding: int, kept: Sequence[int] | None = None, columns: Sequence[_Ids] = ...
    ) -> LabelBatch: ...

@final
class Layout:
    @staticmethod
    def packed(max_length: int | None = None) -> Layout: ...
    @staticmethod
    def padded(padding_side: str, max_length: int | None = None, pad_to_multiple_of: int | None = None) -> Layout: ...

@final
class MaskedRows:
    @property
    def labels(self) -> _Int64: ...
    @property
    def weights(self) -> _Float32 | None: ...
    @property
    def outcomes(self) -> _Uint8: ...
    @property
    def counts(self) -> LabelCounts: ...

@final
class Matches:
    @property
    def positions(self) -> _Int64: ...
    @property
    def sequences(self) -> _Int64: ...

@final
class Policy:
    def __new__(
        cls,
        *,
        reasoning: str,
        role_weights: Sequence[float | None],
        prompt_weight: float,
        turns: str,
        train_on_eos: str,
        include_start: bool,
        train_generation_prefill: bool,
        truncated_turn: str,
        on_no_trained_turn: str,
        ignore_ids: Sequence[int],
        ignore_sequences: Any,
        ignore_between: Any,
        train_between_markers: bool,
        shift: str,
    ) -> Policy: ...

@final
class RaggedArrays:
    @property
    def values(self) -> _Ids: ...
    @property
    def offsets(self) -> _Int64: ...

@final
class RowBounds:
    @property
    def starts(self) -> _Int64: ...
    @property
    def stops(self) -> _Int64: ...

@final
class TurnColumns:
    @property
    def row(self) -> _Int64: ...
    @property
    def role(self) -> _Int64: ...
    @property
    def start(self) -> _Int64: ...
    @property
    def content_start(self) -> _Int64: ...
    @property
    def content_stop(self) -> _Int64: ...
    @property
    def stop(self) -> _Int64: ...
    @property
    def closed(self) -> _Bool: ...
    @property
    def prefill_stop(self) -> _Int64: ...
    @property
    def reasoning_stop(self) -> _Int64: ...
    @property
    def empty_reasoning(self) -> _Bool: ...
    @property
    def stop_token(self) -> _Bool: ...
    @property
    def include_start(self) -> _Bool: ...
    @property
    def include_end(self) -> _Bool: ...

def add_shared(counters: _Int64, amounts: Sequence[int]) -> list[int]: ...
def find_all(values: _Ids, sequences: Sequence[Sequence[int]]) -> Matches: ...
def find_turns(rows: _Column, format: Format) -> TurnColumns: ...
def from_arrays(rows: list[Any]) -> RaggedArrays | None: ...
def from_lists(rows: list[Any], name: str, word_ids: bool = False) -> RaggedArrays: ...
def mask_bounds(mask: _Column) -> RowBounds: ...
def mask_labels(
    rows: _Column,
    *,
    turns: Format | Turns,
    policy: Policy,
    labels: _Column | None,
    turn_mask: _Column | None,
    turn_weights: _Column | None,
    ignore_index: int,
    weighted: bool,
    num_threads: int,
    layout: Layout | None = None,
) -> MaskedRows: ...
def pad(rows: _Column, layout: Layout, padding: float) -> npt.NDArray[Any]: ...
def panic(text: str) -> None: ...
def paint(len: int, starts: _Int64, stops: _Int64, numbers: _Int64) -> _Int64: ...
def plan_labels(
    rows: Any,
    *,
    turns: Format | Turns,
    policy: Policy,
    attention_mask: Any,
    labels: Any,
    turn_mask: _Column | None,
    turn_weights: _Column | None,
    ignore_index: int,
    weighted: bool,
    max_length: int | None,
    skip_first: bool,
    uncut_ids: Sequence[int],
    with_roles: bool,
    name: str,
) -> LabelPlan: ...

@disjoint_base
class SeqToSeqBatch:
    """Rows of inputs and labels: ragged (values and offsets), or padded ([rows, width])."""

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
    def sources(self) -> _Int64 | None: ...

@final
class CorruptedBatch(SeqToSeqBatch):
    """Corrupted rows."""

    @property
    def stats(self) -> RowStats: ...

@final
class DiffusionSpec:
    def __new__(
        cls, *, mask_token_id: int, eps: float, protected_ids: Sequence[int], antithetic: bool, by_row: bool
    ) -> DiffusionSpec: ...

@final
class DiffusedBatch:
    """Rows with masks: concatenated, or [rows, width]."""

    @property
    def input_ids(self) -> _Int64: ...
    @property
    def labels(self) -> _Int64: ...
    @property
    def loss_weights(self) -> _Float32: ...
    @property
    def attention_mask(self) -> _Int64 | None: ...
    @property
    def keys(self) -> _Uint64: ...
    @property
    def mask_ratio(self) -> _Float64: ...
    @property
    def eligible(self) -> _Int64: ...
    @property
    def masked(self) -> _Int64: ...

@final
class InfillSpec:
    def __new__(
        cls,
        *,
        mask_token_id: int,
        vocab_size: int,
        mask_ratio: float,
        span_weights: Sequence[float],
        replace: str,
        random_ratio: float,
        permute_sentence_ratio: float,
        sentence_end_ids: Sequence[int],
        protected_ids: Sequence[int],
        unused_ids: Sequence[int],
        continuation_ids: Sequence[int] | None,
        word_end_ids: Sequence[int] | None,
    ) -> InfillSpec: ...

@final
class InfilledBatch(SeqToSeqBatch):
    """Infilled rows. The counts have an entry for each row."""

    @property
    def keys(self) -> _Uint64: ...
    @property
    def hidden(self) -> _Int64: ...
    @property
    def spans(self) -> _Int64: ...
    @property
    def inserted(self) -> _Int64: ...
    @property
    def moved(self) -> _Int64: ...

@final
class FimBatch:
    """Rows with documents transformed: concatenated, or [rows, width]."""

    @property
    def input_ids(self) -> _Int64: ...
    @property
    def labels(self) -> _Int64: ...
    @property
    def offsets(self) -> _Int64: ...
    @property
    def attention_mask(self) -> _Int64 | None: ...
    @property
    def keys(self) -> _Uint64: ...
    @property
    def documents(self) -> _Int64: ...
    @property
    def labelled(self) -> _Int64: ...
    @property
    def sources(self) -> _Int64 | None: ...
    @property
    def splits(self) -> FimSplits: ...

@final
class FimSpec:
    def __new__(
        cls,
        *,
        prefix_id: int,
        middle_id: int,
        suffix_id: int,
        eot_id: int | None,
        boundary_ids: Sequence[int],
        allow_sentinels: bool,
        rate: float,
        spm_rate: float,
        spm_format: str,
        level: str,
        length: str,
        loss: str,
    ) -> FimSpec: ...

@final
class FimSplits:
    """How documents were transformed: one entry for each, and the bounds of each row's entries."""

    @property
    def offsets(self) -> _Int64: ...
    @property
    def documents(self) -> _Int64: ...
    @property
    def first(self) -> _Int64: ...
    @property
    def second(self) -> _Int64: ...
    @property
    def spm(self) -> _Bool: ...

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
        unused_ids: Sequence[int],
        continuation_ids: Sequence[int] | None,
        word_end_ids: Sequence[int] | None,
        min_one: bool,
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
        bos_token_ids: Sequence[int],
        final_sentinel: bool,
        layout: str,
        on_exhausted: str,
        protected_ids: Sequence[int],
    ) -> SpanSpec: ...
    def plan_lengths(
        self, inputs_length: int, targets_length: int | None = None, max_tokens: int | None = None
    ) -> list[tuple[int, int, int] | None]: ...

class _Splits(Protocol):
    """What `fill_in_the_middle` reads of a `Splits`."""

    @property
    def offsets(self) -> _Int64: ...
    @property
    def documents(self) -> _Int64: ...
    @property
    def first(self) -> _Int64: ...
    @property
    def second(self) -> _Int64: ...
    @property
    def spm(self) -> _Bool: ...

@final
class RealRows:
    @property
    def values(self) -> _Ids: ...
    @property
    def offsets(self) -> _Int64: ...
    @property
    def starts(self) -> _Int64: ...
    @property
    def stops(self) -> _Int64: ...
    @property
    def word_ids(self) -> _Int64 | None: ...

# Rows in one array, or an array for each row (contiguous, all of one dtype).
_Rows: TypeAlias = _Column | list[_Ids]

def corrupt(
    rows: _Rows,
    spec: SpanSpec,
    *,
    seed: int,
    epoch: int,
    keys: _Uint64 | list[str] | None = None,
    noise_density: _Float64 | None = None,
    mean_noise_span_length: _Float64 | None = None,
    noise_mask: _Column | None = None,
    protected_mask: _Column | None = None,
    word_starts: _Column | None = None,
    word_ids: _Column | None = None,
    layout: SeqToSeqLayout | None = None,
    with_sources: bool = False,
    name: str = "rows",
    num_threads: int = 1,
) -> CorruptedBatch: ...
def diffuse(
    rows: _Rows,
    spec: DiffusionSpec,
    *,
    seed: int,
    epoch: int,
    ignore_index: int,
    layout: Layout | None = None,
    keys: _Uint64 | list[str] | None = None,
    mask_ratio: _Float64 | None = None,
    protected_mask: _Column | None = None,
    labels: _Column | None = None,
    loss_weights: _Column | None = None,
    fill: int | None = None,
    pad_token_id: int = 0,
    name: str = "rows",
    num_threads: int = 1,
) -> DiffusedBatch: ...
def infill(
    rows: _Rows,
    spec: InfillSpec,
    *,
    seed: int,
    epoch: int,
    keys: _Uint64 | list[str] | None = None,
    mask_ratio: _Float64 | None = None,
    protected_mask: _Column | None = None,
    word_starts: _Column | None = None,
    word_ids: _Column | None = None,
    sentence_starts: _Column | None = None,
    max_inputs: int | None = None,
    layout: SeqToSeqLayout | None = None,
    with_sources: bool = False,
    name: str = "rows",
    num_threads: int = 1,
) -> InfilledBatch: ...
def fill_in_the_middle(
    rows: _Rows,
    spec: FimSpec,
    *,
    seed: int,
    epoch: int,
    ignore_index: int,
    layout: Layout | None = None,
    keys: _Uint64 | list[str] | None = None,
    rate: _Float64 | None = None,
    splits: _Splits | None = None,
    max_length: int | None = None,
    pad_token_id: int = 0,
    with_sources: bool = False,
    name: str = "rows",
    num_threads: int = 1,
) -> FimBatch: ...
def mask_tokens(
    rows: _Rows,
    spec: MaskSpec,
    *,
    seed: int,
    epoch: int,
    ignore_index: int,
    layout: Layout | None = None,
    keys: _Uint64 | list[str] | None = None,
    mlm_probability: _Float64 | None = None,
    token_probabilities: _Column | None = None,
    protected_mask: _Column | None = None,
    word_starts: _Column | None = None,
    word_ids: _Column | None = None,
    pad_token_id: int = 0,
    name: str = "rows",
    num_threads: int = 1,
) -> MaskedBatch: ...
def merge(input_ids: _Column, labels: _Column, spec: SpanSpec) -> MergedRows: ...
def merge_documents(input_ids: _Column, spec: FimSpec) -> MergedRows: ...
def noise_mask(
    rows: _Rows,
    spec: SpanSpec,
    *,
    seed: int,
    epoch: int,
    keys: _Uint64 | list[str] | None = None,
    noise_density: _Float64 | None = None,
    mean_noise_span_length: _Float64 | None = None,
    noise_mask: _Column | None = None,
    protected_mask: _Column | None = None,
    word_starts: _Column | None = None,
    word_ids: _Column | None = None,
    name: str = "rows",
    num_threads: int = 1,
) -> _Bool: ...
def simd_level() -> str: ...
def plan_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int] | None: ...
def take(rows: _Column, sources: _Int64, padding: float) -> npt.NDArray[Any]: ...
def read_rows(rows: Any, *, attention_mask: Any, word_ids: Any, name: str) -> RealRows: ...
