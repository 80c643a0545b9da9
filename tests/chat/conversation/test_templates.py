"""Rows in every form under real templates: each content is rendered exactly once, and the form of the row makes no difference."""

import json
from itertools import product

import pytest
from spanmask.chat.conversation import MessageForms, adapt, conversations_of
from spanmask.chat.template.probe import Template
from support.agent_rows import TOOLS
from support.chat_templates import STYLES
from support.derivation import tokenizer_with
from support.trl_templates import TEMPLATES
from support.vocabularies import tokenizer_of

NAMES = [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in STYLES)]
TEXTS = {"question": "Wie spät ist es?", "answer": "Zehn vor drei.", "again": "Und in Rom?", "last": "Genauso 'spät'."}
CITY, RESULT, IDENTIFIER = "Århus ved åen", "fourteen degrees", "f81d4fae7"


def detected(template):
    """What a template takes, with and without calls."""
    assert template.detect_message_format()
    has_calls = template.detect_call_format()
    forms = MessageForms(template.roles_in_parts, template.json_arguments, template.empty_content, template.with_tools)
    return forms, has_calls


def in_form(text, parts):
    if parts == "split":
        return [{"type": "text", "text": text[:4]}, {"type": "text", "text": text[4:]}]
    return [{"type": "text", "text": text, "image": None}] if parts else text


def plain_row(parts):
    roles = ("user", "assistant", "user", "assistant")
    return [{"role": role, "content": in_form(text, parts)} for role, text in zip(roles, TEXTS.values(), strict=True)]


def calling_row(parts, as_json, content):
    arguments = {"city": CITY} if as_json else {"city": CITY, "days": None}
    call = {
        "id": IDENTIFIER,
        "function": {"name": "get_weather", "arguments": json.dumps(arguments, ensure_ascii=False) if as_json else arguments},
    }
    asked, answered = plain_row(parts)[:2]
    result = {"role": "tool", "name": "get_weather", "tool_call_id": IDENTIFIER, "content": in_form(RESULT, parts)}
    return [asked, {"role": "assistant", "content": content, "tool_calls": [call]}, result, answered]


@pytest.mark.parametrize(("source", "name"), NAMES)
def test_each_content_is_rendered_once_in_every_form(source, name):
    tokenizer, kwargs = tokenizer_with(source, name, "byte_level")
    template = Template(tokenizer, dict(kwargs))
    forms, has_calls = detected(template)

    def rendered(messages, **tools):
        (conversation,) = conversations_of({"messages": [messages]})
        variables = {**template.default_variables, **tools, **kwargs}
        return tokenizer.apply_chat_template(adapt(conversation, forms), tokenize=False, **variables)

    texts = [rendered(plain_row(parts)) for parts in (False, True, "split")]
    assert len(set(texts)) == 1
    for text, content in product(texts, TEXTS.values()):
        assert text.count(content) == 1
    if has_calls:
        tools = {"tools": TOOLS} if forms.with_tools else {}
        texts = [
            rendered(calling_row(parts, as_json, content), **tools)
            for parts, as_json, content in product((False, True), (False, True), (None, "", []))
        ]
        assert len(set(texts)) == 1
        for content in (TEXTS["question"], RESULT, TEXTS["answer"]):
            assert texts[0].count(content) == 1
        assert texts[0].count(CITY) + texts[0].count(json.dumps(CITY)[1:-1]) == 1
        assert '\\"city' not in texts[0]
        assert "'type'" not in texts[0]


def test_a_template_that_writes_whole_messages_sees_neither_weights_nor_nulls():
    tokenizer = tokenizer_of("unigram", ["<|turn|>"])
    tokenizer.chat_template = "{% for m in messages %}<|turn|>{{ m | tojson }}{% endfor %}"
    meant = [{"role": "user", "content": "loss and weight?"}, {"role": "assistant", "content": "None.", "channel": "final"}]
    row = [
        meant[0] | {"weight": 0, "tool_calls": None},
        {"role": "assistant", "train": True, "content": "None.", "channel": "final"},
    ]
    row[1] |= {"tool_calls": [], "function_call": None, "name": None}
    (conversation,) = conversations_of({"messages": [row]})
    text = tokenizer.apply_chat_template(adapt(conversation, MessageForms()), tokenize=False)
    assert [json.loads(message) for message in text.split("<|turn|>")[1:]] == meant
