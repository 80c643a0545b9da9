"""Mixtures: which denoiser a row gets, mode tokens, prefixes, and everything that must be an error."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    DataCollatorForSpanCorruption,
    Denoiser,
    DenoiserMixture,
    SentinelError,
    SpanCorruption,
    corrupt,
    merge,
    reference,
)
from support.denoising import EOS, SENTINELS, WORDS, body, rows, seeds, t5_tokenizer

SPEC = SpanCorruption(SENTINELS, EOS)
ROW = list(range(2, 60))


def test_frequencies_follow_the_weights():
    denoisers = [Denoiser(3.0, 0.15), Denoiser(8.0, 0.5), Denoiser(kind="prefix", noise_density=0.25)]
    mixture = DenoiserMixture(denoisers, [1, 2, 5], sentinel_ids=range(3000, 2000, -1), eos_token_id=EOS)
    out = corrupt(np.arange(2, 34)[None].repeat(20_000, 0), mixture, keys=np.arange(20_000))
    counts = np.bincount(out.denoisers, minlength=3)
    # Chi-square with 2 degrees of freedom: above 18.4 for one seed in 10,000.
    expected = 20_000 * np.array([1, 2, 5]) / 8
    assert ((counts - expected) ** 2 / expected).sum() < 18.4


def test_presets():
    spans = {(d.mean_noise_span_length, d.noise_density) for d in DenoiserMixture.ul2().denoisers if d.kind == "spans"}
    assert spans == {(3, 0.15), (8, 0.15), (3, 0.5), (8, 0.5), (64, 0.15), (64, 0.5)}
    assert [d.kind for d in DenoiserMixture.ul2().denoisers].count("prefix") == 1
    assert sum(DenoiserMixture.ul2r().weights) == 1
    t5 = DenoiserMixture.t5(sentinel_ids=SENTINELS, eos_token_id=EOS)
    assert corrupt([ROW], t5, seed=3).input_ids == corrupt([ROW], SPEC, seed=3).input_ids


@pytest.mark.parametrize("rate", [0.3, [0.3]])
@pytest.mark.parametrize("name", ["noise_density", "mean_noise_span_length"])
def test_rates_by_row_are_not_those_of_a_mixture(name, rate):
    """They would make R and X the same, and leave prefixes as they are."""
    rate = np.multiply(rate, 10).tolist() if name != "noise_density" else rate
    message = f"^{name}: cannot be combined with a DenoiserMixture, each of whose denoisers has its own; remove it"
    prefix = DenoiserMixture([Denoiser(kind="prefix")], sentinel_ids=SENTINELS)
    for mixture in (DenoiserMixture.ul2r(sentinel_ids=SENTINELS), prefix):
        with pytest.raises(ValueError, match=message):
            corrupt([ROW], mixture, **{name: rate})
    tokenizer = t5_tokenizer(WORDS)
    collator = DataCollatorForSpanCorruption(tokenizer, spec=DenoiserMixture.ul2(tokenizer))
    with pytest.raises(ValueError, match=message):
        collator([{"input_ids": [3, 4, 5], name: np.ravel(rate)[0]}])
    one = DenoiserMixture.t5(sentinel_ids=SENTINELS, eos_token_id=EOS)
    assert corrupt([ROW], one, **{name: rate}).labels == corrupt([ROW], SPEC, **{name: rate}).labels


def test_mode_tokens_come_first_and_are_never_hidden():
    tokenizer = t5_tokenizer(WORDS)
    tokenizer.add_tokens(["[NLU]", "[NLG]", "[S2S]"])
    mixture = DenoiserMixture.ul2(tokenizer, mode_tokens=True)
    mode_tokens = [tokenizer.convert_tokens_to_ids(token) for token in ("[NLU]", "[NLG]", "[S2S]")]
    out = corrupt([list(range(3, 11))] * 50, mixture, keys=range(50))
    for number, row in zip(out.denoisers.tolist(), out.input_ids, strict=True):
        assert row[0] == mode_tokens["RXS".index(mixture.names[number][0])]
    assert merge(out.input_ids, out.labels, mixture) == [list(range(3, 11))] * 50


def test_a_missing_mode_token_is_an_error():
    with pytest.raises(ValueError, match=r"mode_token: the tokenizer has no '\[NLU\]'"):
        DenoiserMixture.ul2(t5_tokenizer(WORDS), mode_tokens=True)


def test_a_prefix_is_the_row_up_to_its_split():
    spec = {"sentinel_ids": SENTINELS, "eos_token_id": EOS}
    marked = corrupt([ROW], DenoiserMixture([Denoiser(kind="prefix", noise_density=0.25)], **spec))
    assert marked.input_ids[0].tolist() == [*ROW[:44], 1000, EOS]
    assert marked.labels[0].tolist() == [1000, *ROW[44:], EOS]
    plain = corrupt([ROW], DenoiserMixture([Denoiser(kind="prefix", noise_density=0.25, sentinel=False)], **spec))
    assert plain.input_ids[0].tolist() == [*ROW[:44], EOS]
    assert plain.labels[0].tolist() == [*ROW[44:], EOS]


@given(row=rows, seed=seeds, split=st.sampled_from(["density", "uniform"]), data=st.data())
def test_a_prefix_without_a_sentinel_is_followed_by_the_whole_rest(row, seed, split, data):
    """Tokens of no word may stand in the prefix; in the rest, their places could not be told from its own."""
    denoiser = Denoiser(kind="prefix", noise_density=0.5, split=split, sentinel=False)
    mixture = DenoiserMixture([denoiser], sentinel_ids=SENTINELS, eos_token_id=EOS)
    words = data.draw(st.lists(st.sampled_from([*range(9), None]), min_size=len(row), max_size=len(row)))
    try:
        wanted = reference.corrupt(row, mixture, seed, word_ids=words)
    except ValueError:
        with pytest.raises(
            ValueError, match="word_ids: row 0 has tokens of no word after its prefix; a prefix without a sentinel"
        ):
            corrupt([row], mixture, seed=seed, word_ids=[words])
        return
    out = corrupt([row], mixture, seed=seed, word_ids=[words])
    assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == wanted
    assert merge(out.input_ids, out.labels, mixture) == [body(row)]


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (lambda: DenoiserMixture([]), ValueError, "denoisers: none given"),
        (lambda: DenoiserMixture(["R"]), TypeError, "denoisers: expected Denoiser, got str"),
        (lambda: DenoiserMixture([Denoiser()], [1, 2]), ValueError, "weights: 2 for 1 denoisers"),
        (lambda: DenoiserMixture([Denoiser()], [0]), ValueError, "weights: expected finite numbers >= 0"),
        (lambda: DenoiserMixture([Denoiser()], [-1]), ValueError, "weights: expected finite numbers >= 0"),
        (lambda: DenoiserMixture([Denoiser()], [math.nan]), ValueError, "weights: expected finite numbers >= 0"),
        (lambda: DenoiserMixture([Denoiser()], ["1"]), TypeError, "weights: expected a number"),
        (lambda: Denoiser(0.5), ValueError, "mean_noise_span_length: expected a finite length"),
        (lambda: Denoiser(3, 1.5), ValueError, "noise_density: expected a fraction"),
        (lambda: Denoiser(kind="suffix"), ValueError, "kind: expected one of 'spans', 'prefix'"),
        (lambda: Denoiser(kind="prefix", split="half"), ValueError, "split: expected one of"),
        (lambda: Denoiser(sentinel=False), ValueError, 'sentinel: False requires kind="prefix"'),
        (lambda: Denoiser(mode_token=-1), ValueError, "mode_token: expected a token id"),
        (lambda: Denoiser(kind="prefix", sentinel="no"), ValueError, "sentinel: expected True or False"),
        (lambda: Denoiser(name=5), TypeError, "name: expected a string, got int 5"),
        (lambda: DenoiserMixture(Denoiser()), TypeError, "denoisers: expected a list, got Denoiser"),
        (lambda: DenoiserMixture([Denoiser()], 1), TypeError, "weights: expected a list, got int"),
        (
            lambda: DenoiserMixture([Denoiser(kind="prefix", sentinel=False)], protected_ids=[5]),
            ValueError,
            "protected_ids: a prefix without a sentinel",
        ),
        (lambda: corrupt([ROW], DenoiserMixture.ul2()), SentinelError, "sentinel_ids: 0 given, at least 1 needed"),
        (
            lambda: corrupt([ROW], DenoiserMixture.ul2(sentinel_ids=[9], mode_tokens=True)),
            ValueError,
            r"mode_token: '\[NLU\]' has no id",
        ),
        (lambda: DenoiserMixture.ul2(mode_tokens={"Q": "[Q]"}), ValueError, "mode_tokens: unknown denoiser 'Q'"),
        (
            lambda: corrupt([ROW], DenoiserMixture.ul2(sentinel_ids=SENTINELS), noise_mask=[[True] * 58]),
            ValueError,
            "noise_mask: cannot be combined with a DenoiserMixture",
        ),
    ],
)
def test_bad_mixtures(build, error, message):
    with pytest.raises(error, match=message):
        build()
