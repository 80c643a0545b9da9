"""Drop-ins for LLaVA: the targets of its training script, and the collator of TRL's example script `vsft_llava.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
from spanmask.ragged import Ragged, is_tensor

__all__ = ["LLavaDataCollator", "mask_targets"]

Version = Literal["v1", "llama_2", "mpt", "plain"]
IMAGE = -200  # marks an image in `input_ids`; the model replaces it with the features of the image


@dataclass
class LLavaDataCollator:
    """The collator of TRL's example, faults included: labels are the ids, with -100 for padding, which is found by token id.

    The model thus also trains on the questions and on the image tokens, and never on a stop token that is also the pad token. With
    `mask_instructions=True` only the assistant's answers train, and padding is determined from the attention mask.

    In:  dicts with `messages` and `images`, one image each.
    Out: what the processor returns, and `labels` int64 [B, longest row].

    Args:
        processor: a LLaVA processor with a chat template.
        mask_instructions: train only on the assistant's answers.
        chat_format: used with `mask_instructions`; `None`: derived from the chat template of the processor.

    Raises:
        ValueError: an example does not have exactly one image.
        ChatFormatError: the format cannot be derived from the chat template.

    Source: `examples/scripts/vsft_llava.py` of TRL.

    Example:
        `LLavaDataCollator(processor, mask_instructions=True)`
    """

    processor: Any
    mask_instructions: bool = False
    chat_format: ChatFormat | None = None

    def __post_init__(self) -> None:
        if self.mask_instructions and self.chat_format is None:
            self.chat_format = ChatFormat.from_processor(self.processor)

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Make one batch of tensors; see the class."""
        texts, images = [], []
        render = getattr(self.processor, "apply_chat_template", None) or self.processor.tokenizer.apply_chat_template
        for row, example in enumerate(examples):
            if len(example["images"]) != 1:
                raise ValueError(
                    f"images: row {row} has {len(example['images'])} images; this collator takes one image per example. "
                    "Use DataCollatorForVisionChat for other numbers of images."
                )
            texts.append(render(example["messages"], tokenize=False, add_generation_prompt=False))
            images.append(example["images"][0])
        batch = dict(self.processor(text=texts, images=images, return_tensors="pt", padding=True))
        batch["labels"] = self._answer_labels(batch) if self.mask_instructions else self._all_labels(batch)
        return batch

    def _answer_labels(self, batch: dict[str, Any]) -> Any:
        """Labels for the assistant's answers."""
        assert self.chat_format is not None  # set in __post_init__
        policy = MaskPolicy(ignore_ids=media_ids(self.processor))
        return mask_labels(batch["input_ids"], self.chat_format, policy, attention_mask=batch["attention_mask"]).labels

    def _all_labels(self, batch: dict[str, Any]) -> Any:
        """Labels for all tokens except the pad token."""
        labels = batch["input_ids"].clone()
        pad = self.processor.tokenizer.pad_token_id
        if pad is not None:
            labels[labels == pad] = -100
        return labels


def mask_targets(input_ids: Any, tokenizer: Any, version: Version = "v1", *, attention_mask: Any = None) -> Any:
    """The targets of LLaVA's preprocessing, from ids alone: the answers with their closing tokens, -100 elsewhere.

    LLaVA splits the text at its separators, tokenizes each round again, and adds up the lengths with fixed corrections. If the sum
    differs from the length of the row ("tokenization mismatch"), it masks the whole row. This function searches for the markers
    instead: such rows get their targets, and all other rows get the same targets as in LLaVA.

    Args:
        input_ids: ids of the prompt, -200 for each image: one row or several rows; lists, arrays or tensors.
        tokenizer: the tokenizer that made them.
        version: the prompt: `"v1"` (`USER: ... ASSISTANT: ...</s>`), `"llama_2"` (`[INST] ... [/INST] ... </s>`), `"mpt"`
            (`<|im_start|>assistant` and a newline, `<|im_end|>`), or `"plain"` (an image, then its caption).
        attention_mask: only with 2-D ids: nonzero for real tokens. Without it, padding is found by the id of the pad token, as in
            LLaVA, unless that token also closes answers.

    Returns:
        Targets in the type and shape of `input_ids`: int64 with one or two dimensions, or a list of rows.

    Raises:
        ValueError: the version is unknown, or one of its markers has no separate tokens in this tokenizer.
        TypeError: the ids are not integers.

    A marker that occurs as text inside a question or an answer counts as a marker: token ids alone cannot distinguish the two. LLaVA
    masks such rows.

    Source: `preprocess_v1`, `_llama_2`, `_mpt` and `_plain` in `llava/train/train.py`. `_mpt` is the version up to LLaVA 1.1.3: later
    versions do not count `<|im_end|>`, and end with a mismatch on nearly every row.

    Example:
        `mask_targets(input_ids, tokenizer, "v1")`
    """
    check_choice("version", version, Version)
    if is_single_row(input_ids):
        rows = [input_ids] if isinstance(input_ids, (list, tuple)) else input_ids[None]
        return mask_targets(rows, tokenizer, version)[0]
    labels = mask_labels(input_ids, version_format(tokenizer, version), attention_mask=attention_mask).labels
    if isinstance(input_ids, (list, tuple)):
        return rows_like(labels, input_ids[0] if input_ids else [])
    return labels


class Prompt(NamedTuple):
    """The text around an answer: `before + start + after`, the answer, `end`, then one of `next`, which open the next question."""

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


@lru_cache(maxsize=16)  # `datasets` calls `mask_targets` for one row at a time
def version_format(tokenizer: Any, version: Version) -> ChatFormat:
    """The ids that open and close the answers of a version, in this tokenizer."""
    if version == "plain":
        boundaries = [RoleBoundary("assistant", [IMAGE])]
    else:
        prompt = PROMPTS[version]
        lefts = [edge + prompt.before for edge in ("", *EDGES)]  # "": after an image, a new text begins
        rights = [prompt.after + edge for edge in EDGES]
        starts = in_context(tokenizer, lefts, prompt.start, rights)
        if version == "mpt":
            # The newline of the header may merge with one of the answer. LLaVA counts the merged token as part of the header.
            length = len(encode(tokenizer, [prompt.start])[0].ids)
            starts += [tuple(row.ids[:length]) for row in encode(tokenizer, [prompt.start + right for right in rights])]
        # Without an answer the next question follows at once: "ASSISTANT:USER: ...".
        asked = [ids for text in prompt.next for ids in in_context(tokenizer, [lefts[1] + prompt.start], text, rights)]
        ends = in_context(tokenizer, EDGES, prompt.end, ["", *(text + prompt.after + "Hi" for text in prompt.next)])
        skipped = [start + question for start in starts for question in asked]
        boundaries = [RoleBoundary("assistant", starts, ends), RoleBoundary("user", skipped)]
    closing = {ids[-1] for ids in boundaries[0].end}
    pad = getattr(tokenizer, "pad_token_id", None)
    return ChatFormat(boundaries, ignore_ids=[IMAGE] if pad is None or pad in closing else [IMAGE, pad])


def in_context(tokenizer: Any, lefts: Sequence[str], marker: str, rights: Sequence[str]) -> list[MarkerIds]:
    """The ids of a marker after each of `lefts` and before each of `rights`."""
    pairs = [*((left, rights[0]) for left in lefts), *((lefts[0], right) for right in rights[1:])]
    found = alternatives(
        tokenizer, [PlacedMarker(left + marker + right, len(left), len(left) + len(marker)) for left, right in pairs]
    )
    if not found:
        raise ValueError(
            f"tokenizer: {marker!r} has no separate tokens; pass the tokenizer that made the rows, and the version of their prompt."
        )
    return list(found)


def is_single_row(rows: Any) -> bool:
    """Whether `rows` is one row of ids: a 1-D array or tensor, or a list that begins with an id."""
    if isinstance(rows, (list, tuple)):
        return bool(rows) and not isinstance(rows[0], (list, tuple)) and getattr(rows[0], "ndim", 0) == 0
    return getattr(rows, "ndim", None) == 1


def rows_like(rows: Ragged, model: Any) -> list[Any]:
    """The rows as a list of lists, arrays or torch tensors, like the row `model`."""
    if isinstance(model, (list, tuple)):
        return rows.to_list()
    if not is_tensor(model):
        return list(rows)
    import torch

    return [torch.from_numpy(row) for row in rows]
