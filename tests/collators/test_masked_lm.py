"""`DataCollatorForMaskedLM`: its options and its batches, which have the statistics of transformers' collator."""

import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch
from spanmask import DataCollatorForMaskedLM, MaskedLM, SpanmaskWarning, mask_tokens
from support.denoising import bert_tokenizer
from transformers import DataCollatorForLanguageModeling

TOKENIZER = bert_tokenizer()
ROWS = [[2, *range(10, 60), 3], [2, 7, 3], [2, *range(600, 620), 3]]


def collator(**options):
    return DataCollatorForMaskedLM(TOKENIZER, **{"seed": 42, "on_repeat": "ignore", **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def test_batch_is_padded_mask_tokens():
    batch = collator(mlm_probability=0.3)(features())
    out = mask_tokens(ROWS, MaskedLM.from_tokenizer(TOKENIZER, mlm_probability=0.3), seed=42)
    assert torch.equal(batch["input_ids"], torch.from_numpy(out.input_ids.to_padded(0)))
    assert torch.equal(batch["labels"], torch.from_numpy(out.labels.to_padded(-100)))
    assert batch["attention_mask"].sum(dim=1).tolist() == [52, 3, 22]


def test_statistics_are_those_of_transformers():
    """Numbers of chosen, masked, random tokens: each side within 4 sigma of the other; 1 in 15,000 seeds misses."""
    rows = np.random.default_rng(0).integers(5, len(TOKENIZER), size=(400, 128))
    torch.manual_seed(0)
    ours = collator()(features(list(rows)))
    theirs = DataCollatorForLanguageModeling(TOKENIZER)(features(rows.tolist()))
    counts = []
    for batch in (ours, theirs):
        chosen = batch["labels"] != -100
        masked = chosen & (batch["input_ids"] == TOKENIZER.mask_token_id)
        changed = chosen & ~masked & (batch["input_ids"] != batch["labels"])
        assert torch.equal(torch.where(chosen, batch["labels"], batch["input_ids"]), torch.from_numpy(rows))
        counts.append([int(part.sum()) for part in (chosen, masked, changed)])
    for one, other in zip(*counts, strict=True):
        assert abs(one - other) < 4 * math.sqrt(one + other)


def test_specials_padding_and_named_tokens_are_never_chosen():
    special = [[int(token in (2, 3) or token % 7 == 0) for token in row] for row in ROWS]
    batch = collator(mlm_probability=1.0)(features(special_tokens_mask=special))
    for number, row in enumerate(ROWS):
        labels = batch["labels"][number, : len(row)].tolist()
        assert [label == -100 for label in labels] == [bool(flag) for flag in special[number]]
    assert (batch["labels"][1, 3:] == -100).all()


def test_none_is_no_vocabulary_of_continuations():
    made = collator(whole_word_mask=True, continuation_ids=None)
    assert made.spec.continuation_ids is None
    with pytest.raises(ValueError, match="word_ids: whole_word_mask requires this column"):
        made(features())
    with pytest.raises(AttributeError, match="mlm_probability: is an option of the spec"):
        made.mlm_probability = 0.5


def test_whole_words():
    batch = collator(whole_word_mask=True, mlm_probability=0.5, keep_columns=())(features([[2, *[10, 600, 601, 11] * 30, 3]]))
    chosen = (batch["labels"][0, 1:-1] != -100).reshape(30, 4)
    assert (chosen[:, 0] == chosen[:, 1]).all()
    assert (chosen[:, 1] == chosen[:, 2]).all()
    words = [[None, *np.repeat(np.arange(25), 2).tolist(), None], [None, 0, None], [None, *range(20), None]]
    given_words = collator(whole_word_mask=True, mlm_probability=0.5)(features(word_ids=words))
    pairs = (given_words["labels"][0, 1:51] != -100).reshape(25, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


@pytest.mark.parametrize("options", [{}, {"whole_word_mask": True}, {"mode": "span"}])
@pytest.mark.parametrize(("rows", "length"), [(ROWS, 20), ([np.arange(5, 40_005) % 500 + 5], 20_000)], ids=["short", "long"])
def test_rows_are_cut_before_noise(rows, length, options):
    options = {"spec": MaskedLM.from_tokenizer(TOKENIZER, **options)}
    expected = collator(**options)(features([row[:length] for row in rows]))
    for kind in (list, np.array):
        cut = collator(max_length=length, **options)(features([kind(row) for row in rows]))
        assert all(torch.equal(cut[name], expected[name]) for name in expected)


def test_left_padding_multiples_and_numpy():
    batch = collator(padding_side="left", pad_to_multiple_of=16, return_tensors="np")(features())
    assert batch["input_ids"].shape == (3, 64)
    assert batch["attention_mask"][1].tolist() == [0] * 61 + [1] * 3


def test_epochs_state_and_pickles():
    made = collator()
    first = made(features())["labels"]
    made.set_epoch(1)
    assert not torch.equal(made(features())["labels"], first)
    other = pickle.loads(pickle.dumps(made))
    assert torch.equal(other(features())["labels"], made(features())["labels"])
    made.load_state_dict({"seed": 42, "epoch": 0, "algorithm": 1})
    assert torch.equal(made(features())["labels"], first)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mlm_probability": 0}, ValueError, "mlm_probability: expected a probability"),
        ({"spec": "bert"}, TypeError, "spec: expected MaskedLM, got str"),
        ({"padding_side": "up"}, ValueError, "padding_side: expected"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer"),
        ({"return_tensors": "jax"}, ValueError, "return_tensors: expected one of"),
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
        (features([[5, 6]], special_tokens_mask=[[1]]), ValueError, "special_tokens_mask: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], protected_mask=[[1]]), ValueError, "protected_mask: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], word_ids=[[1]]), ValueError, "word_ids: row 0 has 1 entries for 2 ids"),
        (features([[5, 6]], mlm_probability=[0]), ValueError, "mlm_probability: row 0: expected a probability"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)


def test_whole_words_need_words():
    made = collator(spec=MaskedLM(4, 1000, whole_word_mask=True))
    with pytest.raises(ValueError, match="word_ids: whole_word_mask requires this column or word_starts"):
        made(features())
    made(features(word_starts=[[True] * len(row) for row in ROWS]))


SPEC_OPTIONS = {
    "mlm_probability": 0.15,
    "whole_word_mask": False,
    "mask_token_id": 4,
    "vocab_size": 1000,
    "special_ids": (),
    "unused_ids": (9,),
    "mask_replace_prob": 0.8,
    "random_replace_prob": 0.1,
    "continuation_ids": (7,),
    "word_end_ids": (8,),
    "mode": "token",
    "span_length_p": 0.2,
    "max_span_length": 10,
    "min_one": True,
}


@pytest.mark.parametrize("option", SPEC_OPTIONS)
def test_an_option_of_the_spec_next_to_a_spec_is_an_error(option):
    with pytest.raises(TypeError, match=f"^{option}: cannot be combined with spec; set it on the spec.$"):
        collator(spec=MaskedLM(4, 100), **{option: SPEC_OPTIONS[option]})


def test_they_are_all_options_of_the_spec():
    assert set(SPEC_OPTIONS) == {option.name for option in dataclasses.fields(MaskedLM)}


def test_options_make_the_spec():
    assert collator(**SPEC_OPTIONS).spec == MaskedLM(**SPEC_OPTIONS)
    assert collator().spec == MaskedLM.from_tokenizer(TOKENIZER)
    with pytest.raises(TypeError, match="positional"):
        DataCollatorForMaskedLM(TOKENIZER, 0.15)


def test_repr_is_short():
    made = collator(mlm_probability=0.3)
    assert repr(made) == (
        f"DataCollatorForMaskedLM({type(made.tokenizer).__name__}, seed=42, on_repeat='ignore', padding_side='right', "
        "spec=MaskedLM(mask_token_id=4, vocab_size=1005, special_ids=(0, 1, 2, 3, 4), mlm_probability=0.3))"
    )


def test_without_a_seed_every_call_is_fresh_and_manual_seed_repeats_it():
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        made = collator(seed=None, on_repeat="warn")
        runs.append([made(features())["labels"].tolist() for _ in range(2)])
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[0][1]


def test_a_repeat_warns():
    made = DataCollatorForMaskedLM(TOKENIZER, seed=42)
    made(features())
    with pytest.warns(SpanmaskWarning, match="seed: the masks repeat"):
        made(features())


def test_label_padding():
    one, other = collator()(features()), collator(label_pad_token_id=-1)(features())
    assert torch.equal(torch.where(one["labels"] == -100, -1, one["labels"]), other["labels"])


def test_rates_by_row():
    batch = collator()(features(mlm_probability=[0.1, 0.5, 1.0]))
    out = mask_tokens(ROWS, MaskedLM.from_tokenizer(TOKENIZER), seed=42, mlm_probability=[0.1, 0.5, 1.0])
    assert torch.equal(batch["labels"], torch.from_numpy(out.labels.to_padded(-100)))


def test_columns_work_with_padded_rows():
    padded, masks = [[0, 0, *row] for row in ROWS], [[0, 0] + [1] * len(row) for row in ROWS]
    flags = [[int(token % 3 == 0) for token in row] for row in ROWS]
    columns = {"attention_mask": masks, "protected_mask": [[1, 1, *row] for row in flags]}
    batch = collator(mlm_probability=0.5)(features(padded, **columns))
    assert torch.equal(batch["labels"], collator(mlm_probability=0.5)(features(protected_mask=flags))["labels"])
