"""Profiles of hypothesis, and settings for all tests."""

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("dev", max_examples=100, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=300, deadline=None, derandomize=True)
hypothesis.settings.register_profile("thorough", max_examples=100_000, deadline=None)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.fixture(autouse=True, scope="session")
def one_torch_thread():
    """Two torch threads on a busy machine take ten times as long as one."""
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
