"""Collators: lists of examples in, batches out. One file per collator."""

from spanmask.collators.chat import DataCollatorForChat
from spanmask.collators.diffusion import DataCollatorForMaskedDiffusion
from spanmask.collators.fill_in_the_middle import DataCollatorForFillInTheMiddle
from spanmask.collators.infill import DataCollatorForTextInfilling
from spanmask.collators.masked_lm import DataCollatorForMaskedLM
from spanmask.collators.span_corruption import DataCollatorForSpanCorruption
from spanmask.collators.vision import DataCollatorForVisionChat

__all__ = [
    "DataCollatorForChat",
    "DataCollatorForFillInTheMiddle",
    "DataCollatorForMaskedDiffusion",
    "DataCollatorForMaskedLM",
    "DataCollatorForSpanCorruption",
    "DataCollatorForTextInfilling",
    "DataCollatorForVisionChat",
]
