"""Masked LM: the core compared with the oracle, and everything that must be an error."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import MaskedLM, _core, mask_tokens, reference
from spanmask.reference.rules import units_of
from support.denoising import batched, body, flags_of, masked_lms, rows, seeds, t5_tokenizer, words_of
from support.golden_vectors import MASK_SPECS
from support.optional import optional

torch = optional("torch")

VECTORS = Path(__file__).parents[2] / "vectors"
SPEC = MaskedLM(mask_token_id=4, vocab_size=1000, special_ids=range(5), mlm_probability=0.5)
ROW = [1, *range(50, 150), 2]


@given(row=rows, spec=masked_lms(), seed=seeds, epoch=st.integers(0, 3), data=st.data())
def test_mask_tokens_equals_the_reference(row, spec, seed, epoch, data):
    key = data.draw(st.none() | seeds)
    options = words_of(row, data)
    if data.draw(st.booleans()):
        options["protected_mask"] = flags_of(row, data)
    out = mask_tokens([row], spec, seed=seed, epoch=epoch, keys=None if key is None else [key], **batched(options))
    expected = reference.mask_tokens(row, spec, seed, epoch, key, **options)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected
    assert out.chosen.tolist() == [sum(label != -100 for label in expected[1])]


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "mask_tokens.json").read_text()), ids=lambda case: f"{case['spec']}-{len(case['row'])}"
)
def test_masks_are_pinned(case):
    out = mask_tokens([case["row"]], MASK_SPECS[case["spec"]], seed=case["seed"], epoch=case["epoch"])
    assert out.input_ids[0].tolist() == case["input_ids"]
    assert out.labels[0].tolist() == case["labels"]


@given(batch=st.lists(rows, max_size=5), spec=masked_lms(), seed=seeds)
def test_labels_are_the_original_ids(batch, spec, seed):
    out = mask_tokens(batch, spec, seed=seed)
    for row, inputs, labels in zip(batch, out.input_ids, out.labels, strict=True):
        for token, now, label in zip(row, inputs.tolist(), labels.tolist(), strict=True):
            assert label in (token, -100)
            assert label != -100 or now == token
            assert label == -100 or token not in spec.special_ids
            drawn = now < spec.vocab_size and now not in (*spec.special_ids, *spec.unused_ids)
            assert now in (token, spec.mask_token_id) or drawn


@given(row=st.lists(st.integers(5, 40), min_size=1, max_size=80), seed=seeds, data=st.data())
def test_words_are_chosen_whole(row, seed, data):
    numbers = np.cumsum([True, *flags_of(row, data)[1:]]).tolist()
    labels = mask_tokens([row], SPEC, seed=seed, word_ids=[numbers]).labels[0]
    for number in set(numbers):
        assert len({label == -100 for label, word in zip(labels.tolist(), numbers, strict=True) if word == number}) == 1


@pytest.mark.parametrize("mode", ["token", "span"])
@pytest.mark.parametrize("word", [None, 3, 1000, 100_000])
def test_long_rows_equal_the_reference(word, mode):
    """Rows are written and processed in pieces; words and spans extend from one into the next."""
    row = np.random.default_rng(0).integers(0, 1000, 50_000)
    numbers = None if word is None else (np.arange(len(row)) // word).tolist()
    spec = MaskedLM(4, 1000, special_ids=() if word else range(5), mlm_probability=0.15, mode=mode)
    for key in range(3 if word else 1):
        out = mask_tokens([row], spec, seed=1, keys=[key], word_ids=None if word is None else [numbers])
        expected = reference.mask_tokens(row.tolist(), spec, 1, 0, key, word_ids=numbers)
        assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected


def test_spans_have_the_exact_fraction_and_one_replacement_each():
    spec = MaskedLM(4, 1000, special_ids=range(5), mlm_probability=0.15, mode="span")
    out = mask_tokens([ROW] * 200, spec, keys=range(200))
    assert set(out.chosen.tolist()) == {15}
    for inputs, labels in zip(out.input_ids, out.labels, strict=True):
        chosen = [None if label == -100 else now == 4 for now, label in zip(inputs.tolist(), labels.tolist(), strict=True)]
        for one, other in pairwise(chosen):
            assert None in (one, other) or one == other


def test_padding_is_not_chosen_and_not_changed():
    table = np.array([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])
    mask = (table != 0).astype(int)
    all_ = MaskedLM(4, 1000, special_ids=range(5), mlm_probability=1.0, mask_replace_prob=1.0, random_replace_prob=0.0)
    out = mask_tokens(torch.from_numpy(table), all_, attention_mask=torch.from_numpy(mask))
    assert out.input_ids.tolist() == [[4, 4, 4, 0, 0], [4] * 5]
    assert out.labels.tolist() == [[5, 6, 7, -100, -100], table[1].tolist()]
    padded = np.array([[999, 999, 5, 6, 7]])
    left = mask_tokens(padded, SPEC, attention_mask=np.array([[0, 0, 1, 1, 1]]))
    assert left.input_ids[0, :2].tolist() == [999, 999]
    assert left.labels[0, 2:].tolist() == mask_tokens([[5, 6, 7]], SPEC).labels[0].tolist()


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_padded_batch_comes_with_its_attention_mask(side):
    batch = [np.array(ROW), np.array(ROW[:20])]
    out = _core.mask_tokens(
        batch, SPEC._compiled, seed=0, epoch=0, layout=_core.Layout.padded(side), ignore_index=-1, pad_token_id=9
    )
    ragged = mask_tokens(batch, SPEC, ignore_index=-1)
    assert out.input_ids.tolist() == ragged.input_ids.to_padded(9, side).tolist()
    assert out.labels.tolist() == ragged.labels.to_padded(-1, side).tolist()
    assert out.attention_mask.sum(axis=1).tolist() == [102, 20]
    assert out.attention_mask[1, 0 if side == "right" else -1] == 1


def test_threads_change_nothing():
    batch = np.random.default_rng(0).integers(5, 1000, size=(3000, 300))
    one, many = (mask_tokens(batch, SPEC, num_threads=threads) for threads in (1, 5))
    assert np.array_equal(one.input_ids, many.input_ids)
    assert np.array_equal(one.labels, many.labels)


def test_probability_by_row_and_ignore_index():
    out = mask_tokens([ROW, ROW], SPEC, mlm_probability=[0.05, 1.0], ignore_index=-1)
    assert out.labels[1].tolist()[1:-1] == ROW[1:-1]
    assert out.labels[0].tolist()[0] == -1
    assert out.chosen[0] < 30


class TestTokenizers:
    def test_wordpiece_shows_which_tokens_continue_words(self, bert):
        spec = MaskedLM.from_tokenizer(bert, whole_word_mask=True)
        assert spec.special_ids == (0, 1, 2, 3, 4)
        assert spec.continuation_ids[0] == bert.convert_tokens_to_ids("##w0")
        row = bert("w1 w2")["input_ids"]
        word = [row[1], bert.convert_tokens_to_ids("##w3"), bert.convert_tokens_to_ids("##w4")]
        labels = mask_tokens([[2, *word, *word, 3]] * 60, spec, keys=range(60)).labels
        for one in labels:
            assert [label == -100 for label in one.tolist()[1:4]] in ([True] * 3, [False] * 3)

    def test_sentencepiece_shows_where_words_begin(self):
        tokenizer = t5_tokenizer(["a", "b"])
        spec = MaskedLM.from_tokenizer(tokenizer, mask_token_id=9, whole_word_mask=True)
        begins = set(tokenizer.convert_tokens_to_ids(["▁a", "▁b"]))
        assert not begins & set(spec.continuation_ids)

    def test_a_tokenizer_without_mask_is_an_error(self, t5):
        with pytest.raises(ValueError, match="tokenizer: has no mask token"):
            MaskedLM.from_tokenizer(t5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mlm_probability": 0}, ValueError, "mlm_probability: expected a probability above 0 and at most 1, got 0"),
        ({"mlm_probability": 1.1}, ValueError, "mlm_probability: expected a probability"),
        ({"mlm_probability": float("nan")}, ValueError, "mlm_probability: expected a probability"),
        ({"mlm_probability": None}, TypeError, "mlm_probability: expected a number"),
        ({"mask_replace_prob": -0.1}, ValueError, "mask_replace_prob: expected a fraction from 0 to 1"),
        (
            {"mask_replace_prob": 0.8, "random_replace_prob": 0.3},
            ValueError,
            "mask_replace_prob, random_replace_prob: expected a sum of at most 1",
        ),
        ({"mask_token_id": -1}, ValueError, "mask_token_id: expected a token id"),
        ({"mask_token_id": None}, TypeError, "mask_token_id: expected a token id"),
        ({"vocab_size": 5}, ValueError, "vocab_size: no id below it may be drawn"),
        ({"vocab_size": 0}, ValueError, "vocab_size: no id below it may be drawn"),
        ({"special_ids": 5}, TypeError, "special_ids: expected token ids"),
        ({"mode": "phrase"}, ValueError, "mode: expected one of 'token', 'span'"),
        ({"span_length_p": 1}, ValueError, "span_length_p: expected a fraction"),
        ({"max_span_length": 0}, ValueError, "max_span_length: expected a positive integer"),
    ],
)
def test_bad_specs(options, error, message):
    with pytest.raises(error, match=message):
        MaskedLM(**{"mask_token_id": 4, "vocab_size": 1000, "special_ids": range(5), **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": [ROW, [5, -100]]}, ValueError, "rows: row 1 has -100 at position 1; noise accepts ids from 0"),
        ({"rows": [[5, 2**33]]}, ValueError, "rows: row 0 has 8589934592 at position 1"),
        ({"rows": [[0.5]]}, TypeError, "rows: row 0 has 0.5"),
        ({"spec": MaskedLM(4, 100, whole_word_mask=True)}, ValueError, "word_ids: required with whole_word_mask"),
        ({"spec": None}, TypeError, "spec: expected MaskedLM, got NoneType"),
        ({"attention_mask": [[1] * 102]}, TypeError, "attention_mask: only supported for 2-D input"),
        ({"rows": np.array([ROW]), "word_ids": [ROW]}, TypeError, "word_ids: only supported for ragged rows"),
        (
            {"rows": np.array([[5, 6, 7]]), "attention_mask": np.array([[1, 0, 1]])},
            ValueError,
            "attention_mask: row 0 has a 0 between 1s",
        ),
        ({"protected_mask": [[True]]}, ValueError, "protected_mask: row 0 has 1 entries for 102 ids"),
        ({"word_ids": [[1, 2]]}, ValueError, "word_ids: row 0 has 2 entries for 102 ids"),
        ({"mlm_probability": [2]}, ValueError, "mlm_probability: row 0: expected a probability"),
        ({"ignore_index": 1.5}, ValueError, "ignore_index: expected an integer"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"keys": [1, 2]}, ValueError, "keys: 2 keys for 1 rows"),
        ({"num_threads": -1}, ValueError, "num_threads: expected a positive integer"),
    ],
)
def test_bad_calls(arguments, error, message):
    with pytest.raises(error, match=message):
        mask_tokens(**{"rows": [ROW], "spec": SPEC, **arguments})


def test_empty():
    assert mask_tokens([], SPEC).input_ids.to_list() == []
    assert mask_tokens([[]], SPEC).labels.to_list() == [[]]
    assert body([]) == []


class TestMinOne:
    @given(row=rows, spec=masked_lms(), seed=seeds, data=st.data())
    def test_every_row_in_which_something_may_be_chosen_has_a_label(self, row, spec, seed, data):
        options = {**words_of(row, data), "protected_mask": flags_of(row, data)}
        spec = dataclasses.replace(spec, min_one=True)
        out = mask_tokens([row], spec, seed=seed, **batched(options), mlm_probability=0.001)
        given_words = "word_ids" in options or "word_starts" in options
        continuation_ids = spec.continuation_ids if spec.whole_word_mask and not given_words else None
        units = units_of(row, spec.special_ids, continuation_ids=continuation_ids, word_end_ids=spec.word_end_ids, **options)
        labelled = [at for at, label in enumerate(out.labels[0].tolist()) if label != -100]
        assert bool(labelled) == bool(units)
        assert all(set(range(*unit)) <= set(labelled) or not set(range(*unit)) & set(labelled) for unit in units)

    @pytest.mark.parametrize("options", [{}, {"whole_word_mask": True, "continuation_ids": [100]}])
    def test_nothing_changes_where_something_is_chosen(self, options):
        plain = MaskedLM(4, 1000, special_ids=range(5), **options)
        batch = [ROW] * 300
        before = mask_tokens(batch, plain, keys=range(300), mlm_probability=0.02)
        after = mask_tokens(batch, dataclasses.replace(plain, min_one=True), keys=range(300), mlm_probability=0.02)
        empty = np.flatnonzero(before.chosen == 0)
        assert 0 < len(empty) < 300
        for number in range(300):
            if number in empty:
                assert after.chosen[number] > 0
            else:
                assert before.labels[number].tolist() == after.labels[number].tolist()
                assert before.input_ids[number].tolist() == after.input_ids[number].tolist()

    def test_each_unit_is_chosen_as_often_as_documented(self):
        """Four words of different lengths, one of them protected: p + (1 - p)**3 / 3 for each of the others; 5 sigma."""
        row, words = [70, 71, 72, 73, 74, 75, 3, 76], [0, 0, 1, 1, 1, 2, 2, 3]
        spec = MaskedLM(4, 1000, special_ids=range(5), mlm_probability=0.15, min_one=True)
        count = 40_000
        out = mask_tokens([row] * count, spec, keys=range(count), word_ids=[words] * count)
        labels = out.labels.values.reshape(count, -1) != -100
        expected = 0.15 + 0.85**3 / 3
        for at, word in enumerate(words):
            found = labels[:, at].mean()
            assert abs(found - (0 if word == 2 else expected)) < 5 * np.sqrt(0.25 / count)
        assert (labels.sum(axis=1) > 0).all()

    def test_replacements_keep_their_fractions(self):
        spec = MaskedLM(4, 1000, special_ids=range(5), mlm_probability=0.001, min_one=True)
        out = mask_tokens([[50, 60]] * 20_000, spec, keys=range(20_000))
        ids, labels = out.input_ids.values, out.labels.values
        chosen = labels != -100
        for found, expected in [(ids == 4, 0.8), (ids == labels, 0.1)]:
            assert abs(found[chosen].mean() - expected) < 5 * np.sqrt(0.25 / 20_000)

    def test_spans_round_up_to_one_unit(self):
        spec = MaskedLM(4, 1000, special_ids=range(5), mode="span", min_one=True)
        out = mask_tokens([[1, 70, 71, 2]] * 500 + [[1, 2]], spec, keys=range(501))
        assert set(out.chosen[:500].tolist()) == {1}
        assert out.chosen[500] == 0
        first = sum(row[1] != -100 for row in list(out.labels)[:500])
        assert abs(first - 250) < 5 * np.sqrt(500 / 4)

    def test_threads_and_padding_change_nothing(self):
        spec = dataclasses.replace(SPEC, mlm_probability=0.01, min_one=True)
        table = np.random.default_rng(1).integers(5, 1000, size=(3000, 6))
        mask = np.ones_like(table)
        mask[:, 4:] = 0
        one = mask_tokens(table, spec, attention_mask=mask)
        many = mask_tokens(list(table[:, :4]), spec, num_threads=4)
        assert np.array_equal(one.labels[:, :4].reshape(-1), many.labels.values)
        assert (one.labels[:, 4:] == -100).all()
        assert (one.chosen > 0).all()
