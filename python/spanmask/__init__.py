"""Token ids to training targets: which tokens carry loss, which spans are hidden."""

from spanmask.chat import ChatFormat, RoleBoundary
from spanmask.collators import DataCollatorForChat, DataCollatorForVisionChat
from spanmask.errors import ChatFormatError, SentinelError, SpanmaskWarning
from spanmask.labels import MaskPolicy, MaskReport, mask_labels
from spanmask.preview import preview
from spanmask.ragged import Ragged
from spanmask.turns import find_turns

__all__ = [
    "ChatFormat",
    "ChatFormatError",
    "DataCollatorForChat",
    "DataCollatorForVisionChat",
    "MaskPolicy",
    "MaskReport",
    "Ragged",
    "RoleBoundary",
    "SentinelError",
    "SpanmaskWarning",
    "find_turns",
    "mask_labels",
    "preview",
]
