"""A whole call of a chat collator: rows in, padded torch ids, labels and mask out. TRL's collator is given finished labels."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from chats import FORMAT, chat_rows
from peers import TRL
from spanmask import DataCollatorForChat, mask_labels
from timing import compare
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


@pytest.fixture(scope="module")
def rows():
    """8 rows of 1,024 to 2,048 ids, 4 turns each."""
    lengths = np.random.default_rng(0).integers(1024, 2049, 8).tolist()
    return [chat_rows(1, length, 4)[0] for length in lengths]


@pytest.fixture(scope="module")
def calls(rows):
    """Kind of rows -> engine -> a call that returns a batch."""
    backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    ours = DataCollatorForChat(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"), chat_format=FORMAT)
    theirs = DataCollatorForLanguageModeling(pad_token_id=0)
    lists = [{"input_ids": row.tolist()} for row in rows]
    arrays = [{"input_ids": row} for row in rows]
    table = pa.table({"input_ids": [row.tolist() for row in rows]})
    labels = mask_labels(rows, FORMAT).labels.to_list()
    finished = [{**row, "labels": label} for row, label in zip(lists, labels, strict=True)]
    dataset = datasets.Dataset.from_list(finished)
    arrow = datasets.Dataset(table).with_format("arrow")
    all_rows = list(range(len(rows)))
    return {
        "lists": {"spanmask": lambda: ours(lists), TRL: lambda: theirs(finished)},
        "numpy-rows": {"spanmask": lambda: ours(arrays), f"{TRL}:lists": lambda: theirs(finished)},
        "arrow": {
            "spanmask": lambda: ours(table),
            "spanmask:datasets-arrow-format": lambda: ours(arrow[all_rows]),
            f"{TRL}:datasets-rows": lambda: theirs(dataset.__getitems__(all_rows)),
        },
    }


@pytest.mark.parametrize("kind", ["lists", "numpy-rows", "arrow"])
def test_batch(bench, calls, kind):
    expected = calls["lists"][TRL]()
    for engine, call in calls[kind].items():
        batch = call()
        for column in ("input_ids", "labels", "attention_mask"):
            assert torch.equal(batch[column], expected[column]), (engine, column)
    compare(bench(f"chat-collator/8x1k-2k/int64/{kind}", "spanmask"), calls[kind])
