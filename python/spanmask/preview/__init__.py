"""`preview`: the decoded text of a few rows with the trained tokens marked, in a terminal, in a notebook, or as plain text.

It only reads the labels. It is for quick inspection and is not fast.
"""

from spanmask.preview.show import Preview, preview

__all__ = ["Preview", "preview"]
