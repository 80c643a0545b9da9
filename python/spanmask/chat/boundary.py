"""`RoleBoundary`: the token ids that open and close one role's turn. A marker is a sequence of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING

from spanmask import _core
from spanmask._validate import MarkerIds, MarkerLike, as_markers, check_flag

__all__ = ["MarkerIds", "MarkerLike", "Parts", "RoleBoundary", "compile_format", "roles_of"]


@dataclass(frozen=True)
class RoleBoundary:
    """How one role's turn opens and closes.

    Args:
        role: the role's name, as in the `role` field of messages.
        start: the ids that open a turn: one sequence, or several alternatives, because the ids of a marker may depend on the text
            next to it. Any int64 ids, negative ones included.
        end: the ids that close a turn, in the same form; empty if a turn ends only at the next start (Alpaca).
        include_start: the opening ids train with the turn.
        include_end: the closing ids may train; `MaskPolicy.train_on_eos` decides when. `False`: they never train.

    Raises:
        ValueError: the role or the start is missing, a marker is empty, or a flag is not a bool.
        TypeError: an id is not an integer.

    >>> RoleBoundary("assistant", start=[5, 6], end=[[2], [3, 4]])
    RoleBoundary(role='assistant', start=((5, 6),), end=((2,), (3, 4)), include_start=False, include_end=True)
    """

    role: str
    start: tuple[MarkerIds, ...]
    end: tuple[MarkerIds, ...] = ()
    _: KW_ONLY
    include_start: bool = False
    include_end: bool = True

    if TYPE_CHECKING:  # the constructor accepts more types than the fields hold

        def __init__(
            self,
            role: str,
            start: MarkerLike,
            end: MarkerLike = (),
            *,
            include_start: bool = False,
            include_end: bool = True,
        ) -> None: ...

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not isinstance(self.role, str) or not self.role:
            raise ValueError(f"role: expected a non-empty string, got {self.role!r}.")
        set_(self, "start", as_markers(f"start of role {self.role!r}", self.start))
        set_(self, "end", as_markers(f"end of role {self.role!r}", self.end))
        if not self.start:
            raise ValueError(f"start of role {self.role!r}: no marker given; pass the token ids that open a turn.")
        check_flag("include_start", self.include_start)
        check_flag("include_end", self.include_end)


@dataclass(frozen=True)
class Parts:
    """What `strings.py` and `template/` determine about a format. The constructors of `ChatFormat` build the format from it.

    The fields are those of `ChatFormat` with the same names.
    """

    boundaries: tuple[RoleBoundary, ...]
    stop_token_ids: tuple[int, ...] = ()
    generation_prefills: tuple[MarkerIds, ...] = ()
    texts: tuple[tuple[MarkerIds, str], ...] = ()
    uncovered: tuple[str, ...] = ()


def roles_of(boundaries: Sequence[RoleBoundary]) -> tuple[str, ...]:
    """The distinct roles, in the order of the boundaries."""
    return tuple(dict.fromkeys(boundary.role for boundary in boundaries))


def compile_format(
    boundaries: Sequence[RoleBoundary], stop_token_ids: Sequence[int], generation_prefills: Sequence[MarkerIds]
) -> _core.Format:
    """The markers in the form that the core searches for. A role is given as its index in `roles_of(boundaries)`."""
    return _core.Format(
        boundaries, roles=roles_of(boundaries), stop_token_ids=stop_token_ids, generation_prefills=generation_prefills
    )
