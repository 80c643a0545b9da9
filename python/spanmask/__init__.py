"""Token ids to training targets: which tokens carry loss, which spans are hidden."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spanmask._core import __version__ as __version__
from spanmask.chat import ChatFormat, RoleBoundary
from spanmask.errors import ChatFormatError, DataError, SentinelError, SpanmaskWarning, UntrainedRowsWarning
from spanmask.labels import mask_labels
from spanmask.noise import (
    CosineRate,
    Denoiser,
    DenoiserMixture,
    LinearRate,
    MaskedDiffusion,
    MaskedLM,
    SpanCorruption,
    TextInfilling,
    corrupt,
    denoise,
    diffuse,
    infill,
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
    from spanmask.noise.fill_in_the_middle import FillInTheMiddle, fill_in_the_middle

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

# Loaded with their first use, so that `import spanmask` costs little more than `import numpy`.
LOADED_LATER = {
    "DataCollatorForChat": "collators",
    "DataCollatorForFillInTheMiddle": "collators",
    "DataCollatorForMaskedDiffusion": "collators",
    "DataCollatorForMaskedLM": "collators",
    "DataCollatorForSpanCorruption": "collators",
    "DataCollatorForTextInfilling": "collators",
    "DataCollatorForVisionChat": "collators",
    "FillInTheMiddle": "noise.fill_in_the_middle",
    "audit": "data.audit",
    "encode_chat": "encode",
    "fill_in_the_middle": "noise.fill_in_the_middle",
    "train_on_answers": "integrations.train_on_answers",
}


def __getattr__(name: str) -> Any:
    if name not in LOADED_LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"spanmask.{LOADED_LATER[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
