"""The examples, run as users run them: what they claim must be true."""

import importlib.util
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def vision():
    return load("vision_chat").main()


@pytest.fixture(scope="module")
def t5():
    return load("t5_denoising").main()


@pytest.fixture(scope="module")
def diffusion():
    return load("masked_diffusion").main()


@pytest.mark.slow
class TestVisionChat:
    def test_trl_trains_on_the_questions_and_we_do_not(self, vision):
        trained, tokens = vision["counts"]["TRL's collator"]["user"]
        assert trained == tokens > 0
        assert vision["counts"]["spanmask"]["user"] == (0, tokens)

    def test_the_loss_falls(self, vision):
        assert vision["losses"][-1] < 0.1 < 1 < vision["losses"][0]

    def test_the_answers_about_unseen_images_are_right(self, vision):
        assert vision["accuracy"]["colour"] >= 0.95
        assert vision["accuracy"]["shape"] >= 0.8  # guessing: 0.25


class TestT5Denoising:
    def test_the_loss_falls(self, t5):
        assert t5["losses"][-1] < 0.2 < 3 < t5["losses"][0]

    def test_the_gaps_are_filled(self, t5):
        assert t5["written"] == "<extra_id_0> cute dog<extra_id_1> the green</s>"
        assert t5["filled"] == "The cute dog walks in the green park"


class TestMaskedDiffusion:
    def test_the_loss_falls(self, diffusion):
        assert diffusion["losses"][-1] < 0.1 < 3 < diffusion["losses"][0]

    def test_questions_stay_clear_and_weights_differ_by_row(self, diffusion):
        batch = diffusion["batch"]
        weights = [set(row[row > 0].tolist()) for row in batch["loss_weights"]]
        assert [len(row) for row in weights] == [1, 1, 1]
        assert len(set.union(*weights)) == 3
        assert (batch["labels"][:, :8] == -100).all()

    def test_masks_become_answers_step_by_step(self, diffusion):
        assert diffusion["right"] >= 0.9
        assert diffusion["drafts"][0] == "<|mask|>" * 9
        assert [draft.count("<|mask|>") for draft in diffusion["drafts"]] == [9, 8, 7, 6, 4, 2, 0]
