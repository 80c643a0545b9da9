"""What a processor returned, for some of its rows or in another layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask.collators.media import Kind

__all__ = ["lay_out_again", "select_examples"]

Owners = npt.NDArray[np.integer[Any]]


def select_examples(batch: Mapping[str, Any], media: Mapping[Kind, Sequence[int]], kept: Sequence[int]) -> dict[str, Any] | None:
    """What a processor returned, for the rows `kept` only.

    Args:
        batch: the processor's output. An array has an entry for each row, for each row with media of a kind (LLaVA-OneVision), for each
            medium, or (Qwen) for each patch of each medium, as `image_grid_thw` and `video_grid_thw` count them.
        media: for each kind (`image`, `video`, `audio`) the number of media of each row.
        kept: rows, ascending.

    Returns:
        `None` if an array does not show which: the processor must then be called again. So it must if no medium of a kind is left, since
        processors leave out the arrays of that kind.
    """
    rows = len(next(iter(media.values())))
    is_kept = np.zeros(rows, bool)
    is_kept[list(kept)] = True
    owners: dict[str, list[Owners]] = {"": [np.arange(rows)]}
    for kind, counts in media.items():
        if not sum(counts):
            continue
        of_media = np.repeat(np.arange(rows), counts)
        if not is_kept[of_media].any():
            return None
        owners[kind] = [of_media, np.flatnonzero(counts)]
        grid = batch.get(f"{kind}_grid_thw")
        if grid is not None:
            owners[kind].append(np.repeat(of_media, np.prod(grid, axis=1)))
    selected = {}
    for name, value in batch.items():
        chosen = kept_entries(name, value, owners, is_kept)
        if chosen is None:
            return None
        selected[name] = value[chosen]
    return selected


def kept_entries(
    name: str, value: Any, owners: Mapping[str, Sequence[Owners]], is_kept: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_] | None:
    """The entries of an array that belong to kept rows, `None` if that is not certain: it may have one for anything of that number."""
    if not isinstance(value, np.ndarray) or not value.ndim:
        return None
    kind = name.removesuffix("_grid_thw")
    fitting = owners[kind][:1] if kind in owners else [owner for of_kind in owners.values() for owner in of_kind]
    choices = [is_kept[owner] for owner in fitting if len(owner) == len(value)]
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
