"""`ChatMasker`: Arrow tables in and out; the labels are those of the collator, whatever the partitioning."""

import pickle
import random

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, IterableDataset
from datasets.fingerprint import Hasher
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, RoleBoundary, SpanmaskWarning, encode_chat
from spanmask.arrow import ChatMasker
from support.chat_templates import STYLES
from support.vocabularies import tokenizer_of

pytestmark = pytest.mark.filterwarnings("ignore:.*rows in a batch have no trained tokens:spanmask.SpanmaskWarning")

FORMAT = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
ROW = [5, 7, 8, 2, 5, 6, 9, 10, 2]
LABELS = [-100] * 6 + [9, 10, 2]


@pytest.fixture(scope="module")
def tokenizer():
    made = tokenizer_of("byte-level", STYLES["chatml"].special)
    made.chat_template = STYLES["chatml"].template
    return made


@pytest.fixture(scope="module")
def chats():
    rng = random.Random(7)
    words = ["<|im_start|>assistant", "evil", "a", "cat", "\n", "Zoë", "<|im_end|>", "1+1", "```py"]

    def text():
        return " ".join(rng.choices(words, k=rng.randint(1, 12)))

    return [
        [{"role": role, "content": text()} for _ in range(rng.randint(1, 4)) for role in ("user", "assistant")] for _ in range(40)
    ]


def ids_table(kind, rows=(ROW, ROW[:4])):
    return pa.table({"id": [f"r{n}" for n in range(len(rows))], "input_ids": pa.array(rows, kind)})


@pytest.mark.parametrize("outer", [pa.list_, pa.large_list])
@pytest.mark.parametrize("inner", [pa.uint16(), pa.int32(), pa.uint32(), pa.int64()])
def test_labels_are_int32_lists_of_the_kind_of_the_ids(tokenizer, outer, inner):
    table = ids_table(outer(inner))
    masker = ChatMasker(tokenizer, chat_format=FORMAT)
    with pytest.warns(SpanmaskWarning, match="no trained turn"):
        out = masker(table)
    assert out.schema == masker.schema(table.schema) == pa.schema([*table.schema, pa.field("labels", outer(pa.int32()))])
    assert out["labels"].to_pylist() == [LABELS, [-100] * 4]
    assert out["input_ids"] == table["input_ids"]
    assert masker.report.trained_tokens == 3


def test_fixed_size_lists_and_slices_and_chunks(tokenizer):
    fixed = pa.table({"input_ids": pa.array([ROW, ROW], pa.list_(pa.int32(), len(ROW)))})
    masker = ChatMasker(tokenizer, chat_format=FORMAT)
    assert masker(fixed)["labels"].to_pylist() == [LABELS, LABELS]
    chunks = pa.concat_tables([ids_table(pa.list_(pa.int32()), [ROW, ROW[:8]]).slice(1), ids_table(pa.list_(pa.int32()), [ROW])])
    assert masker(chunks)["labels"].to_pylist() == [LABELS[:8], LABELS]


def test_a_record_batch_stays_one_and_an_empty_table_has_the_schema(tokenizer):
    masker = ChatMasker(tokenizer, chat_format=FORMAT)
    batch = ids_table(pa.list_(pa.int32()), [ROW, ROW]).to_batches()[0]
    out = masker(batch)
    assert isinstance(out, pa.RecordBatch)
    assert out.num_rows == 2
    empty = batch.slice(0, 0)
    assert masker(empty).schema == out.schema
    assert [part.num_rows for part in masker.map_in_arrow([batch, empty, batch])] == [2, 0, 2]


def test_loss_mask_and_weights_and_max_length(tokenizer):
    table = ids_table(pa.large_list(pa.int64()), [ROW, ROW])
    masker = ChatMasker(
        tokenizer, MaskPolicy(role_weights={"assistant": 0.5}), chat_format=FORMAT, output="loss_mask", max_length=8
    )
    out = masker(table)
    assert out.schema.field("input_ids").type == pa.large_list(pa.int64())
    assert out.schema.field("loss_mask").type == pa.large_list(pa.int8())
    assert out["input_ids"].to_pylist() == [ROW[:8]] * 2
    assert out["loss_mask"].to_pylist() == [[0] * 6 + [1, 1]] * 2
    assert out["loss_weights"].to_pylist() == [[0.0] * 6 + [0.5, 0.5]] * 2


def test_weights_asked_for_are_there_without_a_weighted_policy(tokenizer):
    out = ChatMasker(tokenizer, chat_format=FORMAT, weights=True)(ids_table(pa.list_(pa.int32()), [ROW]))
    assert out["loss_weights"].to_pylist() == [[0.0] * 6 + [1.0] * 3]


def test_weights_of_rows_need_their_column(tokenizer):
    table = ids_table(pa.list_(pa.int32()), [ROW]).append_column("turn_weights", pa.array([[0.25]]))
    with pytest.raises(ValueError, match="weights: .*weights=True"):
        ChatMasker(tokenizer, chat_format=FORMAT)(table)
    assert ChatMasker(tokenizer, chat_format=FORMAT, weights=True)(table)["loss_weights"].to_pylist()[0][-1] == 0.25


def test_padding_of_the_rows_is_kept_unless_they_are_cut(tokenizer):
    rows = [[0, 0, *ROW], [*ROW, 0, 0]]
    mask = [[0, 0, *[1] * len(ROW)], [*[1] * len(ROW), 0, 0]]
    table = ids_table(pa.list_(pa.int32()), rows).append_column("attention_mask", pa.array(mask, pa.list_(pa.int8())))
    out = ChatMasker(tokenizer, chat_format=FORMAT)(table)
    assert out["labels"].to_pylist() == [[-100, -100, *LABELS], [*LABELS, -100, -100]]
    assert out["attention_mask"].to_pylist() == mask
    cut = ChatMasker(tokenizer, chat_format=FORMAT, max_length=8)(table)
    assert cut["labels"].to_pylist() == [LABELS[:8]] * 2
    assert cut["attention_mask"].to_pylist() == [[1] * 8] * 2


def test_rows_that_train_nothing_are_dropped_with_their_other_columns(tokenizer):
    table = ids_table(pa.list_(pa.int32()), [ROW[:4], ROW, ROW[:4]])
    masker = ChatMasker(tokenizer, MaskPolicy(on_untrained_row="drop"), chat_format=FORMAT)
    out = masker(table)
    nothing = masker(table.slice(0, 1))
    assert out.to_pylist() == [{"id": "r1", "input_ids": ROW, "labels": LABELS}]
    assert nothing.num_rows == 0
    assert nothing.schema == out.schema


def test_columns_have_other_names_and_only_some_are_kept(tokenizer, chats):
    table = pa.table({"dialogue": chats, "messages": list(range(len(chats))), "id": list(range(len(chats)))})
    out = ChatMasker(tokenizer, columns={"messages": "dialogue"}, keep_columns=["id"])(table)
    assert out.column_names == ["id", "input_ids", "labels"]
    want = encode_chat(tokenizer, chats)
    assert out["input_ids"].to_pylist() == want.input_ids.to_list()
    assert out["labels"].to_pylist() == want.labels.to_list()


def test_every_partitioning_gives_the_rows_of_the_collator(tokenizer, chats):
    table = pa.table({"messages": chats})
    tokenizer.pad_token = "<|im_end|>"
    batch = DataCollatorForChat(tokenizer, return_tensors="np", max_length=60, on_untrained_batch="ignore")(
        [{"messages": chat} for chat in chats]
    )
    want = [row[mask != 0].tolist() for row, mask in zip(batch["labels"], batch["attention_mask"], strict=True)]
    masker = ChatMasker(tokenizer, max_length=60)
    for size in (1, 3, 7, len(chats)):
        parts = [masker(table.slice(first, size)) for first in range(0, len(chats), size)]
        assert pa.concat_tables(parts)["labels"].to_pylist() == want


@pytest.mark.needs("datasets>=4")  # older ones do not stream data sets in these formats
def test_datasets_processes_caches_and_streams(tokenizer, chats, tmp_path):
    dataset = Dataset.from_dict({"messages": chats}).with_format("arrow")
    dataset.save_to_disk(tmp_path / "set")
    dataset = Dataset.load_from_disk(tmp_path / "set").with_format("arrow")
    masker = ChatMasker(tokenizer, max_length=50)
    one = dataset.map(masker, batched=True, batch_size=7)
    assert one.features["labels"].feature.dtype == "int32"
    two = dataset.map(masker, batched=True, batch_size=11, num_proc=2)
    assert one.with_format(None)[:] == two.with_format(None)[:]
    files = {file.name for file in (tmp_path / "set").iterdir()}
    again = dataset.map(ChatMasker(tokenizer, max_length=50), batched=True, batch_size=7)  # a hit: no new file
    assert {file.name for file in (tmp_path / "set").iterdir()} == files
    assert again._fingerprint == one._fingerprint
    other = dataset.map(ChatMasker(tokenizer, max_length=49), batched=True, batch_size=7)
    assert other._fingerprint != one._fingerprint
    stream = dataset.to_iterable_dataset(num_shards=4).map(masker, batched=True, batch_size=5)
    assert isinstance(stream, IterableDataset)
    rows = list(stream.with_format(None))
    assert [row["labels"] for row in rows] == one.with_format(None)["labels"][:]


def test_a_stream_resumes_where_it_stopped(tokenizer, chats):
    stream = Dataset.from_dict({"messages": chats}).to_iterable_dataset(num_shards=4).with_format("arrow")
    stream = stream.map(ChatMasker(tokenizer), batched=True, batch_size=5).with_format(None)
    whole, first = [row["labels"] for row in stream], []
    for row in stream:
        first.append(row["labels"])
        if len(first) == 13:
            state = stream.state_dict()
            break
    stream.load_state_dict(state)
    assert first + [row["labels"] for row in stream] == whole


def test_the_hash_depends_on_options_not_on_use(tokenizer, chats):
    masker = ChatMasker(tokenizer)
    fresh = Hasher.hash(masker)
    masker(pa.table({"messages": chats}))
    assert Hasher.hash(masker) == fresh == Hasher.hash(pickle.loads(pickle.dumps(masker)))
    assert Hasher.hash(ChatMasker(tokenizer, MaskPolicy(train_on_eos="none"))) != fresh
    assert Hasher.hash(ChatMasker(tokenizer, output="loss_mask")) != fresh


@pytest.mark.parametrize("chunks", [1, 3])
def test_many_rows_are_handled_in_parts(tokenizer, chunks, monkeypatch):
    monkeypatch.setattr("spanmask.data.operator.PART_ROWS", 10)
    rows = [ROW[: 6 + n % 4] for n in range(103)]
    table = pa.concat_tables([ids_table(pa.list_(pa.int32()), rows)] * chunks)
    out = ChatMasker(tokenizer, chat_format=FORMAT)(table)
    assert out["labels"].to_pylist() == [LABELS[: len(row)] for row in rows] * chunks


def test_bad_input_is_named(tokenizer):
    masker = ChatMasker(tokenizer, chat_format=FORMAT)
    with pytest.raises(TypeError, match="table: expected an Arrow table"):
        masker({"input_ids": [ROW]})
    with pytest.raises(ValueError, match="no column holds messages"):
        masker(pa.table({"x": [1]}))
    with pytest.raises(ValueError, match="columns: no column 'dialogue'"):
        ChatMasker(tokenizer, columns={"messages": "dialogue"})(pa.table({"x": [1]}))
    with pytest.raises(ValueError, match="keep_columns: no column 'y'"):
        ChatMasker(tokenizer, keep_columns=["y"])(ids_table(pa.list_(pa.int32())))
    with pytest.raises(TypeError, match="columns: expected a dict"):
        ChatMasker(tokenizer, columns="messages")
    with pytest.raises(ValueError, match="output: expected"):
        ChatMasker(tokenizer, output="mask")
    with pytest.raises(ValueError, match="row 1 is null"):
        masker(pa.table({"input_ids": pa.array([ROW, None], pa.list_(pa.int32()))}))
    big = pa.table({"input_ids": pa.array([[5, 6, 2**40, 2]], pa.list_(pa.int64()))})
    with pytest.raises(ValueError, match=rf"labels: the id {2**40} does not fit in int32"):
        masker(big)


def test_metadata_about_other_columns_is_not_passed_on(tokenizer):
    table = Dataset.from_dict({"input_ids": [ROW]}).with_format("arrow")[:]
    table = table.replace_schema_metadata({b"huggingface": b"{}", b"origin": b"here"})
    assert ChatMasker(tokenizer, chat_format=FORMAT)(table).schema.metadata == {b"origin": b"here"}


def test_values_are_not_python_objects(tokenizer):
    out = ChatMasker(tokenizer, chat_format=FORMAT)(ids_table(pa.list_(pa.int32()), [ROW, ROW]))
    assert np.array_equal(out["labels"].combine_chunks().flatten().to_numpy(), [*LABELS, *LABELS])
