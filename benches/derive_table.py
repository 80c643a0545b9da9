"""Write docs/reference/derived-templates.md: which chat templates `ChatFormat.from_tokenizer` derives, and how that was checked.

python benches/derive_table.py [conversations per template]
"""

from __future__ import annotations

import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from spanmask import ChatFormat, ChatFormatError, SpanmaskWarning  # noqa: E402
from support.chat_templates import STYLES, UNDERIVABLE  # noqa: E402
from support.derivation import CONVENTIONS, PARTLY, conversations, tokenizer_with, trained  # noqa: E402
from support.text_truth import faults  # noqa: E402
from support.trl_templates import MARKED, TEMPLATES  # noqa: E402
from support.vocabularies import KINDS  # noqa: E402

SHOWN = 2  # prefills per template; the others are counted
HEAD = """# Derived chat templates

See whether the markers of your chat template can be derived, and which conversations they do not cover.
The page is written by `benches/derive_table.py`. It lists every chat template in TRL's wheel, and templates written in the style of public
formats (the names without *TRL*). Each was derived with {kinds} small tokenizers, one column per tokenizer.

- **right 60**: the masks of 60 random conversations of system, user and assistant messages were compared with the rendered text. In all of
  them every token wholly inside an answer trains, no token wholly inside another message does, and the stop token after an answer trains.
- **WRONG 1 of 60**, **refused**, **not checked**: a mask was wrong in one of them; the derivation raised `ChatFormatError`; the template
  rendered none of the conversations.
- **prefills**: what the generation prompt puts after the assistant's header, as text; each is one of `chat_format.generation_prefills`.
- **notes**: where the mask of transformers (`return_assistant_tokens_mask`, from the marks in the template) trains other tokens, which are
  always outside the messages' contents; and the kinds of conversations in `chat_format.uncovered`.

Reasoning and tool calls are compared during the derivation itself, and in `tests/chat/template/`; this table has plain conversations only.

| template | {columns} | prefills | notes |
|---|{rules}---|---|
"""


def main(count: int) -> None:
    """Derive the formats, check them, and write the page."""
    tally: Counter[str] = Counter()
    seconds: list[float] = []
    lines = []
    for source, name in [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in (*STYLES, *UNDERIVABLE))]:
        cells: list[str] = []
        prefills: dict[str, None] = {}
        uncovered: dict[str, None] = {}
        for kind in KINDS:
            tokenizer, kwargs = tokenizer_with(source, name, kind)
            began = time.process_time()
            chat_format = derive(tokenizer, kwargs)
            seconds.append(time.process_time() - began)
            cells.append(verdict(tokenizer, chat_format, name, kwargs, count) if chat_format else "refused")
            tally[f"{kind} {cells[-1].rstrip(' 0123456789of')}"] += 1
            if chat_format:
                prefills |= dict.fromkeys(tokenizer.decode(ids).strip() for ids in chat_format.generation_prefills)
                uncovered |= dict.fromkeys(chat_format.uncovered)
        stem = name.removesuffix("_training")
        notes = [CONVENTIONS[stem][2]] if name in MARKED and stem in CONVENTIONS and source == "trl" else []
        reason = f" ({PARTLY[name][1]})" if name in PARTLY else ""
        notes += [f"not covered: {', '.join(uncovered)}{reason}"] if uncovered else []
        lines.append(
            f"| {'TRL ' if source == 'trl' else ''}{name} | {' | '.join(cells)} | {folded([*prefills])} | {'; '.join(notes)} |\n"
        )
    total = ", ".join(f"{what} {number}" for what, number in sorted(tally.items()))
    head = HEAD.format(kinds=len(KINDS), columns=" | ".join(KINDS), rules="---|" * len(KINDS))
    target = ROOT / "docs" / "reference" / "derived-templates.md"
    target.write_text(f"{head}{''.join(lines)}\nTemplates in all: {total}.\n", encoding="utf-8")
    print(f"{total}; CPU seconds per derivation: median {sorted(seconds)[len(seconds) // 2]:.2f}, most {max(seconds):.2f}")


def derive(tokenizer: Any, kwargs: Mapping[str, object]) -> ChatFormat | None:
    """The format, or None if its derivation is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        try:
            return ChatFormat.from_tokenizer(tokenizer, **kwargs)
        except ChatFormatError:
            return None


def verdict(tokenizer: Any, chat_format: ChatFormat, name: str, kwargs: Mapping[str, object], count: int) -> str:
    """`right 60`, `WRONG 1 of 60`, or `not checked`."""
    wrong = checked = 0
    for contents, text in conversations(tokenizer, name, kwargs, count):
        checked += 1
        wrong += bool(faults(tokenizer, text, contents, trained(tokenizer, text, chat_format)))
    if not checked:
        return "not checked"
    return f"WRONG {wrong} of {checked}" if wrong else f"right {checked}"


def folded(prefills: Sequence[str]) -> str:
    """The first prefills, and the number of the others: alternatives that differ only in the tokens of their last character."""
    shown = " ".join(f"`{prefill!r}`" for prefill in prefills[:SHOWN])
    return f"{shown} and {len(prefills) - SHOWN} alternatives" if len(prefills) > SHOWN else shown


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 60)
