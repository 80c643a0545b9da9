"""`preview` of data sets: rows that are picked, labels that are not those of the messages, two policies."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from spanmask import MaskPolicy, encode_chat, preview
from spanmask.arrow import ChatMasker
from spanmask.data.audit.pick import pick_rows
from support.chat_templates import STYLES
from support.files import chat_rows
from support.vocabularies import tokenizer_of


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = tokenizer_of("byte-level", STYLES["chatml"].special)
    tokenizer.chat_template = STYLES["chatml"].template
    return tokenizer


@pytest.fixture(scope="module")
def rows():
    rows = chat_rows(12, seed=8)
    rows[5]["messages"] = rows[5]["messages"][:1]
    return rows


def numbers(shown):
    return [int(row.headline.split()[1].rstrip(":")) for row in shown.rows]


def test_every_kind_of_data_set_shows_the_same(tokenizer, rows, tmp_path):
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "a.parquet")
    want = preview(rows, tokenizer=tokenizer, pick="longest", max_rows=3).to_text()
    for data in (Dataset.from_list(rows), table, str(tmp_path / "a.parquet"), tmp_path / "a.parquet", Dataset.from_list(rows)[:]):
        assert preview(data, tokenizer=tokenizer, pick="longest", max_rows=3).to_text() == want
    assert numbers(preview(rows, tokenizer=tokenizer, pick="untrained")) == [5]
    one = preview(rows[3], tokenizer=tokenizer)
    out = encode_chat(tokenizer, [rows[3]["messages"]])
    assert one.rows[0].headline.startswith(
        f"row 0: {len(out.input_ids.values)} tokens, {int((out.labels.values != -100).sum())} trained"
    )


def test_a_policy_and_another_beside_it(tokenizer, rows):
    last = MaskPolicy(turns="last")
    shown = preview(rows, tokenizer=tokenizer, other=last, pick="mismatch", max_rows=None)
    chats = [row["messages"] for row in rows]
    ours, theirs = (encode_chat(tokenizer, chats, policy).labels.to_list() for policy in (MaskPolicy(), last))
    differ = [number for number in range(12) if ours[number] != theirs[number]]
    assert 0 < len(differ) < 12
    assert numbers(shown) == differ
    count = sum(a != b for a, b in zip(ours[differ[0]], theirs[differ[0]], strict=True))
    assert shown.rows[0].headline.endswith(f"in B; {count} tokens differ")
    assert numbers(preview(rows, tokenizer=tokenizer, policy=last, other=last, pick="mismatch")) == []


@pytest.mark.filterwarnings("ignore:1 of 12 rows in a batch have no trained tokens")
def test_labels_that_are_not_those_of_the_messages_are_found(tokenizer, rows):
    table = ChatMasker(tokenizer)(pa.Table.from_pylist(rows))
    masked = table.to_pylist()
    assert numbers(preview(masked, tokenizer=tokenizer, pick="mismatch")) == []
    masked[2]["labels"] = masked[2]["input_ids"]  # everything trains
    masked[7]["labels"] = [-100] * len(masked[7]["labels"])  # nothing trains
    masked[9]["messages"] = masked[8]["messages"]  # the ids are those of another conversation
    shown = preview(masked, tokenizer=tokenizer, pick="mismatch")
    assert numbers(shown) == [2, 7, 9]
    assert "(100%) in A" in shown.rows[0].headline
    assert shown.rows[2].headline.endswith("the other has other tokens")
    ids = [{"input_ids": row["input_ids"], "labels": row["labels"]} for row in masked]
    with pytest.raises(ValueError, match="pick: 'mismatch' compares masks with messages, and the data have none"):
        preview(ids, tokenizer=tokenizer, pick="mismatch")
    with pytest.raises(TypeError, match="rows: the data can be read only once"):
        pick_rows(iter(masked), tokenizer, pick="mismatch")


def test_rows_that_cannot_be_shown_are_counted(tokenizer, rows):
    broken = [rows[0], {"messages": "no list"}, rows[1], {"messages": [{"role": "user"}]}]
    shown = preview(broken, tokenizer=tokenizer, pick="longest")
    assert sorted(numbers(shown)) == [0, 2]
    assert "2 of 4 rows cannot be used; row 1: " in shown.to_text()
    assert "cannot be used" in shown.to_html()
    assert preview(rows, tokenizer=tokenizer, pick="longest").unusable == ""
