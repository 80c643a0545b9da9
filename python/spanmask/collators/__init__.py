"""Collators: lists of examples in, batches out. One file a collator."""

from spanmask.collators.chat import DataCollatorForChat
from spanmask.collators.vision import DataCollatorForVisionChat

__all__ = ["DataCollatorForChat", "DataCollatorForVisionChat"]
