"""The Rust core. Arrays of ids are 1-D, contiguous, uint16, uint32, int32 or int64; `starts` and `stops` bound their rows."""

from collections.abc import Sequence
from typing import Any, TypeAlias, final

import numpy as np
import numpy.typing as npt

_Ids: TypeAlias = npt.NDArray[Any]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Float32: TypeAlias = npt.NDArray[np.float32]
_Bool: TypeAlias = npt.NDArray[np.bool_]
# (kind, width, max_len): kind "touching", "left", "right" or "in_place".
_Layout: TypeAlias = tuple[str, int, int | None]

@final
class Format:
    def __new__(
        cls,
        boundaries: Sequence[tuple[int, Sequence[Sequence[int]], Sequence[Sequence[int]], bool, bool]],
        stop_ids: Sequence[int],
        generation_heads: Sequence[Sequence[int]],
    ) -> Format: ...

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
        train_generation_prompt: bool,
        open_turn: str,
        on_missing: str,
        ignore_ids: Sequence[int],
        ignore_sequences: Sequence[Sequence[int]],
        ignore_between: Sequence[tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]],
        train_markers: bool,
        shift: str,
    ) -> Policy: ...

def find_all(values: _Ids, sequences: Sequence[Sequence[int]]) -> tuple[_Int64, _Int64]: ...
def find_turns(
    values: _Ids, starts: _Int64, stops: _Int64, format: Format
) -> tuple[tuple[_Int64, _Int64, _Int64, _Int64, _Int64, _Int64], _Bool]: ...
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
) -> tuple[_Int64, _Float32 | None, _Int64, npt.NDArray[np.uint8], _Bool, list[int]]: ...
def pad(values: _Ids, starts: _Int64, stops: _Int64, layout: _Layout, padding: int) -> _Int64: ...
def pad_mask(starts: _Int64, stops: _Int64, layout: _Layout) -> _Int64: ...
def paint(len: int, starts: _Int64, stops: _Int64, numbers: _Int64) -> _Int64: ...
def positions(starts: _Int64, stops: _Int64, layout: _Layout) -> tuple[_Int64, npt.NDArray[np.int32]]: ...
