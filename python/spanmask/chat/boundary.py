"""`RoleBoundary`: the token ids that open and close one role's turn. A marker is a sequence of token ids."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from spanmask._validate import as_signed_ids

__all__ = ["Marker", "MarkerLike", "RoleBoundary", "as_ids", "as_markers"]

Marker = tuple[int, ...]
MarkerLike = Iterable[int] | Iterable[Iterable[int]]


@dataclass(frozen=True)
class RoleBoundary:
    """How one role's turn opens and closes.

    Args:
        role: the role's name, as in the `role` field of messages.
        start: the ids that open a turn: one sequence, or several alternatives (a marker may tokenize differently next to
            different neighbours). Ids may be negative.
        end: the ids that close a turn, likewise; empty where a turn ends only at the next start (Alpaca).
        include_start: the opening ids train with the turn.
        include_end: the closing ids may train; `MaskPolicy.train_on_eos` decides when. `False`: never.

    Raises:
        ValueError: no start, or an empty marker.
        TypeError: an id is not an integer.

    >>> RoleBoundary("assistant", start=[5, 6], end=[[2], [3, 4]])
    RoleBoundary(role='assistant', start=((5, 6),), end=((2,), (3, 4)), include_start=False, include_end=True)
    """

    role: str
    start: tuple[Marker, ...]
    end: tuple[Marker, ...] = ()
    include_start: bool = False
    include_end: bool = True

    def __init__(
        self, role: str, start: MarkerLike, end: MarkerLike = (), include_start: bool = False, include_end: bool = True
    ) -> None:
        if not isinstance(role, str) or not role:
            raise ValueError(f"role: expected a non-empty string, got {role!r}.")
        starts = as_markers(start, f"start of role {role!r}")
        if not starts:
            raise ValueError(f"start of role {role!r}: no marker; give the token ids that open a turn.")
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "start", starts)
        object.__setattr__(self, "end", as_markers(end, f"end of role {role!r}"))
        object.__setattr__(self, "include_start", bool(include_start))
        object.__setattr__(self, "include_end", bool(include_end))


def as_ids(ids: Iterable[int], name: str) -> Marker:
    """Token ids as a tuple of Python integers; `name` goes into the error."""
    if isinstance(ids, (str, bytes)):
        raise TypeError(f"{name}: expected token ids, got {type(ids).__name__} {ids!r}; for text use ChatFormat.from_strings.")
    return as_signed_ids(name, ids)


def as_markers(markers: MarkerLike, name: str) -> tuple[Marker, ...]:
    """One id sequence or several alternatives -> several, each once, in their order."""
    if isinstance(markers, (str, bytes)) or not isinstance(markers, Iterable):
        raise TypeError(
            f"{name}: expected token ids, got {type(markers).__name__} {markers!r}; for text use ChatFormat.from_strings."
        )
    items = list(markers)
    if not items:
        return ()
    nested = [isinstance(item, Iterable) for item in items]
    if any(nested) and not all(nested):
        raise TypeError(f"{name}: expected one id sequence or a list of sequences, got a mixture.")
    alternatives = [as_ids(item, name) for item in items] if nested[0] else [as_ids(items, name)]  # type: ignore[arg-type]
    for marker in alternatives:
        if not marker:
            raise ValueError(f"{name}: an empty marker matches everywhere; remove it.")
    return tuple(dict.fromkeys(alternatives))
