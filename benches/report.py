"""What was measured -> docs/reference/benchmarks.md, the pictures in docs/assets/, and the caption of the one in README.md.

    python benches/report.py target/bench.json target/kernels.txt

Pages are written anew between their two marks; what stands around them is kept.
"""

import math
import platform
import sys
from pathlib import Path

import plots
from results import over, read_bench, read_kernels

ROOT = Path(__file__).parents[1]
PAGE, README = ROOT / "docs" / "reference" / "benchmarks.md", ROOT / "README.md"
BEGIN, END = "<!-- begin: benches/report.py -->", "<!-- end: benches/report.py -->"
KERNELS = {"labels": "`mask_labels`", "corrupt": "`corrupt`", "masked-lm": "`mask_tokens`"}
PEERS = ("trl", "transformers", "rewritten")
AXES = {
    "rows": "rows of 1M tokens",
    "turns": "turns a row",
    "markers": "markers",
    "density": "density",
    "mean span": "mean span length",
}
AXES["probability"] = "probability"

LABELS, LONG_LABELS, CHAT = "labels/8x2048/int64/4-turns", "labels/32x8192/int64/4-turns", "chat-collator/8x1k-2k/int64"
TOKENS, WORDS = "masked-lm/128x512/int64/tokens", "masked-lm/32x512/int64/whole-words"
T5 = "span-corruption-collator/128x568/int64/numpy-rows"


def goals(groups):
    """What must hold: (what, against what, the limit in words, measured, whether it holds)."""

    def least(what, group, peer, limit):
        engine = next(engine for engine in groups[group].seconds if engine.startswith(peer))
        value, aim = groups[group].times(engine), f"{limit:,}x"
        shown = times(value)
        if shown == aim and value < limit:
            shown = f"{math.floor(value * 10) / 10:.1f}x"  # missed by less than a digit: not rounded up to the goal
        return what, engine, f"at least {aim}", shown, value >= limit

    def most(what, against, value, limit, show=lambda value: f"{value:.2f}x"):
        return what, against, f"at most {show(limit)}", show(value), value <= limit

    def floor(group, limit):
        return most(f"`{group}`", "memory copy", groups[group].times("spanmask", "memcpy"), limit)

    def spread(kernel, axis, what, values):
        costs = [group.times_typical() for value, group in over(groups, kernel, axis) if values(value)]
        return most(f"{KERNELS[kernel]}, cost a token over {what}", "itself", max(costs) / min(costs), 1.3)

    yield floor(LONG_LABELS, 1.3)
    yield floor(LABELS, 1.6)
    yield least(f"`{LABELS}`", LABELS, "rewritten:loop", 5000)
    yield least(f"`{LABELS}`", LABELS, "trl", 50)
    yield least("chat collator, NumPy rows", f"{CHAT}/numpy-rows", "trl", 40)
    yield least("chat collator, lists", f"{CHAT}/lists", "trl", 15)
    yield least("chat collator, Arrow", f"{CHAT}/arrow", "trl", 60)
    yield least("T5 span corruption, collator", T5, "rewritten:flax-script", 150)
    yield least("masked LM", TOKENS, "transformers", 100)
    yield least("masked LM", TOKENS, "rewritten:numpy", 5)
    yield least("whole words", WORDS, "transformers", 300)
    for kernel in KERNELS:
        yield spread(kernel, "rows", "rows of 8k to 1M tokens", lambda rows: rows <= 128)
        yield spread(kernel, "rows", "1 to 4,096 rows", lambda _: True)
    yield spread("labels", "turns", "1 to 256 turns a row", lambda _: True)
    yield spread("labels", "markers", "1 to 64 markers", lambda _: True)
    for kernel, name in KERNELS.items():
        worst = max(hard_rows(groups, kernel), key=lambda row: row[1])
        yield most(f"{name}, hardest rows: {worst[0]}", "typical rows", worst[1], 3)
        grows = max(hard_rows(groups, kernel), key=lambda row: row[3])
        yield most(f"{name}, hard rows 16 times as long, a token: {grows[0]}", "itself", grows[3], 2)
    for kernel, name in KERNELS.items():
        gain = groups[f"{kernel}/8192x8192/int32/threads"].times("spanmask:1-thread", "spanmask:2-threads")
        yield f"{name}, 64M tokens, two threads", "one thread", "at least 1.8x", f"{gain:.2f}x", gain >= 1.8
    for kernel, name in KERNELS.items():
        call = groups[f"{kernel}/1x16/int64/one-call"].seconds["spanmask"]
        yield most(f"{name}, one row of 16 tokens", "-", call, 15e-6, duration)
    started = groups["import/process/any/warm"].seconds
    yield most("`import spanmask`, more than", "`import numpy`", started["spanmask"] - started["numpy"], 30e-3, duration)


def hard_rows(groups, kernel):
    """(case, times the typical cost a token, the group, times its cost a token where rows are 16 times as long)"""
    for name, group in groups.items():
        if name.startswith(f"{kernel}/128x8192/") and "adversarial" in group.about:
            longer = groups[name.replace("/128x8192/", "/8x131072/")]
            yield group.about["adversarial"], group.times_typical(), group, longer.times_typical() / group.times_typical()


def duration(seconds):
    """A time in the unit that suits it."""
    size, unit = next(((size, unit) for size, unit in ((1, "s"), (1e-3, "ms")) if abs(seconds) >= size), (1e-6, "µs"))
    return f"{seconds / size:.3g} {unit}"


def times(ratio):
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x"


def table(head, rows):
    """A Markdown table; all columns but the first are numbers where a head ends with a colon."""
    names = [name.rstrip(":") for name in head]
    rule = ["---:" if name.endswith(":") else "---" for name in head]
    lines = [names, rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def peer_rows(groups):
    """The groups in which a peer ran, the fastest engine first."""
    for name, group in groups.items():
        if any(engine.startswith(PEERS) for engine in group.seconds):
            for engine, seconds in sorted(group.seconds.items(), key=lambda item: item[1]):
                yield f"`{name}`", engine, duration(seconds), times(group.times(engine))


def axis_rows(groups, kernel, axis):
    """One row a value of the axis."""
    for value, group in over(groups, kernel, axis):
        shown = f"{value:,} x {group.about['tokens'] // value:,}" if axis == "rows" else f"{value:,}"
        cost, copy = group.a_token(), group.times("spanmask", "memcpy")
        yield KERNELS[kernel], AXES[axis], shown, f"{cost:.2f}", f"{group.times_typical():.2f}", f"{copy:.2f}"


def machine(info):
    """Which machine, which versions."""
    cpu = info.get("cpu", {})
    caches = ", ".join(f"{name} {size}" for name, size in info["caches"].items())
    versions = ", ".join(f"{package} {version}" for package, version in info["versions"].items())
    return (
        f"{cpu.get('brand_raw', platform.processor())}, {cpu.get('count')} cores ({caches}), {info['system']}; "
        f"Python {info['python_version']}, {versions}."
    )


def sections(info, groups, kernels):
    """The page, part by part."""
    yield machine(info)
    yield "## What was aimed at"
    yield table(
        ["what", "against", "goal", "measured:", "reached"],
        [(*goal[:-1], "yes" if goal[-1] else "**no**") for goal in goals(groups)],
    )
    yield "## Against other programs"
    yield picture("speed-peers", "How many times as long as spanmask other programs take for the same batch")
    yield table(["input", "engine", "median:", "times spanmask:"], peer_rows(groups))
    yield "## The kernels alone"
    yield (
        "In Rust, without a Python call and into memory that is there already, beside a memory copy of what they write (`search` "
        "writes nothing: of what it reads)."
    )
    rows = ((name, duration(group.seconds["kernel"]), duration(group.seconds["memcpy"])) for name, group in kernels.items())
    ratios = (f"{group.times('kernel', 'memcpy'):.2f}" for group in kernels.values())
    yield table(
        ["kernel", "median:", "memory copy:", "times a copy:"],
        ((f"`{name}`", *rest, ratio) for (name, *rest), ratio in zip(rows, ratios, strict=True)),
    )
    yield "## What the shape costs"
    yield (
        "Every call works on 1M tokens, int64 (8 MiB), and writes 8 MiB (`mask_labels`), about 9 MiB (`corrupt`) or 16 MiB (`mask_tokens`) "
        f"of fresh memory: more than L2 ({info['caches'].get('L2', 'unknown here')}) in all of them, so that the same cache serves all. "
        "What differs is the row: ids and labels of one fit L2 up to 64k tokens, and longer ones are read from further out a second "
        "time, to be written. *times typical*: cost a token, to that of 128 rows of 8,192, and *times a copy*: to a memory copy of the "
        "same outputs, both taken in turn with it."
    )
    yield picture("speed-shapes", "Cost of a token against the length of rows, and their number")
    yield picture("speed-chats", "Cost of a token in mask_labels against turns a row, and against markers")
    axes = [("labels", "rows"), ("labels", "turns"), ("labels", "markers"), ("corrupt", "rows"), ("corrupt", "density")]
    axes += [("corrupt", "mean span"), ("masked-lm", "rows"), ("masked-lm", "probability")]
    yield table(
        ["function", "varied", "value:", "ns a token:", "times typical:", "times a copy:"],
        (row for axis in axes for row in axis_rows(groups, *axis)),
    )
    yield "## Hard rows"
    yield (
        "128 rows of 8,192 tokens that make a naive search slow: what the cases hold is in `benches/`, beside their names. *16 times as "
        "long*: the cost a token of 8 rows of 131,072, to this one; what is quadratic in a row would show 16."
    )
    yield table(
        ["function", "rows", "ns a token:", "times typical:", "16 times as long:"],
        (
            (KERNELS[kernel], case, f"{group.a_token():.2f}", f"{ratio:.2f}", f"{growth:.2f}")
            for kernel in KERNELS
            for case, ratio, group, growth in hard_rows(groups, kernel)
        ),
    )
    yield "## Threads"
    yield "8,192 rows of 8,192 tokens (64M), int32, `num_threads=1` and `2`; inputs and outputs lie in memory, outside every cache."
    yield picture("speed-threads", "Tokens a second with one and two threads")
    yield table(
        ["function", "one thread:", "two threads:", "gain:", "memory copy of the outputs:", "by two threads:", "gain:"],
        (
            (
                KERNELS[kernel],
                *gain(seconds, "spanmask:1-thread", "spanmask:2-threads"),
                *gain(seconds, "memcpy", "memcpy:2-threads"),
            )
            for kernel in KERNELS
            for seconds in [groups[f"{kernel}/8192x8192/int32/threads"].seconds]
        ),
    )
    yield "Where a copy gains no more than this from a second thread, neither does what is bound by memory."
    yield "## Small things"
    started = groups["import/process/any/warm"].seconds
    calls = [
        (f"{KERNELS[k]}, one row of 16 tokens", duration(groups[f"{k}/1x16/int64/one-call"].seconds["spanmask"])) for k in KERNELS
    ]
    processes = [(f"a Python that imports {module}, and ends", duration(started[module])) for module in ("numpy", "spanmask")]
    yield table(["what", "median:"], calls + processes)


def gain(seconds, one, two):
    return duration(seconds[one]), duration(seconds[two]), f"{seconds[one] / seconds[two]:.2f}x"


def picture(name, caption):
    return f"![{caption}](../assets/{name}.svg)"


def caption(info, groups):
    """The one picture of README.md."""
    ratios = [group.times(engine) for group in groups.values() for engine in group.seconds if engine.startswith(PEERS)]
    return (
        "![How many times as long as spanmask other programs take for the same batch](docs/assets/speed-peers.svg)\n\n"
        f"The same batch takes other programs {rounded_down(min(ratios), 0.1):.1f} to {rounded_down(max(ratios), 1):,.0f} times as long "
        f"(`make bench`, {info['cpu'].get('brand_raw', platform.processor())}; [all numbers](docs/reference/benchmarks.md))."
    )


def rounded_down(value, step):
    """Never more than was measured."""
    return int(value / step) * step


def rewrite(page, text):
    """Puts `text` between the page's marks."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(bench, kernels):
    """Write all."""
    info, groups = read_bench(bench)
    rewrite(PAGE, "\n\n".join(sections(info, groups, read_kernels(kernels))))
    rewrite(README, caption(info, groups))
    plots.draw(groups, PEERS, ROOT / "docs" / "assets")


if __name__ == "__main__":
    main(*sys.argv[1:])
