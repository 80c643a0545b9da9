"""Does text infilling have the right distribution, and the statistics of BART's own program? Every seed is fixed.

The comment at each limit says how often another seed would exceed it. Chi-square limits are quantiles.
"""

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from spanmask import TextInfilling, _core, infill
from support.fairseq_denoising import FairseqDenoising

BOS, EOS, MASK = 0, 2, 4


def spec_of(**options):
    return TextInfilling(MASK, special_ids=[BOS, EOS, MASK], **options)


def span_lengths(rows, length, spec):
    """The length of each span of rows of one length (without their EOS), in order; 0 for insertions."""
    tokens = np.full((rows, length + 1), 7)
    tokens[:, -1] = EOS
    keys = np.arange(rows, dtype=np.uint64)
    out = _core.infill(tokens, spec._compiled, seed=11, epoch=0, keys=keys, with_sources=True)
    spans = []
    for start, stop in zip(out.input_offsets[:-1], out.input_offsets[1:], strict=True):
        lengths = np.diff(out.sources[start:stop])  # an insertion has the source of the token after it
        spans.append(lengths[out.input_ids[start : stop - 1] == MASK].tolist())
    return spans


@pytest.mark.parametrize("poisson_lambda", [1.0, 3.5])
def test_lengths_are_poisson(poisson_lambda):
    """The last length of a row is shortened: rows are long, so that it is one of hundreds."""
    spans = span_lengths(200, 4000, spec_of(poisson_lambda=poisson_lambda))
    counts = np.bincount([length for row in spans for length in row], minlength=11)
    counts = np.append(counts[:10], counts[10:].sum())
    chances = [math.exp(-poisson_lambda) * poisson_lambda**k / math.factorial(k) for k in range(10)]
    chances = np.array([*chances, 1 - sum(chances)])
    expected = chances * counts.sum()
    shown = expected > 5
    assert ((counts - expected)[shown] ** 2 / expected[shown]).sum() < 35.6  # 10 degrees of freedom: 1 in 10,000
    assert all(sum(row) == 1200 for row in spans)


def test_the_shortened_length_may_be_any():
    """3 of 10 tokens are hidden, mostly by one or two spans: were the last one shorter, its mean would be far below the first one's."""
    spans = [row for row in span_lengths(40_000, 10, spec_of(poisson_lambda=2.0)) if len(row) > 1]
    assert len(spans) > 10_000
    differences = np.array([row[0] - row[-1] for row in spans])
    assert abs(differences.mean()) < 5 * differences.std() / math.sqrt(len(spans))  # 1 in a million


def test_arrangements_are_uniform():
    """Everything is hidden by two spans or clear: where the mask of one span is among 9 clear tokens. 10 places, all equally likely."""
    spec = spec_of(mask_ratio=0.5, poisson_lambda=100)  # the first length covers all that is to be hidden
    rows = np.tile(np.arange(10, 28), (20_000, 1))
    inputs = infill(rows, spec, keys=range(20_000)).input_ids.values.reshape(20_000, 10)
    counts = np.bincount(np.argmax(inputs == MASK, axis=1), minlength=10)
    assert ((counts - 2000) ** 2 / 2000).sum() < 33.7  # 9 degrees of freedom: 1 in 10,000


def orders(count, ratio):
    """How often each order of four sentences occurs."""
    row = [BOS, 11, 9, 12, 9, 13, 9, 14, 9, EOS]
    spec = spec_of(mask_ratio=0.0, permute_sentence_ratio=ratio, sentence_end_ids=[9])
    inputs = infill([row] * count, spec, keys=range(count)).input_ids.values.reshape(count, len(row))
    return Counter(map(tuple, inputs[:, 1:8:2].tolist()))


def test_all_orders_of_sentences_are_equally_likely():
    counts = orders(24_000, 1.0)
    assert set(counts) == set(permutations([11, 12, 13, 14]))
    assert sum((count - 1000) ** 2 / 1000 for count in counts.values()) < 56.0  # 23 degrees of freedom: 1 in 10,000


def test_of_two_chosen_sentences_half_swap():
    counts = orders(24_000, 0.5)
    assert abs(counts.pop((11, 12, 13, 14)) - 12_000) < 5 * math.sqrt(6000)  # 1 in a million
    assert len(counts) == 6
    assert sum((count - 2000) ** 2 / 2000 for count in counts.values()) < 27.9  # 6 degrees of freedom: 1 in 10,000


def test_random_ids_replace_their_fraction_of_the_masks():
    out = infill([np.arange(10, 500)] * 400, spec_of(random_ratio=0.1, vocab_size=10), keys=range(400))
    values = out.input_ids.values
    masks, random = int((values == MASK).sum()), int((values < 10).sum()) - int((values == MASK).sum())
    assert abs(random - 0.1 * (masks + random)) < 5 * math.sqrt(0.09 * (masks + random))  # 1 in a million
    drawn = np.bincount(values[(values < 10) & (values != MASK)], minlength=10)
    assert drawn[[BOS, EOS]].sum() == 0
    expected = drawn.sum() / 7
    assert (
        sum((drawn[token] - expected) ** 2 / expected for token in (1, 3, 5, 6, 7, 8, 9)) < 27.9
    )  # 6 degrees of freedom: 1 in 10,000


@pytest.mark.parametrize(("length", "hidden"), [(64, 0.275), (512, 0.268)])
def test_statistics_are_those_of_the_papers_program(length, hidden):
    """The number of spans, and of insertions among them, have the same means; the program hides less, since its spans overlap."""
    peer, random, rows = FairseqDenoising(MASK, 1000), np.random.default_rng(0), 300
    row = np.concatenate([[BOS], np.arange(10, 10 + length), [EOS]])
    drawn, covered = [], []
    for _ in range(rows):
        _, budget, lengths, count = peer(row, random)
        drawn.append((len(lengths), lengths.count(0)))
        covered.append(count / length)
    out = infill([row] * 10 * rows, spec_of(), keys=range(10 * rows))
    ours = np.stack([out._batch.spans + out._batch.inserted, out._batch.inserted])
    theirs = np.array(drawn).T
    sigma = theirs.std(axis=1) * math.sqrt(1.1 / rows)
    assert (abs(ours.mean(axis=1) - theirs.mean(axis=1)) < 5 * sigma).all()  # 1 in a million
    assert set(out._batch.hidden.tolist()) == {budget}
    assert abs(np.mean(covered) - hidden) < 0.003
    assert max(covered) <= budget / length


def test_whole_words_have_the_papers_budget():
    words = np.repeat(np.arange(40), [1 + n % 3 for n in range(40)])
    row = np.concatenate([[BOS], 10 + words, [EOS]])
    starts = np.concatenate([[True, True], words[1:] != words[:-1], [True]])
    _, budget, _, covered = FairseqDenoising(MASK, 1000)(row, np.random.default_rng(0), starts)
    numbers = [None, *words.tolist(), None]
    inputs = infill([row], spec_of(), word_ids=[numbers]).input_ids[0]
    assert len(set(row.tolist())) - len(set(inputs.tolist()) - {MASK}) == budget == 12
    assert covered <= budget


@pytest.mark.parametrize("replace_length", [1, -1, 0])
def test_lengths_of_inputs_are_those_of_the_papers_program(replace_length):
    """Up to what overlaps leave: 3 % of the row."""
    peer, random = FairseqDenoising(MASK, 1000, replace_length=replace_length), np.random.default_rng(0)
    row = np.concatenate([[BOS], np.arange(10, 266), [EOS]])
    theirs = np.mean([len(peer(row, random)[0]) for _ in range(200)])
    ours = infill([row] * 200, spec_of(replace_length=replace_length), keys=range(200)).input_ids.offsets[-1] / 200
    assert abs(ours - theirs) < 0.04 * len(row)
