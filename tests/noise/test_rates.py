"""Rates that move: their values, and collators that take them."""

import copy
import dataclasses
import math
import multiprocessing
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    CosineRate,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DenoiserMixture,
    LinearRate,
    MaskedLM,
    SpanCorruption,
    corrupt,
    mask_tokens,
)
from support.denoising import bert_tokenizer, t5_tokenizer
from torch.utils.data import DataLoader

BERT, T5 = bert_tokenizer(), t5_tokenizer([f"w{number}" for number in range(400)])
ROWS = [{"input_ids": list(range(10 + number, 310))} for number in range(6)]
IDS = [row["input_ids"] for row in ROWS]

rates = st.floats(-1e6, 1e6)


@given(
    start=rates,
    stop=rates,
    steps=st.integers(1, 10**6),
    step=st.integers(0, 2 * 10**6),
    kind=st.sampled_from([LinearRate, CosineRate]),
)
def test_rates_lie_between_their_ends(start, stop, steps, step, kind):
    rate, by_epoch = kind(start, stop, steps=steps), kind(start, stop, epochs=steps)
    assert rate(0, 7) == start
    assert rate(steps, 7) == rate(steps + step, 7) == stop
    assert min(start, stop) - 1e-9 <= rate(step, 7) <= max(start, stop) + 1e-9
    assert by_epoch(7, step) == rate(step, 7)


def test_the_shapes_of_rates():
    linear, cosine = (kind(0.4, 0.2, steps=8) for kind in (LinearRate, CosineRate))
    for step in range(9):
        assert math.isclose(linear(step, 0), 0.4 - 0.2 * step / 8)
        assert math.isclose(cosine(step, 0), 0.3 + 0.1 * math.cos(math.pi * step / 8))


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0.1, 0.2), {}, ValueError, "steps: pass either steps or epochs"),
        ((0.1, 0.2), {"steps": 3, "epochs": 3}, ValueError, "steps: pass either steps or epochs"),
        ((0.1, 0.2), {"steps": 0}, ValueError, "steps: expected a positive integer, got 0"),
        ((0.1, 0.2), {"epochs": 1.5}, ValueError, "epochs: expected a positive integer, got 1.5"),
        (("0.1", 0.2), {"steps": 3}, TypeError, "start: expected a number, got str"),
        ((0.1, float("nan")), {"steps": 3}, ValueError, "stop: expected a finite number, got nan"),
    ],
)
def test_bad_rates(arguments, options, error, message):
    with pytest.raises(error, match=message):
        CosineRate(*arguments, **options)


def masked(**options):
    return DataCollatorForMaskedLM(BERT, **{"seed": 3, "on_repeat": "ignore", **options})


def test_a_batch_has_the_rate_of_its_step_and_epoch():
    made = masked(mlm_probability=lambda step, epoch: 0.1 + 0.02 * step + 0.1 * epoch)
    for step, epoch, rate in [(0, 0, 0.1), (5, 0, 0.2), (5, 2, 0.4)]:
        made.set_step(step)
        made.set_epoch(epoch)
        out = mask_tokens(
            IDS, MaskedLM.from_tokenizer(BERT), seed=3, epoch=epoch, mlm_probability=0.1 + 0.02 * step + 0.1 * epoch
        )
        assert torch.equal(made(ROWS)["labels"], torch.from_numpy(out.labels.to_padded(-100)))
        assert torch.equal(made(ROWS)["labels"], masked(mlm_probability=rate, epoch=epoch)(ROWS)["labels"])


def test_both_rates_of_spans():
    density, length = LinearRate(0.1, 0.5, steps=4), LinearRate(2, 10, epochs=4)
    made = DataCollatorForSpanCorruption(T5, seed=1, noise_density=density, mean_noise_span_length=length, on_repeat="ignore")
    assert (made.spec.noise_density, made.spec.mean_noise_span_length) == (0.1, 2.0)
    made.set_step(2)
    made.set_epoch(3)
    out = corrupt(IDS, SpanCorruption.from_tokenizer(T5), seed=1, epoch=3, noise_density=0.1 + 0.2, mean_noise_span_length=8)
    assert torch.equal(made(ROWS)["labels"], torch.from_numpy(out.labels.to_padded(-100)))


def test_fixed_widths_hold_whatever_the_rate():
    made = DataCollatorForSpanCorruption(T5, seed=1, noise_density=LinearRate(0.1, 0.6, steps=9), inputs_length=64)
    shapes = set()
    for step in range(12):
        made.set_epoch(step)
        made.set_step(step)
        batch = made(ROWS)
        shapes.add((tuple(batch["input_ids"].shape), tuple(batch["labels"].shape)))
    assert len(shapes) == 1


def test_a_column_overrides_the_rate():
    made = masked(mlm_probability=LinearRate(0.9, 0.1, steps=10))
    rows = [{**row, "mlm_probability": 0.3} for row in ROWS]
    assert torch.equal(made(rows)["labels"], masked(mlm_probability=0.3)(ROWS)["labels"])


def test_next_to_a_spec():
    spec = MaskedLM.from_tokenizer(BERT, mask_replace_prob=1.0, random_replace_prob=0.0)
    made = masked(spec=spec, mlm_probability=LinearRate(0.5, 0.1, steps=10))
    assert made.spec is spec
    expected = masked(spec=dataclasses.replace(spec, mlm_probability=0.5))
    assert torch.equal(made(ROWS)["input_ids"], expected(ROWS)["input_ids"])
    with pytest.raises(TypeError, match="mlm_probability: cannot be combined with spec"):
        masked(spec=spec, mlm_probability=0.5)
    with pytest.raises(ValueError, match="noise_density: cannot be combined with a DenoiserMixture"):
        DataCollatorForSpanCorruption(T5, spec=DenoiserMixture.ul2(T5), noise_density=LinearRate(0.1, 0.2, steps=3))


def test_copies_keep_the_rate():
    made = masked(mlm_probability=LinearRate(0.9, 0.1, steps=10))
    made.set_step(5)
    labels = made(ROWS)["labels"]
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert torch.equal(other(ROWS)["labels"], labels)
    other = dataclasses.replace(made, padding_side="left")
    other.set_step(5)
    assert int((other(ROWS)["labels"] != -100).sum()) == int((labels != -100).sum())
    fixed = dataclasses.replace(made, mlm_probability=None)
    assert torch.equal(fixed(ROWS)["labels"], masked(mlm_probability=0.9)(ROWS)["labels"])
    assert repr(made).endswith("mlm_probability=LinearRate(start=0.9, stop=0.1, steps=10, epochs=None))")
    for value in (0.3, LinearRate(0.3, 0.2, steps=1)):
        with pytest.raises(
            AttributeError, match=r"mlm_probability: a rate that moves is fixed; .* dataclasses.replace\(collator, mlm"
        ):
            made.mlm_probability = value


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_persistent_workers_see_the_step(start):
    made = masked(mlm_probability=LinearRate(0.9, 0.1, steps=10))
    options = {"num_workers": 2, "persistent_workers": True, "multiprocessing_context": start}
    loader = DataLoader(ROWS, batch_size=3, collate_fn=made, **options)
    for step in (0, 5, 20):
        made.set_step(step)
        expected = masked(mlm_probability=LinearRate(0.9, 0.1, steps=10)(step, 0))
        for number, batch in enumerate(loader):
            assert torch.equal(batch["labels"], expected(ROWS[3 * number : 3 * number + 3])["labels"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: masked(mlm_probability=LinearRate(1.1, 0.1, steps=3)),
            ValueError,
            r"mlm_probability: at step 0, epoch 0: expected a probability above 0 and at most 1, got 1.1",
        ),
        (
            lambda: masked(mlm_probability=lambda step, epoch: None),
            TypeError,
            "mlm_probability: at step 0, epoch 0: expected a number",
        ),
        (lambda: masked(mlm_probability=lambda step: 0.5), TypeError, "mlm_probability: .*positional argument"),
        (
            lambda: DataCollatorForSpanCorruption(T5, noise_density=LinearRate(1, 0.1, steps=3)),
            ValueError,
            "noise_density: at step 0, epoch 0: expected a fraction strictly between 0 and 1, got 1.0",
        ),
        (
            lambda: DataCollatorForSpanCorruption(T5, mean_noise_span_length=LinearRate(0, 3, steps=3)),
            ValueError,
            "mean_noise_span_length: at step 0, epoch 0: expected a finite length of at least 1",
        ),
        (lambda: masked().set_step(-1), ValueError, "step: expected an integer from 0"),
        (lambda: masked().set_step(1.5), TypeError, "step: expected an integer"),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_rate_that_leaves_its_range_names_the_step():
    made = masked(mlm_probability=lambda step, epoch: 0.5 + step)
    made(ROWS)
    made.set_step(3)
    made.set_epoch(2)
    with pytest.raises(
        ValueError, match="mlm_probability: at step 3, epoch 2: expected a probability above 0 and at most 1, got 3.5"
    ):
        made(ROWS)
