"""`DataCollatorForChat`: chat rows -> padded or flattened batches with labels on the trained turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spanmask import _core
from spanmask.batch import ReturnTensors, flatten, pad, pad_token_id, padded_layout, real_tokens
from spanmask.chat.format import ChatFormat
from spanmask.collators.base import Collated, MaskingCollator, OnUntrainedBatch
from spanmask.labels import mask_rows
from spanmask.policy import MaskPolicy
from spanmask.ragged import Layout, Ragged, check_aligned, turn_columns

__all__ = ["DataCollatorForChat"]


class DataCollatorForChat(MaskingCollator):
    """Pads chat rows and labels the tokens that carry loss.

    In:  dicts with `input_ids` (integers, any length), or with `messages` to be rendered by the tokenizer's chat template (and
         `tools` for it). Read where present: `attention_mask` (nonzero for real tokens), `labels` (intersected), `turn_mask` or
         `turn_weights` (a flag or a loss weight for each turn of a trained role). An Arrow table with these columns, too.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], labels -100 where no loss is wanted; `loss_weights`
         float32 of that shape where policy or `turn_weights` weigh tokens differently.
         With `padding_free`: `input_ids`, `labels`, `position_ids` int64 [1, T], `seq_idx` int32 [1, T], `cu_seq_lens_q` and `_k`
         int32 [B + 1], `max_length_q` and `_k` int; a row's first token is -100, as in transformers' `DataCollatorWithFlattening`.

    Args:
        tokenizer: a transformers tokenizer: its pad token and padding side, its template for `messages`, its text for messages.
        chat_format: how turns open and close; derived from the tokenizer's chat template when not given.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows keep this many tokens. Masks are made before the cut.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        pad_to_multiple_of: the batch's width is rounded up to it.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch trains anything: `"raise"`, `"warn"`, `"ignore"`.
        padding_free: one row behind the other instead of padding.
        weight_key: the batch's key for loss weights.

    Raises:
        ChatFormatError: the chat format cannot be derived.
        ValueError: an option or a row that cannot be used; the message names it.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_format: ChatFormat | None = None,
        policy: MaskPolicy | None = None,
        max_length: int | None = None,
        padding_side: str | None = None,
        pad_to_multiple_of: int | None = None,
        return_tensors: ReturnTensors = "pt",
        keep_columns: Iterable[str] = (),
        on_untrained_batch: OnUntrainedBatch = "raise",
        padding_free: bool = False,
        weight_key: str = "loss_weights",
    ) -> None:
        super().__init__(
            tokenizer,
            ChatFormat.from_tokenizer(tokenizer) if chat_format is None else chat_format,
            policy,
            max_length,
            padding_side,
            pad_to_multiple_of,
            return_tensors,
            keep_columns,
            on_untrained_batch,
            weight_key,
        )
        self.tokenizer = tokenizer
        self.padding_free = padding_free
        if padding_free and pad_to_multiple_of is not None:
            raise ValueError("pad_to_multiple_of: goes with padding, but padding_free=True leaves none; give one of them.")
        self.pad_token_id = 0 if padding_free else pad_token_id(tokenizer)

    def _collate(self, columns: Mapping[str, Any]) -> Collated:
        rows = self._rows(columns)
        bounds = real_tokens(rows, columns.get("attention_mask"))
        labels = None
        if columns.get("labels") is not None:
            existing = Ragged.from_rows(columns["labels"], "labels")
            check_aligned(existing, rows, "labels")
            labels = existing.values.astype(np.int64, copy=False)
        layout: Layout = ("packed", 0, self.max_length)
        if not self.padding_free:
            layout = padded_layout(bounds, self.padding_side, self.max_length, self.pad_to_multiple_of)
        weights = turn_columns(columns.get("turn_mask"), columns.get("turn_weights"))
        flat, loss_weights, tally = mask_rows(
            rows.values, bounds, layout, self.chat_format, self.policy, labels=labels, turn_weights=weights
        )
        batch: dict[str, Any]
        if self.padding_free:
            about = flatten(bounds, self.max_length)
            if self.policy.shift == "none":
                edges = about["cu_seq_lens_q"]
                # A row's first token would be predicted from the row in front of it.
                firsts = edges[:-1][np.diff(edges) > 0]
                flat[firsts] = -100
                if loss_weights is not None:
                    loss_weights[firsts] = 0
            batch = {"input_ids": _core.pad(rows.values, *bounds, layout, 0)[None], "labels": flat[None], **about}
        else:
            batch = {
                "input_ids": pad(rows.values, bounds, layout, self.pad_token_id),
                "attention_mask": _core.pad_mask(*bounds, layout).reshape(len(rows), -1),
                "labels": flat.reshape(len(rows), -1),
            }
        if loss_weights is not None:
            batch[self.weight_key] = loss_weights.reshape(batch["labels"].shape)
        return Collated(batch, tally, rows.values, bounds)

    def _rows(self, columns: Mapping[str, Any]) -> Ragged:
        if "input_ids" in columns:
            return Ragged.from_rows(columns["input_ids"], "input_ids")
        if "messages" not in columns:
            raise ValueError(f"features: no 'input_ids' and no 'messages'; the examples have {', '.join(map(repr, columns))}.")
        messages = columns["messages"]
        tools = columns.get("tools") or [None] * len(messages)
        return Ragged.from_rows(
            [self._render(*row) for row in zip(range(len(messages)), messages, tools, strict=True)], "messages"
        )

    def _render(self, row: int, messages: Any, tools: Any) -> Any:
        try:
            return self.tokenizer.apply_chat_template(messages, tools=tools, tokenize=True, return_dict=False)
        except Exception as error:  # a template raises what it likes
            raise ValueError(
                f"messages: row {row} cannot be rendered by the chat template ({type(error).__name__}: {error}); mend or drop it."
            ) from error
