"""Checks that all places which say a version say the same one.

    python release/agree.py               Cargo.toml, both Cargo.lock, CITATION.cff, CHANGELOG.md, README.md
    python release/agree.py --tag v1.2.3  the same, the tag, the changelog has a date for the release, README.md can be read on PyPI, and no
                                          page says that spanmask is not there yet
    python release/agree.py --notes       prints what the changelog says of this version

The version of `Cargo.toml` is the one that counts: the wheel and `spanmask.__version__` take theirs from it.
"""

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SITE = "https://spanmask.github.io/spanmask/"
FILES = "https://github.com/spanmask/spanmask/blob/main/"


def one(pattern, file):
    """The only match of a pattern in a file."""
    found = re.findall(pattern, (ROOT / file).read_text(), re.MULTILINE)
    return found[0] if found else None


def version():
    """The version of the workspace."""
    return one(r'^version = "([^"]+)"', "Cargo.toml")


def faults_of_links(text, tag):
    """Links of the README that lead nowhere; before a release, relative ones too, which do on PyPI."""
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        path = link.split("#")[0]
        if path.startswith(SITE):
            page = path.removeprefix(SITE).rstrip("/") or "index"
            places = [f"docs/{page}", f"docs/{page}.md", f"docs/{page}/index.md"]
        elif path.startswith(FILES):
            places = [path.removeprefix(FILES)]
        elif ":" in path or not path:
            continue
        elif tag:
            yield f"README.md: {link} is relative, and leads nowhere on PyPI; begin it with {SITE} or {FILES}"
            continue
        else:
            places = [path]
        if not any((ROOT / place).exists() for place in places):
            yield f"README.md: {link} leads nowhere"


def faults(tag):
    """Everything that disagrees, in words."""
    want = version()
    if not re.fullmatch(r"\d+\.\d+\.\d+", want):
        yield f"Cargo.toml: {want} is not three numbers; Cargo and Python spell other versions in different ways"
    for folder in ("", "rust/fuzz/"):
        lock = (ROOT / folder / "Cargo.lock").read_text()
        for name, found in re.findall(r'name = "(spanmask-\w+)"\nversion = "([^"]+)"', lock):
            if found != want and name != "spanmask-fuzz":
                command = f"cargo update --workspace --manifest-path {folder}Cargo.toml"
                yield f"{folder}Cargo.lock: {name} is {found}, not {want}; run: {command}"
    cited = one(r"^version: (.+)$", "CITATION.cff")
    if cited != want:
        yield f"CITATION.cff: {cited}, not {want}"
    newest = one(r"^## (\S+) \((.+)\)$", "CHANGELOG.md")
    if newest is None or newest[0] != want:
        yield f"CHANGELOG.md: the first heading is not '## {want} (date)'"
    elif tag and not re.fullmatch(r"\d{4}-\d\d-\d\d", newest[1]):
        yield f"CHANGELOG.md: {want} has '{newest[1]}' instead of the day of its release"
    if tag and tag != f"v{want}":
        yield f"tag: {tag}, not v{want}"
    yield from faults_of_links((ROOT / "README.md").read_text(), tag)
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))] if tag else ():
        if "not on PyPI yet" in page.read_text():
            yield f"{page.relative_to(ROOT)}: says that spanmask is not on PyPI yet"


def notes():
    """The section of the changelog about this version."""
    sections = re.split(r"^## .*\n", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    return sections[1].strip()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tag", help="the tag of the release")
    parser.add_argument("--notes", action="store_true", help="print the section of the changelog")
    options = parser.parse_args()
    found = list(faults(options.tag))
    if found:
        sys.exit("\n".join(found))
    print(notes() if options.notes else f"spanmask {version()}: all files agree")


if __name__ == "__main__":
    main()
