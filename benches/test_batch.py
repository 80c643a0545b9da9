"""A whole chat collator call: rows in, padded torch ids, labels and mask out. TRL's collator gets its labels ready made."""

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from peers import ASSISTANT, EOS, USER
from spanmask import ChatFormat, DataCollatorForChat, RoleBoundary, mask_labels
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

FORMAT = ChatFormat([RoleBoundary("assistant", ASSISTANT, [EOS]), RoleBoundary("user", USER)])


@pytest.fixture(scope="module")
def rows():
    """8 rows of 1k to 2k ids, 4 turns each."""
    rng = np.random.default_rng(0)
    made = []
    for length in rng.integers(1024, 2049, 8).tolist():
        row = rng.integers(10, 32000, length)
        for turn, start in enumerate(np.linspace(0, length, 5, dtype=int)[:4].tolist()):
            row[start : start + 3] = ASSISTANT if turn % 2 else USER
            if turn % 2 == 0 and turn:
                row[start - 1] = EOS
        made.append(row)
    return made


@pytest.fixture(scope="module")
def calls(rows):
    """Input/engine -> a call that returns a batch."""
    backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    ours = DataCollatorForChat(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"), FORMAT)
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
        "lists/trl-1.16": lambda: theirs(ready),
        "lists/spanmask": lambda: ours(lists),
        "numpy/trl-1.16 (lists)": lambda: theirs(ready),
        "numpy/spanmask": lambda: ours(arrays),
        "arrow/trl-1.16 (datasets rows)": lambda: theirs(dataset.__getitems__(everything)),
        "arrow/spanmask": lambda: ours(table),
        "arrow/spanmask (datasets, arrow format)": lambda: ours(arrow[everything]),
    }


ENGINES = [
    "lists/trl-1.16",
    "lists/spanmask",
    "numpy/trl-1.16 (lists)",
    "numpy/spanmask",
    "arrow/trl-1.16 (datasets rows)",
    "arrow/spanmask",
    "arrow/spanmask (datasets, arrow format)",
]


@pytest.mark.parametrize("name", ENGINES)
def test_batch(benchmark, calls, name):
    kind, _, engine = name.partition("/")
    benchmark.group = f"collate/8x1k-2k/{kind}"
    benchmark.extra_info["engine"] = engine
    expected = calls["lists/trl-1.16"]()
    batch = calls[name]()
    for column in ("input_ids", "labels", "attention_mask"):
        assert torch.equal(batch[column], expected[column]), column
    benchmark(calls[name])
