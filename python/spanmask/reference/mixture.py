"""Which denoiser a row gets, and how much each hides. Twin of `noise/mixture.rs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spanmask.reference.bounded import below, choose, cumulative
from spanmask.reference.philox import DENOISER, SPANS, stream
from spanmask.reference.plan import plan

__all__ = ["choose_denoiser", "denoisers_of", "prefix_noise"]


def denoisers_of(spec: Any) -> Sequence[Any]:
    """The denoisers of a mixture; a `SpanCorruption` is its own denoiser."""
    return getattr(spec, "denoisers", None) or [spec]


def choose_denoiser(spec: Any, seed: int, epoch: int, key: int) -> int:
    """The index of the denoiser that an example gets; nothing is drawn if there is only one."""
    if len(denoisers_of(spec)) == 1:
        return 0
    return choose(stream(seed, epoch, key, DENOISER), cumulative(spec.weights))


def prefix_noise(denoiser: Any, length: int, seed: int, epoch: int, key: int) -> int:
    """How many of `length` tokens come after a prefix."""
    if denoiser.split == "uniform":
        return 1 + below(stream(seed, epoch, key, SPANS), length - 1)
    noise, _ = plan(length, denoiser.noise_density, length)
    return noise
