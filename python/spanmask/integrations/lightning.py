"""For Lightning's `Trainer`: passes epoch and step to collators that draw noise. This module imports Lightning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback

from spanmask.noise.schedule import HasSchedule, check_collators, schedules_of

__all__ = ["EpochCallback"]


class EpochCallback(Callback):  # type: ignore[misc]
    """Calls `collator.set_epoch` at the start of each epoch, holds the noise of evaluation, and saves the collators' state in checkpoints.

    While the trainer validates, tests or predicts, noise is held: epoch 0, step 0 and, without a seed, seed 0. Each validation
    therefore hides the same tokens, also when one collator serves both loaders.

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

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Hold noise whenever the trainer does not train. The hooks of validation come too late: its first batch was fetched before."""
        self._hold(lambda: not trainer.training)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Hold noise no longer: the trainer has finished."""
        self._hold(False)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Set the epoch here too: the first loader may fetch batches before the first epoch starts."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        """Set Lightning's own epoch number, which a resumed run continues."""
        for collator in self.collators:
            collator.set_epoch(trainer.current_epoch)
        self.setup(trainer, pl_module, "fit")  # `set_epoch` ends it
        self.on_train_batch_end(trainer)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Set the step of the batches that are fetched from now on."""
        for schedule in schedules_of(self.collators):
            schedule.step = trainer.global_step

    def _hold(self, when: bool | Callable[[], bool]) -> None:
        for schedule in schedules_of(self.collators):
            schedule.hold(when)

    def state_dict(self) -> dict[str, Any]:
        """Return the collators' state for a checkpoint."""
        return {"collators": [collator.state_dict() for collator in self.collators]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the collators' state from a checkpoint."""
        for collator, state in zip(self.collators, state_dict["collators"], strict=True):
            collator.load_state_dict(state)
