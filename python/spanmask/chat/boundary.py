"""`RoleBoundary`: the token ids that open and close one role's turn. A marker is a sequence of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, TypeAlias

from spanmask import _core
from spanmask._validate import MarkerIds, MarkerLike, as_markers, check_flag, short

__all__ = ["MarkerIds", "MarkerLike", "Parts", "Reasoning", "RoleBoundary", "compile_format", "roles_of"]

# What opens reasoning, and what closes it: two lists of alternatives, or nothing.
Reasoning: TypeAlias = tuple[()] | tuple[tuple[MarkerIds, ...], tuple[MarkerIds, ...]]


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
        anchored: a start counts only as a row's first token, or directly after a closing marker of any role, after one of the chat
            format's `stop_token_ids`, or after one of its `anchor_ids` (BOS, EOS, padding). For headers of plain text (`assistant:`), which
            may occur inside a content. If a template writes blanks between a closing marker and a header, `start` must have alternatives
            that begin with them.

    Raises:
        ValueError: the role or the start is missing, a marker is empty, or a flag is not a bool.
        TypeError: an id is not an integer.

    >>> RoleBoundary("assistant", start=[5, 6], end=[[2], [3, 4]])
    RoleBoundary(role='assistant', start=((5, 6),), end=((2,), (3, 4)), include_start=False, include_end=True, anchored=False)
    """

    role: str
    start: tuple[MarkerIds, ...]
    end: tuple[MarkerIds, ...] = ()
    _: KW_ONLY
    include_start: bool = False
    include_end: bool = True
    anchored: bool = False

    if TYPE_CHECKING:  # the constructor accepts more types than the fields hold

        def __init__(
            self,
            role: str,
            start: MarkerLike,
            end: MarkerLike = (),
            *,
            include_start: bool = False,
            include_end: bool = True,
            anchored: bool = False,
        ) -> None: ...

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        if not isinstance(self.role, str) or not self.role:
            raise ValueError(f"role: expected a non-empty string, got {short(self.role)}.")
        set_(self, "start", as_markers(f"start of role {self.role!r}", self.start))
        set_(self, "end", as_markers(f"end of role {self.role!r}", self.end))
        if not self.start:
            raise ValueError(f"start of role {self.role!r}: no marker given; pass the token ids that open a turn.")
        check_flag("include_start", self.include_start)
        check_flag("include_end", self.include_end)
        check_flag("anchored", self.anchored)


@dataclass(frozen=True)
class Parts:
    """What `strings.py` and `template/` determine about a format. The constructors of `ChatFormat` build the format from it.

    The fields are those of `ChatFormat` with the same names.
    """

    boundaries: tuple[RoleBoundary, ...]
    stop_token_ids: tuple[int, ...] = ()
    anchor_ids: tuple[int, ...] = ()
    generation_prefills: tuple[MarkerIds, ...] = ()
    reasoning: Reasoning = ()
    empty_reasoning: tuple[MarkerIds, ...] = ()
    texts: tuple[tuple[MarkerIds, str], ...] = ()
    uncovered: tuple[str, ...] = ()


def roles_of(boundaries: Sequence[RoleBoundary]) -> tuple[str, ...]:
    """The distinct roles, in the order of the boundaries."""
    return tuple(dict.fromkeys(boundary.role for boundary in boundaries))


def compile_format(parts: Parts) -> _core.Format:
    """The markers in the form that the core searches for. A role is given as its index in `roles_of(parts.boundaries)`."""
    return _core.Format(parts, roles=roles_of(parts.boundaries))
