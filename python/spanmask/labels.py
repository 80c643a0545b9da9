"""Which tokens carry loss: `mask_labels` and its `MaskPolicy`, and the `MaskReport` that says what happened.

Which tokens train is decided in `labels.rs`. This file checks what users give, calls, and wraps.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask.chat.format import ChatFormat, Marker, MarkerLike, as_ids, as_markers
from spanmask.ragged import Bounds, Layout, RowsView

__all__ = ["MaskPolicy", "MaskReport", "MaskedLabels", "mask_labels"]

WhichTurns = Literal["all", "last"]
TrainOnEos = Literal["none", "turn", "last", "all"]
OpenTurn = Literal["train", "drop"]
BetweenMarkers = Literal["ignore", "train"]
Shift = Literal["none", "left"]
OnMissing = Literal["mask", "keep", "raise"]
OnEmpty = Literal["keep", "drop", "raise"]
OnMismatch = Literal["warn", "raise", "drop"]

# By the core's `Outcome`: why a row trains nothing. Index 0: it trains.
REASONS = (
    "",
    "empty row",
    "no marker",
    "truncated before the answer",
    "only ignored ids",
    "empty answer",
    "excluded by labels or turn weights",
)
# What the core counts first; then come rows by outcome and turns by role.
TOTALS = ("rows", "tokens", "trained_tokens", "open_turns")
# A report names this many rows that train nothing; it counts all of them.
NAMED_ROWS = 100


@dataclass(frozen=True)
class MaskPolicy:
    """Which tokens of which turns carry loss, and how much.

    Args:
        roles: the roles that train; one name or several.
        turns: `"all"` of their turns, or the row's `"last"` one.
        train_on_eos: whose closing tokens train: `"none"`, those of each trained `"turn"`, of the `"last"` turn of a trained role,
            or `"all"`, other roles' turns included.
        include_start: a trained turn's opening tokens train too.
        open_turn: `"train"` or `"drop"` a turn that the row's end cut off.
        ignore_ids: ids that never train, beside the chat format's own.
        ignore_between: pairs (opening, closing) of id sequences, each one sequence or several alternatives: what lies between them in
            a turn's content never trains (`<think>` and `</think>`, tool results). Without a closing one, up to the content's end.
        ignore_between_markers: these markers themselves: `"ignore"` or `"train"`.
        ignore_sequences: id sequences that never train wherever they stand (an empty think block that the template adds).
        train_generation_prompt: what the template's generation prompt supplies behind the header (`chat_format.generation_heads`)
            trains, although the model never writes it.
        role_weights: loss weights by role, for roles that train; 1.0 for those not named.
        prompt_weight: the loss weight of every token that no trained turn trains, ignored ones excepted.
        shift: `"none"`: a label stands on its token, and the model shifts (transformers); `"left"`: on the token in front of it.
        on_missing: a row without a turn of a trained role is masked (`"mask"`), trained whole (`"keep"`), or an error (`"raise"`).
        on_empty: a row with nothing to train is kept (`"keep"`), left out (`"drop"`), or an error (`"raise"`).
        on_mismatch: where an example's `messages` are known and the roles found are not theirs: `"warn"`, `"raise"`, or `"drop"` it.

    Tokens of weight 0 have no label.

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
    ignore_between: tuple[tuple[tuple[Marker, ...], tuple[Marker, ...]], ...] = ()
    ignore_between_markers: BetweenMarkers = "ignore"
    ignore_sequences: tuple[Marker, ...] = ()
    train_generation_prompt: bool = False
    role_weights: tuple[tuple[str, float], ...] = ()
    prompt_weight: float = 0.0
    shift: Shift = "none"
    on_missing: OnMissing = "mask"
    on_empty: OnEmpty = "keep"
    on_mismatch: OnMismatch = "warn"

    def __init__(
        self,
        roles: str | Iterable[str] = ("assistant",),
        turns: WhichTurns = "all",
        train_on_eos: TrainOnEos = "turn",
        include_start: bool = False,
        open_turn: OpenTurn = "train",
        ignore_ids: Iterable[int] = (),
        ignore_between: Iterable[tuple[MarkerLike, MarkerLike]] = (),
        ignore_between_markers: BetweenMarkers = "ignore",
        ignore_sequences: MarkerLike = (),
        train_generation_prompt: bool = False,
        role_weights: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        prompt_weight: float = 0.0,
        shift: Shift = "none",
        on_missing: OnMissing = "mask",
        on_empty: OnEmpty = "keep",
        on_mismatch: OnMismatch = "warn",
    ) -> None:
        names = (roles,) if isinstance(roles, str) else tuple(roles)
        if not names or not all(isinstance(role, str) for role in names):
            raise ValueError(f"roles: expected names of roles, at least one, got {roles!r}.")
        weights = tuple(role_weights.items() if isinstance(role_weights, Mapping) else role_weights)
        for role, weight in weights:
            if role not in names:
                raise ValueError(
                    f"role_weights: {role!r} is not among the roles that train, {', '.join(map(repr, names))}; add it."
                )
            check_weight(f"role_weights: {role!r}", weight)
        check_weight("prompt_weight", prompt_weight)
        for name, flag in (("include_start", include_start), ("train_generation_prompt", train_generation_prompt)):
            if not isinstance(flag, bool):
                raise ValueError(f"{name}: expected True or False, got {flag!r}.")
        check_choice("turns", turns, WhichTurns)
        check_choice("train_on_eos", train_on_eos, TrainOnEos)
        check_choice("open_turn", open_turn, OpenTurn)
        check_choice("ignore_between_markers", ignore_between_markers, BetweenMarkers)
        check_choice("shift", shift, Shift)
        check_choice("on_missing", on_missing, OnMissing)
        check_choice("on_empty", on_empty, OnEmpty)
        check_choice("on_mismatch", on_mismatch, OnMismatch)
        values = {
            "roles": names,
            "turns": turns,
            "train_on_eos": train_on_eos,
            "include_start": include_start,
            "open_turn": open_turn,
            "ignore_ids": as_ids(ignore_ids, "ignore_ids"),
            "ignore_between": tuple(as_pair(pair) for pair in ignore_between),
            "ignore_between_markers": ignore_between_markers,
            "ignore_sequences": as_markers(ignore_sequences, "ignore_sequences"),
            "train_generation_prompt": train_generation_prompt,
            "role_weights": weights,
            "prompt_weight": float(prompt_weight),
            "shift": shift,
            "on_missing": on_missing,
            "on_empty": on_empty,
            "on_mismatch": on_mismatch,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def weighted(self) -> bool:
        """Whether the policy gives tokens different weights, so that the loss must take them into account."""
        return bool(self.role_weights) or self.prompt_weight != 0

    def compile(self, chat_format: ChatFormat) -> _core.Policy:
        """The policy for the roles of `chat_format`, as the core takes it; kept for the next call with the same format.

        Raises:
            ValueError: a role that the format does not have.
        """
        kept: tuple[ChatFormat, _core.Policy] | None = self.__dict__.get("_compiled")
        if kept is None or kept[0] is not chat_format:
            kept = (chat_format, self._compile(chat_format))
            object.__setattr__(self, "_compiled", kept)
        return kept[1]

    def _compile(self, chat_format: ChatFormat) -> _core.Policy:
        for role in self.roles:
            if role not in chat_format.roles:
                raise ValueError(
                    f"roles: the policy trains {role!r}, but the chat format has only {', '.join(map(repr, chat_format.roles))}; "
                    "add a RoleBoundary for it or name another role."
                )
        weights = dict(self.role_weights)
        return _core.Policy(
            roles=[weights.get(role, 1.0) if role in self.roles else None for role in chat_format.roles],
            prompt_weight=self.prompt_weight,
            turns=self.turns,
            train_on_eos=self.train_on_eos,
            include_start=self.include_start,
            train_generation_prompt=self.train_generation_prompt,
            open_turn=self.open_turn,
            on_missing=self.on_missing,
            ignore_ids=[*chat_format.ignore_ids, *self.ignore_ids],
            ignore_sequences=self.ignore_sequences,
            ignore_between=self.ignore_between,
            train_markers=self.ignore_between_markers == "train",
            shift=self.shift,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


def as_pair(pair: Any) -> tuple[tuple[Marker, ...], tuple[Marker, ...]]:
    """An (opening, closing) pair of `ignore_between`, each as a tuple of alternatives."""
    try:
        opening, closing = pair
    except (TypeError, ValueError):
        raise ValueError(f"ignore_between: expected pairs of (opening, closing) ids, got {pair!r}.") from None
    opens = as_markers(opening, "ignore_between, opening")
    if not opens:
        raise ValueError("ignore_between: an opening without ids; name the ids that open the region.")
    return opens, as_markers(closing, "ignore_between, closing")


def check_weight(name: str, weight: object) -> None:
    """Raise unless `weight` is a finite number >= 0."""
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight < float("inf"):
        raise ValueError(f"{name}: expected a finite loss weight >= 0, got {weight!r}.")


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise unless `value` is one of the literal type's values."""
    allowed = get_args(choices)
    if value not in allowed:
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {value!r}.")


# What `policy=None` means; one object, so that it stays compiled from call to call.
DEFAULT_POLICY = MaskPolicy()


@dataclass
class MaskReport:
    """What masking did: counts, and a reason for each row that trains nothing. Reports add up with `+`.

    Attributes:
        rows, tokens, trained_tokens: totals; tokens are real ones, padding is not counted.
        turns: turns found, by role.
        open_turns: rows whose last turn the row's end cut off.
        reasons: how many rows train nothing, by reason: "no marker", "truncated before the answer", "only ignored ids", ...
        untrained_rows: the first of these rows, as (row, reason); rows count from 0, over all calls that were added up.
        mismatches: rows in which the roles found differ from those of the example's messages.
        mismatched_rows: the first of these rows.

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
    mismatches: int = 0
    mismatched_rows: list[int] = field(default_factory=list)

    @classmethod
    def _from_counts(cls, counts: npt.NDArray[np.int64], roles: Sequence[str]) -> MaskReport:
        """Of what the core counts, in this order: `TOTALS`, rows by outcome, turns by role."""
        numbers = counts.tolist()
        outcomes, turns = numbers[len(TOTALS) :][: len(REASONS)], numbers[len(TOTALS) + len(REASONS) :]
        return cls(
            **dict(zip(TOTALS, numbers, strict=False)),
            turns=dict(zip(roles, turns, strict=True)),
            reasons=Counter({reason: count for reason, count in zip(REASONS[1:], outcomes[1:], strict=True) if count}),
        )

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
            mismatches=self.mismatches + other.mismatches,
            mismatched_rows=(self.mismatched_rows + [row + self.rows for row in other.mismatched_rows])[:NAMED_ROWS],
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
        if self.mismatches:
            lines.append(("roles differ from messages", f"{self.mismatches}"))
        width = max(len(name) for name, _ in lines)
        return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


class MaskedLabels:
    """What `mask_labels` returns.

    Attributes:
        labels: int64, the ids where loss is wanted and `ignore_index` elsewhere; `Ragged`, or the kind and shape of a 2-D input.
        weights: loss weights aligned with `labels`, float32, 0 where no loss is wanted; `None` where all tokens weigh the same.
        rows: int64, the numbers of the rows that `labels` holds: all of them, unless `on_empty="drop"` left some out.
        report: a `MaskReport`.
    """

    def __init__(self, labels: Any, weights: Any, tally: Tally, kept: npt.NDArray[np.int64] | None) -> None:
        self.labels = labels
        self.weights = weights
        self._tally = tally
        self._kept = kept

    @cached_property
    def rows(self) -> npt.NDArray[np.int64]:
        """The numbers of the rows that `labels` holds."""
        return np.arange(len(self._tally.outcomes)) if self._kept is None else self._kept

    @cached_property
    def report(self) -> MaskReport:
        """What masking did."""
        return self._tally.report

    def __repr__(self) -> str:
        return f"MaskedLabels(labels={self.labels!r}, weights={self.weights!r}, rows={self.rows!r}, report={self.report!r})"


class Tally:
    """What the core counted, and each row's outcome. The report is made of it when someone asks: on small batches it takes as long as
    the labels.
    """

    __slots__ = ("counts", "outcomes", "roles")

    def __init__(self, counts: npt.NDArray[np.int64], outcomes: npt.NDArray[np.uint8], roles: tuple[str, ...]) -> None:
        self.counts = counts
        self.outcomes = outcomes
        self.roles = roles

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.outcomes)

    @property
    def untrained(self) -> bool:
        """Whether some row trains nothing."""
        return bool(self.outcomes.any())

    @property
    def report(self) -> MaskReport:
        """The counts with their names."""
        report = MaskReport._from_counts(self.counts, self.roles)
        untrained = np.flatnonzero(self.outcomes)[:NAMED_ROWS]
        report.untrained_rows = [(int(row), REASONS[self.outcomes[row]]) for row in untrained]
        return report

    def kept_rows(self, policy: MaskPolicy) -> npt.NDArray[np.int64] | None:
        """The rows that stay under `policy.on_empty`; `None`: all.

        Raises:
            ValueError: a row has nothing to train, and `on_empty="raise"`.
        """
        if policy.on_empty == "keep" or not self.untrained:
            return None
        if policy.on_empty == "raise":
            row, reason = self.report.untrained_rows[0]
            raise ValueError(
                f'rows: row {row} has nothing to train: {reason}; drop it (on_empty="drop"), keep it (on_empty="keep"), or mend it.'
            )
        return np.flatnonzero(self.outcomes == 0)


def mask_labels(
    rows: Any,
    chat_format: ChatFormat,
    policy: MaskPolicy | None = None,
    *,
    attention_mask: Any = None,
    labels: Any = None,
    turn_mask: Any = None,
    turn_weights: Any = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> MaskedLabels:
    """Labels for chat rows: a token keeps its id where it carries loss.

    Args:
        rows: token ids: whatever `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format: how turns open and close.
        policy: which tokens train; by default the assistant's turns with their closing tokens.
        attention_mask: with 2-D rows: nonzero for real tokens, which must stand together in a row. Padding is never told by an id.
        labels: existing labels, aligned with `rows`: where they are `ignore_index` nothing trains.
        turn_mask: a row of flags for each row, one flag for each turn of a trained role. Flags left over belong to turns that were
            cut off.
        turn_weights: the same with loss weights instead of flags; give one of the two.
        ignore_index: the label of a token without loss.
        num_threads: threads for bulk work; results do not depend on it.

    Raises:
        ValueError: shapes that do not fit, a mask with holes, a missing turn under `on_missing="raise"`, a row with nothing to train
            under `on_empty="raise"`; the message names the row.
        TypeError: ids that are not integers.

    Example:
        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> out = mask_labels([[5, 7, 8, 2, 5, 6, 9, 2], [5, 7, 8]], fmt)
        >>> out.labels.to_list()
        [[-100, -100, -100, -100, -100, -100, 9, 2], [-100, -100, -100]]
        >>> out.report.untrained_rows
        [(1, 'truncated before the answer')]
    """
    policy = DEFAULT_POLICY if policy is None else policy
    view = RowsView(rows, attention_mask)
    flat, weights, tally = mask_rows(
        view.values,
        view.bounds,
        view.layout,
        chat_format,
        policy,
        labels=None if labels is None else view.aligned(labels, "labels"),
        turn_weights=turn_columns(turn_mask, turn_weights),
        ignore_index=ignore_index,
        num_threads=num_threads,
    )
    kept = tally.kept_rows(policy)
    return MaskedLabels(view.wrap(flat, kept), None if weights is None else view.wrap(weights, kept), tally, kept)


TurnColumn = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64], npt.NDArray[np.int64]]


def mask_rows(
    values: npt.NDArray[Any],
    bounds: Bounds,
    layout: Layout,
    chat_format: ChatFormat,
    policy: MaskPolicy,
    *,
    labels: npt.NDArray[np.int64] | None = None,
    turn_weights: tuple[TurnColumn, bool] | None = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32] | None, Tally]:
    """Labels and loss weights of rows anywhere in `values`, written flat in `layout`; what `mask_labels` and the collators share.

    `labels` are existing ones, aligned with `values`; `turn_weights` is what `turn_columns` makes.
    """
    if not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    if not isinstance(policy, MaskPolicy):
        raise TypeError(f"policy: expected a MaskPolicy, got {type(policy).__name__}.")
    check_threads(num_threads)
    if not isinstance(ignore_index, (int, np.integer)) or isinstance(ignore_index, bool) or not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index: expected an integer of 64 bits, got {ignore_index!r}.")
    starts, stops = bounds
    column, fractional = turn_weights or (None, False)
    out, weights, outcomes, counts = _core.mask_labels(
        values,
        starts,
        stops,
        chat_format._core,
        policy.compile(chat_format),
        layout,
        labels=None if labels is None else (labels, starts, stops),
        turn_weights=column,
        ignore_index=ignore_index,
        weighted=policy.weighted or fractional,
        num_threads=num_threads,
    )
    return out, weights, Tally(counts, outcomes, chat_format.roles)


def check_threads(num_threads: int) -> None:
    """Raise unless `num_threads` is a positive integer."""
    if not isinstance(num_threads, int) or isinstance(num_threads, bool) or num_threads < 1:
        raise ValueError(f"num_threads: expected a positive integer, got {num_threads!r}.")


def turn_columns(turn_mask: Any, turn_weights: Any) -> tuple[TurnColumn, bool] | None:
    """Flags or weights of turns, as the core takes them, and whether they are weights."""
    if turn_mask is not None and turn_weights is not None:
        raise ValueError("turn_weights: given together with turn_mask; give one of them (weight 0 is a flag that is off).")
    if turn_mask is None and turn_weights is None:
        return None
    name, column = ("turn_mask", turn_mask) if turn_weights is None else ("turn_weights", turn_weights)
    if hasattr(column, "to_pylist"):
        column = column.to_pylist()
    if isinstance(column, (str, bytes)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected a list for each row, got {type(column).__name__}.")
    rows = list(column)
    try:
        flat = np.asarray(list(chain.from_iterable(rows)))
    except (TypeError, ValueError):
        flat = np.asarray(None)  # what is wrong with which row, `turn_row` finds out
    if not valid_entries(flat, name):
        rows = [turn_row(row, name, number) for number, row in enumerate(rows)]
        flat = np.concatenate(rows)
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return (flat.astype(np.float32), offsets[:-1], offsets[1:]), name == "turn_weights"


def valid_entries(entries: npt.NDArray[Any], name: str) -> bool:
    """Whether these are flags (`turn_mask`) or finite weights >= 0 (`turn_weights`), in one dimension."""
    if entries.ndim != 1 or (entries.size and entries.dtype.kind not in "biuf"):
        return False
    if name == "turn_mask":
        return bool(np.isin(entries, (0, 1)).all())
    return bool((np.isfinite(entries) & (entries >= 0)).all())


def turn_row(row: Any, name: str, number: int) -> npt.NDArray[np.float32]:
    """The flags or weights of one row.

    Raises:
        ValueError: the row is something else.
    """
    entries = np.asarray(row)
    if not valid_entries(entries, name):
        wanted = "True and False (or 1 and 0)" if name == "turn_mask" else "finite weights >= 0"
        raise ValueError(f"{name}: row {number} is {row!r}; expected a list of {wanted}, one for each turn of a trained role.")
    return entries.astype(np.float32)
