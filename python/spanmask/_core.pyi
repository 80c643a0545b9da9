"""The Rust core. Arrays of ids are 1-D, contiguous, uint16, uint32, int32 or int64; `starts` and `stops` bound their rows."""

from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

_Ids: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Float32: TypeAlias = npt.NDArray[np.float32]
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
    values: _Ids,
    starts: _Int64,
    stops: _Int64,
    spec: MaskSpec,
    source: tuple[int, int],
    given: _Given,
    layout: _Layout,
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
def pad(values: _Ids, starts: _Int64, stops: _Int64, layout: _Layout, padding: int) -> _Int64: ...
def pad_mask(starts: _Int64, stops: _Int64, layout: _Layout) -> _Int64: ...
def paint(len: int, starts: _Int64, stops: _Int64, numbers: _Int64) -> _Int64: ...
def plan_lengths(inputs_length: int, density: float, mean: float) -> tuple[int, int] | None: ...
def positions(starts: _Int64, stops: _Int64, layout: _Layout) -> tuple[_Int64, npt.NDArray[np.int32]]: ...
