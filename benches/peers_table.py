"""Write docs/reference/compared-with-trl.md: which tokens TRL's `assistant_only_loss` trains and ours does not, template by template.

python benches/peers_table.py
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import trl  # noqa: E402
from spanmask import SpanmaskWarning  # noqa: E402
from support.peers import CONVERSATIONS, NAMES, Peer, table_row  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "compared-with-trl.md"
HEAD = """# Compared with TRL's assistant_only_loss
<!-- given: tokenizer -->

See which tokens spanmask and TRL's `assistant_only_loss` train differently, and how to train exactly what TRL trains.
The page is written by `benches/peers_table.py`, and the tests check its table. TRL's `assistant_only_loss` trains what
transformers' `return_assistant_tokens_mask` returns for a template with `{{% generation %}}` marks; TRL keeps {count} such templates.
The table compares that mask with the labels of the default `MaskPolicy()`, which reads no marks, token by token on the same ids. The
conversations: {kinds}.

Both train the same tokens of every answer, call and written reasoning. What differs is at the edges:

- **generation prompt**: tokens that the template's generation prompt supplies at inference. The marks enclose them, although the
  model never writes them. We leave them out.
- **empty reasoning**: blocks such as `<think></think>`, or what a prefill leaves of them, that the template writes where an answer has
  no reasoning. The marks enclose them. We leave them out.
- **header**: the marks begin before or inside the assistant's header, which the generation prompt supplies too. We leave it out.
- **after the stop token**: the marks enclose the line break (or a second EOS) after the stop token. Generation ends at the stop
  token, so nothing after it is ever needed. We leave it out.
- **others**: tokens that only we train: the token at which the model stops although it opens the next header. (GLM has such tokens
  too; there the marks enclose them, so both train them.) "Theirs: other turn" is a line break after the stop token that the derived
  format counts as a part of the next header.

TRL {version}, a byte-level tokenizer. Empty cells: no difference. "As TRL": whether the options below the table give exactly TRL's
mask. "Refused": conversations that the template does not render.

| template | generation prompt | empty reasoning | header | after the stop token | others | as TRL | refused |
|---|---|---|---|---|---|---|---|
"""
TAIL = """
## Train what TRL trains

To go on with a run, or to compare losses, train the same tokens:

| column of the table | option |
|---|---|
| generation prompt | `MaskPolicy(train_generation_prefill=True)`; where it is an empty block of reasoning, also `reasoning="train"` |
| empty reasoning | `MaskPolicy(reasoning="train")` |
| header | `MaskPolicy(include_start=True)`; only its line break: a format whose header is a token shorter |
| after the stop token | a format whose answers close with that text too |
| others | a format without `stop_token_ids` |

For a ChatML template whose marks enclose both line breaks, that of the header and that after the stop token (Qwen2.5):

```python
from dataclasses import replace

from spanmask import ChatFormat, mask_labels

chat_format = ChatFormat.from_tokenizer(tokenizer)
(line_break,) = tokenizer("\\n", add_special_tokens=False)["input_ids"]


def like_trl(boundary):
    if boundary.role != "assistant":
        return boundary
    starts = [start[:-1] for start in boundary.start]
    ends = [(*end, line_break) for end in boundary.end]
    return replace(boundary, start=starts, end=[*ends, *boundary.end])


same = replace(
    chat_format, boundaries=[like_trl(boundary) for boundary in chat_format.boundaries]
)
messages = [
    {"role": "user", "content": "Who was that?"},
    {"role": "assistant", "content": "a bird"},
]
ids = tokenizer.apply_chat_template(messages, return_dict=False)
for made in (chat_format, same):
    (labels,) = mask_labels([ids], made).labels
    print(repr(tokenizer.decode(labels[labels != -100])))
```

```text
'a bird<|im_end|>'
'\\na bird<|im_end|>\\n'
```

Pass it as `train_on_answers(trainer, chat_format=same)` or `DataCollatorForChat(tokenizer, chat_format=same)`.
"""


def main() -> None:
    """Compare, and write the page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)  # formats that leave out kinds of conversations
        rows = [table_row(Peer(name)) for name in NAMES]
    kinds = ", ".join(CONVERSATIONS)
    head = HEAD.format(count=len(NAMES), kinds=kinds, version=trl.__version__)
    PAGE.write_text(head + "\n".join(rows) + "\n" + TAIL, encoding="utf-8")


if __name__ == "__main__":
    main()
