"""Masked LM: the masking of a padded batch. spanmask, transformers' collator, vectorized NumPy."""

import math

import numpy as np
import pytest
import torch
from peers import TRANSFORMERS
from spanmask import MaskedLM, mask_tokens, reference
from support.denoising import bert_tokenizer
from timing import LONGER, TOKENS, TYPICAL, alternate, compare, copies, copies_by_two, fewer, in_new_epochs, with_typical
from timing import ROWS as FLAT_ROWS
from transformers import DataCollatorForLanguageModeling

ROWS, LENGTH, WORDS = 128, 512, 10000
TOKENIZER = bert_tokenizer(WORDS)
SPECIAL = np.array(sorted(TOKENIZER.all_special_ids))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(5, len(TOKENIZER), size=(ROWS, LENGTH))


def numpy_mask(ids):
    """Masking as it is usually written in NumPy: with three arrays of random numbers and no loop."""
    generator = np.random.default_rng()
    chosen = (generator.random(ids.shape) < 0.15) & ~np.isin(ids, SPECIAL)
    labels = np.where(chosen, ids, -100)
    replacement = generator.random(ids.shape)
    masked, random = chosen & (replacement < 0.8), chosen & (replacement >= 0.8) & (replacement < 0.9)
    inputs = np.where(masked, TOKENIZER.mask_token_id, ids)
    inputs[random] = generator.integers(5, len(TOKENIZER), size=int(random.sum()))
    return inputs, labels


def check(ids, inputs, labels):
    """Labels are the ids of chosen tokens, other tokens are unchanged, and the fractions are 0.15 and 80/10/10 within 5 sigma."""
    chosen = labels != -100
    count = int(chosen.sum())
    assert (np.where(chosen, labels, inputs) == ids).all()
    assert abs(count - 0.15 * ids.size) < 5 * math.sqrt(ids.size * 0.15 * 0.85)
    assert abs((inputs[chosen] == TOKENIZER.mask_token_id).sum() - 0.8 * count) < 5 * math.sqrt(count * 0.16)
    assert abs((inputs[chosen] == labels[chosen]).sum() - 0.1 * count) < 5 * math.sqrt(count * 0.09)


def test_masked_lm(bench, ids):
    spec = MaskedLM.from_tokenizer(TOKENIZER)
    tensor = torch.from_numpy(ids)
    theirs = DataCollatorForLanguageModeling(TOKENIZER)

    masked = in_new_epochs(mask_tokens, tensor, spec)

    def ours():
        out = masked()
        return out.input_ids, out.labels

    # transformers' collator writes in place, so it is given a copy, which takes a hundredth of its time.
    engines = {
        "spanmask": ours,
        TRANSFORMERS: lambda: theirs.torch_mask_tokens(tensor.clone()),
        "rewritten:numpy": lambda: numpy_mask(ids),
    }
    torch.manual_seed(0)
    for run in engines.values():
        check(ids, *map(np.asarray, run()))
    compare(bench(f"masked-lm/{ROWS}x{LENGTH}/int64/tokens", "spanmask"), engines)


def check_words(ids, inside, inputs, labels):
    """Whole words are chosen, with the probability 0.15 within 5 sigma, and all their tokens become the mask token.

    `inside`: bool, the tokens that continue a word.
    """
    chosen = labels != -100
    assert (inputs == np.where(chosen, TOKENIZER.mask_token_id, ids)).all()
    assert (labels == np.where(chosen, ids, -100)).all()
    assert (chosen[:, 1:] == chosen[:, :-1])[inside[:, 1:]].all()
    count = int((~inside).sum())
    assert abs(int(chosen[~inside].sum()) - 0.15 * count) < 5 * math.sqrt(count * 0.15 * 0.85)


def test_whole_words(bench, ids):
    """Both replace every chosen token with the mask token: transformers has no other replacement for whole words."""
    rows = ids[:32]
    options = {"whole_word_mask": True, "mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    spec = MaskedLM.from_tokenizer(TOKENIZER, **options)
    theirs = DataCollatorForLanguageModeling(TOKENIZER, **options)
    inside = rows >= 5 + WORDS
    inside[:, 0] = False
    # transformers recognizes words by the tokenizer's character offsets: tokens of one word touch.
    starts = np.cumsum(np.where(inside, 1, 2), axis=1)
    offsets = torch.from_numpy(np.stack([starts, starts + 1], axis=2))
    tensor = torch.from_numpy(rows)
    special = torch.zeros_like(tensor)
    masked = in_new_epochs(mask_tokens, tensor, spec)

    def ours():
        out = masked()
        return out.input_ids, out.labels

    engines = {
        "spanmask": ours,
        TRANSFORMERS: lambda: theirs.torch_mask_tokens(tensor.clone(), special.clone(), offsets),
    }
    torch.manual_seed(0)
    for run in engines.values():
        check_words(rows, inside, *map(np.asarray, run()))
    compare(bench("masked-lm/32x512/int64/whole-words", "spanmask"), engines)


SPECIAL_IDS = range(5)
VOCABULARY = 1000  # small, because the reference lists the vocabulary for every random id


def spec_for(**options):
    return MaskedLM(**{"mask_token_id": 4, "vocab_size": VOCABULARY, "special_ids": SPECIAL_IDS, **options})


def some_rows(rows, length, dtype="int64"):
    return np.random.default_rng(0).integers(len(SPECIAL_IDS), VOCABULARY, (rows, length), dtype=dtype)


@pytest.fixture(scope="module")
def typical(timed):
    return in_new_epochs(mask_tokens, some_rows(*(TYPICAL if timed else fewer(*TYPICAL))), spec_for())


@pytest.fixture
def flat(bench, timed, typical):
    """Times masking, alternating with typical rows and a copy of its outputs. Two short rows are first compared with the reference."""

    def time(shape, case, options=(), made=some_rows, **about):
        spec = spec_for(**dict(options))
        short = made(2, 512)
        out = mask_tokens(short, spec)
        for row, inputs, labels in zip(short, out.input_ids, out.labels, strict=True):
            assert (inputs.tolist(), labels.tolist()) == reference.mask_tokens(row.tolist(), spec)
        rows = made(*(shape if timed else fewer(*shape)))
        out = mask_tokens(rows, spec)
        benchmark = bench(f"masked-lm/{shape[0]}x{shape[1]}/int64/{case}", "spanmask", tokens=rows.size, **about)
        with_typical(benchmark, in_new_epochs(mask_tokens, rows, spec), typical, [out.input_ids, out.labels])

    return time


@pytest.mark.parametrize("rows", FLAT_ROWS)
def test_cost_over_shapes(flat, rows):
    shape = rows, TOKENS // rows
    flat(shape, "tokens", axes={"rows": rows} | ({"probability": 0.15} if shape == TYPICAL else {}))


@pytest.mark.parametrize("probability", [0.05, 0.3, 0.5, 1.0])
def test_cost_over_probabilities(flat, probability):
    flat(TYPICAL, f"probability-{probability}", {"mlm_probability": probability}, axes={"probability": probability})


ADVERSARIAL = {
    "every-token-special": (lambda *shape: np.full(shape, 3), {}),
    "half-of-the-ids-special": (some_rows, {"special_ids": range(0, VOCABULARY, 2)}),
    "words-of-one-token": (some_rows, {"whole_word_mask": True, "continuation_ids": [VOCABULARY]}),
    "one-word-a-row": (some_rows, {"whole_word_mask": True, "continuation_ids": range(VOCABULARY)}),
    "spans": (some_rows, {"mode": "span"}),
}


@pytest.mark.parametrize("shape", [TYPICAL, LONGER], ids=["typical", "longer"])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial(flat, case, shape):
    made, options = ADVERSARIAL[case]
    flat(shape, f"adversarial:{case}", options, made, adversarial=case)


def test_one_call(bench):
    bench("masked-lm/1x16/int64/one-call", "spanmask")(mask_tokens, some_rows(1, 16), spec_for())


def test_threads(bench, timed):
    """int32 ids: 64M tokens are 256 MiB, their int64 inputs and labels 1 GiB."""
    shape = (8192, 8192)
    rows, spec = some_rows(*fewer(*shape), "int32"), spec_for()
    one, two = (mask_tokens(rows, spec, num_threads=threads) for threads in (1, 2))
    np.testing.assert_array_equal(one.input_ids, two.input_ids)
    np.testing.assert_array_equal(one.labels, two.labels)
    if timed:
        rows = some_rows(*shape, "int32")
        one = mask_tokens(rows, spec)
    outputs = [one.input_ids, one.labels]
    others = {
        "spanmask:1-thread": in_new_epochs(mask_tokens, rows, spec),
        "memcpy": copies(outputs),
        "memcpy:2-threads": copies_by_two(outputs),
    }
    benchmark = bench("masked-lm/8192x8192/int32/threads", "spanmask:2-threads", tokens=rows.size)
    alternate(benchmark, in_new_epochs(mask_tokens, rows, spec, num_threads=2), others, rounds=7)
