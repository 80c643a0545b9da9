"""How calls are timed: always alternating, so that anything that slows the machine down for a while slows down all of them.

Two ways, because they answer different questions:

- *in bursts*: each engine is called again and again for some milliseconds, so it finds its data, its code and its memory in the caches;
- *in turn*: each engine is called once, after a sweep through memory. A trainer calls a collator once per step, with a model's work in
  between, so this is closer to a real training. All engines are slower this way, spanmask by the largest factor.
"""

import itertools
import statistics
import threading
import time

import numpy as np

# Every case has the same number of tokens, so that costs per token can be compared: int64 ids and labels are 8 MiB each, more than L2.
TOKENS = 1 << 20
ROWS = (1, 4, 32, 128, 512, 4096)
# It is timed alternately with every other shape: a slowdown of the machine must not look like the cost of a shape.
TYPICAL = (128, 8192)
LONGER = (8, 131072)  # 16 times as long: a cost that is quadratic in the row length shows
SWEEP = 64 << 20  # bytes


def compare(benchmark, engines):
    """Times `engines` in bursts and in turn. The first one is the benchmark's own."""
    in_bursts(benchmark, engines)
    benchmark.extra_info["in_turn"] = in_turn(engines, rounds=20 if benchmark.enabled else 1)


def in_bursts(benchmark, engines, rounds=30):
    """Times `engines`, the first of them as the benchmark's own: in each round, every one is called for some milliseconds, or once.

    The first calls after another engine find cold caches; a burst is long enough that they do not count.
    """
    (ours, run), *others = engines.items()
    calls = {engine: calls_per_burst(other) for engine, other in engines.items()}
    times = {engine: [] for engine, _ in others}

    def before_round():
        for engine, other in others:
            began = time.perf_counter()
            for _ in range(calls[engine]):
                other()
            times[engine].append((time.perf_counter() - began) / calls[engine])

    def burst():
        for _ in range(calls[ours]):
            run()

    benchmark.pedantic(burst, setup=before_round, rounds=rounds, warmup_rounds=2)
    medians = {engine: statistics.median(taken) for engine, taken in times.items()}
    benchmark.extra_info.update(engine=ours, calls=calls[ours], others=medians)


def in_turn(engines, rounds):
    """The median time of one call of each engine: in each round, every one is called once, after a sweep through 64 MiB."""
    swept = np.zeros(SWEEP, np.uint8)
    times = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine, run in engines.items():
            np.add(swept, 1, out=swept)
            began = time.perf_counter()
            run()
            times[engine].append(time.perf_counter() - began)
    return {engine: statistics.median(taken) for engine, taken in times.items()}


def alternate(benchmark, run, others, rounds=50):
    """Times `run`, and each of `others` once before each round. Their medians go into the benchmark's extra information, by engine.

    The result of a call is dropped within the measured time, so that the next call can reuse its memory.
    """
    times = {engine: [] for engine in others}

    def before_round():
        for engine, other in others.items():
            began = time.perf_counter()
            other()
            times[engine].append(time.perf_counter() - began)

    def drop_result():
        run()

    benchmark.pedantic(drop_result, setup=before_round, rounds=rounds, warmup_rounds=2)
    benchmark.extra_info["others"] = {engine: statistics.median(taken) for engine, taken in times.items()}


def with_typical(benchmark, run, typical, outputs):
    """Times `run` in bursts that alternate with rows of a typical shape, and with a memory copy of what it returns."""
    in_bursts(benchmark, {"spanmask": run, "memcpy": copies(outputs), "spanmask:typical": typical}, rounds=12)


def calls_per_burst(run, seconds=2e-2):
    """How many calls take about this long; at least one."""
    run()
    began = time.perf_counter()
    run()
    return max(1, round(seconds / (time.perf_counter() - began)))


def in_new_epochs(run, rows, spec, **options):
    """Calls of `run(rows, spec)`, each in a new epoch, as each batch of a training draws new noise.

    A processor learns to predict the branches of repeated noise: T5 then took five sixths of the time.
    """
    epochs = itertools.count()
    return lambda: run(rows, spec, epoch=next(epochs), **options)


def copies(arrays):
    """A memory copy of these arrays, each into fresh memory: the lower bound for a function that returns such arrays."""

    def copy():
        for made in [array.copy() for array in arrays]:
            del made

    return copy


def copies_by_two(arrays):
    """The same with two threads, each of which copies half of each array: the gain from a second thread if memory is the limit."""

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
    """A shape with 1/64 of the tokens: fewer rows of the same length, or one shorter row."""
    return (rows // 64, length) if rows >= 64 else (1, rows * length // 64)
