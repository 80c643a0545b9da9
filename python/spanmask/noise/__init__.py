"""Denoising: settings (`spec`, `mixture`), functions that hide tokens (`corrupt`, `masked_lm`, `diffusion`), an example (`denoise`)."""

from spanmask.noise.corrupt import Corrupted, NoiseReport, corrupt, merge, plan_lengths
from spanmask.noise.denoise import denoise
from spanmask.noise.diffusion import Diffused, MaskedDiffusion, diffuse
from spanmask.noise.masked_lm import MaskedLM, MaskedTokens, mask_tokens
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.rates import CosineRate, LinearRate
from spanmask.noise.spec import Denoiser, SpanCorruption

__all__ = [
    "Corrupted",
    "CosineRate",
    "Denoiser",
    "DenoiserMixture",
    "Diffused",
    "LinearRate",
    "MaskedDiffusion",
    "MaskedLM",
    "MaskedTokens",
    "NoiseReport",
    "SpanCorruption",
    "corrupt",
    "denoise",
    "diffuse",
    "mask_tokens",
    "merge",
    "plan_lengths",
]
