"""`adapt`: nothing is lost, nothing is written twice, nothing changes that fits already."""

import json
from copy import deepcopy
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask.chat.conversation import Conversation, MessageForms, adapt, conversations_of

ROLES = ("system", "user", "assistant", "tool", "developer", "function", "narrator")
TEXTS = st.text(alphabet="abé<|>\n {}\"'\\", max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXTS, inner, max_size=2)),
    max_leaves=5,
)
FORMS = st.builds(
    MessageForms,
    roles_in_parts=st.frozensets(st.sampled_from(ROLES[:4])),
    json_arguments=st.booleans(),
    empty_content=st.sampled_from(["", None]),
)


def text_part(text):
    return {"type": "text", "text": text}


@st.composite
def messages(draw):
    message = {"role": draw(st.sampled_from(ROLES))}
    content = draw(st.one_of(st.none(), TEXTS, st.lists(TEXTS.map(text_part), max_size=3)))
    arguments = st.dictionaries(TEXTS, VALUES, max_size=2)
    function = st.fixed_dictionaries({"name": st.just("f"), "arguments": st.one_of(arguments, arguments.map(json.dumps))})
    if content is not None:
        message["content"] = content
    if draw(st.booleans()):
        message["reasoning_content"] = draw(TEXTS)
    if content is None or draw(st.booleans()):
        calls = st.fixed_dictionaries({"type": st.just("function"), "function": function}, optional={"id": TEXTS})
        message["tool_calls"] = draw(st.lists(calls, min_size=1, max_size=2))
    return message


CONVERSATIONS = st.lists(messages(), min_size=1, max_size=4).map(lambda some: conversations_of({"messages": [some]})[0])


def text_of(message):
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def arguments_of(message):
    for call in message.get("tool_calls", ()):
        arguments = call["function"]["arguments"]
        yield json.loads(arguments) if isinstance(arguments, str) else arguments


def frame_of(message):
    """A message without what may change its form."""
    calls = [{**call, "function": {**call["function"], "arguments": None}} for call in message.get("tool_calls", ())]
    return {**message, "content": None, "tool_calls": calls}


@given(CONVERSATIONS, FORMS)
def test_adapt_loses_nothing(conversation, forms):
    adapted = adapt(conversation, forms)
    assert list(map(text_of, adapted)) == list(map(text_of, conversation.messages))
    assert list(map(frame_of, adapted)) == list(map(frame_of, conversation.messages))
    assert [list(arguments_of(message)) for message in adapted] == [
        list(arguments_of(message)) for message in conversation.messages
    ]


@given(CONVERSATIONS, FORMS)
def test_adapt_gives_the_forms_that_the_template_takes(conversation, forms):
    like = {"developer": "system", "function": "tool", "narrator": "user"}
    for message in adapt(conversation, forms):
        calls = message.get("tool_calls", ())
        assert all(isinstance(call["function"]["arguments"], str) == forms.json_arguments for call in calls)
        if calls and not text_of(message):
            assert message["content"] == forms.empty_content
        else:
            is_list = like.get(message["role"], message["role"]) in forms.roles_in_parts
            assert isinstance(message["content"], list if is_list else str)


@given(CONVERSATIONS, FORMS)
def test_adapt_changes_nothing_that_fits(conversation, forms):
    once = adapt(conversation, forms)
    twice = adapt(Conversation(once), forms)
    assert twice == once
    for message, again in zip(once, twice, strict=True):
        assert again is message or "tool_calls" in message or isinstance(message["content"], list)


@given(CONVERSATIONS, FORMS)
def test_adapt_leaves_the_conversation_as_it_is(conversation, forms):
    before = deepcopy(conversation)
    adapt(conversation, forms)
    assert conversation == before


@pytest.mark.parametrize(
    ("arguments", "json_arguments", "adapted"),
    [
        ({"city": "Malmö", "days": 2}, True, '{"city": "Malmö", "days": 2}'),
        ('{"city":"Malmö"}', True, '{"city":"Malmö"}'),
        ("city = Malmö", True, "city = Malmö"),
        ({"city": "Malmö"}, False, {"city": "Malmö"}),
        ('{"city":"Malm\\u00f6", "days": null}', False, {"city": "Malmö", "days": None}),
        ("", False, {}),
        (None, False, {}),
        (None, True, "{}"),
    ],
)
def test_arguments(arguments, json_arguments, adapted):
    call = {"name": "weather", "arguments": arguments, "id": "c1"}
    (conversation,) = conversations_of({"messages": [[{"role": "assistant", "tool_calls": [call]}]]})
    (message,) = adapt(conversation, MessageForms(json_arguments=json_arguments))
    assert message["tool_calls"] == [{"type": "function", "id": "c1", "function": {"name": "weather", "arguments": adapted}}]


@pytest.mark.parametrize(
    ("content", "calls", "empty", "adapted"),
    [
        (None, True, None, None),
        ("", True, None, None),
        ([], True, None, None),
        ([text_part("")], True, "", ""),
        (None, True, "", ""),
        (" ", True, None, " "),
        ("x", True, None, "x"),
        (None, False, None, ""),
        ("", False, None, ""),
        ([], False, None, ""),
    ],
)
def test_content_that_is_empty(content, calls, empty, adapted):
    message = {"role": "assistant", "content": content, "tool_calls": [{"name": "f", "arguments": {}}] if calls else None}
    (conversation,) = conversations_of({"messages": [[message]]})
    assert adapt(conversation, MessageForms(empty_content=empty))[0]["content"] == adapted


def test_content_that_is_empty_in_parts():
    (conversation,) = conversations_of({"messages": [[{"role": "assistant", "content": None}]]})
    assert adapt(conversation, MessageForms(roles_in_parts=frozenset({"assistant"})))[0]["content"] == [text_part("")]


PICTURE = [text_part("see "), {"type": "image", "image": "p"}]


def test_media_need_a_template_that_takes_them():
    (conversation,) = conversations_of(
        {"messages": [[{"role": "user", "content": "x"}, {"role": "user", "content": PICTURE}]], "id": ["m3"]}
    )
    with pytest.raises(
        ValueError, match=r"messages: row 0 \(id 'm3'\), message 1, part 1: is of type 'image'.*takes contents as text"
    ):
        adapt(conversation, MessageForms(roles_in_parts=frozenset({"assistant"})))
    assert adapt(conversation, MessageForms(), media=True) == [
        {"role": "user", "content": "x"},
        {"role": "user", "content": PICTURE},
    ]
    in_parts = adapt(conversation, MessageForms(roles_in_parts=frozenset({"user"})))
    assert [message["content"] for message in in_parts] == [[text_part("x")], PICTURE]


def test_consecutive_texts_become_one_part():
    cached = text_part("d") | {"cache": 1}
    parts = [text_part("a"), text_part(" b"), *PICTURE[1:], text_part("c"), text_part(""), text_part("d"), cached, cached]
    (conversation,) = conversations_of({"messages": [[{"role": "user", "content": parts}]]})
    expected = [text_part("a b"), *PICTURE[1:], text_part("cd"), cached | {"text": "dd"}]
    for forms, media in ((MessageForms(), True), (MessageForms(roles_in_parts=frozenset({"user"})), False)):
        assert adapt(conversation, forms, media=media)[0]["content"] == expected


def test_lists_of_text_are_no_media():
    (conversation,) = conversations_of({"messages": [[{"role": "user", "content": [text_part("a"), text_part("b")]}]]})
    assert adapt(conversation, MessageForms(), media=True) == [{"role": "user", "content": "ab"}]


def test_media_next_to_calls_are_content():
    (conversation,) = conversations_of(
        {"messages": [[{"role": "assistant", "content": PICTURE[1:], "tool_calls": [{"name": "f", "arguments": {}}]}]]}
    )
    assert adapt(conversation, MessageForms(empty_content=None), media=True)[0]["content"] == PICTURE[1:]
    assert adapt(conversation, MessageForms(roles_in_parts=frozenset({"assistant"})))[0]["content"] == PICTURE[1:]
    with pytest.raises(ValueError, match="message 0, part 0: is of type 'image'"):
        adapt(conversation, MessageForms())


@pytest.mark.parametrize(
    ("arguments", "json_arguments", "text"),
    [
        ("city = Malmö", False, "its arguments are not JSON"),
        ('["Malmö"]', False, "JSON of a value of type list"),
        ('"{}"', False, "JSON of a value of type str"),
        ("null", False, "JSON of None"),
        ({"when": datetime(2020, 5, 17)}, True, "cannot be written as JSON .*datetime"),
    ],
)
def test_arguments_that_cannot_be_converted(arguments, json_arguments, text):
    calls = [{"name": "f", "arguments": {}}, {"name": "weather", "arguments": arguments}]
    columns = {"messages": [[{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": calls}]], "uid": [5]}
    (conversation,) = conversations_of(columns)
    with pytest.raises(ValueError, match=rf"messages: row 0 \(uid 5\), message 1, call 1: .*{text}"):
        adapt(conversation, MessageForms(json_arguments=json_arguments))
