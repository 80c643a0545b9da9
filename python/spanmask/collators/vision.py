"""`DataCollatorForVisionChat`: conversations about images, videos and sounds -> the processor's batch, with labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.conversation import Conversation, adapt, conversations_of
from spanmask.chat.encode import ChatEncoder, EncodedRow
from spanmask.chat.encoded import EncodedConversations, with_turns
from spanmask.chat.format import ChatFormat
from spanmask.chat.media import media_ids
from spanmask.chat.placeholders import VisionTemplate
from spanmask.chat.text.expanded import Flags, expanded_row, is_media, media_table
from spanmask.chat.text.insertions import insertions
from spanmask.chat.text.token_edges import TokenEdges, encode_with_edges
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.collators.columns import select_rows
from spanmask.collators.media import KINDS
from spanmask.collators.media_parts import media_columns, place_media
from spanmask.collators.processor_inputs import Inputs, adds_special_tokens, call_processor
from spanmask.collators.selection import lay_out_again, select_examples
from spanmask.policy import MaskPolicy
from spanmask.ragged import Column, column_of_array

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
        max_length: rows are truncated to this many tokens, after their turns are found; a cut before or inside a medium is an error.
        padding_side: `"right"` or `"left"`; by default the processor's.
        pad_to_multiple_of: the batch's width is rounded up to a multiple of it.
        return_tensors: `"pt"` or `"np"`.
        turn_column: the name of a column with an entry for each message of a trained role: flags (bools or integers), or loss weights
            (floats). Every batch must have it. Without this option, columns `turn_mask` or `turn_weights` are read where present.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch has trained tokens: `"raise"`, `"warn"`, `"ignore"`.
        label_pad_token_id: the label of padding and of tokens without loss.
        weight_key: the batch's key for loss weights, by default `"loss_weights"`. Naming it says that your loss reads them.
        template_kwargs: variables of the chat template, for all rows; a row's own `chat_template_kwargs` take their place.
        prepare: called with each example first; returns a dict with `messages` and media. Must be picklable for workers.

    Raises:
        ChatFormatError: there is no chat template.
        ValueError: an option or a row that cannot be used; the message names it.
    """

    processor: Any
    _: KW_ONLY

    def __post_init__(self) -> None:
        tokenizer = getattr(self.processor, "tokenizer", None)
        if tokenizer is None:
            raise TypeError(
                f"processor: expected a transformers processor with a tokenizer, got {type(self.processor).__name__}; "
                "for text without images use DataCollatorForChat(tokenizer)."
            )
        self.media_ids = media_ids(self.processor)
        self._media_texts = frozenset(tokenizer.convert_ids_to_tokens(list(self.media_ids)))
        variables = self._variables()
        self._derive_format(ChatFormat.from_processor, self.processor)
        policy = MaskPolicy() if self.policy is None else self.policy
        if isinstance(policy, MaskPolicy):
            self.policy = replace(policy, ignore_ids=tuple(dict.fromkeys((*policy.ignore_ids, *self.media_ids))))
        self._encoder: ChatEncoder | None = None
        self._template = VisionTemplate(self.processor, variables)
        self._spelled = self._template.spelled_placeholders(self.media_ids)
        self._check(tokenizer)

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        conversations = conversations_of(columns, template_kwargs=self.template_kwargs)
        return self._processed_rows(self._inputs(conversations, columns))

    def _processed_rows(self, inputs: Inputs) -> VisionRows:
        processed = call_processor(self.processor, inputs, str(self.padding_side))
        ids, mask = (np.ascontiguousarray(processed[name]) for name in ("input_ids", "attention_mask"))
        encoded, added = self._encode(inputs, [row[real != 0] for row, real in zip(ids, mask, strict=True)])
        return VisionRows(
            column_of_array(ids),
            "input_ids",
            encoded=encoded,
            attention_mask=column_of_array(mask),
            labels=self._labels_without(added, ids, mask),
            uncut_ids=() if self.max_length is None else self.media_ids,
            processed=processed,
            inputs=inputs,
        )

    def _labels_without(self, added: Sequence[Flags | None], ids: npt.NDArray[Any], mask: npt.NDArray[Any]) -> Column | None:
        """Labels of all tokens but those that were added for media; `None` if they are placeholders only, which never train anyway."""
        table = media_table(self.media_ids)
        labels: npt.NDArray[np.int64] | None = None
        for row, flags in enumerate(added):
            if flags is not None and (flags & ~is_media(ids[row][mask[row] != 0], table)).any():
                labels = ids.astype(np.int64) if labels is None else labels
                labels[row, np.flatnonzero(mask[row])[flags]] = self.label_pad_token_id
        return None if labels is None else column_of_array(labels)

    def _encode(self, inputs: Inputs, ids: Sequence[npt.NDArray[Any]]) -> tuple[EncodedConversations, list[Flags | None]]:
        """The turns of rows: those of the texts, moved to where their tokens are among the placeholders; and what was added there."""
        if self._encoder is None:
            self._encoder = ChatEncoder(self._template.renderer, self.processor)
        special = adds_special_tokens(self.processor, inputs.texts[0])
        edges = encode_with_edges(self.processor.tokenizer, inputs.texts, add_special_tokens=special)
        rows, added = [], []
        for conversation, text, row_edges, row_ids in zip(inputs.conversations, inputs.texts, edges, ids, strict=True):
            encoded = self._encoder.read(conversation, text, row_edges)
            for placeholder in self._spelled:
                for match in re.finditer(re.escape(placeholder), text):
                    tokens = slice(row_edges.covering(match.start()), row_edges.following(match.end()))
                    encoded.ids[tokens] = [self.media_ids[0]] * len(encoded.ids[tokens])
            written = self._written_for_media(self._encoder, conversation, encoded, row_edges)
            decode = self.processor.tokenizer.decode
            row, flags = expanded_row(encoded, row_ids, self.media_ids, self._policy.roles, decode, written)
            if row.turns is None:
                row.holds_tokens = self._encoder.holds_tokens(conversation, self._media_texts)
            rows.append(row)
            added.append(flags)
        return with_turns(rows, inputs.conversations, self._policy.roles, self._format), added

    def _written_for_media(
        self, encoder: ChatEncoder, conversation: Conversation, encoded: EncodedRow, edges: TokenEdges
    ) -> Iterator[tuple[int, int]]:
        """The tokens [start, stop) of a text that the template writes for media in messages of trained roles."""
        contents = [message.get("content") for message in conversation.messages if message["role"] in self._policy.roles]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        if encoded.aligned is not None and any(part["type"] in KINDS for part in parts):
            yield from insertions(*encoded.aligned, edges, encoder.gaps(without_media(conversation)))

    def _inputs(self, conversations: Sequence[Conversation], columns: Mapping[str, Any]) -> Inputs:
        """What the processor is called with."""
        inputs = Inputs()
        for conversation, given in zip(conversations, media_columns(columns, len(conversations)), strict=True):
            messages, media = place_media(conversation, given, self._template)
            placed = replace(conversation, messages=messages)
            messages = adapt(placed, self._template.forms, media=self._template.media_in_parts)
            text = self._template.render(messages, conversation)
            inputs.add(replace(conversation, messages=messages), text, media, self._template)
        return inputs

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
                rows = self._processed_rows(rows.inputs.of_rows(kept))
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


def without_media(conversation: Conversation) -> Conversation:
    """A conversation without the parts that are media."""
    messages = [
        {**message, "content": [part for part in content if part["type"] not in KINDS]}
        if isinstance(content := message.get("content"), list)
        else message
        for message in conversation.messages
    ]
    return replace(conversation, messages=messages)


def is_by_token(name: str, value: Any, shape: tuple[int, ...], deeper: bool = False) -> bool:
    """Whether a processor's array has an integer for each token, or (`deeper`, Mllama) an array of integers."""
    is_integers = isinstance(value, np.ndarray) and value.dtype.kind in "iu"
    return is_integers and value.shape[:2] == shape and (value.ndim > 2) == deeper and not name.startswith(MEDIA_ARRAYS)
