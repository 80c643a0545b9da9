"""The check of a derived format: it masks as the default policy does, and finds wrong formats."""

import pytest
from spanmask import ChatFormat, RoleBoundary, mask_labels
from spanmask.chat.template.check import check, trained_flags
from spanmask.chat.template.probe import Template
from spanmask.chat.tokens import added_tokens
from spanmask.policy import DEFAULT_POLICY
from support.derivation import tokenizer_with

SHAPES = [("user", "assistant"), ("user", "assistant", "user", "assistant")]


def trial(tokenizer, chat_format, shapes=SHAPES):
    template = Template(tokenizer, {})
    assert template.detect_message_format()
    policy = DEFAULT_POLICY._compile(chat_format.roles, chat_format.ignore_ids)
    return check(template, tokenizer, chat_format._compiled, policy, added_tokens(tokenizer), shapes, seed=1, count=40)


@pytest.mark.parametrize("name", ["qwen3_5_think", "qwen3_5_nothink", "glm4moe", "llama3"])
def test_the_check_masks_as_the_default_policy_does(name):
    """A prefill and a stop token after the turn: a second implementation of the policy would differ there."""
    tokenizer, _ = tokenizer_with("trl", name, "byte_level")
    chat_format = ChatFormat.from_tokenizer(tokenizer)
    question = [{"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    talk = tokenizer.apply_chat_template([*question, {"role": "assistant", "content": "Hello"}, *question], tokenize=False)
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f"{prompt}Hello", talk, "", prompt)]
    policy = DEFAULT_POLICY._compile(chat_format.roles, chat_format.ignore_ids)
    labels = mask_labels(rows, chat_format).labels.to_list()
    assert trained_flags(rows, chat_format._compiled, policy) == [[label != -100 for label in row] for row in labels]
    assert any(map(any, trained_flags(rows, chat_format._compiled, policy)))


def test_a_derived_format_passes():
    tokenizer, _ = tokenizer_with("style", "chatml", "byte_level")
    outcome = trial(tokenizer, ChatFormat.from_tokenizer(tokenizer))
    assert (sum(outcome.located.values()), outcome.fault) == (40, None)


def wrong_formats(tokenizer):
    """Formats of ChatML with one mistake each, and what the check says about them."""
    right = {boundary.role: boundary for boundary in ChatFormat.from_tokenizer(tokenizer).boundaries}
    user, assistant = right["user"], right["assistant"]
    yield [RoleBoundary("assistant", user.start, user.end), RoleBoundary("user", assistant.start)], "trains but must not"
    yield [RoleBoundary("assistant", assistant.start)], "trains but must not"  # continues into the next question
    yield [RoleBoundary("assistant", [[10**6]]), user], "does not train but must"
    yield [RoleBoundary("assistant", assistant.start, assistant.end, include_end=False), user], "does not train but must"


@pytest.mark.parametrize("number", range(4))
def test_a_wrong_format_is_detected(number):
    tokenizer, _ = tokenizer_with("style", "chatml", "byte_level")
    boundaries, message = [*wrong_formats(tokenizer)][number]
    assert message in trial(tokenizer, ChatFormat(boundaries)).fault
