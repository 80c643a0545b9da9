"""What SECURITY.md and CONTRIBUTING.md say about the source code is compared with the source code."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "spanmask"
# Each level may import those after it, and none before it. `labels` includes what belongs to it.
LEVELS = [
    ("cli", "arrow"),
    ("compat", "data", "integrations"),
    ("collators",),
    ("preview",),
    ("encode", "response"),
    ("labels",),
    ("chat", "noise"),
    ("turns",),
    ("ragged", "policy", "report"),
    ("_validate",),
]
LEVEL_OF = {name: number for number, names in enumerate(LEVELS) for name in names}


def rust_files(folder):
    return sorted((ROOT / "rust" / folder / "src").rglob("*.rs"))


def code_of(file):
    """A Rust file without its comments."""
    return re.sub(r"//.*", "", file.read_text())


def paths_in(page):
    """The paths of this repository that a page mentions."""
    quoted = re.findall(r"`([^`\n]+)`", (ROOT / page).read_text())
    return {name for name in quoted if re.fullmatch(r"(rust|python|tests|benches|docs|examples|vectors)/[\w./-]*", name)}


def imports_of(file):
    """The modules and packages of spanmask that a Python file imports when it is imported itself."""
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module == "spanmask":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("spanmask."):
            yield node.module.split(".")[1]


def test_security_lists_the_files_with_unsafe_code():
    listed = {path for path in paths_in("SECURITY.md") if path.endswith(".rs")}
    files = [*rust_files("core"), *rust_files("py")]
    assert {str(file.relative_to(ROOT)) for file in files if re.search(r"\bunsafe\b", code_of(file))} == listed


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "README.md", "SECURITY.md"])
def test_paths_on_the_page_exist(page):
    assert [path for path in sorted(paths_in(page)) if not (ROOT / path).exists()] == []


def test_only_the_binding_knows_python_and_one_file_of_it_starts_threads():
    for file in rust_files("core"):
        assert not re.search(r"\b(pyo3|numpy|thread)::", code_of(file)), file
    assert [file.name for file in rust_files("py") if "thread::" in code_of(file)] == ["bulk.rs"]


@pytest.mark.parametrize("name", sorted(LEVEL_OF))
def test_imports_point_down(name):
    files = [PACKAGE / f"{name}.py"] if (PACKAGE / f"{name}.py").exists() else (PACKAGE / name).rglob("*.py")
    for file in files:
        for other in imports_of(file):
            if other in LEVEL_OF and other != name and {name, other} != {"policy", "report"}:  # the report reads the policy
                assert LEVEL_OF[other] > LEVEL_OF[name], f"{file}: imports {other}"
