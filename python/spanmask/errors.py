"""The exceptions and the warning that users catch; the binding raises them too."""

__all__ = ["ChatFormatError", "SentinelError", "SpanmaskWarning"]


class ChatFormatError(ValueError):
    """A chat format cannot be derived, or does not fit the rows."""


class SentinelError(ValueError):
    """Sentinel tokens are missing, too few, or already occur in a row."""


class SpanmaskWarning(UserWarning):
    """A condition that does not stop training but probably needs attention: a row without trained tokens, masks that repeat."""
