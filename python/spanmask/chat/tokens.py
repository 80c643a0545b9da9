"""Text -> ids, each with the characters it stands for. The only file of `chat/` that calls a tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from spanmask.errors import ChatFormatError

__all__ = ["Tokens", "atomic_ids", "encode", "text_tokenizer"]

NO_OFFSETS = (
    "tokenizer: {name} gives no offsets, and its tokens do not spell the text back ({text!r} came back as {back!r}); "
    "use its fast version, or write the ids by hand: ChatFormat([RoleBoundary(role, start=[...], end=[...])])."
)


class Tokens(NamedTuple):
    """The ids of a text; `spans[i]`: the half-open characters that `ids[i]` covers. They ascend, and leave no character out."""

    ids: list[int]
    spans: list[tuple[int, int]]


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Tokenize as `apply_chat_template` does: nothing added, nothing cut.

    Raises:
        ChatFormatError: a tokenizer without offsets whose tokens do not spell the text.
    """
    if not texts:
        return []
    if getattr(tokenizer, "is_fast", False):
        out = tokenizer(
            list(texts),
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        return [
            Tokens(ids, covering(offsets, len(text)))
            for text, ids, offsets in zip(texts, out["input_ids"], out["offset_mapping"], strict=True)
        ]
    return [spell(tokenizer, text) for text in texts]


def covering(offsets: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Offsets without holes: byte-level tokenizers may trim blanks, which then belong to the token that follows.

    >>> covering([(0, 2), (3, 5), (3, 5), (0, 0)], 7)
    [(0, 2), (2, 5), (3, 5), (5, 7)]
    """
    spans: list[tuple[int, int]] = []
    covered = 0
    for start, stop in offsets:
        if stop <= start:  # a token that stands for nothing in the text (a prepended blank)
            start = stop = covered
        spans.append((min(start, covered), stop))
        covered = max(covered, stop)
    if spans and covered < length:
        spans[-1] = (spans[-1][0], length)
    return spans


def spell(tokenizer: Any, text: str) -> Tokens:
    """Offsets without a fast tokenizer: what each further token adds to the decoded text. Sure or refused: it must spell `text`."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(some: list[int]) -> str:
        as_is = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
        return str(tokenizer.decode(some, **as_is))

    pieces = [decode([token]) for token in ids]
    if "".join(pieces) != decode(ids):  # a character of several tokens: unfinished, it decodes to nothing or to U+FFFD
        heads = ["", *(decode(ids[: count + 1]).rstrip("\ufffd") for count in range(len(ids)))]
        pieces = [head.removeprefix(before) for before, head in pairwise(heads)]
    offsets: list[tuple[int, int]] = []
    at = 0
    for number, piece in enumerate(pieces):
        while not text.startswith(piece, at) and text[at : at + 1].isspace():  # slow tokenizers drop blanks around added tokens
            at += 1
        if not text.startswith(piece, at):
            raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=decode(ids)))
        offsets.append((at, at + len(piece)))
        at += len(piece)
        if piece:  # all tokens of one character cover it
            for back in range(number - 1, -1, -1):
                if pieces[back]:
                    break
                offsets[back] = offsets[number]
    if text[at:].strip():
        raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=decode(ids)))
    return Tokens(ids, covering(offsets, len(text)))


def atomic_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the added tokens: they never merge with a neighbour. Runs of blanks, which some vocabularies add, are left out."""
    added = {token: number for token, number in tokenizer.get_added_vocab().items() if token.strip()}
    return frozenset({*added.values(), *tokenizer.all_special_ids})


def text_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer itself, also where a processor is given.

    Raises:
        TypeError: neither a tokenizer nor a processor.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if not callable(inner) or not hasattr(inner, "get_added_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    return inner
