"""Writes `docs/tutorial/first-mask.ipynb`: the page of the same name as a notebook, with its outputs.

Run it after a change of the page: `python docs/notebook.py`. It needs nbclient, nbformat and ipykernel.
"""

import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient

PAGE = Path(__file__).parent / "tutorial" / "first-mask.md"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(
    r"^print\((preview\(.*\))\)$", re.MULTILINE
)  # a notebook shows the last value of a cell as HTML


def cells_of(text):
    """The cells of a page: (kind, source). Outputs of programs are left out, and so is the link to the notebook itself."""
    text = text.replace(", or open\n[the page as a notebook](first-mask.ipynb)", "")
    start, prose = 0, ""
    for fence in FENCE.finditer(text):
        prose += text[start : fence.start()]
        start = fence.end()
        if fence[1] == "sh":
            prose += fence[0]
        elif fence[1] == "python":
            yield "markdown", prose.strip()
            yield "code", SHOWN.sub(r"\1", fence[2].strip())
            prose = ""
    yield "markdown", (prose + text[start:]).strip()


def notebook_of(text):
    """The notebook of a page, without outputs."""
    makers = {
        "markdown": nbformat.v4.new_markdown_cell,
        "code": nbformat.v4.new_code_cell,
    }
    cells = [
        makers[kind](source, id=f"cell-{number}")
        for number, (kind, source) in enumerate(cells_of(text))
        if source
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def run(notebook, folder):
    """Run a notebook in a folder; its outputs are in its cells then."""
    NotebookClient(
        notebook,
        timeout=240,
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
    ).execute()


def main():
    """Write the notebook with its outputs, except for warnings and what `Trainer` says of its own speed."""
    from tempfile import TemporaryDirectory

    notebook = notebook_of(PAGE.read_text())
    with TemporaryDirectory() as folder:
        run(notebook, folder)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            said = [] if cell.source == "trainer.train()" else cell.outputs
            cell.outputs = [output for output in said if output.get("name") != "stderr"]
    notebook.metadata.pop("language_info", None)
    nbformat.write(notebook, PAGE.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
