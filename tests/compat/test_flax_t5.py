"""The drop-in compared with the script that it replaces, and its quirks, one test for each."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from spanmask import SpanmaskWarning, plan_lengths
from spanmask.compat.flax_t5 import DataCollatorForT5MLM, FlaxDataCollatorForT5MLM, compute_input_and_target_lengths
from support.denoising import t5_tokenizer
from support.flax_script import FlaxScriptCollator
from transformers import ByT5Tokenizer

TOKENIZER = t5_tokenizer([f"w{number}" for number in range(200)])
ARTICLE = np.asarray([[37, 5295, 1782, 10681, 16, 8, 1442, 2447, 1]])
settings = st.sampled_from([(0.15, 3.0), (0.5, 3.0), (0.5, 8.0), (0.15, 64.0), (0.35, 3.0), (0.55, 1.5), (0.25, 1.0)])


def drop_in(density=0.15, mean=3.0, **options):
    return FlaxDataCollatorForT5MLM(TOKENIZER, density, mean, **options)


@given(
    setting=settings, length=st.integers(2, 300), seed=st.integers(0, 2**32 - 1), flavour=st.sampled_from(["noise", "smaller"])
)
def test_masks_equal_the_scripts_for_the_same_state(setting, length, seed, flavour):
    script = FlaxScriptCollator(TOKENIZER, *setting, None, None, 0, 0, flavour)
    np.random.seed(seed)
    try:
        expected = script.random_spans_noise_mask(length)
    except (ValueError, IndexError):
        assume(False)  # the script crashes
    after = np.random.random()
    np.random.seed(seed)
    mask = drop_in(*setting, num_noise_spans=flavour).random_spans_noise_mask(length)
    assert mask.dtype == expected.dtype
    assert np.array_equal(mask, expected)
    assert np.random.random() == after
    own_state = drop_in(*setting, num_noise_spans=flavour, rng=np.random.RandomState(seed))
    assert np.array_equal(own_state.random_spans_noise_mask(length), expected)


@given(length=st.integers(2, 60), rows=st.integers(1, 4), data=st.data())
def test_outputs_equal_the_scripts_for_the_same_mask(length, rows, data):
    """For any mask whose rows have the same numbers of hidden tokens and runs, as all masks of one call have."""
    first = np.array(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    mask = np.stack([first] * rows)
    ids = np.random.default_rng(0).integers(3, 200, size=(rows, length))
    script = FlaxScriptCollator(TOKENIZER, 0.15, 3.0, None, None, 0, 0)
    for side in (mask.astype(np.int8), (~mask).astype(np.int8)):
        expected, ours = script.create_sentinel_ids(side.copy()), drop_in().create_sentinel_ids(side)
        assert ours.dtype == expected.dtype
        assert np.array_equal(ours, expected)
        filtered, expected = drop_in().filter_input_ids(ids, ours), script.filter_input_ids(ids, expected)
        assert filtered.dtype == expected.dtype
        assert np.array_equal(filtered, expected)


@pytest.mark.parametrize("flavour", ["noise", "smaller"])
@pytest.mark.parametrize(("density", "mean", "inputs"), [(0.15, 3.0, 512), (0.15, 3.0, 128), (0.5, 3.0, 64), (0.15, 8.0, 256)])
def test_batches_equal_the_scripts_bit_for_bit(density, mean, inputs, flavour):
    tokens, targets = compute_input_and_target_lengths(inputs, density, mean)
    examples = [{"input_ids": row} for row in np.random.default_rng(0).integers(3, 200, size=(8, tokens))]
    script = FlaxScriptCollator(TOKENIZER, density, mean, inputs, targets, 0, 0, flavour)
    ours = drop_in(
        density,
        mean,
        input_length=inputs,
        target_length=targets,
        pad_token_id=0,
        decoder_start_token_id=0,
        num_noise_spans=flavour,
    )
    np.random.seed(3)
    expected = script(examples)
    np.random.seed(3)
    batch = ours(examples)
    assert set(batch) == set(expected)
    for name, array in expected.items():
        assert batch[name].dtype == array.dtype
        assert np.array_equal(batch[name], array)
    np.random.seed(3)
    tensors = DataCollatorForT5MLM(TOKENIZER, density, mean, inputs, targets, 0, num_noise_spans=flavour)(examples)
    assert set(tensors) == {"input_ids", "labels"}  # nanoT5's keys
    assert torch.equal(tensors["labels"], torch.from_numpy(expected["labels"]))


def test_a_program_that_calls_the_methods_runs_unchanged():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        denoiser = FlaxDataCollatorForT5MLM(TOKENIZER, 0.55, 1.5)
    ids = ARTICLE
    mask = np.asarray([denoiser.random_spans_noise_mask(ids.shape[1])])
    inputs = denoiser.filter_input_ids(ids, denoiser.create_sentinel_ids(mask.astype(np.int8)))
    labels = denoiser.filter_input_ids(ids, denoiser.create_sentinel_ids((~mask).astype(np.int8)))
    assert inputs.shape == (1, 8)
    assert labels.shape == (1, 9)


def test_quirk_rows_that_end_in_eos_get_a_second_one():
    denoiser = drop_in(0.55, 1.5)
    mask = np.asarray([denoiser.random_spans_noise_mask(9)])
    labels = denoiser.filter_input_ids(ARTICLE, denoiser.create_sentinel_ids((~mask).astype(np.int8)))
    assert labels[0, -2:].tolist() == [1, 1]


def test_quirk_lengths_are_fixed():
    examples = [{"input_ids": list(range(3, 103))}]
    with pytest.raises(ValueError, match=r"`input_ids` are incorrectly preprocessed. `input_ids` length is 91, but should be 64"):
        drop_in(input_length=64, target_length=19)(examples)
    with pytest.raises(ValueError, match=r"`labels` are incorrectly preprocessed. `labels` length is 21, but should be 19"):
        drop_in(input_length=91, target_length=19)(examples)


def test_quirk_sentinels_count_down_from_the_length_of_the_tokenizer():
    with pytest.warns(
        SpanmaskWarning, match="the id of <extra_id_0> is 259, but the scripts, and so this class, count sentinels down"
    ):
        denoiser = FlaxDataCollatorForT5MLM(ByT5Tokenizer(), 0.15, 3.0)
    assert denoiser.create_sentinel_ids(np.array([[0, 1, 1, 0, 1]])).tolist() == [[0, 383, -1, 0, 382]]


@given(inputs=st.integers(5, 400), setting=settings)
def test_the_lengths_helper_agrees_with_the_planner_where_it_agrees_with_its_sampler(inputs, setting):
    density, mean = setting
    tokens, targets = compute_input_and_target_lengths(inputs, density, mean)
    noise = round(tokens * density)
    if mean > 1 and 1 <= round(noise / mean) <= min(noise, tokens - noise):
        planned = plan_lengths(inputs, density, mean)
        assert planned == (tokens, targets) or density == 0.5


@pytest.mark.parametrize("flavour", ["noise", "smaller"])
@pytest.mark.parametrize(("density", "mean"), [(0.5, 1.0), (0.01, 3.0), (0.9, 1.0), (0.35, 3.0)])
def test_rows_that_crashed_the_scripts_do_not_crash(density, mean, flavour):
    denoiser = drop_in(density, mean, num_noise_spans=flavour)
    for length in range(2, 30):
        mask = denoiser.random_spans_noise_mask(length)
        assert len(mask) == length
        assert mask.any()
        assert not mask.all()


def test_keyed_noise_is_a_function_of_the_row():
    examples = [{"input_ids": list(range(3, 103))}, {"input_ids": list(range(53, 153))}]
    one, other = drop_in(rng="keyed", seed=1), drop_in(rng="keyed", seed=1)
    assert np.array_equal(one(examples)["labels"][1], other(examples[1:])["labels"][0])
    assert not np.array_equal(one(examples)["labels"], drop_in(rng="keyed", seed=2)(examples)["labels"])
    assert one.random_spans_noise_mask(40).sum() == 6


def test_repr_names_the_options():
    assert repr(drop_in(input_length=64)).startswith(
        "FlaxDataCollatorForT5MLM(noise_density=0.15, mean_noise_span_length=3.0, input_length=64, target_length=None, "
    )


def test_other_columns_pass_through():
    batch = drop_in()([{"input_ids": list(range(3, 23)), "idx": 7}])
    assert batch["idx"].tolist() == [7]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: drop_in(0), ValueError, "noise_density: expected a fraction"),
        (lambda: drop_in(0.15, 0.5), ValueError, "mean_noise_span_length: expected a finite length"),
        (lambda: drop_in(rng="torch"), ValueError, "rng: expected 'numpy', 'keyed'"),
        (lambda: drop_in(num_noise_spans="old"), ValueError, "num_noise_spans: expected one of"),
        (
            lambda: drop_in().filter_input_ids(np.array([[5, 6], [7, 8]]), np.array([[0, 0], [0, -1]])),
            ValueError,
            "sentinel_ids: rows keep between 1 and 2 tokens",
        ),
        (lambda: drop_in()([{"input_ids": [5, 6, 7]}, {"input_ids": [5, 6]}]), ValueError, "input_ids: rows differ in length"),
    ],
)
def test_bad_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
