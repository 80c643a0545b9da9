"""The turns of a conversation: `find_turns`. What a turn is, is decided in `turns.rs`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.format import ChatFormat
from spanmask.ragged import RowsView

__all__ = ["Turns", "find_turns"]


@dataclass(frozen=True)
class Turns:
    """The turns of a call, one entry a turn in NumPy columns, by row and position.

    Attributes:
        row, role: int64; `role` is an index into `roles`.
        start, content_start, content_stop, stop: int64 positions in the row: the header is [start, content_start), the content
            [content_start, content_stop), the closing tokens [content_stop, stop).
        closed: bool; False where the row ended first.
        roles: the chat format's roles.
    """

    row: npt.NDArray[np.int64]
    role: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    content_start: npt.NDArray[np.int64]
    content_stop: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    closed: npt.NDArray[np.bool_]
    roles: tuple[str, ...]
    view: RowsView = field(repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.row)

    def token_roles(self) -> Any:
        """Each token's role as an index into `roles`, -1 outside turns; int64, in the shape of the rows.

        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> find_turns([[1, 5, 7, 8, 2, 5, 6, 9]], fmt).token_roles().to_list()
        [[-1, 1, 1, 1, 1, 0, 0, 0]]
        """
        return self._paint(self.role)

    def token_turns(self) -> Any:
        """Each token's turn, counted from 0 in its row, -1 outside turns; int64, in the shape of the rows."""
        first = np.searchsorted(self.row, self.row)  # each turn's row begins with this turn
        return self._paint(np.arange(len(self)) - first)

    def _paint(self, values: npt.NDArray[np.int64]) -> Any:
        base = self.view.bounds[0][self.row]
        return self.view.wrap(_core.paint(len(self.view.values), base + self.start, base + self.stop, values))


def find_turns(rows: Any, chat_format: ChatFormat, *, attention_mask: Any = None) -> Turns:
    """The turns of chat rows, as columns. Arguments and errors as in `mask_labels`; positions count from a row's first real
    token.

    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> turns = find_turns([[1, 5, 7, 8, 2, 5, 6, 9]], fmt)
    >>> [fmt.roles[role] for role in turns.role], turns.content_start.tolist(), turns.closed.tolist()
    (['user', 'assistant'], [3, 7], [True, False])
    """
    if not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    view = RowsView(rows, attention_mask)
    (row, role, start, content_start, content_stop, stop), closed = _core.find_turns(
        view.values, *view.bounds, chat_format._compiled
    )
    return Turns(row, role, start, content_start, content_stop, stop, closed, chat_format.roles, view)
