"""The exceptions and the warning that users catch. The binding raises them too."""

__all__ = ["ChatFormatError", "SentinelError", "SpanmaskWarning"]


class ChatFormatError(ValueError):
    """A chat format cannot be derived, or does not fit the rows."""


class SentinelError(ValueError):
    """Sentinel tokens are missing, too few, or already occur in a row."""


class UnreadableRowsError(TypeError):
    """A list of arrays that the core cannot read where they are: strided, or of several dtypes. `ragged.py` copies them then.

    Users never see it.
    """


class SpanmaskWarning(UserWarning):
    """A condition that does not stop training but probably needs attention: a row without trained tokens, masks that repeat."""


class UntrainedRowsWarning(SpanmaskWarning):
    """Rows of a batch have no trained tokens. The command line counts them in whole files instead."""
