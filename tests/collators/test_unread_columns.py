"""Columns that are meant for noise but are not read are errors that name the right column; other columns are dropped."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DenoiserMixture,
    FillInTheMiddle,
)
from support.denoising import bert_tokenizer, t5_tokenizer

ROWS = [[10, 11, 12, 13, 14, 15, 16, 17]] * 2
BY_TOKEN = [[0, 0, 1, 1, 2, 2, 3, 3]] * 2
COLLATORS = {
    "masked LM": DataCollatorForMaskedLM(bert_tokenizer(40), seed=3, on_repeat="ignore", mlm_probability=0.9),
    "spans": DataCollatorForSpanCorruption(t5_tokenizer([f"w{number}" for number in range(20)]), seed=3, on_repeat="ignore"),
    "diffusion": DataCollatorForMaskedDiffusion(
        bert_tokenizer(40), seed=3, on_repeat="ignore", eps=0.9, weight_key="loss_weights"
    ),
}
everywhere = pytest.mark.parametrize("collator", COLLATORS.values(), ids=COLLATORS)


def features(**columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(ROWS)]


@everywhere
@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("protected", "protected_mask"),
        ("Protected-Mask", "protected_mask"),
        ("protected_masks", "protected_mask"),
        ("words", "word_ids"),
        ("word_id", "word_ids"),
        ("wordIds", "word_ids"),
        ("word_start", "word_starts"),
        ("special_tokens", "special_tokens_mask"),
        ("attention_masks", "attention_mask"),
        ("token_type_id", "token_type_ids"),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
def test_a_column_by_token_under_another_name(collator, name, right, kind):
    message = f"^features: the column '{name}' is not read by this collator, .* Rename it to '{right}'"
    with pytest.raises(ValueError, match=message):
        collator(features(**{name: [kind(row) for row in BY_TOKEN]}))
    with pytest.raises(ValueError, match=message):
        collator(pa.table({"input_ids": ROWS, name: BY_TOKEN}))


@pytest.mark.parametrize(
    ("name", "reader", "right"),
    [
        ("noise_density", "masked LM", "mlm_probability"),
        ("mask_probability", "masked LM", "mlm_probability"),
        ("mlm_probabilitys", "masked LM", "mlm_probability"),
        ("mask_ratio", "masked LM", "mlm_probability"),
        ("mask_ratio", "spans", "noise_density"),
        ("masked_fraction", "diffusion", "mask_ratio"),
        ("mlm_probability", "diffusion", "mask_ratio"),
        ("mlm_probability", "spans", "noise_density"),
        ("masking_rate", "spans", "noise_density"),
        ("mean_span_length", "spans", "mean_noise_span_length"),
    ],
)
@pytest.mark.parametrize("value", [0.3, 3, np.float32(0.5), torch.tensor(0.5), [0.5] * 8])
def test_a_rate_under_another_name(name, reader, right, value):
    with pytest.raises(
        ValueError, match=f"^features: the column '{name}' is not read by this collator, .* Rename it to '{right}'"
    ):
        COLLATORS[reader](features(**{name: [value] * 2}))


def test_a_span_length_has_no_place_in_masked_lm():
    with pytest.raises(
        ValueError, match="the column 'mean_noise_span_length' is not read .* It is a setting of span corruption. Remove"
    ):
        COLLATORS["masked LM"](features(mean_noise_span_length=[3.0, 3.0]))


@pytest.mark.parametrize("name", ["mlm_probability", "mask_ratio"])
def test_a_mixture_has_no_rate_to_rename_a_column_to(name):
    tokenizer = t5_tokenizer([f"w{number}" for number in range(20)])
    collator = DataCollatorForSpanCorruption(tokenizer, spec=DenoiserMixture.ul2(tokenizer))
    with pytest.raises(ValueError, match=f"the column '{name}' is not read .* It has no rates by row. Remove the column"):
        collator(features(**{name: [0.3, 0.3]}))


def test_a_mask_is_passed_to_corrupt():
    with pytest.raises(ValueError, match=r"the column 'noise_mask' is not read .* Pass it to corrupt\(noise_mask=...\)"):
        COLLATORS["spans"](features(noise_mask=BY_TOKEN))


@pytest.mark.parametrize("collator", [COLLATORS["masked LM"], COLLATORS["spans"]])
@pytest.mark.parametrize(
    "columns",
    [
        {"words": [["a", "b"], ["c"]]},  # text
        {"words": [[], []]},
        {"words": [512, 30]},  # a count
        {"protected": [True, False]},
        {"mask_rate": ["high", "low"]},
        {
            "labels": [[1, 2], [3]],
            "text": ["a", "b"],
            "id": [1, 2],
            "length": [8, 8],
            "score": [0.5, 0.25],
            "tokens": [["a"], ["b"]],
        },
        {"words": BY_TOKEN, "word_ids": BY_TOKEN},  # the right column is there
        {"attn_mask": BY_TOKEN, "attention_mask": [[1] * 8] * 2},
        {"noise_density": [0.3, 0.3], "mlm_probability": [0.9, 0.9]},  # examples for several objectives
        {"words": [None, None]},
        {"words": [[["a"], ["b", "c"]], [[]]]},
        {"words": [[{"start": 1}], []]},
        {"words": [{1: 2}, {}]},
        {"words": [np.array(["a", "b"]), np.array(["c"])]},
    ],
)
def test_other_columns_are_dropped(collator, columns):
    assert set(collator(features(**columns))) == {"input_ids", "attention_mask", "labels"}


def test_columns_that_an_option_names_are_wanted():
    made = DataCollatorForMaskedLM(
        bert_tokenizer(40),
        seed=3,
        mlm_probability=0.9,
        token_columns=["words"],
        keep_columns=["noise_density"],
        key_column="mask_rate",
    )
    batch = made(features(words=BY_TOKEN, noise_density=[0.5, 0.25], mask_rate=[1, 2]))
    assert batch["words"].tolist() == BY_TOKEN
    assert batch["noise_density"].tolist() == [0.5, 0.25]


@everywhere
def test_a_hole_in_an_attention_mask_has_a_remedy(collator):
    hole = [[1, 1, 0, 1, 1, 1, 1, 1], [1] * 8]
    with pytest.raises(ValueError, match="attention_mask: row 0 has a 0 between 1s at position 2; .* with protected_mask where"):
        collator(features(attention_mask=hole))
    protected = [[1 - entry for entry in row] for row in hole]
    batch = collator(features(attention_mask=[[1] * 8] * 2, protected_mask=protected))
    assert 12 in batch["input_ids"][0]


@pytest.mark.parametrize("name", ["protected_mask", "protected", "word_ids", "words", "word_starts"])
@pytest.mark.parametrize("rate", [False, True])
def test_columns_without_effect_on_fill_in_the_middle(name, rate):
    collator = DataCollatorForFillInTheMiddle(bert_tokenizer(40), spec=FillInTheMiddle(90, 91, 92), seed=3, on_repeat="ignore")
    rates = {"fim_rate": [0.5, 0.5]} if rate else {}
    with pytest.raises(ValueError, match=f"^features: the column '{name}' is not read .* no effect on this objective. Remove"):
        collator(features(**{name: BY_TOKEN}, **rates))
    batch = collator(features(special_tokens_mask=[[1, 0, 0, 0, 0, 0, 0, 1]] * 2, **rates))  # tokenizers return it
    assert torch.equal(batch["input_ids"], collator(features(**rates))["input_ids"])
