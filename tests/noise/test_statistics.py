"""Does the noise have the right distribution? Every seed is fixed, so the tests always pass or always fail.

The comment at each limit says how often another seed would exceed it. Chi-square limits are quantiles.
"""

import math

import numpy as np
import pytest
from spanmask import MaskedLM, SpanCorruption, corrupt, mask_tokens
from spanmask.reference import draw, philox
from support.denoising import SENTINELS, runs

MANY = range(5000, 4000, -1)


def chi_square(counts, expected):
    counts, expected = np.asarray(counts, float), np.asarray(expected, float)
    return float(((counts - expected) ** 2 / expected).sum())


def masks(length, density, mean, rows, **options):
    """Masks of rows of one length, each with its own key."""
    spec = SpanCorruption(MANY, 1, noise_density=density, mean_noise_span_length=mean, **options)
    out = corrupt(np.full((rows, length), 7), spec, seed=11, keys=np.arange(rows))
    return out.noise_mask().values.reshape(rows, length)


def test_compositions_of_the_reference_are_uniform():
    counts = {}
    stream = philox.Stream((5, 0), (0, 0, 0, 0))
    for _ in range(5000):
        parts = tuple(draw.composition(stream, 6, 3))
        counts[parts] = counts.get(parts, 0) + 1
    assert len(counts) == 10
    assert chi_square(list(counts.values()), [500] * 10) < 33.7  # 9 degrees of freedom: 1 in 10,000


@pytest.mark.parametrize("layout", ["classic", "uniform"])
def test_masks_are_uniform(layout):
    """12 tokens, 6 hidden in 3 spans: 10 compositions on each side (classic), or 10 x 35 masks (uniform), all equally likely."""
    drawn = masks(12, 0.5, 2.0, 70_000, layout=layout)
    _, counts = np.unique(drawn @ (1 << np.arange(12)), return_counts=True)
    kinds = {"classic": 100, "uniform": 350}[layout]
    assert len(counts) == kinds
    limit = {"classic": 162.0, "uniform": 454.0}[layout]  # 99 and 349 degrees of freedom: 1 in 10,000
    assert chi_square(counts, [70_000 / kinds] * kinds) < limit


def test_span_lengths():
    """P(l) = C(n - 1 - l, k - 2) / C(n - 1, k - 1), for n 85, k 28."""
    drawn = masks(568, 0.15, 3.0, 2000)
    lengths = [stop - start for row in drawn for start, stop in runs(row.tolist())]
    assert len(lengths) == 2000 * 28
    expected = [math.comb(84 - length, 26) / math.comb(84, 27) for length in range(1, 6)]
    assert [round(fraction, 3) for fraction in expected] == [0.321, 0.221, 0.151, 0.102, 0.069]
    for length, fraction in enumerate(expected, 1):
        # Lengths in one row are nearly independent; 5 sigma: 1 in a million.
        sigma = math.sqrt(fraction * (1 - fraction) / len(lengths))
        assert abs(lengths.count(length) / len(lengths) - fraction) < 5 * sigma


def test_marginals():
    """How often a position is hidden: never at the start, always at the end, equally often in between."""
    fractions = masks(568, 0.15, 3.0, 40_000).mean(axis=0)
    assert fractions[0] == 0
    assert fractions[567] == 1
    for place, fraction in [(1, 0.058), (2, 0.089), (566, 0.684)]:
        assert abs(fractions[place] - fraction) < 0.0005 + 5 * math.sqrt(fraction * (1 - fraction) / 40_000)
    assert abs(fractions[100:450].mean() - 0.148) < 0.004
    assert abs(fractions.mean() - 85 / 568) < 1e-12


def test_neighbouring_keys_seeds_and_epochs_are_uncorrelated():
    """Masks of rows whose keys, seeds or epochs differ by one overlap as independent masks do."""
    rows = np.full((4000, 200), 7)
    spec = SpanCorruption(SENTINELS, 1, noise_density=0.3, mean_noise_span_length=2.0, layout="uniform")

    def mask(seed=0, epoch=0, first=0):
        out = corrupt(rows, spec, seed=seed, epoch=epoch, keys=np.arange(first, first + 4000))
        return out.noise_mask().values.reshape(4000, 200)

    base = mask()
    fraction = base.mean(axis=0)
    expected = (fraction * fraction).sum() * 4000
    sigma = math.sqrt(4000 * 200 * 0.09 * 0.91)  # a bound: overlaps in one row vary less
    for other in (mask(seed=1), mask(epoch=1), mask(first=1), mask(seed=1, epoch=1)):
        assert abs((base & other).sum() - expected) < 6 * sigma
        assert not (base == other).all(axis=1).any()


@pytest.mark.parametrize("probability", [0.15, 0.4])
def test_masked_lm_fractions(probability):
    """A fraction p of the tokens; 80/10/10 of those; random ids are uniform, never special. Each bound is 5 sigma: 1 in a million."""
    spec = MaskedLM(4, 55, special_ids=(0, 1, 2, 3, 4, 30), mlm_probability=probability)
    rows = np.random.default_rng(0).choice([*range(5, 30), *range(31, 55)], size=(2000, 256))
    out = mask_tokens(rows, spec, seed=3, keys=np.arange(2000))
    chosen = out.labels != -100
    total, count = rows.size, int(chosen.sum())
    assert abs(count - total * probability) < 5 * math.sqrt(total * probability * (1 - probability))
    now, was = out.input_ids[chosen], out.labels[chosen]
    masked = int((now == 4).sum())
    changed = now[(now != 4) & (now != was)]
    assert abs(masked - 0.8 * count) < 5 * math.sqrt(count * 0.16)
    assert abs(len(changed) - 0.1 * 48 / 49 * count) < 5 * math.sqrt(count * 0.09)
    drawn = np.bincount(now[now != 4], minlength=55)
    assert drawn[[0, 1, 2, 3, 30]].sum() == 0
    assert chi_square(drawn[drawn > 0], [drawn.sum() / 49] * 49) < 99.0  # 48 degrees of freedom: 1 in 50,000
    # Neighbours are independent: pairs have at most one token in common with two others each.
    pairs, both = total - len(rows), int((chosen[:, 1:] & chosen[:, :-1]).sum())
    assert abs(both - pairs * probability**2) < 5 * math.sqrt(pairs * 3 * probability**2)
    places = chosen.mean(axis=0)
    assert abs(places - probability).max() < 6 * math.sqrt(probability * (1 - probability) / 2000)


def test_word_fractions():
    spec = MaskedLM(4, 1000, mlm_probability=0.15, whole_word_mask=True, continuation_ids=range(500, 1000))
    rows = np.random.default_rng(0).integers(5, 1000, size=(2000, 256))
    rows[:, 0] = 7
    out = mask_tokens(rows, spec, keys=np.arange(2000))
    starts = rows < 500
    count = int((starts & (out.labels != -100)).sum())
    assert abs(count - 0.15 * starts.sum()) < 5 * math.sqrt(starts.sum() * 0.15 * 0.85)


def test_spanbert_lengths():
    """Lengths are geometric with p .2, truncated at 10. The last span of a row takes the rest, so rows are long."""
    spec = MaskedLM(4, 1000, mlm_probability=0.15, mode="span")
    out = mask_tokens(np.full((300, 4000), 7), spec, keys=np.arange(300))
    lengths = np.array([stop - start for row in out.labels for start, stop in runs((row != -100).tolist())])
    weights = 0.8 ** np.arange(10)
    weights /= weights.sum()
    counts = np.bincount(lengths, minlength=11)[1:]
    assert lengths.max() <= 10
    assert abs(lengths.mean() - (weights * np.arange(1, 11)).sum()) < 0.05
    assert np.abs(counts / counts.sum() - weights).max() < 0.006
