"""A chat template -> the boundaries of its turns; `derive.py` is the entry.

The derivation is loaded when it is first used: `import spanmask` would take a quarter longer, and only formats derived from a template
need it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spanmask.chat.template.derive import parts_from_template
    from spanmask.chat.template.probe import Template

__all__ = ["Template", "parts_from_template"]

MODULES = {"parts_from_template": "derive", "Template": "probe"}


def __getattr__(name: str) -> Any:
    if name in MODULES:
        return getattr(import_module(f"spanmask.chat.template.{MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
