"""Token ids to training targets: which tokens carry loss, which spans are hidden."""

from spanmask.chat import ChatFormat, RoleBoundary
from spanmask.errors import ChatFormatError, SentinelError, SpanmaskWarning

__all__ = [
    "ChatFormat",
    "ChatFormatError",
    "RoleBoundary",
    "SentinelError",
    "SpanmaskWarning",
]
