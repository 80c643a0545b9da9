"""Denoising: what is hidden and how (`spec`, `mixture`), hiding it (`corrupt`, `masked_lm`), one sentence for a quick look (`denoise`)."""

from spanmask.noise.corrupt import Corrupted, NoiseReport, corrupt, merge, plan_lengths
from spanmask.noise.denoise import denoise
from spanmask.noise.masked_lm import MaskedLM, MaskedTokens, mask_tokens
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.spec import Denoiser, SpanCorruption

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
