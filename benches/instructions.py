"""Counts the instructions of each kernel per token -> docs/reference/instructions.md.

    python benches/instructions.py

Runs `rust/core/benches/instructions.rs` under callgrind. Unlike times, counts are the same in every run, so a changed kernel shows as a
changed line. The cost of a case is the difference between six calls and two, because set-up and first-call effects are in both.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "instructions.md"
FEW, MANY = 2, 6
# The whole environment of the program: its size would move the stack. callgrind counts a string instruction once per byte, so copies and
# fills must not use them.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824"}
HEAD = """# Instruction counts

See how many instructions each kernel takes per token, in Rust, without a Python call.
Written by `make bench-instructions`. Counts are the same
in every run with the same compiler, C library and instruction set, so a changed line means a changed kernel. They are not times: a memory
copy takes few instructions and waits for memory. Inputs: `rust/core/benches/cases`.

{tools}; loops that are compiled for several instruction sets (`level.rs`) ran with {level}, because callgrind does not support AVX-512.

| kernel | tokens | instructions per call | per token |
|---|---:|---:|---:|
"""


def main() -> None:
    """Builds, counts, writes the page."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        sys.exit(
            "instruction counts require valgrind, which is not on the PATH; install it (apt install valgrind, dnf install valgrind)."
        )
    program = build()
    level, *cases = under_callgrind(valgrind, program)[0].splitlines()
    lines = []
    for case in cases:
        name, tokens = case.split()
        few, many = (under_callgrind(valgrind, program, name, str(times))[1] for times in (FEW, MANY))
        call = (many - few) / (MANY - FEW)
        lines.append(f"| `{name}` | {tokens} | {call:,.0f} | {call / int(tokens):.3f} |\n")
        print(lines[-1], end="")
    tools = ", ".join(
        subprocess.check_output([tool, "--version"], text=True).split(" (")[0].strip() for tool in ("rustc", valgrind)
    )
    PAGE.write_text(HEAD.format(tools=tools, level=level) + "".join(lines), encoding="utf-8")


def build() -> str:
    """Builds the program with optimizations and returns its path."""
    command = [
        "cargo",
        "bench",
        "--quiet",
        "--package",
        "spanmask-core",
        "--bench",
        "instructions",
        "--no-run",
        "--message-format=json",
    ]
    messages = map(json.loads, subprocess.check_output(command, cwd=ROOT, text=True).splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "instructions" and m.get("executable"))


def under_callgrind(valgrind: str, *command: str) -> tuple[str, int]:
    """Returns what the program prints and how many instructions it takes."""
    run = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected, done.stderr
    return done.stdout, int(collected[1])


if __name__ == "__main__":
    main()
