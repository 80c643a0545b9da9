"""Forks: after calls on threads, and while other threads are inside collators. No lock may keep a child waiting.

`make test-processes` forks thousands of times.
"""

import multiprocessing
import os
import sys
import threading
import time

import numpy as np
import pytest
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    MaskedLM,
    RoleBoundary,
    SpanCorruption,
    find_turns,
    mask_labels,
)
from support.letters import Letters
from support.long_calls import FORMAT, rows_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens"),
    pytest.mark.filterwarnings("ignore:labels. this batch has none"),
]
ROWS = rows_of(8, 40)
EXAMPLES = [{"input_ids": row} for row in ROWS]
OPTIONS = {"tokenizer": Letters(), "return_tensors": "np"}


def new_format():
    """A format that no call has compiled yet."""
    return ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [[2], [3]])])


def collators():
    return [
        DataCollatorForChat(**OPTIONS, chat_format=new_format()),
        DataCollatorForSpanCorruption(**OPTIONS, seed=3, on_repeat="ignore", spec=SpanCorruption(range(2000, 2100), 1)),
        DataCollatorForMaskedLM(**OPTIONS, seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000)),
    ]


def exit_code(child, seconds=30):
    """The exit code of a child; kills it after a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return "hangs"


def forked(work):
    """The exit code of a child that does this: 0 if it returns true."""
    child = os.fork()
    if not child:  # must not return into pytest
        code = 2
        try:
            code = 0 if work() else 1
        finally:
            os._exit(code)
    return exit_code(child)


def test_a_fork_after_calls_on_threads():
    rows = rows_of(1 << 10, 1 << 10)
    expected = mask_labels(rows, FORMAT, num_threads=4).labels
    for _ in range(5):
        assert forked(lambda: mask_labels(rows, FORMAT, num_threads=3).labels == expected) == 0
    assert mask_labels(rows, FORMAT, num_threads=2).labels == expected


@pytest.mark.parametrize("count", [15, pytest.param(3000, marks=pytest.mark.processes)])
def test_forks_while_threads_are_inside_collators(count):
    """The threads use the same collators as the children, new collators, and formats that are compiled while they are forked."""
    shared = collators()
    expected = [{name: array.tobytes() for name, array in collate(EXAMPLES).items()} for collate in shared]
    done = threading.Event()

    def busy():
        while not done.is_set():
            for collate in (*shared, *collators()):
                collate(EXAMPLES)
            find_turns(ROWS, new_format())

    def work():
        new = [collate(EXAMPLES) for collate in collators()]
        same = [{name: array.tobytes() for name, array in collate(EXAMPLES).items()} for collate in shared]
        find_turns(ROWS, FORMAT)
        return same == expected and len(new) == 3 and shared[0].report.rows > 0

    threads = [threading.Thread(target=busy) for _ in range(3)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        codes = [forked(work) for _ in range(count)]
    finally:
        done.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert codes == [0] * count


def test_children_and_grandchildren_share_the_epoch():
    made = DataCollatorForMaskedLM(**OPTIONS, seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000))
    go, seen = multiprocessing.get_context("fork").Event(), multiprocessing.get_context("fork").SimpleQueue()

    def grandchild():
        go.wait(30)
        seen.put(made.schedule.epoch)

    def child():
        inner = multiprocessing.get_context("fork").Process(target=grandchild)
        inner.start()
        inner.join(30)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    made.set_epoch(2**64 - 1)
    go.set()
    assert seen.get() == 2**64 - 1
    process.join(30)


def test_places_of_a_child_are_not_those_of_its_parent():
    """Both make collators after the fork and share them with children of their own."""
    first = DataCollatorForMaskedLM(**OPTIONS, seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000))
    assert forked(lambda: True) == 0  # shares it, and has free places
    reader, writer = os.pipe()

    def child():
        own = DataCollatorForMaskedLM(**OPTIONS, seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000))
        forked(lambda: True)
        own.set_epoch(7)
        os.write(writer, b".")
        time.sleep(0.2)
        return own.schedule.epoch == 7

    pid = os.fork()
    if not pid:
        os._exit(0 if child() else 1)
    os.read(reader, 1)
    own = DataCollatorForMaskedLM(**OPTIONS, seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000))
    assert forked(lambda: True) == 0
    assert own.schedule.epoch == 0
    own.set_epoch(9)
    assert exit_code(pid) == 0
    assert (own.schedule.epoch, first.schedule.epoch) == (9, 0)
    os.close(reader)
    os.close(writer)


def test_threads_on_one_collator_equal_serial_calls():
    batches = [[{"input_ids": row} for row in rows_of(4, 50 + number)] for number in range(16)]
    for collate in collators():
        expected = [collate(batch)["labels"] for batch in batches]
        rows, results = getattr(collate, "counts", None), [[] for _ in batches]

        def work(number, collate=collate, results=results):
            results[number] = [collate(batches[number])["labels"] for _ in range(20)]

        threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for number, wanted in enumerate(expected):
            assert len(results[number]) == 20
            assert all(np.array_equal(labels, wanted) for labels in results[number])
        if rows is not None:
            assert collate.counts.rows - rows.rows == 16 * 20 * 4
