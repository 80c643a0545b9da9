"""Masked LM with a probability for each token: the core compared with the oracle, its fractions, and everything that must be an error."""

import json
import math
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanmask import DataCollatorForMaskedLM, MaskedLM, Ragged, mask_tokens, reference
from support.denoising import batched, bert_tokenizer, flags_of, masked_lms, rows, seeds, words_of
from support.golden_vectors import MASK_SPECS

VECTORS = Path(__file__).parents[2] / "vectors"
SPEC = MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=range(5))
ROWS = [[1, *range(50, 70), 2], [1, 80, 2], [1, *range(300, 400), 2]]
NUMBERS = [[(7 * at + len(row)) % 11 / 10 for at in range(len(row))] for row in ROWS]

# Also subnormal numbers and those next to 0 and 1.
probabilities = st.sampled_from([0, 1, 0.0, 1.0, 0.5, 5e-324, 2.0**-33, 1 - 2.0**-53]) | st.floats(0, 1)


@given(row=rows, spec=masked_lms().filter(lambda spec: spec.mode == "token"), seed=seeds, epoch=st.integers(0, 3), data=st.data())
def test_probabilities_by_token_equal_the_reference(row, spec, seed, epoch, data):
    key = data.draw(st.none() | seeds)
    options = words_of(row, data)
    options["mlm_probability"] = data.draw(st.lists(probabilities, min_size=len(row), max_size=len(row)))
    if data.draw(st.booleans()):
        options["protected_mask"] = flags_of(row, data)
    out = mask_tokens([row], spec, seed=seed, epoch=epoch, keys=None if key is None else [key], **batched(options))
    expected = reference.mask_tokens(row, spec, seed, epoch, key, **options)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "mask_tokens_by_token.json").read_text()), ids=lambda case: f"{case['spec']}-{len(case['row'])}"
)
def test_masks_are_pinned(case):
    options = {"seed": case["seed"], "epoch": case["epoch"], "mlm_probability": [case["mlm_probability"]]}
    out = mask_tokens([case["row"]], MASK_SPECS[case["spec"]], **options)
    assert out.input_ids[0].tolist() == case["input_ids"]
    assert out.labels[0].tolist() == case["labels"]


@given(batch=st.lists(rows, max_size=5), seed=seeds, data=st.data())
def test_zero_is_never_and_one_is_always(batch, seed, data):
    flags = [flags_of(row, data) for row in batch]
    labels = mask_tokens(batch, SPEC, seed=seed, mlm_probability=[[float(flag) for flag in row] for row in flags]).labels
    for row, chosen, one in zip(batch, flags, labels, strict=True):
        assert [label != -100 for label in one.tolist()] == [
            flag and token not in SPEC.special_ids for token, flag in zip(row, chosen, strict=True)
        ]


@pytest.mark.parametrize("word", [None, 3, 300])
def test_long_rows_equal_the_reference(word):
    generator = np.random.default_rng(5)
    row, numbers = generator.integers(0, 1000, 20_000), generator.random(20_000)
    words = None if word is None else (np.arange(len(row)) // word).tolist()
    spec = MaskedLM(4, 1000, special_ids=() if word else range(5))
    out = mask_tokens(row[None], spec, seed=1, mlm_probability=numbers[None]) if word is None else None
    if out is None:
        out = mask_tokens([row], spec, seed=1, mlm_probability=[numbers], word_ids=[words])
    expected = reference.mask_tokens(row.tolist(), spec, 1, word_ids=words, mlm_probability=numbers.tolist())
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected


def test_each_token_is_chosen_as_often_as_its_probability_says():
    """Each place within 5 sigma in 20,000 rows; neighbours are independent."""
    numbers = np.array([0.02, 0.15, 0.15, 0.5, 0.9, 0.999, 0.0, 1.0] * 4)
    table = np.full((20_000, len(numbers)), 77)
    chosen = mask_tokens(table, SPEC, keys=np.arange(20_000), mlm_probability=np.tile(numbers, (20_000, 1))).labels != -100
    sigma = np.sqrt(numbers * (1 - numbers) / 20_000)
    assert (abs(chosen.mean(axis=0) - numbers) <= 5 * sigma).all()
    pairs = numbers[1:] * numbers[:-1]
    both = (chosen[:, 1:] & chosen[:, :-1]).mean(axis=0)
    assert (abs(both - pairs) <= 5 * np.sqrt(pairs * (1 - pairs) / 20_000)).all()


def test_a_word_has_the_probability_of_its_first_token():
    table = np.full((4000, 4), 77)
    options = {"mlm_probability": np.tile([0.3, 1.0, 0.0, 1.0], (4000, 1)), "keys": np.arange(4000)}
    chosen = mask_tokens(list(table), SPEC, word_ids=[[0, 0, 1, 1]] * 4000, **options).chosen
    assert set(chosen.tolist()) == {0, 2}
    assert abs((chosen == 2).mean() - 0.3) < 5 * math.sqrt(0.21 / 4000)


def kinds():
    yield "lists", NUMBERS
    yield "arrays", [np.array(row) for row in NUMBERS]
    yield "tensors", [torch.tensor(row, dtype=torch.float64) for row in NUMBERS]
    yield "parameters", [torch.tensor(row, dtype=torch.float64, requires_grad=True) for row in NUMBERS]
    yield "ragged", Ragged(np.concatenate(NUMBERS).astype(np.float32), np.cumsum([0, *map(len, NUMBERS)]))
    yield "arrow", pa.array(NUMBERS)
    yield "dataset", datasets.Dataset.from_dict({"numbers": NUMBERS})["numbers"]
    yield "chunks", pa.chunked_array([pa.array(NUMBERS[:1]), pa.array(NUMBERS[1:])])
    objects = np.empty(3, object)
    objects[:] = NUMBERS
    yield "objects", objects


@pytest.mark.parametrize("numbers", [kind for _, kind in kinds()], ids=[name for name, _ in kinds()])
def test_kinds_of_columns(numbers):
    assert mask_tokens(ROWS, SPEC, mlm_probability=numbers).labels == mask_tokens(ROWS, SPEC, mlm_probability=NUMBERS).labels


def test_padding_of_two_dimensional_rows_is_skipped():
    width = max(map(len, ROWS))
    padded = np.array([[0] * (width - len(row)) + row for row in ROWS])
    mask = np.array([[0] * (width - len(row)) + [1] * len(row) for row in ROWS])
    table = np.array([[float("nan")] * (width - len(row)) + row for row in NUMBERS])
    out = mask_tokens(padded, SPEC, attention_mask=mask, mlm_probability=table)
    expected = mask_tokens(ROWS, SPEC, mlm_probability=NUMBERS)
    assert [row[row_mask == 1].tolist() for row, row_mask in zip(out.labels, mask, strict=True)] == expected.labels.to_list()
    assert (out.labels[mask == 0] == -100).all()
    tensors = [torch.from_numpy(array) for array in (padded, mask, table)]
    again = mask_tokens(tensors[0], SPEC, attention_mask=tensors[1], mlm_probability=tensors[2])
    assert torch.equal(again.labels, torch.from_numpy(out.labels))


def test_threads_change_nothing():
    generator = np.random.default_rng(0)
    table, numbers = generator.integers(5, 1000, (3000, 200)), generator.random((3000, 200))
    one, many = (mask_tokens(table, SPEC, mlm_probability=numbers, num_threads=threads).labels for threads in (1, 5))
    assert np.array_equal(one, many)


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ([[0.5, 1.5], [0.5]], ValueError, r"mlm_probability: row 0 has 1.5 at position 1; expected a probability from 0 .* to 1"),
        ([[0.5, 0.5], [-0.1]], ValueError, "mlm_probability: row 1 has -0.1 at position 0"),
        ([[0.5, float("nan")], [1]], ValueError, "mlm_probability: row 0 has NaN at position 1"),
        ([[0.5, float("inf")], [1]], ValueError, "mlm_probability: row 0 has inf at position 1"),
        ([[0.5], [1]], ValueError, "mlm_probability: row 0 has 1 entries for 2 ids; pass one for each token"),
        ([[0.5, 1]], ValueError, "mlm_probability: 1 rows for 2 rows of ids"),
        ([[0.5, None], [1]], TypeError, "mlm_probability: row 0: expected a number for each token"),
        ([[True, False], [True]], TypeError, "mlm_probability: row 0: expected a number for each token"),
        ([[0.5, 0.5], 0.5], TypeError, "mlm_probability: row 1: expected a number for each token, got 0.5"),
        ([0.5, [0.5]], TypeError, "mlm_probability: row 1: expected a number, got list"),
        ([["0.5", "1"], ["1"]], TypeError, "mlm_probability: row 0: expected a number for each token"),
        ([[0.5, 0.5], [[1], [1, 2]]], TypeError, "mlm_probability: row 1: expected a number for each token"),
        ([[[0.5], [0.5]], [[1]]], TypeError, "mlm_probability: row 0: expected a number for each token"),
    ],
)
def test_bad_numbers(numbers, error, message):
    with pytest.raises(error, match=message):
        mask_tokens([[50, 51], [52]], SPEC, mlm_probability=numbers)


def test_spans_take_no_probability_by_token():
    spec = MaskedLM(4, 1000, mode="span")
    with pytest.raises(ValueError, match="mlm_probability: one for each token requires mode='token'; .* Pass one for each row"):
        mask_tokens([[50, 51]], spec, mlm_probability=[[0.5, 0.5]])
    collator = DataCollatorForMaskedLM(bert_tokenizer(), mode="span")
    with pytest.raises(ValueError, match="mlm_probability: one for each token requires mode='token'"):
        collator([{"input_ids": [50, 51], "mlm_probability": [0.5, 0.5]}])


class TestCollator:
    TOKENIZER = bert_tokenizer()

    def collate(self, columns, **options):
        names = columns.keys()
        features = [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        return DataCollatorForMaskedLM(self.TOKENIZER, seed=0, on_repeat="ignore", **options)(features)

    @property
    def expected(self):
        out = mask_tokens(ROWS, MaskedLM.from_tokenizer(self.TOKENIZER), mlm_probability=NUMBERS)
        return torch.from_numpy(out.labels.to_padded(-100))

    @pytest.mark.parametrize("kind", [list, np.array, torch.tensor])
    def test_a_column_with_a_row_of_numbers(self, kind):
        ids = [kind(row) for row in ROWS]
        numbers = [torch.tensor(row, dtype=torch.float64) if kind is torch.tensor else kind(row) for row in NUMBERS]
        assert torch.equal(self.collate({"input_ids": ids, "mlm_probability": numbers})["labels"], self.expected)

    def test_arrow(self):
        table = pa.table({"input_ids": ROWS, "mlm_probability": NUMBERS})
        made = DataCollatorForMaskedLM(self.TOKENIZER, seed=0)
        assert torch.equal(made(table)["labels"], self.expected)

    def test_padded_rows(self):
        columns = {
            "input_ids": [[*row, 0, 0] for row in ROWS],
            "attention_mask": [[1] * len(row) + [0, 0] for row in ROWS],
            "mlm_probability": [[*row, 1.0, 1.0] for row in NUMBERS],
        }
        assert torch.equal(self.collate(columns)["labels"], self.expected)

    def test_it_replaces_a_rate_that_moves_and_is_cut_with_its_row(self):
        columns = {"input_ids": ROWS, "mlm_probability": NUMBERS}
        made = self.collate(columns, mlm_probability=lambda step, epoch: 1.0, max_length=9)
        cut = mask_tokens(
            [row[:9] for row in ROWS],
            MaskedLM.from_tokenizer(self.TOKENIZER),
            mlm_probability=[numbers[:9] for numbers in NUMBERS],
        )
        assert torch.equal(made["labels"], torch.from_numpy(cut.labels.to_padded(-100)))

    @pytest.mark.parametrize("numbers", [0.0, 0.02])
    def test_with_min_one_a_token_that_may_be_chosen_is(self, numbers):
        spec = MaskedLM(4, 1000, min_one=True)
        rows = [list(range(50, 60)), [70, 71], [80]]
        probabilities = [[0.0] * 5 + [numbers] * 5, [numbers, 0.0], [0.0]]
        for seed in range(30):
            out = mask_tokens(rows, spec, seed=seed, mlm_probability=probabilities)
            want = [
                reference.mask_tokens(row, spec, seed=seed, mlm_probability=own)
                for row, own in zip(rows, probabilities, strict=True)
            ]
            assert out.labels.to_list() == [labels for _, labels in want]
            assert out.input_ids.to_list() == [inputs for inputs, _ in want]
            assert (out.chosen > 0).tolist() == [numbers > 0, numbers > 0, False]
            assert all(label == -100 for label in out.labels.to_list()[0][:5])

    @pytest.mark.parametrize(
        ("numbers", "message"),
        [
            ([0.5], "mlm_probability: row 0 has 1 entries for 2 ids"),
            ([0.5, 2.0], "mlm_probability: row 0 has 2 at position 1"),
        ],
    )
    def test_bad_columns(self, numbers, message):
        with pytest.raises(ValueError, match=message):
            self.collate({"input_ids": [[5, 6]], "mlm_probability": [numbers]})
