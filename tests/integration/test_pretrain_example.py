"""examples/pretrain_t5.py runs to the end and prints the expected lines. The how-to has the numbers of a full run."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_t5.py"


def test_the_quick_run():
    done = subprocess.run([sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True, timeout=100, check=True)
    accuracies = [line.split()[-1] for line in done.stdout.splitlines()[-3:]]
    assert all(accuracy.endswith("%") for accuracy in accuracies), done.stdout
    assert accuracies[2] == "10.0%"
    assert "masks repeat" not in done.stderr
