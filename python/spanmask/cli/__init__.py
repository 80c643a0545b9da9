"""The command line: `spanmask format`, `preview`, `audit`, `mask`, `corrupt`; one file a command. It needs the extra `cli`."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        import filelock  # noqa: F401
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        sys.exit(f"spanmask: the command line needs {error.name}; install it with: pip install 'spanmask[cli]'")
    from spanmask.cli.app import app

    app()
