"""Which tokens carry loss: `mask_labels` and its `MaskPolicy`, and the `MaskReport` that says what happened.

Which tokens train is decided in `labels.rs`. This file checks what users give, calls, and wraps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.format import ChatFormat, as_ids
from spanmask.ragged import Bounds, Layout, RowsView

__all__ = ["MaskPolicy", "MaskReport", "MaskedLabels", "mask_labels"]

WhichTurns = Literal["all", "last"]
TrainOnEos = Literal["none", "turn", "last", "all"]
OpenTurn = Literal["train", "drop"]
OnMissing = Literal["mask", "keep", "raise"]

# By the core's `Outcome`: why a row trains nothing. Index 0: it trains.
REASONS = (
    "",
    "empty row",
    "no marker",
    "truncated before the answer",
    "only ignored ids",
    "empty answer",
    "excluded by labels or turn_mask",
)
# A report names this many rows that train nothing; it counts all of them.
NAMED_ROWS = 100


@dataclass(frozen=True)
class MaskPolicy:
    """Which tokens of which turns carry loss.

    Args:
        roles: the roles that train; one name or several.
        turns: `"all"` of their turns, or the row's `"last"` one.
        train_on_eos: whose closing tokens train: `"none"`, those of each trained `"turn"`, of the `"last"` turn of a trained
            role, or `"all"`, other roles' turns included.
        include_start: a trained turn's opening tokens train too.
        open_turn: `"train"` or `"drop"` a turn that the row's end cut off.
        ignore_ids: ids that never train, beside the chat format's own.
        on_missing: a row without a turn of a trained role is masked (`"mask"`), trained whole (`"keep"`), or an error
            (`"raise"`).

    Raises:
        ValueError: an option has another value than these.

    >>> MaskPolicy(roles="assistant", turns="last").roles
    ('assistant',)
    """

    roles: tuple[str, ...] = ("assistant",)
    turns: WhichTurns = "all"
    train_on_eos: TrainOnEos = "turn"
    include_start: bool = False
    open_turn: OpenTurn = "train"
    ignore_ids: tuple[int, ...] = ()
    on_missing: OnMissing = "mask"

    def __post_init__(self) -> None:
        roles = (self.roles,) if isinstance(self.roles, str) else tuple(self.roles)
        if not roles or not all(isinstance(role, str) for role in roles):
            raise ValueError(f"roles: expected names of roles, at least one, got {self.roles!r}.")
        object.__setattr__(self, "roles", roles)
        object.__setattr__(self, "ignore_ids", as_ids(self.ignore_ids, "ignore_ids"))
        check_choice("turns", self.turns, WhichTurns)
        check_choice("train_on_eos", self.train_on_eos, TrainOnEos)
        check_choice("open_turn", self.open_turn, OpenTurn)
        check_choice("on_missing", self.on_missing, OnMissing)
        if not isinstance(self.include_start, bool):
            raise ValueError(f"include_start: expected True or False, got {self.include_start!r}.")

    def compile(self, chat_format: ChatFormat) -> _core.Policy:
        """The policy for the roles of `chat_format`, as the core takes it.

        Raises:
            ValueError: a role that the format does not have.
        """
        for role in self.roles:
            if role not in chat_format.roles:
                raise ValueError(
                    f"roles: the policy trains {role!r}, but the chat format has only {', '.join(map(repr, chat_format.roles))}; "
                    "add a RoleBoundary for it or name another role."
                )
        return _core.Policy(
            roles=[role in self.roles for role in chat_format.roles],
            turns=self.turns,
            train_on_eos=self.train_on_eos,
            include_start=self.include_start,
            open_turn=self.open_turn,
            on_missing=self.on_missing,
            ignore_ids=[*chat_format.ignore_ids, *self.ignore_ids],
        )


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise unless `value` is one of the literal type's values."""
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}.")


@dataclass
class MaskReport:
    """What masking did: counts, and a reason for each row that trains nothing. Reports add up with `+`.

    Attributes:
        rows, tokens, trained_tokens: totals; tokens are real ones, padding is not counted.
        turns: turns found, by role.
        open_turns: rows whose last turn the row's end cut off.
        reasons: how many rows train nothing, by reason: "no marker", "truncated before the answer", "only ignored ids", ...
        untrained_rows: the first of these rows, as (row, reason); rows count from 0, over all calls that were added up.

    >>> print(MaskReport(rows=2, tokens=10, trained_tokens=4, turns={"assistant": 1}, reasons=Counter({"no marker": 1})))
    rows                          2
    tokens                        10
    tokens trained                4 (40.0%)
    turns                         assistant 1
    turns cut off                 0
    rows without a trained token  1
      no marker                   1
    """

    rows: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    turns: dict[str, int] = field(default_factory=dict)
    open_turns: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    untrained_rows: list[tuple[int, str]] = field(default_factory=list)

    @property
    def rows_without_trained_token(self) -> int:
        """How many rows train nothing, for whatever reason."""
        return self.reasons.total()

    def __add__(self, other: MaskReport) -> MaskReport:
        shifted = [(row + self.rows, reason) for row, reason in other.untrained_rows]
        return MaskReport(
            rows=self.rows + other.rows,
            tokens=self.tokens + other.tokens,
            trained_tokens=self.trained_tokens + other.trained_tokens,
            turns={role: self.turns.get(role, 0) + other.turns.get(role, 0) for role in {**self.turns, **other.turns}},
            open_turns=self.open_turns + other.open_turns,
            reasons=self.reasons + other.reasons,
            untrained_rows=(self.untrained_rows + shifted)[:NAMED_ROWS],
        )

    def __str__(self) -> str:
        share = f" ({self.trained_tokens / self.tokens:.1%})" if self.tokens else ""
        lines = [
            ("rows", f"{self.rows}"),
            ("tokens", f"{self.tokens}"),
            ("tokens trained", f"{self.trained_tokens}{share}"),
            ("turns", ", ".join(f"{role} {count}" for role, count in self.turns.items()) or "none"),
            ("turns cut off", f"{self.open_turns}"),
            ("rows without a trained token", f"{self.rows_without_trained_token}"),
            *((f"  {reason}", f"{count}") for reason, count in self.reasons.items()),
        ]
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


@dataclass(frozen=True)
class MaskedLabels:
    """What `mask_labels` returns.

    Attributes:
        labels: int64, the ids where loss is wanted and `ignore_index` elsewhere, not shifted; `Ragged`, or the kind and shape
            of a 2-D input.
        weights: loss weights aligned with `labels`, float32; `None` without weights in the policy.
        report: a `MaskReport`.
    """

    labels: Any
    weights: Any
    report: MaskReport


def mask_labels(
    rows: Any,
    chat_format: ChatFormat,
    policy: MaskPolicy | None = None,
    *,
    attention_mask: Any = None,
    labels: Any = None,
    turn_mask: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedLabels:
    """Labels for chat rows: a token keeps its id where it carries loss.

    Args:
        rows: token ids: whatever `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format: how turns open and close.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        attention_mask: with 2-D rows: nonzero for real tokens, which must stand together in a row. Padding is never told by an
            id.
        labels: existing labels, aligned with `rows`: where they are `ignore_index` nothing trains.
        turn_mask: a row of flags for each row, one flag for each turn of a trained role. Flags left over belong to turns that
            were cut.
        ignore_index: the label of a token without loss.
        num_threads: threads for bulk work; results do not depend on it.

    Raises:
        ValueError: shapes that do not fit, a mask with holes, a missing turn under `on_missing="raise"`; the message names the
            row.
        TypeError: ids that are not integers.

    Example:
        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> out = mask_labels([[5, 7, 8, 2, 5, 6, 9, 2], [5, 7, 8]], fmt)
        >>> out.labels.to_list()
        [[-100, -100, -100, -100, -100, -100, 9, 2], [-100, -100, -100]]
        >>> out.report.untrained_rows
        [(1, 'truncated before the answer')]
    """
    view = RowsView(rows, attention_mask)
    flat, report = mask_rows(
        view.values,
        view.bounds,
        view.layout,
        chat_format,
        policy or MaskPolicy(),
        labels=None if labels is None else view.aligned(labels, "labels"),
        turn_mask=turn_mask,
        ignore_index=ignore_index,
        num_threads=num_threads,
    )
    return MaskedLabels(view.wrap(flat), None, report)


def mask_rows(
    values: npt.NDArray[Any],
    bounds: Bounds,
    layout: Layout,
    chat_format: ChatFormat,
    policy: MaskPolicy,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    turn_mask: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], MaskReport]:
    """Labels of rows anywhere in `values`, written flat in `layout`; what `mask_labels` and the collators share.

    `labels` are existing ones, aligned with `values`.
    """
    if not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    check_threads(num_threads)
    starts, stops = bounds
    out, trained, outcomes, opened, turns = _core.mask_labels(
        values,
        starts,
        stops,
        chat_format._core,
        policy.compile(chat_format),
        layout,
        labels=None if labels is None else (labels, starts, stops),
        turn_mask=None if turn_mask is None else turn_flags(turn_mask),
        ignore_index=ignore_index,
        num_threads=num_threads,
    )
    lengths = stops - starts if layout[2] is None else np.minimum(stops - starts, layout[2])
    untrained = np.flatnonzero(outcomes)
    report = MaskReport(
        rows=len(starts),
        tokens=int(lengths.sum()),
        trained_tokens=int(trained.sum()),
        turns=dict(zip(chat_format.roles, turns, strict=True)),
        open_turns=int(opened.sum()),
        reasons=Counter({REASONS[code]: int(count) for code, count in enumerate(np.bincount(outcomes)) if code and count}),
        untrained_rows=[(int(row), REASONS[outcomes[row]]) for row in untrained[:NAMED_ROWS]],
    )
    return out, report


def check_threads(num_threads: int) -> None:
    """Raise unless `num_threads` is a positive integer."""
    if not isinstance(num_threads, int) or isinstance(num_threads, bool) or num_threads < 1:
        raise ValueError(f"num_threads: expected a positive integer, got {num_threads!r}.")


def turn_flags(turn_mask: Any) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """A row of flags for each row, as the core takes them."""
    if isinstance(turn_mask, (str, bytes)) or not isinstance(turn_mask, Iterable):
        raise TypeError(f"turn_mask: expected a list of flags for each row, got {type(turn_mask).__name__}.")
    flags = []
    for number, row in enumerate(turn_mask):
        array = np.asarray(row)
        if array.ndim != 1 or (array.size and not np.isin(array, (0, 1)).all()):
            raise TypeError(
                f"turn_mask: row {number} is {row!r}; expected a list of True and False (or 1 and 0), one for each turn."
            )
        flags.append(array.astype(np.bool_))
    offsets = np.zeros(len(flags) + 1, np.int64)
    np.cumsum([len(row) for row in flags], out=offsets[1:])
    return np.concatenate(flags or [np.empty(0, np.bool_)]), offsets[:-1], offsets[1:]
