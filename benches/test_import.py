"""The time of `import spanmask` and of `import numpy`, in whole processes that alternate."""

import subprocess
import sys

from timing import alternate


def process(module):
    """A call that starts a Python process, which imports the module and exits."""
    return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def test_import(bench, timed):
    benchmark = bench("import/process/any/warm", "spanmask")
    alternate(benchmark, process("spanmask"), {"numpy": process("numpy")}, rounds=25 if timed else 1)
