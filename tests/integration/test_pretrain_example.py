"""examples/pretrain_t5.py ends and says what it promises; the numbers of a real run stand in the how-to."""

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "examples" / "pretrain_t5.py"


def test_the_quick_run():
    done = subprocess.run([sys.executable, str(EXAMPLE), "--quick"], capture_output=True, text=True, timeout=100, check=True)
    shares = [line.split()[-1] for line in done.stdout.splitlines()[-3:]]
    assert all(share.endswith("%") for share in shares), done.stdout
    assert shares[2] == "10.0%"
    assert "masks repeat" not in done.stderr
