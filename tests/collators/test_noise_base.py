"""What all noise collators have in common: keys, options, and columns of pandas."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForTextInfilling,
    FillInTheMiddle,
    LinearRate,
    SpanCorruption,
    corrupt,
    mask_tokens,
)
from support.denoising import bert_tokenizer

SPANS = SpanCorruption(sentinel_ids=range(900, 960), eos_token_id=None)
# The collator, its option for the rate, the column with the rate of each row, and a spec where the tokenizer has no tokens for it.
COLLATORS = {
    "masked LM": (DataCollatorForMaskedLM, "mlm_probability", "mlm_probability", None),
    "spans": (DataCollatorForSpanCorruption, "noise_density", "noise_density", SPANS),
    "infilling": (DataCollatorForTextInfilling, "mask_ratio", "mask_ratio", None),
    "fill in the middle": (DataCollatorForFillInTheMiddle, "rate", "fim_rate", FillInTheMiddle(800, 801, 802)),
}
everywhere = pytest.mark.parametrize(("cls", "option", "column", "spec"), COLLATORS.values(), ids=COLLATORS)
ROWS = [list(range(6, 6 + length)) for length in (31, 0, 17, 2)]


def collator(cls, spec, **options):
    return cls(bert_tokenizer(60), spec=spec, **{"seed": 8, "on_repeat": "ignore", "return_tensors": "np", **options})


def same(batch, other):
    return batch.keys() == other.keys() and all(np.array_equal(batch[name], other[name]) for name in batch)


@everywhere
@pytest.mark.parametrize("index", [range(4), [7, 0, 3, 1], ["a", "b", "c", "d"]])
def test_columns_of_pandas_are_read_by_their_places(cls, option, column, spec, index):
    made = collator(cls, spec, key_column="id", keep_columns="group", token_columns="score")
    columns = {
        "input_ids": ROWS,
        "score": [[0.5] * len(row) for row in ROWS],
        "id": ["x", "y", "é", ""],
        "group": [3, 1, 2, 0],
        column: [0.9, 0.5, 0.7, 0.8],
        "special_tokens_mask": [[int(at % 9 == 0) for at in range(len(row))] for row in ROWS],
    }
    series = {name: pd.Series(entries, index=index) for name, entries in columns.items()}
    assert same(made(series), made(columns))
    assert same(made(pd.DataFrame(series)), made(columns))


def test_functions_read_columns_of_pandas():
    rates, keys = pd.Series([0.3, 0.4, 0.5, 0.6], index=[9, 8, 7, 6]), pd.Series(["a", "b", "c", "d"], dtype="category")
    flags = pd.Series([[at % 5 == 0 for at in range(len(row))] for row in ROWS])
    given = {"seed": 3, "keys": list(keys), "protected_mask": list(flags)}
    out = corrupt(ROWS, SPANS, seed=3, keys=keys, protected_mask=flags, noise_density=rates)
    assert out.input_ids == corrupt(ROWS, SPANS, noise_density=list(rates), **given).input_ids
    spec = collator(DataCollatorForMaskedLM, None).spec
    by_token = pd.Series([[0.5] * len(row) for row in ROWS])
    out = mask_tokens(ROWS, spec, seed=3, keys=keys, protected_mask=flags, mlm_probability=by_token)
    assert out.labels == mask_tokens(ROWS, spec, mlm_probability=list(by_token), **given).labels


@everywhere
@pytest.mark.parametrize(
    ("keys", "error", "message"),
    [
        (["a", "b", None, "d"], TypeError, "row 2 has None (NoneType); keys are all integers or all strings"),
        (pa.array(["a", None, "c", "d"]), TypeError, "row 1 has None (NoneType)"),
        (["a", "b", "c", 4], TypeError, "row 3 has 4 (int)"),
        ([1, "b", 3, 4], TypeError, "row 1 has 'b' (str)"),
        (["a", "b", "c", "\ud800"], ValueError, "row 3 has '\\ud800', which is not valid Unicode"),
        (torch.ones(4, 2, dtype=torch.int64), TypeError, "row 0 has "),
        (np.ones((4, 2), np.int64), TypeError, "row 0 has "),
        ([1, 2, 3, 2**64], ValueError, "row 3 has 18446744073709551616, which does not fit in 64 bits"),
        ([1, 2.5, 3, 4], TypeError, "row 1 has 2.5 (float)"),
    ],
)
def test_wrong_keys_name_the_option_and_the_row(cls, option, column, spec, keys, error, message):
    with pytest.raises(error, match=re.escape(f"key_column: {message}")):
        collator(cls, spec, key_column="id")({"input_ids": ROWS, "id": keys})
    with pytest.raises(error, match=re.escape(f"keys: {message}")):
        corrupt(ROWS, SPANS, keys=keys)


@everywhere
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"key_column": ["id"]}, TypeError, "key_column: expected the name of a column, got ['id']"),
        ({"key_column": 3}, TypeError, "key_column: expected the name of a column, got 3"),
        ({"padding_side": ""}, ValueError, "padding_side: expected 'right' or 'left', got ''"),
        ({"padding_side": 0}, ValueError, "padding_side: expected 'right' or 'left', got 0"),
    ],
)
def test_wrong_options_are_errors_at_once(cls, option, column, spec, options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        collator(cls, spec, **options)


@pytest.mark.parametrize("cls", [DataCollatorForMaskedLM, DataCollatorForTextInfilling])
@pytest.mark.parametrize("tokenizer", ["bert-base-cased", None, 5])
def test_what_is_no_tokenizer_is_called_so(cls, tokenizer):
    with pytest.raises(TypeError, match=f"^tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}"):
        cls(tokenizer)


@everywhere
@pytest.mark.parametrize("value", [0.25, LinearRate(0.2, 0.3, steps=5)])
def test_the_remedy_for_a_rate_that_moves_works(cls, option, column, spec, value):
    moving = collator(cls, spec, **{option: LinearRate(0.9, 0.8, steps=5)})
    with pytest.raises(AttributeError, match="a rate that moves is fixed; make another collator: ") as caught:
        setattr(moving, option, value)
    remedy = str(caught.value).partition("make another collator: ")[2].rstrip(".")
    other = eval(remedy, {"dataclasses": dataclasses, "collator": moving, "LinearRate": LinearRate})
    features = {"input_ids": [list(range(start, 45)) for start in range(6, 26)]}
    assert same(other(features), other({**features, column: [value if value == 0.25 else 0.2] * 20}))
    assert not same(other(features), moving(features))


@everywhere
def test_a_changed_copy_continues_at_the_epoch_and_step(cls, option, column, spec):
    first = collator(cls, spec, **{option: LinearRate(0.9, 0.1, steps=50)})
    first.set_epoch(3)
    first.set_step(41)
    copy = dataclasses.replace(first, max_length=20)
    assert (copy.epoch, copy.step, copy.max_length) == (3, 41, 20)
    assert copy.state_dict() == first.state_dict()
    copy.set_step(2)
    assert first.step == 41


@pytest.mark.filterwarnings("ignore:labels. this batch has none")
@pytest.mark.parametrize("cls", [DataCollatorForMaskedLM, DataCollatorForTextInfilling, DataCollatorForMaskedDiffusion])
def test_rows_without_noise_are_no_repeat(cls):
    """Empty rows and rows of special tokens are equal, and come again in one pass."""
    options = {"weight_key": "loss_weights"} if cls is DataCollatorForMaskedDiffusion else {}
    made = cls(bert_tokenizer(60), seed=8, on_repeat="raise", return_tensors="np", **options)
    no_noise = [{"input_ids": [], "protected_mask": []}, {"input_ids": [2, 3], "protected_mask": [1, 1]}]
    some = {"input_ids": list(range(7, 90)), "protected_mask": [0] * 83}
    for row in (*no_noise, *no_noise, some, *no_noise):
        made([row])
    with pytest.raises(ValueError, match="the masks repeat"):
        made([some])


@everywhere
def test_attention_masks_of_numpy_flags_in_lists(cls, option, column, spec):
    made = collator(cls, spec)
    ids, mask = list(range(9, 49)), [True] * 30 + [False] * 10
    assert same(made([{"input_ids": ids, "attention_mask": [*map(np.bool_, mask)]}]), made([{"input_ids": ids[:30]}]))


@everywhere
@pytest.mark.parametrize("empty", [np.array([]), torch.tensor([])], ids=["NumPy", "torch"])
def test_what_frameworks_make_of_an_empty_list_is_an_empty_row(cls, option, column, spec, empty):
    array = type(empty) is np.ndarray
    rows = [np.array(row) if array else torch.tensor(row, dtype=torch.int64) for row in ROWS]
    made = collator(cls, spec)([{"input_ids": row} for row in [empty, *rows]])
    assert same(made, collator(cls, spec)([{"input_ids": row} for row in [[], *ROWS]]))
