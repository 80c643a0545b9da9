"""What the package promises about itself: its metadata, its extras, the licenses in the wheel, its version, pinned actions."""

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import spanmask
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
INSTALLED = metadata.distribution("spanmask")
EXTRAS = {"all", "arrow", "cli", "color", "lightning", "torch", "transformers", "trl", "vision"}


def imported_by(extra):
    """The distributions that an extra installs, without what these need in turn."""
    found = set()
    for line in INSTALLED.requires:
        requirement = Requirement(line)
        if requirement.marker and requirement.marker.evaluate({"extra": extra}):
            nested = set().union(*map(imported_by, requirement.extras)) if requirement.name == "spanmask" else set()
            found |= nested or {requirement.name}
    return found


def run(*command):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_version_is_that_of_cargo():
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    assert spanmask.__version__ == version
    assert Version(INSTALLED.version) == Version(version)


def test_files_agree_on_the_version():
    assert run("release/agree.py").returncode == 0


def test_another_tag_is_refused():
    done = run("release/agree.py", "--tag", "v99.0.0")
    assert done.returncode == 1
    assert "tag: v99.0.0, not v" in done.stderr


def test_a_release_does_not_say_that_there_is_none():
    says = [page for page in (ROOT / "docs").rglob("*.md") if "not on PyPI yet" in page.read_text()]
    done = run("release/agree.py", "--tag", f"v{spanmask.__version__}")
    assert done.stderr.count("says that spanmask is not on PyPI yet") == len(says) + (
        "not on PyPI yet" in (ROOT / "README.md").read_text()
    )


@pytest.mark.parametrize(
    ("link", "tag", "fault"),
    [
        ("docs/index.md", "", None),
        ("docs/index.md", "v1.0.0", "is relative"),
        ("docs/indexx.md", "", "leads nowhere"),
        ("https://spanmask.github.io/spanmask/reference/denoising/#seeds", "v1.0.0", None),
        ("https://spanmask.github.io/spanmask/assets/mask.svg", "v1.0.0", None),
        ("https://spanmask.github.io/spanmask/reference/noising/", "v1.0.0", "leads nowhere"),
        ("https://github.com/spanmask/spanmask/blob/main/SECURITY.md", "v1.0.0", None),
        ("https://github.com/spanmask/spanmask/blob/main/SAFETY.md", "v1.0.0", "leads nowhere"),
        ("https://example.org/anything", "v1.0.0", None),
    ],
)
def test_links_of_the_readme(link, tag, fault):
    code = f"import agree; print(*agree.faults_of_links('see [this]({link}).', {tag!r}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "release", capture_output=True, text=True, check=True).stdout
    assert (fault in said) if fault else said == "\n"


def test_importing_opens_no_connection_and_starts_no_process():
    code = """if True:
        import numpy, sys
        seen = []
        sys.addaudithook(lambda event, _: event.startswith(("socket.", "subprocess.", "os.fork", "os.exec")) and seen.append(event))
        import spanmask
        sys.exit(" ".join(seen) or None)
    """
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_only_numpy_is_required():
    required = [Requirement(line) for line in INSTALLED.requires]
    assert [requirement.name for requirement in required if not requirement.marker] == ["numpy"]


def test_extras_have_what_starts_them():
    assert set(INSTALLED.metadata.get_all("Provides-Extra")) == EXTRAS
    assert imported_by("transformers") >= {"accelerate", "jinja2", "torch", "transformers"}  # what `Trainer` and templates import
    assert imported_by("trl") >= {"accelerate", "datasets", "trl"}
    assert imported_by("vision") >= {"pillow", "torch", "torchvision", "transformers"}
    assert imported_by("cli") >= {"filelock", "jinja2", "pyarrow", "rich", "transformers", "typer"}
    assert imported_by("arrow") == {"pyarrow"}
    assert imported_by("torch") == {"torch"}
    assert imported_by("all") == set().union(*(imported_by(extra) for extra in EXTRAS - {"all"}))


def test_extras_named_in_errors_and_pages_exist():
    files = [*(ROOT / "python").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    named = {
        extra for file in files for group in re.findall(r"spanmask\[([\w,]+)\]", file.read_text()) for extra in group.split(",")
    }
    assert "cli" in named
    assert named <= EXTRAS


def test_versions_in_the_groups_are_allowed_by_the_extras():
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = {r.name: r for r in map(Requirement, [line for line in project["dependency-groups"]["dev"] if isinstance(line, str)])}
    for line in INSTALLED.requires:
        requirement = Requirement(line)
        pinned = [s.version for s in getattr(pins.get(requirement.name), "specifier", ()) if s.operator == "=="]
        assert all(version in requirement.specifier for version in pinned), line


def test_lower_bounds_are_on_the_page_of_versions():
    page = (ROOT / "docs" / "reference" / "compatibility.md").read_text()
    listed = set(re.findall(r"^\| `([\w-]+)` \| ([\d.]+) \|", page, re.MULTILINE))
    wanted = [requirement for requirement in map(Requirement, INSTALLED.requires) if requirement.name != "spanmask"]
    bounds = {(requirement.name, bound.version) for requirement in wanted for bound in requirement.specifier}
    assert listed == bounds


def test_links_and_classifiers():
    about = INSTALLED.metadata
    links = dict(line.split(", ") for line in about.get_all("Project-URL"))
    assert set(links) == {"Homepage", "Documentation", "Repository", "Issues", "Changelog"}
    assert all(link.startswith("https://") for link in links.values())
    classifiers = set(about.get_all("Classifier"))
    assert {f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)} <= classifiers
    assert about["License-Expression"] == "Apache-2.0"


def test_the_list_of_licenses_is_that_of_cargo_lock():
    done = run("release/licenses.py", "--check")
    assert done.returncode == 0, done.stderr


def test_a_changed_list_of_licenses_is_found(tmp_path):
    code = f"import licenses, pathlib; licenses.LIST = pathlib.Path({str(tmp_path / 'list')!r}); licenses.main(['--check'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "release", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "make licenses" in done.stderr


def test_the_wheel_has_the_licenses_and_a_bill_of_materials():
    files = {file.name: file for file in INSTALLED.files if ".dist-info" in str(file)}
    assert files["LICENSE"].read_text() == (ROOT / "LICENSE").read_text()
    assert files["THIRD-PARTY.txt"].read_text() == (ROOT / "THIRD-PARTY.txt").read_text()
    bill = json.loads(files["spanmask-py.cyclonedx.json"].read_text())
    assert bill["bomFormat"] == "CycloneDX"
    parts = {f"{part['name']} {part['version']}" for part in bill["components"]}
    listed = re.findall(r"^(\S+ \d[\w.]*): .+ \(https", files["THIRD-PARTY.txt"].read_text(), re.MULTILINE)
    assert len(listed) > 10
    assert set(listed) <= parts


def test_the_wheel_has_nothing_else():
    tops = {file.parts[0] for file in INSTALLED.files if ".." not in file.parts}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"spanmask"}


def test_actions_are_pinned_by_commit():
    lines = [line for file in sorted((ROOT / ".github" / "workflows").glob("*.yml")) for line in file.read_text().splitlines()]
    used = [line.split("uses:")[1].strip() for line in lines if "uses:" in line]
    assert used
    assert [
        use for use in used if not re.fullmatch(r"\./\.github/workflows/\w+\.yml.*|[\w./-]+@[0-9a-f]{40} # v[\d.]+", use)
    ] == []


def test_threads_share_objects_of_the_binding():
    done = run("-W", "error", "release/threads.py")
    assert done.stdout.endswith(": ok\n"), done.stderr
