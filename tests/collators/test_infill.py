"""`DataCollatorForTextInfilling`: its options and its batches."""

import dataclasses
import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForMaskedLM,
    DataCollatorForTextInfilling,
    LinearRate,
    SpanmaskWarning,
    TextInfilling,
    infill,
    preview,
)
from support.denoising import bert_tokenizer
from transformers.models.bart.modeling_bart import shift_tokens_right

TOKENIZER = bert_tokenizer()
MASK = TOKENIZER.mask_token_id
ROWS = [[2, *range(10, 60), 3], [2, 7, 3], [2, *range(600, 620), 3]]
ENDS = [20, 30, 40, 605]
SPEC = TextInfilling.from_tokenizer(TOKENIZER)


def collator(**options):
    return DataCollatorForTextInfilling(TOKENIZER, **{"seed": 42, "on_repeat": "ignore", **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def same(batch, out, side="right"):
    """Whether a batch consists of infilled rows."""
    inputs = torch.from_numpy(out.input_ids.to_padded(0, side))
    return torch.equal(batch["input_ids"], inputs) and torch.equal(batch["labels"], torch.from_numpy(out.labels.to_padded(-100)))


def test_batch_is_padded_infill():
    batch = collator(mask_ratio=0.4, permute_sentence_ratio=1.0, sentence_end_ids=ENDS)(features())
    spec = dataclasses.replace(SPEC, mask_ratio=0.4, permute_sentence_ratio=1.0, sentence_end_ids=ENDS)
    out = infill(ROWS, spec, seed=42)
    assert same(batch, out)
    assert batch["attention_mask"].sum(dim=1).tolist() == np.diff(out.input_ids.offsets).tolist()
    assert list(batch) == ["input_ids", "attention_mask", "labels"]


@pytest.mark.parametrize("rows", [ROWS, [np.array(row, np.int32) for row in ROWS], [torch.tensor(row) for row in ROWS]])
def test_kinds_of_rows(rows):
    assert same(collator()(features(rows)), infill(ROWS, SPEC, seed=42))
    table = pa.table({"input_ids": pa.array([list(map(int, row)) for row in rows])})
    assert same(collator()(table), infill(ROWS, SPEC, seed=42))


def test_decoder_inputs_are_those_of_bart():
    batch = collator(decoder_start_token_id=3)(features())
    assert torch.equal(batch["decoder_input_ids"], shift_tokens_right(batch["labels"], 0, 3))


def test_left_padding_multiples_and_numpy():
    batch = collator(padding_side="left", pad_to_multiple_of=16, return_tensors="np", label_pad_token_id=-1)(features())
    assert batch["input_ids"].shape == (3, 48)
    assert batch["labels"].shape == (3, 64)
    assert batch["labels"][1].tolist() == [*ROWS[1], *[-1] * 61]
    assert batch["attention_mask"][1, :40].sum() == 0
    assert batch["input_ids"][1, -1] == 3


def test_columns():
    """Each column does what the option of the same name does, in padded rows too."""
    spec = dataclasses.replace(SPEC, permute_sentence_ratio=1.0)
    words = [[None, *[n // 3 for n in range(len(row) - 2)], None] for row in ROWS]
    starts = [[int(at % 7 == 1) for at in range(len(row))] for row in ROWS]
    protected = [[int(token % 5 == 0) for token in row] for row in ROWS]
    ratios = [0.5, 1.0, 0.0]
    columns = {"word_ids": words, "sentence_starts": starts, "mask_ratio": ratios, "protected_mask": protected}
    out = infill(ROWS, spec, seed=42, **columns)
    assert same(collator(spec=spec)(features(**columns)), out)
    padded = {
        "rows": [[0, 0, *row] for row in ROWS],
        "attention_mask": [[0, 0, *[1] * len(row)] for row in ROWS],
        "word_ids": [[None, None, *row] for row in words],
        "sentence_starts": [[1, 1, *row] for row in starts],
        "protected_mask": [[0, 1, *row] for row in protected],
        "mask_ratio": ratios,
    }
    assert same(collator(spec=spec)(features(**padded)), out)
    flags = features(sentence_starts=[np.array(row, bool) for row in starts])
    assert same(collator(spec=spec)(flags), infill(ROWS, spec, seed=42, sentence_starts=starts))


@pytest.mark.parametrize("side", ["right", "left"])
def test_token_columns_follow_their_tokens(side):
    """Each place has the value of its token, a mask that of the first token that it hides; sentences take their values with them."""
    made = collator(permute_sentence_ratio=1.0, sentence_end_ids=ENDS, token_columns=["place"], padding_side=side)
    places = [[100 * number + at for at in range(len(row))] for number, row in enumerate(ROWS)]
    batch = made(features(place=places, token_type_ids=[[1] * len(row) for row in ROWS]))
    assert torch.equal(
        batch["input_ids"],
        collator(permute_sentence_ratio=1.0, sentence_end_ids=ENDS, padding_side=side)(features())["input_ids"],
    )
    assert torch.equal(batch["token_type_ids"], batch["attention_mask"])
    for number, row in enumerate(ROWS):
        real = batch["attention_mask"][number] == 1
        inputs, values = batch["input_ids"][number][real].tolist(), batch["place"][number][real].tolist()
        assert all(token in (MASK, row[value - 100 * number]) for token, value in zip(inputs, values, strict=True))
        assert (batch["place"][number][~real] == 0).all()
        hidden = set(places[number]) - {value for token, value in zip(inputs, values, strict=True) if token != MASK}
        assert {value for token, value in zip(inputs, values, strict=True) if token == MASK} & hidden


def test_columns_by_another_name_are_errors():
    with pytest.raises(ValueError, match="column 'is_sentence_start' .* Rename it to 'sentence_starts'"):
        collator()(features(is_sentence_start=[[1] * len(row) for row in ROWS]))
    with pytest.raises(ValueError, match="column 'mlm_probability' .* Rename it to 'mask_ratio'"):
        collator()(features(mlm_probability=[0.1] * 3))
    with pytest.warns(SpanmaskWarning, match="labels: this batch has none .* All of its rows are empty"):
        collator()(features([[], []]))
    masked = DataCollatorForMaskedLM(TOKENIZER, seed=42)
    masked(features(sentence_starts=[[1] * len(row) for row in ROWS]))  # a column for another objective


def test_keys():
    batch = collator(key_column="id")(features(id=["a", "b", "c"]))
    assert same(batch, infill(ROWS, SPEC, seed=42, keys=["a", "b", "c"]))


@pytest.mark.parametrize("length", [1, 2, 5, 20, 52])
def test_no_side_is_longer_than_max_length(length):
    """Rows are cut before noise is drawn, and insertions that do not fit are left out: a mean of .1 makes many."""
    rows = [list(range(10, 10 + n)) for n in range(1, 80)]
    for options in ({}, {"replace_length": -1}, {"replace_length": 0, "mask_ratio": 1.0}):
        made = collator(max_length=length, poisson_lambda=0.1, **options)
        batch = made(features(rows))
        assert batch["input_ids"].shape[1] <= length
        assert batch["labels"].shape[1] == length
        arrays = made(features([np.array(row) for row in rows]))
        assert torch.equal(arrays["input_ids"], batch["input_ids"])
    assert torch.equal(collator(max_length=20)(features())["labels"][0], torch.tensor(ROWS[0][:20]))


def test_a_ratio_that_moves():
    made = collator(mask_ratio=LinearRate(0.0, 1.0, epochs=2), keep_columns=())
    for epoch, ratio in enumerate([0.0, 0.5, 1.0]):
        made.set_epoch(epoch)
        assert same(made(features()), infill(ROWS, SPEC, seed=42, epoch=epoch, mask_ratio=ratio))
    with pytest.raises(ValueError, match="mask_ratio: at step 0, epoch 0: expected a fraction from 0 to 1"):
        collator(mask_ratio=LinearRate(1.5, 0.5, steps=9))


def test_epochs_state_and_pickles():
    made = collator()
    first = made(features())["input_ids"]
    made.set_epoch(1)
    assert not torch.equal(made(features())["input_ids"], first)
    other = pickle.loads(pickle.dumps(made))
    assert torch.equal(other(features())["input_ids"], made(features())["input_ids"])
    made.load_state_dict({"seed": 42, "epoch": 0, "algorithm": 1})
    assert torch.equal(made(features())["input_ids"], first)


def test_a_repeat_warns_only_for_noise():
    made = DataCollatorForTextInfilling(TOKENIZER, seed=42)
    made(features())
    with pytest.warns(SpanmaskWarning, match="seed: the masks repeat"):
        made(features())
    clean = DataCollatorForTextInfilling(TOKENIZER, seed=42, mask_ratio=0)
    assert torch.equal(clean(features())["input_ids"], clean(features())["input_ids"])


def test_whole_words_come_from_the_vocabulary():
    row = [2, *[10, 600, 601, 11] * 30, 3]
    batch = collator(whole_word_mask=True, mask_ratio=0.5)(features([row]))
    left = [token for token in batch["input_ids"][0].tolist() if token != MASK]
    whole = left.count(10)
    assert left.count(600) == left.count(601) == whole
    assert whole + left.count(11) == 30


@pytest.mark.parametrize(
    "options", [{}, {"pad_to_multiple_of": 64}, {"padding_side": "left", "pad_to_multiple_of": 64}, {"decoder_start_token_id": 3}]
)
def test_preview_shows_inputs_and_targets(options):
    """Also where both sides are equally wide."""
    shown = preview(collator(**options)(features()), tokenizer=TOKENIZER)
    for number, row in enumerate(shown.rows):
        assert [line.gutter for line in row.lines] == ["input", "target"]
        assert row.headline.endswith(f"{len(ROWS[number])} target tokens")
        assert "[MASK]" in "".join(segment.text for segment in row.lines[0].segments)


SPEC_OPTIONS = {
    "mask_ratio": 0.3,
    "poisson_lambda": 3.5,
    "replace_length": 1,
    "random_ratio": 0.0,
    "permute_sentence_ratio": 0.0,
    "sentence_end_ids": (9,),
    "whole_word_mask": False,
    "continuation_ids": (7,),
    "word_end_ids": (8,),
    "mask_token_id": 4,
    "vocab_size": 1000,
    "special_ids": (),
    "unused_ids": (9,),
}


@pytest.mark.parametrize("option", SPEC_OPTIONS)
def test_an_option_of_the_spec_next_to_a_spec_is_an_error(option):
    with pytest.raises(TypeError, match=f"^{option}: cannot be combined with spec; set it on the spec.$"):
        collator(spec=SPEC, **{option: SPEC_OPTIONS[option]})


def test_they_are_all_options_of_the_spec():
    assert set(SPEC_OPTIONS) == {option.name for option in dataclasses.fields(TextInfilling)}


def test_options_make_the_spec():
    assert collator(**SPEC_OPTIONS).spec == TextInfilling(**SPEC_OPTIONS)
    assert collator().spec == SPEC
    with pytest.raises(AttributeError, match="mask_ratio: is an option of the spec"):
        collator().mask_ratio = 0.5
    with pytest.raises(TypeError, match="positional"):
        DataCollatorForTextInfilling(TOKENIZER, 0.3)


def test_repr_is_short():
    made = collator(poisson_lambda=3.0)
    assert repr(made) == (
        f"DataCollatorForTextInfilling({type(made.tokenizer).__name__}, seed=42, on_repeat='ignore', padding_side='right', "
        "spec=TextInfilling(mask_token_id=4, special_ids=(0, 1, 2, 3, 4), poisson_lambda=3.0, vocab_size=1005))"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask_ratio": 2}, ValueError, "mask_ratio: expected a fraction from 0 to 1"),
        ({"spec": "bart"}, TypeError, "spec: expected TextInfilling, got str"),
        ({"permute_sentence_ratio": 1.0}, ValueError, "tokenizer: has no token that ends a sentence"),
        ({"decoder_start_token_id": -1}, ValueError, "decoder_start_token_id: expected a token id"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        collator(**options)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "features: the batch is empty"),
        ([{"text": "a"}], ValueError, "features: no 'input_ids'"),
        (features([[5, -100]]), ValueError, "input_ids: row 0 has -100 at position 1"),
        (features([[5, 6]], sentence_starts=[[1]]), ValueError, "sentence_starts: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], sentence_starts=[["a", "b"]]), TypeError, "sentence_starts: "),
        (features([[5, 6]], mask_ratio=[-1]), ValueError, "mask_ratio: row 0: expected a fraction"),
        (features([[5, 6]], word_ids=[[0, 0]], word_starts=[[1, 1]]), ValueError, "word_starts: given together with word_ids"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)


def test_sentences_and_words_that_the_spec_requires():
    with pytest.raises(ValueError, match="sentence_starts: required with permute_sentence_ratio"):
        collator(spec=dataclasses.replace(SPEC, permute_sentence_ratio=1.0))(features())
    with pytest.raises(ValueError, match="word_ids: required with whole_word_mask"):
        collator(spec=dataclasses.replace(SPEC, whole_word_mask=True))(features())
