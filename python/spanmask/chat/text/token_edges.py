"""Characters -> tokens: which token covers a character of a text, and which is the first at or after it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

import numpy as np

from spanmask.chat.tokens import Tokens, encode, encode_fast, is_fast

__all__ = ["TokenEdges", "encode_with_edges"]

LONG = 30_000  # tokens


class TokenEdges(Protocol):
    """The tokens of one text."""

    ids: list[int]

    def covering(self, at: int) -> int:
        """The first token with a character at or after `at`; the number of tokens if there is none."""
        ...

    def following(self, at: int) -> int:
        """The first token that begins at or after the character `at`."""
        ...


class FastEdges:
    """The edges of a `tokenizers.Encoding`.

    A lookup looks at all tokens before its own, and a few lookups cost less than a list of all offsets; in a long row it is the other way
    round.
    """

    __slots__ = ("encoding", "ids", "length", "stops")

    def __init__(self, ids: list[int], encoding: Any, length: int) -> None:
        self.ids, self.encoding, self.length = ids, encoding, length
        self.stops = None
        if len(ids) >= LONG:
            starts, stops = np.array(encoding.offsets).T
            self.stops = np.maximum.accumulate(np.where(stops > starts, stops, 0))

    def covering(self, at: int) -> int:
        if self.stops is not None:
            return int(self.stops.searchsorted(at, side="right"))
        # Byte-level tokenizers leave spaces out of offsets: those belong to the next token.
        for character in range(at, self.length):
            token = self.encoding.char_to_token(character)
            if token is not None:
                return int(token)
        return len(self.ids)

    def following(self, at: int) -> int:
        token = self.covering(at)
        while token < len(self.ids) and self.encoding.token_to_chars(token)[0] < at:
            token += 1
        return token


class SlowEdges:
    """The edges of tokens with known spans."""

    __slots__ = ("ids", "starts", "stops")

    def __init__(self, tokens: Tokens) -> None:
        self.ids = tokens.ids
        self.starts = list(accumulate((start for start, _ in tokens.spans), max))
        self.stops = list(accumulate((stop for _, stop in tokens.spans), max))

    def covering(self, at: int) -> int:
        return bisect_left(self.stops, at + 1)

    def following(self, at: int) -> int:
        return bisect_left(self.starts, at)


def encode_with_edges(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[TokenEdges]:
    """Tokenize texts, by default as `apply_chat_template` does: without special tokens, without truncation.

    Raises:
        ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
    """
    if not texts:
        return []
    if not is_fast(tokenizer):  # without special tokens, which no decoding finds again
        return [SlowEdges(tokens) for tokens in encode(tokenizer, texts)]
    encoded = encode_fast(tokenizer, texts, add_special_tokens=add_special_tokens)
    return [FastEdges(ids, encoding, len(text)) for text, (ids, encoding) in zip(texts, encoded, strict=True)]
