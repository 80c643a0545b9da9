"""`DataCollatorForVisionChat`: conversations about images -> the processor's batch, with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.batch import ReturnTensors, pad, padded_layout
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.collators.base import Collated, MaskingCollator, OnUntrainedBatch
from spanmask.labels import mask_rows
from spanmask.policy import MaskPolicy
from spanmask.ragged import Bounds, edges_of, turn_columns

__all__ = ["DataCollatorForVisionChat"]


class DataCollatorForVisionChat(MaskingCollator):
    """Lets the processor turn conversations and images into a batch, and labels the tokens that carry loss.

    The processor expands images to placeholder tokens before it tokenizes, so the labels are made from its `input_ids`, and
    fit any model.

    In:  dicts with `messages` (content a string, or a list of parts) and `images` (a list; one image may come bare, also as
        `image`).
         Images without an image part in the messages go in front of the first user content.
    Out: everything that the processor returns, and `labels` int64 [B, width], -100 where no loss is wanted. Placeholders of
        images,
         videos and sounds and the tokens that wrap them never train.

    Args:
        processor: a transformers processor with a chat template.
        chat_format: how turns open and close; derived from the processor's chat template when not given.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows keep this many tokens. Masks are made before the cut; a cut in front of or inside an image is an error.
        padding_side: `"right"` or `"left"`; the processor's own by default.
        pad_to_multiple_of: the batch's width is rounded up to it.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch trains anything: `"raise"`, `"warn"`, `"ignore"`.
        prepare: called with each example first; returns a dict with `messages` and `images`. Must be picklable for workers.
        weight_key: the batch's key for loss weights.

    Raises:
        ChatFormatError: the chat format cannot be derived.
        ValueError: an option or a row that cannot be used; the message names it.
    """

    def __init__(
        self,
        processor: Any,
        chat_format: ChatFormat | None = None,
        policy: MaskPolicy | None = None,
        max_length: int | None = None,
        padding_side: str | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: ReturnTensors = "pt",
        keep_columns: Iterable[str] = (),
        on_untrained_batch: OnUntrainedBatch = "raise",
        prepare: Callable[[Any], Mapping[str, Any]] | None = None,
        weight_key: str = "loss_weights",
    ) -> None:
        if getattr(processor, "tokenizer", None) is None:
            raise TypeError(
                f"processor: expected a transformers processor with a tokenizer, got {type(processor).__name__}; "
                "for text alone use DataCollatorForChat(tokenizer)."
            )
        self.media_ids = media_ids(processor)
        policy = policy or MaskPolicy()
        super().__init__(
            processor.tokenizer,
            ChatFormat.from_processor(processor) if chat_format is None else chat_format,
            replace(policy, ignore_ids=tuple(dict.fromkeys((*policy.ignore_ids, *self.media_ids)))),
            max_length,
            padding_side,
            pad_to_multiple_of,
            return_tensors,
            keep_columns,
            on_untrained_batch,
            weight_key,
        )
        self.processor = processor
        self.prepare = prepare

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """One batch; see the class."""
        examples = features if self.prepare is None else [self.prepare(example) for example in features]
        return super().__call__(examples, return_tensors)

    def _collate(self, columns: Mapping[str, Any]) -> Collated:
        images = images_of(columns)
        texts = self._texts(columns, images)
        bos = self.processor.tokenizer.bos_token
        batch = dict(
            self.processor(
                text=texts,
                images=images if any(images) else None,
                padding=True,
                padding_side=self.padding_side,
                # As the processor itself does at inference: LLaVA's template leaves BOS to the tokenizer, Gemma's writes it.
                add_special_tokens=not (bos and texts[0].startswith(bos)),
                return_tensors="np",
            )
        )
        ids = np.ascontiguousarray(batch["input_ids"])
        values, edges = ids.reshape(-1), edges_of(*ids.shape)
        bounds = _core.mask_bounds(np.ascontiguousarray(batch["attention_mask"]).reshape(-1), edges[:-1], edges[1:])
        self._check_cut(values, bounds)
        layout = padded_layout(bounds, self.padding_side, self.max_length, self.pad_to_multiple_of)
        weights = turn_columns(columns.get("turn_mask"), columns.get("turn_weights"))
        flat, loss_weights, tally = mask_rows(values, bounds, layout, self.chat_format, self.policy, turn_weights=weights)
        for name, value in batch.items():
            # What has an entry for each token is laid out anew; what belongs to images stays as it is.
            if isinstance(value, np.ndarray) and value.shape == ids.shape and value.dtype.kind in "iu":
                padding = self.processor.tokenizer.pad_token_id if name == "input_ids" else 0
                batch[name] = pad(np.ascontiguousarray(value).reshape(-1), bounds, layout, padding)
        batch["labels"] = flat.reshape(len(ids), -1)
        if loss_weights is not None:
            batch[self.weight_key] = loss_weights.reshape(len(ids), -1)
        return Collated(batch, tally, values, bounds)

    def _texts(self, columns: Mapping[str, Any], images: Sequence[Sequence[Any]]) -> list[str]:
        """Each conversation as the chat template writes it."""
        if "messages" not in columns:
            raise ValueError(
                f"features: no 'messages'; the examples have {', '.join(map(repr, columns))}. Give prepare= a function that makes "
                "messages and images of an example."
            )
        return [
            self.processor.apply_chat_template(with_image_parts(messages, len(row_images), row), tokenize=False)
            for row, (messages, row_images) in enumerate(zip(columns["messages"], images, strict=True))
        ]

    def _check_cut(self, values: npt.NDArray[Any], bounds: Bounds) -> None:
        """Raise where `max_length` would cut off media tokens: their pixels stay, and the model would refuse the batch."""
        if self.max_length is None:
            return
        for row, (start, stop) in enumerate(zip(*bounds, strict=True)):
            if stop - start <= self.max_length:
                continue
            positions, _ = _core.find_all(values[start + self.max_length : stop], [[media] for media in self.media_ids])
            if len(positions):
                needed = self.max_length + int(positions[-1]) + 1
                raise ValueError(
                    f"max_length: {self.max_length} cuts row {row} in front of or inside an image, whose last token is number {needed}; "
                    f"raise max_length to {needed} or more, or use fewer or smaller images."
                )


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
        raise TypeError(f"messages: row {row} is no list of dicts with 'role' and 'content'.")
    out = []
    for message in messages:
        content = message.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else list(content or ())
        # Arrow fills the keys that a part does not have with None.
        parts = [{key: value for key, value in part.items() if value is not None} for part in parts]
        out.append({**message, "content": parts})
    placed = sum(part.get("type") == "image" for message in out for part in message["content"])
    if images and not placed:
        user = next((message for message in out if message["role"] == "user"), None)
        if user is None:
            raise ValueError(f"images: row {row} has {images} images but no user message to show them in.")
        user["content"] = [{"type": "image"}] * images + user["content"]
    elif placed != images:
        raise ValueError(
            f"images: row {row} has {images} images but {placed} image parts in its messages; give one part for each image, or none "
            "to have all of them put in front of the first user content."
        )
    return out
