"""Reads measurements back: pytest-benchmark's JSON, and the table that divan prints."""

import importlib.metadata
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

PACKAGES = ("numpy", "torch", "transformers", "trl", "datasets", "pyarrow", "spanmask")
SECONDS = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
# divan prints the kernel or memcpy, then its cases, each with fastest, slowest, median, ...
BRANCH = re.compile(r"^[├╰]─ (\w+)")
LEAF = re.compile(r"^[│ ]+[├╰]─ (\S+) +[\d.]+ \S+ +│ [\d.]+ \S+ +│ ([\d.]+) (\S+) ")


@dataclass(frozen=True)
class Group:
    """Engines that were timed on one input.

    `seconds`: medians of bursts by engine; `in_turn`: medians of single calls with cold caches (see `timing.py`), where these were
    measured; `axes`: what was varied, and its value here.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    in_turn: dict[str, float] = field(default_factory=dict)
    axes: dict[str, float] = field(default_factory=dict)
    about: dict[str, object] = field(default_factory=dict)

    def times(self, engine, other="spanmask"):
        """The time of an engine, divided by that of `other`."""
        return self.seconds[engine] / self.seconds[other]

    def times_in_turn(self, engine, other="spanmask"):
        """The same for single calls with cold caches."""
        return self.in_turn[engine] / self.in_turn[other]

    def ns_per_token(self, engine="spanmask"):
        return self.seconds[engine] / self.about["tokens"] * 1e9

    def times_typical(self):
        """The time, divided by that of typical rows. All shapes have the same number of tokens, so this compares costs per token."""
        return self.times("spanmask", "spanmask:typical")


def describe(info):
    """Adds the versions of packages and the sizes of caches to pytest-benchmark's description of a machine."""
    info["versions"] = {package: importlib.metadata.version(package) for package in PACKAGES}
    folders = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")
    caches = sorted(folder for folder in folders if read(folder / "type") != "Instruction")
    info["caches"] = {f"L{read(folder / 'level')}": read(folder / "size") for folder in caches}
    return info


def read(file):
    return file.read_text().strip()


def read_bench(file):
    """Returns the machine, and the groups by id."""
    report = json.loads(Path(file).read_text())
    groups = {}
    for bench in report["benchmarks"]:
        about = bench["extra_info"]
        group = groups.setdefault(bench["group"], Group(axes=about.get("axes", {}), about=about))
        group.seconds.update(about.get("others", {}), **{about["engine"]: bench["stats"]["median"] / about.get("calls", 1)})
        group.in_turn.update(about.get("in_turn", {}))
    return report["machine_info"], groups


def read_kernels(file):
    """Returns groups with the engines `kernel` and `memcpy`, by id."""
    groups = {}
    engine = ""
    for line in Path(file).read_text().splitlines():
        if branch := BRANCH.match(line):
            engine = branch[1]
        elif leaf := LEAF.match(line):
            groups.setdefault(leaf[1], Group()).seconds[engine] = float(leaf[2]) * SECONDS[leaf[3]]
    return groups


def over(groups, kernel, axis):
    """The groups in which this axis of a kernel was varied, as (value, group) in ascending order."""
    points = [(group.axes[axis], group) for name, group in groups.items() if name.startswith(f"{kernel}/") and axis in group.axes]
    return sorted(points, key=lambda point: point[0])
