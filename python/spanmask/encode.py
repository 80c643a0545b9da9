"""`encode_chat`: conversations -> token ids and labels, with turns from the rendered text instead of a search."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import check_flag, check_ignore_index, check_length
from spanmask.chat.conversation import conversations_of
from spanmask.chat.encode import ChatEncoder
from spanmask.chat.encoded import EncodedConversations, encode_conversations
from spanmask.chat.format import ChatFormat
from spanmask.chat.strings import policy_with_ids
from spanmask.errors import SpanmaskWarning
from spanmask.policy import DEFAULT_POLICY, MaskPolicy
from spanmask.ragged import Ragged, core_rows, is_arrow
from spanmask.report import MaskReport
from spanmask.turns import Turns, turn_columns

__all__ = ["EncodedChat", "encode_chat"]


class EncodedChat:
    """What `encode_chat` returns. All parts have a row for each conversation that was kept.

    Attributes:
        input_ids: int64, a `Ragged`: the ids of `apply_chat_template(conversation, tokenize=True)`, cut to `max_length`.
        labels: int64, a `Ragged`: the ids where loss is wanted and `ignore_index` elsewhere.
        weights: loss weights aligned with `labels`, float32, a `Ragged`; `None` if all tokens have the same weight.
        turns: the `Turns` of the rows: an entry for each message that the template renders.
        rows: int64, the indices of the conversations: all of them, unless the policy drops some.
        report: a `MaskReport`.
    """

    def __init__(
        self,
        input_ids: Ragged,
        labels: Ragged,
        weights: Ragged | None,
        turns: Turns,
        rows: npt.NDArray[np.int64],
        report: MaskReport,
    ) -> None:
        self.input_ids = input_ids
        self.labels = labels
        self.weights = weights
        self.turns = turns
        self.rows = rows
        self.report = report

    def __repr__(self) -> str:
        return f"EncodedChat(input_ids={self.input_ids!r}, labels={self.labels!r}, weights={self.weights!r}, rows={self.rows!r})"


def is_column(value: Any) -> bool:
    """Whether a value has an entry for each conversation."""
    return is_arrow(value) or isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim > 0)


def encode_chat(
    tokenizer: Any,
    conversations: Any,
    policy: MaskPolicy | None = None,
    *,
    tools: Any = None,
    template_kwargs: Any = None,
    max_length: int | None = None,
    add_generation_prompt: bool = False,
    chat_format: ChatFormat | None = None,
    ignore_index: int = -100,
) -> EncodedChat:
    """Render and tokenize conversations, and label the tokens that carry loss.

    Exact for any text in the contents, the template's own markers included: the contents are found in the rendered text, and the
    tokenizer's offsets say which tokens they are. Each conversation is rendered and tokenized once, in batches.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        conversations: a list of conversations, each a list of messages (dicts with `role` and `content`, or `from` and `value`); or a dict
            of columns, such as a batch of a dataset: `messages`, `prompt` and `completion`, or `conversations`, with `tools`,
            `chat_template_kwargs`, `turn_mask` or `turn_weights` (an entry for each message of a trained role) and `labels` (intersected)
            where present. A message may state `weight`, `train`, `training`, `trainable`, `loss` or `loss_scale`: its
            loss weight.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        tools: tools for all conversations, or a list with one entry for each.
        template_kwargs: variables of the template, for all conversations, or a list with one dict for each.
        max_length: rows are cut to this many tokens; the policy treats a turn that is cut as truncated.
        add_generation_prompt: as in `apply_chat_template`.
        chat_format: searches for the turns of conversations that cannot be aligned with their text; by default it is derived from the
            template when such a conversation occurs.
        ignore_index: the label of a token without loss.

    Returns:
        An `EncodedChat`.

    Raises:
        ValueError: the template refuses a conversation, or a policy option raises; the message names the row.
        TypeError: conversations are not lists of messages.
        ChatFormatError: there is no chat template; or the tokenizer returns no offsets, and decoding its tokens does not give the text.

    >>> from transformers import ByT5Tokenizer
    >>> tokenizer = ByT5Tokenizer()
    >>> tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}]{{ m.content }}</s>{% endfor %}"
    >>> chat = [{"role": "user", "content": "Say [assistant]no"}, {"role": "assistant", "content": "[user]"}]
    >>> out = encode_chat(tokenizer, [chat])
    >>> tokenizer.decode([token for token in out.labels.to_list()[0] if token != -100])
    '[user]</s>'
    """
    policy = DEFAULT_POLICY if policy is None else policy
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    policy = policy_with_ids(tokenizer, policy)
    max_length = check_length("max_length", max_length)
    if chat_format is not None and not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    check_flag("add_generation_prompt", add_generation_prompt)
    columns = conversations if isinstance(conversations, Mapping) else {"messages": conversations}
    if not all(map(is_column, columns.values())):
        raise TypeError("conversations: expected a list of conversations, each a list of messages, or a dict of such columns.")
    read = conversations_of(columns, tools=tools, template_kwargs=template_kwargs)
    encoded = encode_conversations(
        encoder_of(tokenizer),
        read,
        policy.roles,
        partial(format_of, tokenizer, chat_format),
        add_generation_prompt=add_generation_prompt,
    )
    entries = encoded.turn_entries(policy.roles, turn_columns(columns.get("turn_mask"), columns.get("turn_weights")))
    plan = _core.plan_labels(
        core_rows(encoded.ids, "messages"),
        turns=encoded.turns,
        policy=policy._compile(encoded.turns.roles, () if chat_format is None else chat_format.ignore_ids),
        attention_mask=None,
        labels=None if columns.get("labels") is None else core_rows(columns["labels"], "labels", int64=True),
        turn_mask=entries.turn_mask,
        turn_weights=entries.turn_weights,
        ignore_index=check_ignore_index("ignore_index", ignore_index),
        weighted=policy.weighted or entries.turn_weights is not None,
        max_length=max_length,
        skip_first=False,
        uncut_ids=(),
        with_roles=False,
        name="messages",
    )
    outcomes = encoded.outcomes(plan, policy.roles, max_length)
    warn_or_raise(encoded, policy)
    kept = outcomes.kept_rows(policy)
    if encoded.unknown and policy.on_role_mismatch == "drop":
        kept = np.setdiff1d(np.arange(len(read)) if kept is None else kept, list(encoded.unknown))
    written = plan.write(_core.Layout.packed(max_length), padding=0, kept=None if kept is None else kept.tolist())
    rows = np.arange(len(read)) if kept is None else kept
    lengths = np.array([len(encoded.ids[row]) for row in rows.tolist()], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths if max_length is None else np.minimum(lengths, max_length))])
    return EncodedChat(
        Ragged(written.input_ids.reshape(-1), offsets),
        Ragged(written.labels.reshape(-1), offsets),
        None if written.weights is None else Ragged(written.weights.reshape(-1), offsets),
        encoded.turns._part(rows, max_length),
        rows,
        outcomes.report,
    )


def warn_or_raise(encoded: EncodedConversations, policy: MaskPolicy) -> None:
    """Warn about what is lost, and warn or raise about rows whose turns are not known."""
    texts = encoded.describe_unknown().values()
    if texts and policy.on_role_mismatch == "raise":
        raise ValueError(next(iter(texts)))
    for text in (*encoded.notes(policy.roles).values(), *(list(texts)[:1] if policy.on_role_mismatch == "warn" else ())):
        warnings.warn(text, SpanmaskWarning, stacklevel=3)


MOST_ENCODERS = 8
ENCODERS: dict[int, tuple[str, ChatEncoder]] = {}  # by the id of a tokenizer, which its encoder keeps alive


def encoder_of(tokenizer: Any) -> ChatEncoder:
    """The encoder of a tokenizer: that of earlier calls, unless its template or its tokens have changed since."""
    state = repr((getattr(tokenizer, "chat_template", None), len(tokenizer)))
    known = ENCODERS.get(id(tokenizer))
    if known is None or known[0] != state:
        known = (state, ChatEncoder(tokenizer, tokenizer))
        ENCODERS.pop(id(tokenizer), None)
        if len(ENCODERS) >= MOST_ENCODERS:
            ENCODERS.pop(next(iter(ENCODERS)), None)
        ENCODERS[id(tokenizer)] = known
    return known[1]


def format_of(tokenizer: Any, chat_format: ChatFormat | None) -> ChatFormat:
    """The given format, or that of the tokenizer's template."""
    return ChatFormat.from_tokenizer(tokenizer) if chat_format is None else chat_format
