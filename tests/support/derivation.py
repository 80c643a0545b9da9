"""Checks of derived formats for the tests and `benches/derive_table.py`: known differences, random conversations, masks."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from random import Random
from typing import Any

from spanmask import ChatFormat, MaskPolicy, SpanmaskWarning, mask_labels
from support.chat_templates import STYLES, UNDERIVABLE, special_looking
from support.text_truth import ROLES, Content, conversation, messages, shapes
from support.trl_templates import PARTS, TEMPLATES, without_marks
from support.vocabularies import tokenizer_of

SPECIAL = special_looking([*TEMPLATES.values()])

# Templates that are derived, but not for all kinds of conversations: the kinds, and why.
PARTLY = {
    **dict.fromkeys(
        ("gemma4", "gemma4_v3", "gemma4_v4"),
        (("text before tool calls",), "after text, a call and its result, the answer has no header"),
    ),
    **dict.fromkeys(
        ("deepseekv3", "deepseekv3_training"),
        (("tool calls in several rounds",), "the calls of the second round have no header"),
    ),
    "hunyuan_placeholder": (("tool calls",), "a tool result is written as an answer"),
    "vicuna": (("tool calls",), "a tool result is written as an answer"),
    **dict.fromkeys(
        ("system_as_assistant", "plain_roles_and_separator"),
        (("system messages", "tool calls"), "system messages and tool results are written as answers"),
    ),
    "answer_header_in_question": (("tool calls",), "the answer after a result has no header"),
    "answer_continues_result": (("system messages",), "a system message is written as an answer"),
}
# Orders and roles that few conversations have: the kinds that a format names without a warning.
TWO = "two assistant messages in a row"
LATE = ("system messages after the first message", "an assistant message after a system message")
FIRST = "an assistant message first"
ALONE = "tool results without a call"
ROLES_OF_OTHERS = ("developer messages", "function messages", "observation messages", "other roles")
RARELY = {
    **dict.fromkeys(("gemma4", "gemma4_v3", "gemma4_v4"), (TWO, ALONE)),
    "glm4moe": (TWO,),
    **dict.fromkeys(("llava_next", "llava_next_training"), (TWO, *LATE, FIRST)),
    **dict.fromkeys(("vicuna", "hunyuan_placeholder"), (*LATE, *ROLES_OF_OTHERS)),
    **dict.fromkeys(("system_as_assistant", "plain_roles_and_separator", "answer_continues_result"), ROLES_OF_OTHERS),
    **dict.fromkeys(("alpaca", "baichuan", "ziya", "phi2"), LATE),
    **dict.fromkeys(
        ("mistral_v3", "mistral_v7", "mistral_ids", "answer_header_in_question"), (TWO, *LATE, FIRST, *ROLES_OF_OTHERS)
    ),
    **dict.fromkeys(("chatglm3", "glm4_calls"), (TWO, "other roles")),
    "parts_llava": (*LATE, "other roles"),
    "roles_as_headings": ("other roles",),
    "react": (*LATE, *ROLES_OF_OTHERS),
    # not rendered, for another reason than a refusal
    "sailor": ("tool calls", ALONE, *ROLES_OF_OTHERS),
    "parts_for_users": ROLES_OF_OTHERS,
}
# Where transformers' mask differs from ours: (whose tokens train, their texts or None for any), and why.
BREAK = ("theirs", {"\n"}, "the line break after the stop token: the model stops before it")
HEADER = ("theirs", None, "the marks enclose the header, which the generation prompt supplies")
CONVENTIONS = {
    "deepseek_r1_distill": HEADER,
    "deepseekv3": HEADER,
    "gptoss": HEADER,
    "muse_glimmer": HEADER,
    "phi3": ("theirs", {"\n", "</s>"}, "line break and EOS after the stop token"),
    "phi3_5": ("theirs", {"\n", "</s>"}, "line break and EOS after the stop token"),
    **dict.fromkeys(
        (
            "diffusion_gemma",
            "gemma",
            "gemma3",
            "idefics3",
            "lfm2",
            "lfm2_2_5",
            "lfm2_2_5_v2",
            "lfm2_2_5_vl",
            "lfm2_v2",
            "smolvlm",
        ),
        BREAK,
    ),
    **dict.fromkeys(("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"), BREAK),
    **dict.fromkeys(("qwen2_5", "qwen2_5_vl", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8"), BREAK),
    **dict.fromkeys(("qwen3_instruct_2507", "qwen3_vl"), BREAK),
}


def tokenizer_with(source: str, name: str, kind: str) -> tuple[Any, Mapping[str, object]]:
    """A tokenizer with a template of TRL (`"trl"`) or of `STYLES` or `UNDERIVABLE` (`"style"`), and the variables that the template
    requires."""
    style = (STYLES | UNDERIVABLE)[name] if source == "style" else None
    tokenizer = tokenizer_of(kind, style.special if style else SPECIAL)
    tokenizer.chat_template = style.template if style else without_marks(TEMPLATES[name])
    return tokenizer, style.kwargs if style else {}


@cache
def derived_format(source: str, name: str, kind: str) -> tuple[Any, Mapping[str, object], ChatFormat]:
    """A tokenizer, the variables of its template, and the format that is derived from it without regard to warnings."""
    tokenizer, kwargs = tokenizer_with(source, name, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        return tokenizer, kwargs, ChatFormat.from_tokenizer(tokenizer, **kwargs)


def roles_in_parts(name: str) -> tuple[str, ...]:
    """The roles whose content a template accepts as a list of parts."""
    if name == "parts_for_users":
        return ("user",)
    return ROLES if name.startswith(("parts", *PARTS)) else ()


def conversations(tokenizer: Any, name: str, kwargs: Mapping[str, object], count: int) -> Iterator[tuple[list[Content], str]]:
    """Random conversations that the template accepts, with their text; without system messages if the template refuses them."""
    rng = Random(f"{name} {count}")
    every = shapes(system=True, tail=True)
    for number in range(count):
        contents = conversation(rng, every[number % len(every)])
        for some in (contents, contents[1:] if contents[0].role == "system" else contents):
            try:
                text = tokenizer.apply_chat_template(messages(some, roles_in_parts(name)), tokenize=False, **kwargs)
            except Exception:
                continue
            shown = [content for content in some if content.role != "system" or content.text.strip() in text]
            if shown[0].role != "system" or "system messages" not in PARTLY.get(name, ((),))[0]:
                yield shown, text
            break


def trained(tokenizer: Any, text: str, chat_format: ChatFormat, policy: MaskPolicy | None = None) -> list[bool]:
    """Which tokens of a text train."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [label != -100 for label in mask_labels([ids], chat_format, policy).labels.to_list()[0]]
