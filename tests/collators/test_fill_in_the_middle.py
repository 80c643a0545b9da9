"""`DataCollatorForFillInTheMiddle`: its options, its batches, and a causal LM that trains on them."""

import dataclasses
import pickle

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForFillInTheMiddle,
    FillInTheMiddle,
    LinearRate,
    SentinelError,
    SpanmaskWarning,
    fill_in_the_middle,
    merge,
    preview,
)
from support.trainers import SETTINGS
from support.vocabularies import tokenizer_of
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

STARCODER = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>")
TOKENIZER = tokenizer_of("byte_level", STARCODER)
BOS, EOS, PRE, MID, SUF, PAD = TOKENIZER.convert_tokens_to_ids(["<s>", "</s>", *STARCODER])
SPEC = FillInTheMiddle(PRE, MID, SUF, boundary_ids=(BOS, EOS), pad_id=PAD)
ROWS = [[BOS, *range(10, 60), EOS], [7, EOS], [*range(600, 620), EOS, *range(300, 330), EOS]]


def collator(**options):
    return DataCollatorForFillInTheMiddle(TOKENIZER, **{"seed": 42, "on_repeat": "ignore", **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("options", [{}, {"loss": "middle", "eot_id": 900}, {"spm_rate": 1.0, "spm_format": "plain"}])
def test_batch_is_padded_fill_in_the_middle(side, options):
    batch = collator(rate=0.9, padding_side=side, pad_to_multiple_of=8, **options)(features())
    out = fill_in_the_middle(ROWS, dataclasses.replace(SPEC, rate=0.9, **options), seed=42)
    assert out.report.transformed > 1
    width = batch["input_ids"].shape[1]
    assert width % 8 == 0
    for name, rows, padding in [("input_ids", out.input_ids, PAD), ("labels", out.labels, -100)]:
        for made, row in zip(batch[name].tolist(), rows.to_list(), strict=True):
            missing = [padding] * (width - len(row))
            assert made == (row + missing if side == "right" else missing + row)
    assert batch["attention_mask"].sum(dim=1).tolist() == [len(row) for row in out.input_ids]
    assert batch["attention_mask"][1, 0 if side == "right" else -1] == 1


@pytest.mark.parametrize("level", ["document", "context"])
@pytest.mark.parametrize("length", ["grow", "keep", "cut"])
def test_max_length(level, length):
    batch = collator(rate=1.0, level=level, length=length, max_length=30)(features())
    spec = dataclasses.replace(SPEC, rate=1.0, level=level, length=length)
    out = fill_in_the_middle(ROWS, spec, seed=42, max_length=30)
    assert batch["input_ids"].shape[1] == 30
    assert torch.equal(batch["input_ids"], torch.from_numpy(out.input_ids.to_padded(PAD)))
    assert torch.equal(batch["labels"], torch.from_numpy(out.labels.to_padded(-100)))


def test_no_middle_is_lost_at_the_level_of_contexts():
    whole = collator(rate=1.0, level="context", max_length=30)
    for row in [list(range(10, 10 + size)) for size in range(1, 60)]:
        ids = whole(features([row]))["input_ids"][0].tolist()
        assert len(ids) == min(len(row) + 3, 30)
        assert merge([ids], None, whole.spec).to_list() == [row[: len(ids) - 3]]


@pytest.mark.parametrize("kind", [list, np.array, torch.tensor, lambda row: np.array(row, np.uint16)])
def test_kinds_of_rows(kind):
    expected = collator()(features())["input_ids"]
    assert torch.equal(collator()(features([kind(row) for row in ROWS]))["input_ids"], expected)


def test_other_kinds_of_batches():
    expected = collator()(features())["input_ids"]
    assert torch.equal(collator()({"input_ids": ROWS})["input_ids"], expected)
    assert torch.equal(collator()(pa.table({"input_ids": ROWS}))["input_ids"], expected)
    assert collator(return_tensors="np")(features())["input_ids"].tolist() == expected.tolist()


def test_padding_is_left_out():
    padded, masks = [[PAD, PAD, *row, PAD] for row in ROWS], [[0, 0, *[1] * len(row), 0] for row in ROWS]
    batch = collator()(features(padded, attention_mask=masks))
    assert torch.equal(batch["input_ids"], collator()(features())["input_ids"])


def test_rates_by_row_and_kept_columns():
    batch = collator(keep_columns=["id"])(features(fim_rate=[1.0, 0.0, 0.5], id=[7, 8, 9]))
    out = fill_in_the_middle(ROWS, SPEC, seed=42, rate=[1.0, 0.0, 0.5])
    assert torch.equal(batch["input_ids"], torch.from_numpy(out.input_ids.to_padded(PAD)))
    assert batch["id"].tolist() == [7, 8, 9]


def test_a_rate_that_moves():
    made = collator(rate=LinearRate(0.0, 1.0, steps=10))
    assert made(features())["input_ids"].shape[1] == max(map(len, ROWS))
    made.set_step(10)
    out = fill_in_the_middle(ROWS, SPEC, seed=42, rate=1.0)
    assert torch.equal(made(features())["input_ids"], torch.from_numpy(out.input_ids.to_padded(PAD)))
    out = fill_in_the_middle(ROWS, SPEC, seed=42, rate=[0.0, 1.0, 0.0])
    assert torch.equal(made(features(fim_rate=[0.0, 1.0, 0.0]))["input_ids"], torch.from_numpy(out.input_ids.to_padded(PAD)))
    with pytest.raises(ValueError, match="rate: at step 0, epoch 0: expected a fraction from 0 to 1, got 2"):
        collator(rate=lambda step, epoch: 2)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("mask", [False, True])
def test_columns_by_token_follow_the_ids(side, mask):
    """A column with ten times the id of each token has ten times the id at each place, except where an id was added."""
    rows, masks = ROWS, [[1] * len(row) for row in ROWS]
    if mask:
        rows, masks = [[PAD, *row] for row in ROWS], [[0, *[1] * len(row)] for row in ROWS]
    columns = {
        "token_type_ids": [[token % 2 for token in row] for row in rows],
        "tens": [[10 * token for token in row] for row in rows],
    }
    if mask:
        columns["attention_mask"] = masks
    batch = collator(rate=1.0, padding_side=side, token_columns="tens", max_length=40)(features(rows, **columns))
    added = torch.isin(batch["input_ids"], torch.tensor([PRE, MID, SUF]))
    padding = batch["attention_mask"] == 0
    assert added.any()
    real = ~added & ~padding
    assert torch.equal(batch["tens"][real], 10 * batch["input_ids"][real])
    assert torch.equal(batch["token_type_ids"][real], batch["input_ids"][real] % 2)
    assert (batch["tens"][padding] == 0).all()
    assert (batch["tens"][added] > 0).all()


def test_a_batch_without_any_label_warns():
    made = collator(loss="middle", rate=1.0, boundary_ids=())
    nothing = next(
        number
        for number in range(100)
        if fill_in_the_middle([[5, 6]], made.spec, keys=[number], seed=42).splits.to_list()[0][0][1:] in [(0, 0), (1, 1), (2, 2)]
    )
    batch = features([[5, 6]], number=[nothing])
    keyed = collator(loss="middle", rate=1.0, boundary_ids=(), key_column="number")
    with pytest.warns(SpanmaskWarning, match="labels: this batch has none .*End documents in EOS, set eot_id"):
        assert (keyed(batch)["labels"] == -100).all()


def test_columns_by_a_wrong_name_are_errors():
    with pytest.raises(ValueError, match="the column 'fim_probability' is not read .*Rename it to 'fim_rate'"):
        collator()(features(fim_probability=[0.5] * 3))


def test_keys_are_names_or_contents():
    twice = features([ROWS[0], ROWS[0]], name=["a", "b"])
    by_content, by_name = (collator(rate=1.0, key_column=column)(twice)["input_ids"].tolist() for column in (None, "name"))
    assert by_content[0] == by_content[1]
    assert by_name[0] != by_name[1]


def test_padding_of_tokenizers():
    assert TOKENIZER.pad_token_id is None
    assert collator()(features())["input_ids"][1, -1] == PAD
    own = tokenizer_of("byte_level", STARCODER)
    own.pad_token = "</s>"
    assert DataCollatorForFillInTheMiddle(own)(features())["input_ids"][1, -1] == EOS
    with pytest.raises(ValueError, match="tokenizer: has no pad token"):
        collator(spec=FillInTheMiddle(PRE, MID, SUF))
    assert collator(pad_id=5)(features())["input_ids"][1, -1] == 5


def test_epochs_state_and_pickles():
    made = collator()
    first = made(features())["input_ids"]
    made.set_epoch(1)
    assert not torch.equal(made(features())["input_ids"], first)
    other = pickle.loads(pickle.dumps(made))
    assert torch.equal(other(features())["input_ids"], made(features())["input_ids"])
    made.load_state_dict({"seed": 42, "epoch": 0, "algorithm": 1})
    assert torch.equal(made(features())["input_ids"], first)


def test_a_repeat_warns():
    made = DataCollatorForFillInTheMiddle(TOKENIZER, seed=42)
    made(features())
    with pytest.warns(SpanmaskWarning, match="seed: the masks repeat"):
        made(features())


def test_preview_shows_a_batch():
    row = TOKENIZER("the quick brown fox jumps over a lazy dog")["input_ids"]
    batch = collator(rate=1.0, spm_rate=0.0, loss="middle", seed=44)(features([row]))
    text = preview(batch, tokenizer=TOKENIZER).to_text()
    before, middle, after = (TOKENIZER.decode(part) for part in parts_of(batch["input_ids"][0].tolist()))
    assert all((before, middle, after))
    assert text.splitlines()[1] == f"<fim_prefix>{before}<fim_suffix>{after}<fim_middle>[[{middle}]]"


def parts_of(ids):
    """Prefix, middle and suffix of a document in PSM order."""
    places = [ids.index(token) for token in (PRE, SUF, MID)]
    return ids[places[0] + 1 : places[1]], ids[places[2] + 1 :], ids[places[1] + 1 : places[2]]


def test_a_causal_model_trains_on_it(tmp_path):
    """The middle of a counting row follows from its two sides; only it has labels, so its loss falls."""
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(TOKENIZER), **size, eos_token_id=EOS, pad_token_id=PAD))
    rows = [[BOS, *range(300 + start, 316 + start), EOS] for start in range(64)]
    made = DataCollatorForFillInTheMiddle(TOKENIZER, rate=1.0, loss="middle", seed=1, on_repeat="ignore")
    held_out = made(features(rows[:16]))

    def loss():
        model.eval()
        with torch.no_grad():
            return model(**held_out).loss.item()

    before = loss()
    settings = {**SETTINGS, "max_steps": 40, "per_device_train_batch_size": 16, "learning_rate": 1e-2}
    args = TrainingArguments(str(tmp_path), **settings, remove_unused_columns=False)
    Trainer(model, args, train_dataset=features(rows), data_collator=made).train()
    assert loss() < 0.7 * before


OPTIONS = {
    "rate": 0.25,
    "spm_rate": 0.75,
    "prefix_id": 5,
    "middle_id": 6,
    "suffix_id": 7,
    "eot_id": 8,
    "boundary_ids": (9,),
    "pad_id": 10,
    "spm_format": "plain",
    "level": "context",
    "length": "cut",
    "loss": "middle",
    "on_sentinel": "allow",
}


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_the_spec_next_to_a_spec_is_an_error(option):
    with pytest.raises(TypeError, match=f"^{option}: cannot be combined with spec; set it on the spec.$"):
        collator(spec=SPEC, **{option: OPTIONS[option]})
    with pytest.raises(AttributeError, match=f"{option}: is an option of the spec"):
        setattr(collator(), option, OPTIONS[option])


def test_options_make_the_spec():
    assert set(OPTIONS) == {option.name for option in dataclasses.fields(FillInTheMiddle)}
    assert collator(**OPTIONS).spec == FillInTheMiddle(**OPTIONS)
    assert collator().spec == SPEC == FillInTheMiddle.from_tokenizer(TOKENIZER)
    assert collator(eot_id=None).spec == SPEC


def test_repr_is_short():
    made = collator(rate=0.9)
    assert repr(made) == (
        f"DataCollatorForFillInTheMiddle({type(made.tokenizer).__name__}, seed=42, on_repeat='ignore', padding_side='right', "
        "spec=FillInTheMiddle("
        f"prefix_id={PRE}, middle_id={MID}, suffix_id={SUF}, boundary_ids=({BOS}, {EOS}), rate=0.9, pad_id={PAD}))"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"rate": -1}, ValueError, "rate: expected a fraction from 0 to 1"),
        ({"level": "file"}, ValueError, "level: expected one of 'document', 'context'"),
        ({"spec": "psm"}, TypeError, "spec: expected FillInTheMiddle, got str"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer"),
        ({"padding_side": "up"}, ValueError, "padding_side: expected"),
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
        (features([[5], [5, -100]]), ValueError, "input_ids: row 1 has -100 at position 1"),
        (features([[5], [5, MID]]), SentinelError, "input_ids: row 1 already contains sentinel .* at position 1"),
        (features([[5, 6]], fim_rate=[2]), ValueError, "fim_rate: row 0: expected a fraction from 0 to 1"),
        (features([[5, 6]], attention_mask=[[1]]), ValueError, "attention_mask: row 0 has 1 entries for 2 ids"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)


def test_a_tokenizer_without_the_tokens_is_an_error():
    with pytest.raises(SentinelError, match="tokenizer: has no tokens for fill-in-the-middle"):
        DataCollatorForFillInTheMiddle(tokenizer_of("byte_level"))
