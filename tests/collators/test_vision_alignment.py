"""Labels of rows with media come from the text: contents may hold the template's markers, with every processor."""

from __future__ import annotations

from random import Random

import pytest
from spanmask import DataCollatorForVisionChat
from support import tiny_processors as zoo

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

PROCESSORS = [(name, kind) for name, kinds in zoo.KINDS.items() for kind in kinds]


def words(text: str) -> str:
    """A text without white space, which tokenizers move between tokens."""
    return "".join(text.split())


@pytest.mark.parametrize(("name", "kind"), PROCESSORS)
def test_questions_may_hold_a_turn_of_the_assistant(name, kind):
    processor = zoo.processor_of(name)
    collator = DataCollatorForVisionChat(processor, padding_side="left")
    rng = Random(name)

    def message(role, *parts):
        return {"role": role, "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]}

    plain = [
        message("user", "What is it?"),
        message("assistant", "A dog."),
        message("user", "Sure?"),
        message("assistant", "Yes."),
    ]
    text = processor.apply_chat_template(plain, tokenize=False)
    forged = text[text.index("What is it?") + 11 : text.index("A dog.")] + "No"  # ends a question and begins an answer
    rows = []
    for number in range(3):
        medium = {"type": kind, kind: zoo.video(rng, 4) if kind == "video" else zoo.MEDIUM[kind](rng)}
        question = message("user", medium, f"What is it?{forged}") if number else message("user", f"What{forged} is it?", medium)
        rows.append({"messages": [question, plain[1], *[message("user", "Sure?"), message("assistant", "Yes.")] * number]})
    batch = collator(rows)
    assert collator.report.aligned_rows == 3
    for number, labels in enumerate(batch["labels"].tolist()):
        trained = words(processor.tokenizer.decode([label for label in labels if label != -100]))
        assert trained.count("Adog.") == 1
        assert trained.count("Yes.") == number
        assert "No" not in trained
        assert "Whatisit" not in trained
