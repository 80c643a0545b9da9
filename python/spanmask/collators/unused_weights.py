"""Whether the batch that is being made goes to a trainer that ignores loss weights.

Models ignore unknown keyword arguments, so nothing downstream would notice. A collator cannot be told who uses its batches, but the trainer
that asked for this batch is on the call stack: directly, or, in a worker, on the stack of the process that started it. A forked worker
keeps that stack; a collator that is pickled for a spawned worker takes the answer with it.
"""

from __future__ import annotations

import sys
from types import FrameType

__all__ = ["REMEDY", "ignores_weights", "trainer_that_ignores_weights"]

REMEDY = (
    "use class Weighted(WeightedLossMixin, {trainer}) from spanmask.integrations.weighted_loss, or remove prompt_weight, role_weights and "
    "turn weights"
)
# Their `compute_loss` passes the batch on to the model. One that a user wrote may well read the weights.
LIBRARIES = ("transformers", "trl")


def trainer_that_ignores_weights() -> str | None:
    """The class name of the transformers trainer for which this batch is made, if its loss ignores weights."""
    library = sys.modules.get("transformers.trainer")
    if library is None:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == "transformers.trainer":
            trainer = frame.f_locals.get("self")
            if isinstance(trainer, library.Trainer):
                return type(trainer).__name__ if ignores_weights(trainer) else None
        frame = frame.f_back
    return None


def ignores_weights(trainer: object) -> bool:
    """Whether a transformers trainer computes its loss by a method of transformers or TRL."""
    return str(type(trainer).compute_loss.__module__).partition(".")[0] in LIBRARIES  # type: ignore[attr-defined]
