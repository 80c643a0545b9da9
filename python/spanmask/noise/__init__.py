"""Denoising: what is hidden and how (`spec`), hiding it (`corrupt`, `masked_lm`), one sentence for a look (`denoise`)."""

from spanmask.noise.corrupt import Corrupted, NoiseReport, corrupt, merge, plan_lengths
from spanmask.noise.denoise import denoise
from spanmask.noise.masked_lm import MaskedLM, MaskedTokens, mask_tokens
from spanmask.noise.mixture import Denoiser, DenoiserMixture
from spanmask.noise.spec import SpanCorruption

__all__ = [
    "Corrupted",
    "Denoiser",
    "DenoiserMixture",
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
