"""Bounded integers: the golden vectors."""

import json
from pathlib import Path

import pytest
from spanmask.reference import bounded, philox

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "rng.json").read_text())


@pytest.mark.parametrize("case", VECTORS["below"])
def test_bounded_integers_are_pinned(case):
    stream = philox.stream(int(case["seed"]), 0, 0, 0)
    assert [bounded.below(stream, case["bound"]) for _ in case["values"]] == case["values"]
