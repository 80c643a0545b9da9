"""The check of the site in a browser finds what it looks for, and nothing on a page that fits."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = re.search(r"BROWSERS = \((.*)\)", (ROOT / "release" / "check_site.py").read_text())[1]
WORDS = "a table of words that may be broken into lines " * 3
TABLE = '<div class="md-typeset__scrollwrap" style="overflow-x: auto"><table><tr>{}</tr></table></div>'
PAGES = {
    "fits": f"<h1>Fits</h1><p>{WORDS}</p><pre style='overflow: auto'><code>x = 1</code></pre>",
    "clipped": '<div style="overflow: hidden"><div style="width: 2000px">wide, but in a box</div></div>',
    "wide": '<main><p style="width: 700px">too wide for a phone</p></main>',
    "program": f"<pre><code style='display: block; overflow: auto'>{'x' * 300}</code></pre>",
    "table": TABLE.format(f"<th>{'x' * 80}</th>"),
    "columns": TABLE.format("".join(f"<th>{'x' * 12}</th>" for _ in range(8))),
    "error": "<script>missing()</script>",
    "no-file": '<img src="../missing.png">',
}
FAULTS = [
    "error/: Uncaught",
    "no-file/: Failed to load resource: the server responded with a status of 404 (File not found)",
    "program/: 1280: a program is too wide by",
    "table/: 390: a table is too wide by",
    'wide/: 390: is 7.. pixels wide: p. "too wide for a phone"',
]


@pytest.fixture
def check(tmp_path):
    if not any(map(shutil.which, re.findall(r'"(.+?)"', NAMES))):
        pytest.skip("there is no browser; on Debian: apt-get install chromium")

    def run(pages, *options):
        for name in pages:
            (tmp_path / name).mkdir()
            text = f'<!doctype html><meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><body>{PAGES[name]}'
            (tmp_path / name / "index.html").write_text(text)
        command = [sys.executable, str(ROOT / "release" / "check_site.py"), str(tmp_path), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)

    return run


def test_it_finds_each_fault(check):
    done = check(PAGES)
    assert done.returncode == 1
    found = done.stderr.splitlines()
    assert len(found) == len(FAULTS), done.stderr
    for line, fault in zip(found, FAULTS, strict=True):
        assert re.match(re.escape(fault).replace(r"\.\.", ".."), line), line


def test_it_takes_pictures_of_pages_that_fit(check, tmp_path):
    done = check(["fits", "clipped"], "--pictures", str(tmp_path / "shots"))
    assert done.stdout == "2 pages fit 1280 and 390 pixels\n", done.stderr
    shots = {file.name for file in (tmp_path / "shots").iterdir()}
    assert shots == {
        f"{page}-{width}-{scheme}.png" for page in ("fits", "clipped") for width in (1280, 390) for scheme in ("light", "dark")
    }
