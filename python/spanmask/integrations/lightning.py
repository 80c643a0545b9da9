"""For Lightning's `Trainer`: the epoch, told to collators that draw noise. Importing this module imports Lightning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from spanmask.noise.clock import Clocked

__all__ = ["EpochCallback"]


class EpochCallback(Callback):
    """Calls `collator.set_epoch` at the beginning of each epoch, and keeps the collators' state in checkpoints.

    Args:
        *collators: those that the trainer's loaders use.

    Raises:
        TypeError: a collator that draws no noise.

    Example:
        `Trainer(callbacks=[EpochCallback(collator)])`
    """

    def __init__(self, *collators: Clocked) -> None:
        for collator in collators:
            if not isinstance(collator, Clocked):
                raise TypeError(f"collators: expected collators with set_epoch, got {type(collator).__name__}.")
        self.collators = collators

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The first loader may fetch ahead of the first epoch's start."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Lightning counts epochs itself, resumed runs included."""
        for collator in self.collators:
            collator.set_epoch(trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {"collators": [collator.state_dict() for collator in self.collators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """What comes back from one."""
        for collator, state in zip(self.collators, state_dict["collators"], strict=True):
            collator.load_state_dict(state)
