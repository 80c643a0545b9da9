"""Measurements -> docs/reference/benchmarks.md, the pictures in docs/assets/, and the table of README.md.

    python benches/report.py target/bench.json target/kernels.txt

Only the text between two marks of a page is written; the rest of the page is kept.
"""

import math
import platform
import sys
from pathlib import Path

import plots
from results import over, read_bench, read_kernels
from timing import TYPICAL

ROOT = Path(__file__).parents[1]
PAGE, README = ROOT / "docs" / "reference" / "benchmarks.md", ROOT / "README.md"
BEGIN, END = "<!-- begin: benches/report.py -->", "<!-- end: benches/report.py -->"
KERNELS = {"labels": "`mask_labels`", "corrupt": "`corrupt`", "masked-lm": "`mask_tokens`"}
# Those whose shapes and adversarial inputs are timed.
SHAPED = {**KERNELS, "infill": "`infill`"}
PEERS = ("trl", "transformers", "rewritten")
AXES = {
    "rows": "rows of 1M tokens",
    "turns": "turns per row",
    "markers": "markers",
    "density": "density",
    "mean span": "mean span length",
    "probability": "probability",
}
FORMAT_MARKERS = 3  # the number of markers in the format of all rows where markers are not varied

LABELS, LONG_LABELS, CHAT = "labels/8x2048/int64/4-turns", "labels/32x8192/int64/4-turns", "chat-collator/8x1k-2k/int64"
TOKENS, WORDS = "masked-lm/128x512/int64/tokens", "masked-lm/32x512/int64/whole-words"
ENCODE = "encode/1000x200-2k/text/qwen3"
T5 = "span-corruption-collator/128x568/int64"
FIM = "fill-in-the-middle-collator/64x2048/int64"
DIFFUSION, DIFFUSED = "masked-diffusion-collator/128x256-512/int64/numpy-rows", "masked-diffusion/128x512/int64/tokens"
INFILL = "infill/128x512/int64/spans"
VISION = ("vision-collator/8x1-image-640x480/text/llava", "vision-collator/8x1-image-640x480/text/qwen2_vl")
SITE = "https://spanmask.github.io/spanmask"
# README's table: group, peer, what was done. Whole jobs take so long that caches do not matter; batches are single calls with cold caches.
JOBS = [
    (ENCODE, "trl", "1,000 conversations to ids and labels"),
    (ENCODE, "transformers", "the same, with a template that marks answers"),
]
HEADLINES = [
    (f"{CHAT}/lists", "trl", "chat batch, 8 rows of 1,024 to 2,048 tokens, lists"),
    (f"{CHAT}/numpy-rows", "trl", "chat batch, the same rows as NumPy arrays"),
    (f"{T5}/lists", "rewritten:flax-script", "T5 span corruption, 128 rows of 568 tokens, lists"),
    (f"{T5}/numpy-rows", "rewritten:flax-script", "T5, the same rows as NumPy arrays"),
    (TOKENS, "transformers", "masked LM, padded batch of 128 x 512 tokens"),
    (TOKENS, "rewritten:numpy", "masked LM, the same batch"),
    (WORDS, "transformers", "masked LM with whole words, padded batch of 32 x 512 tokens"),
]


def goals(groups):
    """The limits that must hold, as (what, compared with, limit in words, measured, whether it holds)."""

    def least(what, group, peer, limit, in_turn=False):
        engine = engine_of(groups[group], peer)
        value = groups[group].times_in_turn(engine) if in_turn else groups[group].times(engine)
        limit_shown, shown = f"{limit:,}x", times(value)
        if value < limit and shown == times(limit):
            shown = f"{math.floor(value * 10) / 10:.1f}x"  # rounded down, so that a value just below the limit does not look like the limit
        return f"{what}, in turn" if in_turn else what, engine, f"at least {limit_shown}", shown, value >= limit

    def most(what, against, value, limit, show=lambda value: f"{value:.2f}x"):
        return what, against, f"at most {show(limit)}", show(value), value <= limit

    def floor(group, limit):
        return most(f"`{group}`", "memory copy", groups[group].times("spanmask", "memcpy"), limit)

    def spread(kernel, what, limit, values):
        costs = [group.times_typical() for value, group in over(groups, kernel, "rows") if values(value)]
        return most(f"{SHAPED[kernel]}, cost per token of {what}", "itself", max(costs) / min(costs), limit)

    yield floor(LONG_LABELS, 1.6)
    yield floor(LABELS, 6)
    yield least(f"`{LABELS}`", LABELS, "rewritten:loop", 1800)
    yield least(f"`{LABELS}`", LABELS, "trl", 33)
    yield least("chat collator, NumPy rows", f"{CHAT}/numpy-rows", "trl", 60)
    yield least("chat collator, NumPy rows", f"{CHAT}/numpy-rows", "trl", 30, in_turn=True)
    yield least("chat collator, lists", f"{CHAT}/lists", "trl", 15)
    yield least("chat collator, lists", f"{CHAT}/lists", "trl", 15, in_turn=True)
    yield least("chat collator, Arrow", f"{CHAT}/arrow", "trl", 55)
    yield least("T5 collator, NumPy rows", f"{T5}/numpy-rows", "rewritten:flax-script", 65)
    yield least("T5 collator, NumPy rows", f"{T5}/numpy-rows", "rewritten:flax-script", 60, in_turn=True)
    yield least("fill-in-the-middle collator, NumPy rows", f"{FIM}/numpy-rows", "rewritten:megatron", 20)
    yield least("fill-in-the-middle collator, NumPy rows", f"{FIM}/numpy-rows", "rewritten:megatron", 20, in_turn=True)
    yield least("infilling collator, NumPy rows", INFILL, "rewritten:fairseq", 20)
    yield least("infilling collator, NumPy rows", INFILL, "rewritten:numpy", 5)
    yield least("masked diffusion collator, NumPy rows", DIFFUSION, "rewritten:torch", 5)
    yield least(f"`{DIFFUSED}`", DIFFUSED, "rewritten:numpy", 5)
    yield least("masked LM", TOKENS, "transformers", 85)
    yield least("masked LM", TOKENS, "transformers", 25, in_turn=True)
    yield least("masked LM", TOKENS, "rewritten:numpy", 4.5)
    # 250 while transformers was given lists of offsets, which it had to convert in each call.
    yield least("whole words", WORDS, "transformers", 110)
    yield most("`encode_chat`", "rendering and tokenizing once", 1 / groups[ENCODE].times("render-and-tokenize"), 1.15)
    yield least("`encode_chat`", ENCODE, "trl", 1.5)
    yield least("`encode_chat`", ENCODE, "transformers", 1.5)
    for group in VISION:
        yield most(f"`{group}`", "the processor's own call", 1 / groups[group].times("processor"), 1.05)
    for kernel in SHAPED:
        yield spread(kernel, "rows of 8k to 1M tokens", 1.3, lambda rows: rows <= 128)
        yield spread(kernel, "1 to 4,096 rows", 1.5, lambda _: True)
    yield most("`mask_labels`, one more turn", "-", cost_of_a_turn(groups), 35e-9, duration)
    more = max(group.times_typical() for markers, group in over(groups, "labels", "markers") if markers > FORMAT_MARKERS)
    yield most(f"`mask_labels`, more than {FORMAT_MARKERS} markers", f"{FORMAT_MARKERS} markers", more, 1.1)
    for kernel, name in KERNELS.items():
        call = groups[f"{kernel}/1x16/int64/one-call"].seconds["spanmask"]
        yield most(f"{name}, one row of 16 tokens", "-", call, 10e-6, duration)
    started = groups["import/process/any/warm"].seconds
    yield most("`import spanmask`, added to", "`import numpy`", started["spanmask"] - started["numpy"], 30e-3, duration)


def engine_of(group, peer):
    """The full name of a peer that was timed in a group."""
    return next(engine for engine in group.seconds if engine.startswith(peer))


def cost_of_a_turn(groups):
    """Seconds that one more turn adds to `mask_labels`, at the same number of tokens."""
    (fewest, few), *_, (most, many) = over(groups, "labels", "turns")
    return (many.seconds["spanmask"] - few.seconds["spanmask"]) / ((most - fewest) * TYPICAL[0])


def adversarial_rows(groups, kernel):
    """Yields (case, cost per token relative to typical rows, group, cost per token of rows that are 16 times as long, relative to it)."""
    for name, group in groups.items():
        if name.startswith(f"{kernel}/128x8192/") and "adversarial" in group.about:
            longer = groups[name.replace("/128x8192/", "/8x131072/")]
            yield group.about["adversarial"], group.times_typical(), group, longer.times_typical() / group.times_typical()


def duration(seconds):
    """A time in a suitable unit."""
    units = ((1, "s"), (1e-3, "ms"), (1e-6, "µs"))
    size, unit = next((unit for unit in units if abs(seconds) >= unit[0]), (1e-9, "ns"))
    return f"{seconds / size:.3g} {unit}"


def times(ratio):
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x"


def table(head, rows):
    """A Markdown table. Columns whose head ends with a colon hold numbers and are aligned right."""
    names = [name.rstrip(":") for name in head]
    rule = ["---:" if name.endswith(":") else "---" for name in head]
    lines = [names, rule, *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def peer_rows(groups):
    """The groups in which a peer ran in both ways: in bursts and in turn, the fastest engine first."""
    for name, group in groups.items():
        if group.in_turn and any(engine.startswith(PEERS) for engine in group.seconds):
            for engine, seconds in sorted(group.seconds.items(), key=lambda item: item[1]):
                in_turn = (duration(group.in_turn[engine]), times(group.times_in_turn(engine)))
                yield f"`{name}`", engine, duration(seconds), times(group.times(engine)), *in_turn


def axis_rows(groups, kernel, axis):
    """One row for each value of the axis."""
    for value, group in over(groups, kernel, axis):
        shown = f"{value:,} x {group.about['tokens'] // value:,}" if axis == "rows" else f"{value:,}"
        cost, copy = group.ns_per_token(), group.times("spanmask", "memcpy")
        yield SHAPED[kernel], AXES[axis], shown, f"{cost:.2f}", f"{group.times_typical():.2f}", f"{copy:.2f}"


def processor(info):
    return info.get("cpu", {}).get("brand_raw", platform.processor())


def machine(info):
    """The machine and the versions of packages."""
    caches = ", ".join(f"{name} {size}" for name, size in info["caches"].items())
    versions = ", ".join(f"{package} {version}" for package, version in info["versions"].items())
    return (
        f"{processor(info)}, {info.get('cpu', {}).get('count')} cores ({caches}), {info['system']}; "
        f"Python {info['python_version']}, {versions}."
    )


def sections(info, groups, kernels):
    """Yield the parts of the page."""
    yield machine(info)
    yield "## From conversations to labels"
    encoded = groups[ENCODE]
    yield (
        f"1,000 conversations of one to five rounds, {encoded.about['tokens']:,} tokens of a byte-level vocabulary of 32,000, with TRL's "
        "copy of Qwen 3's template that has generation marks: TRL and transformers need the marks, spanmask does not. All engines give "
        "the same ids. `render-and-tokenize` gives no labels: each text is rendered once, and all are tokenized in one call. The engines "
        "that are named `datasets-map` and `prepare` write a dataset."
    )
    yield table(
        ["engine", "median:", "conversations per second:", "relative to spanmask:"],
        (
            (engine, duration(seconds), f"{1000 / seconds:,.0f}", times(encoded.times(engine)))
            for engine, seconds in sorted(encoded.seconds.items(), key=lambda item: item[1])
        ),
    )
    yield "## Compared with other programs"
    yield picture("speed-peers", "Slowdown relative to spanmask on the same batch")
    yield table(
        ["input", "engine", "in bursts:", "relative to spanmask:", "in turn:", "relative to spanmask:"], peer_rows(groups)
    )
    yield "## The kernels alone"
    yield (
        "In Rust, without a Python call and into memory that is already allocated, compared with a memory copy of what they write "
        "(`search` writes nothing, so of what it reads)."
    )
    rows = ((name, duration(group.seconds["kernel"]), duration(group.seconds["memcpy"])) for name, group in kernels.items())
    ratios = (f"{group.times('kernel', 'memcpy'):.2f}" for group in kernels.values())
    yield table(
        ["kernel", "median:", "memory copy:", "relative to a copy:"],
        ((f"`{name}`", *rest, ratio) for (name, *rest), ratio in zip(rows, ratios, strict=True)),
    )
    yield "## Scaling with input shape"
    yield (
        "Every call reads 1M tokens, int64 (8 MiB), and writes 8 MiB (`mask_labels`), about 9 MiB (`corrupt`), 14 MiB (`infill`) or "
        f"16 MiB (`mask_tokens`) of fresh memory: more than the L2 cache ({info['caches'].get('L2', 'size unknown')}) in all cases. What "
        "differs is the row: longer rows leave L2 between the pass that reads them and the pass that writes. *relative to typical*: cost "
        "per token, divided by that of 128 rows of 8,192; *relative to a copy*: divided by a memory copy of the same outputs. Both were "
        "timed in bursts that alternate with the measured ones."
    )
    yield picture("speed-shapes", "Cost per token by length and number of rows")
    yield picture("speed-chats", "Cost per token of mask_labels by turns per row and by markers")
    axes = [("labels", "rows"), ("labels", "turns"), ("labels", "markers"), ("corrupt", "rows"), ("corrupt", "density")]
    axes += [("corrupt", "mean span"), ("masked-lm", "rows"), ("masked-lm", "probability"), ("infill", "rows")]
    yield table(
        ["function", "varied", "value:", "ns per token:", "relative to typical:", "relative to a copy:"],
        (row for axis in axes for row in axis_rows(groups, *axis)),
    )
    yield "## Adversarial inputs"
    yield (
        "128 rows of 8,192 tokens that make a naive search slow; `ADVERSARIAL` in the files of `benches/` says what each case contains. "
        "*16 times as long*: the cost per token of 8 rows of 131,072 tokens, divided by this one; an algorithm that is quadratic in the "
        "row length would show 16."
    )
    yield table(
        ["function", "case", "ns per token:", "relative to typical:", "16 times as long:"],
        (
            (SHAPED[kernel], case, f"{group.ns_per_token():.2f}", f"{ratio:.2f}", f"{growth:.2f}")
            for kernel in SHAPED
            for case, ratio, group, growth in adversarial_rows(groups, kernel)
        ),
    )
    yield "## Threads"
    yield "8,192 rows of 8,192 tokens (64M), int32, `num_threads=1` and `2`; inputs and outputs are too large for most caches."
    yield picture("speed-threads", "Tokens per second with one and two threads")
    yield table(
        ["function", "one thread:", "two threads:", "gain:", "memory copy of the outputs:", "copy with two threads:", "gain:"],
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
    yield "Where a memory copy gains this little from a second thread, a function that is bound by memory cannot gain much more."
    yield "## Fixed overhead"
    started = groups["import/process/any/warm"].seconds
    calls = [
        (f"{KERNELS[k]}, one row of 16 tokens", duration(groups[f"{k}/1x16/int64/one-call"].seconds["spanmask"])) for k in KERNELS
    ]
    processes = [
        (f"a Python process that imports {module} and exits", duration(started[module])) for module in ("numpy", "spanmask")
    ]
    yield table(["what", "median:"], calls + processes)
    yield "## Targets"
    yield (
        "Limits that must hold: a change may not go below them, nor make a kernel more than 10 % or a whole collator more than 5 % slower. "
        "Other machines give other ratios. All rows are bursts of calls, "
        "except those that say *in turn*: these are single calls with cold caches, and their limits are goals. Peak memory is not on this "
        "page: `tests/bulk/test_memory.py` checks that calls need little more than their outputs."
    )
    yield table(
        ["what", "compared with", "limit", "measured:", "holds"],
        [(*goal[:-1], "yes" if goal[-1] else "**no**") for goal in goals(groups)],
    )


def gain(seconds, one, two):
    return duration(seconds[one]), duration(seconds[two]), f"{seconds[one] / seconds[two]:.2f}x"


def picture(name, caption):
    return f"![{caption}](../assets/{name}.svg)"


def readme(info, groups):
    """The picture and the table of README.md: whole jobs, then single calls with cold caches."""
    measured = [(*job, False) for job in JOBS] + [(*headline, True) for headline in HEADLINES]
    rows = [
        (what, f"{plots.peer_name(engine)}{' (labels given)' if group.startswith(CHAT) else ''}", times(value))
        for group, peer, what, in_turn in measured
        for engine in [engine_of(groups[group], peer)]
        for value in [groups[group].times_in_turn(engine) if in_turn else groups[group].times(engine)]
    ]
    missed = sum(not goal[-1] for goal in goals(groups))
    return (
        f"![Slowdown relative to spanmask on the same batch]({SITE}/assets/speed-peers.svg)\n\n"
        f"{table(['what', 'compared with', 'their time:'], rows)}\n\n"
        "Their time, as a multiple of ours. Batches are single calls with cold caches, as in a training loop. TRL's collator is given "
        "finished labels; the Flax example and the NumPy program are reimplemented from their descriptions. Measured by `make bench` "
        f"({processor(info)}); [all numbers]({SITE}/reference/benchmarks/); {missed} of {len(list(goals(groups)))} "
        f"[targets]({SITE}/reference/benchmarks/#targets) are missed. At 100,000 tokens per second every one of these programs keeps up "
        f"from one core: see [feeding a model]({SITE}/reference/feeding/)."
    )


def rewrite(page, text):
    """Replaces the text between the marks of a page."""
    before, rest = page.read_text(encoding="utf-8").split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(bench, kernels):
    """Writes the pages and the pictures."""
    info, groups = read_bench(bench)
    rewrite(PAGE, "\n\n".join(sections(info, groups, read_kernels(kernels))))
    rewrite(README, readme(info, groups))
    plots.draw(groups, PEERS, ROOT / "docs" / "assets")


if __name__ == "__main__":
    main(*sys.argv[1:])
