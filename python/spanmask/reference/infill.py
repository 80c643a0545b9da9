"""Text infilling of one row. Twin of `noise/infill/`."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

from spanmask.reference.bounded import below, choose, cumulative, threshold
from spanmask.reference.draw import composition
from spanmask.reference.key import row_key
from spanmask.reference.philox import INFILL_LENGTHS, PERMUTATION, RANDOM_ID, REPLACEMENT, SPANS, Stream, stream
from spanmask.reference.rules import units_of
from spanmask.reference.words import words_of

__all__ = ["infill", "infill_sources"]

Span = tuple[int, int]


def infill(row: Sequence[int], spec: Any, **options: Any) -> tuple[list[int], list[int]]:
    """Inputs and labels of one row. `spec`: a `TextInfilling`; the options are those of `infill_sources`.

    >>> from spanmask import TextInfilling
    >>> infill([0, 5, 6, 2], TextInfilling(9, special_ids=[0, 2], mask_ratio=1.0, poisson_lambda=50))
    ([0, 9, 2], [0, 5, 6, 2])
    """
    inputs, _, labels = infill_sources(row, spec, **options)
    return inputs, labels


def infill_sources(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    mask_ratio: float | None = None,
    protected_mask: Sequence[bool] | None = None,
    word_ids: Sequence[int | None] | None = None,
    word_starts: Sequence[bool] | None = None,
    sentence_starts: Sequence[bool] | None = None,
    max_inputs: int | None = None,
) -> tuple[list[int], list[int], list[int]]:
    """Inputs of one row, for each the position of the token that it stands for, and labels. `key`: 64 bits, by default the row's hash."""
    key = row_key(row) if key is None else key
    in_spec = spec.whole_word_mask and word_ids is None and word_starts is None
    by_ids = {"continuation_ids": spec.continuation_ids, "word_end_ids": spec.word_end_ids} if in_spec else {}
    units = units_of(row, spec.special_ids, protected_mask, word_ids, word_starts, **by_ids)
    begins = {start for start, _ in words_of(row, word_ids, word_starts, **by_ids)}
    begins |= {at for at, number in enumerate(word_ids or ()) if number is None or number < 0}

    sentences = sentences_of(row, begins, spec, sentence_starts)
    order = list(range(len(row)))
    if spec.permute_sentence_ratio > 0 and sentences:
        permuted = permute(sentences, spec.permute_sentence_ratio, stream(seed, epoch, key, PERMUTATION))
        gaps = zip([0, *(stop for _, stop in sentences)], [*(start for start, _ in sentences), len(row)], strict=True)
        parts = [part for gap, sentence in zip(gaps, [*permuted, (0, 0)], strict=True) for part in (gap, sentence)]
        order = [at for start, stop in parts for at in range(start, stop)]
    places = {position: place for place, position in enumerate(order)}
    units = sorted((places[start], places[stop - 1] + 1) for start, stop in units)

    spans = spans_of(units, spec, spec.mask_ratio if mask_ratio is None else mask_ratio, seed, epoch, key)
    if max_inputs is not None:
        spans = fitting(spans, len(row), spec, max_inputs)
    masks = Masks(spec, seed, epoch, key)
    inputs, sources, position = [], [], 0
    for start, stop in spans:
        clear = order[position:start]
        ids = masks.replacing(stop - start)
        hidden = order[start:stop] or order[start : start + 1] or order[-1:]
        inputs += [*(row[at] for at in clear), *ids]
        sources += [*clear, *(hidden if len(ids) == len(hidden) else hidden[: len(ids)])]
        position = stop
    inputs += [row[at] for at in order[position:]]
    sources += order[position:]
    return inputs, sources, list(row)


def sentences_of(
    row: Sequence[int], word_starts: Collection[int], spec: Any, sentence_starts: Sequence[bool] | None
) -> list[Span]:
    """The sentences of a row, without the special tokens around them. `word_starts`: where a sentence may begin."""

    def begins(at: int) -> bool:
        if sentence_starts is not None:
            return bool(sentence_starts[at])
        return row[at - 1] in spec.sentence_end_ids and row[at] not in spec.sentence_end_ids

    starts = [0, *(at for at in range(1, len(row)) if at in word_starts and begins(at))]
    sentences = []
    for start, stop in zip(starts, [*starts[1:], len(row)], strict=True):
        others = [at for at in range(start, stop) if row[at] not in spec.special_ids]
        if others:
            sentences.append((others[0], others[-1] + 1))
    return sentences


def permute(sentences: Sequence[Span], ratio: float, permutation: Stream) -> list[Span]:
    """The sentences in their new order: a random choice of them swaps places at random."""
    numbers = list(range(len(sentences)))
    chosen = share(len(sentences), ratio)
    if chosen < 2:
        return list(sentences)
    for place in range(chosen):
        other = place + below(permutation, len(sentences) - place)
        numbers[place], numbers[other] = numbers[other], numbers[place]
    permuted = list(sentences)
    for place, number in zip(sorted(numbers[:chosen]), numbers[:chosen], strict=True):
        permuted[place] = sentences[number]
    return permuted


def share(count: int, fraction: float) -> int:
    """How many of `count` things a fraction is, rounded up; at least one, if there is a fraction at all.

    >>> share(70, .1), share(71, .1), share(5, 1e-9), share(5, 0)
    (7, 8, 1, 0)
    """
    return min(max(math.ceil(count * fraction - 1e-6), 1), count) if fraction > 0 else 0


def spans_of(units: Sequence[Span], spec: Any, mask_ratio: float, seed: int, epoch: int, key: int) -> list[Span]:
    """What is hidden, in order; an empty span is an insertion."""
    lengths = lengths_of(share(len(units), mask_ratio), spec.poisson_lambda, stream(seed, epoch, key, INFILL_LENGTHS))
    clear = len(units) - sum(lengths)
    gaps = composition(stream(seed, epoch, key, SPANS), clear + len(lengths) + 1, len(lengths) + 1) if lengths else []
    spans, at = [], 0
    for gap, length in zip(gaps, lengths, strict=False):
        at += gap - 1
        spans += pieces(units, at, length)
        at += length
    return spans


def pieces(units: Sequence[Span], first: int, length: int) -> list[Span]:
    """The tokens of some units: a span for each run of adjacent ones. Without any: where the next unit begins, or the last one ends."""
    if not length:
        at = units[first][0] if first < len(units) else units[-1][1]
        return [(at, at)]
    spans: list[Span] = []
    for start, stop in units[first : first + length]:
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], stop)
        else:
            spans.append((start, stop))
    return spans


def lengths_of(hidden: int, poisson_lambda: float, drawn: Stream) -> list[int]:
    """Span lengths that add up to `hidden`. The last one drawn is shortened to fit, and changes places with any of them."""
    thresholds = cumulative(poisson(poisson_lambda))
    lengths: list[int] = []
    while sum(lengths) < hidden:
        lengths.append(min(choose(drawn, thresholds), hidden - sum(lengths)))
    if lengths:
        other = below(drawn, len(lengths))
        lengths[other], lengths[-1] = lengths[-1], lengths[other]
    return lengths


def poisson(poisson_lambda: float) -> list[float]:
    """How likely the lengths 0, 1, 2, ... are, relative to 0; up to those that are less likely than one in 2**33.

    >>> poisson(2.0)[:4]
    [1.0, 2.0, 2.0, 1.3333333333333333]
    """
    weights = [1.0]
    while len(weights) <= poisson_lambda or weights[-1] * 2**33 >= sum(weights):
        weights.append(weights[-1] * poisson_lambda / len(weights))
    return weights


def fitting(spans: Sequence[Span], length: int, spec: Any, max_inputs: int) -> list[Span]:
    """The spans without the last insertions, if inputs would be too long."""
    inputs = length + sum(len(Masks(spec, 0, 0, 0).replacing(stop - start)) - (stop - start) for start, stop in spans)
    kept = list(spans)
    while inputs > max_inputs:
        last = max(number for number, (start, stop) in enumerate(kept) if start == stop)
        del kept[last]
        inputs -= 1
    return kept


class Masks:
    """What replaces spans, one after the other."""

    def __init__(self, spec: Any, seed: int, epoch: int, key: int) -> None:
        self.spec = spec
        self.replacements, self.random_ids = (stream(seed, epoch, key, purpose) for purpose in (REPLACEMENT, RANDOM_ID))

    def replacing(self, length: int) -> list[int]:
        """What replaces a span: masks, or random ids if a random word is below the threshold."""
        count = 1 if length == 0 else {1: 1, -1: length, 0: 0}[self.spec.replace_length]
        if not count or not self.spec.random_ratio or self.replacements.next_u32() >= threshold(self.spec.random_ratio):
            return [self.spec.mask_token_id] * count
        excluded = {*self.spec.special_ids, *self.spec.unused_ids}
        allowed = [token for token in range(self.spec.vocab_size) if token not in excluded]
        return [allowed[below(self.random_ids, len(allowed))] for _ in range(count)]
