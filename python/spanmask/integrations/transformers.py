"""For transformers' `Trainer`: passes epoch and step to collators that draw noise, and logs what chat collators count. This module imports
transformers.
"""

from __future__ import annotations

from typing import Any

try:
    from transformers import Trainer, TrainerCallback
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"{__name__} needs {error.name}; install it with: pip install 'spanmask[transformers]'") from error

from spanmask.collators.base import ChatCollator
from spanmask.integrations.counts_log import CountsLog, last_total
from spanmask.noise.schedule import HasSchedule, check_collators, schedules_of
from spanmask.noise.training import for_training

__all__ = ["EpochCallback", "MaskReportCallback"]


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


class MaskReportCallback(TrainerCallback):  # type: ignore[misc]
    """Logs what chat collators trained: after each of the trainer's own logs, the same counts of all batches that were made since the last.

    The numbers are in `trainer.state.log_history` and in every logger of the trainer. `mask/trained_share` is the share of trained tokens;
    `mask/rows`, `mask/untrained_rows`, `mask/truncated_turns` and the other fields of `MaskCounts` that are ever above 0 count since the
    last log; `mask_total/...` since the start of `train()`; a run that resumes from a checkpoint continues the last total that was logged
    before it. Each evaluation logs `eval_mask/...` of its own batches (`eval_<set>_mask/...` for several sets).

    Batches are counted where they are made, in workers too. A loader makes some ahead of the step that trains on them, so numbers in the
    middle of an epoch include those. Each rank counts the batches of its own loader; loggers show those of the rank that writes.

    Args:
        trainer: a transformers `Trainer`, or TRL's `SFTTrainer`.
        *collators: the chat collators of its loaders; by default the trainer's own.

    Raises:
        TypeError: not such a trainer, or collators that count nothing.

    Example:
        `trainer.add_callback(MaskReportCallback(trainer))`
    """

    def __init__(self, trainer: Trainer, *collators: ChatCollator) -> None:
        if not isinstance(trainer, Trainer):
            raise TypeError(f"trainer: expected transformers' Trainer, got {type(trainer).__name__}.")
        self.trainer = trainer
        self.collators = collators or (trainer.data_collator,)
        self._log = CountsLog(self.collators)
        self._logs_now = False

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Start to count, and tell batches for training from others."""
        apart = for_training(train_dataloader, self.collators)
        self._log.start(apart, before=last_total(state.log_history, "mask_total"))  # empty unless a checkpoint was loaded

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Log after the trainer has logged a loss, the end of training, or an evaluation."""
        if self._logs_now or not logs:
            return
        prefix = evaluated(logs)
        values = {}
        if prefix is not None:
            values = self._log.evaluation(f"{prefix}_mask")
        elif "loss" in logs or "train_runtime" in logs:
            values = self._log.training("mask", "mask_total")
        if values:
            self._logs_now = True
            try:  # not a subclass's `log`, which may add metrics to each log, as TRL's does
                Trainer.log(self.trainer, values)
            finally:
                self._logs_now = False

    def on_predict(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """Predictions are not logged, and do not count for the next evaluation."""
        self._log.skip_evaluation()


def evaluated(logs: Any) -> str | None:
    """The prefix of an evaluation's metrics, "eval" or "eval_<set>"; `None` if these are the logs of something else."""
    for name in logs:
        prefix = name.removesuffix("_samples_per_second")
        if prefix not in (name, "train") and f"{prefix}_runtime" in logs:
            return str(prefix)
    return None
