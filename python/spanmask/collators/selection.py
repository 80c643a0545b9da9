"""What a processor returned, for some of its rows or in another layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.collators.media import Kind

__all__ = ["lay_out_again", "select_examples"]

Ids = npt.NDArray[np.integer[Any]]

# Names of arrays that belong to one kind of media have one of these words.
WORDS: dict[Kind, tuple[str, ...]] = {"image": ("image",), "video": ("video",), "audio": ("audio", "feature")}
PATCHES: dict[str, Kind] = {"pixel_values": "image", "pixel_values_videos": "video"}


def select_examples(batch: Mapping[str, Any], media: Mapping[Kind, Sequence[int]], kept: Sequence[int]) -> dict[str, Any] | None:
    """What a processor returned, for the rows `kept` only.

    Args:
        batch: the processor's output. An array has an entry for each row, for each medium of a kind, for each row with media of a kind
            (LLaVA-OneVision), for each patch of each medium (Qwen: `image_grid_thw` and `video_grid_thw` count them), or for each tile or
            frame (InternVL: nothing counts them).
        media: for each kind (`image`, `video`, `audio`) the number of media of each row.
        kept: rows, ascending.

    Returns:
        `None` if an array does not show which: the processor must then be called again. So it must if no medium of a kind is left, since
        processors leave out the arrays of that kind.
    """
    is_kept = np.zeros(len(next(iter(media.values()))), bool)
    is_kept[list(kept)] = True
    owners = {kind: np.repeat(np.arange(len(is_kept)), counts) for kind, counts in media.items() if sum(counts)}
    if not all(is_kept[owner].any() for owner in owners.values()):
        return None
    selected = {}
    for name, value in batch.items():
        chosen = kept_entries(name, value, owners, is_kept, batch) if isinstance(value, np.ndarray) and value.ndim else None
        if chosen is None:
            return None
        selected[name] = value[chosen]
    return selected


def kept_entries(
    name: str, value: npt.NDArray[Any], owners: Mapping[Kind, Ids], is_kept: npt.NDArray[np.bool_], batch: Mapping[str, Any]
) -> npt.NDArray[np.bool_] | None:
    """The entries of an array that belong to kept rows, `None` if that is not certain. `owners`: the row of each medium."""
    for kind, owner in owners.items():
        if name == f"{kind}_grid_thw":
            return np.asarray(is_kept[owner])
    grid = batch.get(f"{PATCHES.get(name, '')}_grid_thw")
    if grid is not None:
        by_patch: Ids = np.repeat(owners[PATCHES[name]], np.prod(grid, axis=1))
        return np.asarray(is_kept[by_patch]) if len(by_patch) == len(value) else None
    kinds = [kind for kind in owners if any(word in name for word in WORDS[kind])] or list(owners)
    # A medium may have several entries but not none, so an array of fewer entries than media of any kind has none for tiles or frames.
    if any(len(value) > len(owners[kind]) for kind in kinds):
        return None
    by_medium = [owner for kind in kinds for owner in (owners[kind], np.unique(owners[kind]))]
    choices: list[npt.NDArray[np.bool_]] = [
        is_kept[owner] for owner in (np.arange(len(is_kept)), *by_medium) if len(owner) == len(value)
    ]
    if not choices or any(not np.array_equal(choice, choices[0]) for choice in choices):
        return None
    return choices[0]


def lay_out_again(
    array: npt.NDArray[Any], rows: Sequence[int], mask: npt.NDArray[Any], new_mask: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """An array with values for each token, for these rows and with the padding of `new_mask`; rows may have become shorter at their ends.

    `array`: [rows, width, ...], laid out as `mask` [rows, width]. `new_mask`: [len(rows), new width]. New padding has zeros.
    """
    if np.array_equal(mask[list(rows)], new_mask):
        return array[list(rows)]
    out = np.zeros((*new_mask.shape, *array.shape[2:]), array.dtype)
    for at, row in enumerate(rows):
        places = np.flatnonzero(new_mask[at])
        out[at, places] = array[row, np.flatnonzero(mask[row])[: len(places)]]
    return out
