"""SIGINT and SIGTERM in the middle of a call: it ends soon, in the middle of a row too, and the process goes on.

`make test-processes` sends them into calls over 64M tokens and over one row of 2^28, each in three places.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest
from spanmask import Ragged, mask_labels
from support.long_calls import FORMAT, calls, rows_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens"),
    pytest.mark.filterwarnings("ignore:labels. this batch has none"),
]
SMALL = rows_of(3, 2000)
NAMES = [*calls(SMALL)]
BRIEFLY = ("mask_labels", "corrupt", "mask_tokens", "infill", "fill_in_the_middle", "diffuse", "chat_collator")  # in make test


class InterruptError(Exception):
    """What the signal handlers of these tests raise."""


def interrupt(*args):
    raise InterruptError


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def seconds_until_interrupted(call, number, delay):
    """How long a call goes on after a signal that comes `delay` seconds after its start; `None` if it ends before."""
    sent = []

    def send():
        time.sleep(delay)
        sent.append(time.monotonic())
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    ended = None
    try:
        call()
        ended = time.monotonic()
        thread.join()
        time.sleep(1)  # the signal has come
    except InterruptError:
        after = time.monotonic()
    thread.join()
    return None if ended is not None and ended < sent[0] else after - sent[0]


def arrays(result):
    """The arrays of a result, for comparison."""
    fields = result.values() if isinstance(result, dict) else getattr(result, "__dict__", {"result": result}).values()
    return [np.asarray(field.values if isinstance(field, Ragged) else field).tobytes() for field in fields if is_array(field)]


def is_array(field):
    return isinstance(field, (np.ndarray, Ragged))


@pytest.mark.filterwarnings("ignore:loss_weights")  # nothing trains here
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in BRIEFLY else pytest.mark.processes)
        for name in NAMES
        if name != "from_rows"  # a copy takes no time
    ],
)
def test_a_call_ends_in_the_middle_of_a_row(name):
    """The call has one row, so that nothing ends it but a look at signals within the row."""
    small = calls(SMALL)[name]
    expected = arrays(small())
    length = 1 << 22
    while True:
        call = calls(rows_of(1, length))[name]
        call()  # what is made once
        start = time.monotonic()
        call()
        whole = time.monotonic() - start
        if whole > 0.1:
            break
        length *= 2
    tries = (seconds_until_interrupted(call, number, whole / 10) or whole for number in (signal.SIGINT, signal.SIGTERM) * 3)
    assert any(seconds < whole / 2 for seconds in tries)  # up to the first that is
    assert arrays(small()) == expected


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_end_with_the_call(threads):
    rows, before = rows_of(64, 1 << 19), threading.active_count()
    mask_labels(rows, FORMAT, num_threads=threads)
    assert (
        seconds_until_interrupted(
            lambda: [mask_labels(rows, FORMAT, num_threads=threads) for _ in range(100)], signal.SIGINT, 0.3
        )
        < 2
    )
    assert threading.active_count() == before


def test_a_signal_while_only_another_thread_works():
    """The row is taken by another thread: the calling one waits for it, and looks at signals meanwhile."""
    rows = rows_of(1, 1 << 24).values
    uneven = Ragged(rows, np.array([0, 1, 2, len(rows)]))
    call = lambda: [mask_labels(uneven, FORMAT, num_threads=2) for _ in range(200)]  # noqa: E731
    assert seconds_until_interrupted(call, signal.SIGTERM, 0.3) < 2


def test_a_handler_may_call_spanmask():
    rows, inner = rows_of(1, 1 << 24), []
    expected = arrays(calls(SMALL)["mask_labels"]())

    def handle(*args):
        inner.append(arrays(calls(SMALL)["mask_labels"]()))

    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        outer = mask_labels(rows, FORMAT)
        while len(inner) < 3:
            outer = mask_labels(rows, FORMAT)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    assert all(result == expected for result in inner)
    assert outer.labels == mask_labels(rows, FORMAT).labels


FIRST_CALL = """
import os, signal, threading, time
import spanmask
rows = [[7] * 1024] * 60_000
threading.Thread(target=lambda: (time.sleep(0.1), os.kill(os.getpid(), signal.SIGINT)), daemon=True).start()
try:
    for _ in range(50):
        spanmask.Ragged.from_rows(rows)
except KeyboardInterrupt:
    assert len(spanmask.Ragged.from_rows(rows[:3])) == 3
    print("interrupted")
"""


def test_the_first_call_of_a_process():
    run = subprocess.run([sys.executable, "-c", FIRST_CALL], capture_output=True, text=True, timeout=100, check=False)
    assert (run.stdout.strip(), run.returncode) == ("interrupted", 0), run.stderr


def measure(count, length, names=NAMES):
    """In a process of its own: prints the longest time after a signal, by call."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    warnings.simplefilter("ignore")
    all_calls, small = calls(rows_of(count, length)), calls(SMALL)
    for name in names:
        expected, after = arrays(small[name]()), []
        for number, delay in ((signal.SIGINT, 0.05), (signal.SIGTERM, 0.6), (signal.SIGINT, 1.5)):
            after.append(seconds_until_interrupted(all_calls[name], number, delay))
        assert arrays(small[name]()) == expected, name
        print(json.dumps([name, after]), flush=True)


@pytest.mark.processes
@pytest.mark.parametrize(("count", "length"), [(1, 1 << 28), (1 << 16, 1 << 10), (1, 1 << 26)])
@pytest.mark.parametrize("name", NAMES)
def test_any_call_ends_within_a_second(name, count, length):
    code = f"import sys; sys.path[:0] = {sys.path!r}; from processes.test_interrupts import measure; measure({count}, {length}, [{name!r}])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    _, after = json.loads(run.stdout)
    print(name, count, length, after)
    # 64M tokens may take less than the 50 ms after which the first signal comes.
    assert any(seconds is not None for seconds in after) or count * length < 1 << 28
    assert max(seconds or 0 for seconds in after) < 1
