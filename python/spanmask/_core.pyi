"""The Rust core. Arrays of ids are 1-D, contiguous, uint16, uint32, int32 or int64; `starts` and `stops` bound their rows."""

from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

from spanmask.chat.boundary import RoleBoundary
from spanmask.ragged import Column
from spanmask.turns import Turns

_Ids: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Bool: TypeAlias = npt.NDArray[np.bool_]
_Uint8: TypeAlias = npt.NDArray[np.uint8]

@final
class Format:
    def __new__(
        cls,
        boundaries: Sequence[RoleBoundary],
        *,
        roles: Sequence[str],
        stop_token_ids: Sequence[int],
        generation_prefills: Sequence[Sequence[int]],
    ) -> Format: ...

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
    def row(self, row: int) -> list[int]: ...
    def row_roles(self) -> list[list[int]]: ...
    def write(
        self, layout: Layout, *, padding: int, kept: Sequence[int] | None = None, columns: Sequence[_Ids] = ...
    ) -> LabelBatch: ...

@final
class Layout:
    @staticmethod
    def in_place(width: int) -> Layout: ...
    @staticmethod
    def packed(max_length: int | None = None) -> Layout: ...
    @staticmethod
    def padded(padding_side: str, max_length: int | None = None, pad_to_multiple_of: int | None = None) -> Layout: ...

@final
class MaskSpec:
    def __new__(
        cls,
        *,
        probability: float,
        mask_replace_prob: float,
        random_replace_prob: float,
        mask_id: int,
        vocab_size: int,
        span_weights: Sequence[float],
        protected_ids: Sequence[int],
        continuation_ids: Sequence[int] | None,
    ) -> MaskSpec: ...

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
class SpanSpec:
    def __new__(
        cls,
        *,
        denoisers: Sequence[tuple[str, float, float, int | None, bool]],
        weights: Sequence[float],
        sentinel_ids: Sequence[int],
        allow_sentinels: bool,
        eos: int | None,
        final_sentinel: bool,
        layout: str,
        on_exhausted: str,
        protected_ids: Sequence[int],
    ) -> SpanSpec: ...
    def plan_lengths(self, inputs_length: int) -> list[tuple[int, int, int] | None]: ...

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
    def stop_token(self) -> _Bool: ...
    @property
    def include_start(self) -> _Bool: ...
    @property
    def include_end(self) -> _Bool: ...

def find_all(values: _Ids, sequences: Sequence[Sequence[int]]) -> Matches: ...
def find_turns(rows: Column, format: Format) -> TurnColumns: ...
def from_arrays(rows: list[Any]) -> RaggedArrays | None: ...
def from_lists(rows: list[Any], name: str) -> RaggedArrays: ...
def mask_bounds(mask: Column) -> RowBounds: ...
def mask_labels(
    rows: Column,
    *,
    turns: Format | Turns,
    policy: Policy,
    layout: Layout,
    labels: Column | None,
    turn_mask: Column | None,
    turn_weights: Column | None,
    ignore_index: int,
    weighted: bool,
    num_threads: int,
) -> MaskedRows: ...
def pad(rows: Column, layout: Layout, padding: int) -> _Int64: ...
def pad_mask(starts: _Int64, stops: _Int64, layout: Layout) -> _Int64: ...
def paint(len: int, starts: _Int64, stops: _Int64, numbers: _Int64) -> _Int64: ...
def plan_labels(
    rows: Any,
    *,
    turns: Format | Turns,
    policy: Policy,
    attention_mask: Any,
    labels: Any,
    turn_mask: Column | None,
    turn_weights: Column | None,
    ignore_index: int,
    weighted: bool,
    max_length: int | None,
    skip_first: bool,
    uncut_ids: Sequence[int],
    name: str,
) -> LabelPlan: ...

# What may go beside rows, and how outputs are padded: dicts whose keys are fields of `Given` and `Padded` in noise.rs.
# Values, starts and stops, or an array a row.
_Rows: TypeAlias = tuple[_Ids, _Int64, _Int64] | list[_Ids]
_Given: TypeAlias = dict[str, Any]
_Padded: TypeAlias = dict[str, Any]
_Uint64: TypeAlias = npt.NDArray[np.uint64]

def corrupt(
    rows: _Rows,
    spec: SpanSpec,
    source: tuple[int, int],
    given: _Given,
    padded: _Padded | None,
    name: str,
    num_threads: int,
) -> tuple[tuple[_Int64, _Int64, _Int64, _Int64, _Int64, _Int64], _Uint64, tuple[_Int64, _Int64, _Int64, _Int64]]: ...
def mask_tokens(
    values: _Ids,
    starts: _Int64,
    stops: _Int64,
    spec: MaskSpec,
    source: tuple[int, int],
    given: _Given,
    layout: Layout,
    padding: int,
    ignore_index: int,
    name: str,
    num_threads: int,
) -> tuple[_Int64, _Int64, _Uint64, _Int64]: ...
def merge(inputs: tuple[_Int64, _Int64], labels: tuple[_Int64, _Int64], spec: SpanSpec) -> tuple[_Int64, _Int64]: ...
def name_keys(names: Sequence[str]) -> _Uint64: ...
def noise_mask(
    rows: _Rows,
    spec: SpanSpec,
    source: tuple[int, int],
    given: _Given,
    name: str,
    num_threads: int,
) -> _Bool: ...
def plan_lengths(inputs_length: int, density: float, mean: float) -> tuple[int, int] | None: ...
