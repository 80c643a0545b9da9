"""The batch is what a call of the processor makes of the rendered texts, with any transformers."""

import random

import pytest
import torch
from PIL import Image
from spanmask import DataCollatorForVisionChat
from support import tiny_processors as zoo

ASKED, ANSWERED = "What is the weather?", "A lazy dog."


def messages(count):
    """A question with some images, and its answer."""
    question = [*({"type": "image"} for _ in range(count)), {"type": "text", "text": ASKED}]
    answer = [{"type": "text", "text": ANSWERED}]
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.mark.parametrize("name", ["llava", "llava_next", "idefics3", "gemma3"])
def test_the_batch_is_what_a_call_of_the_processor_makes(name):
    processor = zoo.processor_of(name)
    rng = random.Random(3)
    rows = [{"messages": messages(count), "images": [zoo.image(rng) for _ in range(count)]} for count in (2, 1)]
    collator = DataCollatorForVisionChat(processor, padding_side="right")
    batch = collator(rows)
    labels = batch.pop("labels")
    texts = [processor.apply_chat_template(row["messages"], tokenize=False) for row in rows]
    images = [row["images"] for row in rows]
    processor.tokenizer.padding_side = "right"
    options = {"padding": True, "return_tensors": "pt"}
    expected = processor(text=texts, images=images, **options)
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])
    for row, ids in enumerate(batch["input_ids"]):
        wanted = expected["input_ids"][row]
        assert torch.equal(ids, wanted) or torch.equal(ids, wanted[1:])  # a template that writes BOS itself
        trained = ids[labels[row] != -100]
        assert processor.tokenizer.decode(trained, skip_special_tokens=True).split() == ANSWERED.split()
        assert not torch.isin(trained, torch.tensor(collator.media_ids)).any()


@pytest.mark.needs("transformers>=5")  # its processors are built as that version builds them
def test_a_row_that_the_processor_refuses_is_named():
    collator = DataCollatorForVisionChat(zoo.processor_of("qwen2_5_vl"))
    rng = random.Random(4)
    rows = [{"id": f"r{number}", "messages": messages(1), "images": [zoo.image(rng)]} for number in range(3)]
    rows[1]["images"] = [Image.new("RGB", (900, 2))]  # more than 200 times as wide as high
    with pytest.raises(
        ValueError, match=r"features: row 1 \(id 'r1'\) cannot be processed by Qwen2.* \(ValueError: .*; fix or drop it"
    ):
        collator(rows)


@pytest.mark.needs("transformers>=5")  # its processors are built as that version builds them
def test_rows_that_the_processor_only_takes_alone():
    """Mllama's processor fails if the first row of a batch has no image: how it does so changes with the version."""
    collator = DataCollatorForVisionChat(zoo.processor_of("mllama"))
    rows = [{"messages": messages(0), "images": []}, {"messages": messages(1), "images": [zoo.image(random.Random(5))]}]
    with pytest.raises(
        ValueError, match=r"features: MllamaProcessor takes each of these rows alone, but not together \((IndexError|ValueError)"
    ):
        collator(rows)
