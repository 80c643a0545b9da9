"""Placeholders of media inside texts, as LLaVA's data has them: `<image>`, `<video>`, `<audio>`."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["split_media_text"]

# Patterns as text: see `spanmask.chat.media`.
PLACEHOLDER = r"<(image|video|audio)>"
LINE_OF_MEDIA = rf"[ \t]*(?:{PLACEHOLDER}[ \t]*)+"
LINE_BREAK = r"(\r?\n)"


def split_media_text(text: str) -> list[dict[str, Any]]:
    r"""Split a text at its placeholders of media into the parts that templates take.

    LLaVA separates an image from the text by a line break. It is not part of the text: templates write their own separator, or none.
    Placeholders on a line of their own thus take the line breaks at both ends of that line with them, and the blanks in it. The white space
    around a placeholder inside a line stays in the texts.

    Args:
        text: a content.

    Returns:
        The parts in the order of the text: `{"type": "text", "text": ...}`, `{"type": "image"}`, `{"type": "video"}`,
        `{"type": "audio"}`. There is no empty text part, unless the whole text is empty.

    >>> split_media_text("<image>\nWhat is it?")
    [{'type': 'image'}, {'type': 'text', 'text': 'What is it?'}]
    >>> split_media_text("Is <image> a cat?")
    [{'type': 'text', 'text': 'Is '}, {'type': 'image'}, {'type': 'text', 'text': ' a cat?'}]
    """
    pieces = re.split(LINE_BREAK, text)  # lines at even indices, the line breaks between them at odd ones
    is_media = [bool(re.fullmatch(LINE_OF_MEDIA, line)) for line in pieces[::2]]
    parts: list[dict[str, Any]] = []
    pending = ""
    for number, line in enumerate(pieces[::2]):
        if number and not is_media[number - 1] and not is_media[number]:
            pending += pieces[2 * number - 1]
        texts = re.split(PLACEHOLDER, line)  # texts at even indices, kinds of media at odd ones
        for at, kind in enumerate(texts[1::2]):
            pending += "" if is_media[number] else texts[2 * at]
            if pending:
                parts.append({"type": "text", "text": pending})
            parts.append({"type": kind})
            pending = ""
        pending += "" if is_media[number] else texts[-1]
    if pending or not parts:
        parts.append({"type": "text", "text": pending})
    return parts
