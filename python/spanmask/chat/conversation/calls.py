"""The tool calls of a message in the form that transformers documents.

A call is `{"type": "function", "function": {"name": ..., "arguments": ...}}`, with `id` where it has one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from spanmask.chat.conversation.layouts import Place, kind_of
from spanmask.chat.conversation.nulls import without_nulls

__all__ = ["read_calls"]

CALL = '{"name": ..., "arguments": {...}}'


def read_calls(fields: dict[str, Any], place: Place) -> int:
    """Bring `tool_calls`, or OpenAI's older `function_call`, of a message into one form, in place.

    Arguments remain as they are, text or mapping: what the template takes decides (`adapt`).

    Returns:
        The number of nulls that were removed from arguments.
    """
    if "tool_calls" not in fields and "function_call" not in fields:
        return 0
    calls = fields.get("tool_calls")
    keep_nulls = isinstance(calls, str)
    if isinstance(calls, np.ndarray):
        calls = calls.tolist()
    elif isinstance(calls, str):
        calls = calls_from_json(calls, place) if calls.strip() else []
    if calls is not None and not isinstance(calls, (list, tuple)):
        raise TypeError(f"{place}: tool_calls is {kind_of(calls)}; expected a list of calls such as {CALL}.")
    older = fields.pop("function_call", None)
    if isinstance(older, Mapping) and all(value is None for value in older.values()):
        older = None
    if older is not None:
        if calls:
            raise ValueError(f"{place}: has both 'tool_calls' and 'function_call'; keep one of them.")
        calls, keep_nulls = [older], False
    if not calls:
        fields.pop("tool_calls", None)
        return 0
    pairs = [read_call(call, f"{place}, call {number}", keep_nulls) for number, call in enumerate(calls)]
    fields["tool_calls"] = [call for call, _ in pairs]
    return sum(removed for _, removed in pairs)


def read_call(call: Any, where: str, keep_nulls: bool) -> tuple[dict[str, Any], int]:
    """One call, and the number of nulls that were removed from its arguments."""
    if not isinstance(call, Mapping):
        raise TypeError(f"{where}: is {kind_of(call)}; expected a dict such as {CALL}.")
    fields = {key: value for key, value in call.items() if value is not None}
    if "function" in fields:
        function = fields["function"]
        if not isinstance(function, Mapping):
            raise TypeError(f"{where}: 'function' is {kind_of(function)}; expected a dict such as {CALL}.")
        function = {key: value for key, value in function.items() if value is not None}
    else:
        function = {key: fields.pop(key) for key in ("name", "arguments") if key in fields}
    name, arguments = function.get("name"), function.get("arguments")
    if not isinstance(name, str) or not name:
        raise ValueError(f"{where}: the function's 'name' is {name!r}; expected its name. A call is a dict such as {CALL}.")
    removed = 0
    if isinstance(arguments, Mapping):
        if not keep_nulls:
            function["arguments"], removed = without_nulls(arguments)
    elif arguments is not None and not isinstance(arguments, str):
        raise TypeError(f"{where}: 'arguments' is {kind_of(arguments)}; expected a dict, or a dict as JSON text.")
    return {"type": "function", **fields, "function": function}, removed


def calls_from_json(text: str, place: Place) -> list[Any]:
    """One call or several calls as JSON text."""
    try:
        made = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{place}: its call is not JSON ({error}); expected {CALL}, or a list of such calls.") from None
    return made if isinstance(made, list) else [made]
