"""Drop-in for the collator of TRL's LLaVA example (`vsft_llava.py`), and the mask that its users asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.labels import MaskPolicy, mask_labels

__all__ = ["LLavaDataCollator"]


class LLavaDataCollator:
    """The collator of TRL's example, quirks included: labels are the ids, padding (told by its id) is -100.

    So the model also trains on the questions, on the image tokens, and never on a stop token that doubles as padding. With
    `mask_instructions=True` the labels are the assistant's answers only, and padding is told by the attention mask.

    In:  dicts with `messages` and `images`, one image each.
    Out: what the processor returns, and `labels` int64 [B, longest row].

    Args:
        processor: a LLaVA processor with a chat template.
        mask_instructions: train on the assistant's answers only.
        chat_format: for `mask_instructions`; derived from the processor's chat template when not given.

    Raises:
        ValueError: an example with several images, or none.
    """

    def __init__(self, processor: Any, mask_instructions: bool = False, chat_format: ChatFormat | None = None) -> None:
        self.processor = processor
        self.mask_instructions = mask_instructions
        if mask_instructions and chat_format is None:
            chat_format = ChatFormat.from_processor(processor)
        self.chat_format = chat_format

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One batch; see the class."""
        texts, images = [], []
        for row, example in enumerate(examples):
            if len(example["images"]) != 1:
                raise ValueError(
                    f"images: row {row} has {len(example['images'])} images; this collator takes one image an example."
                )
            render = getattr(self.processor, "apply_chat_template", None) or self.processor.tokenizer.apply_chat_template
            texts.append(render(example["messages"], tokenize=False, add_generation_prompt=False))
            images.append(example["images"][0])
        batch = dict(self.processor(text=texts, images=images, return_tensors="pt", padding=True))
        if self.mask_instructions:
            assert self.chat_format is not None  # made in the constructor
            policy = MaskPolicy(ignore_ids=media_ids(self.processor))
            batch["labels"] = mask_labels(
                batch["input_ids"], self.chat_format, policy, attention_mask=batch["attention_mask"]
            ).labels
            return batch
        labels = batch["input_ids"].clone()
        if self.processor.tokenizer.pad_token_id is not None:
            labels[labels == self.processor.tokenizer.pad_token_id] = -100
        batch["labels"] = labels
        return batch
