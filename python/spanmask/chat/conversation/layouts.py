"""Which layout the columns of a batch have, and how error messages name its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from spanmask.ragged import items_of, listed

__all__ = ["Layout", "Place", "entries", "kind_of", "layout_of", "row_name"]

ID_COLUMNS = ("id", "example_id", "uid", "index")
LONGEST_ID = 60  # characters of an id in an error message


class Layout(Enum):
    """Columns that hold a row's messages or texts."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt + completion as messages"
    CONVERSATIONS = "conversations"
    TEXT_PROMPT_COMPLETION = "prompt + completion as text"
    TEXT = "text"

    @property
    def is_text(self) -> bool:
        """Whether rows are plain text, which no chat template renders."""
        return self in (Layout.TEXT_PROMPT_COMPLETION, Layout.TEXT)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that hold the messages or texts."""
        return COLUMNS_OF[self]


COLUMNS_OF = {
    Layout.MESSAGES: ("messages",),
    Layout.PROMPT_COMPLETION: ("prompt", "completion"),
    Layout.CONVERSATIONS: ("conversations",),
    Layout.TEXT_PROMPT_COMPLETION: ("prompt", "completion"),
    Layout.TEXT: ("text",),
}


class Place(NamedTuple):
    """Where something is, in error messages: a column, a row's name, the index of a message in the column's entry."""

    column: str
    row: str
    message: int | None = None

    def __str__(self) -> str:
        return f"{self.column}: {self.row}" if self.message is None else f"{self.column}: {self.row}, message {self.message}"


def layout_of(columns: Mapping[str, Any]) -> Layout:
    """The layout of a batch, decided by its columns: the first of `messages`, `prompt` + `completion`, `conversations` and `text`.

    Args:
        columns: columns of equal length, one entry a row.

    Returns:
        The layout. If it is a text layout, every entry is a string.

    Raises:
        ValueError: no such columns; or the entries of `prompt`, `completion` or `text` are not of one kind (the message names the row).

    >>> layout_of({"prompt": ["2 + 2 = "], "completion": ["4"]})
    <Layout.TEXT_PROMPT_COMPLETION: 'prompt + completion as text'>
    """
    if "messages" in columns:
        return Layout.MESSAGES
    if "prompt" in columns and "completion" in columns:
        prompts = entries(columns, "prompt")
        is_text = bool(prompts) and isinstance(prompts[0], str)
        layout = Layout.TEXT_PROMPT_COMPLETION if is_text else Layout.PROMPT_COMPLETION
    elif "conversations" in columns:
        return Layout.CONVERSATIONS
    elif "text" in columns:
        layout = Layout.TEXT
    else:
        raise ValueError(no_layout(columns))
    for name in layout.columns:
        for row, entry in enumerate(entries(columns, name)):
            if isinstance(entry, str) != layout.is_text:
                expected = "a text" if layout.is_text else "a list of messages"
                raise ValueError(
                    f"{name}: {row_name(columns, row)} holds {kind_of(entry)}; expected {expected}, since the layout of this batch is "
                    f"{layout.value!r}. Give all rows of a batch the same layout, in all of its columns."
                )
    return layout


def no_layout(columns: Mapping[str, Any]) -> str:
    """The message of an error: no column is read."""
    missing = " The column 'completion' is missing, which belongs to 'prompt'." if "prompt" in columns else ""
    return (
        f"features: no column holds messages or text; the examples have {', '.join(map(repr, columns)) or 'no columns'}.{missing} "
        "Columns that are read: 'messages', 'prompt' + 'completion', 'conversations', 'text'. Rename yours, or pass prepare=, a function "
        "that returns a dict with one of them for an example."
    )


def row_name(columns: Mapping[str, Any], row: int) -> str:
    """How error messages name a row: its index in the batch and its entry in `id`, `example_id`, `uid` or `index`, the first there is.

    >>> row_name({"messages": [[], []], "id": ["a-7", "a-8"]}, 1)
    "row 1 (id 'a-8')"
    """
    for name in ID_COLUMNS:
        if name in columns:
            value = columns[name][row]
            if not isinstance(value, (str, int)):  # Arrow, NumPy
                value = value.as_py() if hasattr(value, "as_py") else value.item() if isinstance(value, np.generic) else None
            if isinstance(value, (str, int)):
                shown = value if isinstance(value, int) or len(value) <= LONGEST_ID else value[:LONGEST_ID] + "…"
                return f"row {row} ({name} {shown!r})"
    return f"row {row}"


def entries(columns: Mapping[str, Any], name: str) -> Sequence[Any]:
    """A column's entries as Python's own objects."""
    made = listed(columns[name])
    return made if isinstance(made, Sequence) else items_of(made, name)


def kind_of(value: object) -> str:
    """A value's type in error messages.

    >>> kind_of(None), kind_of([3]), kind_of("x")
    ('None', 'a value of type list', 'a value of type str')
    """
    return "None" if value is None else f"a value of type {type(value).__name__}"
