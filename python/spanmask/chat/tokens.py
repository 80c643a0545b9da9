"""What `chat/` needs from a tokenizer: ids with the characters that they cover, added tokens, vocabulary.

All tokenizer methods that `chat/` uses are called here, except `apply_chat_template`: that is called in `template/probe.py`.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice, pairwise
from typing import Any, NamedTuple

from spanmask.errors import ChatFormatError

__all__ = [
    "AddedTokens",
    "Merges",
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

MERGING = 500  # vocabulary entries that are examined for each end of a marker
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
    return Merges(tokenizer).after(marker)


class Merges:
    """The entries of a vocabulary that extend over a marker's edge: texts that change the marker's tokens when they stand next to it.

    Only entries count: a token over the edge is one, whatever content it begins with. Byte-level vocabularies are read byte by byte,
    because an entry may end inside a character.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        added = {text for text in tokenizer.get_added_vocab() if text.strip()}
        self.added = AddedTokens(added)
        tokens = [token for token in tokenizer.get_vocab() if isinstance(token, str) and token not in added]
        alphabet = byte_alphabet()
        self.alphabet = alphabet if {*alphabet.values()} <= {*tokens} else {}
        self.bytes = {char: byte for byte, char in self.alphabet.items()}
        self.tokens = sorted(tokens)

    @cached_property
    def mirrored(self) -> list[str]:
        """The entries from right to left."""
        return sorted(token[::-1] for token in self.tokens)

    def after(self, marker: str) -> list[str]:
        """Texts that merge with the last characters of a marker, unless it ends with a letter or digit: a word cannot be kept apart."""
        texts: dict[str, None] = {}
        taken = [range(start, stop) for start, stop in self.added.spans(marker)]
        at = 0 if marker[-1:].isalnum() else len(marker)
        while at and not any(at - 1 in span for span in taken):
            at -= 1
            spelled = self.spell(marker[at:])
            rests = (self.text_of(token[len(spelled) :], b"") for token in entries(self.tokens, spelled))
            texts |= dict.fromkeys(chosen(rests, every=bool(marker[at:].strip()) and not taken))
        return list(texts)

    def before(self, marker: str) -> list[str]:
        """Texts that merge with the first characters of a marker, unless it begins with a letter or digit."""
        texts: dict[str, None] = {}
        taken = [range(start, stop) for start, stop in self.added.spans(marker)]
        at = len(marker) if marker[:1].isalnum() else 0
        while at < len(marker) and not any(at in span for span in taken):
            at += 1
            spelled = self.spell(marker[:at])[::-1]
            rests = (self.text_of(token[len(spelled) :][::-1], b"\xe4\xb8") for token in entries(self.mirrored, spelled))
            texts |= dict.fromkeys(chosen(rests, every=False))
        return list(texts)

    def spell(self, text: str) -> str:
        """A text as the entries spell it."""
        if self.alphabet:
            return "".join(self.alphabet[byte] for byte in text.encode())
        return text.replace(" ", "▁")

    def text_of(self, spelled: str, lead: bytes) -> str:
        """The text of an entry's part; the characters that it begins or ends in the middle of are completed. Empty if it has none."""
        if not self.alphabet:
            return spelled.replace("▁", " ")
        if any(char not in self.bytes for char in spelled):
            return ""
        raw = bytes(self.bytes[char] for char in spelled)
        inside = next((at for at, byte in enumerate(raw) if byte & 0xC0 != 0x80), len(raw))  # continuation bytes at the start
        whole = lead[: 3 - inside] + raw if inside else raw
        for tail in (b"", b"\x9c", b"\xa4", b"\x9c\x9c", b"\xa4\x9c", b"\x9f\x98\x80"):
            try:
                return (whole + tail).decode()
            except UnicodeDecodeError:
                continue
        return ""


def byte_alphabet() -> dict[int, str]:
    """The characters that byte-level vocabularies write for bytes: visible ones as they are, the others from U+0100 on."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(0x100) if byte not in visible]
    return {byte: chr(byte) for byte in visible} | {byte: chr(0x100 + number) for number, byte in enumerate(hidden)}


def entries(tokens: Sequence[str], start: str) -> Iterator[str]:
    """The longer entries that begin with `start`; `tokens` is sorted."""
    for at in range(bisect_right(tokens, start), len(tokens)):
        if not tokens[at].startswith(start):
            return
        yield tokens[at]


def chosen(texts: Iterable[str], every: bool) -> list[str]:
    """All texts, up to a limit, or one of each sort: where only blanks can be lost, the first character decides what merges."""
    texts = (text for text in texts if text)
    if every:
        return list(islice(texts, MERGING))
    sorts: dict[tuple[str, str, bool], str] = {}
    for text in texts:
        category = unicodedata.category(text[0])
        sorts.setdefault((category, text[0] if category[0] in "ZPSC" and text[0] < "\x80" else "", text.isspace()), text)
    return list(sorts.values())


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
