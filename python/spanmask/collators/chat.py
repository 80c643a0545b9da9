"""`DataCollatorForChat`: chat rows -> padded or flattened batches with labels on the trained turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from spanmask import _core
from spanmask.batch import ReturnTensors, columns_of, flatten, pad, padded_layout, real_tokens, stack_columns, to_tensors
from spanmask.chat.format import ChatFormat
from spanmask.collators.running import OnAllEmpty, RunningReport
from spanmask.labels import MaskPolicy, MaskReport, check_choice, mask_rows
from spanmask.ragged import Layout, Ragged, check_aligned

__all__ = ["DataCollatorForChat"]


class DataCollatorForChat:
    """Pads chat rows and labels the tokens that carry loss.

    In:  dicts with `input_ids` (integers, any length), or with `messages` to be rendered by the tokenizer's chat template (and
        `tools`
         for it). Read where present: `attention_mask` (nonzero for real tokens), `labels` (intersected), `turn_mask` (a flag
         for each turn of a trained role). An Arrow table with these columns, too.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], labels -100 where no loss is wanted.
         With `padding_free`: `input_ids`, `labels`, `position_ids` int64 [1, T], `seq_idx` int32 [1, T], `cu_seq_lens_q` and
             `_k` int32
         [B + 1], `max_length_q` and `_k` int; the first token of each row is -100, as in transformers'
         `DataCollatorWithFlattening`.

    Args:
        tokenizer: a transformers tokenizer: its pad token and padding side, its template for `messages`, its text for messages.
        chat_format: how turns open and close; derived from the tokenizer's chat template when not given.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows keep this many tokens. Masks are made before the cut.
        padding_side: `"right"` or `"left"`; the tokenizer's own by default.
        pad_to_multiple_of: the batch's width is rounded up to it.
        return_tensors: `"pt"` or `"np"`.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_all_empty: what to do when no row of a batch trains anything: `"raise"`, `"warn"`, `"ignore"`.
        padding_free: one row behind the other instead of padding.

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
        on_all_empty: OnAllEmpty = "raise",
        padding_free: bool = False,
    ) -> None:
        self.tokenizer = tokenizer
        self.chat_format = ChatFormat.from_tokenizer(tokenizer) if chat_format is None else chat_format
        self.policy = policy or MaskPolicy()
        self.policy.compile(self.chat_format)  # a role that the format lacks is an error now, not in the first batch
        self.max_length = check_length("max_length", max_length)
        self.padding_side: str = padding_side or getattr(tokenizer, "padding_side", "right")
        if self.padding_side not in ("right", "left"):
            raise ValueError(f"padding_side: expected 'right' or 'left', got {self.padding_side!r}.")
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", pad_to_multiple_of)
        check_choice("return_tensors", return_tensors, ReturnTensors)
        check_choice("on_all_empty", on_all_empty, OnAllEmpty)
        self.return_tensors = return_tensors
        self.keep_columns = tuple(keep_columns)
        self.on_all_empty = on_all_empty
        self.padding_free = padding_free
        if padding_free and pad_to_multiple_of is not None:
            raise ValueError("pad_to_multiple_of: goes with padding, but padding_free=True leaves none; give one of them.")
        self.pad_token_id = 0 if padding_free else pad_token_id(tokenizer)
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
        columns = columns_of(features)
        rows = self._rows(columns)
        bounds = real_tokens(rows, columns.get("attention_mask"))
        labels = None
        if columns.get("labels") is not None:
            existing = Ragged.from_rows(columns["labels"], "labels")
            check_aligned(existing, rows, "labels")
            labels = existing.values.astype(np.int64, copy=False)
        layout: Layout = ("touching", 0, self.max_length)
        if not self.padding_free:
            layout = padded_layout(bounds, self.padding_side, self.max_length, self.pad_to_multiple_of)
        flat, report = mask_rows(
            rows.values, bounds, layout, self.chat_format, self.policy, labels=labels, turn_mask=columns.get("turn_mask")
        )
        self._running.add(report, self.on_all_empty, lambda row: self.tokenizer.decode(rows[row].tolist()))
        batch: dict[str, Any]
        if self.padding_free:
            about = flatten(bounds, self.max_length)
            edges = about["cu_seq_lens_q"]
            flat[edges[:-1][np.diff(edges) > 0]] = -100  # a row's first token has no token of its own row in front of it
            batch = {"input_ids": _core.pad(rows.values, *bounds, layout, 0)[None], "labels": flat[None], **about}
        else:
            batch = {
                "input_ids": pad(rows.values, bounds, layout, self.pad_token_id),
                "attention_mask": _core.pad_mask(*bounds, layout).reshape(len(rows), -1),
                "labels": flat.reshape(len(rows), -1),
            }
        batch.update(stack_columns(columns, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)

    def _rows(self, columns: Mapping[str, Any]) -> Ragged:
        if "input_ids" in columns:
            return Ragged.from_rows(columns["input_ids"], "input_ids")
        if "messages" not in columns:
            raise ValueError(f"features: no 'input_ids' and no 'messages'; the examples have {', '.join(map(repr, columns))}.")
        messages = columns["messages"]
        tools = columns.get("tools") or [None] * len(messages)
        return Ragged.from_rows(
            [
                self.tokenizer.apply_chat_template(conversation, tools=tool, tokenize=True, return_dict=False)
                for conversation, tool in zip(messages, tools, strict=True)
            ],
            "messages",
        )


def check_length(name: str, value: int | None) -> int | None:
    """Raise unless `value` is a positive integer or `None`."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{name}: expected a positive integer or None, got {value!r}.")
    return value


def pad_token_id(tokenizer: Any) -> int:
    """The tokenizer's pad id.

    Raises:
        ValueError: it has none.
    """
    pad_id = getattr(tokenizer, "pad_token_id", None)
    if pad_id is None:
        raise ValueError(
            "tokenizer: has no pad token; set tokenizer.pad_token = tokenizer.eos_token (safe here: padding is told by lengths, never "
            "by an id, so the stop token still trains)."
        )
    return int(pad_id)
