"""Rows that went through Arrow: all structs of a column have the same keys, with None where a row has none."""

import datasets
import pyarrow as pa
import pytest
from spanmask.chat.conversation import MessageForms, adapt, conversations_of
from spanmask.collators.columns import columns_of

ASK, SAY = {"role": "user", "content": "weather?"}, {"role": "assistant", "content": "rain", "weight": 0.5}


def call(number, name, **arguments):
    return {"id": number, "type": "function", "function": {"name": name, "arguments": arguments}}


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


ROWS = [
    {
        "messages": [
            ASK,
            {"role": "assistant", "tool_calls": [call("c1", "weather", city="Oslo"), call("c2", "clock", zone={"name": "CET"})]},
            {"role": "tool", "name": "weather", "tool_call_id": "c1", "content": "3"},
            {"role": "tool", "name": "clock", "tool_call_id": "c2", "content": "noon"},
            SAY,
        ],
        "tools": [tool("weather", city={"type": "string"}), tool("clock", zone={"type": "object", "description": "d"})],
        "chat_template_kwargs": {"think": True},
    },
    {
        "messages": [ASK, {"role": "assistant", "tool_calls": [call("c3", "stop")]}, SAY],
        "tools": [tool("stop")],
        "chat_template_kwargs": {"date": "today"},
    },
    {"messages": [ASK, SAY], "tools": None, "chat_template_kwargs": None},
]
# What is meant, without weights; a schema or arguments without properties are empty structs, which Arrow fills as well.
PLAIN = {**SAY}
del PLAIN["weight"]
EXPECTED = [[*row["messages"][:-1], PLAIN] for row in ROWS]


def nulls_in(value):
    if isinstance(value, dict):
        return sum(entry is None for entry in value.values()) + sum(map(nulls_in, value.values()))
    return sum(map(nulls_in, value)) if isinstance(value, list) else 0


def as_features(kind):
    if kind == "arrow":
        return pa.Table.from_pylist(ROWS)
    if kind == "chunks":
        return pa.concat_tables([pa.Table.from_pylist(ROWS).slice(0, 1), pa.Table.from_pylist(ROWS).slice(1)])
    if kind == "lists":
        return pa.Table.from_pylist(ROWS).to_pylist()
    dataset = datasets.Dataset.from_list(ROWS)
    return list(dataset) if kind == "dataset" else dataset[:]


@pytest.mark.parametrize("kind", ["arrow", "chunks", "lists", "dataset", "columns"])
def test_rows_survive_arrow(kind):
    columns = columns_of(as_features(kind))
    conversations = conversations_of(columns)
    assert [conversation.messages for conversation in conversations] == EXPECTED
    assert [conversation.tools for conversation in conversations] == [row["tools"] for row in ROWS]
    assert [conversation.template_kwargs for conversation in conversations] == [{"think": True}, {"date": "today"}, {}]
    assert [conversation.weights for conversation in conversations] == [[1.0, 1.0, 1.0, 1.0, 0.5], [1.0, 1.0, 0.5], [1.0, 0.5]]


def test_the_data_really_hold_nulls_of_arrow():
    row = as_features("dataset")[0]
    assert row["messages"][0]["tool_calls"] is None
    calls = row["messages"][1]["tool_calls"]
    assert calls[0]["function"]["arguments"] == {"city": "Oslo", "zone": None}
    conversation = conversations_of(columns_of([row]))[0]
    assert conversation.dropped_nulls == nulls_in([each["function"]["arguments"] for each in calls]) + nulls_in(row["tools"])
    assert conversation.dropped_nulls > 0
    assert conversations_of({"messages": [EXPECTED[0]]})[0].dropped_nulls == 0


def test_parts_survive_arrow():
    picture, sound = {"type": "image", "image": "p.png"}, {"type": "audio", "audio": {"path": "s.wav", "array": None}}
    rows = [
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "see"}, picture, sound]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": ""}]}]},
    ]
    seen, text = conversations_of(columns_of(list(datasets.Dataset.from_list(rows))))
    assert seen.messages[0]["content"][:2] == rows[0]["messages"][0]["content"][:2]
    assert seen.messages[0]["content"][2]["audio"]["path"] == "s.wav"
    assert adapt(text, MessageForms()) == [{"role": "user", "content": "a"}]


def test_from_and_value_survive_arrow():
    rows = [
        {"conversations": [{"from": "human", "value": "q", "weight": 0.0}, {"from": "gpt", "value": "a"}], "system": None},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a", "mood": "m"}], "system": "S"},
    ]
    first, second = conversations_of(columns_of(list(datasets.Dataset.from_list(rows))))
    assert first.messages == [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    assert first.weights == [0.0, 1.0]
    assert [message["role"] for message in second.messages] == ["system", "user", "assistant"]
    assert second.messages[2]["mood"] == "m"
    assert second.weights is None


def test_prompt_and_completion_survive_arrow():
    rows = [{"prompt": [ASK], "completion": [PLAIN]}, {"prompt": [ASK, PLAIN, ASK], "completion": [PLAIN, ASK, PLAIN]}]
    table = pa.Table.from_pylist(rows)
    for columns in (columns_of(table), columns_of(table.to_batches()[0]), columns_of(list(datasets.Dataset.from_list(rows)))):
        found = conversations_of(columns)
        assert [conversation.prompt_messages for conversation in found] == [1, 3]
        assert [conversation.messages for conversation in found] == [row["prompt"] + row["completion"] for row in rows]
