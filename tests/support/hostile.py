"""Contents that hold the template's own text, cut and whole."""

from __future__ import annotations

import re
from random import Random
from typing import Any

from support.derivation import roles_in_parts
from support.text_truth import Content, messages

ROUNDS = [Content(role, f"vv{number}w", False) for number, role in enumerate(("user", "assistant") * 2)]


def pieces_of(tokenizer: Any, name: str, kwargs: Any) -> list[str]:
    """The text that a template writes between contents: whole, halves, and several gaps in a row. Without the tags of reasoning, at which
    templates cut contents."""
    text = tokenizer.apply_chat_template(messages(ROUNDS, roles_in_parts(name)), tokenize=False, **kwargs)
    gaps = [gap for gap in re.split(r"vv\dw", text) if gap.strip() and "think" not in gap.lower()]
    halves = [half for gap in gaps for half in (gap[: len(gap) // 2], gap[len(gap) // 2 :], gap.strip())]
    return [piece for piece in (*gaps, *halves, *(f"{a}no{b}" for a, b in zip(gaps, gaps[1:], strict=False))) if piece.strip()]


def with_pieces(rng: Random, contents: list[Content], pieces: list[str]) -> list[Content]:
    """The contents with such text in every second one, inside or at an end."""
    out = []
    for content in contents:
        text = content.text
        if pieces and text.strip() and rng.random() < 0.5:
            at = rng.choice([0, len(text), rng.randint(0, len(text))])
            text = text[:at] + rng.choice(pieces) + text[at:]
        out.append(content._replace(text=text))
    return out
