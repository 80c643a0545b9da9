"""The command line: `spanmask format`, `preview`, `audit`, `mask`, `corrupt`; one file a command. It needs the extra `cli`."""

from __future__ import annotations

import os
import sys

__all__ = ["main", "without_torch"]


def main() -> None:
    """Run the command line."""
    try:
        import filelock  # noqa: F401
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.exit(f"spanmask: the command line needs {error.name}; install it with: pip install 'spanmask[cli]'")
    without_torch()
    from spanmask.cli.app import app

    app()


def without_torch() -> None:
    """Make `import torch` fail in this process: tokenizers do not need it.

    transformers imports it wherever it is installed. That took 650 of the 750 MiB that a command needed before it read a row, and most of
    the time until then.
    """
    if "torch" not in sys.modules:
        sys.modules["torch"] = None  # type: ignore[assignment]  # the documented way
        os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")  # "PyTorch was not found"
