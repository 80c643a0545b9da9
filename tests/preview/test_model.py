"""The model of a row: lines, styles, weights, encoder-decoder pairs."""

import numpy as np
import torch
from spanmask import preview
from support.previews import body
from transformers import ByT5Tokenizer


def test_replaced_tokens_show_both(tokenizer):
    first, *rest = tokenizer("A red square.").input_ids
    shown = preview([tokenizer.pad_token_id, *rest], [first, *[-100] * len(rest)], tokenizer)
    assert body(shown) == "[[<pad> -> A]] red square."


def test_roles_are_in_the_gutter(tokenizer, row, labels, chat_format):
    assert body(preview(row, labels, tokenizer, chat_format=chat_format)).split("\n") == [
        "          | <s>",
        "user      | USER: <image> x 4\\n",
        "          | What is it?",
        "assistant |  ASSISTANT:[[ A red 中 square. 😀</s>]]",
    ]


def test_ignored_regions_of_a_trained_turn_are_marked(tokenizer, row, labels, chat_format):
    red = row.index(tokenizer(" red").input_ids[0])
    labels = [*labels[:red], -100, *labels[red + 1 :]]
    assert "[[ A]](( red))[[ 中 square. 😀</s>]]" in body(preview(row, labels, tokenizer, chat_format=chat_format))
    assert "((" not in body(preview(row, labels, tokenizer))  # without turns this is unknown


def test_weights_are_shown(tokenizer):
    ids = tokenizer("A red square.").input_ids
    red = ids.index(tokenizer(" red").input_ids[0])
    weights = [0.0] * red + [0.5] + [1.0] * (len(ids) - red - 1)
    labels = [-100] * red + ids[red:]
    assert body(preview(ids, labels, tokenizer, weights=weights)) == "A[[0.5:  red]][[1:  square.]]"
    batch = {"input_ids": ids, "labels": labels, "loss_weights": np.array(weights, np.float32)}
    assert body(preview(batch, tokenizer=tokenizer)) == "A[[0.5:  red]][[1:  square.]]"


def test_decoder_targets_are_shown_below_the_input():
    byt5 = ByT5Tokenizer()
    source, target = byt5("a<extra_id_0>c").input_ids, byt5("<extra_id_0>bb").input_ids
    batch = {"input_ids": torch.tensor([source]), "labels": torch.tensor([[*target, -100, -100]])}
    text = preview(batch, tokenizer=byt5).to_text()
    assert text.split("\n") == [
        "row 0: 4 input tokens, 4 target tokens",
        "input  | a<extra_id_0>c</s>",
        "target | [[<extra_id_0>bb</s>]]",
    ]
    same_length = preview(source, target, byt5, decoder=True)
    assert "target | [[<extra_id_0>bb</s>]]" in same_length.to_text()


def test_an_empty_row_is_a_headline(tokenizer):
    assert preview([[]], [[]], tokenizer).to_text() == "row 0: 0 tokens, 0 trained"
