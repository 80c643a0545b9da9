"""What the chat collators share: their options, the running report, and what happens to rows that train nothing."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import check_choice, check_length, check_side
from spanmask.batch import ReturnTensors, columns_of, select_rows, stack_columns, to_tensors
from spanmask.chat.format import ChatFormat
from spanmask.errors import SpanmaskWarning
from spanmask.policy import MaskPolicy
from spanmask.ragged import Bounds
from spanmask.report import REASONS, TOTALS, MaskReport, Tally
from spanmask.shared import SharedIntegers

__all__ = ["Collated", "MaskingCollator", "OnUntrainedBatch"]

OnUntrainedBatch = Literal["raise", "warn", "ignore"]

REMEDIES = {
    "empty row": "Drop such rows from the dataset.",
    "no marker": "The chat format does not fit these ids: print(collator.chat_format) and compare it with the row.",
    "truncated before the answer": "Raise max_length, or drop rows without an answer.",
    "only ignored ids": "Check ignore_ids of the policy and of the chat format.",
    "empty answer": "Drop rows without an answer, or check the policy.",
    "excluded by labels or turn weights": "Check these columns of the dataset.",
}


@dataclass
class Collated:
    """One batch before it becomes tensors: its arrays, what masking did, and where its rows of ids are."""

    batch: dict[str, Any]
    tally: Tally
    values: npt.NDArray[Any]
    bounds: Bounds


class MaskingCollator:
    """A collator whose labels come from a chat format and a policy. Subclasses say how ids are made and laid out: `_collate`."""

    def __init__(
        self,
        tokenizer: Any,
        chat_format: ChatFormat,
        policy: MaskPolicy | None,
        max_length: int | None,
        padding_side: str | None,
        pad_to_multiple_of: int | None,
        return_tensors: ReturnTensors,
        keep_columns: Iterable[str],
        on_untrained_batch: OnUntrainedBatch,
        weight_key: str,
    ) -> None:
        self._tokenizer = tokenizer
        self.chat_format = chat_format
        self.policy = MaskPolicy() if policy is None else policy
        if not isinstance(chat_format, ChatFormat):
            raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
        if not isinstance(self.policy, MaskPolicy):
            raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
        # A role that the format lacks is an error now, not in the first batch.
        self.policy.compile(chat_format.roles, chat_format.ignore_ids)
        self.max_length = check_length("max_length", max_length)
        self.padding_side = check_side(padding_side or getattr(tokenizer, "padding_side", "right"))
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", pad_to_multiple_of)
        check_choice("return_tensors", return_tensors, ReturnTensors)
        check_choice("on_untrained_batch", on_untrained_batch, OnUntrainedBatch)
        self.return_tensors = return_tensors
        self.keep_columns = (keep_columns,) if isinstance(keep_columns, str) else tuple(keep_columns)
        self.on_untrained_batch = on_untrained_batch
        self.weight_key = weight_key
        self._running = RunningReport(chat_format.roles)

    @property
    def report(self) -> MaskReport:
        """What all batches so far trained, those of loader workers too, and why rows trained nothing."""
        return self._running.total

    def reset_report(self) -> None:
        """Start the report anew."""
        self._running.reset()

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """One batch; see the class."""
        columns = columns_of(features)
        collated = self._collate(columns)
        tally = collated.tally
        mismatched = self._mismatched(collated, columns)
        kept = tally.kept_rows(self.policy)
        self._running.add(tally, mismatched, self.on_untrained_batch, lambda row: self._decode(collated, row))
        if mismatched and self.policy.on_role_mismatch == "drop":
            kept = np.setdiff1d(np.arange(tally.rows) if kept is None else kept, mismatched)
        if kept is not None:
            if not len(kept):
                reasons = ", ".join(tally.report.reasons) or "roles differ from messages"
                raise ValueError(f"features: no row of this batch is left: {reasons}.")
            columns = select_rows(columns, kept)
            collated = self._collate(columns)
        beside = stack_columns(columns, self.keep_columns)
        for name in beside:
            if name in collated.batch:
                raise ValueError(f"keep_columns: {name!r} is a column that the collator makes itself; leave it out.")
        return to_tensors({**collated.batch, **beside}, return_tensors or self.return_tensors)

    def _collate(self, columns: Mapping[str, Any]) -> Collated:
        raise NotImplementedError

    def _decode(self, collated: Collated, row: int) -> str:
        starts, stops = collated.bounds
        return str(self._tokenizer.decode(collated.values[starts[row] : stops[row]].tolist()))

    def _mismatched(self, collated: Collated, columns: Mapping[str, Any]) -> list[int]:
        """The rows in which the scan found other roles than their messages have; warns or raises as the policy says."""
        if "messages" not in columns:
            return []
        (row_numbers, role_numbers, *_), _ = _core.find_turns(collated.values, *collated.bounds, self.chat_format._compiled)
        found = np.split(role_numbers, np.searchsorted(row_numbers, np.arange(1, len(columns["messages"]))))
        mismatched = []
        for row, (messages, numbers) in enumerate(zip(columns["messages"], found, strict=True)):
            wanted = [message["role"] for message in messages]
            roles = [self.chat_format.roles[number] for number in numbers]
            if not same_roles(wanted, roles, self.chat_format.roles, self.policy.roles):
                mismatched.append(row)
                if self.policy.on_role_mismatch == "raise" or (
                    self.policy.on_role_mismatch == "warn" and self._running.first_mismatch()
                ):
                    text = (
                        f"messages: row {row} has the roles {', '.join(wanted)}, but its tokens read {', '.join(roles) or 'no turn'}: "
                        "a content holds marker text, or the chat format does not fit. Look at it with spanmask.preview."
                    )
                    if self.policy.on_role_mismatch == "raise":
                        raise ValueError(text)
                    warnings.warn(text, SpanmaskWarning, stacklevel=3)
        return mismatched


def same_roles(wanted: list[str], found: list[str], known: Iterable[str], trained: Iterable[str]) -> bool:
    """Whether `found` are the roles of messages, in order, the tail possibly cut.

    What templates do on purpose is no difference: a system turn of their own, a system message folded into the first user turn, several
    tool results in one turn. Where a role has no boundary of its own, only the trained roles are compared.
    """
    if not set(wanted) <= set(known):
        wanted, found = ([role for role in roles if role in trained] for roles in (wanted, found))
    if wanted[:1] == ["system"] and found[:1] != ["system"]:
        wanted = wanted[1:]
    elif found[:1] == ["system"] and wanted[:1] != ["system"]:
        found = found[1:]
    wanted, found = (
        [role for number, role in enumerate(roles) if role != "tool" or roles[number - 1 : number] != ["tool"]]
        for roles in (wanted, found)
    )
    return found == wanted[: len(found)]


# Places for the counts of this many processes: the first for the one that made the collator, then one a worker.
SLOTS = 33


class RunningReport:
    """Adds up the reports of all batches, those of a loader's workers too: the counts are in shared memory, a slot a worker.

    Rows are named in the process that saw them. Workers of two loaders that run at the same moment with one collator may lose a count.
    """

    def __init__(self, roles: Sequence[str]) -> None:
        self._roles = tuple(roles)
        width = len(TOTALS) + len(REASONS) + len(roles) + 1  # what the core counts, and the mismatches
        self._counts = SharedIntegers([0] * (SLOTS * width))
        self._named = MaskReport()  # how many rows this process saw, and which of them are named
        self._warned: set[str] = set()
        self._lock = threading.Lock()

    @property
    def total(self) -> MaskReport:
        """All that was counted so far."""
        counts = self._counts.array.reshape(SLOTS, -1).sum(axis=0)
        report = MaskReport._from_counts(counts[:-1], self._roles)
        report.mismatches = int(counts[-1])
        report.untrained_rows, report.mismatched_rows = self._named.untrained_rows, self._named.mismatched_rows
        return report

    def reset(self) -> None:
        """Forget all counts, in all processes."""
        with self._lock:
            self._counts.array[:] = 0
            self._named = MaskReport()
            self._warned.clear()

    def add(
        self, tally: Tally, mismatched: list[int], on_untrained_batch: OnUntrainedBatch, decode: Callable[[int], str]
    ) -> None:
        """Count one batch. `decode(row)` gives the text of a row for the message.

        Raises:
            ValueError: no row of the batch trains anything, and `on_untrained_batch="raise"`.
        """
        worker = worker_slot()
        named = tally.untrained or bool(mismatched)
        report = tally.report if named else MaskReport()
        report.mismatches, report.mismatched_rows = len(mismatched), mismatched
        with self._lock:
            slot = self._counts.array.reshape(SLOTS, -1)[worker]
            slot[:-1] += tally.counts
            slot[-1] += len(mismatched)
            if named:
                self._named += report
            else:
                self._named.rows += tally.rows  # nobody to name
        if not named:
            return
        all_empty = report.untrained_row_count == report.rows
        if all_empty and on_untrained_batch == "raise":
            raise ValueError(
                f"features: no row of this batch has a token to train. {describe(report, decode)} "
                'Set on_untrained_batch="warn" to go on with such batches.'
            )
        if (report.untrained_rows and self._first("untrained")) or (all_empty and on_untrained_batch == "warn"):
            warnings.warn(
                f"{report.untrained_row_count} of {report.rows} rows of a batch have no token to train. "
                f"{describe(report, decode)} Later rows are only counted: print(collator.report).",
                SpanmaskWarning,
                stacklevel=3,
            )

    def first_mismatch(self) -> bool:
        """Whether no row with other roles than its messages was warned of before."""
        return self._first("mismatch")

    def _first(self, what: str) -> bool:
        with self._lock:
            first = what not in self._warned
            self._warned.add(what)
        return first

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()


def worker_slot() -> int:
    """0 outside of a torch loader's worker, else a slot of the worker's own."""
    data = sys.modules.get("torch.utils.data")
    worker = data.get_worker_info() if data else None
    return 0 if worker is None else 1 + worker.id % (SLOTS - 1)


def describe(report: MaskReport, decode: Callable[[int], str]) -> str:
    """The first row that trains nothing: its number, the reason, its text, the remedy."""
    row, reason = report.untrained_rows[0]
    text = decode(row)
    shown = text if len(text) <= 400 else f"{text[:200]} ... {text[-200:]}"
    return f"Row {row}: {reason}. {REMEDIES[reason]} It reads: {shown!r}."
