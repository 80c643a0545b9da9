"""Span corruption: the core compared with the oracle, the invariants of the design, and everything that must be an error."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spanmask import DenoiserMixture, Ragged, SentinelError, SpanCorruption, _core, corrupt, merge, reference
from spanmask.reference.corrupt import sources
from spanmask.reference.plan import plan
from spanmask.token_columns import column_of_flags
from support.denoising import (
    EOS,
    SENTINELS,
    batched,
    body,
    flags_of,
    mixtures,
    rows,
    runs,
    seeds,
    specs,
    words_of,
)
from support.golden_vectors import SPAN_SPECS
from support.optional import optional
from support.strategies import DTYPES

pa = optional("pyarrow")
torch = optional("torch")

VECTORS = Path(__file__).parents[2] / "vectors"
SPEC = SpanCorruption(SENTINELS, EOS)
ROW = list(range(2, 60))


@given(row=rows, spec=specs() | mixtures(), seed=seeds, epoch=st.integers(0, 3), data=st.data())
def test_corrupt_equals_the_reference(row, spec, seed, epoch, data):
    key = data.draw(st.none() | seeds)
    free = all(getattr(denoiser, "sentinel", True) for denoiser in getattr(spec, "denoisers", ()))
    options = words_of(row, data) if free else {}
    if free and data.draw(st.booleans()):
        options["protected_mask"] = flags_of(row, data)
    out = corrupt([row], spec, seed=seed, epoch=epoch, keys=None if key is None else [key], **batched(options))
    expected = reference.corrupt(row, spec, seed, epoch, key, **options)
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected


@given(row=rows, spec=specs() | mixtures(), seed=seeds, data=st.data())
def test_sources_equal_the_reference(row, spec, seed, data):
    options, columns = {}, {}
    if isinstance(spec, SpanCorruption) and data.draw(st.booleans()):
        options = {"noise_mask": flags_of(row, data)}
    elif all(getattr(denoiser, "sentinel", True) for denoiser in getattr(spec, "denoisers", ())):
        options = {"protected_mask": flags_of(row, data)}
    for name, flags in options.items():
        columns[name] = column_of_flags([flags], name).column()
    out = _core.corrupt(Ragged.from_rows([row]), spec._compiled, seed=seed, epoch=0, with_sources=True, **columns)
    inputs, labels = reference.corrupt(row, spec, seed, **options)
    assert out.input_ids.tolist() == inputs
    assert out.sources.tolist() == sources(row, inputs, labels, spec)


@given(row=rows, spec=specs(), data=st.data())
def test_a_custom_mask_is_used(row, spec, data):
    mask = flags_of(row, data)
    out = corrupt([row], spec, noise_mask=[mask])
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == reference.corrupt(row, spec, noise_mask=mask)


@given(batch=st.lists(rows, max_size=5), spec=specs() | mixtures(), seed=seeds)
def test_the_mask_that_was_drawn_gives_the_same_result(batch, spec, seed):
    out = corrupt(batch, spec, seed=seed)
    mask = out.noise_mask()
    assert mask.values.dtype == np.bool_
    assert [len(row) for row in mask] == [len(row) for row in batch]
    assert out.report.noise_tokens == mask.values.sum()
    assert out.report.uncorrupted_rows == (out.denoisers < 0).sum()
    if isinstance(spec, SpanCorruption):
        # A row in which too few tokens may be hidden is copied unchanged. A row with an empty mask is not: it gets its EOS.
        again = corrupt(batch, spec, noise_mask=mask)
        for number in np.flatnonzero(out.denoisers >= 0).tolist():
            assert again.input_ids[number].tolist() == out.input_ids[number].tolist()
            assert again.labels[number].tolist() == out.labels[number].tolist()


@given(row=st.lists(st.integers(2, 40), min_size=2, max_size=300), spec=specs(), seed=seeds)
# The published scripts crash here,
@example(row=[5, 6, 7], spec=SpanCorruption(SENTINELS, EOS, noise_density=0.5, mean_noise_span_length=1.0), seed=0)
# and the newest of them here.
@example(row=[5, 6], spec=SpanCorruption(SENTINELS, EOS, noise_density=0.01, mean_noise_span_length=3.0), seed=0)
def test_the_mask_is_as_planned(row, spec, seed):
    if spec.protected_ids:
        return
    mask = corrupt([row], spec, seed=seed).noise_mask()[0].tolist()
    noise, spans = plan(len(row), spec.noise_density, spec.mean_noise_span_length)
    assert sum(mask) == noise
    assert len(runs(mask)) == min(spans, len(spec.sentinel_ids) - spec.final_sentinel)
    if spec.layout == "classic":
        assert not mask[0]
        assert mask[-1]


@given(row=rows, spec=specs() | mixtures(), seed=seeds)
def test_sentinels_are_the_same_on_both_sides(row, spec, seed):
    out = corrupt([row], spec, seed=seed)
    inputs, labels = out.input_ids[0].tolist(), out.labels[0].tolist()
    if not labels:
        assert inputs == row
        return
    sides = [[token for token in side if token in spec.sentinel_ids] for side in (inputs, labels)]
    count = len(sides[0])
    assert sides[0] == list(spec.sentinel_ids[:count])
    assert sides[1] in (sides[0], list(spec.sentinel_ids[: count + spec.final_sentinel]))
    if spec.eos_token_id is not None:
        ends = row.count(EOS) - (row[-1] == EOS)  # an EOS inside the row is a token
        assert inputs[-1] == labels[-1] == EOS
        assert inputs.count(EOS) + labels.count(EOS) == ends + 2


@given(row=rows, spec=specs(), seed=seeds, data=st.data())
def test_protected_tokens_are_never_hidden(row, spec, seed, data):
    protected = flags_of(row, data)
    mask = corrupt([row], spec, seed=seed, protected_mask=[protected]).noise_mask()[0]
    assert not any(
        hidden and (flag or token in spec.protected_ids) for hidden, flag, token in zip(mask, protected, row, strict=True)
    )


@given(row=st.lists(st.integers(8, 40), min_size=2, max_size=80), seed=seeds, data=st.data())
def test_words_are_hidden_whole(row, seed, data):
    starts = [True, *flags_of(row, data)[1:]]
    mask = (
        corrupt([row], SpanCorruption(SENTINELS, EOS, noise_density=0.3), seed=seed, word_starts=[starts])
        .noise_mask()[0]
        .tolist()
    )
    assert all(mask[at] == mask[at - 1] for at in range(1, len(row)) if not starts[at])
    noise, _ = plan(sum(starts), 0.3, 3.0) if sum(starts) > 1 else (0, 0)
    assert sum(hidden for hidden, start in zip(mask, starts, strict=True) if start) == noise


@given(batch=st.lists(rows, min_size=1, max_size=6), spec=specs() | mixtures(), seed=seeds, data=st.data())
def test_corrupt_ignores_the_other_rows(batch, spec, seed, data):
    order = data.draw(st.permutations(range(len(batch))))
    whole, shuffled = corrupt(batch, spec, seed=seed), corrupt([batch[at] for at in order], spec, seed=seed)
    assert shuffled.input_ids == [whole.input_ids[at].tolist() for at in order]
    assert shuffled.labels == [whole.labels[at].tolist() for at in order]
    assert shuffled.denoisers.tolist() == whole.denoisers[order].tolist()


@pytest.mark.parametrize(
    "spec", [SPEC, DenoiserMixture.ul2(sentinel_ids=range(3000, 2000, -1), eos_token_id=EOS)], ids=["t5", "ul2"]
)
def test_threads_change_nothing(spec):
    generator = np.random.default_rng(0)
    batch = [generator.integers(2, 900, size=size) for size in generator.integers(0, 2000, size=900)]
    if spec is SPEC:
        batch = [row[:1500] for row in batch]
    one, two, many = (corrupt(batch, spec, seed=1, num_threads=threads) for threads in (1, 2, 7))
    assert one.input_ids == two.input_ids == many.input_ids
    assert one.labels == two.labels == many.labels
    assert one.noise_mask() == many.noise_mask()
    assert np.array_equal(one.keys, many.keys)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kind_of_rows_gives_the_same(dtype):
    table = np.arange(2, 202).reshape(4, 50)
    expected = corrupt(table.tolist(), SPEC)
    kinds = [
        table.astype(dtype),
        list(table.astype(dtype)),
        [row[::2].repeat(2)[: len(row)] * 0 + row for row in table.astype(dtype)],
        np.asfortranarray(table.astype(dtype)),
        table.astype(np.dtype(dtype).newbyteorder(">")),
        pa.array(table.astype(dtype).tolist()),
    ]
    if dtype not in (np.uint16, np.uint32):
        kinds.append(torch.from_numpy(table.astype(dtype)))
    for given_rows in kinds:
        assert corrupt(given_rows, SPEC).input_ids == expected.input_ids


def test_inputs_are_not_changed():
    table = np.arange(2, 202).reshape(4, 50)
    table.flags.writeable = False
    before = table.copy()
    corrupt(table, SPEC)
    assert np.array_equal(table, before)


@pytest.mark.parametrize("row", [[], [EOS], [7], [7, EOS]])
def test_rows_of_fewer_than_two_tokens_are_copied_unchanged(row):
    out = corrupt([row, ROW], SPEC)
    assert out.input_ids[0].tolist() == row
    assert out.labels[0].tolist() == []
    assert out.report.uncorrupted_rows == 1
    assert out.denoisers.tolist() == [-1, 0]


def test_the_shortest_rows():
    out = corrupt([[7, 8], [7, 8, EOS], [7, 8, 9]], SPEC)
    first, second = SENTINELS[:2]
    assert out.input_ids[0].tolist() == [7, first, EOS] == out.input_ids[1].tolist()
    assert out.labels[0].tolist() == [first, 8, EOS]
    assert out.labels[2].tolist() == [first, 9, EOS]
    half = corrupt([[7, 8, 9]], SpanCorruption(SENTINELS, EOS, noise_density=0.5, mean_noise_span_length=1.0))
    assert second not in half.input_ids[0]


def test_the_article():
    row = [37, 5295, 1782, 10681, 16, 8, 1442, 2447, 1]
    out = corrupt([row], SpanCorruption(range(32099, 31999, -1), 1, noise_density=0.55, mean_noise_span_length=1.5))
    assert (len(out.input_ids[0]), len(out.labels[0])) == (8, 8)
    assert merge(out.input_ids, out.labels, SPEC_T5) == [row[:-1]]


SPEC_T5 = SpanCorruption(range(32099, 31999, -1), 1)


@pytest.mark.parametrize(
    "case", json.loads((VECTORS / "corrupt.json").read_text()), ids=lambda case: f"{case['spec']}-{len(case['row'])}"
)
def test_corruptions_are_pinned(case):
    """A change here changes the data of everyone who resumes a run: it needs a new algorithm version, and a line under Values."""
    out = corrupt([case["row"]], SPAN_SPECS[case["spec"]], seed=case["seed"], epoch=case["epoch"])
    assert out.input_ids[0].tolist() == case["input_ids"]
    assert out.labels[0].tolist() == case["labels"]


def test_a_new_epoch_seed_or_key_changes_the_noise():
    masks = {
        corrupt([ROW], SPEC, **kind).noise_mask().values.tobytes()
        for kind in ({}, {"epoch": 1}, {"seed": 1}, {"keys": [1]}, {"keys": ["1"]}, {"epoch": 2**64 - 1}, {"seed": 2**64 - 1})
    }
    assert len(masks) == 7


def test_density_and_span_length_by_row():
    batch, densities, means = [ROW] * 3, [0.1, 0.5, 0.9], np.array([1.0, 3.0, 8.0])
    out = corrupt(batch, SPEC, noise_density=densities, mean_noise_span_length=means)
    for number, (density, mean) in enumerate(zip(densities, means.tolist(), strict=True)):
        alone = corrupt([ROW], SpanCorruption(SENTINELS, EOS, noise_density=density, mean_noise_span_length=mean))
        assert out.input_ids[number].tolist() == alone.input_ids[0].tolist()
    assert (
        corrupt(batch, SPEC, noise_density=0.5).labels == corrupt(batch, SpanCorruption(SENTINELS, EOS, noise_density=0.5)).labels
    )


@pytest.mark.parametrize("policy", ["merge_last", "fewer_spans"])
def test_no_id_outside_of_the_list_is_used(policy):
    spec = SpanCorruption(SENTINELS[:3], EOS, noise_density=0.5, mean_noise_span_length=1.0, on_exhausted=policy)
    out = corrupt([ROW], spec)
    assert {token for token in out.input_ids[0].tolist() if token > 100} == set(SENTINELS[:3])
    assert len(out.labels[0]) == 29 + 3 + 1
    own = corrupt([ROW], spec, noise_mask=[[at % 2 == 1 for at in range(len(ROW))]])
    assert len(own.labels[0]) == 3 + 3 + 1  # fixed spans: those without a sentinel stay clear
    assert merge(own.input_ids, own.labels, spec) == [ROW]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rows": [ROW, [5, -7, 6]]}, ValueError, "rows: row 1 has -7 at position 1; noise accepts ids from 0"),
        ({"rows": [[5, 2**32, 6]]}, ValueError, "rows: row 0 has 4294967296 at position 1"),
        ({"rows": [[5, 2**70, 6]]}, ValueError, "rows: row 0 has 1180591620717411303424 at position 1"),
        ({"rows": [ROW, [5, 6, 1000]]}, SentinelError, "rows: row 1 already contains sentinel 1000 at position 2; remove it"),
        ({"rows": [[5, 6.0]]}, TypeError, "rows: row 0 has 6.0 .*at position 1"),
        ({"rows": [[5, True]]}, TypeError, "rows: row 0 has True"),
        ({"rows": [[5, None]]}, TypeError, "rows: row 0 has None"),
        ({"rows": np.ones((2, 3))}, TypeError, "rows: expected integer token ids, got float64"),
        ({"rows": np.ones(3, int)}, TypeError, "rows: expected rows, got one 1-D array"),
        ({"rows": [5, 6]}, TypeError, "rows: expected a list of rows"),
        ({"rows": lambda: pa.array([[1, None]])}, ValueError, "rows: row 0 has a null at position 1"),
        ({"rows": [np.array([5, 6]), np.array([5, 6], np.int32)]}, TypeError, "rows: row 1 has dtype int32, row 0 has int64"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0 to 2"),
        ({"seed": 2**64}, ValueError, "seed: expected an integer from 0 to 2"),
        ({"seed": 1.0}, TypeError, "seed: expected an integer, got float"),
        ({"seed": True}, ValueError, "seed: expected an integer"),
        ({"epoch": -1}, ValueError, "epoch: expected an integer from 0"),
        ({"noise_density": [0.5]}, ValueError, "noise_density: 1 values for 2 rows"),
        ({"noise_density": [0.5, 1.0]}, ValueError, "noise_density: row 1: expected a fraction"),
        ({"noise_density": [0.5, None]}, TypeError, "noise_density: row 1: expected a number"),
        ({"mean_noise_span_length": [0.5, 1.0]}, ValueError, "mean_noise_span_length: row 0: expected a finite length"),
        ({"noise_mask": [[True] * 58]}, ValueError, "noise_mask: 1 rows for 2 rows of ids"),
        ({"noise_mask": [[True] * 58, [True] * 57]}, ValueError, "noise_mask: row 1 has 57 entries for 58 ids"),
        ({"noise_mask": [[2] * 58] * 2}, ValueError, "noise_mask: holds 2; expected flags"),
        ({"noise_mask": [[0.5] * 58] * 2}, TypeError, "noise_mask: row 0 is not a row of flags"),
        ({"noise_mask": True}, TypeError, "noise_mask: expected a row of flags for each row"),
        (
            {"noise_mask": np.ones(58, bool)},
            TypeError,
            "noise_mask: expected a row of flags for each row of ids, got a 1-D array",
        ),
        ({"protected_mask": [[True] * 3] * 2}, ValueError, "protected_mask: row 0 has 3 entries for 58 ids"),
        ({"word_ids": [[0] * 3] * 2}, ValueError, "word_ids: row 0 has 3 entries for 58 ids"),
        ({"word_starts": [[True] * 3] * 2}, ValueError, "word_starts: row 0 has 3 entries for 58 ids"),
        ({"word_ids": [[0] * 58]}, ValueError, "word_ids: 1 rows for 2 rows of ids"),
        ({"word_ids": [[True] * 58] * 2}, TypeError, "word_ids: row 0 has True"),
        (
            {"word_ids": [[0] * 58] * 2, "word_starts": [[True] * 58] * 2},
            ValueError,
            "word_starts: cannot be combined with word_ids",
        ),
        ({"spec": "t5"}, TypeError, "spec: expected SpanCorruption or DenoiserMixture, got str"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive integer, got 0"),
        ({"num_threads": 2**64}, ValueError, "num_threads: expected a positive integer"),
        (
            {"spec": SpanCorruption(SENTINELS[:5], 1, noise_density=0.5, mean_noise_span_length=1.0)},
            SentinelError,
            r"sentinel_ids: row 0 needs 29 spans, but there are 5 sentinels; add sentinels.*on_exhausted=\"fewer_spans\"",
        ),
        (
            {"spec": SpanCorruption(SENTINELS[:2], 1), "noise_mask": [[at % 2 == 1 for at in range(58)]] * 2},
            SentinelError,
            "sentinel_ids: row 0 needs 29 spans, but there are 2 sentinels",
        ),
    ],
)
def test_bad_calls(arguments, error, message):
    arguments = {"rows": [ROW, ROW], "spec": SPEC, **arguments}
    if callable(arguments["rows"]):
        arguments["rows"] = arguments["rows"]()
    with pytest.raises(error, match=message):
        corrupt(**arguments)


def test_the_error_names_the_first_bad_row_for_any_number_of_threads():
    batch = [ROW] * 20_000
    batch[15_000] = batch[19_000] = [5, -1]
    for threads in (1, 3):
        with pytest.raises(ValueError, match="rows: row 15000 has -1 at position 1"):
            corrupt(batch, SPEC, num_threads=threads)


def test_sentinels_in_rows_may_be_allowed():
    spec = SpanCorruption(SENTINELS, EOS, on_sentinel="allow")
    assert 1000 in corrupt([[5, 1000, 6, 7, 8, 9, 10, 11]], spec).input_ids[0]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_layout_pads_both_sides_in_one_call(side):
    layout = _core.SeqToSeqLayout(
        padding_side=side, pad_token_id=0, label_pad_token_id=-100, pad_to_multiple_of=8, decoder_start_token_id=3
    )
    batch = [np.array(ROW), np.array(ROW[:20])]
    out, ragged = _core.corrupt(batch, SPEC._compiled, seed=0, epoch=0, layout=layout), corrupt(batch, SPEC)
    width = -(-max(map(len, ragged.input_ids)) // 8) * 8
    padded = [[0] * (width - len(row)) for row in ragged.input_ids]
    for number, (row, padding) in enumerate(zip(ragged.input_ids.to_list(), padded, strict=True)):
        real = [1] * len(row)
        assert out.input_ids[number].tolist() == (row + padding if side == "right" else padding + row)
        assert out.attention_mask[number].tolist() == (real + padding if side == "right" else padding + real)
    labels = [row + [-100] * (out.labels.shape[1] - len(row)) for row in ragged.labels.to_list()]
    assert out.labels.tolist() == labels
    assert out.decoder_input_ids.tolist() == [[3, *(max(0, label) for label in row[:-1])] for row in labels]
    assert np.array_equal(out.stats.keys, ragged.keys)


def test_an_empty_batch_is_an_empty_batch():
    out = corrupt([], SPEC)
    assert (out.input_ids.to_list(), out.labels.to_list(), out.noise_mask().to_list()) == ([], [], [])


@given(row=rows, spec=specs() | mixtures(), seed=seeds)
def test_lengths_never_depend_on_the_draw_where_they_are_planned(row, spec, seed):
    if spec.protected_ids or isinstance(spec, DenoiserMixture):
        return
    lengths = {(len(out.input_ids[0]), len(out.labels[0])) for out in (corrupt([row], spec, seed=s) for s in (seed, 1, 2))}
    assert len(lengths) == 1
    assert (
        body(row) == merge(corrupt([row], spec).input_ids, corrupt([row], spec).labels, spec)[0].tolist()
        or spec.eos_token_id is None
    )


@pytest.mark.parametrize("make", [np.array, lambda rates: torch.tensor(rates), lambda rates: pa.array(rates)])
def test_rates_by_row_in_any_array(make):
    rates = [0.2, 0.6]
    assert corrupt([ROW, ROW], SPEC, noise_density=make(rates)).labels == corrupt([ROW, ROW], SPEC, noise_density=rates).labels


def test_a_result_pickles():
    out = corrupt([ROW, ROW[:9]], SPEC, seed=3)
    copy = pickle.loads(pickle.dumps(out))
    assert (copy.input_ids, copy.labels, copy.report) == (out.input_ids, out.labels, out.report)
    assert copy.noise_mask() == out.noise_mask()
