"""Which columns are read, and how rows are named."""

import numpy as np
import pyarrow as pa
import pytest
from spanmask.chat.conversation import Layout, conversations_of, layout_of, row_name

ASK, SAY = {"role": "user", "content": "why?"}, {"role": "assistant", "content": "so."}
OTHER = {"role": "user", "content": "other"}


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        ({"messages": [[ASK]]}, Layout.MESSAGES),
        ({"prompt": [[ASK]], "completion": [[SAY]]}, Layout.PROMPT_COMPLETION),
        ({"conversations": [[ASK]]}, Layout.CONVERSATIONS),
        ({"prompt": ["a"], "completion": ["b"]}, Layout.TEXT_PROMPT_COMPLETION),
        ({"text": ["a"]}, Layout.TEXT),
        ({"text": ["a"], "conversations": [[ASK]]}, Layout.CONVERSATIONS),
        ({"conversations": [[ASK]], "completion": [[SAY]], "prompt": [[ASK]]}, Layout.PROMPT_COMPLETION),
        ({"text": ["a"], "prompt": ["a"], "completion": ["b"], "messages": [[ASK]]}, Layout.MESSAGES),
        ({"prompt": ["a"], "conversations": [[ASK]]}, Layout.CONVERSATIONS),
        ({"text": pa.array(["a", "b"])}, Layout.TEXT),
        ({"prompt": pa.array([[ASK]]), "completion": pa.array([[SAY]])}, Layout.PROMPT_COMPLETION),
    ],
)
def test_the_columns_decide_the_layout(columns, layout):
    assert layout_of(columns) is layout
    assert layout.is_text == layout.value.endswith("text")
    assert set(layout.columns) <= columns.keys()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"question": ["a"], "answer": ["b"]}, r"'question', 'answer'.*prepare="),
        ({}, "no columns"),
        ({"prompt": ["a"], "chosen": ["b"]}, r"'prompt', 'chosen'.*'completion' is missing"),
        ({"prompt": ["a", [ASK]], "completion": ["b", [SAY]]}, "prompt: row 1 .*type list; expected a text"),
        ({"prompt": [[ASK], [ASK]], "completion": [[SAY], "b"]}, "completion: row 1 .*type str; expected a list of messages"),
        ({"prompt": ["a"], "completion": [[SAY]], "id": ["q9"]}, r"completion: row 0 \(id 'q9'\)"),
        ({"text": ["a", None]}, "text: row 1 holds None; expected a text"),
        ({"text": ["a", 3]}, "text: row 1 holds a value of type int"),
    ],
)
def test_columns_that_cannot_be_read_are_named(columns, message):
    with pytest.raises(ValueError, match=message):
        layout_of(columns)


@pytest.mark.parametrize("columns", [{"text": ["a"]}, {"prompt": ["a"], "completion": ["b"]}])
def test_texts_are_no_conversations(columns):
    with pytest.raises(ValueError, match=r"layout of the columns is .*text.*expected messages"):
        conversations_of(columns)


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        ({"messages": [1, 2]}, "row 1"),
        ({"id": ["x", "it's"]}, 'row 1 (id "it\'s")'),
        ({"index": [4, 5], "uid": ["u", "v"], "example_id": ["e", "f"]}, "row 1 (example_id 'f')"),
        ({"index": np.array([40, 50])}, "row 1 (index 50)"),
        ({"id": pa.array(["x", "y"])}, "row 1 (id 'y')"),
        ({"id": [None, None], "uid": [7, 8]}, "row 1 (uid 8)"),
        ({"id": [[1], [2]]}, "row 1"),
        ({"id": ["", "z" * 500]}, f"row 1 (id '{'z' * 60}…')"),
    ],
)
def test_a_row_is_named_by_its_id(columns, name):
    assert row_name(columns, 1) == name
