"""Span corruption of rows: `corrupt` and `plan_lengths`; the inverse is in `merge.py`. Tokens are handled in the core (`noise/`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._validate import as_density, as_span_length, as_uint64, check_threads
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.row_options import RowOptions, flag_column, per_row, row_options
from spanmask.noise.spec import CorruptionSpec, check_inputs_length, check_spec
from spanmask.ragged import Column, Ragged

__all__ = ["Corrupted", "NoiseReport", "corrupt", "plan_lengths"]


@dataclass(frozen=True)
class NoiseReport:
    """How much was hidden.

    Attributes:
        rows, tokens: totals; a trailing EOS is not counted.
        noise_tokens, spans: hidden tokens, and the spans that they form.
        uncorrupted_rows: rows that were copied unchanged with empty labels: fewer than two of their tokens may be hidden.
    """

    rows: int
    tokens: int
    noise_tokens: int
    spans: int
    uncorrupted_rows: int


@dataclass(eq=False)  # not frozen: that costs 0.6 us for each call
class Corrupted:
    """Corrupted rows, as `corrupt` returns them.

    Attributes:
        input_ids, labels: `Ragged` of int64, one row for each input row.
        denoisers: int64 [rows]: the index of each row's denoiser in the mixture; 0 for a `SpanCorruption`, -1 for rows that were
            copied unchanged.
        keys: uint64 [rows]: what the noise of each row was drawn from, together with seed and epoch.
        report: `NoiseReport`.
    """

    input_ids: Ragged
    labels: Ragged
    denoisers: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    _stats: _core.RowStats = field(repr=False)
    _offsets: npt.NDArray[np.int64] = field(repr=False)
    _draw_mask: Callable[[], npt.NDArray[np.bool_]] = field(repr=False)

    @cached_property
    def report(self) -> NoiseReport:
        """Totals of what was hidden."""
        stats = self._stats
        return NoiseReport(
            rows=len(self.denoisers),
            tokens=int(stats.tokens.sum()),
            noise_tokens=int(stats.noise_tokens.sum()),
            spans=int(stats.spans.sum()),
            uncorrupted_rows=int((self.denoisers < 0).sum()),
        )

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "report": self.report}  # the report is made from the core's object, which cannot be pickled
        del state["_stats"]
        return state

    def noise_mask(self) -> Ragged:
        """The mask that was drawn: `Ragged` of bool, a flag for each token of the input rows (a trailing EOS is never hidden).

        Each call draws it again from the same stream, so a result does not keep it in memory.
        """
        return Ragged._unchecked(self._draw_mask(), self._offsets)


class CorruptArguments(RowOptions):
    """The keyword arguments of both `_core.corrupt` and `_core.noise_mask`."""

    seed: int
    epoch: int
    noise_mask: Column | None
    noise_density: npt.NDArray[np.float64] | None
    mean_noise_span_length: npt.NDArray[np.float64] | None
    num_threads: int


def corrupt(
    rows: Any,
    spec: CorruptionSpec,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    noise_mask: Any = None,
    protected_mask: Any = None,
    word_ids: Any = None,
    word_starts: Any = None,
    noise_density: Any = None,
    mean_noise_span_length: Any = None,
    num_threads: int = 1,
) -> Corrupted:
    """Hide spans of each row.

    Noise is a pure function of (seed, epoch, key of the row): the same for any batch, order, worker, rank and number of threads.

    Args:
        rows: token ids from 0 to 2**32 - 1, in any form that `Ragged.from_rows` accepts. A row's trailing EOS is removed, and
            added once at the end of inputs and labels. Rows of fewer than two tokens (EOS not counted) are copied unchanged, with
            empty labels.
        spec: a `SpanCorruption` or a `DenoiserMixture`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of its ids without the trailing EOS, so that rows with
            equal content get the same noise.
        noise_mask: a flag for each token that is hidden; nothing is drawn. Flags at a trailing EOS have no effect.
        protected_mask: a flag for each token that must not be hidden, in addition to `spec.protected_ids`.
        word_ids: the number of each token's word, so that words are hidden whole: adjacent tokens with the same number form one
            word; a token without one (`None`, a negative number, NaN, an Arrow null, `pandas.NA`, a masked entry) belongs to no
            word and is never hidden. `noise_density` and `mean_noise_span_length` then count words.
        word_starts: the same information as a flag for each token that begins a word.
        noise_density, mean_noise_span_length: one number for each row, or one for all, instead of the spec's. A mixture has its own for
            each denoiser; unless it has one denoiser, and that hides spans, this is an error.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `Corrupted`: `input_ids`, `labels`, `denoisers`, `keys`, `report`, `noise_mask()`.

    Raises:
        SentinelError: a row needs more sentinels than there are, or already contains one.
        ValueError: an id, seed, key, density or column is out of range or does not fit the rows; the message names row and
            position.
        TypeError: the ids are not integers.

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
    count = len(ragged)
    if isinstance(spec, DenoiserMixture) and noise_mask is not None:
        raise ValueError("noise_mask: cannot be combined with a DenoiserMixture, which draws its masks; pass a SpanCorruption.")
    if protected_mask is not None:
        check_protectable(spec)
    check_rates(spec, noise_density=noise_density, mean_noise_span_length=mean_noise_span_length)
    arguments: CorruptArguments = {
        **row_options(count, keys=keys, protected_mask=protected_mask, word_ids=word_ids, word_starts=word_starts),
        "seed": as_uint64("seed", seed),
        "epoch": as_uint64("epoch", epoch),
        "noise_mask": flag_column(noise_mask, "noise_mask", count),
        "noise_density": per_row("noise_density", noise_density, count, as_density),
        "mean_noise_span_length": per_row("mean_noise_span_length", mean_noise_span_length, count, as_span_length),
        "num_threads": check_threads(num_threads),
    }
    batch = _core.corrupt(ragged, spec._compiled, **arguments)
    stats = batch.stats
    return Corrupted(
        Ragged._unchecked(batch.input_ids, batch.input_offsets),
        Ragged._unchecked(batch.labels, batch.label_offsets),
        stats.denoisers,
        stats.keys,
        stats,
        ragged.offsets,
        partial(draw_noise_mask, ragged, spec, arguments),
    )


def draw_noise_mask(rows: Ragged, spec: CorruptionSpec, arguments: CorruptArguments) -> npt.NDArray[np.bool_]:
    """The mask that `corrupt` draws, flat. It is a separate function so that a result can be pickled."""
    return _core.noise_mask(rows, spec._compiled, **arguments)


def plan_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """The greatest row length whose inputs fit `inputs_length`, and the length of its targets; both with one EOS.

    It agrees with `corrupt` for every setting: clamps and rounding are the same. If several row lengths give the same length of
    inputs, the longest wins, except at density .5: there, the one whose targets are no longer than its inputs wins (as in T5's own
    helper).

    Raises:
        ValueError: `inputs_length` is below 3, or a density or span length is out of range.

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


def has_own_rates(spec: CorruptionSpec) -> bool:
    """Whether a spec has several denoisers, each with its own rates, or one that hides no spans."""
    return isinstance(spec, DenoiserMixture) and [denoiser.kind for denoiser in spec.denoisers] != ["spans"]


def check_rates(spec: CorruptionSpec, **rates: Any) -> None:
    """Raise if rates by row would replace the different ones of several denoisers, or have no effect."""
    if has_own_rates(spec):
        for name, values in rates.items():
            if values is not None:
                raise ValueError(
                    f"{name}: cannot be combined with a DenoiserMixture, each of whose denoisers has its own; remove it (for a collator, "
                    "the column), or pass a SpanCorruption."
                )


def check_protectable(spec: CorruptionSpec) -> None:
    """Raise unless a spec can leave tokens out of noise."""
    if isinstance(spec, DenoiserMixture) and not all(denoiser.sentinel for denoiser in spec.denoisers):
        raise ValueError(
            "protected_mask: a prefix without a sentinel cannot leave tokens out; set sentinel=True for that denoiser, or remove the mask."
        )
