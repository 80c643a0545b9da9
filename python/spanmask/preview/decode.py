"""Token ids -> text that is safe to show."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["TokenDecoder", "spell_controls"]

# How many tokens before a piece of text are decoded with it: enough for the parts of a character, and for the space that
# SentencePiece drops at the start of a text.
CONTEXT = 8
# Characters of these categories are shown as their number: they move the cursor, reverse the text around them, break lines, cannot be
# written (halves of surrogate pairs), or are invisible, and would hide from the eyes what a model reads. The two joiners shape the
# letters around them.
HIDDEN = frozenset(["Cc", "Cf", "Cs", "Zl", "Zp"])
JOINERS = frozenset("\u200c\u200d")


@dataclass(eq=False, repr=False)
class TokenDecoder:
    """The text of tokens at their position in a row, from any tokenizer with `decode`.

    Attributes:
        tokenizer: decodes the ids.
        size: the number of ids that it has.
        names: special and added tokens by id.

    Raises:
        TypeError: `tokenizer` has no `decode`.
    """

    tokenizer: Any
    size: int = field(init=False)
    names: dict[int, str] = field(init=False)
    _alone: dict[int, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tokenizer = self.tokenizer
        if not callable(getattr(tokenizer, "decode", None)):
            raise TypeError(f"tokenizer: expected a tokenizer with decode(), got {type(tokenizer).__name__}.")
        self.size = len(tokenizer)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.names = {int(number): str(token) for number, token in added.items()}
        self.names |= zip(getattr(tokenizer, "all_special_ids", ()), getattr(tokenizer, "all_special_tokens", ()), strict=True)

    def special(self, token: int) -> str | None:
        """The name of a special or added token, or of an id that the tokenizer does not have; `None` for an ordinary token."""
        if token in self.names:
            return self.names[token]
        return None if 0 <= token < self.size else f"<{token}>"

    def text(self, ids: npt.NDArray[Any], start: int, stop: int) -> str:
        """The text that ids[start:stop] add to the text of the ids before them.

        They are decoded together with some ids before them; then the text of those alone is removed. Decoded by themselves they
        could lose their leading space, or become replacement characters where `start` is inside a character.
        """
        before = start
        while before > max(0, start - CONTEXT) and 0 <= ids[before - 1] < self.size:
            before -= 1
        context, whole = self.decode(ids[before:start]), self.decode(ids[before:stop])
        shared = 0
        while shared < min(len(context), len(whole)) and context[shared] == whole[shared]:
            shared += 1
        return whole[shared:]

    def pieces(self, ids: npt.NDArray[Any], start: int, stop: int) -> tuple[tuple[int, str], ...]:
        """The text of ids[start:stop] token by token: how many tokens (several if they share a character), and their text.

        Nearly all tokens have the same text after any other, which is found once. Where the texts do not add up, each is found in its
        place.
        """
        texts = [self._after_another(int(token)) for token in ids[start:stop]]
        if "".join(texts) == self.text(ids, start, stop):
            return tuple((1, text) for text in texts)
        found, at = [], start
        while at < stop:
            end = at + 1
            while "\ufffd" in (text := self.text(ids, at, end)) and end < min(stop, at + CONTEXT):
                end += 1
            found.append((end - at, text))
            at = end
        return tuple(found)

    def _after_another(self, token: int) -> str:
        """The text of a token after another one; SentencePiece drops the space before the first."""
        if token not in self._alone:
            other = next(iter(self._alone), token)
            self._alone[token] = self.text(np.array([other, token]), 1, 2)
        return self._alone[token]

    def decode(self, ids: npt.NDArray[Any]) -> str:
        """The text of ids, unchanged and with special tokens."""
        text: str = self.tokenizer.decode(
            ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False, spaces_between_special_tokens=False
        )
        return text


def spell_controls(text: str) -> str:
    """The text with control characters and invisible ones as their number. Newlines stay."""
    if text.isascii() and text.isprintable():
        return text
    shown = "\n" + "".join(JOINERS)
    return "".join(
        f"<U+{ord(char):04X}>" if unicodedata.category(char) in HIDDEN and char not in shown else char for char in text
    )
