"""Rows that do not fit fixed lengths: a beginning of each is used, never an error."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spanmask import (
    DataCollatorForSpanCorruption,
    Denoiser,
    DenoiserMixture,
    SentinelError,
    SpanCorruption,
    _core,
    merge,
    reference,
)
from spanmask.ragged import Ragged
from spanmask.reference.corrupt import sources
from spanmask.reference.plan import plan
from spanmask.token_columns import column_of_flags
from support.denoising import EOS, body, densities, flags_of, lengths, mixtures, rows, seeds, specs, t5_tokenizer, words_of

TOKENIZER = t5_tokenizer([f"w{number}" for number in range(300)])
T5 = SpanCorruption.from_tokenizer(TOKENIZER)
pytestmark = pytest.mark.filterwarnings("ignore:labels. this batch has none")


def cut(spec, features, **options):
    """A batch of fixed lengths, and its rows without padding."""
    collator = DataCollatorForSpanCorruption(
        TOKENIZER, spec=spec, **{"seed": 3, "return_tensors": "np", "label_pad_token_id": -1, "on_repeat": "ignore", **options}
    )
    batch = collator(features)
    count = len(features["input_ids"] if isinstance(features, dict) else features)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (count, collator.inputs_length)
    assert batch["labels"].shape == (count, collator.targets_length)
    inputs = [row[real == 1].tolist() for row, real in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    return collator, inputs, [row[row != -1].tolist() for row in batch["labels"]]


def needs_too_many(spec, inputs_length, targets_length):
    """Whether the longest row that fits needs more sentinels than there are: an error before any row."""
    eos = spec.eos_token_id is not None
    most = len(spec.sentinel_ids) - spec.final_sentinel
    for used in range(2, inputs_length + targets_length):
        noise, spans = plan(used, spec.noise_density, spec.mean_noise_span_length)
        sizes = used - noise + spans + eos, noise + spans + spec.final_sentinel + eos
        if sizes[0] <= inputs_length and sizes[1] <= targets_length and spans > most:
            return True
    return False


@given(
    row=rows,
    spec=specs() | mixtures(),
    policy=st.sampled_from(["raise", "merge_last", "fewer_spans"]),
    inputs_length=st.integers(4, 60),
    targets_length=st.integers(4, 60),
    seed=seeds,
    data=st.data(),
)
def test_a_row_is_cut_as_in_the_reference(row, spec, policy, inputs_length, targets_length, seed, data):
    policy = policy if isinstance(spec, SpanCorruption) else "fewer_spans"  # the mixtures have sentinels enough
    spec = dataclasses.replace(spec, on_exhausted=policy)
    free = all(getattr(denoiser, "sentinel", True) for denoiser in getattr(spec, "denoisers", ()))
    options = words_of(row, data) if free else {}
    if free and data.draw(st.booleans()):
        options["protected_mask"] = flags_of(row, data)
    features = {"input_ids": [row], **{name: [column] for name, column in options.items()}}
    widths = {"inputs_length": inputs_length, "targets_length": targets_length}
    if policy == "raise" and needs_too_many(spec, **widths):
        with pytest.raises(SentinelError, match="rows of .* tokens need"):
            cut(spec, features, **widths)
        return
    features["place"] = [list(range(len(row)))]
    collator, inputs, labels = cut(spec, features, seed=seed, token_columns="place", **widths)
    wanted = reference.corrupt(row, spec, seed, inputs_length=inputs_length, targets_length=targets_length, **options)
    assert (inputs[0], labels[0]) == wanted
    batch = collator(features)
    assert batch["place"][batch["attention_mask"] == 1].tolist() == sources(row, *wanted, spec)
    merged = merge(inputs, labels, spec)[0].tolist()
    assert merged == body(row, spec.eos_token_id)[: len(merged)]


@given(
    length=st.integers(2, 400),
    density=densities,
    mean=lengths,
    count=st.integers(2, 12),
    final=st.booleans(),
    inputs_length=st.integers(5, 200),
    targets_length=st.integers(5, 200),
)
@example(length=200, density=0.15, mean=3.0, count=8, final=False, inputs_length=100, targets_length=60)
def test_the_longest_beginning_for_which_there_are_sentinels(length, density, mean, count, final, inputs_length, targets_length):
    """`on_exhausted="raise"` with a density of the row's own, which nothing can be planned for."""
    spec = SpanCorruption(T5.sentinel_ids[:count], EOS, final_sentinel=final, noise_density=0.01, mean_noise_span_length=100.0)
    row = [3 + number % 200 for number in range(length)]
    _, inputs, labels = cut(
        spec,
        {"input_ids": [row], "noise_density": [density], "mean_noise_span_length": [mean]},
        inputs_length=inputs_length,
        targets_length=targets_length,
    )

    def fits(used):
        noise, spans = plan(used, density, mean)
        sizes = used - noise + spans + 1, noise + spans + final + 1
        return sizes[0] <= inputs_length and sizes[1] <= targets_length and spans + final <= count

    longest = next(used for used in range(length, 0, -1) if fits(used))
    assert merge(inputs, labels, spec) == [row[:longest]]
    assert len(labels[0]) == sum(plan(longest, density, mean)) + final + 1


def test_the_row_of_the_report():
    """100 sentinels are enough for 2,009 tokens; rows of one more were not cut, but an error."""
    for length in (2009, 2010, 100_000):
        _, inputs, labels = cut(T5, {"input_ids": [np.arange(length) % 200 + 3]}, inputs_length=512)
        assert (len(inputs[0]), len(labels[0])) == (512, 114)


LONG = [10, 64, 500, 2009, 2010, 4097, 100_000]
POLICIES = ["raise", "merge_last", "fewer_spans"]


def long_rows(eos=True):
    return [[*(np.arange(length - eos) * 7 % 211 + 3).tolist(), *[EOS] * eos] for length in LONG]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("inputs_length", [64, 512, 1000, 4096])
@pytest.mark.parametrize("preset", ["t5", "ul2", "ul2r"])
@pytest.mark.parametrize("targets", [None, 40])
def test_long_rows_fit_every_preset(preset, inputs_length, policy, targets):
    spec = getattr(DenoiserMixture, preset)(TOKENIZER, on_exhausted=policy)
    table = long_rows()
    options = {"inputs_length": inputs_length, "targets_length": targets, "key_column": "key"}
    features = {"input_ids": table * 4, "key": list(range(len(table) * 4))}
    if policy == "raise" and targets is None and inputs_length >= {"t5": 2000, "ul2": 500, "ul2r": 500}[preset]:
        with pytest.raises(SentinelError, match="inputs_length or max_length, add sentinels, or set on_exhausted"):
            cut(spec, features, **options)
        return
    collator, inputs, labels = cut(spec, features, **options)
    tokens, width = spec.plan_lengths(inputs_length) if targets is None else (None, targets)
    assert collator.targets_length == width
    merged = merge(inputs, labels, spec)
    for row, used in zip(table * 4, merged, strict=True):
        assert used.tolist() == row[: len(used)]
        assert len(used) >= min(len(row) - 1, 0.3 * width, 0.3 * inputs_length)
        assert (
            tokens is None or preset == "ul2r" or len(used) <= tokens
        )  # a uniform prefix may be longer than planned for the worst
    if preset == "t5" and targets is None:
        assert {len(used) for used in merged} == {min(length - 1, tokens) for length in LONG}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "columns", ["protected_ids", "protected_mask", "all_protected", "word_ids", "long_words", "no_words", "word_starts", "bos"]
)
@pytest.mark.parametrize(("inputs_length", "targets_length"), [(64, None), (512, None), (512, 50), (512, 512)])
@pytest.mark.parametrize("layout", ["classic", "uniform"])
def test_long_rows_fit_with_columns(columns, policy, inputs_length, targets_length, layout):
    """Where lengths depend on the draw: what is used fits, is a beginning, and is not much shorter than one that could be."""
    table, options = long_rows(), {"on_exhausted": policy, "layout": layout}
    features = {"input_ids": table}
    if columns == "protected_ids":
        options["protected_ids"] = tuple(range(3, 90))
    elif columns == "bos":
        options["bos_token_ids"] = (3,)
    elif columns == "protected_mask":
        features["protected_mask"] = [[at % 2 for at in range(len(row))] for row in table]
    elif columns == "all_protected":
        features["protected_mask"] = [[1] * len(row) for row in table]
    elif columns == "no_words":
        features["word_ids"] = [[-1] * len(row) for row in table]
    elif columns == "word_starts":
        features["word_starts"] = [[at % 3 == 0 or at % 7 == 0 for at in range(len(row))] for row in table]
    else:
        size = 4 if columns == "word_ids" else 300
        features["word_ids"] = [[None if at % 11 == 0 else at // size for at in range(len(row))] for row in table]
    spec = SpanCorruption(T5.sentinel_ids, EOS, **options)
    _, inputs, labels = cut(spec, features, inputs_length=inputs_length, targets_length=targets_length)
    merged = merge(inputs, labels, spec)
    unchanged = columns in ("all_protected", "no_words")
    for row, ins, target, used in zip(table, inputs, labels, merged, strict=True):
        assert used.tolist() == row[: len(used)]
        if unchanged:
            assert ins == row[:inputs_length]
            assert not target
        elif len(used) < len(row) - 1 and columns != "long_words":
            width = targets_length or spec.plan_lengths(inputs_length)[1]
            assert len(ins) > 0.9 * inputs_length or len(target) > 0.75 * width


def test_lengths_that_are_fixed_by_the_mask_are_cut_too():
    """The collator has no column for a mask; the core's limits hold for it all the same."""
    row = list(range(3, 203))
    mask = [at % 5 in (1, 2) for at in range(200)]
    layout = _core.SeqToSeqLayout(
        padding_side="right", pad_token_id=0, label_pad_token_id=-1, input_width=30, label_width=25, decoder_start_token_id=None
    )
    arguments = {"noise_mask": column_of_flags([mask], "noise_mask").column(), "layout": layout}
    out = _core.corrupt(Ragged.from_rows([row]), T5._compiled, seed=0, epoch=0, **arguments)
    wanted = reference.corrupt(row, T5, noise_mask=mask, inputs_length=30, targets_length=25)
    assert [token for token in out.input_ids[0].tolist() if token] == wanted[0]
    assert [token for token in out.labels[0].tolist() if token != -1] == wanted[1]


class TestMaxLength:
    def test_rows_are_cut_to_it_first(self):
        row = long_rows()[-1]
        for max_length, used in [(100, 100), (568, 568), (600, 568), (100_000, 568)]:
            _, inputs, labels = cut(T5, [{"input_ids": row}], inputs_length=512, max_length=max_length)
            assert merge(inputs, labels, T5) == [row[:used]]

    @pytest.mark.parametrize("options", [{"max_length": 2000}, {"targets_length": 114}])
    def test_rows_that_are_cut_need_fewer_sentinels(self, options):
        """4,096 inputs need 227 sentinels if they are filled; here they never are."""
        with pytest.raises(SentinelError, match="rows of 4550 tokens need 227 spans"):
            cut(T5, long_rows(), inputs_length=4096)
        collator, inputs, labels = cut(T5, [{"input_ids": row} for row in long_rows()], inputs_length=4096, **options)
        assert collator.targets_length == options.get("targets_length", 910)
        assert [len(row) for row in merge(inputs, labels, T5)] == [
            min(length - (length <= 2000), 2000 if "max_length" in options else 569) for length in LONG
        ]

    def test_one_token(self):
        _, inputs, labels = cut(T5, [{"input_ids": [5, 6, 7, EOS]}], inputs_length=64, max_length=1)
        assert (inputs, labels) == ([[5]], [[]])


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (T5, {"targets_length": 2}, "targets_length: 2 does not fit the targets of a row of two tokens"),
        (SpanCorruption(T5.sentinel_ids, EOS, final_sentinel=True), {"targets_length": 3}, "targets_length: 3 does not fit"),
        (DenoiserMixture([Denoiser(mode_token=5)]), {"inputs_length": 3}, "inputs_length: 3 does not fit a row of two tokens"),
        (DenoiserMixture([Denoiser(kind="prefix", split="uniform")]), {"targets_length": 2}, "targets_length: 2 does not fit"),
    ],
)
def test_lengths_that_no_row_fits(spec, options, message):
    with pytest.raises(ValueError, match=message):
        cut(spec, [], **{"inputs_length": 64, **options})


@pytest.mark.parametrize("length", range(2, 40))
def test_the_least_lengths_fit_every_row(length):
    row = list(range(3, 3 + length))
    for layout, protected in itertools.product(["classic", "uniform"], [(), (3,), (4, 6), tuple(range(3, 43))]):
        spec = SpanCorruption(T5.sentinel_ids, EOS, layout=layout, protected_ids=protected)
        _, inputs, labels = cut(spec, [{"input_ids": row}], inputs_length=3, targets_length=3)
        merged = merge(inputs, labels, spec)[0].tolist()
        assert merged == row[: len(merged)] != []
