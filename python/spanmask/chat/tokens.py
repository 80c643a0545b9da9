"""What `chat/` needs from a tokenizer: ids with the characters that they cover, added tokens, vocabulary.

Texts are also tokenized in `completions.py`. `apply_chat_template` is called in `template/probe.py` for probes,
in `encode.py` and `placeholders.py` for rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import count
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from spanmask.errors import ChatFormatError

__all__ = [
    "AddedTokens",
    "Tokens",
    "added_token_ids",
    "added_tokens",
    "added_vocabulary",
    "bos_and_eos",
    "encode",
    "encode_fast",
    "identity",
    "is_fast",
    "text_edge_ids",
    "text_tokenizer",
    "vocabulary",
]

LONGEST_CHARACTER = 12  # tokens that are examined together where one alone is not a whole text: emojis of several code points
SAMPLE = "Hello there, 42 of us: x = [1, 2] 你好 😀\n\n</s>"
DIGESTS: WeakKeyDictionary[Any, tuple[str, bytes]] = WeakKeyDictionary()  # the state of a tokenizer and its digest
BYTE = r"<0x[0-9A-F]{2}>"  # how vocabularies with byte fallback spell a byte
NUMBERS = count()  # of slow tokenizers
PIECES: WeakKeyDictionary[Any, dict[tuple[int, ...], str]] = WeakKeyDictionary()  # the texts of a slow tokenizer's tokens
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
    """Ids of the added tokens, which never merge with a neighbour. Runs of spaces and bytes, which some vocabularies add, are left out."""
    added = {
        token: number for token, number in tokenizer.get_added_vocab().items() if token.strip() and not re.fullmatch(BYTE, token)
    }
    return frozenset({*added.values(), *tokenizer.all_special_ids})


def bos_and_eos(tokenizer: Any) -> list[str]:
    """The texts of BOS and EOS, if the tokenizer has them."""
    return [str(token) for token in (tokenizer.bos_token, tokenizer.eos_token) if token]


def text_edge_ids(tokenizer: Any) -> tuple[int, ...]:
    """The ids of tokens with which a text may begin or end: BOS, CLS, EOS, padding. Not the unknown token: contents hold it."""
    ids = (getattr(tokenizer, f"{name}_token_id", None) for name in ("bos", "cls", "eos", "pad"))
    return tuple(dict.fromkeys(int(token) for token in ids if token is not None and token != tokenizer.unk_token_id))


def vocabulary(tokenizer: Any) -> list[str]:
    """The tokens of the vocabulary as it spells them, without added tokens."""
    added = {text for text in tokenizer.get_added_vocab() if text.strip()}
    return [token for token in tokenizer.get_vocab() if isinstance(token, str) and token not in added]


def identity(tokenizer: Any) -> bytes:
    """A digest of everything that decides how a text becomes ids: equal for equal fast tokenizers, else different.

    Slow tokenizers do not show all that they do, so each object has a digest of its own. A digest takes about 0.1 s for a large
    vocabulary; it is kept as long as the tokenizer shows no change.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None) if getattr(tokenizer, "is_fast", False) else None
    sample = tokenizer(SAMPLE, add_special_tokens=False)["input_ids"]
    stages = [] if backend is None else [repr(getattr(backend, name)) for name in ("normalizer", "pre_tokenizer")]
    settings = (tokenizer.special_tokens_map, tokenizer.all_special_tokens, getattr(tokenizer, "split_special_tokens", False))
    state = repr((id(backend), len(tokenizer), sample, stages, tokenizer.get_added_vocab(), settings))
    known = DIGESTS.get(tokenizer)
    if known is None or known[0] != state:
        content = backend.to_str() if backend is not None else f"{next(NUMBERS)}"
        digest = sha256(repr((type(tokenizer).__qualname__, settings, content)).encode()).digest()
        known = DIGESTS[tokenizer] = state, digest
    return known[1]


def encode(tokenizer: Any, texts: Sequence[str]) -> list[Tokens]:
    """Tokenize as `apply_chat_template` does: without special tokens, without truncation.

    Raises:
        ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
    """
    if not texts:
        return []
    if is_fast(tokenizer):
        encoded = encode_fast(tokenizer, texts)
        return [Tokens(ids, covering(encoding.offsets, len(text))) for text, (ids, encoding) in zip(texts, encoded, strict=True)]
    return [encode_by_decoding(tokenizer, text) for text in texts]


def is_fast(tokenizer: Any) -> bool:
    """Whether a tokenizer knows which characters its tokens cover."""
    return bool(getattr(tokenizer, "is_fast", False))


def encode_fast(tokenizer: Any, texts: Sequence[str], *, add_special_tokens: bool = False) -> list[tuple[list[int], Any]]:
    """The ids of texts, each with its `tokenizers.Encoding`; only for fast tokenizers."""
    out = tokenizer(
        list(texts),
        add_special_tokens=add_special_tokens,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return list(zip(out["input_ids"], out.encodings, strict=True))


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
    """Offsets without a fast tokenizer: each token's text, searched for in order. Raises unless the tokens spell `text`."""
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    pieces = PIECES.setdefault(tokenizer, {})
    offsets: list[tuple[int, int]] = []
    at = 0
    while len(offsets) < len(ids):
        for length in range(1, LONGEST_CHARACTER + 1):  # more than one: tokens that only together are whole characters
            some = tuple(ids[len(offsets) : len(offsets) + length])
            if some not in pieces:
                pieces[some] = decode(tokenizer, some)
            found = place_of(pieces[some], text, at)
            if found is not None or len(offsets) + length == len(ids):
                break
        if found is None:
            back = decode(tokenizer, ids)
            if len(offsets) + length < len(ids) or text[at:].strip() or any(pieces[some]):
                raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=back))
            found = at, at  # at the end: tokens without text
        offsets += [found] * len(some)
        at = found[1]
    if text[at:].strip():
        raise ChatFormatError(NO_OFFSETS.format(name=type(tokenizer).__name__, text=text, back=decode(tokenizer, ids)))
    return Tokens(ids, covering(offsets, len(text)))


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of some tokens, as it is."""
    as_is = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False, "spaces_between_special_tokens": False}
    return str(tokenizer.decode(list(ids), **as_is))


def place_of(piece: str, text: str, at: int) -> tuple[int, int] | None:
    """Where a piece is in a text from `at` on, after blanks at most, which slow tokenizers drop; None if it is not a whole text."""
    if not piece or "\ufffd" in piece:
        return None
    while not text.startswith(piece, at):
        if not text[at : at + 1].isspace():
            return None
        at += 1
    return at, at + len(piece)
