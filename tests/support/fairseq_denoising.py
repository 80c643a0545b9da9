"""The noise of BART's own program (`DenoisingDataset` of fairseq), rewritten in NumPy from a description of its steps, for comparison.

For a row with BOS and EOS: sentences that end with a full stop are permuted; then a number of words, rounded up, is covered by spans of
Poisson length. Spans begin at different words that are chosen at random, so that a span may cover the beginning of another, or end early
at EOS. A span becomes one mask at its first word; masks for spans of length 0 are inserted last, anywhere between BOS and EOS.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass
class FairseqDenoising:
    """The settings, with the names that they have there."""

    mask_id: int
    vocabulary: int
    mask: float = 0.3
    poisson_lambda: float = 3.5
    replace_length: int = 1
    mask_random: float = 0.0
    permute_sentences: float = 0.0
    full_stop: int = -1

    def __post_init__(self):
        chances = []
        while len(chances) < 128 and (not chances or chances[-1] >= 1e-7):
            count = len(chances)
            chances.append(math.exp(-self.poisson_lambda) * self.poisson_lambda**count / math.factorial(count))
        self.chances = np.array(chances) / sum(chances)

    def __call__(self, row, random, words=None):
        """The noised row, and what was drawn: the budget of words, the lengths, and how many words spans really cover.

        `words`: a flag for each token that begins a word; without them, each token does.
        """
        row = np.array(row)
        if self.permute_sentences:
            row = self.permuted(row, random)
        starts = np.ones(len(row), bool) if words is None else np.array(words, bool)
        starts[[0, -1]] = False
        budget = math.ceil(starts.sum() * self.mask)
        if not budget:
            return row, 0, [], 0
        lengths = self.lengths(budget, random)
        left = lengths[lengths > 0]
        at = random.permutation(np.flatnonzero(starts))[: len(left)]
        kept, covered, noised = np.ones(len(row), bool), np.zeros(len(row), bool), row.copy()
        covered[at] = True
        kept[at] = self.replace_length != 0
        noised[at] = self.replacements(len(at), random)
        while len(at):  # all spans at once, one token further; a span may erase the mask of another
            at = at + 1
            left = left - starts[at]
            inside = (left > 0) & (at < len(row) - 1)
            at, left = at[inside], left[inside]
            covered[at] = True
            if self.replace_length == -1:
                noised[at] = self.replacements(len(at), random)
            else:
                kept[at] = False
        noised = self.inserted(noised[kept], int((lengths == 0).sum()), random)
        return noised, budget, lengths.tolist(), int(covered[starts].sum())

    def lengths(self, budget, random):
        """Lengths until the budget is reached; the last one is shortened."""
        lengths = np.empty(0, int)
        while lengths.sum() < budget:
            lengths = np.append(lengths, random.choice(len(self.chances), budget, p=self.chances))
        sums = np.cumsum(lengths)
        last = int(np.searchsorted(sums, budget))
        lengths[last] -= sums[last] - budget
        return lengths[: last + 1]

    def replacements(self, count, random):
        """Masks, or random ids."""
        ids = random.integers(1, self.vocabulary, count)
        return np.where(random.random(count) < self.mask_random, ids, self.mask_id)

    def inserted(self, row, count, random):
        """The row with masks between its first and its last token."""
        size = len(row) + count
        places = random.permutation(size - 2)[:count] + 1
        result, free = np.empty(size, row.dtype), np.ones(size, bool)
        free[places] = False
        result[free] = row
        result[places] = self.replacements(count, random)
        return result

    def permuted(self, row, random):
        stops = row == self.full_stop
        stops[-2] = True
        ends = np.flatnonzero(stops[1:] & ~stops[:-1]) + 2
        chosen = math.ceil(len(ends) * self.permute_sentences)
        places = random.permutation(len(ends))[:chosen]
        order = np.arange(len(ends))
        order[places] = random.permutation(places)
        bounds = [1, *ends]
        body = [row[bounds[number] : bounds[number + 1]] for number in order]
        return np.concatenate([row[:1], *body, row[bounds[-1] :]])
