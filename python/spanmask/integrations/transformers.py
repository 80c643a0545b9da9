"""For transformers' `Trainer`: the epoch, told to collators that draw noise. Importing this module imports transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from spanmask.noise.clock import Clocked

__all__ = ["EpochCallback"]


class EpochCallback(TrainerCallback):
    """Calls `collator.set_epoch` at the beginning of each epoch, in a resumed run too.

    Args:
        *collators: those that the trainer's loaders use.

    Raises:
        TypeError: a collator that draws no noise.

    Example:
        `Trainer(..., data_collator=collator, callbacks=[EpochCallback(collator)])`
    """

    def __init__(self, *collators: Clocked) -> None:
        for collator in collators:
            if not isinstance(collator, Clocked):
                raise TypeError(f"collators: expected collators with set_epoch, got {type(collator).__name__}.")
        self.collators = collators
        self._next = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A run that is resumed in mid-epoch goes on in that epoch."""
        self._next = int(state.epoch or 0)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Passes are counted here: without a known length, `state.epoch` is a share of all steps."""
        for collator in self.collators:
            collator.set_epoch(self._next)
        self._next += 1
