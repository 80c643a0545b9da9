"""`conversations_of`: what a row says, whatever its layout."""

import json
from copy import deepcopy

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from spanmask.chat.conversation import Conversation, conversations_of

ASK, SAY = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}
SYSTEM = {"role": "system", "content": "Be short."}
LOOKUP = {"name": "lookup", "arguments": {"word": "ort"}}
TOOL = {"type": "function", "function": {"name": "lookup", "parameters": {"type": "object", "properties": {"word": {}}}}}
RESULT = {"role": "tool", "name": "lookup", "tool_call_id": "c-1", "content": "place"}


def calls(*functions, **more):
    return {"role": "assistant", "tool_calls": [{"type": "function", **more, "function": function} for function in functions]}


def one(messages, **columns):
    (conversation,) = conversations_of({"messages": [messages], **{name: [value] for name, value in columns.items()}})
    return conversation


def says(*pairs):
    return [{"from": speaker, "value": value} for speaker, value in pairs]


@pytest.mark.parametrize(
    ("columns", "messages"),
    [
        ({"messages": [[SYSTEM, ASK, SAY]]}, [SYSTEM, ASK, SAY]),
        ({"messages": [(SYSTEM, ASK)]}, [SYSTEM, ASK]),
        ({"messages": [np.array([ASK, SAY], object)]}, [ASK, SAY]),
        ({"messages": pa.array([[ASK, SAY]])}, [ASK, SAY]),
        ({"conversations": [[ASK, SAY]]}, [ASK, SAY]),
        ({"conversations": [says(("human", "why?"), ("gpt", "so."))]}, [ASK, SAY]),
        ({"conversations": [says(("user", "why?"), ("chatgpt", "so."))]}, [ASK, SAY]),
        (
            {"conversations": [says(("human", "why?"), ("bing", "so."), ("human", "why?"), ("model", "so."))]},
            [ASK, SAY, ASK, SAY],
        ),
        ({"conversations": [says(("system", "Be short."), ("user", "why?"), ("assistant", "so."))]}, [SYSTEM, ASK, SAY]),
        ({"conversations": [[ASK, SAY]], "system": ["Be short."]}, [SYSTEM, ASK, SAY]),
        ({"conversations": [[SYSTEM, ASK]], "system": ["Be short."]}, [SYSTEM, ASK]),
        ({"conversations": [[ASK]], "system": [""]}, [ASK]),
        ({"conversations": [[ASK]], "system": [None]}, [ASK]),
        ({"messages": [says(("human", "why?"), ("gpt", "so."))]}, [ASK, SAY]),
        ({"conversations": [[ASK | {"role": "human"}, SAY | {"role": "gpt"}, SAY | {"role": "model"}]]}, [ASK, SAY, SAY]),
        ({"messages": [[ASK | {"role": "human"}, SAY | {"role": "gpt"}]]}, [ASK | {"role": "human"}, SAY | {"role": "gpt"}]),
        ({"messages": [[ASK, RESULT | {"role": "observation"}]]}, [ASK, RESULT | {"role": "observation"}]),
        (
            {
                "conversations": [
                    says(("human", "why?"), ("function_call", json.dumps(LOOKUP)), ("observation", "42"), ("gpt", "so."))
                ]
            },
            [ASK, calls(LOOKUP), {"role": "tool", "content": "42"}, SAY],
        ),
        (
            {"conversations": [says(("function_call", json.dumps([LOOKUP, LOOKUP])), ("function_response", "1"), ("tool", "2"))]},
            [calls(LOOKUP, LOOKUP), {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"}],
        ),
        ({"conversations": [says(("human", [{"type": "image"}]))]}, [{"role": "user", "content": [{"type": "image"}]}]),
    ],
)
def test_messages_of_each_layout(columns, messages):
    (conversation,) = conversations_of(columns)
    assert conversation == Conversation(messages, name="row 0")


def test_only_the_completion_trains():
    columns = {"prompt": [[SYSTEM, ASK], [ASK]], "completion": [[SAY], [SAY, ASK, SAY]]}
    first, second = conversations_of(columns)
    assert (first.messages, first.prompt_messages) == ([SYSTEM, ASK, SAY], 2)
    assert (second.messages, second.prompt_messages) == ([ASK, SAY, ASK, SAY], 1)


def test_the_rows_are_not_changed():
    row = {
        "messages": [
            ASK | {"weight": None, "note": "n"},
            SAY | {"train": True},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": None}}}],
            },
            {"role": "user", "content": [{"type": "text", "text": "x", "image": None}]},
            {"from": "human", "value": "x"},
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        ],
        "tools": [{"a": {"b": None}}],
        "chat_template_kwargs": {"x": None, "tools": [{"c": None}]},
    }
    columns = {name: [value] for name, value in row.items()}
    before = deepcopy(columns)
    kwargs = {"y": 3, "tools": [TOOL]}
    (conversation,) = conversations_of(columns, template_kwargs=kwargs)
    conversation.template_kwargs["z"] = 1
    conversation.messages[0]["content"] = "changed"
    assert columns == before
    assert kwargs == {"y": 3, "tools": [TOOL]}


def test_no_field_is_lost():
    message = {
        "role": "assistant",
        "reasoning_content": "hm",
        "content": "so.",
        "loss": 1,
        "channel": "final",
        "meta": {"a": None},
    }
    assert one([message]).messages == [{key: value for key, value in message.items() if key != "loss"}]
    assert list(one([message]).messages[0]) == ["role", "reasoning_content", "content", "channel", "meta"]
    assert one([RESULT]).messages == [RESULT]
    said = {"from": "gpt", "value": "so.", "emotion": "calm", "weight": 0}
    assert one([said]).messages == [{"role": "assistant", "content": "so.", "emotion": "calm"}]
    assert one([said]).weights == [0.0]


@pytest.mark.parametrize(
    ("said", "weight"),
    [
        ({"weight": 0}, 0.0),
        ({"weight": 1}, 1.0),
        ({"weight": 2.5}, 2.5),
        ({"weight": np.float32(0.5)}, 0.5),
        ({"train": False}, 0.0),
        ({"training": True}, 1.0),
        ({"trainable": 0}, 0.0),
        ({"loss": np.bool_(False)}, 0.0),
        ({"loss": 0.25}, 0.25),
        ({"weight": None, "train": None, "loss": False}, 0.0),
        ({"train": True, "weight": 0.5}, 0.5),
        ({"train": 1, "weight": 3}, 3.0),
        ({"train": False, "loss": 0, "weight": 0.0}, 0.0),
        ({"loss": True, "loss_scale": 2.0}, 2.0),  # as ms-swift writes them
        ({"loss_scale": 0}, 0.0),
        ({"train_detail": [], "training_detail": None, "train": False}, 0.0),
    ],
)
def test_a_message_states_its_weight(said, weight):
    conversation = one([ASK, SAY | said, SAY])
    assert conversation.weights == [1.0, weight, 1.0]
    assert conversation.messages == [ASK, SAY, SAY]


def test_no_message_states_a_weight():
    assert one([ASK, SAY | {"weight": None}]).weights is None


@pytest.mark.parametrize(
    "said",
    [
        *({"weight": value} for value in ("1", "0.5", -1, -0.1, float("nan"), float("inf"), 1e300, [1], {})),
        *({key: "true"} for key in ("train", "training", "trainable", "loss")),
        {"weight": 1, "loss": 0},
        {"weight": 1, "loss": 2},
        {"train": True, "trainable": False},
        {"train": False, "weight": 0.5},
        {"training": 1, "weight": 0},
        {"loss_scale": 1, "loss": False},
        {"train_detail": [{"begin_offset": 0, "end_offset": 1, "train": False}]},
        {"training_detail": np.array([{"begin_offset": 0, "end_offset": 1, "train": True}])},
    ],
)
def test_weights_that_cannot_be_used(said):
    with pytest.raises(ValueError, match=rf"messages: row 0 \(id 77\), message 1: .*{next(iter(said))}"):
        one([ASK, SAY | said], id=77)


def parts(*flags):
    return [{"type": "text", "text": str(number), **flag} for number, flag in enumerate(flags)]


@pytest.mark.parametrize(
    ("flags", "said", "weight"),
    [
        ([{"train": False}, {"train": False}], {}, 0.0),
        ([{"weight": 0}, {"train": np.bool_(False)}], {"train": True}, 0.0),
        ([{"train": True}, {}], {}, 1.0),
        ([{"train": True}, {"weight": 1}], {"weight": 0.5}, 0.5),
        ([{"train": True}], {"train": False}, 0.0),
        ([{"train": None}, {}], {"weight": 2}, 2.0),
    ],
)
def test_all_parts_of_a_content_state_the_weight_of_the_message(flags, said, weight):
    message = {"role": "assistant", "content": parts(*flags), **said}
    conversation = one([ASK, message])
    assert conversation.weights == [1.0, weight]
    assert conversation.messages[1] == {"role": "assistant", "content": parts(*({} for _ in flags))}
    assert message["content"] == parts(*flags)


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        ([{"train": False}, {"train": True}], "only some parts"),
        ([{"train": False}, {}], "only some parts"),
        ([{"train": True, "weight": 0}], "only some parts"),
        ([{"weight": 0.5}], "'weight' of a part is 0.5"),
        ([{"train": "no"}], "'train' of a part is 'no'"),
        ([{"train": float("nan")}], "'train' of a part is nan"),
    ],
)
def test_parts_that_would_train_in_part(flags, match):
    with pytest.raises(ValueError, match=rf"messages: row 0 \(id 77\), message 1: .*{match}"):
        one([ASK, {"role": "assistant", "content": parts(*flags)}], id=77)


@pytest.mark.parametrize(
    "call",
    [
        {"id": "c-1", "type": "function", "function": LOOKUP},
        {"id": "c-1", "function": LOOKUP},
        {"id": "c-1", **LOOKUP},
        {"id": "c-1", "type": "function", **LOOKUP, "function": None},
        {"id": "c-1", "type": None, "function": LOOKUP | {"description": None}},
    ],
)
def test_calls_have_one_form(call):
    expected = [{"type": "function", "id": "c-1", "function": LOOKUP}]
    assert one([{"role": "assistant", "content": "", "tool_calls": [call]}]).messages[0]["tool_calls"] == expected
    assert one([{"role": "assistant", "tool_calls": np.array([call], object)}]).messages[0]["tool_calls"] == expected
    assert one([{"role": "assistant", "tool_calls": json.dumps([call])}]).messages[0]["tool_calls"] == expected


def test_further_keys_of_calls_stay():
    call = {"index": 0, "type": "remote", "function": LOOKUP | {"strict": True}}
    assert one([{"role": "assistant", "tool_calls": [call]}]).messages[0]["tool_calls"] == [call]


@pytest.mark.parametrize("none", [{"tool_calls": []}, {"tool_calls": None}, {"tool_calls": ""}, {"function_call": None}])
def test_no_calls_leave_no_key(none):
    assert one([SAY | none]).messages == [SAY]
    assert one([{"role": "assistant", "content": None} | none]).messages == [{"role": "assistant"}]
    assert one([{"from": "gpt", "value": None} | none]).messages == [{"role": "assistant"}]


def test_the_older_function_call_is_a_call():
    older = {"role": "assistant", "content": None, "function_call": {"name": "lookup", "arguments": '{"word": "ort"}'}}
    assert one([older]).messages == [calls({"name": "lookup", "arguments": '{"word": "ort"}'})]
    assert one([SAY | {"function_call": {"name": None, "arguments": None}}]).messages == [SAY]
    filled = {
        "role": "assistant",
        "tool_calls": "",
        "function_call": {"name": "lookup", "arguments": {"word": "ort", "in": None}},
    }
    assert one([filled]).messages == [calls(LOOKUP)]
    assert one([filled]).dropped_nulls == 1


def test_nulls_of_arguments_are_removed_and_counted():
    arguments = {"a": None, "b": {"c": None, "d": [{"e": None}, None, 0, "", False]}, "f": []}
    conversation = one([calls({"name": "x", "arguments": arguments}, id=None)])
    assert conversation.messages == [calls({"name": "x", "arguments": {"b": {"d": [{}, None, 0, "", False]}, "f": []}})]
    assert conversation.dropped_nulls == 3
    for text in ('{"a": null}', '{"a":null,"b":{"c":null}}'):
        conversation = one([calls({"name": "x", "arguments": text})])
        assert conversation.messages == [calls({"name": "x", "arguments": text})]
        assert conversation.dropped_nulls == 0
    conversation = one(says(("function_call", '{"name": "x", "arguments": {"a": null}}')))
    assert conversation.messages == [calls({"name": "x", "arguments": {"a": None}})]


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        (None, TypeError, "message 1: is None"),
        ("so.", TypeError, "message 1: is a value of type str"),
        (["role"], TypeError, "message 1: is a value of type list"),
        ({}, ValueError, "message 1: has no 'role'; its keys are none"),
        ({"content": "so."}, ValueError, "message 1: has no 'role'; its keys are 'content'"),
        ({"role": None, "content": "so."}, ValueError, "message 1: has no 'role'"),
        ({"role": "", "content": "so."}, TypeError, "message 1: 'role' is ''"),
        ({"role": 3, "content": "so."}, TypeError, "message 1: 'role' is 3"),
        ({"role": ["user"], "content": "so."}, TypeError, "message 1: 'role' is"),
        ({"role": "user", "text": "so."}, ValueError, "message 1: has no 'content'; its keys are 'role', 'text'"),
        ({"role": "user", "content": 3}, TypeError, "message 1: 'content' is a value of type int.*list of parts"),
        ({"role": "user", "content": {"text": "x"}}, TypeError, "message 1: 'content' is a value of type dict.*json.dumps"),
        ({"role": "user", "content": True}, TypeError, "message 1: 'content' is a value of type bool"),
        ({"role": "user", "content": b"so."}, TypeError, "message 1: 'content' is a value of type bytes"),
        ({"role": "user", "content": [3]}, TypeError, "message 1, part 0: is a value of type int"),
        ({"role": "user", "content": [{"text": "x"}]}, ValueError, "message 1, part 0: 'type' is None"),
        ({"role": "user", "content": [{"type": 1}]}, ValueError, "message 1, part 0: 'type' is 1"),
        ({"role": "user", "content": ["x", {"type": "text"}]}, TypeError, "message 1, part 1: 'text' is None"),
        (
            {"role": "user", "content": [{"type": "text", "text": 5}]},
            TypeError,
            "message 1, part 0: 'text' is a value of type int",
        ),
        ({"role": "assistant", "tool_calls": 5}, TypeError, "message 1: tool_calls is a value of type int"),
        ({"role": "assistant", "tool_calls": LOOKUP}, TypeError, "message 1: tool_calls is a value of type dict"),
        ({"role": "assistant", "tool_calls": "{x"}, ValueError, "message 1: its call is not JSON"),
        ({"role": "assistant", "tool_calls": "7"}, TypeError, "message 1, call 0: is a value of type int"),
        ({"role": "assistant", "tool_calls": [None]}, TypeError, "message 1, call 0: is None"),
        ({"role": "assistant", "tool_calls": [{"function": "f"}]}, TypeError, "call 0: 'function' is a value of type str"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, ValueError, "call 0: the function's 'name' is None"),
        ({"role": "assistant", "tool_calls": [LOOKUP, {"id": "x"}]}, ValueError, "call 1: the function's 'name' is None"),
        ({"role": "assistant", "tool_calls": [{"name": 5}]}, ValueError, "call 0: the function's 'name' is 5"),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": 5}]},
            TypeError,
            "call 0: 'arguments' is a value of type int",
        ),
        (
            {"role": "assistant", "tool_calls": [{"name": "f", "arguments": [5]}]},
            TypeError,
            "call 0: 'arguments' is a value of type list",
        ),
        (
            {"role": "assistant", "tool_calls": [LOOKUP], "function_call": LOOKUP},
            ValueError,
            "has both 'tool_calls' and 'function_call'",
        ),
        ({"role": "assistant", "function_call": "f"}, TypeError, "message 1, call 0: is a value of type str"),
        ({"from": "narrator", "value": "x"}, ValueError, "message 1: 'from' is 'narrator'; names that are known: 'human'"),
        ({"from": "human"}, ValueError, "message 1: has no 'content'; its keys are 'from'"),
        ({"from": "human", "value": 5}, TypeError, "message 1: 'content' is a value of type int"),
        ({"from": "function_call", "value": "lookup(ort)"}, ValueError, "message 1: its call is not JSON"),
        ({"from": "function_call", "value": ""}, TypeError, "message 1: the value of a 'function_call' is ''"),
        ({"from": "function_call", "value": None}, TypeError, "message 1: the value of a 'function_call' is None"),
        (
            {"from": "function_call", "value": LOOKUP},
            TypeError,
            "message 1: the value of a 'function_call' is a value of type dict",
        ),
        ({"from": "function_call", "value": '"lookup"'}, TypeError, "message 1, call 0: is a value of type str"),
    ],
)
@pytest.mark.parametrize("column", ["messages", "conversations", "completion"])
def test_messages_that_cannot_be_used(column, message, error, text):
    columns = {column: [[ASK], [ASK, message]], "uid": ["a", "b"]}
    if column == "completion":
        columns["prompt"] = [[ASK], [ASK]]
    with pytest.raises(error, match=rf"^{column}: row 1 \(uid 'b'\), .*{text}"):
        conversations_of(columns)


@pytest.mark.parametrize("column", ["messages", "conversations"])
@pytest.mark.parametrize(
    ("entry", "error", "text"),
    [
        (None, TypeError, "holds None; expected a list of messages"),
        ([], ValueError, "holds no messages"),
        (json.dumps([ASK]), TypeError, "type str; .*Parse JSON text first"),
        (ASK, TypeError, "type dict"),
        (5, TypeError, "type int"),
    ],
)
def test_rows_without_messages(column, entry, error, text):
    with pytest.raises(error, match=rf"^{column}: row 1 .*{text}"):
        conversations_of({column: [[ASK], entry]})


def test_an_empty_completion_is_an_error_and_an_empty_prompt_is_not():
    assert conversations_of({"prompt": [[]], "completion": [[SAY]]})[0].prompt_messages == 0
    with pytest.raises(ValueError, match="completion: row 0 holds no messages"):
        conversations_of({"prompt": [[ASK]], "completion": [[]]})


@pytest.mark.parametrize(("system", "error"), [(5, TypeError), ([SYSTEM], TypeError), ("Be long.", ValueError)])
def test_system_columns_that_cannot_be_used(system, error):
    with pytest.raises(error, match=r"system: row 0 \(index 3\)"):
        conversations_of({"conversations": [[SYSTEM, ASK]], "system": [system], "index": [3]})


@pytest.mark.parametrize(
    ("tools", "read"),
    [
        ([TOOL], [TOOL]),
        (json.dumps([TOOL]), [TOOL]),
        ([json.dumps(TOOL), TOOL], [TOOL, TOOL]),
        (np.array([TOOL], object), [TOOL]),
        ([], None),
        ("[]", None),
        ("", None),
        (None, None),
        ([{"a": {"b": None, "c": [None, {"d": None}]}}], [{"a": {"c": [None, {}]}}]),
        ('[{"a": {"default": null}}]', [{"a": {"default": None}}]),
        (['{"a": {"default": null}}'], [{"a": {"default": None}}]),
    ],
)
def test_tools_of_a_row(tools, read):
    assert one([ASK], tools=tools).tools == read
    if tools is not None:
        assert one([ASK], tools=None, chat_template_kwargs={"tools": tools}).tools == read


@pytest.mark.parametrize(
    ("tools", "error", "text"),
    [
        (5, TypeError, "expected a list of tools"),
        (TOOL, TypeError, "expected a list of tools"),
        ("lookup", ValueError, "is not JSON"),
        (json.dumps(TOOL), TypeError, "expected a list of tools"),
        ([5], TypeError, "tool 0: is a value of type int"),
        ([TOOL, None], TypeError, "tool 1: is None"),
        (["lookup"], ValueError, "tool 0: is not JSON"),
    ],
)
def test_tools_that_cannot_be_used(tools, error, text):
    with pytest.raises(error, match=rf"tools: row 0 \(id 'r'\).*{text}"):
        one([ASK], tools=tools, id="r")


def test_a_rows_own_variables_take_the_place_of_the_callers():
    columns = {"messages": [[ASK]] * 4, "chat_template_kwargs": [{"a": 1}, None, '{"a": 2, "b": false}', {"a": None}]}
    rows = conversations_of(columns, template_kwargs={"a": 0, "c": 5})
    assert [row.template_kwargs for row in rows] == [
        {"a": 1, "c": 5},
        {"a": 0, "c": 5},
        {"a": 2, "b": False, "c": 5},
        {"a": 0, "c": 5},
    ]
    rows = conversations_of({"messages": [[ASK]] * 2}, template_kwargs=[{"a": 1}, None])
    assert [row.template_kwargs for row in rows] == [{"a": 1}, {}]
    assert one([ASK], chat_template_kwargs={"tokenize": None, "a": 0}).template_kwargs == {"a": 0}


def test_rows_share_no_variables():
    for given in ({"a": 1}, [{"a": 1}, {"a": 1}], None):
        first, second = conversations_of({"messages": [[ASK]] * 2}, template_kwargs=given)
        first.template_kwargs["b"] = 3
        assert "b" not in second.template_kwargs


def test_which_tools_count():
    def named(name):
        return [{"name": name}]

    columns = {
        "messages": [[ASK]] * 4,
        "tools": [named("column"), None, [], named("column")],
        "chat_template_kwargs": [None, None, None, {"tools": named("kwargs")}],
    }
    expected = [named("column"), named("caller"), None, named("kwargs")]
    for given in ({"tools": named("caller")}, {"tools": [named("caller")] * 4}, {"template_kwargs": {"tools": named("caller")}}):
        rows = conversations_of(columns, **given)
        assert [row.tools for row in rows] == expected
        assert all("tools" not in row.template_kwargs for row in rows)
    rows = conversations_of({"messages": [[ASK]] * 2}, tools=[None, json.dumps(named("second"))])
    assert [row.tools for row in rows] == [None, named("second")]
    rows = conversations_of({"messages": [[ASK]] * 2}, tools=[json.dumps(named("first")), json.dumps(named("second"))])
    assert [row.tools for row in rows] == [named("first"), named("second")]
    rows = conversations_of({"messages": [[ASK]] * 2}, tools=[json.dumps(tool) for tool in named("x") + named("y")])
    assert [row.tools for row in rows] == [named("x") + named("y")] * 2


def test_functions_of_python_are_tools():
    def lookup(word: str) -> str: ...

    assert conversations_of({"messages": [[ASK]]}, tools=[lookup])[0].tools == [lookup]


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"template_kwargs": 5}, TypeError, "template_kwargs: expected a dict for all rows"),
        ({"template_kwargs": [{}]}, ValueError, "template_kwargs: has 1 entries for 2 rows"),
        ({"template_kwargs": [{}, 5]}, TypeError, "template_kwargs: row 1: expected a dict"),
        ({"template_kwargs": "[]"}, TypeError, "template_kwargs: expected a dict"),
        ({"template_kwargs": {"tokenize": True}}, ValueError, "template_kwargs: 'tokenize' is not a variable"),
        ({"template_kwargs": {3: True}}, TypeError, "template_kwargs: the names"),
        ({"template_kwargs": {"tools": [TOOL]}, "tools": [TOOL]}, ValueError, "template_kwargs: holds 'tools'"),
        ({"tools": 5}, TypeError, "tools: expected a list"),
        ({"tools": [[TOOL]]}, ValueError, "tools: has 1 entries for 2 rows"),
        ({"tools": [[TOOL], 5]}, TypeError, "tools: row 1: expected a list"),
        ({"tools": TOOL}, TypeError, "tools: expected a list"),
    ],
)
def test_variables_of_the_caller_that_cannot_be_used(given, error, text):
    with pytest.raises(error, match=text):
        conversations_of({"messages": [[ASK]] * 2}, **given)


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        (5, TypeError, "expected a dict"),
        ("x", ValueError, "is not JSON"),
        ("[]", TypeError, "expected a dict"),
        ({"add_generation_prompt": True}, ValueError, "'add_generation_prompt' is not a variable"),
        ({"continue_final_message": True}, ValueError, "'continue_final_message' is not a variable"),
    ],
)
def test_variables_of_a_row_that_cannot_be_used(kwargs, error, text):
    with pytest.raises(error, match=rf"chat_template_kwargs: row 0 \(id 'k'\): {text}"):
        one([ASK], chat_template_kwargs=kwargs, id="k")


def test_pandas_returns_arrays_in_place_of_lists():
    rows = [
        {"messages": [calls(LOOKUP | {"arguments": {"words": ["a", "b"], "n": None}}, id="c-1"), RESULT], "tools": [TOOL]},
        {"messages": [{"role": "user", "content": "x"}], "tools": None},
    ]
    table = pa.Table.from_pylist(rows)
    frame = table.to_pandas()
    assert isinstance(frame["messages"][0], np.ndarray)
    assert isinstance(frame, pd.DataFrame)
    found = conversations_of(frame.to_dict("list"))
    assert found == conversations_of(table.to_pydict())
    assert found[0].messages[0] == calls(LOOKUP | {"arguments": {"words": ["a", "b"]}}, id="c-1")
