"""Which texts merge with a marker: the vocabulary's entries that extend over its edge."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

from spanmask._cached import cached_property
from spanmask.chat.tokens import added_tokens, vocabulary

__all__ = ["Merges", "merging"]

MERGING = 500  # vocabulary entries that are examined for each end of a marker


class Merges:
    """The entries of a vocabulary that extend over a marker's edge: texts that change the marker's tokens when they are next to it.

    Only entries count: a token over the edge is one, whatever content it begins with. Byte-level vocabularies are read byte by byte,
    because an entry may end inside a character.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.added = added_tokens(tokenizer)

    @cached_property
    def tokens(self) -> list[str]:
        """The entries from left to right."""
        return sorted(vocabulary(self.tokenizer))

    @cached_property
    def alphabet(self) -> dict[int, str]:
        """The characters that stand for bytes; empty unless the vocabulary has them all."""
        alphabet = byte_alphabet()
        return alphabet if {*alphabet.values()} <= {*self.tokens} else {}

    @cached_property
    def byte_of(self) -> dict[str, int]:
        """The bytes that characters stand for."""
        return {char: byte for byte, char in self.alphabet.items()}

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
            return "".join(self.alphabet[byte] for byte in bytes(text, "utf-8"))
        return text.replace(" ", "▁")

    def text_of(self, spelled: str, lead: bytes) -> str:
        """The text of an entry's part; the characters that it begins or ends in the middle of are completed. Empty if it has none."""
        if not self.alphabet:
            return spelled.replace("▁", " ")
        if any(char not in self.byte_of for char in spelled):
            return ""
        raw = bytes(self.byte_of[char] for char in spelled)
        inside = next((at for at, byte in enumerate(raw) if byte & 0xC0 != 0x80), len(raw))  # continuation bytes at the start
        whole = lead[: 3 - inside] + raw if inside else raw
        for tail in (b"", b"\x9c", b"\xa4", b"\x9c\x9c", b"\xa4\x9c", b"\x9f\x98\x80"):
            try:
                return str(whole + tail, "utf-8")
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


MERGES: WeakKeyDictionary[Any, tuple[int, Merges]] = WeakKeyDictionary()  # the size of a tokenizer's vocabulary, and its merges


def merging(tokenizer: Any, marker: str) -> list[str]:
    """Texts that the vocabulary merges with the last characters of a marker: `"<"` for `"助手："`, where `"：<"` is a token."""
    known = MERGES.get(tokenizer)
    if known is None or known[0] != len(tokenizer):
        known = MERGES[tokenizer] = len(tokenizer), Merges(tokenizer)
    return known[1].after(marker)
