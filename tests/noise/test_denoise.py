"""`denoise`: texts in, training pairs out."""

import pytest
import torch
from spanmask import denoise
from support.denoising import WORDS, t5_tokenizer
from transformers import ByT5Tokenizer


def test_the_sentence_that_crashed_the_script():
    """transformers issue 22246: "all input arrays must have the same shape" for density .35, span length 3."""
    tokenizer = t5_tokenizer(WORDS)
    pair = denoise(tokenizer, " ".join(WORDS), noise_density=0.35, mean_noise_span_length=3, seed=0)
    assert pair["labels"].shape[0] == 1


def test_without_a_seed_torch_decides():
    tokenizer, text = t5_tokenizer(WORDS), " ".join(WORDS * 8)
    torch.manual_seed(3)
    first, second = (denoise(tokenizer, text)["input_ids"] for _ in range(2))
    torch.manual_seed(3)
    assert torch.equal(denoise(tokenizer, text)["input_ids"], first)
    assert first.shape == second.shape
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        (5, TypeError, "text: expected a string or a list of strings, got int"),
        (["a", 5], TypeError, "text: .* item 1 is of type int"),
        ([], ValueError, "text: the list is empty"),
    ],
)
def test_bad_texts(text, error, message):
    with pytest.raises(error, match=message):
        denoise(ByT5Tokenizer(), text)
