"""Columns that noise collators put into their batches: those with a number for each token are laid out as the ids are, those with a value
for each row are stacked, and none replaces a column of the collator's own.
"""

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanmask import DataCollatorForMaskedLM, DataCollatorForSpanCorruption, Denoiser, DenoiserMixture
from spanmask.reference import batch as twin
from support.denoising import bert_tokenizer, t5_tokenizer
from transformers import DataCollatorForLanguageModeling

BERT = bert_tokenizer(40)
T5 = t5_tokenizer([f"w{number}" for number in range(60)])
ROWS = [[2, 10, 11, 3, 12, 13, 14, 3], [2, 20, 21, 22, 3], [2, *range(7, 40), 3]]
TYPES = [[0, 0, 0, 0, 1, 1, 1, 1], [0] * 5, [0] * 20 + [1] * 15]
SCORES = [[at / 4 for at in range(len(row))] for row in ROWS]
FLAGS = [[at % 3 == 0 for at in range(len(row))] for row in ROWS]
OPTIONS = {"seed": 3, "on_repeat": "ignore", "return_tensors": "np"}


def masked_lm(**options):
    return DataCollatorForMaskedLM(BERT, **{**OPTIONS, **options})


def spans(**options):
    return DataCollatorForSpanCorruption(T5, **{**OPTIONS, **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


KINDS = {
    "lists": lambda columns: features(**columns),
    "tuples": lambda columns: features(**{name: [tuple(row) for row in column] for name, column in columns.items()}),
    "arrays": lambda columns: features(**{name: [np.array(row) for row in column] for name, column in columns.items()}),
    "tensors": lambda columns: features(**{name: [torch.tensor(row) for row in column] for name, column in columns.items()}),
    "table": lambda columns: pa.table({"input_ids": ROWS, **columns}),
    "columns": lambda columns: {"input_ids": ROWS, **columns},
    "all arrays": lambda columns: features(
        [np.array(row) for row in ROWS], **{name: [np.array(row) for row in column] for name, column in columns.items()}
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("collator", [masked_lm, spans])
def test_every_kind_of_features_gives_the_same(collator, kind):
    columns = {"token_type_ids": TYPES, "score": SCORES, "flag": FLAGS}
    made = collator(token_columns=["score", "flag"])
    expected, batch = made(features(**columns)), made(KINDS[kind](columns))
    assert list(batch) == ["input_ids", "attention_mask", "labels", "token_type_ids", "score", "flag"]
    for name, value in batch.items():
        assert value.dtype == expected[name].dtype == {"score": np.float32, "flag": np.bool_}.get(name, np.int64)
        assert np.array_equal(value, expected[name])


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    padding_side=st.sampled_from(["right", "left"]),
    max_length=st.none() | st.integers(1, 40),
    pad_to_multiple_of=st.sampled_from([None, 8]),
    before=st.integers(0, 3),
    after=st.integers(0, 3),
)
@pytest.mark.filterwarnings("ignore:labels. this batch has none")
def test_masked_lm_pads_columns_as_ids(lengths, padding_side, max_length, pad_to_multiple_of, before, after):
    rows = [[10 + at % 60 for at in range(length)] for length in lengths]
    types = [[at % 5 - 2 for at in range(length)] for length in lengths]
    scores = [[at / 8 for at in range(length)] for length in lengths]
    layout = {"padding_side": padding_side, "max_length": max_length, "pad_to_multiple_of": pad_to_multiple_of}
    wide = [[[9] * before + row + [9] * after for row in column] for column in (rows, types, scores)]
    masks = [[0] * before + [1] * length + [0] * after for length in lengths]
    batch = masked_lm(token_columns="score", **layout)(
        features(wide[0], token_type_ids=wide[1], score=wide[2], attention_mask=masks)
    )
    cut = (padding_side, max_length, pad_to_multiple_of or 1)
    restored = np.where(batch["labels"] == -100, batch["input_ids"], batch["labels"])
    assert restored.tolist() == twin.pad(rows, 0, *cut)
    assert batch["token_type_ids"].tolist() == twin.pad(types, 0, *cut)
    assert batch["score"].tolist() == twin.pad(scores, 0, *cut)


@given(
    lengths=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    padding_side=st.sampled_from(["right", "left"]),
    max_length=st.none() | st.integers(1, 50),
    inputs_length=st.none() | st.integers(12, 40),
    eos=st.booleans(),
    spec=st.sampled_from(
        [
            {"noise_density": 0.4},
            {"noise_density": 0.4, "final_sentinel": True, "layout": "uniform", "eos_token_id": None},
            {"protected_ids": [5, 9, 12, 20], "noise_density": 0.6, "mean_noise_span_length": 1.5},
            {"spec": DenoiserMixture([Denoiser(3.0, 0.5, mode_token=50), Denoiser(kind="prefix", sentinel=False)])},
        ]
    ),
)
@pytest.mark.filterwarnings("ignore:labels. this batch has none")
def test_columns_of_spans_follow_the_inputs(lengths, padding_side, max_length, inputs_length, eos, spec):
    """A column of the positions: each place of the inputs tells which token it stands for."""
    if inputs_length is not None and "spec" not in spec:
        spec = {**spec, "on_exhausted": "fewer_spans"}
    rows = [[3 + at % 40 for at in range(length)] + [1] * (eos and length > 0) for length in lengths]
    positions = [[5 * at for at in range(len(row))] for row in rows]
    made = spans(token_columns=["place"], padding_side=padding_side, max_length=max_length, inputs_length=inputs_length, **spec)
    batch = made(features(rows, place=positions))
    assert batch["place"].shape == batch["input_ids"].shape
    for number, row in enumerate(rows):
        real = batch["attention_mask"][number] == 1
        ids, places = batch["input_ids"][number][real].tolist(), batch["place"][number][real].tolist()
        assert (batch["place"][number][~real] == 0).all()
        sources = [place // 5 for place in places]
        assert sources == sorted(sources)
        kept = row if max_length is None else row[:max_length]
        own = [at for at, token in enumerate(ids) if token in T5.all_special_ids or token == 50]
        assert all(row[source] == ids[at] for at, source in enumerate(sources) if at not in own)
        if sources:
            assert sources[0] == 0 or ids[0] in made.spec.sentinel_ids
            assert sources[-1] < len(kept)


def test_values_of_sentinels_and_eos():
    rows, mask = [[10, 11, 12, 13, 14, 15, 1]], [0, 0, 0, 1, 1, 1, 1]
    made = spans(noise_density=0.3, mean_noise_span_length=2)
    batch = made(features(rows, token_type_ids=[mask]))
    # The classic layout hides the end of a row.
    assert batch["labels"][0].tolist()[1:3] == [14, 15]
    assert batch["input_ids"][0].tolist() == [10, 11, 12, 13, made.spec.sentinel_ids[0], 1]
    assert batch["token_type_ids"][0].tolist() == [0, 0, 0, 1, 1, 1]


def test_pairs_of_sentences_are_those_of_transformers():
    words = [f"w{number}" for number in range(40)]
    pairs = [(" ".join(words[:5]), " ".join(words[9:16])), (words[3], words[4]), (" ".join(words[:20]), "")]
    examples = [{**BERT(*pair), "next_sentence_label": number % 2} for number, pair in enumerate(pairs)]
    for side in ("right", "left"):
        BERT.padding_side = side
        try:
            ours = DataCollatorForMaskedLM(BERT, seed=1, keep_columns="next_sentence_label", min_one=True)(examples)
            theirs = DataCollatorForLanguageModeling(BERT)([dict(example) for example in examples])
        finally:
            BERT.padding_side = "right"
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            assert (value.shape, value.dtype) == (theirs[name].shape, theirs[name].dtype)
        for name in ("token_type_ids", "attention_mask", "next_sentence_label"):
            assert torch.equal(ours[name], theirs[name])
        masked = ours["labels"] != -100
        assert torch.equal(torch.where(masked, ours["labels"], ours["input_ids"]).bool(), theirs["input_ids"].bool())


def test_token_types_are_padded_as_the_tokenizer_pads_them():
    class Tokenizer:
        pad_token_id, pad_token_type_id, padding_side, mask_token_id, all_special_ids = 0, 3, "left", 4, [0, 1, 2, 3, 4]

        def __len__(self):
            return 100

    made = DataCollatorForMaskedLM(Tokenizer(), **OPTIONS, token_columns="other")
    assert made(features(token_type_ids=FLAGS, other=FLAGS))["token_type_ids"].dtype == np.bool_
    batch = made(features(token_type_ids=TYPES, other=TYPES))
    assert batch["token_type_ids"][1, :-5].tolist() == [3] * 30
    assert batch["other"][1, :-5].tolist() == [0] * 30


@pytest.mark.parametrize("collator", [masked_lm, spans])
class TestErrors:
    @pytest.mark.parametrize("option", ["keep_columns", "token_columns"])
    @pytest.mark.parametrize("name", ["labels", "input_ids", "attention_mask"])
    def test_the_collators_own_columns_are_never_replaced(self, collator, option, name):
        rows = [[10, 11, 12, 13, 14, 15, 16, 17]] * 2
        columns = {} if name == "input_ids" else {name: [[1] * 8] * 2}
        for names in (name, [name], ("other", name)):
            with pytest.raises(ValueError, match=f"^{option}: the collator creates the column '{name}' itself; remove it"):
                collator(**{option: names})(features(rows, other=rows, **columns))

    def test_nor_are_columns_of_other_options(self, collator):
        columns = {"token_type_ids": [[0] * 8] * 2, "score": [[1] * 8] * 2}
        rows = [[10, 11, 12, 13, 14, 15, 16, 17]] * 2
        for options in ({"keep_columns": "token_type_ids"}, {"keep_columns": "score", "token_columns": "score"}):
            with pytest.raises(ValueError, match="^keep_columns: the collator creates the column"):
                collator(**options)(features(rows, **columns))
        assert "token_type_ids" in collator(token_columns="token_type_ids")(features(rows, **columns))

    def test_a_name_is_one_name(self, collator):
        batch = collator(keep_columns="id", token_columns="score")(features(id=[7, 8, 9], score=SCORES))
        assert batch["id"].tolist() == [7, 8, 9]
        assert batch["score"].shape == batch["input_ids"].shape
        with pytest.raises(TypeError, match="token_columns: expected a name or a list of names, got int 3"):
            collator(token_columns=3)

    def test_an_absent_column(self, collator):
        with pytest.raises(ValueError, match="^token_columns: no column 'score'; .*remove_unused_columns=False"):
            collator(token_columns="score")(features())

    @pytest.mark.parametrize(
        ("column", "error", "message"),
        [
            ([[0], [0] * 5, [0] * 35], ValueError, "score: row 0 has 1 entries for 8 ids"),
            ([["a"] * 8, [0] * 5, [0] * 35], TypeError, "score: row 0 is not a row of numbers"),
            ([[0] * 8, [0, None, 0, 0, 0], [0] * 35], TypeError, "score: row 1 is not a row of numbers"),
            ([[0] * 8, None, [0] * 35], TypeError, "score: row 1 is not a row of numbers"),
            ([[[0]] * 8, [[0]] * 5, [[0]] * 35], ValueError, r"score: row 0 has shape \(8, 1\); expected 1-D"),
            ([1, 2, 3], ValueError, r"score: row 0 has shape \(\); expected 1-D"),
        ],
    )
    def test_bad_columns(self, collator, column, error, message):
        with pytest.raises(error, match=message):
            collator(token_columns="score")({"input_ids": ROWS, "score": column})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.bool])
def test_dtypes_of_tensors(dtype):
    rows = [[10, 11, 12, 13, 14, 15, 16, 17], [10, 11, 12]]
    column = [torch.tensor([1] * len(row)).to(dtype) for row in rows]
    expected = torch.float32 if dtype.is_floating_point else torch.bool if dtype == torch.bool else torch.int64
    for collator in (masked_lm, spans):
        made = collator(token_columns="score", return_tensors="pt")(features(rows, score=column))["score"]
        assert made.dtype == expected
        assert made[0].bool().all()
