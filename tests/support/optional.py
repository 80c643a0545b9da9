"""Libraries that a test can do without: where one is not installed, the tests that use it are skipped, and say why."""

from importlib import import_module

import pytest


class Missing:
    """Stands for a module that is not installed."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        if attribute.startswith("_"):  # pytest looks at every global name of a module
            raise AttributeError(attribute)
        pytest.skip(f"needs {self._name}; not installed", allow_module_level=True)


def optional(name):
    """The module of this name; if it is not installed, each use of it skips the test."""
    try:
        return import_module(name)
    except ImportError:
        return Missing(name)
