"""Installs spanmask in an environment of its own, outside of the source tree, with NumPy alone, and uses it.

python release/install.py target/wheels             the wheel that pip chooses for this Python
python release/install.py target/wheels --sdist     what the source distribution there builds; needs Rust
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

from agree import version

PROGRAMS = [Path(__file__).with_name(name) for name in ("first_use.py", "threads.py")]


def run(*command, cwd):
    """The output of a command, which must succeed and knows nothing of this checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment).stdout


def unpacked(folder, into):
    """The folder of the source distribution, unpacked."""
    (file,) = Path(folder).resolve().glob(f"spanmask-{version()}.tar.gz")
    with tarfile.open(file) as sdist:
        if sys.version_info >= (3, 12):
            sdist.extractall(into, filter="data")
        else:
            sdist.extractall(into)
    return into / file.name.removesuffix(".tar.gz")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="where the wheels and the source distribution are")
    parser.add_argument("--sdist", action="store_true", help="build and install the source distribution")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="spanmask-install-"))
    try:
        venv.create(place / "env", with_pip=True)
        python = place / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        if options.sdist:
            wanted = [unpacked(options.folder, place)]
        else:
            wanted = ["--no-index", "--find-links", Path(options.folder).resolve(), f"spanmask=={version()}"]
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        run(*pip, "install", "--quiet", "numpy", cwd=place)
        run(*pip, "install", "--quiet", *wanted, cwd=place)
        run(*pip, "check", cwd=place)
        installed = {line.split("==")[0] for line in run(*pip, "list", "--format=freeze", cwd=place).split()}
        assert installed - {"pip", "setuptools", "wheel"} == {"numpy", "spanmask"}, installed
        for program in PROGRAMS:
            shutil.copy(program, place)
            said = run(python, "-I", "-W", "error", place / program.name, cwd=place).strip()
            print(f"Python {sys.version.split()[0]}: {program.name}: {said}", flush=True)
        # Without the extra, the command line says in a line what it needs.
        done = subprocess.run([python, "-I", "-m", "spanmask"], check=False, capture_output=True, text=True, cwd=place)
        assert done.returncode == 1, done
        assert "pip install 'spanmask[cli]'" in done.stderr, done
        assert done.stderr.count("\n") == 1, done
        what = "source distribution" if options.sdist else "wheel"
        print(f"Python {sys.version.split()[0]}: the {what} of spanmask {version()} is installed and works")
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
