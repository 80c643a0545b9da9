"""The formats that this process has derived, by everything that decides them: template, tokenizer and arguments."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

from spanmask.chat.tokens import identity

__all__ = ["cached"]

SIZE = 64  # formats; the least recently used is dropped first
FORMATS: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

T = TypeVar("T")


def cached(renderer: Any, tokenizer: Any, kwargs: dict[str, Any], more: tuple[Any, ...], make: Callable[[], T]) -> T:
    """What `make` returned for an equal template, tokenizer and arguments, else what it returns now. Errors are not kept."""
    key = key_of(renderer, tokenizer, kwargs)
    if key is None:
        return make()
    key = (*key, *more)
    found: T
    if key in FORMATS:
        found = FORMATS[key]
        FORMATS.pop(key, None)
    else:
        found = make()
    FORMATS[key] = found
    while len(FORMATS) > SIZE:
        FORMATS.popitem(last=False)
    return found


def key_of(renderer: Any, tokenizer: Any, kwargs: dict[str, Any]) -> tuple[Any, ...] | None:
    """None if something cannot be compared: a renderer of one's own, a variable that is not JSON."""
    kind = type(renderer)
    method = getattr(kind, "apply_chat_template", None)
    if "apply_chat_template" in vars(renderer) or not getattr(method, "__module__", "").startswith("transformers."):
        return None
    template = getattr(renderer, "chat_template", None)
    try:
        variables = json.dumps(kwargs)
        templates = json.dumps(template)
    except (TypeError, ValueError):
        return None
    return (kind, templates, variables, identity(tokenizer)) if template else None
