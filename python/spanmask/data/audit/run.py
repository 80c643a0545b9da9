"""`audit`: look at every row of a data set."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from spanmask._short_repr import short_repr
from spanmask._validate import check_length, short
from spanmask.chat.format import ChatFormat
from spanmask.data.audit.compare import InStep
from spanmask.data.audit.findings import FINDINGS
from spanmask.data.audit.report import AuditReport, Comparison, Finding, Sample, Truncation, place_of
from spanmask.data.audit.rows import IGNORE, LabelledRows, RowLabeller, Use, is_in
from spanmask.data.audit.samples import RowShower
from spanmask.data.audit.sources import READ, Source, source_of
from spanmask.data.audit.tally import SeenRows, costs_of, distribution, joined, shares_of
from spanmask.errors import DataError
from spanmask.policy import MaskPolicy

__all__ = ["audit", "labelled_rows"]

Int64 = npt.NDArray[np.int64]
OF_DECODERS = ("t5", "ul2")  # objectives whose labels a decoder must produce
MOST_REASONS = 30  # that are told apart for one finding
OTHER_REASONS = "another reason"


def audit(
    data: Any,
    tokenizer: Any,
    policy: MaskPolicy | None = None,
    *,
    chat_format: ChatFormat | None = None,
    max_length: int | None = None,
    columns: Mapping[str, str] | None = None,
    template_kwargs: Mapping[str, Any] | None = None,
    compare: Any = None,
    samples: int = 5,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Look at every row of a data set for chat training: what trains, and what can be wrong.

    Rows are read in pieces, so that memory does not grow with the tokens; about 40 bytes a row are kept.

    Args:
        data: a data set of `datasets` (also a stream), the name of a file, folder or glob or a list of such (Parquet, JSON lines, Arrow),
            an Arrow table, or dicts. Its columns are those of `DataCollatorForChat`. Where there are `input_ids` with `labels`, or with
            flags of the tokens that train (`loss_mask`, or TRL's `assistant_masks` or `completion_mask`), these are what is looked at,
            whoever made them; else labels are made.
        tokenizer: a transformers tokenizer.
        policy: which tokens train, for rows without labels; its roles are those whose turns count as answers, for all rows. By default
            the assistant's turns with their closing tokens. Labels are looked at as with `shift="none"`.
        chat_format: how turns open and close, for rows of ids; by default derived from the tokenizer's chat template. For rows with labels
            turns are not looked at if it cannot be derived.
        max_length: find out what cutting rows to so many tokens costs. All other findings are about the uncut rows.
        columns: the names of columns, where the data has other names: `{"messages": "dialogue"}`.
        template_kwargs: variables of the chat template, for all rows.
        compare: another masking of the same rows: a `MaskPolicy`, also where the data have labels; or data with the same rows in the same
            order (such as the output of `spanmask mask`, or labels of another library).
        samples: how many rows each finding shows.
        progress: called after each piece with its rows and its tokens.

    Returns:
        An `AuditReport`. Rows that cannot be used are a finding, not an error.

    Raises:
        ChatFormatError: rows hold token ids without labels, and the chat format could not be derived from the template.
        ValueError: an option is wrong, or a file cannot be read (`DataError`).
        TypeError: `data` is nothing that holds rows, or an option has the wrong type.

    >>> from transformers import ByT5Tokenizer
    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> rows = [{"input_ids": [5, 7, 8, 2, 5, 6, 9, 2]}, {"input_ids": [5, 7, 8, 2]}]
    >>> report = audit(rows, ByT5Tokenizer(), chat_format=fmt)
    >>> report.rows("untrained").tolist(), report.findings["untrained"].reasons
    ([1], Counter({'no trained turn': 1}))
    """
    max_length = check_length("max_length", max_length)
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < 0:
        raise ValueError(f"samples: expected a number of rows >= 0, got {short(samples)}.")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress: expected a function of (rows, tokens), got {type(progress).__name__}.")

    def labeller_of(one: MaskPolicy | None, length: int | None, use: Use = "labels") -> RowLabeller:
        return RowLabeller(
            tokenizer, one, chat_format=chat_format, max_length=length, columns=columns, template_kwargs=template_kwargs, use=use
        )

    source, labeller = source_of(data), labeller_of(policy, max_length)
    run = Run(source, labeller, RowShower(tokenizer), samples)
    if isinstance(compare, MaskPolicy):
        if isinstance(data, Iterator):
            raise TypeError("compare: the data can be read only once; pass a list, a data set or files.")
        other = labeller_of(compare, None, "ids")
        run.compare_with(labelled_rows(source, other, {}), None, short_repr(compare))
    elif compare is not None:
        others = source_of(compare, "compare")
        run.compare_with(labelled_rows(others, labeller_of(policy, None), {}), source.name, others.name)
    bad: dict[int, tuple[str, str]] = {}
    for rows in labelled_rows(source, labeller, bad, (*OF_DECODERS, "mlm")):
        run.add(rows)
        run.add_bad(bad)
        if progress is not None:
            progress(len(rows), len(rows.ids))
    run.add_bad(bad)
    return run.report(getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__)


def labelled_rows(
    source: Source, labeller: RowLabeller, bad: dict[int, tuple[str, str]], refused: Collection[str] = OF_DECODERS
) -> Iterator[LabelledRows]:
    """All rows with their labels. Rows that cannot be used are added to `bad` before the rows that follow them come.

    `refused`: objectives of `spanmask corrupt` whose labels cannot be looked at.

    Raises:
        DataError: the data have labels of such an objective.
    """
    seen = 0
    names = tuple(labeller.own_names(READ))
    for piece in source.pieces(names):
        if "labels" in piece.columns and source.made_by.get("objective") in refused:
            raise DataError(
                f"{source.name}: spanmask corrupt wrote it for the objective {source.made_by['objective']}, so that its labels are not the "
                "tokens at their places. Look at the rows before they are noised."
            )
        bad.update(piece.bad)
        numbers = np.sort(np.concatenate([np.asarray(piece.numbers, np.int64), np.fromiter(piece.bad, np.int64, len(piece.bad))]))
        for rows in labeller.label(piece, bad):
            rows.ordinals = seen + np.searchsorted(numbers, rows.numbers)
            yield rows
        seen += len(numbers)


class Run:
    """Collects what is found, row by row."""

    def __init__(self, source: Source, labeller: RowLabeller, shower: RowShower, samples: int) -> None:
        self._source, self._labeller, self._shower, self._samples = source, labeller, shower, samples
        self._found: dict[str, list[Int64]] = {name: [] for name in FINDINGS}
        self._reasons: dict[str, Counter[str]] = {name: Counter() for name in FINDINGS}
        self._shown: dict[str, list[Sample]] = {name: [] for name in FINDINGS}
        self._lengths: list[npt.NDArray[np.int32]] = []
        self._trained: list[npt.NDArray[np.int32]] = []
        self._first_trained: list[npt.NDArray[np.int32]] = []
        self._seen = SeenRows()
        self._turns: Counter[str] = Counter()
        self._cut = None if labeller.max_length is None else Truncation(labeller.max_length)
        self._in_step: InStep | None = None
        self._comparison: Comparison | None = None
        self._given = self._made = self._from_messages = False
        self._with_turns = False
        self._ordinary: list[tuple[int, Sample]] = []
        self._vocabulary = vocabulary_size(labeller._labeller.tokenizer)

    def compare_with(self, rows: Iterator[LabelledRows], first: str | None, second: str) -> None:
        """Also compare the labels with those of other rows. `first`: the name of ours; `None`: the policy's, or "labels of the data"."""
        self._in_step, self._comparison = InStep(rows), Comparison(first or "", second)

    def add(self, rows: LabelledRows) -> None:
        """Look at rows."""
        if not len(rows):
            return
        self._given |= rows.given
        self._from_messages |= rows.from_messages
        self._made |= not rows.given
        lengths, trained = rows.lengths, rows.trained_counts
        self._lengths.append(lengths.astype(np.int32))
        self._trained.append(trained.astype(np.int32))
        places = np.flatnonzero(rows.trained)
        first = np.full(len(rows), -1, np.int32)
        some = trained > 0
        first[some] = places[rows.trained_before[rows.offsets[:-1][some]]] - rows.offsets[:-1][some]
        self._first_trained.append(first)
        self._find(rows, "untrained", rows.untrained)
        self._find(rows, "unknown-turns", rows.unknown)
        self._find(rows, "left-out", rows.left_out)
        self._find(rows, "empty-answers", rows.empty)
        for name, at in (("searched", rows.searched), ("markers-in-content", rows.marked), ("unclosed-regions", rows.unclosed)):
            self._find(rows, name, dict.fromkeys(at, ""))
        self._look_at_ids(rows)
        if rows.turns is not None:
            self._with_turns = True
            self._look_at_turns(rows)
        if self._cut is not None:
            self._look_at_cut(rows)
        if self._in_step is not None:
            self._compare(rows)
        self._choose_ordinary(rows)

    def add_bad(self, bad: dict[int, tuple[str, str]]) -> None:
        """Count rows that cannot be used, and forget them."""
        for number, (why, text) in sorted(bad.items()):
            self._found["bad"].append(np.array([number], np.int64))
            self._count_reason("bad", re.sub(r" \(id '.*?'\)", "", why))
            shown = [*self._shown["bad"], Sample(number, self._place(number), why, text=text[:2000])]
            self._shown["bad"] = sorted(shown, key=lambda sample: sample.number)[: self._samples]
        bad.clear()

    def _place(self, number: int) -> str:
        return place_of(self._source.files, number)

    def _count_reason(self, name: str, why: str) -> None:
        reasons = self._reasons[name]
        reasons[why if why in reasons or len(reasons) < MOST_REASONS else OTHER_REASONS] += 1

    def _find(self, rows: LabelledRows, name: str, why: Mapping[int, str], other: Callable[[int], Int64] | None = None) -> None:
        """Count rows by their positions, with the reason for each."""
        if not why:
            return
        at = np.array(sorted(why), np.int64)
        self._found[name].append(rows.numbers[at])
        for row in at.tolist():
            if why[row]:
                self._count_reason(name, why[row])
            shown = self._shown[name]
            if len(shown) < self._samples:
                cut = self._labeller.max_length if name in ("truncated", "answers-cut", "unanswered") else None
                shown.append(self._shower.sample(rows, row, self._place, why[row], cut, other))

    def _look_at_ids(self, rows: LabelledRows) -> None:
        outside = (rows.ids < 0) | (rows.ids >= self._vocabulary)
        fmt = self._labeller.chat_format
        if outside.any():
            if fmt is not None and fmt.ignore_ids:
                outside &= ~np.isin(rows.ids, fmt.ignore_ids)
            where = np.flatnonzero(outside)
            at, first = np.unique(rows_of(rows.offsets, where), return_index=True)
            self._find(
                rows, "outside-vocabulary", {int(row): f"id {rows.ids[where[one]]}" for row, one in zip(at, first, strict=True)}
            )
        if rows.given:
            wrong = rows.trained & (rows.labels != rows.ids)
            if wrong.any():
                self._find(rows, "misaligned-labels", {row: misaligned(rows, row) for row in rows_with(wrong, rows.offsets)})
        earlier = self._seen.add(rows.ids, rows.offsets, rows.numbers)
        self._find(
            rows,
            "duplicates",
            dict.fromkeys(np.flatnonzero(earlier >= 0).tolist(), ""),
        )

    def _look_at_turns(self, rows: LabelledRows) -> None:
        turns = rows.turns
        assert turns is not None
        for role, count in zip(turns.roles, np.bincount(turns.role, minlength=len(turns.roles)).tolist(), strict=True):
            self._turns[role] += count
        assert turns.stop_token is not None
        numbers = [number for number, role in enumerate(turns.roles) if role in self._labeller.policy.roles]
        answers = np.flatnonzero(np.isin(turns.role, numbers))
        row = turns.row[answers]
        base, before = rows.offsets[row], rows.trained_before
        trains = before[base + turns.content_stop[answers]] > before[base + turns.content_start[answers]]
        start = base + turns.content_stop[answers]
        stop = np.minimum(base + turns.stop[answers] + turns.stop_token[answers], rows.offsets[row + 1])
        special = np.asarray(list(self._labeller.special), np.int64)
        if self._stops_train:
            # Of closing tokens, the special ones are those that stop; without any, all are.
            flat, owner = spread(start, stop)
            is_special, is_trained = is_in(rows.ids[flat], special), rows.trained[flat]
            specials = np.bincount(owner[is_special], minlength=len(answers))
            trained_specials = np.bincount(owner[is_special & is_trained], minlength=len(answers))
            trained = np.bincount(owner[is_trained], minlength=len(answers))
            stops = np.where(specials > 0, trained_specials > 0, trained > 0)
            wrong = trains & turns.closed[answers] & (stop > start) & ~stops
            self._find(rows, "stop-untrained", dict.fromkeys(np.unique(row[wrong]).tolist(), ""))
        # Without closing tokens of its own, the last answer of a row is open, unless its last token is one that stops.
        is_last = np.append(row[1:] != row[:-1], True)[: len(row)] & (stop == start) & trains
        is_last[is_last] = ~is_in(rows.ids[stop[is_last] - 1], special)
        is_open = trains & (~turns.closed[answers] | is_last)
        self._find(rows, "open-answers", dict.fromkeys(np.unique(row[is_open]).tolist(), ""))

    @property
    def _stops_train(self) -> bool:
        """Whether closing tokens are meant to train."""
        return self._given or self._labeller.policy.train_on_eos in ("turn", "all")

    def _look_at_cut(self, rows: LabelledRows) -> None:
        cut = self._cut
        assert cut is not None
        most = cut.max_length
        is_long = rows.lengths > most
        if not is_long.any():
            return
        assert rows.cut_labels is not None
        labels, offsets = rows.cut_labels
        left = np.diff(np.append(0, np.cumsum(labels != IGNORE))[offsets])
        unanswered = is_long & (rows.trained_counts > 0) & (left == 0)
        answers_cut = answers_lost = 0
        if rows.turns is not None:
            turns = rows.turns
            numbers = [number for number, role in enumerate(turns.roles) if role in self._labeller.policy.roles]
            answers = np.flatnonzero(np.isin(turns.role, numbers) & (turns.stop > most))
            lost = turns.content_start[answers] >= most
            answers_cut, answers_lost = int((~lost).sum()), int(lost.sum())
            self._find(rows, "answers-cut", dict.fromkeys(np.unique(turns.row[answers]).tolist(), ""))
        self._cut = Truncation(
            most,
            cut.rows + int(is_long.sum()),
            cut.tokens + int((rows.lengths[is_long] - most).sum()),
            cut.trained_tokens + int((rows.trained_counts - left)[is_long].sum()),
            cut.answers_cut + answers_cut,
            cut.answers_lost + answers_lost,
            cut.unanswered + int(unanswered.sum()),
        )
        self._find(rows, "truncated", dict.fromkeys(np.flatnonzero(is_long).tolist(), ""))
        self._find(rows, "unanswered", dict.fromkeys(np.flatnonzero(unanswered).tolist(), ""))

    def _compare(self, rows: LabelledRows) -> None:
        assert self._in_step is not None
        assert self._comparison is not None
        one = self._in_step.difference(rows)
        self._find(rows, "different", dict.fromkeys(one.different, ""), one.other)
        self._find(rows, "incomparable", dict.fromkeys(one.incomparable, ""))
        old = self._comparison
        self._comparison = Comparison(
            old.first,
            old.second,
            old.rows + one.compared,
            old.different + len(one.different),
            old.only_first + one.only_first,
            old.only_second + one.only_second,
            old.both + one.both,
        )

    def _choose_ordinary(self, rows: LabelledRows) -> None:
        """Keep the rows with the smallest mixed numbers: a choice at random that is the same for the same data."""
        if not self._samples:
            return
        keys = rows.numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
        keys *= np.uint64(0xBF58476D1CE4E5B9)
        for at in np.argsort(keys, kind="stable")[: self._samples].tolist():
            key = int(keys[at])
            if len(self._ordinary) < self._samples or key < self._ordinary[-1][0]:
                sample = self._shower.sample(rows, at, self._place)
                self._ordinary = sorted([*self._ordinary, (key, sample)], key=lambda one: one[0])[: self._samples]

    def _findings(self, some_rows: bool) -> tuple[dict[str, Finding], dict[str, str]]:
        """The findings that were looked for, and why others were not."""
        no_turns = "turns were not looked for: there is no chat format"
        no_contents = "the rows are token ids: contents cannot be told from the template"
        closing = "closing tokens do not train" if self._with_turns else no_turns
        checks = (
            ("misaligned-labels", self._given, "the data has no labels"),
            (
                "stop-untrained",
                self._with_turns and self._stops_train,
                closing,
            ),
            ("open-answers", self._with_turns, no_turns),
            *((name, self._from_messages, no_contents) for name in ("empty-answers", "markers-in-content")),
            ("unclosed-regions", bool(self._labeller.policy.ignore_between), "the policy has no ignore_between"),
            ("unknown-turns", self._made, "labels are those of the data"),
            ("searched", self._made, "labels are those of the data"),
            ("left-out", self._made, "labels are those of the data"),
            *((name, self._cut is not None, "there is no max_length") for name in ("truncated", "answers-cut", "unanswered")),
            *((name, self._comparison is not None, "nothing to compare with") for name in ("different", "incomparable")),
        )
        skipped = {name: why for name, is_checked, why in checks if some_rows and not is_checked}
        findings = {
            name: Finding(name, np.sort(np.concatenate([np.zeros(0, np.int64), *found])), self._reasons[name], self._shown[name])
            for name, found in self._found.items()
            if name not in skipped
        }
        return findings, skipped

    def report(self, tokenizer: str) -> AuditReport:
        """Everything that was found."""
        policy = None if self._given and not self._made else short_repr(self._labeller.policy)
        if self._comparison is not None and not self._comparison.first:
            self._comparison = replace(self._comparison, first=policy or "labels of the data")
        lengths, trained = joined(self._lengths), joined(self._trained)
        findings, skipped = self._findings(bool(len(lengths)))
        notes = list(self._labeller.warnings)
        if (self._given or not self._made) and len(lengths) and not self._with_turns:
            error = self._labeller._labeller._format_error
            notes.append(f"Turns were not looked for: {error}")
        return AuditReport(
            name=self._source.name,
            row_count=len(lengths),
            tokens=int(lengths.sum(dtype=np.int64)),
            trained_tokens=int(trained.sum(dtype=np.int64)),
            turns=dict(self._turns),
            findings=findings,
            skipped=skipped,
            lengths=distribution(lengths),
            trained=distribution(trained),
            shares=shares_of(trained, lengths),
            costs=costs_of(lengths, joined(self._first_trained), self._labeller.max_length),
            truncation=self._cut,
            comparison=self._comparison,
            policy=policy,
            tokenizer=tokenizer,
            made_by=self._source.made_by,
            notes=notes,
            files=self._source.files,
            ordinary=[sample for _, sample in self._ordinary],
        )


def vocabulary_size(tokenizer: Any) -> int:
    """One more than the greatest id that the tokenizer has."""
    known = tokenizer.get_vocab().values() if hasattr(tokenizer, "get_vocab") else ()
    return max(len(tokenizer), max(known, default=-1) + 1)


def rows_of(offsets: Int64, places: Int64) -> Int64:
    """The row of each token."""
    return np.searchsorted(offsets, places, side="right") - 1


def rows_with(flags: npt.NDArray[np.bool_], offsets: Int64) -> list[int]:
    """The rows with a token whose flag is set."""
    return np.unique(rows_of(offsets, np.flatnonzero(flags))).tolist()  # type: ignore[no-any-return]


def spread(starts: Int64, stops: Int64) -> tuple[Int64, Int64]:
    """All places of half-open spans, and the number of the span of each."""
    sizes = stops - starts
    owner = np.repeat(np.arange(len(starts)), sizes)
    return np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes) + starts[owner], owner


def misaligned(rows: LabelledRows, row: int) -> str:
    """What is wrong with labels that are not their tokens."""
    start, stop = rows.offsets[row], rows.offsets[row + 1]
    ids, labels = rows.ids[start:stop], rows.labels[start:stop]
    for text, moved, kept in (
        ("each label is the next token", ids[1:], labels[:-1]),
        ("each label is the token before", ids[:-1], labels[1:]),
    ):
        has = kept != IGNORE
        if has.any() and np.array_equal(moved[has], kept[has]):
            return text
    return "labels are other ids"
