"""Checks built wheels and source distributions: names, sizes, contents, and what the extension modules need of a system.

    python release/check.py target/wheels          says which of the files that `make wheels` makes are not there
    python release/check.py target/wheels --all    the same; they are faults

Exits with 1 and a line for each fault. The environment of `make wheels` has what it imports.
"""

import argparse
import re
import sys
import tarfile
import zipfile
from io import BytesIO
from pathlib import Path

from agree import version
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection
from packaging.utils import parse_sdist_filename, parse_wheel_filename

WHEEL_LIMIT = 2_500_000  # bytes; 1.35 MB in November 2026
SDIST_LIMIT = 4_000_000
GLIBC = (2, 17)  # manylinux2014
MADE = (
    "manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    "manylinux2014_aarch64.manylinux_2_17_aarch64.whl",
    "musllinux_1_2_x86_64.whl",
    "musllinux_1_2_aarch64.whl",
    ".tar.gz",
)
IN_WHEELS = ("licenses/LICENSE", "licenses/THIRD-PARTY.txt", "sboms/spanmask-py.cyclonedx.json", "entry_points.txt")
IN_SDISTS = (
    "Cargo.lock",
    "LICENSE",
    "Makefile",
    "README.md",
    "THIRD-PARTY.txt",
    "docs/index.md",
    "python/spanmask/py.typed",
    "rust/core/src/lib.rs",
    "rust/fuzz/Cargo.lock",
    "rust/oracle/Cargo.toml",
    "tests/conftest.py",
    "vectors/corrupt.json",
)
UNWANTED = re.compile(r"__pycache__|\.pyc$|\.so$|\.pyd$|/target/|/\.git/|\.ipynb_checkpoints")


def faults_of_size(file, limit):
    size = file.stat().st_size
    if size > limit:
        yield f"{size:,} bytes, more than {limit:,}"


def faults_of_elf(data, platform):
    """What the dynamic linker must find, from the version needs and the symbols of an ELF file."""
    elf = ELFFile(BytesIO(data))
    musl = platform.startswith("musllinux")
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for library, versions in section.iter_versions():
                for name in (auxiliary.name for auxiliary in versions):
                    number = re.fullmatch(r"GLIBC_([\d.]+)", name)
                    if number and (musl or tuple(map(int, number[1].split("."))) > GLIBC):
                        yield f"needs {name} of {library.name}"
    dynamic = elf.get_section_by_name(".dynamic")
    needed = {tag.needed for tag in dynamic.iter_tags("DT_NEEDED")}
    allowed = {"libc.so"} if musl else {"libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2"}
    allowed |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
    if needed - allowed:
        yield f"needs {sorted(needed - allowed)}"
    symbols = list(elf.get_section_by_name(".dynsym").iter_symbols())
    exported = {s.name for s in symbols if s["st_shndx"] != "SHN_UNDEF" and s["st_info"]["bind"] in ("STB_GLOBAL", "STB_WEAK")}
    if exported != {"PyInit__core"}:
        yield f"exports {sorted(exported)}"
    if elf.get_section_by_name(".symtab") or elf.get_section_by_name(".debug_info"):
        yield "is not stripped"


def faults_of_wheel(file):
    name, release, _, tags = parse_wheel_filename(file.name)
    if (name, str(release)) != ("spanmask", version()):
        yield f"is not spanmask {version()}"
    yield from faults_of_size(file, WHEEL_LIMIT)
    with zipfile.ZipFile(file) as wheel:
        names = wheel.namelist()
        folder = f"spanmask-{release}.dist-info"
        yield from (f"lacks {wanted}" for wanted in IN_WHEELS if f"{folder}/{wanted}" not in names)
        yield from (f"lacks spanmask/{wanted}" for wanted in ("py.typed", "_core.pyi") if f"spanmask/{wanted}" not in names)
        extensions = [name for name in names if re.fullmatch(r"spanmask/_core\..*(so|pyd)", name)]
        if len(extensions) != 1:
            yield f"has the extension modules {extensions}"
        yield from (f"has {name}" for name in names if name not in extensions and UNWANTED.search(name))
        outside = [name for name in names if not name.startswith(("spanmask/", folder))]
        yield from (f"has {name}" for name in outside)
        platform = next(iter(tags)).platform
        if "linux" in platform:
            yield from (f"{name} {fault}" for name in extensions for fault in faults_of_elf(wheel.read(name), platform))


def faults_of_sdist(file):
    name, release = parse_sdist_filename(file.name)
    if (name, str(release)) != ("spanmask", version()):
        yield f"is not spanmask {version()}"
    yield from faults_of_size(file, SDIST_LIMIT)
    with tarfile.open(file) as sdist:
        names = [member.name for member in sdist if member.isfile()]
    yield from (f"lacks {wanted}" for wanted in IN_SDISTS if f"spanmask-{release}/{wanted}" not in names)
    yield from (f"has {name}" for name in names if UNWANTED.search(name))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path, help="where the wheels and the source distribution are")
    parser.add_argument("--all", action="store_true", help="none may be missing")
    options = parser.parse_args()
    files = sorted([*options.folder.glob("*.whl"), *options.folder.glob("*.tar.gz")])
    faults = [] if files else [f"{options.folder}: no wheels"]
    for file in files:
        found = list(faults_of_wheel(file) if file.suffix == ".whl" else faults_of_sdist(file))
        faults += [f"{file.name}: {fault}" for fault in found]
        print(f"{file.stat().st_size:>11,} bytes  {file.name}  {'not ok' if found else 'ok'}")
    missing = [end for end in MADE if not any(file.name.endswith(end) for file in files)]
    if missing and options.all:
        faults.append(f"{options.folder}: lacks {', '.join(missing)}")
    elif missing:
        print(f"not there: {', '.join(missing)}")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
