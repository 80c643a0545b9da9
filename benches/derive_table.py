"""Write docs/reference/derived-templates.md: which chat templates `ChatFormat.from_tokenizer` derives, and how that was checked.

python benches/derive_table.py [conversations a template]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from chat.test_derive import CONVENTIONS, PARTLY, conversations, trained  # noqa: E402
from spanmask import ChatFormat, ChatFormatError, SpanmaskWarning  # noqa: E402
from support.chat_templates import STYLES, special_looking  # noqa: E402
from support.text_truth import faults  # noqa: E402
from support.trl_templates import MARKED, TEMPLATES, without_marks  # noqa: E402
from support.vocabularies import KINDS, tokenizer_of  # noqa: E402

HEAD = """# Derived chat templates

Written by `benches/derive_table.py`. Every chat template of TRL's wheel, and templates written in the manner of public formats, each with
{kinds} tokenizers trained on the spot. *right 60* means: in 60 random conversations every token inside an answer trains, none inside
another content does, and the stop token behind an answer trains, as told by the characters of the rendered text. *Heads*: what the
generation prompt puts behind the assistant's header. *Notes*: where the mask of transformers (`return_assistant_tokens_mask`, from the
marks in the template) trains other tokens, always outside the contents; and what a format does not cover.

| template | {columns} | heads | notes |
|---|{rules}---|---|
"""


def main(count: int) -> None:
    """Derive, check, write."""
    special = special_looking([*TEMPLATES.values()])
    tally: Counter[str] = Counter()
    seconds = 0.0
    lines = []
    for source, name in [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in STYLES)]:
        style = STYLES[name] if source == "style" else None
        cells: list[str] = []
        heads: dict[str, None] = {}
        for kind in KINDS:
            tokenizer = tokenizer_of(kind, style.special if style else special)
            tokenizer.chat_template = style.template if style else without_marks(TEMPLATES[name])
            kwargs = style.kwargs if style else {}
            began = time.perf_counter()
            chat_format = derive(tokenizer, kwargs)
            seconds += time.perf_counter() - began
            cells.append(verdict(tokenizer, chat_format, name, kwargs, count) if chat_format else "refused")
            tally[f"{kind} {cells[-1].split()[0]}"] += 1
            heads |= dict.fromkeys(
                tokenizer.decode(ids).strip() for ids in (chat_format.generation_prefills if chat_format else ())
            )
        stem = name.removesuffix("_training")
        notes = [CONVENTIONS[stem][2]] if name in MARKED and stem in CONVENTIONS and source == "trl" else []
        notes += [f"not covered: {PARTLY[name]}"] if name in PARTLY else []
        shown = " ".join(f"`{head!r}`" for head in heads)
        lines.append(f"| {'TRL ' if source == 'trl' else ''}{name} | {' | '.join(cells)} | {shown} | {'; '.join(notes)} |\n")
    total = ", ".join(f"{what} {number}" for what, number in sorted(tally.items()))
    head = HEAD.format(kinds=len(KINDS), columns=" | ".join(KINDS), rules="---|" * len(KINDS))
    target = ROOT / "docs" / "reference" / "derived-templates.md"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"{head}{''.join(lines)}\nIn all: {total}.\n", encoding="utf-8")
    print(f"{total}; {seconds / sum(tally.values()):.2f} s a derivation")


def derive(tokenizer: object, kwargs: object) -> ChatFormat | None:
    """The format, None where it is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        try:
            return ChatFormat.from_tokenizer(tokenizer, **kwargs)
        except ChatFormatError:
            return None


def verdict(tokenizer: object, chat_format: ChatFormat, name: str, kwargs: object, count: int) -> str:
    """`right 60`, or `WRONG 1 of 60`."""
    wrong = checked = 0
    for contents, text in conversations(tokenizer, name, kwargs, count):
        if name == "system_as_assistant" and contents[0].role == "system":
            continue
        checked += 1
        wrong += bool(faults(tokenizer, text, contents, trained(tokenizer, text, chat_format)))
    return f"WRONG {wrong} of {checked}" if wrong else f"right {checked}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
