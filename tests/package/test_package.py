"""What is installed: the wheel, without heavy imports, with examples that run."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import spanmask

MODULES = [module.name for module in pkgutil.walk_packages(spanmask.__path__, "spanmask.")]


def test_the_wheel_is_tested_not_the_source_tree():
    source = Path(__file__).parents[2] / "python"
    assert source not in Path(spanmask.__file__).parents


@pytest.mark.parametrize("heavy", ["torch", "transformers", "pyarrow", "rich", "datasets"])
def test_import_does_not_import_heavy_libraries(heavy):
    code = f"import sys, spanmask; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-W", "error", "-c", code], check=False).returncode == 0


def test_every_public_name_is_there():
    assert sorted(spanmask.__all__) == spanmask.__all__
    for name in spanmask.__all__:
        assert getattr(spanmask, name).__doc__


def test_the_reference_imports_nothing_of_the_core():
    folder = Path(spanmask.__file__).parent / "reference"
    for file in folder.glob("*.py"):
        lines = [line for line in file.read_text().splitlines() if line.startswith(("import", "from"))]
        assert not [line for line in lines if "spanmask" in line and "spanmask.reference" not in line], file.name


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    names = {public: getattr(spanmask, public) for public in spanmask.__all__ if public not in vars(module)}
    assert doctest.testmod(module, extraglobs=names).failed == 0
