"""The ids that stand for images, videos and sounds in a processor's output: they never train."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["media_ids"]

# Lists on the processor. Not `image_token_id`: for Gemma3 that is the `<start_of_image>` in front of the soft tokens.
PLACEHOLDER_LISTS = ("image_token_ids", "video_token_ids", "audio_token_ids")
# Older processors have only these.
PLACEHOLDERS = ("image_token_id", "video_token_id", "audio_token_id")
# What a processor wraps around placeholders has no list of its own, but names that tell: <|vision_start|>, <start_of_image>,
# <fake_token_around_image>, <row_2_col_1>, <global-img>, [IMG_BREAK], <|audio_bos|>.
WRAPPER = re.compile(r"image|vision|video|audio|(?<![a-z])img(?![a-z])|row_\d+_col_\d+", re.IGNORECASE)


def media_ids(processor: Any) -> tuple[int, ...]:
    """Placeholder and wrapper ids of `processor`, ascending; empty for a plain tokenizer without such tokens.

    Args:
        processor: a transformers processor, or a tokenizer.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    ids: set[int] = set()
    for name in PLACEHOLDER_LISTS:
        listed = getattr(processor, name, None) or ()
        ids.update(token_id for token_id in listed if token_id is not None)  # LLaVA has [None] for videos
    for name in PLACEHOLDERS:
        for owner in (processor, tokenizer):
            token_id = getattr(owner, name, None)
            if isinstance(token_id, int):
                ids.add(token_id)
    added = getattr(tokenizer, "added_tokens_decoder", {})
    ids.update(token_id for token_id, token in added.items() if WRAPPER.search(str(token)) and len(str(token)) > 3)
    return tuple(sorted(ids))
