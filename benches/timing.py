"""How a call is timed beside others: in turn, so that what slows the machine down for a while slows all of them."""

import itertools
import statistics
import threading
import time

import numpy as np

# Every case has as many tokens, so that costs a token compare: int64 ids and labels are 8 MiB each, past L2, inside a large L3.
TOKENS = 1 << 20
ROWS = (1, 4, 32, 128, 512, 4096)
# Timed in turn with every other shape: what slows the machine down for a second must not look like the cost of a shape.
TYPICAL = (128, 8192)
LONGER = (8, 131072)  # 16 times: what is quadratic in a row shows


def beside(benchmark, run, others, rounds=50):
    """Times `run`; each of `others` once in front of each round. Their medians go into the benchmark's extra information, by engine.

    What a call returns is dropped inside its time, so that the next one finds the same memory free.
    """
    times = {engine: [] for engine in others}

    def in_front():
        for engine, other in others.items():
            began = time.perf_counter()
            other()
            times[engine].append(time.perf_counter() - began)

    def dropped():
        run()

    benchmark.pedantic(dropped, setup=in_front, rounds=rounds, warmup_rounds=2)
    benchmark.extra_info["beside"] = {engine: statistics.median(taken) for engine, taken in times.items()}


def in_turn(benchmark, engines, rounds=30):
    """Times `engines`, the first of them as the benchmark's own: in each round every one has a turn of some milliseconds, or one call.

    A turn is long: the first calls behind another engine find cold caches, which one that runs alone does not.
    """
    (ours, run), *others = engines.items()
    calls = {engine: turn_of(other) for engine, other in engines.items()}
    times = {engine: [] for engine, _ in others}

    def in_front():
        for engine, other in others:
            began = time.perf_counter()
            for _ in range(calls[engine]):
                other()
            times[engine].append((time.perf_counter() - began) / calls[engine])

    def turn():
        for _ in range(calls[ours]):
            run()

    benchmark.pedantic(turn, setup=in_front, rounds=rounds, warmup_rounds=2)
    about = {engine: statistics.median(taken) for engine, taken in times.items()}
    benchmark.extra_info.update(engine=ours, calls=calls[ours], beside=about)


def beside_typical(benchmark, run, typical, outputs):
    """Times `run` in turn with rows of a typical shape, and with a memory copy of what it returns."""
    in_turn(benchmark, {"spanmask": run, "memcpy": copies(outputs), "spanmask:typical": typical}, rounds=12)


def turn_of(run, seconds=2e-2):
    """How many calls take about so long; one at least."""
    run()
    began = time.perf_counter()
    run()
    return max(1, round(seconds / (time.perf_counter() - began)))


def anew(run, rows, spec, **options):
    """Calls of `run(rows, spec)`, each in an epoch of its own, as each batch of a training draws noise of its own.

    The same noise again and again is learnt by the processor, which then guesses its branches: T5 took five sixths of the time.
    """
    epochs = itertools.count()
    return lambda: run(rows, spec, epoch=next(epochs), **options)


def copies(arrays):
    """A memory copy of these arrays, each into fresh memory: what a function that returns arrays like them cannot do without."""

    def copy():
        for made in [array.copy() for array in arrays]:
            del made

    return copy


def copies_by_two(arrays):
    """The same by two threads, half of each array a thread: what a second one gains where memory is all that counts."""

    def copy():
        made = [np.empty_like(array) for array in arrays]
        half = [len(array) // 2 for array in arrays]
        first = threading.Thread(target=copy_parts, args=(made, arrays, [slice(0, at) for at in half]))
        first.start()
        copy_parts(made, arrays, [slice(at, None) for at in half])
        first.join()

    return copy


def copy_parts(made, arrays, parts):
    for into, array, part in zip(made, arrays, parts, strict=True):
        np.copyto(into[part], array[part])


def fewer(rows, length):
    """A shape of 1/64 of the tokens: the same rows, fewer of them, or a shorter one."""
    return (rows // 64, length) if rows >= 64 else (1, rows * length // 64)
