"""Span corruption of rows: `corrupt`, its inverse `merge`, and `plan_lengths`. Tokens are the core's business (`noise/`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import as_density, as_span_length, as_uint64, check_threads
from spanmask.noise.arguments import given, per_row
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.spec import Marks, check_inputs_length
from spanmask.ragged import Ragged

__all__ = ["Corrupted", "NoiseReport", "corrupt", "merge", "plan_lengths"]


@dataclass(frozen=True)
class NoiseReport:
    """What was hidden.

    Attributes:
        rows, tokens: totals; a trailing EOS is no token here.
        noise_tokens, spans: hidden tokens, and the spans they stood in.
        untouched: rows that were copied through with an empty target: they have less than two tokens that may be hidden.
    """

    rows: int
    tokens: int
    noise_tokens: int
    spans: int
    untouched: int


class Corrupted:
    """Corrupted rows.

    Attributes:
        input_ids, labels: `Ragged` of int64, a row for each row given.
        denoisers: int64 [rows]: the number of each row's denoiser in the mixture; 0 where there is one, -1 where the row was
            untouched.
        keys: uint64 [rows]: what the noise of each row was drawn from, with seed and epoch.
        report: `NoiseReport`.
    """

    def __init__(self, rows: Ragged, arguments: tuple[Any, ...], num_threads: int) -> None:
        spec, source, beside = arguments
        outputs, keys, about = _core.corrupt((rows.values, *rows.bounds()), spec, source, beside, None, "rows", num_threads)
        inputs, input_offsets, labels, label_offsets, *_ = outputs
        self.input_ids = Ragged._made(inputs, input_offsets)
        self.labels = Ragged._made(labels, label_offsets)
        self.keys: npt.NDArray[np.uint64] = keys
        self.denoisers: npt.NDArray[np.int64] = about[0]
        self._about = about
        self._given = (rows, arguments, num_threads)

    @property
    def report(self) -> NoiseReport:
        """Totals of what was hidden."""
        denoisers, hidden, spans, tokens = self._about
        return NoiseReport(
            rows=len(denoisers),
            tokens=int(tokens.sum()),
            noise_tokens=int(hidden.sum()),
            spans=int(spans.sum()),
            untouched=int((denoisers < 0).sum()),
        )

    def noise_mask(self) -> Ragged:
        """The mask that was drawn: `Ragged` of bool, a flag for each token of the rows given (a trailing EOS is never hidden).

        Drawn again at each call, from the same stream: nothing of it is kept.
        """
        rows, (spec, source, beside), num_threads = self._given
        mask = _core.noise_mask((rows.values, *rows.bounds()), spec, source, beside, "rows", num_threads)
        return Ragged._made(mask, rows.offsets)


def corrupt(
    rows: Any,
    spec: Marks,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    noise_mask: Any = None,
    protected: Any = None,
    words: Any = None,
    noise_density: Any = None,
    mean_noise_span_length: Any = None,
    num_threads: int = 1,
) -> Corrupted:
    """Hide spans of each row.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch, order, worker, rank and number of threads.

    Args:
        rows: token ids, 0 to 2**32 - 1: whatever `Ragged.from_rows` takes. A row's trailing EOS is set aside, and put back once
            behind inputs and labels. Rows of less than two tokens (EOS not counted) are copied through as they are, with empty
            labels.
        spec: a `SpanCorruption` or a `DenoiserMixture`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids without the trailing EOS, so that rows of
            equal content share their noise.
        noise_mask: a flag for each token: what is hidden, instead of a draw. Flags at a trailing EOS have no effect.
        protected: a flag for each token that must not be hidden, beside `spec.protected_ids`.
        words: hides words whole: a flag for each token that begins a word, or a number for each token (one number, one word;
            negative or `None`: no word, never hidden). Density and span length are then ones of words.
        noise_density, mean_noise_span_length: a number for each row, instead of the spec's.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `Corrupted`: `input_ids`, `labels`, `denoisers`, `keys`, `report`, `noise_mask()`.

    Raises:
        SentinelError: a row needs more sentinels than there are, or already holds one.
        ValueError: an id, seed, key, density or mask that cannot be; the message names row and position.
        TypeError: ids that are no integers.

    >>> from spanmask import SpanCorruption, corrupt, merge
    >>> spec = SpanCorruption(sentinel_ids=[99, 98, 97], eos_token_id=1, noise_density=.4, mean_noise_span_length=2)
    >>> out = corrupt([[5, 6, 7, 8, 9, 1]], spec, noise_mask=[[False, True, True, False, True, False]])
    >>> out.input_ids.to_list(), out.labels.to_list()
    ([[5, 99, 8, 98, 1]], [[99, 6, 7, 98, 9, 1]])
    >>> merge(out.input_ids, out.labels, spec).to_list()
    [[5, 6, 7, 8, 9]]
    """
    check_spec(spec)
    ragged = Ragged.from_rows(rows)
    if isinstance(spec, DenoiserMixture):
        if noise_mask is not None:
            raise ValueError("noise_mask: nothing is drawn, so there is no denoiser to choose; give a SpanCorruption.")
        if protected is not None and not all(denoiser.sentinel for denoiser in spec.denoisers):
            raise ValueError("protected: a prefix without a sentinel cannot leave tokens out; give it a sentinel.")
    beside = given(
        len(ragged),
        keys=keys,
        densities=per_row("noise_density", noise_density, len(ragged), as_density),
        means=per_row("mean_noise_span_length", mean_noise_span_length, len(ragged), as_span_length),
        noise_mask=noise_mask,
        protected=protected,
        words=words,
    )
    source = (as_uint64("seed", seed), as_uint64("epoch", epoch))
    return Corrupted(ragged, (spec._core, source, beside), check_threads(num_threads))


def merge(input_ids: Any, labels: Any, spec: Marks) -> Ragged:
    """The rows that `corrupt` was given, without their trailing EOS: each span back at its sentinel.

    Args:
        input_ids, labels: both sides of one corruption, ragged; padding must be gone.
        spec: the spec that made them.

    Raises:
        SentinelError: a sentinel stands on one side only, or out of turn.
        ValueError: another number of rows on each side.
    """
    check_spec(spec)
    sides = [
        (ragged.values.astype(np.int64, copy=False), ragged.offsets)
        for ragged in (Ragged.from_rows(input_ids, "input_ids"), Ragged.from_rows(labels, "labels"))
    ]
    return Ragged._made(*_core.merge(sides[0], sides[1], spec._core))


def plan_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """The greatest row length whose inputs fit `inputs_length`, and the length of its targets; both with one EOS.

    Agrees with `corrupt` for every setting: the same clamps, the same rounding. Where several row lengths fill the inputs the
    longest wins, except at density .5, where the one with targets no longer than inputs does (as T5's own helper has it).

    Raises:
        ValueError: `inputs_length` below 3, a density or span length out of range.

    >>> plan_lengths(512, .15, 3.0)
    (568, 114)
    """
    lengths = _core.plan_lengths(
        check_inputs_length(inputs_length),
        as_density("noise_density", noise_density),
        as_span_length("mean_noise_span_length", mean_noise_span_length),
    )
    if lengths is None:
        raise ValueError(f"inputs_length: {inputs_length} does not fit a row of two tokens.")
    return lengths


def check_spec(spec: Any) -> None:
    """Raise unless `spec` says how spans are corrupted."""
    if not isinstance(spec, Marks):
        raise TypeError(f"spec: expected SpanCorruption or DenoiserMixture, got {type(spec).__name__}.")
