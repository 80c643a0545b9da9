"""What a template reads in addition to the messages: tools, and its own variables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spanmask.chat.conversation.layouts import kind_of
from spanmask.chat.conversation.nulls import without_nulls

__all__ = ["KWARGS_COLUMN", "TOOLS_COLUMN", "read_kwargs", "read_tools", "variables_by_row"]

TOOLS_COLUMN = "tools"
KWARGS_COLUMN = "chat_template_kwargs"  # the name that TRL reads
# Arguments of `apply_chat_template` that are not variables of a template: they change what is returned.
RESERVED = frozenset(
    {
        "conversation",
        "messages",
        "tokenize",
        "add_generation_prompt",
        "continue_final_message",
        "padding",
        "truncation",
        "max_length",
        "return_tensors",
        "return_dict",
        "return_assistant_tokens_mask",
        "tokenizer_kwargs",
    }
)
TOOL = "a dict such as {'type': 'function', 'function': {...}}"


def read_tools(value: Any, where: str) -> tuple[list[Any] | None, int]:
    """The tools of a row: a list of tools, one or all of them possibly as JSON text. An empty list remains: the row has no tools.

    Returns:
        The list, `None` if the row does not say; and the number of nulls removed from schemas that were not JSON text.
    """
    is_json = isinstance(value, str)
    tools = value.tolist() if isinstance(value, np.ndarray) else value
    if is_json:
        tools = from_json(value, where, "a list of tools") if value.strip() else None
    if tools is None:
        return None, 0
    if not isinstance(tools, (list, tuple)):
        raise TypeError(f"{where}: expected a list of tools, or the list as JSON text, got {kind_of(tools)}.")
    read: list[Any] = []
    removed = 0
    for number, tool in enumerate(tools):
        place = f"{where}, tool {number}"
        if isinstance(tool, str):
            tool = from_json(tool, place, TOOL)
        elif not is_json:
            tool, count = without_nulls(tool)
            removed += count
        if not isinstance(tool, Mapping) and not callable(tool):
            raise TypeError(f"{place}: is {kind_of(tool)}; expected {TOOL}.")
        read.append(tool)
    return read, removed


def read_kwargs(value: Any, where: str) -> dict[str, Any]:
    """A template's variables: a dict, a dict as JSON text, or None. Variables without a value are left out."""
    if isinstance(value, str):
        value = from_json(value, where, "a dict of template variables") if value.strip() else None
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(f"{where}: expected a dict of template variables, got {kind_of(value)}.")
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"{where}: the names of template variables are strings, got {name!r}.")
        if name in RESERVED and value[name] is not None:
            raise ValueError(
                f"{where}: {name!r} is not a variable of a template, but changes what is rendered or returned; remove it."
            )
    return {name: entry for name, entry in value.items() if entry is not None}


def variables_by_row(tools: Any, template_kwargs: Any, rows: int) -> tuple[Sequence[list[Any] | None], Sequence[dict[str, Any]]]:
    """The caller's tools and template variables for each row; both may be given for all rows, or as a list with one entry a row."""
    all_kwargs: list[dict[str, Any]]
    if template_kwargs is None or isinstance(template_kwargs, (Mapping, str)):
        all_kwargs = [read_kwargs(template_kwargs, "template_kwargs")] * rows
    else:
        check_rows("template_kwargs", template_kwargs, rows, "a dict")
        all_kwargs = [read_kwargs(entry, f"template_kwargs: row {row}") for row, entry in enumerate(template_kwargs)]
    if any(TOOLS_COLUMN in entry for entry in all_kwargs):
        if tools is not None:
            raise ValueError("template_kwargs: holds 'tools', which are given as tools= as well; keep one of them.")
        tools = [entry.get(TOOLS_COLUMN) for entry in all_kwargs]
        all_kwargs = [{name: value for name, value in entry.items() if name != TOOLS_COLUMN} for entry in all_kwargs]
    elif tools is None or isinstance(tools, str) or is_list_of_tools(tools):
        return [read_tools(tools, "tools")[0]] * rows, all_kwargs
    check_rows("tools", tools, rows, "a list of tools")
    return [read_tools(entry, f"tools: row {row}")[0] for row, entry in enumerate(tools)], all_kwargs


def is_list_of_tools(tools: Any) -> bool:
    """Whether a list has a tool as its first item, and not the tools of the first row."""
    if not isinstance(tools, (list, tuple)) or not tools:
        return True  # an empty list: no tools; what is not a list is an error of `read_tools`
    first = tools[0]
    return first.lstrip().startswith("{") if isinstance(first, str) else isinstance(first, Mapping) or callable(first)


def check_rows(name: str, value: Any, rows: int, entry: str) -> None:
    """Raise unless there is an entry for each row."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: expected {entry} for all rows or a list with one a row, got {kind_of(value)}.")
    if len(value) != rows:
        raise ValueError(
            f"{name}: has {len(value)} entries for {rows} rows; pass {entry} for all rows, or a list with one a row."
        )


def from_json(text: str, where: str, expected: str) -> Any:
    """A value from JSON text."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where}: is not JSON ({error}); expected {expected}.") from None
