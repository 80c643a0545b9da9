"""Masked LM for one row, spelled out. Twin of `noise/masked_lm.rs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from spanmask.reference.draw import composition, place
from spanmask.reference.lemire import below, choose, cumulative, threshold
from spanmask.reference.philox import CHOICE, FATE, RANDOM_ID, Stream, stream
from spanmask.reference.trials import successes
from spanmask.reference.units import units_of
from spanmask.reference.xxh3 import row_key

__all__ = ["mask_tokens"]


def mask_tokens(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    protected: Sequence[Any] | None = None,
    words: Sequence[Any] | None = None,
    ignore_index: int = -100,
) -> tuple[list[int], list[int]]:
    """Inputs and labels of one row. `spec`: a `MaskedLM`; `key`: 64 bits, by default the row's hash."""
    key = row_key(row) if key is None else key
    choices, random_ids = (stream(seed, epoch, key, purpose) for purpose in (CHOICE, RANDOM_ID))
    fates = fates_of(stream(seed, epoch, key, FATE), spec)
    inputs, labels = list(row), [ignore_index] * len(row)
    for group, shared in chosen_groups(row, spec, choices, protected, words):
        fate = ""
        for at in group:
            fate = fate if shared and fate else next(fates)
            labels[at] = row[at]
            if fate == "mask":
                inputs[at] = spec.mask_token_id
            elif fate == "random":
                allowed = [token for token in range(spec.vocab_size) if token not in spec.special_ids]
                inputs[at] = allowed[below(random_ids, len(allowed))]
    return inputs, labels


def chosen_groups(
    row: Sequence[int], spec: Any, choices: Stream, protected: Sequence[Any] | None, words: Sequence[Any] | None
) -> list[tuple[range, bool]]:
    """Positions that are chosen together, and whether they share their fate."""
    continuing = spec.continuation_ids if spec.whole_word_mask and words is None else None
    units = units_of(row, spec.special_ids, protected, words, continuing)
    if spec.mode == "span":
        spans = [units[start:stop] for start, stop in spans_of(len(units), spec, choices)]
        return [(flatten(span), True) for span in spans]
    # Every token is tried, so that a protected one moves no other's luck. A word is chosen with its first.
    tried = set(successes(choices, threshold(spec.mlm_probability), len(row)))
    return [(range(start, stop), False) for start, stop in units if start in tried]


def spans_of(length: int, spec: Any, choices: Stream) -> list[tuple[int, int]]:
    """SpanBERT: lengths until the share is reached, then a place for each, none touching another."""
    noise = min(round(length * spec.mlm_probability), length)
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


def flatten(span: list[tuple[int, int]]) -> Any:
    """All positions of some units."""
    return [at for start, stop in span for at in range(start, stop)]


def fates_of(words: Stream, spec: Any) -> Iterator[str]:
    """What becomes of each chosen token. The first word of a row rounds shares to 16 bits, so that they hold on average."""
    first = words.next_u16()
    mask, random = (
        (threshold(share) + first) >> 16 for share in (spec.mask_replace_prob, spec.mask_replace_prob + spec.random_replace_prob)
    )
    while True:
        word = words.next_u16()
        yield "mask" if word < mask else "random" if word < random else "keep"
