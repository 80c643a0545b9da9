"""The script checks and measures everything that it compares, and writes its own part of a page."""

import json

import loader
import pytest


def test_loader_writes_its_part(tmp_path):
    into, out = tmp_path / "page.md", tmp_path / "loader.json"
    into.write_text("above\n<!-- begin: benches/loader.py -->\nold\n<!-- end: benches/loader.py -->\nbelow\n")
    loader.main(["--rounds", "1", "--seconds", "0", "--batches", "1", "--page", str(into), "--json", str(out)])
    text = into.read_text()
    assert text.startswith("above\n<!-- begin: benches/loader.py -->\n")
    assert text.endswith("\n<!-- end: benches/loader.py -->\nbelow\n")
    cells = json.loads(out.read_text())["cells"]
    assert {cell["job"] for cell in cells} == {"chat", "T5", "masked LM", "whole words"}
    assert all(cell["tokens_per_second"] > 0 for cell in cells)
    assert all(f"| `{cell['collator']}` |" in text or cell["collator"] == loader.ALONE for cell in cells)


@pytest.mark.parametrize(
    ("number", "count", "text"),
    [(0.0099, 2, "< 0.01"), (0.01, 2, "0.010"), (0.29412, 2, "0.29"), (1.84, 2, "1.8"), (47.89, 3, "47.9"), (6297.4, 3, "6,297")],
)
def test_significant_digits(number, count, text):
    assert loader.digits(number, count) == text
