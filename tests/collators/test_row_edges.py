"""What rows hold at their edges: BOS of text rows, halves of surrogate pairs, weights as arrays without dimensions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from spanmask import DataCollatorForChat, encode_chat
from support import derivation
from tokenizers.processors import TemplateProcessing
from transformers import ByT5Tokenizer

ASK, SAY = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def collator(**options: object) -> DataCollatorForChat:
    tokenizer, _ = derivation.tokenizer_with("style", "chatml", "byte_level")
    tokenizer.pad_token = tokenizer.eos_token
    return DataCollatorForChat(tokenizer, return_tensors="np", **options)


@pytest.mark.parametrize("prompt", ["3 + 4 = ", "", "<s>3 + 4 = "])
def test_completions_begin_with_bos_where_the_tokenizer_adds_it(prompt):
    collate = collator()
    collate.tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", collate.tokenizer.bos_token_id)]
    )
    batch = collate([{"prompt": prompt, "completion": "7"}])
    whole = f"{prompt.removeprefix('<s>')}7</s>"
    assert batch["input_ids"][0].tolist() == collate.tokenizer(whole)["input_ids"]
    assert batch["labels"][0].tolist()[-2:] == collate.tokenizer("7</s>", add_special_tokens=False)["input_ids"]
    assert (batch["labels"][0][:-2] == -100).all()


def test_half_a_surrogate_pair_is_an_error_that_names_the_row():
    rows = [[ASK, SAY], [ASK, {"role": "assistant", "content": "fine \udc9d not"}]]
    with pytest.raises(ValueError, match=r"messages: row 1 contains '\\udc9d'.*surrogatepass"):
        encode_chat(collator().tokenizer, rows)
    slow = ByT5Tokenizer()
    slow.chat_template = collator().tokenizer.chat_template
    with pytest.raises(ValueError, match=r"messages: row 1 contains '\\udc9d'"):
        encode_chat(slow, rows)


@pytest.mark.parametrize("number", [np.array, torch.tensor])
def test_weights_may_be_arrays_without_dimensions(number):
    batch = collator()([{"messages": [ASK, {**SAY, "weight": number(0.25)}]}])
    assert set(batch["loss_weights"][0].tolist()) == {0.0, 0.25}
