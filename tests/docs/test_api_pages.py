"""The API pages have every public name, and the page of the command line is that of the commands."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest
import typer
from spanmask.cli.app import app

ROOT = Path(__file__).parents[2]
DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)
# Modules that users import from.
PUBLIC = [
    "spanmask",
    "spanmask.arrow",
    "spanmask.chat",
    "spanmask.collators",
    "spanmask.compat.flax_t5",
    "spanmask.compat.llava",
    "spanmask.compat.trl",
    "spanmask.data.audit",
    "spanmask.errors",
    "spanmask.integrations.lightning",
    "spanmask.integrations.train_on_answers",
    "spanmask.integrations.transformers",
    "spanmask.integrations.weighted_loss",
    "spanmask.noise",
    "spanmask.noise.fill_in_the_middle",
    "spanmask.preview",
    "spanmask.reference",
]


def resolve(path):
    """The object that a directive documents: an attribute of the longest module that the path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


@pytest.fixture(scope="module")
def documented():
    paths = [path for page in (ROOT / "docs" / "reference" / "api").glob("*.md") for path in DIRECTIVE.findall(page.read_text())]
    assert len(paths) == len(set(paths)), "a name is on two pages"
    return [resolve(path) for path in paths]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_on_an_api_page(name, documented):
    module = importlib.import_module(name)
    missing = [public for public in module.__all__ if not any(getattr(module, public) is known for known in documented)]
    assert missing == []


def test_the_overview_links_every_name_of_the_package():
    linked = set(re.findall(r"\]\[spanmask\.(?:\w+\.)?(\w+)\]", (ROOT / "docs" / "reference" / "api" / "index.md").read_text()))
    assert set(importlib.import_module("spanmask").__all__) <= linked


def test_the_page_of_the_command_line_is_that_of_the_commands():
    spec = importlib.util.spec_from_file_location("command_line", ROOT / "docs" / "command_line.py")
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    written = (ROOT / generator.PAGE).read_text()
    assert written == generator.page(), "run `python docs/command_line.py`"
    for name, command in typer.main.get_command(app).commands.items():
        section = written.split(f"## spanmask {name}\n")[1].split("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert f"`{parameter.opts[0]}" in section, f"spanmask {name}: {parameter.opts[0]} is not on the page"
