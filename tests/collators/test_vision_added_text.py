"""Text that a processor adds where it writes out media in an answer is input: only what the assistant wrote trains."""

from __future__ import annotations

import copy
from random import Random

import numpy as np
import pytest
from spanmask import DataCollatorForVisionChat, MaskPolicy
from spanmask.chat.encode import EncodedRow
from spanmask.chat.text.expanded import expanded_row
from support import tiny_processors as zoo

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

PLACES = {
    "llava": {"image": "<image>"},
    "idefics3": {"image": "<image>"},
    "smolvlm": {"image": "<image>"},
    "gemma3": {"image": "<start_of_image>"},
    "qwen2_vl": {kind: f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")},
    "qwen3_vl": {kind: f"<|vision_start|><|{kind}_pad|><|vision_end|>" for kind in ("image", "video")},
    "qwen2_5_omni": {kind: f"<|{kind.upper()}|>" for kind in ("image", "video", "audio")},
}
ENDS = dict.fromkeys(PLACES, "<|im_end|>") | {
    "llava": "</s>",
    "idefics3": "<end_of_utterance>",
    "smolvlm": "<end_of_utterance>",
    "gemma3": "<end_of_turn>",
}
CASES = [(name, kind) for name, places in PLACES.items() for kind in places]
TEMPLATE = (
    "{% for message in messages %}{{ {'user': 'Customer', 'assistant': 'Agent'}[message['role']] + ' says: ' }}"
    "{% for part in message['content'] %}{{ part['text'] if part['type'] == 'text' else PLACES[part['type']] }}{% endfor %}"
    "{{ END + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'Agent says: ' }}{% endif %}"
)


def processor_of(name, end, before="", after=""):
    """A processor whose template writes media where they are in a content, of any role, between these texts."""
    processor = copy.copy(zoo.processor_of(name))
    places = {kind: before + place + after for kind, place in PLACES[name].items()}
    processor.chat_template = f"{{% set PLACES = {places!r} %}}{{% set END = {end!r} %}}{TEMPLATE}"
    return processor


def say(role, *parts):
    return {"role": role, "content": [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]}


def medium(rng, kind):
    return {"type": kind, kind: zoo.video(rng, frames=4) if kind == "video" else zoo.MEDIUM[kind](rng)}


def words(text):
    """A text without spaces, which tokenizers move between tokens. Line breaks stay: processors add them between tiles."""
    return text.replace(" ", "")


def trained_words(collator, batch, row):
    labels = batch["labels"][row]
    return words(collator.processor.tokenizer.decode(labels[labels != -100]))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("before", "after"), [("", ""), ("", "\n"), ("Exhibit: ", " [end of it]")])
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_answers_with_media(name, kind, before, after, side):
    """What the template writes next to a medium is input, too: LLaVA-NeXT's line break, Qwen2-Audio's `Audio 1: `."""
    rng = Random(f"{name} {kind}")
    rows = [
        [say("user", "Show me."), say("assistant", "Sketch one:", medium(rng, kind), " then", medium(rng, kind), "Finished.")],
        [say("user", medium(rng, kind), "More?"), say("assistant", medium(rng, kind)), say("user", "?"), say("assistant", "No.")],
        [say("user", "Draw."), say("assistant", medium(rng, kind), medium(rng, kind), "Both drawn:", medium(rng, kind))],
    ]
    end = ENDS[name]
    collator = DataCollatorForVisionChat(processor_of(name, end, before, after), padding_side=side)
    batch = collator([{"messages": messages} for messages in rows])
    wanted = [f"Sketchone:thenFinished.{end}", f"{end}No.{end}", f"Bothdrawn:{end}"]
    assert [trained_words(collator, batch, row) for row in range(3)] == wanted
    assert collator.report.aligned_rows == 3


def test_what_the_template_writes_next_to_that_trains():
    """Reasoning ends and a call begins next to the medium."""
    rng = Random(7)
    processor = processor_of("qwen3_vl", "<|im_end|>", "Exhibit: ", "\n")
    processor.chat_template = processor.chat_template.replace(
        "{% for part in",
        "{% if message.reasoning_content %}{{ '<think>' + message.reasoning_content + '</think>\n' }}{% endif %}{% for part in",
    ).replace(
        "{{ END + ", "{% for call in message.tool_calls or [] %}{{ '(' + call.function.name + ' now)' }}{% endfor %}{{ END + "
    )
    call = {"type": "function", "function": {"name": "publish", "arguments": {}}}
    answer = say("assistant", medium(rng, "image"), "Here.", medium(rng, "image"))
    answer |= {"reasoning_content": "A sketch will do.", "tool_calls": [call]}
    collator = DataCollatorForVisionChat(processor)
    batch = collator([{"messages": [say("user", "Show me.", medium(rng, "image")), answer]}])
    assert trained_words(collator, batch, 0) == "<think>Asketchwilldo.</think>\nHere.(publishnow)<|im_end|>"


@pytest.mark.parametrize("name", ["idefics3", "qwen3_vl"])
def test_questions_that_train_do_so_without_it(name):
    rng = Random(4)
    kind = "video" if name == "qwen3_vl" else "image"
    policy = MaskPolicy(roles=("user", "assistant"))
    collator = DataCollatorForVisionChat(processor_of(name, ENDS[name]), policy=policy, label_pad_token_id=-7)
    batch = collator([{"messages": [say("user", medium(rng, kind), "Who?"), say("assistant", "Me.")]}])
    labels = batch["labels"][0]
    assert words(collator.processor.tokenizer.decode(labels[labels != -7])).replace(ENDS[name], "|") == "Who?|Me.|"


@pytest.mark.parametrize("name", ["llava", "gemma3"])
def test_media_at_the_end_of_answers_whose_closing_is_plain_text(name):
    """After the placeholder the tokenizer begins the closing with another token than after what the processor writes there."""
    collator = DataCollatorForVisionChat(processor_of(name, " (over)"))
    rng = Random(5)
    rows = [
        [say("user", "Show me."), say("assistant", "Like this:", medium(rng, "image"))],
        [say("user", medium(rng, "image")), say("assistant", medium(rng, "image"), "onyx", medium(rng, "image"))],
    ]
    batch = collator([{"messages": messages} for messages in rows])
    assert [trained_words(collator, batch, row) for row in range(2)] == ["Likethis:(over)", "onyx(over)"]
    assert collator.report.aligned_rows == 2


def test_rows_that_do_not_fit_their_text_are_not_searched_if_contents_hold_tokens():
    """Mllama's processor adds BOS to texts that lack it; an answer that contains its own stop token would end there."""
    processor = copy.copy(zoo.processor_of("mllama"))
    processor.chat_template = processor.chat_template.replace("{{ bos_token }}", "")
    collator = DataCollatorForVisionChat(processor)
    rows = [
        [say("user", medium(Random(6), "image"), "How do turns end?"), say("assistant", answer)]
        for answer in ("With <|im_end|> and a break.", "With a break.")
    ]
    with pytest.warns(UserWarning, match="a search could take the special tokens in its contents"):
        batch = collator([{"messages": messages} for messages in rows])
    assert [trained_words(collator, batch, row) for row in range(2)] == ["", "Withabreak.<|im_end|>"]
    assert collator.report.searched_rows == 1


# --- Rows written by hand -----------------------------------------------------------------------------------------------------------

PLACEHOLDER = 700


@pytest.mark.parametrize(
    ("text", "row", "added"),
    [
        ("a b #", "a b ###", "..###"),
        ("a # b c d # e", "a #x#x# b c d # e", ".#####...#."),
        # A few tokens are found if the processor has added no such text, as often as they occur.
        ("a # b # e", "a #x#x# b #x# e", ".#####.###."),
        ("a # b # c # b # e", "a #x# b #x# c # b # e", ".###.###.#.#."),
        ("a # x # e", "a #x#x# x # e", ".#######."),
        ("a # b # c # e", "a # c # b # x # e", ".#######."),
        # Tokens that merged with what was added hold text; those beside them do not.
        ("a b c d # e f g", "a b c dx ## xe f g", "....##..."),
        ("a b c d # e f g", "a b c d x # x ef g", "....###.."),
    ],
)
def test_added_tokens(text, row, added):
    """Each letter is a token, `dx` and its kin are tokens that hold two, and `#` is a placeholder."""

    def tokens(written):
        return [
            PLACEHOLDER if letters == "#" else 26 * (ord(letters[0]) - 96) + (ord(letters[1]) - 96 if letters[1:] else 0)
            for word in written.replace("#", " # ").split()
            for letters in [word]
        ]

    def letter(number):
        return chr(96 + number) if number else ""

    def decode(ids):
        return "".join("#" if token == PLACEHOLDER else letter(token // 26) + letter(token % 26) for token in ids)

    encoded = EncodedRow(tokens(text), [])
    _, flags = expanded_row(encoded, np.array(tokens(row)), [PLACEHOLDER], ["assistant"], decode)
    assert "".join("#" if flag else "." for flag in flags) == added
