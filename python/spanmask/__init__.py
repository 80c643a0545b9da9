"""Token ids to training targets: which tokens carry loss, which spans are hidden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spanmask._core import __version__ as __version__
from spanmask.chat import ChatFormat, RoleBoundary
from spanmask.errors import ChatFormatError, DataError, SentinelError, SpanmaskWarning, UntrainedRowsWarning
from spanmask.labels import mask_labels
from spanmask.policy import MaskPolicy
from spanmask.preview import preview
from spanmask.ragged import Ragged
from spanmask.report import MaskReport
from spanmask.response import response_mask
from spanmask.turns import Turns, find_turns

if TYPE_CHECKING:
    from spanmask.collators import (
        DataCollatorForChat,
        DataCollatorForFillInTheMiddle,
        DataCollatorForMaskedDiffusion,
        DataCollatorForMaskedLM,
        DataCollatorForSpanCorruption,
        DataCollatorForTextInfilling,
        DataCollatorForVisionChat,
    )
    from spanmask.data.audit import audit
    from spanmask.encode import encode_chat
    from spanmask.integrations.train_on_answers import train_on_answers
    from spanmask.noise import (
        CosineRate,
        Denoiser,
        DenoiserMixture,
        LinearRate,
        MaskedDiffusion,
        MaskedLM,
        SpanCorruption,
        TextInfilling,
    )
    from spanmask.noise.corrupt import corrupt, plan_lengths
    from spanmask.noise.denoise import denoise
    from spanmask.noise.diffusion import diffuse
    from spanmask.noise.fill_in_the_middle import FillInTheMiddle, fill_in_the_middle
    from spanmask.noise.infill import infill
    from spanmask.noise.masked_lm import mask_tokens
    from spanmask.noise.merge import merge

__all__ = [
    "ChatFormat",
    "ChatFormatError",
    "CosineRate",
    "DataCollatorForChat",
    "DataCollatorForFillInTheMiddle",
    "DataCollatorForMaskedDiffusion",
    "DataCollatorForMaskedLM",
    "DataCollatorForSpanCorruption",
    "DataCollatorForTextInfilling",
    "DataCollatorForVisionChat",
    "DataError",
    "Denoiser",
    "DenoiserMixture",
    "FillInTheMiddle",
    "LinearRate",
    "MaskPolicy",
    "MaskReport",
    "MaskedDiffusion",
    "MaskedLM",
    "Ragged",
    "RoleBoundary",
    "SentinelError",
    "SpanCorruption",
    "SpanmaskWarning",
    "TextInfilling",
    "Turns",
    "UntrainedRowsWarning",
    "audit",
    "corrupt",
    "denoise",
    "diffuse",
    "encode_chat",
    "fill_in_the_middle",
    "find_turns",
    "infill",
    "mask_labels",
    "mask_tokens",
    "merge",
    "plan_lengths",
    "preview",
    "response_mask",
    "train_on_answers",
]

# Names by the module that has them, which is loaded with their first use: `import spanmask` costs little more than `import numpy`, and who
# trains on chats does not wait for noise.
LOADED_LATER = {
    "collators": (
        "DataCollatorForChat",
        "DataCollatorForFillInTheMiddle",
        "DataCollatorForMaskedDiffusion",
        "DataCollatorForMaskedLM",
        "DataCollatorForSpanCorruption",
        "DataCollatorForTextInfilling",
        "DataCollatorForVisionChat",
    ),
    "data.audit": ("audit",),
    "encode": ("encode_chat",),
    "integrations.train_on_answers": ("train_on_answers",),
    "noise": (
        "CosineRate",
        "Denoiser",
        "DenoiserMixture",
        "LinearRate",
        "MaskedDiffusion",
        "MaskedLM",
        "SpanCorruption",
        "TextInfilling",
        "corrupt",
        "denoise",
        "diffuse",
        "infill",
        "mask_tokens",
        "merge",
        "plan_lengths",
    ),
    "noise.fill_in_the_middle": ("FillInTheMiddle", "fill_in_the_middle"),
}
MODULES = {name: module for module, names in LOADED_LATER.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"spanmask.{MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
