"""Denoising: the settings (`spec`, `mixture`), the functions that hide tokens (`corrupt`, `masked_lm`), a quick example (`denoise`)."""

from spanmask.noise.corrupt import Corrupted, NoiseReport, corrupt, merge, plan_lengths
from spanmask.noise.denoise import denoise
from spanmask.noise.masked_lm import MaskedLM, MaskedTokens, mask_tokens
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.rates import CosineRate, LinearRate
from spanmask.noise.spec import Denoiser, SpanCorruption

__all__ = [
    "Corrupted",
    "CosineRate",
    "Denoiser",
    "DenoiserMixture",
    "LinearRate",
    "MaskedLM",
    "MaskedTokens",
    "NoiseReport",
    "SpanCorruption",
    "corrupt",
    "denoise",
    "mask_tokens",
    "merge",
    "plan_lengths",
]
