"""A byte-level tokenizer, a format, and a row with its labels."""

import pytest
from spanmask import ChatFormat, mask_labels
from support.previews import TEXT
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level: 中 and 😀 are several tokens each."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(["USER: ASSISTANT: What is it? A red square."] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )


@pytest.fixture(scope="module")
def chat_format(tokenizer):
    return ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:")


@pytest.fixture(scope="module")
def row(tokenizer):
    return tokenizer(TEXT).input_ids


@pytest.fixture(scope="module")
def labels(row, chat_format):
    return mask_labels([row], chat_format).labels.to_list()[0]
