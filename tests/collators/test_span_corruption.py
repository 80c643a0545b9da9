"""`DataCollatorForSpanCorruption`: what a batch looks like. Where its noise comes from: tests/integration/test_epochs.py."""

import concurrent.futures
import copy
import pickle
import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    DataCollatorForSpanCorruption,
    Denoiser,
    DenoiserMixture,
    Ragged,
    SentinelError,
    SpanCorruption,
    SpanmaskWarning,
    corrupt,
    denoise,
    merge,
)
from support.denoising import t5_tokenizer

WORDS = [f"w{number}" for number in range(200)]
TOKENIZER = t5_tokenizer(WORDS)
SPEC = SpanCorruption.from_tokenizer(TOKENIZER)
ROWS = [list(range(3, 60)), [5, 6, 7, 1], list(range(70, 150)), [9], []]


def collator(**options):
    return DataCollatorForSpanCorruption(TOKENIZER, **{"seed": 42, "on_repeat": "ignore", **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def test_batch_is_padded_corruption():
    batch = collator()(features())
    out = corrupt(ROWS, SPEC, seed=42)
    assert {name: (value.dtype, value.shape[0]) for name, value in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (torch.int64, 5)
    )
    assert np.array_equal(batch["input_ids"], out.input_ids.to_padded(0))
    assert np.array_equal(batch["labels"], out.labels.to_padded(-100))
    ones = Ragged(np.ones(len(out.input_ids.values), np.int64), out.input_ids.offsets)
    assert np.array_equal(batch["attention_mask"], ones.to_padded(0))


def test_left_padding_and_multiples():
    batch = collator(padding_side="left", pad_to_multiple_of=8, return_tensors="np")(features())
    out = corrupt(ROWS, SPEC, seed=42)
    widths = [-(-np.diff(side.offsets).max() // 8) * 8 for side in (out.input_ids, out.labels)]
    assert batch["input_ids"].shape == (5, widths[0])
    assert batch["labels"].shape == (5, widths[1])
    assert batch["input_ids"][1, -4:].tolist() == out.input_ids[1].tolist()
    assert batch["attention_mask"].sum(axis=1).tolist() == np.diff(out.input_ids.offsets).tolist()


def test_decoder_inputs_are_the_labels_one_place_later():
    batch = collator(decoder_start_token_id=0)(features())
    expected = torch.cat([torch.zeros(5, 1, dtype=torch.int64), batch["labels"][:, :-1]], dim=1)
    expected[expected == -100] = 0
    assert torch.equal(batch["decoder_input_ids"], expected)


def test_decoder_inputs_are_those_of_the_model():
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(vocab_size=len(TOKENIZER), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    batch = collator(decoder_start_token_id=0)(features())
    assert torch.equal(batch["decoder_input_ids"], model.prepare_decoder_input_ids_from_labels(batch["labels"]))


@given(lengths=st.lists(st.integers(0, 400), min_size=1, max_size=6), inputs_length=st.integers(8, 120))
def test_fixed_lengths(lengths, inputs_length):
    """Every batch has the same two shapes, and rows are cut, never more than they must."""
    rows = [list(range(3, 3 + min(length, 190))) * 2 for length in lengths]
    fixed = collator(inputs_length=inputs_length, return_tensors="np")
    tokens, targets = SPEC.plan_lengths(inputs_length)
    batch = fixed(features(rows))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(rows), inputs_length)
    assert batch["labels"].shape == (len(rows), targets)
    for number, row in enumerate(rows):
        inputs = batch["input_ids"][number][batch["attention_mask"][number] == 1].tolist()
        labels = [label for label in batch["labels"][number].tolist() if label != -100]
        assert merge([inputs], [labels], SPEC) == [row[:tokens]]


def test_fixed_lengths_with_a_mixture_and_protected_tokens():
    rows = [[number % 190 + 3 for number in range(length)] for length in (700, 300, 900, 40)]
    mixture = DenoiserMixture.ul2(TOKENIZER, on_exhausted="fewer_spans")
    batch = collator(spec=mixture, inputs_length=64, return_tensors="np")(features(rows * 5, key=list(range(20))))
    assert batch["input_ids"].shape == (20, 64)
    assert batch["labels"].shape == (20, mixture.plan_lengths(64)[1])
    protected = collator(protected_ids=(5, 9, 30), inputs_length=64, return_tensors="np")(features(rows))
    assert protected["input_ids"].shape == (4, 64)


def test_attention_mask_bounds_the_row():
    padded = [[*range(3, 13), 0, 0], [*range(20, 30), 1, 0]]
    masks = [[1] * 10 + [0] * 2, [1] * 11 + [0]]
    batch = collator(return_tensors="np")(features(padded, attention_mask=masks))
    plain = collator(return_tensors="np")(features([padded[0][:10], padded[1][:11]]))
    assert np.array_equal(batch["input_ids"], plain["input_ids"])


def test_key_column():
    rows = [list(range(3, 60))] * 2
    batch = collator(key_column="id", return_tensors="np")(features(rows, id=["a", "b"]))
    assert np.array_equal(batch["labels"], corrupt(rows, SPEC, seed=42, keys=["a", "b"]).labels.to_padded(-100))
    same = collator(return_tensors="np")(features(rows))
    assert np.array_equal(same["input_ids"][0], same["input_ids"][1])  # equal content shares its noise


@pytest.mark.parametrize("kind", ["arrays", "int32", "strided", "mixed", "tensors", "table", "columns"])
def test_every_kind_of_features_gives_the_same(kind):
    rows = [np.array(row, np.int64) for row in ROWS]
    given_features = {
        "arrays": lambda: features(rows),
        "int32": lambda: features([row.astype(np.int32) for row in rows]),
        "strided": lambda: features([np.repeat(row, 2)[::2] for row in rows]),
        "mixed": lambda: features([np.repeat(row, 2)[::2] if number else row for number, row in enumerate(rows)]),
        "tensors": lambda: features([torch.from_numpy(row) for row in rows]),
        "table": lambda: pa.table({"input_ids": ROWS}),
        "columns": lambda: {"input_ids": ROWS},
    }[kind]()
    expected = collator()(features())
    batch = collator()(given_features)
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_other_columns_are_dropped_unless_kept():
    assert set(collator()(features(score=[1.0] * 5, text=list("abcde")))) == {"input_ids", "attention_mask", "labels"}
    assert collator(keep_columns=["score"])(features(score=[1.0, 2, 3, 4, 5]))["score"].tolist() == [1, 2, 3, 4, 5]


def test_a_mixture_without_sentinels_takes_the_tokenizers():
    made = collator(spec=DenoiserMixture([Denoiser(3.0, 0.15), Denoiser(kind="prefix")]))
    assert made.spec.sentinel_ids == SPEC.sentinel_ids
    assert made.spec.eos_token_id == 1
    made(features())


def test_collators_can_be_copied_and_pickled():
    made = collator(epoch=3)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.epoch == 3
        assert torch.equal(other(features())["labels"], made(features())["labels"])
        other.set_epoch(4)  # a copy has an epoch of its own
        assert made.epoch == 3


def test_threads_may_share_a_collator():
    made = collator()
    expected = made(features())["input_ids"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: made(features())["input_ids"], range(64)))
    assert all(torch.equal(result, expected) for result in results)


class TestState:
    def test_state_dict_goes_on_where_it_was(self):
        made = collator(epoch=5)
        assert made.state_dict() == {"seed": 42, "epoch": 5, "algorithm": 1}
        other = collator(seed=1)
        other.load_state_dict(made.state_dict())
        assert torch.equal(other(features())["labels"], made(features())["labels"])

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"seed": 1, "epoch": 0}, "state_dict: has no 'algorithm'"),
            ({"epoch": 0, "algorithm": 1}, "state_dict: has no 'seed'"),
            ({"seed": 1, "epoch": 0, "algorithm": 0}, "state_dict: algorithm 0, this version draws algorithm 1"),
            ({"seed": -1, "epoch": 0, "algorithm": 1}, "seed: expected an integer from 0"),
        ],
    )
    def test_bad_states(self, state, message):
        with pytest.raises(ValueError, match=message):
            collator().load_state_dict(state)

    @pytest.mark.parametrize("epoch", [-1, 2**64, 1.5, "1"])
    def test_bad_epochs(self, epoch):
        with pytest.raises((ValueError, TypeError), match="epoch: expected an integer"):
            collator().set_epoch(epoch)


class TestRepeats:
    def test_the_second_pass_warns_once(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        made(features(ROWS[:1]))
        made(features(ROWS[2:3]))
        with pytest.warns(SpanmaskWarning, match=r"the masks repeat.*seed 42 and epoch 0 before. Call collator.set_epoch"):
            made(features(ROWS[:1]))
        made(features(ROWS[2:3]))

    def test_shuffled_passes_warn(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        rows = [[number + at for at in range(3, 23)] for number in range(0, 160, 2)]
        order = np.random.default_rng(0)

        def two_passes():
            for _ in range(2):
                shuffled = [rows[at] for at in order.permutation(len(rows))]
                for first in range(0, len(rows), 8):
                    made(features(shuffled[first : first + 8]))

        with pytest.warns(SpanmaskWarning, match="the masks repeat") as caught:
            two_passes()
        assert len(caught) == 1

    def test_another_epoch_does_not(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        for epoch in range(3):
            made.set_epoch(epoch)
            made(features())

    def test_a_few_equal_rows_do_not(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        for first in range(20):
            made(features([ROWS[0], [first + at for at in range(3, 40)], [], [9], [first + 5, *ROWS[0]]]))

    def test_it_can_be_ignored(self):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for _ in range(3):
                collator()(features())


class TestSeedNone:
    def test_outside_a_loader_it_is_torchs_seed(self):
        torch.manual_seed(7)
        made = collator(seed=None)
        assert torch.equal(made(features())["labels"], collator(seed=7)(features())["labels"])

    def test_numpy_users_need_no_torch_state(self):
        batch = collator(return_tensors="np")(features())
        assert all(isinstance(value, np.ndarray) for value in batch.values())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise_density": 0}, ValueError, "noise_density: expected a fraction"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"seed": "42"}, TypeError, "seed: expected an integer, got str"),
        ({"epoch": -1}, ValueError, "epoch: expected an integer from 0"),
        ({"inputs_length": 0}, ValueError, "inputs_length: expected a positive integer"),
        ({"inputs_length": 2}, ValueError, "inputs_length: expected at least 3"),
        ({"targets_length": 20}, ValueError, "targets_length: goes with inputs_length"),
        ({"inputs_length": 4000}, SentinelError, "sentinel_ids: rows of .* tokens need .* spans, but there are 100 sentinels"),
        ({"decoder_start_token_id": -1}, ValueError, "decoder_start_token_id: expected a token id"),
        ({"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of: expected a positive integer"),
        ({"padding_side": "middle"}, ValueError, "padding_side: expected 'right' or 'left'"),
        ({"return_tensors": "tf"}, ValueError, "return_tensors: expected one of 'pt', 'np'"),
        ({"on_repeat": "raise"}, ValueError, "on_repeat: expected one of 'warn', 'ignore'"),
        ({"spec": "t5"}, TypeError, "spec: expected SpanCorruption or DenoiserMixture"),
        ({"spec": SPEC, "layout": "uniform"}, TypeError, "layout: goes into the spec"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        collator(**options)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "features: the batch is empty"),
        ([{"text": "a"}], ValueError, "features: no 'input_ids'; the examples have 'text'"),
        ([[5, 6]], TypeError, "features: example 0 is a list"),
        (features([[5, 6, -1]]), ValueError, "input_ids: row 0 has -1 at position 2"),
        (features([np.array([5, 6, -1])]), ValueError, "input_ids: row 0 has -1 at position 2"),
        (features([[5, 6, len(TOKENIZER) - 1]]), SentinelError, "input_ids: row 0 already contains sentinel"),
        (features([np.array([5.0, 6.0])]), TypeError, "input_ids: row 0: expected integer token ids, got float64"),
        (features([np.array([5, 6]), np.array([5, 6], np.int32)]), TypeError, "input_ids: row 1 is int32, row 0 int64"),
        (features([np.array([[5, 6]])]), ValueError, r"input_ids: row 0 has shape \(1, 2\); expected 1-D"),
        (features([[5, 6, 7]], attention_mask=[[1, 0, 1]]), ValueError, "attention_mask: row 0 has a zero at position 1"),
        (features([[5, 6, 7]], attention_mask=[[1, 1]]), ValueError, "attention_mask: row 0 has 2 entries for 3 ids"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)


def test_a_missing_key_column_is_an_error():
    with pytest.raises(ValueError, match="key_column: no column 'id'; the examples have 'input_ids'"):
        collator(key_column="id")(features())


def test_tokenizers_that_lack_something():
    for lacking, message in [("pad_token", "tokenizer: has no pad token"), ("eos_token", "tokenizer: has no EOS token")]:
        tokenizer = t5_tokenizer(WORDS)
        setattr(tokenizer, lacking, None)
        with pytest.raises(ValueError, match=message):
            DataCollatorForSpanCorruption(tokenizer)


class TestDenoise:
    def test_one_text(self):
        pair = denoise(TOKENIZER, "w1 w2 w3 w4 w5 w6 w7 w8", noise_density=0.55, mean_noise_span_length=1.5, seed=0)
        assert {name: tuple(value.shape) for name, value in pair.items()} == {
            "input_ids": (1, 8),
            "attention_mask": (1, 8),
            "labels": (1, 8),
        }
        row = TOKENIZER("w1 w2 w3 w4 w5 w6 w7 w8")["input_ids"]
        assert merge(pair["input_ids"], pair["labels"], SPEC) == [row[:-1]]
        again = denoise(TOKENIZER, "w1 w2 w3 w4 w5 w6 w7 w8", noise_density=0.55, mean_noise_span_length=1.5, seed=0)
        assert torch.equal(pair["labels"], again["labels"])

    def test_several_texts_are_padded(self):
        pair = denoise(TOKENIZER, ["w1 w2 w3 w4 w5 w6 w7 w8", "w1 w2"], noise_density=0.5, mean_noise_span_length=1, seed=0)
        assert pair["labels"][1, 3:].unique().tolist() == [-100]
        assert pair["attention_mask"].sum(dim=1).tolist() == [9, 3]

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ([], ValueError, "text: the list is empty"),
            ([5], TypeError, "text: expected a string or a list of them, but item 0 is of type int"),
        ],
    )
    def test_bad_texts(self, text, error, message):
        with pytest.raises(error, match=message):
            denoise(TOKENIZER, text)
