"""Trials: the golden vectors."""

import json
from pathlib import Path

import pytest
from spanmask.reference import bounded, philox
from spanmask.reference.trials import successes

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rng.json").read_text())


@pytest.mark.parametrize("case", VECTORS["trials"])
def test_trials_are_pinned(case):
    stream = philox.stream(int(case["seed"]), 0, 0, philox.CHOICE)
    assert successes(stream, bounded.threshold(case["probability"]), case["count"]) == case["successes"]
