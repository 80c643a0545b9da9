"""Masked diffusion: the core compared with the oracle, the statistics of rates and masks, and everything that must be an error."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import MaskedDiffusion, diffuse, reference
from spanmask.reference.diffusion import antithetic_ratios
from spanmask.reference.key import name_key, row_key
from support.denoising import bert_tokenizer, flags_of, rows, seeds, t5_tokenizer
from support.golden_vectors import DIFFUSION_SPECS
from support.optional import optional

torch = optional("torch")

VECTORS = Path(__file__).parents[2] / "vectors"
SPEC = MaskedDiffusion(31)
ROW = list(range(50, 150))


@st.composite
def diffusions(draw):
    return MaskedDiffusion(
        draw(st.sampled_from([31, 4, 1000])),
        eps=draw(st.sampled_from([1e-3, 0.5]) | st.floats(1e-6, 0.99)),
        special_ids=draw(st.sampled_from([(), (5, 6, 7), tuple(range(0, 40, 3))])),
        weighting=draw(st.sampled_from(["token", "row"])),
    )


@given(row=rows, spec=diffusions(), seed=seeds, epoch=st.integers(0, 3), data=st.data())
def test_diffuse_equals_the_reference(row, spec, seed, epoch, data):
    key = data.draw(st.none() | seeds)
    ratio = data.draw(st.none() | st.sampled_from([1e-12, 0.5, 1.0]) | st.floats(1e-6, 1))
    ignore_index = data.draw(st.sampled_from([-100, -1, 7]))
    options = {}
    if data.draw(st.booleans()):
        options["protected_mask"] = flags_of(row, data)
    if data.draw(st.booleans()):
        options["labels"] = [token if kept else ignore_index for token, kept in zip(row, flags_of(row, data), strict=True)]
    out = diffuse(
        [row],
        spec,
        seed=seed,
        epoch=epoch,
        keys=None if key is None else [key],
        mask_ratio=ratio,
        ignore_index=ignore_index,
        **{name: [column] for name, column in options.items()},
    )
    inputs, labels, weights = reference.diffuse(
        row, spec, seed, epoch, key, mask_ratio=ratio, ignore_index=ignore_index, **options
    )
    assert out.input_ids[0].tolist() == inputs
    assert out.labels[0].tolist() == labels
    assert out.loss_weights[0].tolist() == np.array(weights, np.float32).tolist()
    assert out.masked.tolist() == [sum(weight > 0 for weight in weights)]
    assert out.keys.tolist() == [row_key(row) if key is None else key]


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "diffusion.json").read_text()), ids=lambda case: f"{case['spec']}-{len(case['row'])}"
)
def test_noise_is_pinned(case):
    labels = None if case["trained"] is None else [case["trained"]]
    out = diffuse([case["row"]], DIFFUSION_SPECS[case["spec"]], seed=case["seed"], epoch=case["epoch"], labels=labels)
    assert out.mask_ratio.tolist() == [case["mask_ratio"]]
    assert out.input_ids[0].tolist() == case["input_ids"]
    assert out.labels[0].tolist() == case["labels"]


@given(st.lists(rows, min_size=1, max_size=6), seeds, st.integers(0, 2))
def test_antithetic_ratios_equal_the_reference(batch, seed, epoch):
    spec = MaskedDiffusion(1000, eps=0.1, antithetic=True)
    out = diffuse(batch, spec, seed=seed, epoch=epoch)
    ratios = antithetic_ratios(list(map(row_key, batch)), seed, epoch, 0.1)
    assert out.mask_ratio.tolist() == ratios
    for row, ratio, inputs in zip(batch, ratios, out.input_ids, strict=True):
        assert inputs.tolist() == reference.diffuse(row, spec, seed, epoch, mask_ratio=ratio)[0]


@pytest.mark.parametrize("length", [63, 64, 65, 5000])
def test_long_rows_equal_the_reference(length):
    row = np.random.default_rng(length).integers(0, 1000, length)
    labels = np.where(np.arange(length) % 5 < 3, row, -100)
    spec = MaskedDiffusion(7, special_ids=range(100, 130))
    out = diffuse([row], spec, labels=[labels], seed=5)
    inputs, made, _ = reference.diffuse(row.tolist(), spec, 5, labels=labels.tolist())
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == (inputs, made)


def test_ratios_are_uniform_and_tokens_are_masked_with_them():
    """Kolmogorov-Smirnov at 1 in 10,000; each row's masked share within 5 sigma of its ratio."""
    count, length, eps = 4000, 200, 0.2
    out = diffuse(np.arange(count * length).reshape(count, length), MaskedDiffusion(10**6, eps=eps), seed=3)
    places = np.sort((out.mask_ratio - eps) / (1 - eps))
    steps = np.arange(count + 1) / count
    distance = max(np.abs(places - steps[1:]).max(), np.abs(places - steps[:-1]).max())
    assert distance < 2.23 / math.sqrt(count)
    sigma = np.sqrt(length * out.mask_ratio * (1 - out.mask_ratio))
    assert (np.abs(out.masked - length * out.mask_ratio) < 5 * sigma + 1).all()
    # The random numbers of a row's ratio and of its tokens are not related.
    errors = (out.masked - length * out.mask_ratio) / (sigma + 1e-9)
    assert abs(np.corrcoef(errors, out.mask_ratio)[0, 1]) < 5 / math.sqrt(count)


@pytest.mark.parametrize("antithetic", [False, True])
def test_weights_add_up_to_the_eligible_tokens(antithetic):
    """E[sum of weights] is the number of eligible tokens (of rows, with weighting="row"): within 5 sigma, from the variance 1/t - 1."""
    count, length, eps = 3000, 50, 0.1
    table = np.arange(count * length).reshape(count, length)
    labels = np.where(np.arange(length) < 20, -100, table)
    variance = count * 30 * (math.log(1 / eps) / (1 - eps) - 1)
    out = diffuse(table, MaskedDiffusion(10**6, eps=eps, antithetic=antithetic), labels=labels)
    assert out.eligible.tolist() == [30] * count
    assert abs(out.loss_weights.sum() - out.eligible.sum()) < 5 * math.sqrt(variance)
    by_row = diffuse(table, MaskedDiffusion(10**6, eps=eps, antithetic=antithetic, weighting="row"), labels=labels)
    assert np.allclose(by_row.loss_weights * 30, out.loss_weights)


def test_ratios_of_neighbouring_keys_and_epochs_are_unrelated():
    table = np.array([ROW] * 4000)
    ratios = [diffuse(table, SPEC, seed=1, epoch=epoch, keys=range(4000)).mask_ratio for epoch in (0, 1)]
    for one, other in (ratios, (ratios[0][1:], ratios[0][:-1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(4000)


@given(batch=st.lists(rows, min_size=1, max_size=6), spec=diffusions(), seed=seeds, data=st.data())
def test_a_row_does_not_depend_on_its_batch(batch, spec, seed, data):
    out = diffuse(batch, spec, seed=seed)
    order = data.draw(st.permutations(range(len(batch))))
    other = diffuse([batch[number] for number in order], spec, seed=seed, num_threads=3)
    for place, number in enumerate(order):
        assert other.input_ids[place].tolist() == out.input_ids[number].tolist()
        assert other.mask_ratio[place] == out.mask_ratio[number]


@given(batch=st.lists(rows, min_size=1, max_size=6, unique_by=tuple), seed=seeds, data=st.data())
def test_antithetic_ratios_do_not_depend_on_the_order(batch, seed, data):
    spec = MaskedDiffusion(1000, antithetic=True)
    out = diffuse(batch, spec, seed=seed)
    order = data.draw(st.permutations(range(len(batch))))
    other = diffuse([batch[number] for number in order], spec, seed=seed)
    assert other.mask_ratio.tolist() == out.mask_ratio[list(order)].tolist()


def test_antithetic_ratios_cover_the_range_and_lower_the_variance():
    table = np.random.default_rng(0).integers(0, 30, (40, 64))
    spreads = []
    for antithetic in (False, True):
        spec = MaskedDiffusion(31, antithetic=antithetic)
        means = [diffuse(table, spec, seed=seed).mask_ratio.mean() for seed in range(200)]
        spreads.append(np.std(means))
        assert abs(np.mean(means) - 0.5005) < 5 * spreads[-1] / math.sqrt(200)
    assert spreads[1] < spreads[0] / 10
    parts = diffuse(table, MaskedDiffusion(31, eps=1e-9, antithetic=True)).mask_ratio * 40
    assert sorted(parts.astype(int)) == list(range(40))
    # Each ratio on its own is still uniform: that of one row over seeds.
    own = [diffuse(table, MaskedDiffusion(31, eps=1e-9, antithetic=True), seed=seed).mask_ratio[3] for seed in range(400)]
    assert abs(np.mean(own) - 0.5) < 5 * math.sqrt(1 / 12 / 400)


def test_a_higher_ratio_masks_the_same_tokens_and_more():
    masks = [diffuse([ROW], SPEC, mask_ratio=ratio).labels[0] != -100 for ratio in (0.1, 0.3, 0.8, 1.0)]
    for fewer, more in zip(masks, masks[1:], strict=False):
        assert (more | ~fewer).all()
        assert more.sum() > fewer.sum()


def test_prompts_and_protected_tokens_change_nothing_elsewhere():
    whole = diffuse([ROW], SPEC, keys=[9])
    answer = diffuse([ROW], SPEC, keys=[9], labels=[[-100] * 40 + ROW[40:]])
    kept = diffuse([ROW], SPEC, keys=[9], protected_mask=[[True] * 40 + [False] * 60])
    for out in (answer, kept):
        assert out.input_ids[0].tolist() == ROW[:40] + whole.input_ids[0].tolist()[40:]
        assert out.mask_ratio.tolist() == whole.mask_ratio.tolist()
        assert out.eligible.tolist() == [60]


def test_tokens_that_are_the_mask_already_have_no_label():
    out = diffuse([[31, 50, 31]], SPEC, mask_ratio=1.0)
    assert out.input_ids.to_list() == [[31, 31, 31]]
    assert out.labels.to_list() == [[-100, 50, -100]]
    assert out.eligible.tolist() == [1]


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_is_not_masked_and_does_not_count(side):
    batch = [[50, 51, 52, 53, 54], [60, 61]]
    table = np.full((2, 5), 99)
    mask = np.zeros((2, 5), int)
    for number, row in enumerate(batch):
        places = slice(0, len(row)) if side == "right" else slice(5 - len(row), 5)
        table[number, places], mask[number, places] = row, 1
    labels = np.where(mask == 1, table, -100)
    ragged = diffuse(batch, SPEC, seed=4, mask_ratio=0.7)
    for given_labels in (None, torch.from_numpy(labels)):
        out = diffuse(
            torch.from_numpy(table), SPEC, seed=4, mask_ratio=0.7, attention_mask=torch.from_numpy(mask), labels=given_labels
        )
        assert isinstance(out.loss_weights, torch.Tensor)
        assert out.input_ids.tolist() == ragged.input_ids.to_padded(99, side).tolist()
        assert out.labels.tolist() == ragged.labels.to_padded(-100, side).tolist()
        assert out.loss_weights.tolist() == ragged.loss_weights.to_padded(0, side).tolist()
        assert out.eligible.tolist() == [5, 2]
        assert out.keys.tolist() == ragged.keys.tolist()


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.int64])
def test_types_and_names_of_rows(dtype):
    out = diffuse(np.array([ROW], dtype), SPEC, keys=["a row"])
    assert out.input_ids.dtype == out.labels.dtype == np.int64
    assert out.loss_weights.dtype == np.float32
    expected = reference.diffuse(ROW, SPEC, key=name_key("a row"))
    assert out.input_ids.tolist() == [expected[0]]


@pytest.mark.parametrize("antithetic", [False, True])
def test_threads_change_nothing(antithetic):
    table = np.random.default_rng(0).integers(0, 1000, size=(3000, 300))
    spec = MaskedDiffusion(7, antithetic=antithetic)
    one, many = (diffuse(table, spec, num_threads=threads) for threads in (1, 5))
    for name in ("input_ids", "labels", "loss_weights", "mask_ratio", "eligible", "masked"):
        assert np.array_equal(getattr(one, name), getattr(many, name))


class TestTokenizers:
    def test_the_mask_token_of_the_tokenizer(self):
        tokenizer = bert_tokenizer()
        assert MaskedDiffusion.from_tokenizer(tokenizer, eps=0.01) == MaskedDiffusion(tokenizer.mask_token_id, eps=0.01)

    @pytest.mark.parametrize("name", ["<|mdm_mask|>", "<|mask|>"])
    def test_masks_of_llada_and_dream_are_found_by_name(self, name):
        tokenizer = t5_tokenizer(["a"])
        tokenizer.add_tokens([name], special_tokens=True)
        assert tokenizer.mask_token_id is None
        assert MaskedDiffusion.from_tokenizer(tokenizer).mask_token_id == tokenizer.convert_tokens_to_ids(name)

    def test_a_tokenizer_without_a_mask_or_with_two_is_an_error(self):
        tokenizer = t5_tokenizer(["a"])
        with pytest.raises(
            ValueError, match="tokenizer: has no mask token; set tokenizer.mask_token, pass mask_token_id, or add"
        ):
            MaskedDiffusion.from_tokenizer(tokenizer)
        tokenizer.add_tokens(["<|mdm_mask|>", "<|mask|>"])
        with pytest.raises(ValueError, match=r"has <\|mdm_mask\|> and <\|mask\|>, but does not say which is the mask"):
            MaskedDiffusion.from_tokenizer(tokenizer)
        assert MaskedDiffusion.from_tokenizer(tokenizer, mask_token_id=3).mask_token_id == 3
        with pytest.raises(TypeError, match="tokenizer: expected a transformers tokenizer, got str"):
            MaskedDiffusion.from_tokenizer("llada")


def test_specs_are_pickled():
    spec = MaskedDiffusion(4, eps=0.25, special_ids=range(3), antithetic=True, weighting="row")
    diffuse([ROW], spec)
    assert pickle.loads(pickle.dumps(spec)) == spec


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"eps": 0}, ValueError, "eps: expected a fraction strictly between 0 and 1, got 0"),
        ({"eps": 1}, ValueError, "eps: expected a fraction strictly between 0 and 1"),
        ({"eps": -0.1}, ValueError, "eps: expected a fraction"),
        ({"eps": float("nan")}, ValueError, "eps: expected a fraction"),
        ({"eps": "small"}, TypeError, "eps: expected a number"),
        ({"mask_token_id": -1}, ValueError, "mask_token_id: expected a token id"),
        ({"mask_token_id": None}, TypeError, "mask_token_id: expected a token id"),
        ({"special_ids": 5}, TypeError, "special_ids: expected token ids"),
        ({"antithetic": 1}, ValueError, "antithetic: expected True or False"),
        ({"weighting": "batch"}, ValueError, "weighting: expected one of 'token', 'row'"),
    ],
)
def test_bad_specs(options, error, message):
    with pytest.raises(error, match=message):
        MaskedDiffusion(**{"mask_token_id": 4, **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": [ROW, [5, -100]]}, ValueError, "rows: row 1 has -100 at position 1; noise accepts ids from 0"),
        ({"rows": [[5, 2**33]]}, ValueError, "rows: row 0 has 8589934592 at position 1"),
        ({"rows": [[0.5]]}, TypeError, "rows: row 0 has 0.5"),
        ({"spec": None}, TypeError, "spec: expected MaskedDiffusion, got NoneType"),
        ({"labels": [[*ROW[1:], -100]]}, ValueError, "labels: row 0 has the label 51 at position 0, where the token is 50"),
        ({"rows": [[5], [5, 6]], "labels": [[5], [5, 7]]}, ValueError, "labels: row 1 has the label 7 at position 1"),
        ({"labels": [ROW[1:]]}, ValueError, "labels: row 0 has 99 entries for 100 ids"),
        ({"labels": [ROW, ROW]}, ValueError, "labels: 2 rows for 1 rows"),
        ({"rows": np.array([ROW]), "labels": ROW}, ValueError, "labels: "),
        ({"rows": np.array([ROW]), "protected_mask": [[True] * 100]}, TypeError, "protected_mask: only supported for ragged"),
        ({"protected_mask": [[True]]}, ValueError, "protected_mask: row 0 has 1 entries for 100 ids"),
        ({"attention_mask": [[1] * 100]}, TypeError, "attention_mask: only supported for 2-D input"),
        ({"mask_ratio": 0}, ValueError, "mask_ratio: row 0: expected a probability above 0 and at most 1, got 0"),
        ({"mask_ratio": [1.5]}, ValueError, "mask_ratio: row 0: expected a probability"),
        ({"mask_ratio": [0.5, 0.5]}, ValueError, "mask_ratio: 2 values for 1 rows"),
        ({"mask_ratio": [float("nan")]}, ValueError, "mask_ratio: row 0: expected a probability"),
        ({"ignore_index": 1.5}, ValueError, "ignore_index: expected an integer"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"keys": [1, 2]}, ValueError, "keys: 2 keys for 1 rows"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
    ],
)
def test_bad_calls(arguments, error, message):
    with pytest.raises(error, match=message):
        diffuse(**{"rows": [ROW], "spec": SPEC, **arguments})


def test_empty():
    for antithetic in (False, True):
        spec = MaskedDiffusion(4, antithetic=antithetic)
        assert diffuse([], spec).input_ids.to_list() == []
        out = diffuse([[]], spec)
        assert out.labels.to_list() == [[]]
        assert (out.eligible.tolist(), out.masked.tolist()) == ([0], [0])
