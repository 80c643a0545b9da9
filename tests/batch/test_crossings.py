"""Every noise collator calls the core at most twice for a batch: once to read lists, once to draw and write. Chat: see test_batch.py."""

import numpy as np
import pyarrow as pa
import pytest
from spanmask import DataCollatorForMaskedLM, DataCollatorForSpanCorruption, _core

ROWS = [[5, 6, 7, 8, 9, 10], [10, 9, 8, 7]]
FEATURES = {
    "lists": [{"input_ids": row} for row in ROWS],
    "lists and masks": [{"input_ids": row, "attention_mask": [1] * len(row)} for row in ROWS],
    "arrays": [{"input_ids": np.array(row)} for row in ROWS],
    "arrow": pa.table({"input_ids": ROWS}),
    "lists and words": [{"input_ids": row, "word_ids": [None, *range(len(row) - 1)], "id": str(len(row))} for row in ROWS],
    "lists, words, masks": [
        {"input_ids": row, "word_ids": [None, *range(len(row) - 1)], "attention_mask": [True] * len(row), "id": "a"}
        for row in ROWS
    ],
}
COLLATORS = {
    "span corruption": (DataCollatorForSpanCorruption, "t5", "corrupt"),
    "masked lm": (DataCollatorForMaskedLM, "bert", "mask_tokens"),
}


@pytest.mark.parametrize("kind", FEATURES)
@pytest.mark.parametrize("name", COLLATORS)
def test_a_noise_batch_takes_one_call_and_one_more_for_lists(monkeypatch, request, name, kind):
    made, tokenizer, kernel = COLLATORS[name]
    key_column = "id" if "words" in kind else None
    collator = made(request.getfixturevalue(tokenizer), seed=1, on_repeat="ignore", key_column=key_column)
    calls = []
    for function in dir(_core):
        original = getattr(_core, function)
        if callable(original) and not isinstance(original, type) and not function.startswith("_"):
            monkeypatch.setattr(
                _core,
                function,
                lambda *args, _original=original, _name=function, **kwargs: calls.append(_name) or _original(*args, **kwargs),
            )
    batch = collator(FEATURES[kind])
    assert batch["input_ids"].shape[0] == len(ROWS)
    assert calls == (["read_rows", kernel] if kind.startswith("lists") else [kernel])
