"""The exceptions and the warnings that users catch. The binding raises some of them, too."""

__all__ = ["ChatFormatError", "DataError", "SentinelError", "SpanmaskWarning", "UntrainedRowsWarning"]


class ChatFormatError(ValueError):
    """A chat format cannot be derived, or does not fit the rows."""


class SentinelError(ValueError):
    """Sentinel tokens are missing, too few, or already occur in a row."""


class DataError(ValueError):
    """A file, or a row of it, that cannot be used. The message names file, place and remedy."""


class UnreadableRowsError(TypeError):
    """A list of arrays that the core cannot read where they are: strided, or of several dtypes. `ragged.py` copies them then.

    Users never see it.
    """


class SpanmaskWarning(UserWarning):
    """A condition that does not stop training but probably needs attention: a row without trained tokens, masks that repeat."""


class UntrainedRowsWarning(SpanmaskWarning):
    """Rows of a batch have no trained tokens. The command line counts them in whole files instead."""
