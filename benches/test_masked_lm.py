"""Masked LM: the masking of a padded batch. Ours, transformers' collator, vectorized NumPy."""

import math

import numpy as np
import pytest
import torch
from denoising import bert_tokenizer
from spanmask import MaskedLM, mask_tokens
from transformers import DataCollatorForLanguageModeling

ROWS, LENGTH, WORDS = 128, 512, 10000
TOKENIZER = bert_tokenizer(WORDS)
SPECIAL = np.array(sorted(TOKENIZER.all_special_ids))


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(5, len(TOKENIZER), size=(ROWS, LENGTH))


def numpy_mask(ids):
    """The masking as one writes it in NumPy: three arrays of random numbers, no loop."""
    generator = np.random.default_rng()
    chosen = (generator.random(ids.shape) < 0.15) & ~np.isin(ids, SPECIAL)
    labels = np.where(chosen, ids, -100)
    fate = generator.random(ids.shape)
    masked, random = chosen & (fate < 0.8), chosen & (fate >= 0.8) & (fate < 0.9)
    inputs = np.where(masked, TOKENIZER.mask_token_id, ids)
    inputs[random] = generator.integers(5, len(TOKENIZER), size=int(random.sum()))
    return inputs, labels


def check(ids, inputs, labels):
    """The statistics of all engines: within 5 sigma of p and of 80/10/10."""
    chosen = labels != -100
    count = int(chosen.sum())
    assert (np.where(chosen, labels, inputs) == ids).all()
    assert abs(count - 0.15 * ids.size) < 5 * math.sqrt(ids.size * 0.15 * 0.85)
    assert abs((inputs[chosen] == TOKENIZER.mask_token_id).sum() - 0.8 * count) < 5 * math.sqrt(count * 0.16)


@pytest.mark.parametrize("engine", ["spanmask", "transformers", "rewritten:numpy"])
def test_masked_lm(benchmark, ids, engine):
    benchmark.group = f"masked-lm/{ROWS}x{LENGTH}/int64/tokens"
    benchmark.extra_info["engine"] = engine
    spec = MaskedLM.from_tokenizer(TOKENIZER)
    tensor = torch.from_numpy(ids)
    theirs = DataCollatorForLanguageModeling(TOKENIZER)

    def ours():
        out = mask_tokens(tensor, spec)
        return out.input_ids, out.labels

    # transformers' works in place: it gets a copy, which takes a hundredth of its time.
    run = {
        "spanmask": ours,
        "transformers": lambda: theirs.torch_mask_tokens(tensor.clone()),
        "rewritten:numpy": lambda: numpy_mask(ids),
    }[engine]
    torch.manual_seed(0)
    check(ids, *map(np.asarray, run()))
    benchmark(run)


@pytest.mark.parametrize("engine", ["spanmask", "transformers"])
def test_whole_words(benchmark, ids, engine):
    rows = ids[:32]
    benchmark.group = "masked-lm/32x512/int64/whole-words"
    benchmark.extra_info["engine"] = engine
    spec = MaskedLM.from_tokenizer(TOKENIZER, whole_word=True)
    # transformers tells words by the offsets of characters that the tokenizer gives: those of a word touch.
    lengths = np.where(rows >= 5 + WORDS, 0, 1)
    starts = np.cumsum(lengths + 1, axis=1)
    offsets = [[[int(start), int(start) + 1] for start in row] for row in starts]
    theirs = DataCollatorForLanguageModeling(TOKENIZER, whole_word_mask=True, mask_replace_prob=1, random_replace_prob=0)
    tensor = torch.from_numpy(rows)
    if engine == "spanmask":
        out = mask_tokens(tensor, spec)
        inside = (rows >= 5 + WORDS)[:, 1:]
        chosen = out.labels.numpy() != -100
        assert (chosen[:, 1:] == chosen[:, :-1])[inside].all()
        benchmark(mask_tokens, tensor, spec)
    else:
        special = torch.zeros_like(tensor)
        run = lambda: theirs.torch_mask_tokens(tensor.clone(), special.clone(), torch.tensor(offsets))  # noqa: E731
        run()
        benchmark(run)
