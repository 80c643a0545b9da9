"""What `chat/` needs from a tokenizer: ids with the characters that they cover, added tokens, vocabulary.

All tokenizer methods that `chat/` uses are called here, except `apply_chat_template`: that is called in `template/probe.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from spanmask.errors import ChatFormatError

__all__ = [
    "AddedTokens",
    "Tokens",
    "added_token_ids",
    "added_tokens",
    "added_vocabulary",
    "bos_and_eos",
    "encode",
    "merging",
    "text_edge_ids",
    "text_tokenizer",
]

MERGING = 500  # vocabulary entries per suffix of a marker that `merging` examines
NO_OFFSETS = (
    "tokenizer: {name} returns no offsets, and decoding its tokens does not reproduce the text ({text!r} became {back!r}); "
    "use its fast version, or write the ids by hand: ChatFormat([RoleBoundary(role, start=[...], end=[...])])."
)


class Tokens(NamedTuple):
    """The ids of a text; `spans[i]`: the half-open range of characters that `ids[i]` covers. The spans ascend and cover every character."""

    ids: list[int]
    spans: list[tuple[int, int]]


class AddedTokens:
    """The texts of added tokens.

    `neutral`: those that only mark the beginning or end of a text (BOS, EOS, padding) and therefore do not identify a role.
    """

    def __init__(self, texts: Iterable[str], neutral: Iterable[str] = ()) -> None:
        texts = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self.neutral = frozenset(neutral)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where added tokens occur in a text."""
        return [match.span() for match in self.pattern.finditer(text)]

    def may_cut(self, text: str, at: int) -> bool:
        """Whether a marker may begin or end here: at an end of the text, at an added token's edge, or next to whitespace.

        A marker never begins or ends inside a word or a tag.
        """
        if at in (0, len(text)):
            return True
        spans = self.spans(text)
        if any(start < at < stop for start, stop in spans):
            return False
        return any(at in span for span in spans) or text[at - 1].isspace() or text[at].isspace()

    def distinctive(self, text: str) -> bool:
        """Whether a text can mark a turn's edge: it has an added token that is not neutral, or two letters or digits."""
        if any(text[start:stop] not in self.neutral for start, stop in self.spans(text)):
            return True
        rest = self.pattern.sub("", text)
        return sum(2 if ord(char) > 0x2E7F else 1 for char in rest if char.isalnum()) >= 2


def text_tokenizer(tokenizer: Any) -> Any:
    """The tokenizer itself, or the tokenizer of a processor.

    Raises:
        TypeError: the argument is neither a tokenizer nor a processor.
    """
    inner = getattr(tokenizer, "tokenizer", tokenizer)
    if not callable(inner) or not hasattr(inner, "get_added_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    return inner


def added_tokens(tokenizer: Any) -> AddedTokens:
    """The texts of a tokenizer's added tokens."""
    neutral = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    return AddedTokens([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens], {str(token) for token in neutral if token})


def added_vocabulary(tokenizer: Any) -> dict[str, int]:
    """Added tokens and their ids."""
    return dict(tokenizer.get_added_vocab())


def added_token_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of the added tokens, which never merge with a neighbour. Runs of spaces, which some vocabularies add, are left out."""
    added = {token: number for token, number in tokenizer.get_added_vocab().items() if token.strip()}
    return frozenset({*added.values(), *tokenizer.all_special_ids})


def bos_and_eos(tokenizer: Any) -> list[str]:
    """The texts of BOS and EOS, if the tokenizer has them."""
    return [str(token) for token in (tokenizer.bos_token, tokenizer.eos_token) if token]


def text_edge_ids(tokenizer: Any) -> tuple[int, ...]:
    """The ids of tokens with which a text may begin or end: BOS, CLS, EOS, padding. Not the unknown token: contents hold it."""
    ids = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "cls", "eos", "pad"))
    return tuple(dict.fromkeys(int(token) for token in ids if token is not None and token != tokenizer.unk_token_id))


def merging(tokenizer: Any, marker: str) -> list[str]:
    """Texts that the vocabulary merges with the last characters of a marker: `"<"` for `"助手："`, where `"：<"` is a token."""
    if not marker.strip() or marker[-1].isalnum() or any(text in marker for text in tokenizer.get_added_vocab() if text.strip()):
        return []  # next to an added token a missing character does not matter
    texts: dict[str, None] = {}
    at = len(marker.rstrip())
    while at and not marker[at - 1].isalnum():
        at -= 1
        last = marker[at:]
        spelled = "".join(tokenizer.convert_ids_to_tokens(tokenizer(last, add_special_tokens=False)["input_ids"])).lstrip("▁")
        longer = sorted(token for token in tokenizer.get_vocab() if len(token) > len(spelled) and token.startswith(spelled))
        merged = [tokenizer.convert_tokens_to_string([token]) for token in longer[:MERGING]]
        texts |= dict.fromkeys(text[len(last) :] for text in merged if text.startswith(last) and "\ufffd" not in text)
    return list(texts)


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Tokenize as `apply_chat_template` does: without special tokens, without truncation.

    Raises:
        ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
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
    return [encode_by_decoding(tokenizer, text) for text in texts]


def covering(offsets: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int]]:
    """Close the gaps between offsets: byte-level tokenizers may skip spaces, which then belong to the next token.

    >>> covering([(0, 2), (3, 5), (3, 5), (0, 0)], 7)
    [(0, 2), (2, 5), (3, 5), (5, 7)]
    """
    spans: list[tuple[int, int]] = []
    covered = 0
    for start, stop in offsets:
        if stop <= start:  # a token without characters of the text (a space that the tokenizer adds)
            start = stop = covered
        spans.append((min(start, covered), stop))
        covered = max(covered, stop)
    if spans and covered < length:
        spans[-1] = (spans[-1][0], length)
    return spans


def encode_by_decoding(tokenizer: Any, text: str) -> Tokens:
    """Offsets without a fast tokenizer: the text that each further token adds when decoded. Raises unless the result is `text`."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(some: list[int]) -> str:
        as_is = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
        return str(tokenizer.decode(some, **as_is))

    pieces = [decode([token]) for token in ids]
    if "".join(pieces) != decode(ids):  # a character of several tokens: incomplete, it decodes to nothing or to U+FFFD
        prefixes = ["", *(decode(ids[: count + 1]).rstrip("\ufffd") for count in range(len(ids)))]
        pieces = [prefix.removeprefix(before) for before, prefix in pairwise(prefixes)]
    offsets: list[tuple[int, int]] = []
    at = 0
    for number, piece in enumerate(pieces):
        while not text.startswith(piece, at) and text[at : at + 1].isspace():  # slow tokenizers drop spaces around added tokens
            at += 1
        if not text.startswith(piece, at):
            raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=decode(ids)))
        offsets.append((at, at + len(piece)))
        at += len(piece)
        if piece:  # all tokens of one character cover it
            for earlier in range(number - 1, -1, -1):
                if pieces[earlier]:
                    break
                offsets[earlier] = offsets[number]
    if text[at:].strip():
        raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=decode(ids)))
    return Tokens(ids, covering(offsets, len(text)))
