"""Masked LM for one row. Twin of `noise/masked_lm.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.reference.bounded import below, choose, cumulative, threshold
from spanmask.reference.draw import composition, place
from spanmask.reference.key import row_key
from spanmask.reference.philox import CHOICE, RANDOM_ID, REPLACEMENT, Stream, stream
from spanmask.reference.rules import units_of
from spanmask.reference.trials import successes

__all__ = ["mask_tokens"]

Span = tuple[int, int]


def mask_tokens(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    protected_mask: Sequence[bool] | None = None,
    word_ids: Sequence[int | None] | None = None,
    word_starts: Sequence[bool] | None = None,
    mlm_probability: Sequence[float] | None = None,
    ignore_index: int = -100,
) -> tuple[list[int], list[int]]:
    """Inputs and labels of one row. `spec`: a `MaskedLM`; `key`: 64 bits, by default the row's hash; `mlm_probability`: by token."""
    key = row_key(row) if key is None else key
    choices, words, random_ids = (stream(seed, epoch, key, purpose) for purpose in (CHOICE, REPLACEMENT, RANDOM_ID))
    in_spec = spec.whole_word_mask and word_ids is None and word_starts is None
    continuation_ids = spec.continuation_ids if in_spec else None
    units = units_of(
        row, spec.special_ids, protected_mask, word_ids, word_starts, continuation_ids, word_end_ids=spec.word_end_ids
    )
    inputs, labels = list(row), [ignore_index] * len(row)
    for group in chosen_groups(len(row), units, spec, choices, mlm_probability):
        replacement = next_replacement(words, spec)
        for at in group:
            labels[at] = row[at]
            if replacement == "mask":
                inputs[at] = spec.mask_token_id
            elif replacement == "random":
                excluded = {*spec.special_ids, *spec.unused_ids}
                allowed = [token for token in range(spec.vocab_size) if token not in excluded]
                inputs[at] = allowed[below(random_ids, len(allowed))]
    return inputs, labels


def next_replacement(words: Stream, spec: Any) -> str:
    """What replaces a token, or the tokens of a span: a word below the first threshold gives the mask, below the second a random id."""
    word = words.next_u32()
    if word < threshold(spec.mask_replace_prob):
        return "mask"
    return "random" if word < threshold(spec.mask_replace_prob + spec.random_replace_prob) else "itself"


def chosen_groups(
    length: int, units: Sequence[Span], spec: Any, choices: Stream, probabilities: Sequence[float] | None
) -> list[list[int]]:
    """The chosen positions: a group for each span, whose tokens get one kind of replacement, or for each token."""
    if spec.mode == "span":
        spans = [units[start:stop] for start, stop in spans_of(len(units), spec, choices)]
        return [[at for start, stop in span for at in range(start, stop)] for span in spans]
    # Each token has a trial, so that a protected one does not change what happens to the others. A word is chosen with its first token.
    if probabilities is None:
        tried = set(successes(choices, threshold(spec.mlm_probability), length))
    else:  # one word for each token
        tried = {at for at, probability in enumerate(probabilities) if choices.next_u32() < threshold(probability)}
    chosen = [unit for unit in units if unit[0] in tried]
    eligible = [unit for unit in units if probabilities is None or threshold(probabilities[unit[0]]) > 0]
    if spec.min_one and eligible and not chosen:
        chosen = [eligible[below(choices, len(eligible))]]
    return [[at] for start, stop in chosen for at in range(start, stop)]


def spans_of(length: int, spec: Any, choices: Stream) -> list[Span]:
    """SpanBERT: draw lengths until the fraction is reached, then a position for each, with a clear unit between any two."""
    noise = min(max(round(length * spec.mlm_probability), spec.min_one), length)
    weights = [1.0]
    while len(weights) < spec.max_span_length:
        weights.append(weights[-1] * (1 - spec.span_length_p))
    lengths: list[int] = []
    while sum(lengths) < noise:
        left = noise - sum(lengths)
        drawn = choose(choices, cumulative(weights)) + 1
        last = len(lengths) == length - noise
        lengths.append(left if last else min(drawn, left))
    if not lengths:
        return []
    gaps = composition(choices, length - noise + 2, len(lengths) + 1)
    return place([gaps[0] - 1, *gaps[1:]], lengths)
