"""A whole chat collator call: rows in, padded torch ids, labels and mask out. TRL's collator gets its labels ready made."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from chats import FORMAT, chat_rows
from peers import TRL
from spanmask import DataCollatorForChat, mask_labels
from timing import in_turn
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling


@pytest.fixture(scope="module")
def rows():
    """8 rows of 1k to 2k ids, 4 turns each."""
    lengths = np.random.default_rng(0).integers(1024, 2049, 8).tolist()
    return [chat_rows(1, length, 4)[0] for length in lengths]


@pytest.fixture(scope="module")
def calls(rows):
    """Input -> engine -> a call that returns a batch."""
    backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    ours = DataCollatorForChat(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"), chat_format=FORMAT)
    theirs = DataCollatorForLanguageModeling(pad_token_id=0)
    lists = [{"input_ids": row.tolist()} for row in rows]
    arrays = [{"input_ids": row} for row in rows]
    table = pa.table({"input_ids": [row.tolist() for row in rows]})
    labels = mask_labels(rows, FORMAT).labels.to_list()
    ready = [{**row, "labels": label} for row, label in zip(lists, labels, strict=True)]
    dataset = datasets.Dataset.from_list(ready)
    arrow = datasets.Dataset(table).with_format("arrow")
    everything = list(range(len(rows)))
    return {
        "lists": {"spanmask": lambda: ours(lists), TRL: lambda: theirs(ready)},
        "numpy-rows": {"spanmask": lambda: ours(arrays), f"{TRL}:lists": lambda: theirs(ready)},
        "arrow": {
            "spanmask": lambda: ours(table),
            "spanmask:datasets-arrow-format": lambda: ours(arrow[everything]),
            f"{TRL}:datasets-rows": lambda: theirs(dataset.__getitems__(everything)),
        },
    }


@pytest.mark.parametrize("kind", ["lists", "numpy-rows", "arrow"])
def test_batch(bench, calls, kind):
    expected = calls["lists"][TRL]()
    for engine, call in calls[kind].items():
        batch = call()
        for column in ("input_ids", "labels", "attention_mask"):
            assert torch.equal(batch[column], expected[column]), (engine, column)
    in_turn(bench(f"chat-collator/8x1k-2k/int64/{kind}", "spanmask"), calls[kind])
