"""Span corruption of one row, spelled out. Twin of `noise/corrupt.rs`, `noise/mixture.rs` and `noise/apply.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from spanmask.reference.draw import draw
from spanmask.reference.lemire import below, choose, cumulative
from spanmask.reference.philox import DENOISER, SPANS, stream
from spanmask.reference.plan import plan
from spanmask.reference.units import expand, units_of
from spanmask.reference.xxh3 import row_key

__all__ = ["choose_denoiser", "corrupt", "corrupt_at", "noise_spans"]

Span = tuple[int, int]


def corrupt(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    noise_mask: Sequence[Any] | None = None,
    protected: Sequence[Any] | None = None,
    words: Sequence[Any] | None = None,
) -> tuple[list[int], list[int]]:
    """Inputs and targets of one row. `spec`: a `SpanCorruption` or `DenoiserMixture`; `key`: 64 bits, by default the row's hash.

    >>> from spanmask import SpanCorruption
    >>> spec = SpanCorruption([99, 98], eos_token_id=1)
    >>> corrupt([5, 6, 7, 1], spec, noise_mask=[False, True, False, False])
    ([5, 99, 7, 1], [99, 6, 1])
    """
    row = list(row)
    body = without_eos(row, spec.eos_token_id)
    check(body, spec)
    if len(body) < 2:
        return row, []
    if noise_mask is not None:
        denoiser, spans = denoisers_of(spec)[0], runs(noise_mask[: len(body)])
        spans = afford(spans, denoiser, spec)
    else:
        key = row_key(body) if key is None else key
        denoiser = denoisers_of(spec)[choose_denoiser(spec, seed, epoch, key)]
        spans = noise_spans(body, spec, denoiser, seed, epoch, key, protected, words)
        if not spans:
            return row, []
    return corrupt_at(body, spans, spec, denoiser)


def corrupt_at(body: Sequence[int], spans: Sequence[Span], spec: Any, denoiser: Any = None) -> tuple[list[int], list[int]]:
    """Inputs and targets for given spans."""
    eos = [] if spec.eos_token_id is None else [spec.eos_token_id]
    marked = getattr(denoiser, "sentinel", True)
    mode = getattr(denoiser, "mode", None)
    inputs, targets, position = [] if mode is None else [mode], [], 0
    for number, (start, stop) in enumerate(spans):
        mark = [spec.sentinel_ids[number]] if marked else []
        inputs += [*body[position:start], *mark]
        targets += [*mark, *body[start:stop]]
        position = stop
    inputs += body[position:]
    if spec.final_sentinel and marked:
        targets.append(spec.sentinel_ids[len(spans)])
    return inputs + eos, targets + eos


def noise_spans(
    body: Sequence[int],
    spec: Any,
    denoiser: Any,
    seed: int,
    epoch: int,
    key: int,
    protected: Sequence[Any] | None = None,
    words: Sequence[Any] | None = None,
) -> list[Span]:
    """What is hidden of a row without its EOS; nothing where less than two tokens may be."""
    units = units_of(body, spec.protected_ids, protected, words)
    if len(units) < 2:
        return []
    source = stream(seed, epoch, key, SPANS)
    if getattr(denoiser, "kind", "spans") == "prefix":
        if denoiser.split == "uniform":
            noise = 1 + below(source, len(units) - 1)
        else:
            noise, _ = plan(len(units), denoiser.noise_density, len(units))
        spans = [(len(units) - noise, len(units))]
    else:
        noise, count = plan(len(units), denoiser.noise_density, denoiser.mean_noise_span_length)
        most = affordable(count, spec)
        spans = draw(source, len(units), noise, most if spec.on_exhausted == "cap" else count, spec.layout, most)
    return afford(expand(units, spans), denoiser, spec)


def denoisers_of(spec: Any) -> Sequence[Any]:
    """The denoisers of a mixture; a `SpanCorruption` is its own."""
    return getattr(spec, "denoisers", None) or [spec]


def choose_denoiser(spec: Any, seed: int, epoch: int, key: int) -> int:
    """The number of the denoiser that an example gets; where there is one, nothing is drawn."""
    if len(denoisers_of(spec)) == 1:
        return 0
    return choose(stream(seed, epoch, key, DENOISER), cumulative(spec.weights))


def afford(spans: list[Span], denoiser: Any, spec: Any) -> list[Span]:
    """The spans that get a sentinel; the others stay clear."""
    return spans[: affordable(len(spans), spec)] if getattr(denoiser, "sentinel", True) else spans


def affordable(count: int, spec: Any) -> int:
    """How many of `count` spans get a sentinel."""
    most = len(spec.sentinel_ids) - spec.final_sentinel
    if count > most and spec.on_exhausted == "raise":
        raise ValueError(f"{count} spans, {most} sentinels")
    return int(min(count, most))


def without_eos(row: list[int], eos: int | None) -> list[int]:
    """The row less its trailing EOS."""
    return row[:-1] if row and eos is not None and row[-1] == eos else row


def runs(mask: Sequence[Any]) -> list[Span]:
    """Where the mask is set."""
    spans = []
    for hidden, group in groupby(range(len(mask)), key=lambda at: bool(mask[at])):
        positions = list(group)
        if hidden:
            spans.append((positions[0], positions[-1] + 1))
    return spans


def check(body: Sequence[int], spec: Any) -> None:
    """Raise for ids that no row may hold."""
    for token in body:
        if not 0 <= token < 2**32:
            raise ValueError(f"id {token}")
        if token in spec.sentinel_ids and spec.on_sentinel == "raise":
            raise ValueError(f"sentinel {token}")
