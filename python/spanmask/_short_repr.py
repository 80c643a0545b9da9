"""A `repr` of collators that fits on a log line."""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Any

__all__ = ["short_repr"]


def short_repr(value: Any) -> str:
    """Show the changed fields of a dataclass, both ends of a long tuple, and the class of a tokenizer or processor.

    >>> short_repr((302, 301, 300, 299, 298, 297, 296, 295, 294))
    '(302, 301, 300, ..., 294)'
    """
    if isinstance(value, tuple):
        parts = [short_repr(item) for item in value]
        if len(parts) > 8:
            parts = [*parts[:3], "...", parts[-1]]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if not is_dataclass(value):
        return repr(value)
    parts = []
    for option in fields(value):
        current = getattr(value, option.name)
        if option.name in ("tokenizer", "processor"):
            parts.insert(0, type(current).__name__)
        elif option.repr and (option.default is MISSING or current != option.default):
            parts.append(f"{option.name}={short_repr(current)}")
    return f"{type(value).__name__}({', '.join(parts)})"
