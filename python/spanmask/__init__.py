"""Token ids to training targets: which tokens carry loss, which spans are hidden."""

from spanmask.chat import ChatFormat, RoleBoundary
from spanmask.collators import (
    DataCollatorForChat,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForVisionChat,
)
from spanmask.encode import encode_chat
from spanmask.errors import ChatFormatError, SentinelError, SpanmaskWarning
from spanmask.labels import mask_labels
from spanmask.noise import (
    Denoiser,
    DenoiserMixture,
    MaskedLM,
    SpanCorruption,
    corrupt,
    denoise,
    mask_tokens,
    merge,
    plan_lengths,
)
from spanmask.policy import MaskPolicy
from spanmask.preview import preview
from spanmask.ragged import Ragged
from spanmask.report import MaskReport
from spanmask.response import response_mask
from spanmask.turns import Turns, find_turns

__all__ = [
    "ChatFormat",
    "ChatFormatError",
    "DataCollatorForChat",
    "DataCollatorForMaskedLM",
    "DataCollatorForSpanCorruption",
    "DataCollatorForVisionChat",
    "Denoiser",
    "DenoiserMixture",
    "MaskPolicy",
    "MaskReport",
    "MaskedLM",
    "Ragged",
    "RoleBoundary",
    "SentinelError",
    "SpanCorruption",
    "SpanmaskWarning",
    "Turns",
    "corrupt",
    "denoise",
    "encode_chat",
    "find_turns",
    "mask_labels",
    "mask_tokens",
    "merge",
    "plan_lengths",
    "preview",
    "response_mask",
]
