"""The inverse of noise: `merge` restores rows. `merge.rs` and `fill_in_the_middle/merge.rs` in the core do the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spanmask import _core
from spanmask.noise.spec import CorruptionSpec
from spanmask.ragged import Column, Ragged

if TYPE_CHECKING:
    from spanmask.noise.fill_in_the_middle import FillInTheMiddle

__all__ = ["merge"]


def merge(input_ids: Any, labels: Any, spec: CorruptionSpec | FillInTheMiddle) -> Ragged:
    """Restore the rows that were passed to `corrupt` (without their trailing EOS) or to `fill_in_the_middle`.

    What `length` or `max_length` has cut off stays away, and rows that held sentinels (`on_sentinel="allow"`) cannot be restored.

    Args:
        input_ids, labels: the two outputs of one call, ragged, without padding. After `fill_in_the_middle`, rows follow from their
            `input_ids` alone: labels are not read and may be `None`.
        spec: the spec that made them.

    Raises:
        SentinelError: the two sides do not have the same sentinels in the same order; or the parts of a document are not complete.
        ValueError: the two sides have different numbers of rows.

    >>> from spanmask import FillInTheMiddle
    >>> merge([[90, 5, 92, 8, 9, 91, 6, 7, 0]], None, FillInTheMiddle(90, 91, 92, boundary_ids=[0])).to_list()
    [[5, 6, 7, 8, 9, 0]]
    """
    compiled = getattr(spec, "_compiled", None)
    if isinstance(compiled, _core.SpanSpec):
        rows = _core.merge(wide_column(input_ids, "input_ids"), wide_column(labels, "labels"), compiled)
    elif isinstance(compiled, _core.FimSpec):
        rows = _core.merge_documents(wide_column(input_ids, "input_ids"), compiled)
    else:
        raise TypeError(f"spec: expected SpanCorruption, DenoiserMixture or FillInTheMiddle, got {type(spec).__name__}.")
    return Ragged._unchecked(rows.values, rows.offsets)


def wide_column(rows: Any, name: str) -> Column:
    """Rows as int64."""
    ragged = Ragged.from_rows(rows, name)
    return Column(ragged.values.astype(np.int64, copy=False), *ragged.bounds())
