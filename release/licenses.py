"""Writes THIRD-PARTY.txt: the crates inside the extension module, with the texts of their licenses.

    python release/licenses.py            write the file
    python release/licenses.py --check    exit with 1 if it is not what Cargo.lock says

Crates that only tests and build scripts use, and procedural macros, are not in the wheel and not in the list. Crates that are compiled for
some platforms only are in it: the list is the same for all wheels. The names of crates come from Cargo.lock, the texts from the crates.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "THIRD-PARTY.txt"
EXTENSION = "spanmask-py"
TEXTS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE")
RULE = "=" * 80
INTRODUCTION = """\
The extension module of spanmask, spanmask._core, contains code of these crates, and of the Rust standard
library (https://github.com/rust-lang/rust, MIT OR Apache-2.0, with parts under Apache-2.0 WITH LLVM-exception).
Each name is followed by what its authors say of its license; the texts are below.
"""


def metadata():
    """What cargo knows of the workspace and its dependencies."""
    command = ["cargo", "metadata", "--format-version=1", "--locked", f"--manifest-path={ROOT / 'Cargo.toml'}"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def is_macro(package):
    return any("proc-macro" in target["kind"] for target in package["targets"])


def shipped(metadata):
    """The packages that are linked into the extension, without those of this workspace, by name and version."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    waiting = [key for key, package in packages.items() if package["name"] == EXTENSION]
    found = set(waiting)
    while waiting:
        for dependency in nodes[waiting.pop()]["deps"]:
            key = dependency["pkg"]
            linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if linked and key not in found and not is_macro(packages[key]):
                found.add(key)
                waiting.append(key)
    own = set(metadata["workspace_members"])
    return sorted((packages[key] for key in found - own), key=lambda package: (package["name"], package["version"]))


def texts_of(package):
    """The files with the license of a package, by name."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and file.name.upper().startswith(TEXTS))
    if not files:
        sys.exit(f"{package['name']} {package['version']} has no license file; add its text to release/licenses.py.")
    return [(file.name, "\n".join(line.rstrip() for line in file.read_text().strip().splitlines())) for file in files]


def listing():
    """The contents of the file. A text that several crates share word for word is printed once."""
    packages = shipped(metadata())
    users = {}
    for package in packages:
        for name, text in texts_of(package):
            users.setdefault(text, []).append(f"{package['name']} {package['version']}: {name}")
    lines = [INTRODUCTION]
    lines += [f"{package['name']} {package['version']}: {package['license']} ({package['repository']})" for package in packages]
    for text, names in users.items():
        lines += ["", RULE, *names, RULE, "", text]
    return "\n".join(lines) + "\n"


def main(arguments):
    text = listing()
    if "--check" not in arguments:
        LIST.write_text(text)
    elif not LIST.exists() or LIST.read_text() != text:
        sys.exit(f"{LIST.name} is not what Cargo.lock says; run: make licenses")


if __name__ == "__main__":
    main(sys.argv[1:])
