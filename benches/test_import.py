"""What `import spanmask` takes beside `import numpy`: whole processes, in turn."""

import subprocess
import sys

from timing import beside


def process(module):
    """A call that starts Python, which imports the module and ends."""
    return lambda: subprocess.run([sys.executable, "-c", f"import {module}"], check=True)


def test_import(bench, timed):
    benchmark = bench("import/process/any/warm", "spanmask")
    beside(benchmark, process("spanmask"), {"numpy": process("numpy")}, rounds=25 if timed else 1)
