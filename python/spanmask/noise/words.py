"""How the tokens of a vocabulary show words: `vocabulary_words`. `words.rs` finds the words of rows by it.

The tokenizer decides: its model's prefix or suffix (`##ing`, `dog</w>`), or the text that its decoder makes of each token (`Ġdog`,
`▁dog`, `Ċ`). A few tokens that look like those of another kind decide nothing: vocabularies of web text have `##`, `▁` and `Ġ` among
their tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["VocabularyWords", "vocabulary_words"]

ToText = Callable[[str], str]

# A mark that fewer tokens carry is a coincidence. A fifth to two thirds of the tokens of usual vocabularies carry theirs.
LEAST_SHARE = 1 / 20
METASPACE, BYTE_SPACE = "▁", "Ġ"


@dataclass(frozen=True)
class VocabularyWords:
    """Ids that continue the word before them, and ids after which a word begins, whatever follows. Both ascend."""

    continuation_ids: tuple[int, ...]
    word_end_ids: tuple[int, ...]


@dataclass(frozen=True)
class Affixes:
    """Words are shown by how tokens are spelled: those with `prefix` continue a word (`##ing`), those with `suffix` end one (`dog</w>`),
    those with `joiner` do not end one (`do@@`).
    """

    prefix: str | None = None
    suffix: str | None = None
    joiner: str | None = None

    def begins(self, token: str) -> bool:
        """Whether the token begins a word, if the token before it does not end one."""
        return self.prefix is not None and not carries(token, prefix=self.prefix)

    def ends(self, token: str) -> bool:
        """Whether a word begins after the token."""
        if self.joiner is not None:
            return not token.endswith(self.joiner)
        return self.suffix is not None and token.endswith(self.suffix)


def vocabulary_words(tokenizer: Any) -> VocabularyWords:
    """How the tokens of a transformers tokenizer show words.

    Tokens are judged by the text that they stand for: one that begins with white space begins a word, and after one that ends with white
    space a word begins. Special and added tokens are words of their own. The unknown token may stand for a part of a word: it
    continues one, except where it stands for a whole word (WordPiece, WordLevel).

    Raises:
        ValueError: the tokens do not show where words begin.
    """
    alone, unknown = words_of_their_own(tokenizer)
    tokens = {token: number for token, number in tokenizer.get_vocab().items() if number not in alone and number != unknown}
    spelling = spelling_of(tokenizer, tokens)
    if isinstance(spelling, Affixes):
        continuing = {number for token, number in tokens.items() if not spelling.begins(token)}
        if spelling.suffix is None and spelling.joiner is None:  # every token shows itself whether it continues a word
            return VocabularyWords(tuple(sorted(continuing)), ())
        ends = {number for token, number in tokens.items() if spelling.ends(token)}
        if unknown is not None:  # whether it ends a word cannot be known
            continuing.add(unknown)
            ends.add(unknown)
    else:
        texts = {number: spelling(token) for token, number in tokens.items()}
        continuing = {number for number, text in texts.items() if not text[:1].isspace()}
        ends = {number for number, text in texts.items() if text[-1:].isspace()}
        if unknown is not None and " " in texts.values():  # otherwise the space before an unknown word is unknown too
            continuing.add(unknown)
    return VocabularyWords(tuple(sorted(continuing)), tuple(sorted(ends | alone)) if continuing else ())


def words_of_their_own(tokenizer: Any) -> tuple[set[int], int | None]:
    """The ids of special and added tokens, and the id of the unknown token if that has no other use."""
    special = {name: token for name, token in getattr(tokenizer, "special_tokens_map", {}).items() if isinstance(token, str)}
    alone = {*tokenizer.all_special_ids, *getattr(tokenizer, "added_tokens_decoder", ())}
    unknown = special.pop("unk_token", None)
    if unknown is None or unknown in special.values():
        return alone, None
    number = tokenizer.convert_tokens_to_ids(unknown)
    return alone - {number}, number


def spelling_of(tokenizer: Any, tokens: Mapping[str, int]) -> Affixes | ToText:
    """How the tokenizer spells words: affixes of tokens, or the text of each token.

    `tokens`: the vocabulary without special and added tokens.

    Raises:
        ValueError: its tokens do not show words.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    model = getattr(backend, "model", None)
    prefix, suffix = (getattr(model, name, None) or None for name in ("continuing_subword_prefix", "end_of_word_suffix"))
    if prefix or suffix:
        return Affixes(prefix, suffix)
    space = space_before_word(backend)
    texts = [] if space == "" else [decoded_by(tokenizer, space), written_with(space)]
    for to_text in texts:
        if to_text is not None and any(to_text(token)[:1].isspace() or to_text(token)[-1:].isspace() for token in tokens):
            return to_text
    marked = by_marks(tokens)
    if marked is not None:
        return marked
    if space == "" and type(model).__name__ == "WordLevel":
        return " {}".format  # each token is a word
    raise ValueError(
        "tokenizer: its tokens do not show where words begin; pass continuation_ids (and word_end_ids), or continuation_ids=None and the "
        "words of each row: word_ids= or word_starts= of a call, or a column of that name."
    )


def space_before_word(backend: Any) -> str | None:
    """What a fast tokenizer gives to its model for a space between two words: a mark, or `""` if the model does not see the space.
    `None`: not known.
    """
    if backend is None:
        return None
    text = "a b" if backend.normalizer is None else backend.normalizer.normalize_str("a b")
    if backend.pre_tokenizer is not None:
        text = "".join(piece for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text))
    found = re.search("a(.*)b", text, re.DOTALL | re.IGNORECASE)
    return None if found is None else found[1]


def decoded_by(tokenizer: Any, space: str | None) -> ToText | None:
    """The text of a token as the tokenizer's decoder makes it, or `None` if the decoder does not simply join the texts of tokens."""

    def decode(*tokens: str) -> str:
        try:
            return str(tokenizer.convert_tokens_to_string(list(tokens)))
        except Exception:  # a decoder of any kind may refuse tokens that it never makes, or need a package that is not installed
            return ""

    def to_text(token: str) -> str:
        return decode("a", token, "a")[1:-1]  # white space at the edges of a text may be stripped

    joins = decode("a", "b") == "ab"
    return to_text if joins and (space is None or to_text(space) == " ") else None


def written_with(space: str | None) -> ToText | None:
    """The text of a token where `space` stands for a space."""
    if space is None:
        return None
    return byte_level_text if space == BYTE_SPACE else lambda token: byte_fallback_text(token.replace(space, " "))


def by_marks(tokens: Mapping[str, int]) -> Affixes | ToText | None:
    """How words are spelled, judged by the mark that most tokens carry. `None` if hardly any token has one, or if it is a tie."""
    if all(len(token) == 1 for token in tokens) and any(map(str.isspace, tokens)):
        return str  # characters
    spellings: list[tuple[int, Affixes | ToText]] = [
        (sum(carries(token, prefix="##") for token in tokens), Affixes(prefix="##")),
        (sum(carries(token, suffix="</w>") for token in tokens), Affixes(suffix="</w>")),
        (sum(carries(token, suffix="@@") for token in tokens), Affixes(joiner="@@")),
        (
            sum(carries(token, prefix=METASPACE) for token in tokens),
            lambda token: byte_fallback_text(token.replace(METASPACE, " ")),
        ),
        (sum(carries(token, prefix=BYTE_SPACE) for token in tokens), byte_level_text),
        (sum(token[:1].isspace() for token in tokens), str),  # tokens are spelled as their text
    ]
    spellings.sort(key=lambda spelling: -spelling[0])
    (most, spelling), (second, _) = spellings[:2]
    return spelling if most > second and most >= LEAST_SHARE * len(tokens) else None


def carries(token: str, *, prefix: str = "", suffix: str = "") -> bool:
    """Whether a token carries a mark. The mark alone is a token of another kind: text that looks like it."""
    return len(token) > len(prefix + suffix) and token.startswith(prefix) and token.endswith(suffix)


def byte_fallback_text(token: str) -> str:
    """The text of a token of SentencePiece, which spells single bytes as `<0x0A>`."""
    byte = re.fullmatch("<0x([0-9A-F]{2})>", token)
    return token if byte is None else bytes([int(byte[1], 16)]).decode("utf-8", "replace")


def byte_level_text(token: str) -> str:
    """The text of a byte-level token, in which each character stands for a byte."""
    if not BYTES.keys() >= set(token):
        return token
    return bytes(map(BYTES.__getitem__, token)).decode("utf-8", "replace")


def byte_alphabet() -> dict[str, int]:
    """The byte of each character of byte-level tokens: visible Latin-1 characters stand for their code, the others follow from 256 on."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in visible]
    return {**{chr(byte): byte for byte in visible}, **{chr(256 + n): byte for n, byte in enumerate(others)}}


BYTES = byte_alphabet()
