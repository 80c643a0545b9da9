"""Rows of ids with messages beside them: no alarm about masks that are right, and one about those that are not."""

from __future__ import annotations

import warnings

import pytest
from spanmask import ChatFormat, ChatFormatError, DataCollatorForChat, MaskPolicy, SpanmaskWarning
from transformers import ByT5Tokenizer

LOOP, END = "{% for m in messages %}", "{% endfor %}"
HEADER_IN_QUESTION = (
    LOOP + "{% if m.role == 'user' %}<|ask|>{{ m.content }}<|say|>{% else %}{{ m.content }}<|fin|>{% endif %}" + END
)
PLAIN = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}" + LOOP
    + "{% if m.role == 'user' %} HUMAN: {{ m.content }}{% elif m.role == 'assistant' %} MACHINE: {{ m.content }}<|fin|>{% endif %}" + END
    + "{% if add_generation_prompt %} MACHINE:{% endif %}"
)  # fmt: skip
ENDLESS_RESULTS = (
    LOOP
    + "<|s|>{{ m.role }}\n{{ m.content }}{% if m.role != 'tool' %}<|fin|>{% endif %}"
    + END
    + "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
)


def tokenizer_with(template):
    tokenizer = ByT5Tokenizer()
    tokenizer.add_tokens(["<|ask|>", "<|say|>", "<|fin|>", "<|s|>"], special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def talk(*roles):
    return [{"role": role, "content": f"q{number} said"} for number, role in enumerate(roles)]


def collated(template, messages, ids_of=None, **policy):
    tokenizer = tokenizer_with(template)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        collator = DataCollatorForChat(tokenizer, return_tensors="np", policy=MaskPolicy(on_role_mismatch="raise", **policy))
        ids = tokenizer.apply_chat_template(ids_of or messages, return_dict=False)
        labels = collator([{"input_ids": ids, "messages": messages}])["labels"][0]
        return labels.tolist(), collator([{"messages": messages}])["labels"][0].tolist()


@pytest.mark.parametrize(
    ("template", "roles"),
    [
        (HEADER_IN_QUESTION, ("user", "assistant", "user")),
        (HEADER_IN_QUESTION, ("user", "user", "assistant")),
        (PLAIN, ("system", "user", "assistant")),
        (PLAIN, ("system", "user", "assistant", "user", "assistant", "user")),
        (PLAIN, ("developer", "user", "assistant")),
        (ENDLESS_RESULTS, ("developer", "user", "assistant", "tool", "assistant")),
        (ENDLESS_RESULTS, ("user", "assistant", "critic", "assistant")),
    ],
)
def test_right_masks_raise_no_alarm(template, roles):
    by_search, by_text = collated(template, talk(*roles))
    assert by_search == by_text


@pytest.mark.parametrize(
    ("template", "rendered", "roles"),
    [
        (HEADER_IN_QUESTION, ("user", "assistant"), ("user", "assistant", "assistant")),
        (PLAIN, ("user", "assistant", "user", "assistant"), ("user", "assistant")),
        (ENDLESS_RESULTS, ("user", "assistant"), ("user", "assistant", "critic", "assistant")),
        # the result runs on into the message of a role that the format lacks
        (ENDLESS_RESULTS, *[("user", "assistant", "tool", "critic", "assistant")] * 2),
    ],
)
def test_other_turns_than_those_of_the_messages_are_named(template, rendered, roles):
    with pytest.raises(ValueError, match="messages: row 0"):
        collated(template, talk(*roles), ids_of=talk(*rendered))


def test_a_number_before_a_header_is_an_error_not_a_part_of_the_answer():
    template = (
        "{% set ns = namespace(n=1) %}" + LOOP
        + "{% if m.role == 'user' %}[Round {{ ns.n }}]{{ '\\n\\n' }}Q: {{ m.content }}{{ '\\n\\n' }}A: "
        + "{% else %}{{ m.content }}{{ '\\n\\n' }}{% set ns.n = ns.n + 1 %}{% endif %}" + END
    )  # fmt: skip
    with pytest.raises(ChatFormatError, match="Round"):
        ChatFormat.from_tokenizer(tokenizer_with(template))


def test_a_role_that_a_derived_format_lacks_trains_in_messages():
    template = (
        LOOP + "<|s|>{{ m.role }}\n{{ m.content }}<|fin|>" + END + "{% if add_generation_prompt %}<|s|>assistant\n{% endif %}"
    )
    tokenizer = tokenizer_with(template)
    policy = MaskPolicy(roles=("critic", "assistant"), role_weights={"critic": 1.0})
    collator = DataCollatorForChat(tokenizer, policy=policy, return_tensors="np")
    labels = collator([{"messages": talk("user", "critic", "assistant")}])["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "q1 said<|fin|>q2 said<|fin|>"

    ids = tokenizer.apply_chat_template(talk("user", "critic", "assistant"), return_dict=False)
    with pytest.warns(SpanmaskWarning, match="trains the role 'critic'.*Pass messages instead of token ids"):
        labels = collator([{"input_ids": ids}])["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "q2 said<|fin|>"

    with pytest.raises(ValueError, match="roles: the policy trains 'critic'"):
        DataCollatorForChat(tokenizer, policy=policy, chat_format=ChatFormat.from_tokenizer(tokenizer))
    only = DataCollatorForChat(tokenizer, policy=MaskPolicy(roles="critic"), return_tensors="np")
    with pytest.raises(ValueError, match="roles: the policy trains 'critic'"):
        only([{"input_ids": ids}])


def test_reasoning_that_a_format_does_not_know_is_told_once(recwarn):
    tokenizer = tokenizer_with(ENDLESS_RESULTS)
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>hm</think>yes"}]
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    collator = DataCollatorForChat(tokenizer, policy=MaskPolicy(reasoning="ignore"), return_tensors="np")
    recwarn.clear()
    collator([{"messages": messages}])
    for _ in range(2):
        collator([{"input_ids": ids}])
    told = [str(one.message) for one in recwarn]
    assert len(told) == 1
    assert told[0].startswith("policy: reasoning='ignore' leaves nothing out of rows of token ids")

    advised = MaskPolicy(reasoning="ignore", ignore_between=[("<think>", "</think>")])
    labels = DataCollatorForChat(tokenizer, policy=advised, return_tensors="np")([{"input_ids": ids}])["labels"][0]
    assert tokenizer.decode(labels[labels != -100]) == "yes<|fin|>"
