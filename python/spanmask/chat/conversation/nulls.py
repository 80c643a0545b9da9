"""Nulls that Arrow filled in.

Arrow gives all structs of a column the same keys: the arguments of every call, and the schema of every tool, have the keys of all others,
with None. A None that the user means cannot be distinguished from them; it survives in JSON text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["without_nulls"]


def without_nulls(value: Any) -> tuple[Any, int]:
    """Remove the keys whose value is None, at any depth.

    Returns:
        The value, the same object if nothing was removed, and the number of keys removed. Items of lists are never removed.

    >>> without_nulls({"city": "Oslo", "days": None, "near": [{"km": 5, "of": None}, None]})
    ({'city': 'Oslo', 'near': [{'km': 5}, None]}, 2)
    """
    if isinstance(value, str):
        return value, 0
    if isinstance(value, np.ndarray):  # nested lists, as pandas returns them
        return without_nulls(value.tolist())
    if isinstance(value, Mapping):
        removed = 0
        changed: dict[Any, Any] = {}
        for key, entry in value.items():
            if entry is None:
                removed += 1
            elif isinstance(entry, (Mapping, list, tuple, np.ndarray)):
                clean, count = without_nulls(entry)
                removed += count
                if clean is not entry:
                    changed[key] = clean
        if not removed and not changed:
            return value, 0
        return {key: changed.get(key, entry) for key, entry in value.items() if entry is not None}, removed
    if isinstance(value, (list, tuple)):
        pairs = [without_nulls(entry) for entry in value]
        if all(clean is entry for (clean, _), entry in zip(pairs, value, strict=True)):
            return value, 0
        return [clean for clean, _ in pairs], sum(count for _, count in pairs)
    return value, 0
