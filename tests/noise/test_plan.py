"""Lengths: golden numbers, the oracle, and that the planner and the sampler never disagree."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import Denoiser, DenoiserMixture, SentinelError, SpanCorruption, corrupt, plan_lengths, reference
from spanmask.reference.plan import plan
from support.denoising import densities, lengths

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "plans.json").read_text())
MANY = range(2**20, 2**20 + 5000)


@pytest.mark.parametrize(
    ("density", "mean", "inputs", "tokens", "targets", "spans"),
    [
        (0.15, 3.0, 512, 568, 114, 28),
        (0.15, 3.0, 2048, 2274, 456, 114),
        (0.5, 3.0, 512, 766, 512, 128),
        (0.5, 8.0, 512, 908, 512, 57),
        (0.15, 64.0, 512, 600, 92, 1),
    ],
)
def test_golden_lengths(density, mean, inputs, tokens, targets, spans):
    assert plan_lengths(inputs, density, mean) == (tokens, targets)
    out = corrupt([[7] * tokens], SpanCorruption(MANY, 1, noise_density=density, mean_noise_span_length=mean))
    assert (len(out.input_ids[0]), len(out.labels[0]), out.report.spans) == (inputs, targets, spans)


@given(inputs=st.integers(3, 700), density=densities, mean=lengths)
def test_plan_lengths_equals_the_reference(inputs, density, mean):
    if density < 0.97:  # close to 1 the reference counts up to rows of a million tokens
        assert plan_lengths(inputs, density, mean) == reference.plan_lengths(inputs, density, mean)


@pytest.mark.parametrize("density", [0.05, 0.1, 0.15, 0.25, 0.3, 0.35, 0.5, 0.6, 0.75, 0.9])
@pytest.mark.parametrize("mean", [1, 1.5, 2, 3, 5, 8, 32, 64])
def test_the_planner_agrees_with_the_sampler(density, mean):
    """For every length of inputs, the planned row fills them and no longer row fits; targets are as planned."""
    rows = [np.full(length, 7) for length in range(2, 700)]
    out = corrupt(rows, SpanCorruption(MANY, 1, noise_density=density, mean_noise_span_length=mean))
    inputs, targets = np.diff(out.input_ids.offsets), np.diff(out.labels.offsets)
    for length in range(3, 160):
        tokens, planned = plan_lengths(length, density, mean)
        if tokens + 1 >= 700:
            continue
        assert inputs[tokens - 2] <= length
        assert targets[tokens - 2] == planned
        if density == 0.5 and inputs[tokens - 1] <= length:
            assert targets[tokens - 1] > inputs[tokens - 1]  # the longer row's targets outgrow its inputs
        else:
            assert inputs[tokens - 1] > length


@pytest.mark.parametrize("case", VECTORS)
def test_plans_are_pinned(case):
    for length, noise, spans in case["plans"]:
        assert plan(length, case["density"], case["mean"]) == (noise, spans)
        report = corrupt(
            [[7] * length], SpanCorruption(MANY, 1, noise_density=case["density"], mean_noise_span_length=case["mean"])
        ).report
        assert (report.noise_tokens, report.spans) == (noise, spans)
    for inputs, tokens, targets in case["lengths"]:
        assert plan_lengths(inputs, case["density"], case["mean"]) == (tokens, targets)


def test_rounding_is_half_to_even():
    out = corrupt(
        [[7] * length for length in range(2, 2001)], SpanCorruption(MANY, 1, noise_density=0.15, mean_noise_span_length=3.0)
    )
    for length, row in zip(range(2, 2001), out.labels, strict=True):
        noise, spans = plan(length, 0.15, 3.0)
        assert len(row) == noise + spans + 1
        assert noise == min(max(int(np.round(length * 0.15)), 1), length - 1)


class TestPlanLengthsOfASpec:
    def test_eos_final_sentinel_and_mode_tokens_count(self):
        assert SpanCorruption(MANY, 1).plan_lengths(512) == (568, 114)
        assert SpanCorruption(MANY, 1, final_sentinel=True).plan_lengths(512) == (568, 115)
        assert SpanCorruption(MANY, None).plan_lengths(511) == (568, 113)
        mode = DenoiserMixture([Denoiser(mode_token=5)], sentinel_ids=MANY, eos_token_id=1)
        assert mode.plan_lengths(513) == (568, 114)

    def test_a_mixture_takes_the_longest(self):
        mixture = DenoiserMixture([Denoiser(3.0, 0.15), Denoiser(8.0, 0.5)], sentinel_ids=MANY, eos_token_id=1)
        assert mixture.plan_lengths(512) == (908, 512)

    def test_too_few_sentinels_are_an_error_before_any_row(self):
        with pytest.raises(SentinelError, match="rows of 766 tokens need 128 spans, but there are 100 sentinels"):
            SpanCorruption(MANY[:100], 1, noise_density=0.5).plan_lengths(512)
        tokens, _ = SpanCorruption(MANY[:100], 1, noise_density=0.5, on_exhausted="fewer_spans").plan_lengths(512)
        assert tokens > 766  # fewer sentinels leave space for more tokens


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2, 0.15, 3), ValueError, "inputs_length: expected at least 3"),
        ((2**32, 0.15, 3), ValueError, "inputs_length: expected at least 3 .* and less than"),
        ((-5, 0.15, 3), ValueError, "inputs_length: expected an integer"),
        ((512.0, 0.15, 3), TypeError, "inputs_length: expected an integer, got float"),
        ((512, 0, 3), ValueError, "noise_density: expected a fraction"),
        ((512, math.nan, 3), ValueError, "noise_density: expected a fraction"),
        ((512, 1, 3), ValueError, "noise_density: expected a fraction"),
        ((512, 0.15, 0), ValueError, "mean_noise_span_length: expected a finite length"),
        ((512, 0.15, "3"), TypeError, "mean_noise_span_length: expected a number"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        plan_lengths(*arguments)
