"""The vision collator: conversations with pictures -> a batch with labels. The processor's own call makes the batch without them."""

import numpy as np
import pytest
import torch
import transformers as tf
from conversations import conversations, tokenizer_of_real_size
from PIL import Image
from spanmask import DataCollatorForVisionChat
from support import tiny_processors as zoo
from timing import alternate
from tokenizers import AddedToken, Tokenizer

ROWS, WIDTH, HEIGHT = 8, 640, 480
CHARACTERS = 200  # of a message: those of data sets with pictures are short


def tokenizer_with(special, named, vocabulary):
    """The tokenizer of the other benchmarks, with more added tokens."""
    backend = Tokenizer.from_str(tokenizer_of_real_size(*vocabulary).backend_tokenizer.to_str())
    backend.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (*special, *named.values(), "</s>")]
    )
    named_tokens = {"eos_token": "</s>", "pad_token": "<|endoftext|>", "extra_special_tokens": named}
    return tf.PreTrainedTokenizerFast(tokenizer_object=backend, **named_tokens)


def llava(*vocabulary):
    """With the image processor of LLaVA 1.5: 336 x 336 pixels, 576 places."""
    return tf.LlavaProcessor(
        tf.CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}),
        tokenizer_with((), {"image_token": "<image>"}, vocabulary),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=zoo.LLAVA_TEMPLATE,
    )


def qwen2_vl(*vocabulary):
    """With the settings that transformers has for Qwen2-VL's pictures."""
    tokenizer = tokenizer_with(zoo.QWEN_TOKENS, {}, vocabulary)
    template = zoo.TEMPLATES["qwen2_5_vl"]
    return tf.Qwen2VLProcessor(tf.Qwen2VLImageProcessor(), tokenizer, tf.Qwen2VLVideoProcessor(), chat_template=template)


@pytest.mark.parametrize("make", [llava, qwen2_vl])
def test_vision(bench, timed, make):
    processor = make(*(() if timed else (2000,)))
    processor.tokenizer.padding_side = "right"
    pixels = np.random.default_rng(0).integers(0, 256, (ROWS, HEIGHT, WIDTH, 3), np.uint8)
    rows = []
    for messages, picture in zip(conversations(ROWS), pixels, strict=True):
        parts = [
            {**message, "content": [{"type": "text", "text": message["content"][:CHARACTERS].strip()}]} for message in messages
        ]
        parts[0]["content"].insert(0, {"type": "image"})
        rows.append({"messages": parts, "images": [Image.fromarray(picture)]})
    collator = DataCollatorForVisionChat(processor, padding_side="right")

    def by_processor():
        texts = processor.apply_chat_template([row["messages"] for row in rows], tokenize=False)
        return processor(text=texts, images=[row["images"] for row in rows], padding=True, return_tensors="pt")

    batch, theirs = collator(rows), by_processor()
    for name, tensor in theirs.items():
        assert torch.equal(batch[name], tensor), name
    trained = batch["labels"] != -100
    assert (batch["labels"][trained] == batch["input_ids"][trained]).all()
    assert trained.any(dim=1).all()
    assert not torch.isin(batch["labels"], torch.tensor(collator.media_ids)).any()
    run = bench(
        f"vision-collator/{ROWS}x1-image-{WIDTH}x{HEIGHT}/text/{make.__name__}", "spanmask", tokens=batch["input_ids"].numel()
    )
    alternate(run, lambda: collator(rows), {"processor": by_processor}, rounds=12)
