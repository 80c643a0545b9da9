"""What commands say on stderr: errors in one line, progress. Results go to stdout."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from spanmask.errors import DataError, SpanmaskWarning

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Progress", "fail", "one_line_errors"]

FAILED, WRONG_USAGE = 1, 2


def fail(text: str, status: int = FAILED) -> NoReturn:
    """Print an error in one line, and exit."""
    print(f"error: {' '.join(text.split())}", file=sys.stderr, flush=True)
    raise typer.Exit(status)


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Warnings of this package without the line of code that gave them."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", SpanmaskWarning)
        show_others = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
            if issubclass(category, SpanmaskWarning):
                print(f"warning: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
            else:
                show_others(message, category, *place, **options)

        warnings.showwarning = show
        yield


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Errors of users' data and options, and warnings, in one line instead of a traceback."""
    try:
        with one_line_warnings():
            yield
        sys.stdout.flush()  # a pipe that is closed is an error here, not when the interpreter ends
    except DataError as error:
        fail(str(error))
    except (ValueError, TypeError, ImportError) as error:  # options of the library, extras that are missing
        fail(str(error), WRONG_USAGE)
    except KeyboardInterrupt:
        fail("interrupted; what is complete is kept.", 130)
    except BrokenPipeError:  # the reader of stdout, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except OSError as error:
        fail(f"{error.filename or 'files'}: {error.strerror or error}")
    except typer.Exit:
        raise
    except Exception as error:
        if os.environ.get("SPANMASK_DEBUG"):
            raise
        fail(
            f"{type(error).__name__}: {error}. This is a fault of spanmask; please report it with the output of SPANMASK_DEBUG=1."
        )


class Progress:
    """Rows done of all rows, with the rate and the time left: a bar on a terminal, else a line every ten seconds.

    `known` rows of them were done before.
    """

    def __init__(self, total: int, what: str, known: int = 0) -> None:
        self._total, self._what, self._known = total, what, known
        self._done = self._tokens = 0
        self._start = self._said = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._task = self._bar.add_task(what, total=total, completed=known, rate="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def add(self, rows: int, tokens: int) -> None:
        """Count rows and their tokens."""
        self._done += rows
        self._tokens += tokens
        now = time.monotonic()
        seconds = max(now - self._start, 1e-3)
        rate = f"{self._done / seconds:,.0f} rows/s, {self._tokens / seconds:,.0f} tokens/s"
        if self._bar is not None:
            self._bar.update(self._task, advance=rows, rate=rate)
        elif now - self._said >= 10:
            left = (self._total - self._known - self._done) * seconds / max(self._done, 1)
            print(
                f"{self._what}: {self._known + self._done:,} of {self._total:,} rows, {rate}, {left:,.0f} s left", file=sys.stderr
            )
            self._said = now
