"""What the callbacks of trainers log: the counts of chat collators since the last log and in total. Imports no framework."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

from spanmask.collators.base import ChatCollator
from spanmask.collators.counts import MaskCounts
from spanmask.errors import SpanmaskWarning

__all__ = ["CountsLog", "last_total"]

NOTHING = MaskCounts()
# What is logged also if it is 0.
ALWAYS = ("trained_share", "rows", "tokens", "trained_tokens", "untrained_rows", "truncated_turns")


class CountsLog:
    """Reads the counts of collators, as numbers to log by name. Training and evaluation are apart.

    Raises:
        TypeError: there is no collator, or one that does not count.
    """

    def __init__(self, collators: Sequence[object]) -> None:
        if not collators:
            raise TypeError("collators: none given; pass the chat collators of the loaders.")
        for collator in collators:
            if not isinstance(collator, ChatCollator):
                raise TypeError(
                    "collators: expected DataCollatorForChat or DataCollatorForVisionChat, which count what they train, got "
                    f"{type(collator).__name__}. Rows that train_on_answers labeled before training are counted in "
                    "trainer.spanmask_report."
                )
        self._counts = [collator._counts for collator in collators if isinstance(collator, ChatCollator)]
        self._warned = False
        self.start()

    def start(self, apart: bool = True, training: Callable[[], bool] | None = None, before: MaskCounts = NOTHING) -> None:
        """Count from now on.

        Args:
            apart: batches for training are told from others; otherwise all are taken for batches for training.
            before: what the run that is continued has counted, which belongs to the total.
            training: whether a batch that is made now is for training, where the loader itself does not say so.
        """
        for counts in self._counts:
            counts.start_here()
            if training is not None:
                counts.count_as_training_when(training)
        self._apart, self.before = apart, before
        self._first = self._last = self._read_training()
        self.skip_evaluation()
        if not apart:
            warnings.warn(
                "collators: the training loader calls none of these collators itself (perhaps its dataset does), so that their batches for "
                "training and for evaluation are not told apart: all are logged as training. Pass the collator as data_collator.",
                SpanmaskWarning,
                stacklevel=3,
            )

    def training(self, name: str, total: str) -> dict[str, float]:
        """What was made for training since the last call, as `name/...`, and since the start, as `total/...`. Nothing if no batch was.

        Counts that are not in `ALWAYS` are there as soon as they are not 0.
        """
        now = self._read_training()
        since, self._last = now - self._last, now
        ever = self._total(now)
        return named(since, ever, name) | named(ever, ever, total) if since.rows else {}

    @property
    def total(self) -> MaskCounts:
        """What was made for training since the start, and by the run that is continued."""
        return self._total(self._read_training())

    def _total(self, now: MaskCounts) -> MaskCounts:
        return self.before + (now - self._first)

    def evaluation(self, name: str) -> dict[str, float]:
        """What was made for anything else since the last call; nothing if no batch was."""
        before = self._evaluated
        self.skip_evaluation()
        since = self._evaluated - before
        return named(since, self._evaluated, name) if since.rows and self._apart else {}

    def skip_evaluation(self) -> None:
        """Leave out what was made until now for anything but training."""
        self._evaluated = self._read(training=False)

    def _read_training(self) -> MaskCounts:
        counted = self._read(training=True)
        return counted if self._apart else counted + self._read(training=False)

    def _read(self, training: bool) -> MaskCounts:
        if not self._warned and any(counts.lost for counts in self._counts):
            self._warned = True
            warnings.warn(
                "collators: no memory could be shared with the workers of a loader (no writable temporary directory), so that the batches "
                "they make are not counted. Set TMPDIR to a folder that can be written.",
                SpanmaskWarning,
                stacklevel=4,
            )
        return sum((counts.read(training) for counts in self._counts), MaskCounts())


def last_total(history: Sequence[Mapping[str, float]], total: str) -> MaskCounts:
    """The last total in the logs of a run, zeros if there is none."""
    for entry in reversed(history):
        if f"{total}/rows" in entry:
            return MaskCounts(**{kind.name: int(entry.get(f"{total}/{kind.name}", 0)) for kind in fields(MaskCounts)})
    return NOTHING


def named(counts: MaskCounts, ever: MaskCounts, name: str) -> dict[str, float]:
    """The numbers under the names that loggers show. Of those that are 0 in most runs, only those that `ever` were not 0."""
    known = ever.to_dict()
    return {f"{name}/{key}": value for key, value in counts.to_dict().items() if key in ALWAYS or known[key]}
