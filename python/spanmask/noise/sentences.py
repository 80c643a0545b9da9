"""Which tokens of a vocabulary end a sentence: `sentence_end_ids_of`. `infill/sentences.rs` finds the sentences of rows by them."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["sentence_end_ids_of"]


def byte_level(text: str) -> str:
    """Text as byte-level vocabularies spell it: printable bytes of Latin-1 as they are, the others as characters from U+0100 on, in order.

    >>> byte_level(" .")
    'Ġ.'
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return "".join(chr(byte if byte in printable else 0x100 + others.index(byte)) for byte in text.encode())


def either_spelling(texts: str) -> str:
    """A pattern of these characters, as they are or in bytes."""
    return "|".join(re.escape(spelling) for text in texts for spelling in dict.fromkeys((text, byte_level(text))))


# Marks at the beginning of a token, full stops of any script, closing quotes and brackets, white space and marks at the end of a token.
SENTENCE_END = re.compile(
    rf"(?:##|▁|Ġ|\s)*(?:{either_spelling('.!?…。！？।؟۔')})+(?:{either_spelling(chr(34) + ')]}' + chr(39) + '”’»」』）')})*"
    rf"(?:{either_spelling(' ' + chr(10) + chr(13) + chr(9))}|▁)*(?:</w>|@@)?"
)


def sentence_end_ids_of(tokenizer: Any) -> tuple[int, ...]:
    """The ids of the tokens that end a sentence, in every spelling: `.`, `!`, `?`, `Ġ...`, `##.`, `."`, `▁?`, `。`. Tokens with a part of
    a word
    are not among them: those of large vocabularies are abbreviations (`Mr.`).

    Raises:
        ValueError: the vocabulary has no such token.
        TypeError: this is not a tokenizer.
    """
    if not hasattr(tokenizer, "get_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    special = set(tokenizer.all_special_ids)
    ends = {int(number) for token, number in tokenizer.get_vocab().items() if SENTENCE_END.fullmatch(token)} - special
    if not ends:
        raise ValueError(
            "tokenizer: has no token that ends a sentence, such as '.'; pass sentence_end_ids, or sentence_end_ids=() and "
            "sentence_starts with each call."
        )
    return tuple(sorted(ends))
