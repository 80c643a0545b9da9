"""Columns of Arrow's JSON type, as `datasets` makes them of messages and tools that differ from row to row."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
from spanmask import DataCollatorForChat, audit, encode_chat
from spanmask._arrow_json import python_objects
from spanmask.arrow import ChatMasker
from support.tiny_models import chat_tokenizer

HAS_JSON = hasattr(datasets, "Json")
pytestmark = pytest.mark.skipif(not hasattr(pa, "json_"), reason="this version of pyarrow has no JSON")
CHATS = [
    [{"role": "user", "content": "Where?"}, {"role": "assistant", "content": "over there", "weight": 0.5}],
    [{"role": "user", "content": "Who?", "name": "Ada"}, {"role": "assistant", "content": "nobody", "meta": {"votes": [3, "x"]}}],
]


def as_json(texts):
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array(texts))


def test_json_is_parsed_at_any_depth():
    flat = as_json(['{"a": 1}', None, "[2, null]"])
    assert python_objects(flat) == [{"a": 1}, None, [2, None]]
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 2, 3]), flat)
    assert python_objects(lists) == [[{"a": 1}, None], [], [[2, None]]]
    large = pa.LargeListArray.from_arrays(pa.array([0, 1, 3]), flat)
    assert python_objects(large) == [[{"a": 1}], [None, [2, None]]]
    structs = pa.StructArray.from_arrays([flat, pa.array(["x", "{}", None])], ["parsed", "text"])
    wanted = [{"parsed": {"a": 1}, "text": "x"}, {"parsed": None, "text": "{}"}, {"parsed": [2, None], "text": None}]
    assert python_objects(structs) == wanted
    assert python_objects(pa.chunked_array([structs, structs[1:]])) == [*wanted, *wanted[1:]]
    assert python_objects(pa.array([["{}"], None])) == [["{}"], None]


@pytest.mark.skipif(not HAS_JSON, reason="this version of datasets has no columns of JSON")
def test_tables_of_datasets(tmp_path):
    tokenizer = chat_tokenizer()
    data = datasets.Dataset.from_list([{"messages": chat} for chat in CHATS], on_mixed_types="use_json")
    table = data.with_format("arrow")[:]
    assert "arrow.json" in str(table.schema)
    wanted = encode_chat(tokenizer, CHATS)
    masked = data.with_format("arrow").map(ChatMasker(tokenizer, weights=True), batched=True)
    assert masked.with_format(None)["labels"][:] == wanted.labels.to_list()
    assert masked.with_format(None)["loss_weights"][:] == wanted.weights.to_list()
    assert masked.with_format(None)["messages"][1][1]["meta"] == {"votes": [3, "x"]}
    batch = table.combine_chunks().to_batches()[0]
    for empty in (table.slice(0, 0), batch.slice(0, 0)):
        made = ChatMasker(tokenizer, weights=True)(empty)
        assert (type(made), made.num_rows) == (type(empty), 0)
    collator = DataCollatorForChat(tokenizer, return_tensors="np", weight_key="loss_weights")
    assert np.array_equal(collator(table)["labels"], collator([*data])["labels"])
    path = tmp_path / "rows.parquet"
    data.to_parquet(path)
    for source in (data, str(path)):
        report = audit(source, tokenizer)
        assert (report.row_count, report.trained_tokens) == (2, sum(label != -100 for row in wanted.labels for label in row))
