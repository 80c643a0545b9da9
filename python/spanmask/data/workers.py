"""Processes that write parts of the input."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait

__all__ = ["workers"]


@contextmanager
def workers(count: int) -> Iterator[ProcessPoolExecutor | None]:
    """Start processes, and end them. They import what tokenizers need, which takes seconds, while the parent prepares the work.

    Returns:
        The processes; `None` for a `count` of one: this process does the work.
    """
    if count == 1:
        yield None
        return
    without_torch = sys.modules.get("torch", ...) is None
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=begin_worker, initargs=(without_torch,))
    try:
        for _ in range(count):  # each call starts a process
            pool.submit(import_tokenizers)
        yield pool
    finally:
        for process in list((pool._processes or {}).values()):  # they are idle, or what they do is not wanted any more
            process.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


def import_tokenizers() -> None:
    """Import what a tokenizer needs when it is unpickled."""
    from transformers import PreTrainedTokenizerFast  # noqa: F401


def begin_worker(without_torch: bool) -> None:
    """The first call in a worker: Ctrl-C reaches all processes of a terminal, and the parent ends the workers. If it is killed, they end
    by themselves.

    Args:
        without_torch: the parent makes `import torch` fail; so does the worker then.
    """
    if without_torch:
        sys.modules["torch"] = None  # type: ignore[assignment]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=end_with, args=(parent.sentinel,), daemon=True).start()


def end_with(sentinel: int) -> None:
    """End this process when another one ends."""
    wait([sentinel])
    os._exit(1)
