"""Many threads use the same objects of the binding at once, and their first use of each; the results must be those of one thread.

    python release/threads.py

Needs NumPy alone. On a free-threaded Python nothing else keeps the threads apart, and importing spanmask must not have enabled the GIL.
"""

import sys
from threading import Barrier, Thread

import numpy as np
from spanmask import ChatFormat, MaskedLM, MaskPolicy, RoleBoundary, SpanCorruption, _core, corrupt, mask_labels, mask_tokens

THREADS = 8
DTYPES = (np.int64, np.int32, np.uint16, np.uint32)


def together(work):
    """What `work(number)` returns in each of several threads that begin at the same time."""
    barrier, results = Barrier(THREADS), [None] * THREADS

    def one(number):
        barrier.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            results[number] = error

    threads = [Thread(target=one, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


def rows_of(dtype):
    """Chats of several lengths, between markers 91 12 ... 92."""
    turn = [91, 12, *range(2, 30), 92, 91, 11, *range(2, 9), 92]
    return [np.array(turn * times, dtype) for times in range(1, 40)]


def results_of(chat, policy, spec, masking, dtype):
    """Everything that a thread computes, as bytes."""
    rows = rows_of(dtype)
    labels = mask_labels(rows, chat, policy).labels
    corrupted = corrupt(rows, spec, seed=3, num_threads=2)
    masked = mask_tokens(rows, masking, seed=3)
    arrays = [labels, corrupted.input_ids, corrupted.labels, masked.input_ids, masked.labels]
    return b"".join(np.ascontiguousarray(array.values).tobytes() for array in arrays)


def objects():
    """A format, a policy and specs that no thread has used yet."""
    chat = ChatFormat([RoleBoundary("assistant", [91, 12], [92]), RoleBoundary("user", [91, 11], [92])])
    return chat, MaskPolicy(), SpanCorruption(sentinel_ids=range(60_000, 59_000, -1), eos_token_id=1), MaskedLM(103, 1000)


def shared_objects_give_what_one_thread_gets():
    for dtype in DTYPES:
        expected = results_of(*objects(), dtype)
        shared = objects()
        assert set(together(lambda number, shared=shared, dtype=dtype: results_of(*shared, dtype))) == {expected}, dtype


def counters_lose_nothing():
    counters, times = np.zeros(3, np.int64), 2_000

    def work(number):
        for _ in range(times):
            _core.add_shared(counters, [1, number, -1])

    together(work)
    total = THREADS * times
    assert counters.tolist() == [total, times * sum(range(THREADS)), -total], counters


def main():
    free = not getattr(sys, "_is_gil_enabled", lambda: True)()
    assert free or "free-threading" not in sys.version, "importing spanmask has enabled the GIL"
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        shared_objects_give_what_one_thread_gets()
        counters_lose_nothing()
    finally:
        sys.setswitchinterval(interval)
    return free


if __name__ == "__main__":
    print(f"{THREADS} threads, {'without' if main() else 'with'} the GIL: ok")
