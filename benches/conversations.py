"""Conversations and a tokenizer of real size, made from the text of installed packages: no data set and no tokenizer can be downloaded."""

import functools
import sysconfig
from itertools import islice
from pathlib import Path

import numpy as np
from support.trl_templates import TEMPLATES
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 32_000
TEMPLATE = "qwen3_training"  # TRL's copy of Qwen 3's template, with generation marks, which TRL and transformers need
CHARACTERS = 12_000_000  # of text that the tokenizer is trained on


@functools.cache
def lines():
    """Lines of Python files, documented code in most of them."""
    files = sorted(Path(sysconfig.get_paths()["purelib"]).glob("transformers/models/*/*.py"))
    found, size = [], 0
    for file in files:
        text = file.read_text(encoding="utf-8")
        found += [line for line in text.splitlines() if line.strip()]
        size += len(text)
        if size > CHARACTERS:
            return found
    return found


@functools.cache
def tokenizer_of_real_size(vocabulary=VOCABULARY):
    """A byte-level BPE tokenizer with Qwen 3's chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(lines() if vocabulary == VOCABULARY else islice(lines(), 5000), trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = TEMPLATES[TEMPLATE]
    return tokenizer


def conversations(count):
    """Conversations of about 200 to 2,000 tokens: one to five rounds, messages of 5 to 35 lines."""
    rng = np.random.default_rng(0)
    source, made, at = lines(), [], 0
    for _ in range(count):
        size = int(rng.integers(5, 20))
        messages = []
        for number in range(2 * int(rng.integers(1, 6))):
            taken = source[at : at + size]
            at = (at + size) % (len(source) - 100)
            messages.append({"role": "assistant" if number % 2 else "user", "content": "\n".join(taken).strip()})
        made.append(messages)
    return made
