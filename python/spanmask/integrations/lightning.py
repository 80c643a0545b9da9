"""For Lightning's `Trainer`: passes epoch and step to collators that draw noise, and logs what chat collators count. This module imports
Lightning.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs {error.name}; install it with: pip install 'spanmask[lightning]'") from error

from spanmask.collators.base import ChatCollator
from spanmask.collators.counts import MaskCounts
from spanmask.integrations.counts_log import CountsLog
from spanmask.noise.schedule import HasSchedule, check_collators, schedules_of

__all__ = ["EpochCallback", "MaskReportCallback"]


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


class MaskReportCallback(Callback):  # type: ignore[misc]
    """Logs what chat collators trained, with the trainer's loggers: every `log_every_n_steps` steps and at the end of an epoch.

    `train/mask/trained_share` is the share of trained tokens; `train/mask/rows`, `train/mask/untrained_rows`,
    `train/mask/truncated_turns` and the other fields of `MaskCounts` that are ever above 0 count all batches made since the last log;
    `train/mask_total/...` since the start of `fit`, and before, if it resumes from a checkpoint. Each validation logs `val/mask/...` of its
    own batches, each test `test/mask/...`.

    Batches are counted where they are made, in workers too. A loader makes some ahead of the step that trains on them, so numbers in the
    middle of an epoch include those. Each rank counts the batches of its own loader; loggers show those of the rank that writes.

    Args:
        *collators: the chat collators that the trainer's loaders use.

    Raises:
        TypeError: collators that count nothing.

    Example:
        `Trainer(callbacks=[MaskReportCallback(collator)])`
    """

    def __init__(self, *collators: ChatCollator) -> None:
        self._log = CountsLog(collators)
        self._step = 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Start to count, and tell batches for training from others. The loaders start later."""
        self._log.start(training=lambda: trainer.training)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Batches that are made from now on are not for training: the trainer has finished."""
        self._log.start(training=lambda: False)

    def state_dict(self) -> dict[str, int]:
        """The total, for a checkpoint."""
        return asdict(self._log.total)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue the total of a checkpoint. Lightning calls it after `setup`."""
        self._log.before = MaskCounts(**state_dict)

    def on_sanity_check_end(self, trainer: Any, pl_module: Any) -> None:
        """Lightning does not log its check; its batches do not count."""
        self._log.skip_evaluation()

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Log when Lightning does."""
        every, step = trainer.log_every_n_steps, trainer.global_step
        if every and step % every == 0 and step != self._step:
            self._step = step
            self._write(trainer, self._log.training("train/mask", "train/mask_total"))

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Log the rest of the epoch."""
        self._write(trainer, self._log.training("train/mask", "train/mask_total"))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Log a validation."""
        if not trainer.sanity_checking:
            self._write(trainer, self._log.evaluation("val/mask"))

    def on_test_end(self, trainer: Any, pl_module: Any) -> None:
        """Log a test."""
        self._write(trainer, self._log.evaluation("test/mask"))

    def on_predict_end(self, trainer: Any, pl_module: Any) -> None:
        """Predictions are not logged, and do not count for the next validation."""
        self._log.skip_evaluation()

    def _write(self, trainer: Any, values: dict[str, float]) -> None:
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=trainer.global_step)
