"""What the tests of real trainers share: settings, and the rows of a batch."""

from itertools import pairwise

import torch

SETTINGS = {
    "per_device_train_batch_size": 2,
    "max_steps": 2,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
    "dataloader_pin_memory": False,
}


def rows_of(batch):
    """The (ids, labels) of each row of a batch, without padding."""
    if "position_ids" in batch:
        edges = [*torch.nonzero(batch["position_ids"][0] == 0).flatten().tolist(), batch["position_ids"].shape[1]]
        spans = [(0, slice(start, stop)) for start, stop in pairwise(edges)]
    else:
        spans = [(row, slice(0, length)) for row, length in enumerate(batch["attention_mask"].sum(1).tolist())]
    return [(batch["input_ids"][row, span].tolist(), batch["labels"][row, span].tolist()) for row, span in spans]
