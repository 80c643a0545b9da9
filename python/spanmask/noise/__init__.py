"""Denoising: the settings (`spec`, `mixture`), what hides tokens (`corrupt`, `masked_lm`, `diffusion`, `infill`), the inverse (`merge`), a
quick example (`denoise`). `fill_in_the_middle` is imported with its first use.
"""

from spanmask.noise.corrupt import Corrupted, NoiseReport, corrupt, plan_lengths
from spanmask.noise.denoise import denoise
from spanmask.noise.diffusion import Diffused, MaskedDiffusion, diffuse
from spanmask.noise.infill import Infilled, InfillReport, TextInfilling, infill
from spanmask.noise.masked_lm import MaskedLM, MaskedTokens, mask_tokens
from spanmask.noise.merge import merge
from spanmask.noise.mixture import DenoiserMixture
from spanmask.noise.rates import CosineRate, LinearRate
from spanmask.noise.spec import Denoiser, SpanCorruption

__all__ = [
    "Corrupted",
    "CosineRate",
    "Denoiser",
    "DenoiserMixture",
    "Diffused",
    "InfillReport",
    "Infilled",
    "LinearRate",
    "MaskedDiffusion",
    "MaskedLM",
    "MaskedTokens",
    "NoiseReport",
    "SpanCorruption",
    "TextInfilling",
    "corrupt",
    "denoise",
    "diffuse",
    "infill",
    "mask_tokens",
    "merge",
    "plan_lengths",
]
