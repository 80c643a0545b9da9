"""For transformers' `Trainer`: passes the epoch to collators that draw noise. This module imports transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from spanmask.noise.schedule import HasSchedule, check_collators

__all__ = ["EpochCallback"]


class EpochCallback(TrainerCallback):  # type: ignore[misc]
    """Calls `collator.set_epoch` at the start of each epoch, in a resumed run too.

    Args:
        *collators: the collators that the trainer's loaders use.

    Raises:
        TypeError: a collator has no seed and no epoch.

    Example:
        `Trainer(..., data_collator=collator, callbacks=[EpochCallback(collator)])`
    """

    def __init__(self, *collators: HasSchedule) -> None:
        check_collators(collators)
        self.collators = collators
        self._next = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start at the epoch of the run; a run that is resumed in the middle of an epoch continues in that epoch."""
        self._next = int(state.epoch or 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch. Passes are counted here: for data of unknown length, `state.epoch` is a fraction of all steps."""
        for collator in self.collators:
            collator.set_epoch(self._next)
        self._next += 1
