"""Drop-ins for LLaVA: the targets of its own training script, and the collator of TRL's example (`vsft_llava.py`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from spanmask._validate import check_choice
from spanmask.chat.boundary import MarkerIds, RoleBoundary
from spanmask.chat.context import EDGES, PlacedMarker, alternatives
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.chat.tokens import encode
from spanmask.labels import mask_labels
from spanmask.policy import MaskPolicy
from spanmask.ragged import is_tensor

__all__ = ["LLavaDataCollator", "mask_targets"]

Version = Literal["v1", "llama_2", "mpt", "plain"]
IMAGE = -200  # stands for an image in `input_ids` until the model puts its features there


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


def mask_targets(input_ids: Any, tokenizer: Any, version: Version = "v1", *, attention_mask: Any = None) -> Any:
    """The targets of LLaVA's preprocessing, from ids alone: the answers and their closing tokens, -100 elsewhere.

    LLaVA counts: it splits the text at its separators, tokenizes every round again and adds the lengths up with fixed corrections.
    Where the sum is not the row's length ("tokenization mismatch") it masks the whole row. Nothing is counted here, so such rows get
    their targets, and elsewhere the targets are equal.

    Args:
        input_ids: ids in the version's prompt, -200 for images: one row or several; lists, arrays or tensors.
        tokenizer: the tokenizer that made them.
        version: the prompt: `"v1"` (`USER: ... ASSISTANT: ...</s>`), `"llama_2"` (`[INST] ... [/INST] ... </s>`), `"mpt"`
            (`<|im_start|>assistant` and a newline, `<|im_end|>`), or `"plain"` (an image, then its caption).
        attention_mask: with 2-D ids: nonzero for real tokens. Without it the pad token is told by its id, as in LLaVA, wherever it
            does not close an answer.

    Returns:
        Targets in the kind and shape of `input_ids`: int64 of one or two dimensions, or a list of rows.

    Raises:
        ValueError: another version, or a tokenizer in which the version's marker has no tokens of its own.
        TypeError: ids that are not integers.

    A marker that is written out inside a question or an answer counts as a marker: ids cannot tell. LLaVA gives up on such rows.

    Source: `preprocess_v1`, `_llama_2`, `_mpt`, `_plain` in `llava/train/train.py`. Of `_mpt` the version up to LLaVA 1.1.3: the
    later ones leave `<|im_end|>` out of the count, and end with a mismatch on nearly every row.
    """
    check_choice("version", version, Version)
    if isinstance(input_ids, (list, tuple)) and input_ids and not is_row(input_ids[0]):  # one row
        return mask_targets([input_ids], tokenizer, version)[0]
    if getattr(input_ids, "ndim", None) == 1:
        return mask_targets(input_ids[None], tokenizer, version)[0]
    labels = mask_labels(input_ids, version_format(tokenizer, version), attention_mask=attention_mask).labels
    if not isinstance(input_ids, (list, tuple)):
        return labels
    if not len(labels) or isinstance(input_ids[0], (list, tuple)):
        return labels.to_list()
    if not is_tensor(input_ids[0]):
        return list(labels)
    import torch

    return [torch.from_numpy(row) for row in labels]


class Prompt(NamedTuple):
    """A version's prompt around an answer: `before + start + after`, the answer, `end`, and `next`, which opens the next question."""

    before: str
    start: str
    after: str
    end: str
    next: tuple[str, ...]


PROMPTS = {
    "v1": Prompt(" ", "ASSISTANT:", " ", "</s>", ("USER:",)),
    "llama_2": Prompt(" ", "[/INST]", " ", "</s>", ("<s>[INST]", "[INST]")),
    "mpt": Prompt("<|im_end|>", "<|im_start|>assistant\n", "", "<|im_end|>", ("<|im_start|>user\n",)),
}


@lru_cache(maxsize=16)  # datasets call `mask_targets` row by row
def version_format(tokenizer: Any, version: Version) -> ChatFormat:
    """How the version's answers open and close, as ids of this tokenizer."""
    if version == "plain":
        boundaries = [RoleBoundary("assistant", [IMAGE])]
    else:
        prompt = PROMPTS[version]
        lefts = [edge + prompt.before for edge in ("", *EDGES)]  # "": behind an image a text begins anew
        rights = [prompt.after + edge for edge in EDGES]
        starts = in_context(tokenizer, lefts, prompt.start, rights)
        if version == "mpt":
            # The header's newline may merge with one of the answer. LLaVA counts the merged token as the header's.
            length = len(encode(tokenizer, [prompt.start])[0].ids)
            starts += [tuple(row.ids[:length]) for row in encode(tokenizer, [prompt.start + right for right in rights])]
        # Without an answer the prompt runs on, "ASSISTANT:USER: ...": what follows is a question.
        asked = [ids for text in prompt.next for ids in in_context(tokenizer, [lefts[1] + prompt.start], text, rights)]
        ends = in_context(tokenizer, EDGES, prompt.end, ["", *(text + prompt.after + "Hi" for text in prompt.next)])
        skipped = [start + question for start in starts for question in asked]
        boundaries = [RoleBoundary("assistant", starts, ends), RoleBoundary("user", skipped)]
    closing = {ids[-1] for ids in boundaries[0].end}
    pad = getattr(tokenizer, "pad_token_id", None)
    return ChatFormat(boundaries, ignore_ids=[IMAGE] if pad is None or pad in closing else [IMAGE, pad])


def in_context(tokenizer: Any, lefts: Sequence[str], marker: str, rights: Sequence[str]) -> list[MarkerIds]:
    """The ids of a marker behind each of `lefts` and in front of each of `rights`."""
    pairs = [*((left, rights[0]) for left in lefts), *((lefts[0], right) for right in rights[1:])]
    found = alternatives(
        tokenizer, [PlacedMarker(left + marker + right, len(left), len(left) + len(marker)) for left, right in pairs]
    )
    if not found:
        raise ValueError(
            f"tokenizer: {marker!r} has no tokens of its own in it; is this the tokenizer and the version of the rows?"
        )
    return list(found)


def is_row(value: Any) -> bool:
    """Whether `value` is a row of ids, not a single one."""
    return isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) > 0
