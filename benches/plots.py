"""The pictures of the benchmark page, as SVG files that change only where a number does."""

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator
from results import over

# A white background, since pages may be light or dark. Text stays text, ids depend only on what is drawn, and there is no date, so that
# diffs stay small.
STYLE = {
    "axes.edgecolor": "#8c959f",
    "axes.labelcolor": "#57606a",
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "spanmask",
    "text.color": "#1f2328",
    "xtick.color": "#57606a",
    "ytick.color": "#57606a",
}
OURS, PEER, REWRITTEN, FLOOR = "#0969da", "#57606a", "#afb8c1", "#8c959f"
FUNCTIONS = {"labels": ("mask_labels", OURS), "corrupt": ("corrupt", "#bc4c00"), "masked-lm": ("mask_tokens", "#1a7f37")}
TASKS = {
    "chat-collator/8x1k-2k/int64/lists": "chat batch of 8 rows from lists",
    "chat-collator/8x1k-2k/int64/numpy-rows": "chat batch of 8 rows from NumPy",
    "chat-collator/8x1k-2k/int64/arrow": "chat batch of 8 rows from Arrow",
    "labels/8x2048/int64/4-turns": "labels of 8 x 2,048 tokens",
    "labels/32x8192/int64/4-turns": "labels of 32 x 8,192 tokens",
    "masked-lm/128x512/int64/tokens": "masked LM, 128 x 512",
    "masked-lm/32x512/int64/whole-words": "whole words, 32 x 512",
    "span-corruption-collator/128x568/int64/numpy-rows": "T5 batch of 128 rows from NumPy",
    "span-corruption-collator/128x568/int64/lists": "T5 batch of 128 rows from lists",
    "infill/128x512/int64/spans": "infilling batch of 128 rows from NumPy",
    "fill-in-the-middle-collator/64x2048/int64/numpy-rows": "middle-filling batch of 64 rows from NumPy",
    "masked-diffusion-collator/128x256-512/int64/numpy-rows": "diffusion batch of 128 rows from NumPy",
}


def draw(groups, peers, folder):
    """Draws all pictures into a folder."""
    with mpl.rc_context(STYLE):
        for name, figure in (
            ("speed-peers", against_peers(groups, peers)),
            ("speed-shapes", over_shapes(groups)),
            ("speed-chats", over_chats(groups)),
            ("speed-threads", over_threads(groups)),
        ):
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight", pad_inches=0.15)


def against_peers(groups, peers):
    """Bars: the slowdown relative to spanmask, for single calls with cold caches."""
    bars = [
        (f"{task}: {peer_name(engine)}", groups[group].times_in_turn(engine), engine.startswith("rewritten"))
        for group, task in TASKS.items()
        for engine in groups[group].seconds
        if engine.startswith(peers)
    ]
    figure = Figure(figsize=(7.2, 0.3 * len(bars) + 0.7))
    axes = figure.subplots()
    names, ratios, rewritten = zip(*reversed(bars), strict=True)
    axes.barh(
        names, [ratio - 1 for ratio in ratios], left=1, height=0.62, color=[REWRITTEN if mark else PEER for mark in rewritten]
    )
    for place, ratio in enumerate(ratios):
        axes.annotate(
            f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x", (ratio, place), (4, 0), "data", "offset points", va="center"
        )
    axes.set_xscale("log")
    axes.axvline(1, color=OURS, linewidth=2)
    axes.xaxis.set_major_locator(LogLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ratio, _: f"{ratio:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.tick_params(axis="y", length=0, labelcolor=STYLE["text.color"])
    axes.spines["left"].set_visible(False)
    axes.set_xlim(min(1, 0.8 * min(ratios)), 2.2 * max(ratios))
    axes.set_xlabel("slowdown relative to spanmask (blue line: 1), caches cold; pale: reimplemented from its description")
    return figure


def peer_name(engine):
    """`trl-1.16.0:lists` -> `TRL 1.16.0`."""
    name = engine.removeprefix("rewritten:").partition(":")[0]
    package, _, version = name.rpartition("-")
    words = {
        "trl": "TRL",
        "loop": "a Python loop",
        "numpy": "vectorized NumPy",
        "torch": "vectorized torch",
        "flax-script": "the Flax example",
        "megatron": "Megatron's program",
        "fairseq": "fairseq's program",
    }
    return f"{words.get(package, package)} {version}" if package in ("trl", "transformers") else words.get(name, name)


def over_shapes(groups):
    """Lines: cost per token by row length."""
    figure = Figure(figsize=(7.2, 3))
    axes = figure.subplots()
    for kernel, (name, color) in FUNCTIONS.items():
        points = [(group.about["tokens"] / rows, group) for rows, group in reversed(over(groups, kernel, "rows"))]
        line(axes, points, name, color)
    line(axes, points_of_copy(groups), "memory copy of labels", FLOOR, "memcpy")
    logarithmic(axes, [length for length, _ in points], "tokens per row")
    top = axes.secondary_xaxis("top", functions=(rows_of, rows_of))
    top.set_xlabel("rows, 1M tokens in total")
    ticks(top.xaxis, [(1 << 20) / length for length, _ in points])
    top.spines["top"].set_visible(False)
    return figure


def rows_of(length):
    """How many rows of this length there are. Takes arrays as well, and zeros, which matplotlib passes."""
    return (1 << 20) / np.maximum(length, 1e-9)


def points_of_copy(groups):
    return [(group.about["tokens"] / rows, group) for rows, group in reversed(over(groups, "labels", "rows"))]


def over_chats(groups):
    """Lines: cost per token of mask_labels by number of turns and by number of markers."""
    figure = Figure(figsize=(7.2, 2.6))
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (axis, title) in zip(
        panels, (("turns", "turns per row of 8,192 tokens"), ("markers", "markers searched for")), strict=True
    ):
        points = over(groups, "labels", axis)
        line(axes, points, "mask_labels", OURS)
        line(axes, points, "memory copy", FLOOR, "memcpy")
        logarithmic(axes, [value for value, _ in points], title)
    panels[1].set_ylabel("")
    figure.subplots_adjust(wspace=0.55)
    return figure


def over_threads(groups):
    """Bars: tokens per second with one thread and with two."""
    figure = Figure(figsize=(7.2, 2.4))
    axes = figure.subplots()
    for place, (kernel, (_, color)) in enumerate(reversed(FUNCTIONS.items())):
        group = groups[f"{kernel}/8192x8192/int32/threads"]
        one, two = (1 / group.ns_per_token(engine) for engine in ("spanmask:1-thread", "spanmask:2-threads"))
        for rate, shift, words in ((one, 0.2, "one thread"), (two, -0.2, f"two threads, {two / one:.2f}x")):
            axes.barh(place + shift, rate, height=0.36, color=color, alpha=0.55 if shift > 0 else 1)
            axes.annotate(words, (rate, place + shift), (4, 0), "data", "offset points", va="center")
    axes.set_yticks(range(len(FUNCTIONS)), [name for name, _ in reversed(FUNCTIONS.values())])
    axes.tick_params(axis="y", length=0, labelcolor=STYLE["text.color"])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.25)
    axes.set_xlabel("billion tokens per second; 64M tokens, int32")
    return figure


def line(axes, points, name, color, engine="spanmask"):
    """One series, with its name at its end."""
    costs = [group.ns_per_token(engine) for _, group in points]
    axes.plot([value for value, _ in points], costs, marker="o", markersize=4, linewidth=1.6, color=color)
    axes.annotate(name, (points[-1][0], costs[-1]), (7, 0), "data", "offset points", va="center", color=color)


def logarithmic(axes, values, title):
    """A logarithmic x axis with a tick at each measured value."""
    axes.set_xscale("log", base=2)
    ticks(axes.xaxis, values)
    axes.set_xlabel(title)
    axes.set_ylabel("time per token, ns")
    axes.set_ylim(0, max(axes.get_ylim()[1], axes.dataLim.y1 * 1.05))  # panels may have a common axis


def ticks(axis, values):
    axis.set_ticks(values, [short(value) for value in values])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def short(value):
    """8192 -> 8k."""
    return next((f"{value / size:.0f}{unit}" for size, unit in ((1 << 20, "M"), (1 << 10, "k")) if value >= size), f"{value:.0f}")
