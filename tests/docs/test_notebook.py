"""The notebook is its page, with outputs, and it runs."""

import importlib.util
from pathlib import Path

import nbformat
import pytest

DOCS = Path(__file__).parents[2] / "docs"
NOTEBOOK = DOCS / "tutorial" / "first-mask.ipynb"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("notebook", DOCS / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sources(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def outputs(notebook):
    """What each code cell shows, except for the trainer's progress: printed text and HTML."""
    found = {}
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []) if cell.source != "trainer.train()" else []:
            if output.get("name") != "stderr":
                found[number] = found.get(number, "") + (output.get("text") or output["data"]["text/html"])
    return found


def test_it_has_the_programs_and_the_text_of_its_page(maker):
    page = maker.PAGE.read_text()
    assert sources(nbformat.read(NOTEBOOK, as_version=4)) == sources(maker.notebook_of(page)), "run docs/notebook.py"


@pytest.mark.timeout(300)  # a kernel imports torch once more
def test_it_runs_and_shows_what_it_has_stored(maker, tmp_path):
    stored = nbformat.read(NOTEBOOK, as_version=4)
    notebook = maker.notebook_of(maker.PAGE.read_text())
    maker.run(notebook, tmp_path)  # an exception in a cell is an error here
    assert outputs(notebook) == outputs(stored)
    shown = "".join(outputs(stored).values())
    for text in ("<span", "duplicates", "It is Kathmandu."):
        assert text in shown
