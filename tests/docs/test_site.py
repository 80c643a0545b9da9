"""The site builds without a warning: each page is in the navigation, each internal link and anchor exists, each public name is found."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest

ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """The links, anchors, headings and Open Graph properties of a built page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.anchors, self.headings, self.properties = [], set(), [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        if tag == "h1":
            self.headings.append(given.get("id"))
        if tag == "meta" and "property" in given:
            self.properties[given["property"]] = given.get("content")
        for name in ("href", "src"):
            if given.get(name) and tag in ("a", "img", "link", "script"):
                self.links.append(given[name])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocstrings", reason="mkdocstrings builds the API pages")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "WARNING" not in built.stderr
    pages = {str(file.parent.relative_to(folder)): Page(file.read_text()) for file in folder.rglob("index.html")}
    return folder, pages


def test_links_of_the_built_site_lead_somewhere(site):
    # mkdocs checks links in Markdown; the API pages and the theme write more.
    folder, pages = site
    broken = []
    for name, page in pages.items():
        for link in page.links:
            target = urlsplit(urljoin(f"http://site/{'' if name == '.' else name + '/'}", link))
            if target.netloc != "site":
                if target.scheme != "mailto" and (
                    target.scheme != "https" or not re.fullmatch(r"[\w-]+(\.[\w-]+)+", target.netloc)
                ):
                    broken.append(f"{name}: {link} is not an https address")
                continue
            path = urldefrag(target.geturl()[len("http://site/") :])[0]
            file = folder / path / "index.html" if path.endswith("/") or not path else folder / path
            if not file.exists():
                broken.append(f"{name}: {link} has no file")
            elif target.fragment and file.name == "index.html":
                other = pages[str(file.parent.relative_to(folder))]
                if target.fragment not in other.anchors and not target.fragment.startswith("__"):
                    broken.append(f"{name}: {link} has no anchor")
    assert broken == []


def test_every_page_has_one_title_and_a_card(site):
    folder, pages = site
    for name, page in pages.items():
        assert len(page.headings) == 1, name
        assert page.properties["og:title"], name
        image = page.properties["og:image"]
        assert (folder / "assets" / image.rsplit("/", 1)[1]).read_bytes().startswith(b"\x89PNG"), name
