"""The oracle: slow, obvious, pure Python over lists of int, one short function each.

Its files have the names of the core's and give the same results. They import nothing from the core (importing the package `spanmask`
does), and nothing falls back to them at run time: the tests compare every kernel with them.
"""

from spanmask.reference.corrupt import corrupt
from spanmask.reference.diffusion import diffuse
from spanmask.reference.fill_in_the_middle import fill_in_the_middle, merge_documents
from spanmask.reference.infill import infill
from spanmask.reference.labels import mask_labels, mask_weights
from spanmask.reference.masked_lm import mask_tokens
from spanmask.reference.merge import merge
from spanmask.reference.plan import plan_lengths
from spanmask.reference.turns import find_turns

__all__ = [
    "corrupt",
    "diffuse",
    "fill_in_the_middle",
    "find_turns",
    "infill",
    "mask_labels",
    "mask_tokens",
    "mask_weights",
    "merge",
    "merge_documents",
    "plan_lengths",
]
