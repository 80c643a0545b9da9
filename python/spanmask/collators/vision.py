"""`DataCollatorForVisionChat`: conversations about images -> the processor's batch, with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.collators.columns import select_rows
from spanmask.policy import MaskPolicy
from spanmask.ragged import column_of_array

__all__ = ["DataCollatorForVisionChat"]


@dataclass(repr=False, eq=False)
class DataCollatorForVisionChat(ChatCollator):
    """Calls the processor on conversations and images, then adds labels.

    The processor expands images to placeholder tokens before it tokenizes, so labels made from its `input_ids` fit any model.

    In:  dicts with `messages` (content a string, or a list of parts) and `images` (a list; a single image may be given without a list, also
         as `image`). Images without an image part in the messages go before the first user content.
    Out: everything that the processor returns, and `labels` int64 [B, width], -100 where no loss is wanted. Placeholders of images,
         videos and sounds, and the tokens that wrap them, never train.

    Args:
        processor: a transformers processor with a chat template.
        chat_format: how turns open and close; by default derived from the processor's chat template.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows are truncated to this many tokens, after their turns are found; a cut before or inside an image is an error.
        padding_side: `"right"` or `"left"`; by default the processor's.
        pad_to_multiple_of: the batch's width is rounded up to a multiple of it.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch has trained tokens: `"raise"`, `"warn"`, `"ignore"`.
        label_pad_token_id: the label of padding and of tokens without loss.
        weight_key: the batch's key for loss weights.
        prepare: called with each example first; returns a dict with `messages` and `images`. Must be picklable for workers.

    Raises:
        ChatFormatError: the chat format cannot be derived.
        ValueError: an option or a row that cannot be used; the message names it.
    """

    processor: Any
    _: KW_ONLY
    prepare: Callable[[Any], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        tokenizer = getattr(self.processor, "tokenizer", None)
        if tokenizer is None:
            raise TypeError(
                f"processor: expected a transformers processor with a tokenizer, got {type(self.processor).__name__}; "
                "for text without images use DataCollatorForChat(tokenizer)."
            )
        self.media_ids = media_ids(self.processor)
        if self.chat_format is None:
            self.chat_format = ChatFormat.from_processor(self.processor)
        policy = MaskPolicy() if self.policy is None else self.policy
        if isinstance(policy, MaskPolicy):
            self.policy = replace(policy, ignore_ids=tuple(dict.fromkeys((*policy.ignore_ids, *self.media_ids))))
        self._check(tokenizer)

    def _examples(self, features: Any) -> Any:
        return features if self.prepare is None else [self.prepare(example) for example in features]

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        processed = self._process(columns)
        ids = column_of_array(np.ascontiguousarray(processed["input_ids"]))
        mask = column_of_array(np.ascontiguousarray(processed["attention_mask"]))
        uncut = () if self.max_length is None else self.media_ids
        return TokenRows(ids, "input_ids", attention_mask=mask, uncut_ids=uncut, processed=processed)

    def _process(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        """The processor's output for conversations and images."""
        images = images_of(columns)
        texts = self._texts(columns, images)
        bos = self.processor.tokenizer.bos_token
        return dict(
            self.processor(
                text=texts,
                images=images if any(images) else None,
                padding=True,
                padding_side=self.padding_side,
                # The processor does the same at inference: LLaVA's template leaves BOS to the tokenizer, Gemma's writes it.
                add_special_tokens=not (bos and texts[0].startswith(bos)),
                return_tensors="np",
            )
        )

    def _write(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
        batch, shape = rows.processed, rows.processed["input_ids"].shape
        # Arrays with an entry for each token are laid out again; arrays that belong to images are not changed.
        by_token = [
            name
            for name, value in batch.items()
            if name not in ("input_ids", "attention_mask") and is_integer_array(value) and value.shape == shape
        ]
        written = plan.write(
            self._layout(),
            padding=self.processor.tokenizer.pad_token_id,
            kept=kept,
            columns=[np.ascontiguousarray(batch[name]).reshape(-1) for name in by_token],
        )
        if kept is not None:
            others = {name: value for name, value in batch.items() if name not in by_token}
            batch = select_examples(others, [len(images) for images in images_of(columns)], kept) or self._process(
                select_rows(columns, kept)
            )
        laid_out = {"input_ids": written.input_ids, "attention_mask": written.attention_mask, "labels": written.labels}
        batch = batch | laid_out | dict(zip(by_token, written.columns, strict=True))
        self._add_weights(batch, written.weights)
        return batch

    def _texts(self, columns: Mapping[str, Any], images: Sequence[Sequence[Any]]) -> list[str]:
        """Each conversation as the chat template writes it."""
        if "messages" not in columns:
            raise ValueError(
                f"features: no 'messages'; the examples have {', '.join(map(repr, columns))}. Pass prepare=, a function that returns "
                "messages and images for an example."
            )
        return [
            self.processor.apply_chat_template(with_image_parts(messages, len(row_images), row), tokenize=False)
            for row, (messages, row_images) in enumerate(zip(columns["messages"], images, strict=True))
        ]


def is_integer_array(value: Any) -> bool:
    """Whether `value` is an array of integers."""
    return isinstance(value, np.ndarray) and value.dtype.kind in "iu"


def select_examples(batch: Mapping[str, Any], images: Sequence[int], kept: Sequence[int]) -> dict[str, Any] | None:
    """What a processor returned, for the examples `kept` only; `images[i]`: the images of example `i`.

    An array has an entry for each example, for each image, or (Qwen) for each patch of each image, as `image_grid_thw` counts them.
    `None` if an array does not show which: the processor must then be called again.
    """
    count, total = len(images), sum(images)
    owners = np.repeat(np.arange(count), images)
    owner_of = {count: np.arange(count), total: owners}
    if count == total and not np.array_equal(owners, np.arange(count)):
        return None  # an entry for each example, or for each image?
    grid = batch.get("image_grid_thw")
    if grid is not None:
        owner_of.setdefault(int(np.prod(grid, axis=1).sum()), np.repeat(owners, np.prod(grid, axis=1)))
    selected = {}
    for name, value in batch.items():
        owner: npt.NDArray[Any] | None = owner_of.get(len(value)) if isinstance(value, np.ndarray) and value.ndim else None
        if owner is None:
            return None
        selected[name] = value[np.isin(owner, kept)]
    return selected


def images_of(columns: Mapping[str, Any]) -> list[list[Any]]:
    """The images of each example as a list."""
    rows = len(next(iter(columns.values())))
    column = columns.get("images", columns.get("image"))
    if column is None:
        return [[] for _ in range(rows)]
    return [[] if entry is None else list(entry) if isinstance(entry, (list, tuple)) else [entry] for entry in column]


def with_image_parts(messages: Any, images: int, row: int) -> list[dict[str, Any]]:
    """Messages whose contents are lists of parts, with one image part for each image.

    Raises:
        ValueError: the messages hold image parts, but not one for each image; or there is no user message to put them in.
    """
    if not isinstance(messages, (list, tuple)) or not all(isinstance(message, Mapping) for message in messages):
        raise TypeError(f"messages: row {row} is not a list of dicts with 'role' and 'content'.")
    out = []
    for message in messages:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
        # Arrow fills missing keys of a part with None.
        parts = [{key: value for key, value in part.items() if value is not None} for part in parts]
        out.append({**message, "content": parts})
    placed = sum(part.get("type") == "image" for message in out for part in message["content"])
    if images and not placed:
        user = next((message for message in out if message["role"] == "user"), None)
        if user is None:
            raise ValueError(f"images: row {row} has {images} images but no user message to put them in.")
        user["content"] = [{"type": "image"}] * images + user["content"]
    elif placed != images:
        raise ValueError(
            f"images: row {row} has {images} images but {placed} image parts in its messages; add one part for each image, or remove "
            "all of them to have the images put before the first user content."
        )
    return out
