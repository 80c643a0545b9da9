"""For Lightning's `Trainer`: passes the epoch to collators that draw noise. This module imports Lightning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

from spanmask.noise.schedule import HasSchedule, check_collators

__all__ = ["EpochCallback"]


class EpochCallback(Callback):  # type: ignore[misc]
    """Calls `collator.set_epoch` at the start of each epoch, and saves the collators' state in checkpoints.

    Args:
        *collators: the collators that the trainer's loaders use.

    Raises:
        TypeError: a collator has no seed and no epoch.

    Example:
        `Trainer(callbacks=[EpochCallback(collator)])`
    """

    def __init__(self, *collators: HasSchedule) -> None:
        check_collators(collators)
        self.collators = collators

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the epoch here too: the first loader may fetch batches before the first epoch starts."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Set Lightning's own epoch number, which a resumed run continues."""
        for collator in self.collators:
            collator.set_epoch(trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the collators' state for a checkpoint."""
        return {"collators": [collator.state_dict() for collator in self.collators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the collators' state from a checkpoint."""
        for collator, state in zip(self.collators, state_dict["collators"], strict=True):
            collator.load_state_dict(state)
