"""Columns in forms that look like others: the same result as lists give, or an error that names the argument; never a part of the data."""

import io
import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForChat,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    MaskedDiffusion,
    MaskedLM,
    MaskPolicy,
    Ragged,
    SpanCorruption,
    corrupt,
    diffuse,
    infill,
    mask_labels,
    mask_tokens,
    preview,
)
from spanmask.noise.infill import TextInfilling
from support.public_callables import FORMAT, TOKENIZER
from torch._subclasses import FakeTensorMode
from torch.masked import masked_tensor

ROWS = [[5, 7, 8, 2, 5, 6, 9, 2], [5, 7, 11, 2, 5, 6, 12, 2]]
FLAGS = [[0, 1, 1, 0, 1, 1, 1, 1], [1, 0, 0, 1, 1, 1, 0, 0]]
REAL = [[1] * 8, [1] * 7 + [0]]
WEIGHTS = [[0.5, 1, 0, 0.25, 1, 0, 0.5, 1], [1, 0, 0, 0.5, 1, 1, 0, 0]]
SPEC = SpanCorruption(range(100, 140), 1)
MASKED = MaskedLM(4, 100, mlm_probability=0.5)
NOISE = {"tokenizer": TOKENIZER, "seed": 0, "return_tensors": "np", "on_repeat": "ignore"}
CHAT = DataCollatorForChat(TOKENIZER, chat_format=FORMAT, return_tensors="np", on_untrained_batch="ignore")
LM = DataCollatorForMaskedLM(**NOISE, spec=MASKED, token_columns=["extra"])
DIFFUSION = DataCollatorForMaskedDiffusion(**NOISE, spec=MaskedDiffusion(4), chat_format=FORMAT, weight_key="loss_weights")


class Tensor(torch.Tensor):
    """A class of the user's."""


def lm(**columns):
    return LM({"input_ids": ROWS, "extra": WEIGHTS, **columns})


# An argument, a column, and what is made of it.
COLUMNS = {
    "corrupt rows": ("rows", ROWS, lambda column: corrupt(column, SPEC).input_ids),
    "labels rows": ("rows", ROWS, lambda column: mask_labels(column, FORMAT).labels),
    "diffusion labels": ("labels", ROWS, lambda column: diffuse(ROWS, MaskedDiffusion(4), labels=column).labels),
    "chat input_ids": ("input_ids", ROWS, lambda column: CHAT({"input_ids": column})),
    "masked input_ids": ("input_ids", ROWS, lambda column: lm(input_ids=column)),
    "token_type_ids": ("token_type_ids", FLAGS, lambda column: lm(token_type_ids=column)),
    "protected_mask": ("protected_mask", FLAGS, lambda column: corrupt(ROWS, SPEC, protected_mask=column).input_ids),
    "sentence_starts": (
        "sentence_starts",
        FLAGS,
        lambda column: infill(ROWS, TextInfilling(4, permute_sentence_ratio=1.0), sentence_starts=column).input_ids,
    ),
    "attention_mask": (
        "attention_mask",
        REAL,
        lambda column: mask_tokens(np.array(ROWS), MASKED, attention_mask=column).labels,
    ),
    "chat attention_mask": ("attention_mask", REAL, lambda column: CHAT({"input_ids": ROWS, "attention_mask": column})),
    "masked attention_mask": ("attention_mask", REAL, lambda column: lm(attention_mask=column)),
    "mlm_probability": ("mlm_probability", WEIGHTS, lambda column: mask_tokens(ROWS, MASKED, mlm_probability=column).labels),
    "extra": ("extra", WEIGHTS, lambda column: lm(extra=column)),
    "loss_weights": ("loss_weights", WEIGHTS, lambda column: DIFFUSION({"input_ids": ROWS, "loss_weights": column})),
    "weights": ("weights", WEIGHTS, lambda column: preview(ROWS, ROWS, TOKENIZER, weights=column).to_text()),
}
SAME = {
    "array": lambda array: array,
    "class of arrays": lambda array: [np.ascontiguousarray(row).view(np.recarray) for row in array],
    "reversed": lambda array: np.ascontiguousarray(array[::-1, ::-1])[::-1, ::-1],
    "class of tensors": lambda array: torch.from_numpy(array).as_subclass(Tensor),
    "rows of such a class": lambda array: list(torch.from_numpy(array).as_subclass(Tensor)),
    "negative": lambda array: torch._neg_view(-torch.from_numpy(array)).as_subclass(Tensor),
    "rows of negative": lambda array: list(torch._neg_view(-torch.from_numpy(array))),
    "Arrow": lambda array: pa.array(array.tolist()),
    "pandas": lambda array: pd.Series(array.tolist()),
}
OTHER = {
    "masked": lambda array: np.ma.masked_array(array, mask=np.eye(*array.shape)),
    "rows of masked": lambda array: [np.ma.masked_array(row, mask=row == row[0]) for row in array],
    "meta": lambda array: torch.from_numpy(array).to("meta"),
    "rows of meta": lambda array: list(torch.from_numpy(array).as_subclass(Tensor).to("meta")),
    "sparse": lambda array: torch.from_numpy(array).to_sparse(),
    "fake": lambda array: FakeTensorMode().from_tensor(torch.from_numpy(array)),
    "masked tensor": lambda array: masked_tensor(torch.from_numpy(array), torch.eye(*array.shape).bool()),
    "complex": lambda array: array.astype(np.complex64),
    "dates": lambda array: array.astype("M8[s]"),
    "file": lambda _: io.StringIO("5 7 8 2"),
    "dict": lambda array: dict(enumerate(array.tolist())),
    "nested": lambda array: [[[1], *array[0].tolist()[1:]], array[1].tolist()],
    "pandas with text": lambda array: pd.Series([["5", *array[0].tolist()[1:]], array[1].tolist()]),
    "pandas beyond int64": lambda array: pd.Series([[2**64, *array[0].tolist()[1:]], array[1].tolist()]),
}


@pytest.mark.parametrize("form", SAME)
@pytest.mark.parametrize("name", COLUMNS)
def test_the_same_data(name, form):
    _, column, call = COLUMNS[name]
    array = np.array(column, np.float32 if column is WEIGHTS else np.int64)
    made, expected = call(SAME[form](array)), call(column)
    if isinstance(expected, dict):
        assert {name: made[name].tolist() for name in made} == {name: expected[name].tolist() for name in expected}
    else:
        assert np.array_equal(made, expected) if isinstance(expected, np.ndarray) else made == expected


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (name, form)
        for name, (_, column, _) in COLUMNS.items()
        for form in OTHER
        if form != "pandas beyond int64" or column is not WEIGHTS  # 2**64 is a number of float32
    ],
)
def test_what_cannot_be_read(name, form):
    argument, column, call = COLUMNS[name]
    array = np.array(column, np.float32 if column is WEIGHTS else np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # masked and nested tensors are prototypes
        bad = OTHER[form](array)
        with pytest.raises((ValueError, TypeError)) as error:
            call(bad)
    assert argument in str(error.value)


@pytest.mark.parametrize("kind", [np.bool_, torch.bool])
@pytest.mark.parametrize("name", ["chat attention_mask", "masked attention_mask"])
def test_attention_masks_of_flags(name, kind):
    _, column, call = COLUMNS[name]
    flags = torch.tensor(column, dtype=kind) if isinstance(kind, torch.dtype) else np.array(column, kind)
    for mask in (flags, list(flags), tuple(map(tuple, flags.tolist()))):
        assert call(mask)["input_ids"].tolist() == call(column)["input_ids"].tolist()


def test_token_types_are_integers():
    with pytest.raises(TypeError, match="token_type_ids: expected integers, got floats"):
        lm(token_type_ids=[[0.0] * 8, [float("nan")] * 8])


@pytest.mark.parametrize("number", [-1.0, float("nan"), float("inf")])
def test_weights_of_a_preview_are_weights(number):
    with pytest.raises(ValueError, match="weights: row 1 has .* at position 2; expected finite weights"):
        preview(ROWS, ROWS, TOKENIZER, weights=[WEIGHTS[0], [0, 0, number, 0, 0, 0, 0, 0]])


def test_numbers_for_each_row_are_not_masked():
    with pytest.raises(TypeError, match="mask_ratio: a masked array"):
        infill(ROWS, TextInfilling(4), mask_ratio=np.ma.masked_array([0.3, 0.5], mask=[0, 1]))
    with pytest.raises(TypeError, match="keys: a masked array"):
        corrupt(ROWS, SPEC, keys=np.ma.masked_array([1, 2], mask=[0, 1]))
    with pytest.raises(TypeError, match="special_ids: expected token ids, got MaskedArray"):
        MaskedLM(4, 100, special_ids=np.ma.masked_array([1, 2], mask=[0, 1]))


@pytest.mark.parametrize(
    ("values", "padding"), [(np.array([True]), "x"), (np.ones(1, np.float32), "1"), (np.ones(1, np.float32), None)]
)
def test_padding_is_a_number_of_the_kind_of_the_values(values, padding):
    with pytest.raises((ValueError, TypeError), match="^value: "):
        Ragged(values, [0, 1]).to_padded(padding)


@pytest.mark.parametrize("unit", ["s", "ns"])
def test_durations_of_numpy_are_no_numbers(unit):
    """They are a kind of its integers."""
    one = np.timedelta64(1, unit)
    with pytest.raises(TypeError, match="^mlm_probability: "):
        MaskedLM(4, 100, mlm_probability=one)
    with pytest.raises(ValueError, match="^replace_length: "):
        TextInfilling(4, replace_length=one)
    with pytest.raises(ValueError, match="^prompt_weight: "):
        MaskPolicy(prompt_weight=one)
    with pytest.raises(ValueError, match="^ignore_index: "):
        mask_tokens(ROWS, MASKED, ignore_index=one)
