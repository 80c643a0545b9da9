"""Programs in processes of their own."""

import os
import subprocess
import sys


def output_of(program, **environment):
    """What a Python program prints. It must succeed; the process has these environment variables besides those of this one."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout
