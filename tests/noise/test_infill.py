"""Text infilling: the core compared with the oracle, what every batch must satisfy, and everything that must be an error."""

import dataclasses
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import TextInfilling, _core, infill, reference
from spanmask.reference.infill import infill_sources
from support.denoising import EOS, batched, flags_of, infillings, rows, seeds, words_of
from support.golden_vectors import INFILL_SPECS
from support.optional import optional
from support.strategies import DTYPES

torch = optional("torch")

VECTORS = Path(__file__).parents[2] / "vectors"
MASK = 4
SPEC = TextInfilling(MASK, special_ids=range(5))
ROW = [0, *range(50, 150), 2]


@given(row=rows, spec=infillings(), seed=seeds, epoch=st.integers(0, 3), data=st.data())
def test_infill_equals_the_reference(row, spec, seed, epoch, data):
    key = data.draw(st.none() | seeds)
    options = words_of(row, data)
    for name in ("protected_mask", "sentence_starts"):
        if data.draw(st.booleans()):
            options[name] = flags_of(row, data)
    options["mask_ratio"] = data.draw(st.none() | st.floats(0, 1))
    out = infill([row], spec, seed=seed, epoch=epoch, keys=None if key is None else [key], **batched(options))
    inputs, labels = reference.infill(row, spec, seed=seed, epoch=epoch, key=key, **options)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == (inputs, labels)
    assert labels == row


@given(batch=st.lists(rows, min_size=1, max_size=5), spec=infillings(), seed=seeds, data=st.data())
def test_padded_batches_equal_the_reference(batch, spec, seed, data):
    """Both sides, the attention mask, decoder inputs and sources; with a limit that the longest row just fits."""
    limit = data.draw(st.none() | st.just(max(map(len, batch))))
    side = data.draw(st.sampled_from(["right", "left"]))
    start = data.draw(st.none() | st.just(500))
    layout = _core.SeqToSeqLayout(padding_side=side, pad_token_id=900, label_pad_token_id=-100, decoder_start_token_id=start)
    tokens = [np.array(row, data.draw(st.sampled_from(DTYPES[2:]))) for row in batch]
    tokens = [row.astype(tokens[0].dtype) for row in tokens]
    out = _core.infill(tokens, spec._compiled, seed=seed, epoch=1, max_inputs=limit, layout=layout, with_sources=True)
    expected = [infill_sources(row, spec, seed=seed, epoch=1, max_inputs=limit) for row in batch]

    def padded(column, value, side):
        width = max(map(len, column))
        fills = [[value] * (width - len(row)) for row in column]
        return [row + fill if side == "right" else fill + row for row, fill in zip(column, fills, strict=True)]

    inputs, sources, labels = (list(column) for column in zip(*expected, strict=True))
    assert out.input_ids.tolist() == padded(inputs, 900, side)
    assert out.attention_mask.tolist() == padded([[1] * len(row) for row in inputs], 0, side)
    assert out.sources.tolist() == padded(sources, -1, side)
    assert out.labels.tolist() == padded(labels, -100, "right")
    assert limit is None or out.input_ids.shape[1] <= limit
    if start is None:
        assert out.decoder_input_ids is None
    else:
        shifted = [[start, *row][: len(row)] for row in padded(labels, 900, "right")]
        assert out.decoder_input_ids.tolist() == shifted


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "infill.json").read_text()), ids=lambda case: f"{case['spec']}-{len(case['row'])}"
)
def test_infilling_is_pinned(case):
    out = infill([case["row"]], INFILL_SPECS[case["spec"]], seed=case["seed"], epoch=case["epoch"])
    assert out.input_ids[0].tolist() == case["input_ids"]
    assert out.labels[0].tolist() == case["row"]


@pytest.mark.parametrize("permute", [0.0, 1.0])
@pytest.mark.parametrize("word", [None, 1000, 100_000])
def test_long_rows_equal_the_reference(word, permute):
    row = np.random.default_rng(0).integers(0, 1000, 20_000)
    numbers = None if word is None else (np.arange(len(row)) // word).tolist()
    spec = TextInfilling(
        MASK, special_ids=() if word else range(5), permute_sentence_ratio=permute, sentence_end_ids=range(70, 90)
    )
    out = infill([row], spec, seed=1, word_ids=None if word is None else [numbers])
    assert out.input_ids[0].tolist() == reference.infill(row.tolist(), spec, seed=1, word_ids=numbers)[0]


@given(row=rows, spec=infillings(), seed=seeds)
def test_report_counts_what_was_done(row, spec, seed):
    report = infill([row, ROW], spec, seed=seed).report
    assert (report.rows, report.tokens) == (2, len(row) + len(ROW))
    plain = dataclasses.replace(spec, permute_sentence_ratio=0.0, random_ratio=0.0, replace_length=1, mask_token_id=10**6)
    out = infill([row], plain, seed=seed)
    masks = int((out.input_ids.values == 10**6).sum())
    counts = out.report
    assert counts.spans + counts.inserted_masks == masks
    assert counts.noise_tokens == len(row) - (len(out.input_ids.values) - masks)
    assert counts.uncorrupted_rows == (out.input_ids == [row])


@given(row=st.lists(st.integers(5, 60), max_size=100), seed=seeds, ratio=st.floats(0, 1))
def test_bos_and_eos_stay_in_place(row, seed, ratio):
    spec = TextInfilling(
        MASK, special_ids=[0, 2], mask_ratio=ratio, poisson_lambda=0.5, permute_sentence_ratio=1.0, sentence_end_ids=[7, 8]
    )
    inputs = infill([[0, *row, 2]], spec, seed=seed).input_ids[0].tolist()
    assert (inputs[0], inputs[-1]) == (0, 2)
    assert not {0, 2} & set(inputs[1:-1])


@given(row=st.lists(st.integers(5, 60), min_size=1, max_size=100), seed=seeds)
def test_spans_leave_the_other_tokens_in_order(row, seed):
    """Without permutation, the row matches its inputs if each mask stands for any number of tokens."""
    inputs = infill([row], SPEC, seed=seed).input_ids[0].tolist()
    clear = [token for token in inputs if token != MASK]
    left = iter(row)
    assert all(token in left for token in clear)
    assert len(row) - len(clear) == max(1, int(np.ceil(len(row) * 0.3 - 1e-6)))


@given(row=st.lists(st.integers(2, 40), max_size=120), ratio=st.floats(0.01, 1), seed=seeds)
def test_sentences_move_whole(row, ratio, seed):
    spec = TextInfilling(MASK, mask_ratio=0.0, permute_sentence_ratio=ratio, sentence_end_ids=[5, 6])
    inputs = infill([row], spec, seed=seed).input_ids[0].tolist()

    def sentences(tokens):
        parts, part = [], []
        for at, token in enumerate(tokens):
            part.append(token)
            if token in (5, 6) and tokens[at + 1 : at + 2] not in ([5], [6]):
                parts.append(tuple(part))
                part = []
        return parts, tuple(part)

    parts, rest = sentences(row)
    pieces = [*parts, rest] if rest else parts
    assert sorted(inputs) == sorted(row)
    permutations_of = list(pieces)
    at = 0
    while at < len(inputs):  # every sentence of the row is found once; the one without an end may be anywhere
        match = [piece for piece in set(permutations_of) if tuple(inputs[at : at + len(piece)]) == piece]
        assert match, (row, inputs, at)
        longest = max(match, key=len)
        permutations_of.remove(longest)
        at += len(longest)
    assert not permutations_of


@pytest.mark.parametrize(
    ("row", "ends", "starts", "special", "found"),
    [
        ([0, 50, 9, 51, 9, 2], [9], None, [0, 2], {(50, 9, 51, 9), (51, 9, 50, 9)}),
        # Of several ends the last one counts, and a sentence without an end is one too.
        ([50, 9, 9, 51], [9], None, [], {(50, 9, 9, 51), (51, 50, 9, 9)}),
        # Special tokens stay in place, at the ends of a row and between sentences (fairseq issue 4695), whether they end sentences or not.
        ([0, 50, 2, 51, 52, 2], [2], None, [0, 2], {(50, 2, 51, 52), (51, 52, 2, 50)}),
        ([0, 50, 1, 51, 52, 2], [1], None, [0, 1, 2], {(50, 1, 51, 52), (51, 52, 1, 50)}),
        ([0, 50, 9, 3, 3, 51, 9, 2], [9], None, [0, 2, 3], {(50, 9, 3, 3, 51, 9), (51, 9, 3, 3, 50, 9)}),
        # Inside a sentence they move with it.
        ([50, 3, 51, 9, 52], [9], None, [3], {(50, 3, 51, 9, 52), (52, 50, 3, 51, 9)}),
        # Flags say where sentences begin, whatever ends them.
        ([0, 50, 9, 51, 52, 2], [9], [0, 1, 0, 0, 1, 0], [0, 2], {(50, 9, 51, 52), (52, 50, 9, 51)}),
        ([0, 9, 2], [9], None, [0, 2], {(9,)}),
        ([0, 2], [9], None, [0, 2], {()}),
    ],
)
def test_sentences_that_are_found(row, ends, starts, special, found):
    spec = TextInfilling(MASK, special_ids=special, mask_ratio=0.0, permute_sentence_ratio=1.0, sentence_end_ids=ends)
    starts = None if starts is None else [starts] * 40
    out = infill([row] * 40, spec, keys=range(40), sentence_starts=starts).input_ids.to_list()
    first, last = row[0] in special, row[-1] in special
    assert {tuple(inputs[first : len(inputs) - last]) for inputs in out} == found
    assert all(inputs[:first] == row[:first] and inputs[len(row) - last :] == row[len(row) - last :] for inputs in out)


def test_a_protected_word_moves_with_its_sentence():
    row, flags = [50, 51, 9, 52], [True, False, False, False]
    spec = TextInfilling(MASK, mask_ratio=0.0, permute_sentence_ratio=1.0, sentence_end_ids=[9])
    out = infill([row] * 30, spec, keys=range(30), protected_mask=[flags] * 30).input_ids
    assert {tuple(inputs) for inputs in out.to_list()} == {(50, 51, 9, 52), (52, 50, 51, 9)}


def test_a_sentence_begins_with_a_word():
    """`3.14`: the full stop is inside a word."""
    row, numbers = [50, 3, 9, 14, 51, 9, 52], [0, 1, 1, 1, 2, 2, 3]
    spec = TextInfilling(MASK, mask_ratio=0.0, permute_sentence_ratio=1.0, sentence_end_ids=[9])
    out = infill([row] * 30, spec, keys=range(30), word_ids=[numbers] * 30).input_ids
    assert {tuple(inputs) for inputs in out.to_list()} == {tuple(row), (52, *row[:-1])}


def test_words_are_hidden_whole():
    numbers = np.repeat(np.arange(25), 4)
    spec = TextInfilling(MASK, mask_ratio=0.4)
    out = infill([numbers + 100] * 50, spec, keys=range(50), word_ids=[numbers.tolist()] * 50)
    for inputs in out.input_ids:
        _, counts = np.unique(inputs[inputs != MASK], return_counts=True)
        assert set(counts.tolist()) == {4}
        assert len(counts) == 15


def test_a_protected_token_divides_a_span():
    row = [50, 51, 9, 52, 53]
    everything = TextInfilling(MASK, special_ids=[9], mask_ratio=1.0, poisson_lambda=90)
    assert infill([row], everything).input_ids.to_list() == [[MASK, 9, MASK]]
    by_mask = dataclasses.replace(everything, special_ids=())
    flags = [[False, False, True, False, False]]
    assert infill([row], by_mask, protected_mask=flags).input_ids.to_list() == [[MASK, 9, MASK]]


@pytest.mark.parametrize(("replace_length", "inputs"), [(1, [0, MASK, 2]), (-1, [0, MASK, MASK, MASK, 2]), (0, [0, 2])])
def test_what_replaces_a_span(replace_length, inputs):
    spec = TextInfilling(MASK, special_ids=[0, 2], mask_ratio=1.0, poisson_lambda=90, replace_length=replace_length)
    assert infill([[0, 50, 51, 52, 2]], spec).input_ids.to_list() == [inputs]


def test_random_ids_are_not_special():
    spec = TextInfilling(MASK, special_ids=range(5), random_ratio=1.0, vocab_size=8, replace_length=-1)
    inputs = infill([ROW] * 50, spec, keys=range(50)).input_ids.values
    assert set(inputs[inputs < 50].tolist()) == {0, 2, 5, 6, 7}
    assert MASK not in inputs


def test_noise_does_not_depend_on_the_batch_or_threads():
    batch = [np.random.default_rng(n).integers(5, 1000, 50 + n % 300) for n in range(3000)]
    spec = dataclasses.replace(SPEC, permute_sentence_ratio=0.5, sentence_end_ids=range(50, 80))
    one, many = (infill(batch, spec, seed=3, num_threads=threads) for threads in (1, 5))
    assert np.array_equal(one.input_ids.values, many.input_ids.values)
    assert np.array_equal(one.input_ids.offsets, many.input_ids.offsets)
    assert one.report == many.report
    backwards = infill(batch[::-1], spec, seed=3).input_ids
    assert all(np.array_equal(here, there) for here, there in zip(one.input_ids, list(backwards)[::-1], strict=True))
    assert not np.array_equal(infill(batch, spec, seed=3, epoch=1).input_ids.values, one.input_ids.values)


def test_ratios_by_row():
    out = infill([ROW] * 3, SPEC, mask_ratio=[0, 0.5, 1])
    assert out.input_ids[0].tolist() == ROW
    assert set(out.input_ids[2].tolist()) == {0, MASK, 2}
    assert out.report.noise_tokens == 150
    assert out.report.uncorrupted_rows == 1


def test_rows_without_a_token_to_hide_are_copied():
    out = infill([[], [0, 2], [0, 70, 2]], SPEC)
    assert out.input_ids.to_list()[:2] == [[], [0, 2]]
    assert MASK in out.input_ids[2]
    assert out.labels.to_list() == [[], [0, 2], [0, 70, 2]]
    assert out.report.uncorrupted_rows == 2
    assert infill([], SPEC).input_ids.to_list() == []


def test_insertions_that_do_not_fit_are_left_out():
    """A mean of .1: most of the spans are empty. Without a limit, inputs are longer than the row."""
    spec = TextInfilling(MASK, special_ids=range(5), poisson_lambda=0.1)
    rows = np.array([ROW] * 20)
    options = {"seed": 0, "epoch": 0, "keys": np.arange(20, dtype=np.uint64)}
    free = _core.infill(rows, spec._compiled, **options)
    assert (np.diff(free.input_offsets) > len(ROW)).all()
    tight = _core.infill(rows, spec._compiled, **options, max_inputs=len(ROW))
    assert (np.diff(tight.input_offsets) == len(ROW)).all()
    assert (tight.hidden == free.hidden).all()
    with pytest.raises(ValueError, match="rows: row 0 has 102 tokens, the batch is 101 wide"):
        _core.infill(rows, spec._compiled, **options, max_inputs=len(ROW) - 1)


def test_tensors_and_pickles():
    spec = pickle.loads(pickle.dumps(SPEC))
    assert spec == SPEC
    out = infill(torch.tensor([ROW, ROW]), spec)
    other = pickle.loads(pickle.dumps(out))
    assert other.report == out.report
    assert other.input_ids == out.input_ids


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask_token_id": -1}, ValueError, "mask_token_id: expected a token id"),
        ({"mask_token_id": None}, TypeError, "mask_token_id: expected a token id"),
        ({"mask_ratio": 1.01}, ValueError, "mask_ratio: expected a fraction from 0 to 1"),
        ({"mask_ratio": float("nan")}, ValueError, "mask_ratio: expected a fraction"),
        ({"mask_ratio": True}, TypeError, "mask_ratio: expected a number"),
        ({"random_ratio": -0.1}, ValueError, "random_ratio: expected a fraction"),
        ({"random_ratio": 0.1}, ValueError, "vocab_size: required with random_ratio"),
        ({"random_ratio": 0.1, "vocab_size": 5}, ValueError, "vocab_size: no id below it may be drawn"),
        ({"permute_sentence_ratio": 2}, ValueError, "permute_sentence_ratio: expected a fraction"),
        ({"permute_sentence_ratio": "all"}, TypeError, "permute_sentence_ratio: expected a number"),
        ({"poisson_lambda": 0}, ValueError, "poisson_lambda: expected a mean span length from .1 to 100"),
        ({"poisson_lambda": float("inf")}, ValueError, "poisson_lambda: expected a mean"),
        ({"poisson_lambda": float("nan")}, ValueError, "poisson_lambda: expected a mean"),
        ({"poisson_lambda": None}, TypeError, "poisson_lambda: expected a number"),
        ({"replace_length": 2}, ValueError, "replace_length: expected 1 "),
        ({"replace_length": True}, ValueError, "replace_length: expected 1 "),
        ({"replace_length": "span"}, ValueError, "replace_length: expected 1 "),
        ({"special_ids": 5}, TypeError, "special_ids: expected token ids"),
        ({"sentence_end_ids": "."}, TypeError, "sentence_end_ids: expected token ids"),
        ({"word_end_ids": [7]}, ValueError, "word_end_ids: requires continuation_ids"),
        ({"whole_word_mask": 1}, ValueError, "whole_word_mask: expected True or False"),
    ],
)
def test_bad_specs(options, error, message):
    with pytest.raises(error, match=message):
        TextInfilling(**{"mask_token_id": MASK, "special_ids": range(5), **options})


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": [ROW, [5, -100]]}, ValueError, "rows: row 1 has -100 at position 1; noise accepts ids from 0"),
        ({"rows": [[5, 2**33]]}, ValueError, "rows: row 0 has 8589934592 at position 1"),
        ({"rows": [[0.5]]}, TypeError, "rows: row 0 has 0.5"),
        ({"spec": None}, TypeError, "spec: expected TextInfilling, got NoneType"),
        ({"spec": TextInfilling(MASK, whole_word_mask=True)}, ValueError, "word_ids: required with whole_word_mask"),
        (
            {"spec": TextInfilling(MASK, permute_sentence_ratio=1.0)},
            ValueError,
            "sentence_starts: required with permute_sentence_ratio",
        ),
        ({"sentence_starts": [[True]]}, ValueError, "sentence_starts: row 0 has 1 entries for 102 ids"),
        ({"sentence_starts": [[True] * 102] * 2}, ValueError, "sentence_starts: 2 rows for 1 rows of ids"),
        ({"protected_mask": [[True]]}, ValueError, "protected_mask: row 0 has 1 entries for 102 ids"),
        ({"word_ids": [[1, 2]]}, ValueError, "word_ids: row 0 has 2 entries for 102 ids"),
        ({"word_ids": [ROW], "word_starts": [[True] * 102]}, ValueError, "word_starts: cannot be combined with word_ids"),
        ({"mask_ratio": [2]}, ValueError, "mask_ratio: row 0: expected a fraction from 0 to 1"),
        ({"mask_ratio": [0.1, 0.2]}, ValueError, "mask_ratio: 2 values for 1 rows"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"keys": [1, 2]}, ValueError, "keys: 2 keys for 1 rows"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
    ],
)
def test_bad_calls(arguments, error, message):
    with pytest.raises(error, match=message):
        infill(**{"rows": [ROW], "spec": SPEC, **arguments})


def test_eos_is_an_id_like_any_other():
    """Nothing is removed or added: special ids alone decide what stays."""
    assert infill([[7, EOS]], TextInfilling(MASK, special_ids=[EOS], mask_ratio=1.0, poisson_lambda=90)).input_ids[0][-1] == EOS
