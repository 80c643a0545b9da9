"""`DataCollatorForChat`: chat rows -> padded or flattened batches with labels on the trained turns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from importlib.metadata import version
from typing import Any

from spanmask import _core
from spanmask._validate import check_flag, pad_token_id
from spanmask.chat.completions import encode_completions, encode_texts
from spanmask.chat.conversation import Layout, conversations_of, entries, layout_of
from spanmask.chat.encode import ChatEncoder
from spanmask.chat.encoded import EncodedConversations, encode_conversations
from spanmask.chat.format import ChatFormat
from spanmask.collators.base import ChatCollator, Kept, TokenRows
from spanmask.errors import SpanmaskWarning
from spanmask.ragged import core_rows
from spanmask.token_columns import as_integers, trained_labels

__all__ = ["DataCollatorForChat"]


@dataclass(repr=False, eq=False)
class DataCollatorForChat(ChatCollator):
    """Pads chat rows and labels the tokens that carry loss.

    In:  dicts with `input_ids` (integers, any length); or with `messages`, `prompt` and `completion`, or `conversations`, which the
         tokenizer's chat template renders; or with `prompt` and `completion`, or `text`, as texts. Messages may state their weights.
         Further columns that are read where present: `tools`, `chat_template_kwargs`, `attention_mask` (nonzero for real tokens),
         `labels` (intersected), `completion_mask`, `assistant_masks` and `loss_mask` beside `input_ids` (tokens with 0 never train),
         `turn_mask` or `turn_weights` (a flag or a loss weight for each message of a trained role; without messages, for each turn).
         An Arrow table with these columns works too.
    Out: `input_ids`, `attention_mask`, `labels` int64 [B, longest row], labels -100 where no loss is wanted; `loss_weights`
         float32 of the same shape where the policy or `turn_weights` give tokens different weights.
         With `padding_free`: `input_ids`, `labels`, `position_ids` int64 [1, T], `seq_idx` int32 [1, T], `cu_seq_lens_q` and `_k`
         int32 [B + 1], `max_length_q` and `_k` int; a row's first token is -100, as in transformers' `DataCollatorWithFlattening`; and
         `use_cache`, False: with a cache, models of transformers let rows attend to each other.

    Args:
        tokenizer: a transformers tokenizer: supplies pad token, padding side, and the chat template for `messages`.
        chat_format: how turns open and close; by default derived from the tokenizer's chat template.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        max_length: rows are truncated to this many tokens, after their turns are found: a turn that this cuts off is a truncated one.
        padding_side: `"right"` or `"left"`; by default the tokenizer's.
        pad_to_multiple_of: the batch's width is rounded up to a multiple of it.
        return_tensors: `"pt"` or `"np"`.
        turn_column: the name of a column with an entry for each message of a trained role (without messages, for each turn): flags
            (bools or integers), or loss weights (floats). Every batch must have it. Without this option, columns `turn_mask` or
            `turn_weights` are read where present.
        template_kwargs: variables of the chat template, for all rows; a row's own `chat_template_kwargs` take their place.
        prepare: called with each example first; returns a dict with the columns of a layout. Must be picklable for workers.
        keep_columns: further columns to stack into the batch; all others are dropped.
        on_untrained_batch: what to do when no row of a batch has trained tokens: `"raise"`, `"warn"`, `"ignore"`.
        label_pad_token_id: the label of padding and of tokens without loss.
        weight_key: the batch's key for loss weights, by default `"loss_weights"`. Naming it says that your loss reads them.
        padding_free: concatenate rows instead of padding them. A warning says if torch is too old for some attention implementations.

    Raises:
        ChatFormatError: rows hold token ids, and the chat format could not be derived from the template.
        ValueError: an option or a row that cannot be used; the message names it.

    >>> from transformers import ByT5Tokenizer
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> collator = DataCollatorForChat(ByT5Tokenizer(), chat_format=fmt, return_tensors="np")
    >>> collator([{"input_ids": [5, 7, 8, 2, 5, 6, 9, 2]}])["labels"].tolist()
    [[-100, -100, -100, -100, -100, -100, 9, 2]]
    """

    tokenizer: Any
    _: KW_ONLY
    padding_free: bool = False

    def __post_init__(self) -> None:
        self._encoder: ChatEncoder | None = None
        self._derive_format(ChatFormat.from_tokenizer, self.tokenizer)
        self._check(self.tokenizer)
        check_flag("padding_free", self.padding_free)
        if self.padding_free and self.pad_to_multiple_of is not None:
            raise ValueError("pad_to_multiple_of: cannot be combined with padding_free=True.")
        if self.padding_free and self.return_tensors == "pt":
            warn_of_old_torch()
        self._pad_token_id = 0 if self.padding_free else pad_token_id(self.tokenizer)

    def _layout(self) -> _core.Layout:
        return _core.Layout.packed(self.max_length) if self.padding_free else super()._layout()

    def _plan(self, rows: TokenRows, columns: Mapping[str, Any], skip_first: bool = False) -> _core.LabelPlan:
        # In a flattened batch a row's first token would be predicted from the row before it.
        return super()._plan(rows, columns, skip_first=self.padding_free)

    def _write(self, plan: _core.LabelPlan, rows: TokenRows, columns: Mapping[str, Any], kept: Kept) -> dict[str, Any]:
        written = plan.write(self._layout(), padding=self._pad_token_id, kept=kept)
        batch: dict[str, Any]
        if self.padding_free:
            batch = {
                "input_ids": written.input_ids,
                "labels": written.labels,
                "position_ids": written.position_ids,
                "seq_idx": written.seq_idx,
                "cu_seq_lens_q": written.cu_seq_lens,
                "cu_seq_lens_k": written.cu_seq_lens,
                "max_length_q": written.max_length,
                "max_length_k": written.max_length,
                "use_cache": False,
            }
        else:
            batch = {"input_ids": written.input_ids, "attention_mask": written.attention_mask, "labels": written.labels}
        self._add_weights(batch, written.weights)
        return batch

    def _rows(self, columns: Mapping[str, Any]) -> TokenRows:
        mask, labels = columns.get("attention_mask"), columns.get("labels")
        encoded = None
        if "input_ids" in columns:
            ids, name = columns["input_ids"], "input_ids"
            labels = trained_labels(columns, self.label_pad_token_id)
        elif layout_of(columns) is Layout.TEXT:
            ids, name = encode_texts(self.tokenizer, entries(columns, "text")), "text"
        else:
            encoded = self._encode(columns)
            ids, name = encoded.ids, "messages"
        return TokenRows(
            core_rows(ids, name),
            name,
            encoded=encoded,
            attention_mask=None if mask is None else core_rows(as_integers(mask), "attention_mask"),
            labels=None if labels is None else core_rows(labels, "labels", int64=True),
        )

    def _encode(self, columns: Mapping[str, Any]) -> EncodedConversations:
        """The ids and turns of messages, or of prompts and completions."""
        if layout_of(columns).is_text:
            return encode_completions(self.tokenizer, entries(columns, "prompt"), entries(columns, "completion"))
        conversations = conversations_of(columns, template_kwargs=self.template_kwargs)
        if self._encoder is None:
            self._encoder = ChatEncoder(self.tokenizer, self.tokenizer)
        return encode_conversations(self._encoder, conversations, self._policy.roles, self._format)


def warn_of_old_torch() -> None:
    """Warn if models of transformers cannot separate concatenated rows by `position_ids`, which they then ignore."""
    torch = version("torch")
    if tuple(int(number) for number in torch.split(".")[:2]) < (2, 6):
        warnings.warn(
            f"padding_free: with torch {torch}, before 2.6, rows attend to each other in the eager, SDPA and flex attention of "
            "transformers. Use a newer torch or attn_implementation='flash_attention_2', or pad the rows.",
            SpanmaskWarning,
            stacklevel=4,
        )
