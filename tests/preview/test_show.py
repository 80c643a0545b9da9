"""`preview` and `Preview`: which renderer, how many rows, which imports."""

import subprocess
import sys

import pytest
from spanmask import preview


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True), (None, False)])
def test_print_follows_the_terminal(tokenizer, row, labels, monkeypatch, variable, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")  # rich caches styles with their escapes: one colour system for all tests
    if variable:
        monkeypatch.setenv(variable, "1")
    shown = str(preview(row, labels, tokenizer))
    assert ("\x1b[" in shown) == coloured
    assert ("[[" in shown) != coloured


def test_plain_text_needs_no_rich(tokenizer, row, labels, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    shown = preview(row, labels, tokenizer)
    assert str(shown) == shown.to_text()


def test_rows_past_max_rows_are_counted(tokenizer, row, labels):
    shown = preview([row] * 11, [labels] * 11, tokenizer)
    assert len(shown.rows) == 8
    assert shown.to_text().endswith("\n\n... and 3 more rows")
    assert len(preview([row] * 11, [labels] * 11, tokenizer, max_rows=None).rows) == 11


def test_preview_imports_no_torch():
    code = """
import sys
from spanmask import preview
class Letters:
    def __len__(self): return 26
    def decode(self, ids, **options): return "".join(chr(97 + i) for i in ids)
assert preview([0, 1, 2], [-100, 1, 2], Letters()).to_text().endswith("a[[bc]]")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
