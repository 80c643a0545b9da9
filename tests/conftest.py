"""Profiles of hypothesis, and settings for all tests."""

import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import hypothesis
import pytest
from packaging.requirements import Requirement

hypothesis.settings.register_profile("dev", max_examples=100, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=100, deadline=None, derandomize=True)
hypothesis.settings.register_profile("compat", max_examples=20, deadline=None, derandomize=True)  # many environments
hypothesis.settings.register_profile("thorough", max_examples=100_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


def pytest_runtest_setup(item):
    """Skip a test marked `needs("package>=1.2")` where another version is installed, or none."""
    for mark in item.iter_markers("needs"):
        for wanted in map(Requirement, mark.args):
            try:
                found = version(wanted.name)
            except PackageNotFoundError:
                pytest.skip(f"needs {wanted}; not installed")
            if not wanted.specifier.contains(found.partition("+")[0], prereleases=True):
                pytest.skip(f"needs {wanted}; here is {found}")


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Two torch threads on a busy machine take ten times as long as one."""
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def one_environment(monkeypatch):
    """`Dataset.map(num_proc=...)` leaves a copy in `os.environ`, which programs that hold the first one, such as rich, would not see."""
    monkeypatch.setattr(os, "environ", os.environ)


@pytest.fixture(scope="session")
def bert():
    from support.denoising import bert_tokenizer

    return bert_tokenizer()


@pytest.fixture(scope="session")
def t5():
    from support.denoising import WORDS, t5_tokenizer

    return t5_tokenizer(WORDS)
