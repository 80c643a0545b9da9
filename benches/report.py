"""pytest-benchmark's JSON -> docs/reference/benchmarks.md: medians, and how many times ours each engine takes.

    python benches/report.py target/bench.json

The page between the two marks is written anew; what stands around them is kept.
"""

import importlib.metadata
import json
import platform
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "benchmarks.md"
BEGIN, END = "<!-- begin: benches/report.py -->", "<!-- end: benches/report.py -->"
HEAD = """# Benchmarks

Every group was timed in one run, one engine after the other, outputs found equal first. Medians; the ratio is to spanmask's time in the
same group. `rewritten:` marks a peer that no package holds, written again from its description. Times move from run to run; ratios less.

"""
PACKAGES = ("numpy", "torch", "transformers", "trl", "datasets", "pyarrow")


def engine_of(bench):
    """The engine's name, which a benchmark puts into its extra information, else its id."""
    return bench["extra_info"].get("engine") or bench["name"]


def duration(seconds):
    """A time in the unit that suits it."""
    size, unit = next(((size, unit) for size, unit in ((1, "s"), (1e-3, "ms")) if seconds >= size), (1e-6, "µs"))
    return f"{seconds / size:.3g} {unit}"


def group_table(name, benches):
    """One group as a Markdown table, the fastest engine first."""
    medians = sorted((bench["stats"]["median"], engine_of(bench)) for bench in benches)
    ours = next((median for median, engine in medians if engine == "spanmask"), None)
    lines = [f"## `{name}`", "", "| engine | median | times spanmask |", "|---|---:|---:|"]
    for median, engine in medians:
        ratio = "" if ours is None else f"{median / ours:,.2f}" if median < 10 * ours else f"{median / ours:,.0f}"
        lines.append(f"| {engine} | {duration(median)} | {ratio} |")
    return "\n".join(lines)


def machine(info):
    """Which machine, which versions."""
    cpu = info.get("cpu", {})
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in PACKAGES)
    return (
        f"{cpu.get('brand_raw', platform.processor())}, {cpu.get('count')} cores, {info['system']}; "
        f"Python {info['python_version']}, {versions}."
    )


def main(file):
    """Write the page."""
    report = json.loads(Path(file).read_text())
    groups = {}
    for bench in report["benchmarks"]:
        groups.setdefault(bench["group"] or "others", []).append(bench)
    tables = [machine(report["machine_info"]), *(group_table(name, benches) for name, benches in groups.items())]
    text = PAGE.read_text() if PAGE.exists() else f"{HEAD}{BEGIN}\n{END}\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(f"{before}{BEGIN}\n" + "\n\n".join(tables) + f"\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1])
