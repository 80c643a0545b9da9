"""The ids that represent images, video and audio in a processor's output, and the tokens around them: input that must never train."""

from __future__ import annotations

import re
from typing import Any

from spanmask.chat.tokens import added_token_ids, added_vocabulary, text_tokenizer

__all__ = ["media_ids"]

MEDIA = r"(?<![a-zA-Z])(?:image|img|video|audio|vision|boi|eoi|boa|eoa)"
# Patterns as text: `re` compiles and caches them at their first use, so that `import spanmask` does not pay 1 to 2 ms for them.
ATTRIBUTE = rf"(?:^|_){MEDIA}(?:_|$).*token(?:_ids?)?$"
# Wrappers that processors write as text, recognized by name. Tokens that a model may produce (`<|box_start|>`, speech codes) are left out.
WRAPPER = (
    rf"(?i){MEDIA}_?(?:start|begin|end|bos|eos|sep|break|pad|newline|soft_token|token)?\W*$|(?:start|begin|end)_of_{MEDIA}\W*$"
    r"|row_\d+_col_\d+|global-img|fake_token_around_image"
)


def media_ids(processor: Any) -> tuple[int, ...]:
    """Ids of placeholders and wrappers, ascending.

    Three sources: the processor's own lists (`image_token_ids`), because its `image_token_id` may be another token (Gemma 3: the one that
    represents an image before it is expanded); every attribute of the processor and the tokenizer that is named after a medium; and
    added tokens with the name of a wrapper.
    """
    tokenizer = text_tokenizer(processor)
    added = added_vocabulary(tokenizer)
    added_ids = added_token_ids(tokenizer)
    found: set[int] = set()
    for owner in (processor, tokenizer):
        names = {
            *vars(owner),
            "image_token_ids",
            "video_token_ids",
            "audio_token_ids",
            *getattr(tokenizer, "SPECIAL_TOKENS_ATTRIBUTES", ()),
        }
        for name in sorted(names):
            if re.search(ATTRIBUTE, name):
                value = getattr(owner, name, None)
                for item in value if isinstance(value, (list, tuple)) else [value]:
                    token = added.get(item) if isinstance(item, str) else item
                    if isinstance(token, int) and not isinstance(token, bool) and token in added_ids:
                        found.add(token)
    found |= {token for text, token in added.items() if re.search(WRAPPER, text)}
    return tuple(sorted(found))
