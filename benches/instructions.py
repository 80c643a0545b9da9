"""Count the instructions that each kernel takes for a token -> docs/reference/instructions.md.

    python benches/instructions.py

Runs `rust/core/benches/instructions.rs` under callgrind. Unlike times, counts are the same on every run, so that a change of a kernel shows
as a changed line. What a case takes is the difference between six calls and two: set-up and first-call effects are in both.
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
# All the program's environment: its size moves the stack. A string instruction counts once a byte, so copies and fills do without them.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824"}
HEAD = """# Instruction counts

Written by `make bench-instructions`: how many instructions each kernel takes for a token, in Rust, without a Python call. Counts are the
same on every run with the same compiler, C library and instruction set, so that a changed line is a changed kernel; they are no times: a
memory copy takes few instructions and waits for memory. Inputs: `rust/core/benches/cases`.

{tools}; loops that choose at run time (`level.rs`) ran with {level}, the most that callgrind offers (no AVX-512).

| kernel | tokens | instructions a call | a token |
|---|---:|---:|---:|
"""


def main() -> None:
    """Build, count, write."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        sys.exit(
            "instruction counts need valgrind, and none is on the PATH; install it (apt install valgrind, dnf install valgrind)."
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
    """The path of the optimized program."""
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
    """What the program prints, and how many instructions it takes."""
    run = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", *command]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected, done.stderr
    return done.stdout, int(collected[1])


if __name__ == "__main__":
    main()
