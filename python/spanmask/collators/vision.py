"""`DataCollatorForVisionChat`: conversations about images -> the processor's batch, with labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.batch import ReturnTensors, columns_of, pad, padded_layout, stack_columns, to_tensors
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.collators.chat import check_length
from spanmask.collators.running import OnAllEmpty, RunningReport
from spanmask.labels import MaskPolicy, MaskReport, check_choice, mask_rows
from spanmask.ragged import Bounds

__all__ = ["DataCollatorForVisionChat"]


class DataCollatorForVisionChat:
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
        on_all_empty: what to do when no row of a batch trains anything: `"raise"`, `"warn"`, `"ignore"`.
        prepare: called with each example first; returns a dict with `messages` and `images`. Must be picklable for worker
            processes.

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
        on_all_empty: OnAllEmpty = "raise",
        prepare: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        self.processor = processor
        self.chat_format = ChatFormat.from_processor(processor) if chat_format is None else chat_format
        self.media_ids = media_ids(processor)
        self.policy = policy or MaskPolicy()
        self.policy.compile(self.chat_format)  # a role that the format lacks is an error now, not in the first batch
        self.max_length = check_length("max_length", max_length)
        self.padding_side: str = padding_side or processor.tokenizer.padding_side
        if self.padding_side not in ("right", "left"):
            raise ValueError(f"padding_side: expected 'right' or 'left', got {self.padding_side!r}.")
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", pad_to_multiple_of)
        check_choice("return_tensors", return_tensors, ReturnTensors)
        check_choice("on_all_empty", on_all_empty, OnAllEmpty)
        self.return_tensors = return_tensors
        self.keep_columns = tuple(keep_columns)
        self.on_all_empty = on_all_empty
        self.prepare = prepare
        self._running = RunningReport()

    @property
    def report(self) -> MaskReport:
        """What all batches of this process so far trained, and why rows trained nothing."""
        return self._running.total

    def reset_report(self) -> None:
        """Start the report anew."""
        self._running = RunningReport()

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """One batch; see the class."""
        examples = features if self.prepare is None else [self.prepare(example) for example in features]
        columns = columns_of(examples)
        images = images_of(columns)
        batch = dict(
            self.processor(
                text=self._texts(columns, images),
                images=images if any(images) else None,
                padding=True,
                padding_side=self.padding_side,
                add_special_tokens=False,  # the template has written them
                return_tensors="np",
            )
        )
        ids = np.asarray(batch["input_ids"])
        edges = np.arange(len(ids) + 1, dtype=np.int64) * ids.shape[1]
        bounds = _core.mask_bounds(np.ascontiguousarray(batch["attention_mask"]).reshape(-1), edges[:-1], edges[1:])
        layout = padded_layout(bounds, self.padding_side, self.max_length, self.pad_to_multiple_of)
        self._check_cut(ids.reshape(-1), bounds)
        policy = with_ignored(self.policy, self.media_ids)
        values = np.ascontiguousarray(ids).reshape(-1)
        labels, report = mask_rows(values, bounds, layout, self.chat_format, policy)
        self._running.add(report, self.on_all_empty, lambda row: self.processor.tokenizer.decode(ids[row].tolist()))
        for name, value in batch.items():
            # What has an entry for each token is laid out anew; what belongs to images stays as it is.
            if isinstance(value, np.ndarray) and value.shape == ids.shape and value.dtype.kind in "iu":
                padding = self.processor.tokenizer.pad_token_id if name == "input_ids" else 0
                batch[name] = pad(np.ascontiguousarray(value).reshape(-1), bounds, layout, padding)
        batch["labels"] = labels.reshape(len(ids), -1)
        batch.update(stack_columns(columns, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)

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


def with_ignored(policy: MaskPolicy, ids: tuple[int, ...]) -> MaskPolicy:
    """`policy` with further ids that never train."""
    from dataclasses import replace

    return replace(policy, ignore_ids=tuple(dict.fromkeys((*policy.ignore_ids, *ids))))


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
