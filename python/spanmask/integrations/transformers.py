"""For transformers' `Trainer`: passes epoch and step to collators that draw noise. This module imports transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from spanmask.noise.schedule import HasSchedule, check_collators, schedules_of
from spanmask.noise.training import for_training

__all__ = ["EpochCallback"]


class EpochCallback(TrainerCallback):  # type: ignore[misc]
    """Calls `collator.set_epoch` at the start of each epoch, in a resumed run too, and holds the noise of evaluation.

    From the start of training on, only batches of the training loader have the noise of the epoch. In every other use of the collators
    noise is held: epoch 0, step 0 and, without a seed, seed 0. Each evaluation of the run, and of a resumed run, therefore hides the same
    tokens, also when one collator serves both loaders, and what it reports only changes with the model. Calling
    `collator.set_epoch` ends this.

    If the `collate_fn` of the training loader calls none of the collators, because the dataset does so, nothing is held.

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
        self._holds = False

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Start at the epoch of the run; a run that is resumed in the middle of an epoch continues in that epoch."""
        self._next = int(state.epoch or 0)
        self._holds = for_training(train_dataloader, self.collators)
        self._hold()
        self.on_step_end(args, state, control)  # a resumed run has done steps already

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the epoch. Passes are counted here: for data of unknown length, `state.epoch` is a fraction of all steps."""
        for collator in self.collators:
            collator.set_epoch(self._next)
        self._next += 1
        self._hold()  # `set_epoch` ends it

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Set the step of the batches that are fetched from now on."""
        for schedule in schedules_of(self.collators):
            schedule.step = state.global_step

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before training nothing is held yet: an evaluation then may be repeated without a warning."""
        for schedule in schedules_of(self.collators):
            schedule.forget()

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """The same for predictions."""
        self.on_evaluate(args, state, control)

    def _hold(self) -> None:
        for schedule in schedules_of(self.collators):
            schedule.hold(self._holds)
