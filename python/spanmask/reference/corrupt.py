"""Span corruption of one row. Twin of `noise/corrupt/` and `noise/apply.rs`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from spanmask.reference.draw import draw
from spanmask.reference.key import row_key
from spanmask.reference.mixture import choose_denoiser, denoisers_of, prefix_noise
from spanmask.reference.philox import SPANS, stream
from spanmask.reference.plan import plan
from spanmask.reference.rules import units_of
from spanmask.reference.words import expand

__all__ = ["corrupt", "corrupt_at", "cut", "noise_spans", "sources"]

Span = tuple[int, int]


def corrupt(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    noise_mask: Sequence[bool] | None = None,
    protected_mask: Sequence[bool] | None = None,
    word_ids: Sequence[int | None] | None = None,
    word_starts: Sequence[bool] | None = None,
    inputs_length: int | None = None,
    targets_length: int | None = None,
) -> tuple[list[int], list[int]]:
    """Inputs and targets of one row. `spec`: a `SpanCorruption` or `DenoiserMixture`; `key`: 64 bits, by default the row's hash.

    With two lengths, a row that does not fit them is cut; see `cut`.

    >>> from spanmask import SpanCorruption
    >>> spec = SpanCorruption([99, 98], eos_token_id=1)
    >>> corrupt([5, 6, 7, 1], spec, noise_mask=[False, True, False, False])
    ([5, 99, 7, 1], [99, 6, 1])
    """
    row = list(row)
    body = without_eos(row, spec.eos_token_id)
    check(body, spec)
    key = row_key(body) if key is None else key
    denoiser = denoisers_of(spec)[choose_denoiser(spec, seed, epoch, key) if noise_mask is None else 0]
    leading_ids = spec.bos_token_ids if spec.layout == "uniform" else ()

    def outputs(used: int) -> tuple[list[int], list[int]]:
        """Those of the first `used` tokens; a row is copied unchanged, with its EOS if that fits."""
        part = body[:used]
        unchanged = row if used == len(body) and (inputs_length is None or len(row) <= inputs_length) else part
        if used < 2:
            return unchanged, []
        if noise_mask is not None:
            return corrupt_at(part, afford(runs(noise_mask[:used]), denoiser, spec), spec, denoiser)
        units = units_of(part, spec.protected_ids, protected_mask, word_ids, word_starts, leading_ids=leading_ids)
        spans = noise_spans(units, spec, denoiser, seed, epoch, key)
        if not getattr(denoiser, "sentinel", True) and any(stop != used for _, stop in spans):
            raise ValueError("a prefix without a sentinel cannot leave tokens out")
        return corrupt_at(part, spans, spec, denoiser) if spans else (unchanged, [])

    if inputs_length is None or targets_length is None:
        return outputs(len(body))
    free = noise_mask is not None or (
        protected_mask is word_ids is word_starts is None
        and not {*spec.protected_ids, *leading_ids}
        and getattr(denoiser, "split", "density") == "density"
    )
    return cut(outputs, len(body), inputs_length, targets_length, free)


def cut(
    outputs: Callable[[int], tuple[list[int], list[int]]], length: int, inputs_length: int, targets_length: int, free: bool
) -> tuple[list[int], list[int]]:
    """The outputs of the longest beginning that fits; one that needs more sentinels than there are does not fit.

    Lengths of outputs grow with the beginning if they do not depend on the draw (`free`). Otherwise not every beginning is tried: the
    result is one that fits, and would not fit with one more token.
    """

    def fits(used: int) -> bool:
        try:
            inputs, targets = outputs(used)
        except ValueError:
            return False
        return len(inputs) <= inputs_length and len(targets) <= targets_length

    if fits(length):
        return outputs(length)
    if free:
        return outputs(next(used for used in range(length, -1, -1) if fits(used)))
    good, bad, step = 2, min(length, inputs_length + targets_length) + 1, 1024
    while good + 1 < bad:
        probe = good + step if bad - good > step else (good + bad) // 2
        if fits(probe):
            good, step = probe, 2 * step
        else:
            bad = probe
    return outputs(good)


def sources(row: Sequence[int], inputs: Sequence[int], labels: Sequence[int], spec: Any) -> list[int]:
    """Which token of the row each place of its inputs stands for. The row holds no sentinels and no mode tokens.

    >>> from spanmask import SpanCorruption
    >>> sources([5, 6, 7, 8], [5, 99, 8, 1], [99, 6, 7, 1], SpanCorruption([99], eos_token_id=1))
    [0, 1, 3, 3]
    """
    if not labels:
        return list(range(len(inputs)))
    ends = spec.eos_token_id is not None
    sentinel = -1  # hidden without a sentinel
    hidden = {sentinel: 0}
    for token in labels[: len(labels) - ends]:
        if token in spec.sentinel_ids:
            sentinel = token
            hidden[sentinel] = 0
        else:
            hidden[sentinel] += 1
    mode_tokens = {getattr(denoiser, "mode_token", None) for denoiser in denoisers_of(spec)}
    made, position = [], 0
    for token in inputs[: len(inputs) - ends]:
        made.append(position)
        position += 0 if token in mode_tokens else hidden.get(token, 1)
    used = position + hidden[-1]
    whole = used == len(without_eos(list(row), spec.eos_token_id))
    return [*made, len(row) - 1 if whole else used - 1] if ends else made


def corrupt_at(body: Sequence[int], spans: Sequence[Span], spec: Any, denoiser: Any = None) -> tuple[list[int], list[int]]:
    """Inputs and targets for given spans."""
    eos = [] if spec.eos_token_id is None else [spec.eos_token_id]
    marked = getattr(denoiser, "sentinel", True)
    mode_token = getattr(denoiser, "mode_token", None)
    inputs, targets, position = [] if mode_token is None else [mode_token], [], 0
    for number, (start, stop) in enumerate(spans):
        sentinel = [spec.sentinel_ids[number]] if marked else []
        inputs += [*body[position:start], *sentinel]
        targets += [*sentinel, *body[start:stop]]
        position = stop
    inputs += body[position:]
    if spec.final_sentinel and marked:
        targets.append(spec.sentinel_ids[len(spans)])
    return inputs + eos, targets + eos


def noise_spans(units: Sequence[Span], spec: Any, denoiser: Any, seed: int, epoch: int, key: int) -> list[Span]:
    """What is hidden in a row whose `units` may be hidden; nothing if there are fewer than two."""
    if len(units) < 2:
        return []
    if getattr(denoiser, "kind", "spans") == "prefix":
        noise = prefix_noise(denoiser, len(units), seed, epoch, key)
        spans = [(len(units) - noise, len(units))]
    else:
        noise, count = plan(len(units), denoiser.noise_density, denoiser.mean_noise_span_length)
        most = affordable(count, spec)
        planned = most if spec.on_exhausted == "fewer_spans" else count
        spans = draw(stream(seed, epoch, key, SPANS), len(units), noise, planned, spec.layout, most)
    return afford(expand(units, spans), denoiser, spec)


def afford(spans: list[Span], denoiser: Any, spec: Any) -> list[Span]:
    """The spans that get a sentinel; the tokens of the others stay clear."""
    return spans[: affordable(len(spans), spec)] if getattr(denoiser, "sentinel", True) else spans


def affordable(count: int, spec: Any) -> int:
    """How many of `count` spans get a sentinel."""
    most = len(spec.sentinel_ids) - spec.final_sentinel
    if count > most and spec.on_exhausted == "raise":
        raise ValueError(f"{count} spans, {most} sentinels")
    return int(min(count, most))


def without_eos(row: list[int], eos: int | None) -> list[int]:
    """The row without its trailing EOS."""
    return row[:-1] if row and eos is not None and row[-1] == eos else row


def runs(mask: Sequence[Any]) -> list[Span]:
    """The spans in which a mask is set."""
    spans = []
    for hidden, group in groupby(range(len(mask)), key=lambda at: bool(mask[at])):
        positions = list(group)
        if hidden:
            spans.append((positions[0], positions[-1] + 1))
    return spans


def check(body: Sequence[int], spec: Any) -> None:
    """Raise for ids that no row may contain."""
    for token in body:
        if not 0 <= token < 2**32:
            raise ValueError(f"id {token}")
        if token in spec.sentinel_ids and spec.on_sentinel == "raise":
            raise ValueError(f"sentinel {token}")
