"""Rows of plain text, which no chat template renders: prompts with their completions, and texts that contain markers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.chat.conversation import Conversation
from spanmask.chat.conversation.layouts import kind_of
from spanmask.chat.encode import AlignedTurn, EncodedRow
from spanmask.chat.encoded import EncodedConversations, with_turns
from spanmask.chat.text.token_edges import encode_with_edges

__all__ = ["encode_completions", "encode_texts"]

ROLES = ("user", "assistant")


def encode_completions(tokenizer: Any, prompts: Sequence[str], completions: Sequence[str]) -> EncodedConversations:
    """Prompts and completions as one text each, with EOS at its end; the completion is the turn of the assistant.

    A token that is partly completion belongs to the completion. As TRL does, EOS is added where the completion does not end with it, and
    BOS where the tokenizer begins texts with it.

    Raises:
        ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
    """
    eos = str(tokenizer.eos_token or "")
    texts = [
        prompt + (completion if completion.endswith(eos) else completion + eos)
        for prompt, completion in zip(prompts, completions, strict=True)
    ]
    rows = []
    for prompt, text, edges in zip(prompts, texts, encode_with_edges(tokenizer, texts), strict=True):
        ids = [*leading_ids(tokenizer, text), *edges.ids]
        stop = len(ids)
        cut = stop - len(edges.ids) + edges.covering(len(prompt))
        rows.append(
            EncodedRow(
                ids,
                [
                    AlignedTurn("user", 0, (0, 0, 0, 0, cut, cut)),
                    AlignedTurn("assistant", 1, (cut, cut, cut, cut, stop, stop)),
                ],
            )
        )
    conversations = [
        Conversation([{"role": role, "content": text} for role, text in zip(ROLES, row, strict=True)], prompt_messages=1)
        for row in zip(prompts, completions, strict=True)
    ]
    return with_turns(rows, conversations, ROLES[1:])


def leading_ids(tokenizer: Any, text: str) -> list[int]:
    """BOS, if the tokenizer puts it before this text."""
    bos = tokenizer.bos_token
    if not bos or text.startswith(bos) or list(tokenizer("a")["input_ids"])[:1] != [tokenizer.bos_token_id]:
        return []
    return [tokenizer.bos_token_id]


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The ids of texts. BOS is added by the tokenizer unless the text has it.

    Raises:
        TypeError: an entry is not a text.
    """
    bos = tokenizer.bos_token
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"text: row {row} is {kind_of(text)}; expected a text. Remove such rows or fill them.")
    return [list(tokenizer(text, add_special_tokens=not (bos and text.startswith(bos)))["input_ids"]) for text in texts]
