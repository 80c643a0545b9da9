"""`DataCollatorForVisionChat`: conversations about images, videos and sounds -> the processor's batch, with labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np

from spanmask import _core
from spanmask.chat.conversation import Conversation, adapt, conversations_of
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.chat.placeholders import VisionTemplate
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.collators.columns import select_rows
from spanmask.collators.media import KINDS
from spanmask.collators.media_parts import media_columns, place_media
from spanmask.collators.processor_inputs import Inputs, call_processor
from spanmask.collators.selection import lay_out_again, select_examples
from spanmask.policy import MaskPolicy
from spanmask.ragged import column_of_array

__all__ = ["DataCollatorForVisionChat"]

IDS = ("input_ids", "attention_mask")
# Beginnings of the names of arrays that belong to media, whatever their shapes.
MEDIA_ARRAYS = ("pixel", "image", "video", "audio", "feature", "input_features")


@dataclass
class VisionRows(TokenRows):
    """Rows of a processor, and what it was called with."""

    inputs: Inputs = field(default_factory=Inputs)


@dataclass(repr=False, eq=False)
class DataCollatorForVisionChat(ChatCollator):
    """Calls the processor on conversations and their media, then adds labels.

    The processor expands media to placeholder tokens before it tokenizes, so labels made from its `input_ids` fit any model.

    In:  dicts with `messages` (content a string, or a list of parts), or in another layout that `DataCollatorForChat` reads; `tools` and
         `chat_template_kwargs` where present. Media are in the parts (PIL images, arrays, paths, data URLs, bytes), or in the columns
         `images`, `videos` and `audio` (a list for each row; also `image`, `video`, `audios`; one medium may be given without a list).
         Those of a column go where the messages have parts without a medium, or `<image>`, `<video>`, `<audio>` in their texts; if there
         are no such places, before the first user content. Nothing is downloaded.
    Out: everything that the processor returns, and `labels` int64 [B, width], -100 where no loss is wanted. Placeholders of images,
         videos and sounds, and the tokens that wrap them, never train.

    Args:
        processor: a transformers processor with a chat template.
        chat_format: how turns open and close; by default derived from the processor's chat template.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows are truncated to this many tokens, after their masks are made; a cut before or inside a medium is an error.
        padding_side: `"right"` or `"left"`; by default the processor's.
        pad_to_multiple_of: the batch's width is rounded up to a multiple of it.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch has trained tokens: `"raise"`, `"warn"`, `"ignore"`.
        label_pad_token_id: the label of padding and of tokens without loss.
        weight_key: the batch's key for loss weights.
        template_kwargs: variables of the chat template, for all rows; a row's own `chat_template_kwargs` take their place.
        prepare: called with each example first; returns a dict with `messages` and media. Must be picklable for workers.

    Raises:
        ChatFormatError: the chat format cannot be derived.
        ValueError: an option or a row that cannot be used; the message names it.
    """

    processor: Any
    _: KW_ONLY
    template_kwargs: Mapping[str, Any] | None = None
    prepare: Callable[[Any], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        tokenizer = getattr(self.processor, "tokenizer", None)
        if tokenizer is None:
            raise TypeError(
                f"processor: expected a transformers processor with a tokenizer, got {type(self.processor).__name__}; "
                "for text without images use DataCollatorForChat(tokenizer)."
            )
        self.media_ids = media_ids(self.processor)
        variables = dict(self.template_kwargs or {})
        if self.chat_format is None:
            self.chat_format = ChatFormat.from_processor(self.processor, **variables)
        policy = MaskPolicy() if self.policy is None else self.policy
        if isinstance(policy, MaskPolicy):
            self.policy = replace(policy, ignore_ids=tuple(dict.fromkeys((*policy.ignore_ids, *self.media_ids))))
        self._template = VisionTemplate(self.processor, variables)
        self._check(tokenizer)

    def _examples(self, features: Any) -> Any:
        return features if self.prepare is None else [self.prepare(example) for example in features]

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        conversations = conversations_of(columns, template_kwargs=self.template_kwargs)
        return self._processed_rows(self._inputs(conversations, columns), self._read_columns(conversations, columns))

    def _processed_rows(self, inputs: Inputs, columns: dict[str, Any]) -> VisionRows:
        processed = call_processor(self.processor, inputs, str(self.padding_side))
        return VisionRows(
            column_of_array(np.ascontiguousarray(processed["input_ids"])),
            "input_ids",
            attention_mask=column_of_array(np.ascontiguousarray(processed["attention_mask"])),
            uncut_ids=() if self.max_length is None else self.media_ids,
            processed=processed,
            columns=columns,
            inputs=inputs,
        )

    def _inputs(self, conversations: Sequence[Conversation], columns: Mapping[str, Any]) -> Inputs:
        """What the processor is called with."""
        inputs = Inputs()
        for conversation, given in zip(conversations, media_columns(columns, len(conversations)), strict=True):
            messages, media = place_media(conversation, given, self._template)
            placed = replace(conversation, messages=messages)
            messages = adapt(placed, self._template.forms, media=self._template.media_in_parts)
            text = self._template.render(messages, conversation)
            inputs.add(text, media, self._template, conversation.name)
        return inputs

    def _read_columns(self, conversations: Sequence[Conversation], columns: Mapping[str, Any]) -> dict[str, Any]:
        """The columns that the labels are made from: messages, and the weights of turns that messages state or a prompt has."""
        assert self.policy is not None
        read: dict[str, Any] = {"messages": [conversation.messages for conversation in conversations]}
        if any(conversation.weights or conversation.prompt_messages for conversation in conversations):
            for name in ("turn_mask", "turn_weights"):
                if name in columns:
                    raise ValueError(
                        f"{name}: messages have weights of their own, or a prompt that never trains; remove one of them."
                    )
            weights = [turn_weights(conversation, self.policy.roles) for conversation in conversations]
            are_flags = {weight for row in weights for weight in row} <= {0.0, 1.0}
            read["turn_mask" if are_flags else "turn_weights"] = (
                [list(map(bool, row)) for row in weights] if are_flags else weights
            )
        return read

    def _write(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
        assert isinstance(rows, VisionRows)
        batch, shape = rows.processed, rows.processed["input_ids"].shape
        # Arrays with an entry for each token are laid out again; arrays that belong to media are not changed.
        by_token = [name for name, value in batch.items() if name not in IDS and is_by_token(name, value, shape)]
        by_token_and_medium = [name for name, value in batch.items() if is_by_token(name, value, shape, deeper=True)]
        others = {name: value for name, value in batch.items() if name not in (*IDS, *by_token, *by_token_and_medium)}
        if kept is not None:
            counts = {kind: list(map(len, rows.inputs.media[kind])) for kind in KINDS}
            selected = select_examples(others, counts, kept)
            if selected is None:  # placeholders may change with the rows of a batch (SmolVLM), so the ids are made anew as well
                columns = select_rows(columns, kept)
                rows = self._processed_rows(rows.inputs.of_rows(kept), rows.columns)
                return self._write(self._plan(rows, columns), rows, columns, None)
            others = selected
        written = plan.write(
            self._layout(),
            padding=self.processor.tokenizer.pad_token_id,
            kept=kept,
            columns=[np.ascontiguousarray(batch[name]).reshape(-1) for name in by_token],
        )
        laid_out = {"input_ids": written.input_ids, "attention_mask": written.attention_mask, "labels": written.labels}
        chosen = range(shape[0]) if kept is None else kept
        for name in by_token_and_medium:
            assert written.attention_mask is not None  # the layout is a padded one
            laid_out[name] = lay_out_again(batch[name], chosen, batch["attention_mask"], written.attention_mask)
        batch = others | laid_out | dict(zip(by_token, written.columns, strict=True))
        self._add_weights(batch, written.weights)
        return batch


def is_by_token(name: str, value: Any, shape: tuple[int, ...], deeper: bool = False) -> bool:
    """Whether a processor's array has an integer for each token, or (`deeper`, Mllama) an array of integers."""
    is_integers = isinstance(value, np.ndarray) and value.dtype.kind in "iu"
    return is_integers and value.shape[:2] == shape and (value.ndim > 2) == deeper and not name.startswith(MEDIA_ARRAYS)


def turn_weights(conversation: Conversation, roles: Sequence[str]) -> list[float]:
    """The loss weight of each message of a trained role; those of the prompt never train."""
    weights = conversation.weights or [1.0] * len(conversation.messages)
    return [
        0.0 if number < conversation.prompt_messages else weight
        for number, (message, weight) in enumerate(zip(conversation.messages, weights, strict=True))
        if message["role"] in roles
    ]
