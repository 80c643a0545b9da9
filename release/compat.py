"""Runs a part of the tests against the wheel, with the oldest and the newest versions of what it works with.

    python release/compat.py dist                                                    every environment, on every Python that is found
    python release/compat.py dist --pythons "python3.10 python3.13" --only oldest    some of them

"Oldest" are the lower bounds of the wheel's metadata, or the first versions after them that have a wheel for this Python. uv, which is
installed in target/compat, makes environments there. torch is installed with all that it requires: without NVIDIA's libraries, its wheel
for Linux cannot be imported. The table of results is printed, and written to target/compat/table.md.
"""

import argparse
import email
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "target" / "compat"
PYTHONS = "python3.10 python3.11 python3.12 python3.13 python3.14"
SHOWN = ("numpy", "torch", "transformers", "pyarrow", "datasets", "trl", "lightning")  # columns of the table
RUNNERS = (
    "hypothesis>=6.130",
    "polars>=1",
    "num2words>=0.5",
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.6",
    "xxhash>=3.4",
)

# Needs nothing but NumPy.
NUMPY = (
    "tests/chat/conversation/test_adapt.py",
    "tests/chat/test_coverage.py",
    "tests/labels/test_mask_labels.py",
    "tests/labels/test_reasoning.py",
    "tests/labels/test_response_mask.py",
    "tests/labels/test_vectors.py",
    "tests/noise/test_corrupt.py",
    "tests/noise/test_diffusion.py",
    "tests/noise/test_fill_in_the_middle.py",
    "tests/noise/test_infill.py",
    "tests/noise/test_masked_lm.py",
    "tests/noise/test_merge.py",
    "tests/noise/test_mixture.py",
    "tests/noise/test_plan.py",
    "tests/package/test_levels.py",
    "tests/package/test_missing_extras.py",
    "tests/package/test_package.py::test_every_public_name_is_there",
    "tests/package/test_package.py::test_import_does_not_import_heavy_libraries",
    "tests/package/test_package.py::test_the_wheel_is_tested_not_the_source_tree",
    "tests/ragged",
    "tests/rng",
    "tests/search",
    "tests/turns/test_find_turns.py",
    "tests/turns/test_from_segments.py",
    "tests/turns/test_reasoning.py",
    "tests/turns/test_turns.py",
)
# What touches arrays, tensors, Arrow, tokenizers and chat templates. Left out is what `NUMPY` has, and what is about many templates or many
# columns, where versions make no difference.
TOKENIZERS = ("byte_level", "unigram", "sentencepiece_bpe")
CONTENTS = "tests/encode/test_encode_chat.py::test_contents_may_hold_the_text_of_the_template"
LIBRARIES = (
    "tests/batch/test_batch.py",
    "tests/chat/conversation/test_arrow.py",
    "tests/chat/conversation/test_layouts.py",
    "tests/chat/conversation/test_media_text.py",
    "tests/chat/conversation/test_read.py",
    "tests/chat/template/test_cache.py",
    "tests/chat/test_format.py",
    "tests/chat/test_media.py",
    "tests/chat/test_strings.py",
    "tests/chat/test_tokens.py",
    "tests/collators/test_chat.py",
    "tests/collators/test_counts.py",
    "tests/collators/test_diffusion.py",
    "tests/collators/test_fill_in_the_middle.py",
    "tests/collators/test_infill.py",
    "tests/collators/test_masked_lm.py",
    "tests/collators/test_media.py",
    "tests/collators/test_noise_base.py",
    "tests/collators/test_padding_free.py",
    "tests/collators/test_preview.py",
    "tests/collators/test_span_corruption.py",
    "tests/collators/test_vision_call.py",
    "tests/collators/test_vision_kinds.py",
    "tests/compat",
    *(f"{CONTENTS}[{name}-{kind}]" for name in ("chatml", "llama2", "mistral_v3") for kind in TOKENIZERS),
    "tests/encode/test_rows.py",
    "tests/labels/test_response_mask.py",
    "tests/noise/test_denoise.py",
    "tests/noise/test_rates.py",
    "tests/noise/test_sentences.py",
    "tests/noise/test_sentinels.py",
    "tests/noise/test_word_ids.py",
    "tests/noise/test_words.py",
    "tests/package/test_missing_extras.py",
    "tests/preview/test_decode.py",
    "tests/preview/test_inputs.py",
    "tests/ragged",
)
DATA = (
    "tests/cli/test_corrupt.py",
    "tests/cli/test_mask.py",
    "tests/data/test_chat_masker.py",
    "tests/data/test_files.py",
    "tests/data/test_noise_maskers.py",
)
# Left out, since they take a minute each, or depend on how busy the machine is: processes that import torch, or that are killed.
SLOW = (
    "tests/cli/test_mask.py::test_a_killed_run_leaves_no_half_file_and_goes_on_to_the_same_bytes",
    "tests/cli/test_mask.py::test_an_interrupt_ends_the_run_and_leaves_no_half_file",
    "tests/collators/test_chat.py::test_workers_make_the_same_batches_and_have_their_own_reports",
    "tests/collators/test_counts.py::test_each_batch_of_each_worker_is_counted_once",
    "tests/collators/test_counts.py::test_processes_and_threads_that_add_at_once_lose_nothing",
    "tests/integration/test_weighted_loss.py::test_two_ranks_equal_one",
    "tests/noise/test_rates.py::test_persistent_workers_see_the_step",
)
TRAINERS = (
    "tests/integration/test_evaluation.py",
    "tests/integration/test_sft_text.py",
    "tests/integration/test_train_on_answers.py",
    "tests/integration/test_trainers.py",
    "tests/integration/test_weighted_loss.py",
)


@dataclass(frozen=True)
class Environment:
    """What is installed, and the tests that run with it.

    Args:
        extras: extras of the wheel.
        oldest: the oldest versions of what these require, otherwise the newest.
        also: requirements of the tests, of which the oldest or newest versions are installed too.
        beside: requirements installed without what they require in turn.
        constraints: what the resolver must know, since old versions do not.
    """

    name: str
    extras: tuple[str, ...]
    oldest: bool
    tests: tuple[str, ...]
    also: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()


ALL = ("torch", "transformers", "lightning", "vision", "arrow", "color", "cli")
# TRL of any version requires newer ones than the bounds of other extras, so there are two environments with old versions. In the first one,
# TRL's newest chat templates are data of tests; TRL is not imported. pandas, which `datasets` requires, and NumPy 1: see `constraints`.
ENVIRONMENTS = (
    Environment("NumPy alone, oldest", (), True, NUMPY),
    Environment("NumPy alone, newest", (), False, NUMPY),
    Environment("oldest", ALL, True, LIBRARIES + DATA, also=("datasets>=3",), beside=("trl",), constraints=("pandas<3",)),
    Environment("oldest with TRL", (*ALL, "trl"), True, TRAINERS, constraints=("pandas<3",)),
    Environment("newest", (*ALL, "trl"), False, LIBRARIES + DATA + TRAINERS),
)


def run(*command, **options):
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    # No test needs a model hub: without this, libraries would try to reach one and wait.
    environment |= {"UV_CACHE_DIR": str(FOLDER / "cache"), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    environment["HYPOTHESIS_PROFILE"] = "compat"
    return subprocess.run([str(part) for part in command], env=environment, text=True, check=False, **options)


def must(*command, **options):
    """Run a command that must succeed; its output is shown if it does not."""
    done = run(*command, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def interpreters(names):
    """Pythons by name or path, with their versions; and the names of those that are not there or do not start."""
    found, missing = {}, []
    for name in names:
        path = shutil.which(name)
        done = path and run(path, "-c", "import sys; print('.'.join(map(str, sys.version_info[:3])))", capture_output=True)
        if done and done.returncode == 0:
            found[path] = done.stdout.strip()
        else:
            missing.append(name)
    return found, missing


def requirements(wheel, extras):
    """What the wheel and its extras require, as `name>=bound`."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(file.read(name))
    wanted = {}
    for line in metadata.get_all("Requires-Dist"):
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if not requirement.startswith("spanmask") and (extra is None or extra[1] in extras):
            wanted[requirement.strip()] = None
    return list(wanted)  # extras that `vision` and others require are in `ALL`


def uv():
    """uv, in an environment of its own."""
    place = FOLDER / "uv"
    program = place / ("Scripts/uv.exe" if os.name == "nt" else "bin/uv")
    if not program.exists():
        venv.create(place, with_pip=True)
        must(program.with_name("python"), "-m", "pip", "install", "--quiet", "uv>=0.5")
    return program


def install(tool, wheel, environment, interpreter):
    """Make the environment; its Python, and the versions of `SHOWN` in it."""
    place = FOLDER / "env"
    must(tool, "venv", "--quiet", "--clear", "--seed", "--python", interpreter, place)
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [tool, "pip", "install", "--quiet", "--python", python]
    constraints = FOLDER / "constraints.txt"
    constraints.write_text("\n".join(environment.constraints), encoding="utf-8")
    # By name they are required directly, so their lower bounds count; what they require in turn is the newest that fits.
    wanted = [*requirements(wheel, environment.extras), *environment.also]
    resolution = ["--resolution", "lowest-direct"] if environment.oldest else []
    must(*pip, "--only-binary", ":all:", "--constraints", constraints, *resolution, *wanted)
    must(*pip, "--constraints", constraints, *RUNNERS)
    if environment.beside:
        must(*pip, "--no-deps", *environment.beside)
    must(*pip, "--no-deps", wheel)
    if not environment.beside:
        must(tool, "pip", "check", "--python", python)
    listed = must(tool, "pip", "list", "--quiet", "--python", python, "--format", "freeze")
    installed = dict(line.split("==") for line in listed.split() if "==" in line)
    return python, {name: installed.get(name, "") for name in SHOWN}


def run_tests(python, environment, label, workers):
    """Passed, skipped and failed tests; the reasons of skips; and the failures, each with its message."""
    report = FOLDER / "results" / f"{label}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    parallel = ["--numprocesses", workers] if workers > 1 else []
    command = [
        python,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--quiet",
        "--durations=60",
        f"--junitxml={report}",
        *parallel,
        *environment.tests,
    ]
    command += [f"--deselect={test}" for test in SLOW]
    log = report.with_suffix(".log")
    with log.open("w", encoding="utf-8") as file:
        done = run(*command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT)
    if not report.exists():
        raise RuntimeError(f"pytest ended with {done.returncode}; see {log}")
    suite = ElementTree.parse(report).getroot().find("testsuite")
    count = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    reasons = Counter(skip.get("message") for skip in suite.iter("skipped"))
    failed = count["failures"] + count["errors"]
    wrong = [
        f"{case.get('classname')}::{case.get('name')}: {(problem.get('message') or '').splitlines()[:1]}"
        for case in suite.iter("testcase")
        for problem in (*case.iter("failure"), *case.iter("error"))
    ]
    if not count["tests"] or (done.returncode and not failed):
        wrong, failed = [*wrong, f"pytest ended with {done.returncode}; see {log}"], failed + 1
    return count["tests"] - failed - count["skipped"], count["skipped"], failed, reasons, wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="where the wheel is")
    parser.add_argument("--pythons", default=PYTHONS, help="names or paths of Pythons")
    parser.add_argument(
        "--only", action="append", choices=[environment.name for environment in ENVIRONMENTS], help="environments"
    )
    parser.add_argument("--workers", type=int, default=min(4, os.cpu_count() or 1), help="processes that run tests")
    options = parser.parse_args()
    (wheel,) = Path(options.folder).resolve().glob("spanmask-*-abi3-*.whl")
    found, missing = interpreters(options.pythons.split())
    for name in missing:
        print(f"{name}: not found, or it does not start; nothing is tested with it", flush=True)
    if not found:
        sys.exit("no Python was found; name some: make compat PYTHONS='python3.10 python3.13'")
    tool = uv()
    table = [f"| Python | environment | {' | '.join(SHOWN)} | passed | skipped | failed |", "|---" * (len(SHOWN) + 5) + "|"]
    skipped, bad = Counter(), 0
    for interpreter, version in found.items():
        for environment in ENVIRONMENTS:
            if options.only and environment.name not in options.only:
                continue
            began, label = monotonic(), f"{version} {environment.name}".replace(" ", "-").replace(",", "")
            try:
                python, versions = install(tool, wheel, environment, interpreter)
                passed, skips, failed, reasons, wrong = run_tests(python, environment, label, options.workers)
            except RuntimeError as error:
                print(f"Python {version}, {environment.name}: {error}", flush=True)
                bad += 1
                continue
            shown = [versions[name] for name in SHOWN]
            table.append("| " + " | ".join([version, environment.name, *shown, *map(str, (passed, skips, failed))]) + " |")
            print(
                f"Python {version}, {environment.name}: {passed} passed, {skips} skipped, {failed} failed, {monotonic() - began:.0f} s"
            )
            print(*(f"    {line}" for line in wrong), sep="\n" if wrong else "", flush=True)
            skipped += Counter({f"{environment.name}: {reason}": number for reason, number in reasons.items()})
            bad += failed
    reasons = [f"- {number} x {reason}" for reason, number in sorted(skipped.items())]
    text = "\n".join([*table, "", "Skipped:", "", *reasons]) if reasons else "\n".join(table)
    (FOLDER / "table.md").write_text(text + "\n", encoding="utf-8")
    print(text)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
