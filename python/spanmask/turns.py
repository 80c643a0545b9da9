"""The turns of conversations: `Turns`, from a search (`find_turns`), from lengths, or by hand. `turns/mod.rs` decides what a turn is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import MAX_WEIGHT, MIN_WEIGHT, as_list, as_names, as_signed_ids, short
from spanmask.ragged import Column, Ragged, RowsView, as_array, listed, to_numpy

if TYPE_CHECKING:  # `chat` builds on this module
    from spanmask.chat.format import ChatFormat

__all__ = ["Turns", "find_turns"]

Int64 = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Turns:
    """The turns of many rows: NumPy columns with one entry per turn, ordered by row and position. `mask_labels(rows, turns)` uses them.

    Attributes:
        row, role: int64; `role` is an index into `roles`.
        start, content_start, content_stop, stop: int64 positions in the row: the header is [start, content_start), the content
            [content_start, content_stop), the closing tokens [content_stop, stop).
        closed: bool; False if the row ended first.
        roles: names of the roles.
        prefill_stop: int64; the content up to here was supplied by the template's generation prompt. By default `content_start`.
        reasoning_stop: int64; the content up to here is reasoning, tags included. By default `content_start`.
        empty_reasoning: bool; this reasoning holds no text, only tags that the template added. By default False.
        stop_token: bool; the token after `stop` ends the turn too, although it belongs to the next header. By default False.
        include_start, include_end: bool; the header trains with the turn; its closing tokens may train. By default False and True.
        ignore_ids: ids that never train, in addition to those of the policy.
        row_lengths: int64; tokens of each row, needed by `token_roles` and `token_turns`.

    Raises:
        ValueError: the columns differ in length or are not one-dimensional.
        TypeError: the columns are not integers (or bools).

    >>> turns = Turns(row=[0], role=[0], start=[2], content_start=[2], content_stop=[4], stop=[5], closed=[True], roles=("assistant",))
    >>> mask_labels([[7, 7, 8, 8, 2, 7]], turns).labels.to_list()
    [[-100, -100, 8, 8, 2, -100]]
    """

    row: Int64
    role: Int64
    start: Int64
    content_start: Int64
    content_stop: Int64
    stop: Int64
    closed: Flags
    roles: tuple[str, ...]
    prefill_stop: Int64 | None = field(default=None, kw_only=True, repr=False)
    reasoning_stop: Int64 | None = field(default=None, kw_only=True, repr=False)
    empty_reasoning: Flags | None = field(default=None, kw_only=True, repr=False)
    stop_token: Flags | None = field(default=None, kw_only=True, repr=False)
    include_start: Flags | None = field(default=None, kw_only=True, repr=False)
    include_end: Flags | None = field(default=None, kw_only=True, repr=False)
    ignore_ids: tuple[int, ...] = field(default=(), kw_only=True)
    row_lengths: Int64 | None = field(default=None, kw_only=True, repr=False)
    _view: RowsView | None = field(default=None, kw_only=True, repr=False)

    def __post_init__(self) -> None:
        count = len(row) if (row := as_array(self.row, "row")).ndim == 1 else -1
        defaults = {
            "prefill_stop": self.content_start,
            "reasoning_stop": self.content_start,
            "empty_reasoning": np.zeros(max(count, 0), np.bool_),
            "stop_token": np.zeros(max(count, 0), np.bool_),
            "include_start": np.zeros(max(count, 0), np.bool_),
            "include_end": np.ones(max(count, 0), np.bool_),
        }
        for name in ("row", "role", "start", "content_start", "content_stop", "stop", "prefill_stop", "reasoning_stop"):
            self._set(name, np.int64, count, defaults)
        for name in ("closed", "empty_reasoning", "stop_token", "include_start", "include_end"):
            self._set(name, np.bool_, count, defaults)
        object.__setattr__(self, "roles", as_names("roles", self.roles))
        object.__setattr__(self, "ignore_ids", as_signed_ids("ignore_ids", self.ignore_ids))
        if self.row_lengths is not None:
            lengths = lengths_of("row_lengths", self.row_lengths)
            object.__setattr__(self, "row_lengths", lengths)
            if count and not 0 <= self.row.min() <= self.row.max() < len(lengths):
                raise ValueError(
                    f"row: has rows from {self.row.min()} to {self.row.max()}, but there are {len(lengths)} row_lengths."
                )

    def _set(self, name: str, dtype: Any, count: int, defaults: dict[str, Any]) -> None:
        """Convert a column to an array of its dtype."""
        value = getattr(self, name)
        if value is None and name not in defaults:
            raise TypeError(f"{name}: None; pass an entry for each turn.")
        array = as_array(defaults[name] if value is None else value, name)
        if array.ndim != 1 or len(array) != count:
            raise ValueError(f"{name}: has shape {array.shape}; all columns of turns are 1-D and as long as row.")
        kinds = "b" if dtype is np.bool_ else "iu"
        if len(array) and array.dtype.kind not in kinds:
            raise TypeError(f"{name}: expected {np.dtype(dtype).name}, got {array.dtype}.")
        object.__setattr__(self, name, np.ascontiguousarray(array, dtype))

    @classmethod
    def from_lengths(cls, prompt_lengths: Sequence[int] | Int64, row_lengths: Sequence[int] | Int64) -> Turns:
        """Rows that are a prompt followed by an answer: one "user" turn and one "assistant" turn, without markers.

        Args:
            prompt_lengths: tokens of each row's prompt; 0 for a row without one.
            row_lengths: tokens of each row, the prompt included. Answers end with their row, so a stop token at the end trains.

        Raises:
            ValueError: the two arguments have different lengths, or a prompt is longer than its row.
            TypeError: the lengths are not integers in one dimension.

        >>> turns = Turns.from_lengths([2, 0], [4, 3])
        >>> mask_labels([[5, 6, 7, 2], [8, 9, 2]], turns).labels.to_list()
        [[-100, -100, 7, 2], [8, 9, 2]]
        """
        prompts, lengths = lengths_of("prompt_lengths", prompt_lengths), lengths_of("row_lengths", row_lengths)
        if len(prompts) != len(lengths):
            raise ValueError(f"prompt_lengths: {len(prompts)} lengths for {len(lengths)} rows; pass one for each.")
        wrong = np.flatnonzero((prompts < 0) | (prompts > lengths))
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"prompt_lengths: row {row} has a prompt of {prompts[row]} in {lengths[row]} tokens; expected 0 to {lengths[row]}."
            )
        rows = np.repeat(np.arange(len(lengths)), 2)
        start = np.stack([np.zeros_like(prompts), prompts], axis=1).reshape(-1)
        stop = np.stack([prompts, lengths], axis=1).reshape(-1)
        role = np.tile(np.arange(2), len(lengths))
        kept = (stop > start) | (role == 1)
        row, role, start, stop = (column[kept] for column in (rows, role, start, stop))
        closed = np.ones(len(row), np.bool_)
        return cls(row, role, start, start, stop, stop, closed, ("user", "assistant"), row_lengths=lengths)

    @classmethod
    def from_segments(cls, lengths: Iterable[Sequence[int]], roles: Sequence[str] | Sequence[Sequence[str]]) -> Turns:
        """Rows that are segments of known lengths, one turn each, without markers: rollouts of several turns.

        Args:
            lengths: for each row the number of tokens of each of its segments, which together are the whole row.
            roles: the role of each segment: names that repeat in this order in every row (`("user", "assistant")`), or a list of names for
                each row. What the template writes around a response (headers, results of tools) belongs to a segment of another role.

        Raises:
            ValueError: a row has other numbers of lengths and roles, or a length is negative.
            TypeError: the lengths are not integers, or the roles are not names.

        >>> turns = Turns.from_segments([[2, 1, 1, 2], [1, 3]], ("user", "assistant"))
        >>> mask_labels([[5, 6, 7, 8, 9, 2], [5, 7, 7, 2]], turns).labels.to_list()
        [[-100, -100, 7, -100, 9, 2], [-100, 7, 7, 2]]
        """
        rows = [
            lengths_of(f"lengths: row {number}", row)
            for number, row in enumerate(as_list("lengths", lengths, "lengths for each row"))
        ]
        names = segment_roles(roles, [len(row) for row in rows])
        known = tuple(dict.fromkeys(name for row in names for name in row)) or ("assistant",)
        for number, row in enumerate(rows):
            if (row < 0).any():
                raise ValueError(f"lengths: row {number} is {row.tolist()}; a segment has 0 or more tokens.")
        stop = np.concatenate([np.cumsum(row) for row in rows] or [np.zeros(0, np.int64)])
        start = stop - np.concatenate(rows or [np.zeros(0, np.int64)])
        role = np.array([known.index(name) for row in names for name in row], np.int64)
        row_numbers = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        totals = np.array([row.sum() for row in rows], np.int64)
        return cls(row_numbers, role, start, start, stop, stop, np.ones(len(stop), np.bool_), known, row_lengths=totals)

    def __len__(self) -> int:
        return len(self.row)

    def _check_rows(self, view: RowsView) -> None:
        """Raise if `row_lengths` are known and differ from those of the rows; without a mask, 2-D rows may be padded.

        Otherwise the turns of one batch would silently label another batch.
        """
        if self.row_lengths is None:
            return
        lengths = view.column.stops - view.column.starts
        if len(lengths) != len(self.row_lengths):
            raise ValueError(f"turns: belong to {len(self.row_lengths)} rows, but there are {len(lengths)} rows of ids.")
        wrong = np.flatnonzero(lengths != self.row_lengths if view.shape is None else lengths < self.row_lengths)
        if len(wrong):
            row = int(wrong[0])
            raise ValueError(
                f"turns: row {row} has {self.row_lengths[row]} tokens, but {lengths[row]} ids; pass the turns of these rows."
            )

    def _part(self, rows: Int64, max_length: int | None) -> Turns:
        """The turns of some rows, in ascending order, cut to `max_length` tokens."""
        kept = np.isin(self.row, rows)
        if max_length is not None:
            kept &= self.start < max_length
        parts: dict[str, Any] = {"row": np.searchsorted(rows, self.row[kept])}
        for name in ("role", "closed", "stop_token", "empty_reasoning", "include_start", "include_end"):
            parts[name] = getattr(self, name)[kept]
        for name in ("start", "content_start", "prefill_stop", "reasoning_stop", "content_stop", "stop"):
            positions = getattr(self, name)[kept]
            parts[name] = positions if max_length is None else np.minimum(positions, max_length)
        if max_length is not None:
            parts["closed"] &= self.stop[kept] <= max_length
        if self.row_lengths is not None:
            lengths = self.row_lengths[rows]
            parts["row_lengths"] = lengths if max_length is None else np.minimum(lengths, max_length)
        return replace(self, _view=None, **parts)

    def token_roles(self) -> Any:
        """Each token's role as an index into `roles`, -1 outside turns; int64, in the shape of the rows.

        Raises:
            ValueError: the turns were made by hand, without `row_lengths`.

        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
        >>> find_turns([[1, 5, 7, 8, 2, 5, 6, 9]], fmt).token_roles().to_list()
        [[-1, 1, 1, 1, 1, 0, 0, 0]]
        """
        return self._paint(self.role)

    def token_turns(self) -> Any:
        """Each token's turn, counted from 0 in its row, -1 outside turns; int64, in the shape of the rows."""
        first = np.searchsorted(self.row, self.row)  # each turn's row begins with this turn
        return self._paint(np.arange(len(self)) - first)

    def _paint(self, numbers: Int64) -> Any:
        if self._view is not None:
            starts, size = self._view.column.starts, len(self._view.column.values)
        elif self.row_lengths is not None:
            offsets = np.concatenate([[0], np.cumsum(self.row_lengths)])
            starts, size = offsets[:-1], int(offsets[-1])
        else:
            raise ValueError("row_lengths: None; pass the number of tokens of each row, which per-token columns require.")
        base = starts[self.row]
        flat = _core.paint(size, base + self.start, base + self.stop, numbers)
        return Ragged(flat, offsets) if self._view is None else self._view.wrap(flat)


def find_turns(rows: Any, chat_format: ChatFormat, *, attention_mask: Any = None) -> Turns:
    """Search rows of token ids for turns.

    Args:
        rows: token ids: anything that `Ragged.from_rows` takes, or a 2-D array or tensor.
        chat_format: how turns open and close.
        attention_mask: only with 2-D rows: nonzero for real tokens. Positions count from a row's first real token.

    Raises:
        ValueError, TypeError: as in `mask_labels`.

    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> turns = find_turns([[1, 5, 7, 8, 2, 5, 6, 9]], fmt)
    >>> [turns.roles[role] for role in turns.role], turns.content_start.tolist(), turns.closed.tolist()
    (['user', 'assistant'], [3, 7], [True, False])
    """
    compiled = getattr(chat_format, "_compiled", None)
    if not isinstance(compiled, _core.Format):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    view = RowsView(rows, attention_mask)
    found = _core.find_turns(view.rows, compiled)
    return Turns(
        found.row,
        found.role,
        found.start,
        found.content_start,
        found.content_stop,
        found.stop,
        found.closed,
        chat_format.roles,
        prefill_stop=found.prefill_stop,
        reasoning_stop=found.reasoning_stop,
        empty_reasoning=found.empty_reasoning,
        stop_token=found.stop_token,
        include_start=found.include_start,
        include_end=found.include_end,
        ignore_ids=chat_format.ignore_ids,
        row_lengths=view.column.stops - view.column.starts,
        _view=view,
    )


def lengths_of(name: str, values: Any) -> Int64:
    """A length for each row, as int64."""
    array = as_array(values, name)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(f"{name}: expected an integer for each row, got {short(values)}.")
    return np.ascontiguousarray(array, np.int64)


def segment_roles(roles: Any, counts: Sequence[int]) -> list[tuple[str, ...]]:
    """The role of each segment of each row; `counts`: how many segments the rows have."""
    if isinstance(roles, str) or not isinstance(roles, Sequence) or not len(roles):
        raise TypeError(f"roles: expected role names, or a list of role names for each row, got {short(roles)}.")
    if all(isinstance(name, str) for name in roles):
        return [tuple(roles[at % len(roles)] for at in range(count)) for count in counts]
    if len(roles) != len(counts):
        raise ValueError(f"roles: given for {len(roles)} rows, but lengths for {len(counts)}; pass one list for each row.")
    named = [as_names(f"roles: row {number}", row) for number, row in enumerate(roles)]
    for number, (names, count) in enumerate(zip(named, counts, strict=True)):
        if len(names) != count:
            raise ValueError(f"roles: row {number} has {len(names)} roles for {count} lengths; pass one for each segment.")
    return named


class TurnEntries(NamedTuple):
    """Flags or loss weights of turns, float32, as the core reads them; at most one of the two is set."""

    turn_mask: Column | None = None
    turn_weights: Column | None = None


NO_TURN_ENTRIES = TurnEntries()


def turn_columns(turn_mask: Any, turn_weights: Any) -> TurnEntries:
    """Flags or weights of turns, one list for each row of ids.

    Raises:
        ValueError: both are given, or an entry is not a flag (or a finite weight >= 0).
        TypeError: the argument does not have a list for each row.
    """
    if turn_mask is None and turn_weights is None:
        return NO_TURN_ENTRIES
    if turn_mask is not None and turn_weights is not None:
        raise ValueError(
            "turn_weights: cannot be combined with turn_mask; pass one of them (a weight of 0 is a flag that is off)."
        )
    if turn_mask is not None:
        return TurnEntries(turn_mask=entries_by_turn("turn_mask", rows_of("turn_mask", turn_mask), flags=True))
    return TurnEntries(turn_weights=entries_by_turn("turn_weights", rows_of("turn_weights", turn_weights), flags=False))


def check_products(entries: TurnEntries, role_weights: Any) -> None:
    """Raise unless each product of a turn's weight and a role's weight is finite in float32, and 0 only if one of the two is.

    `role_weights`: pairs of a role and its weight.

    Raises:
        ValueError: a product overflows or vanishes; the message names the row.
    """
    if entries.turn_weights is None:
        return
    values, starts, _ = entries.turn_weights
    for role, weight in role_weights:
        with np.errstate(over="ignore", under="ignore"):
            product = values * np.float32(weight)
        wrong = np.flatnonzero(~np.isfinite(product) | ((product == 0) & (values > 0) & (weight > 0)))
        if len(wrong):
            row = int(np.searchsorted(starts, wrong[0], side="right")) - 1
            raise ValueError(
                f"turn_weights: row {row} has {values[wrong[0]]:g}, which times the weight {weight:g} of role {role!r} is "
                f"{product[wrong[0]]:g} in float32; scale the weights."
            )


def named_turn_column(name: str, column: Any) -> TurnEntries:
    """A column with a name of the user's: flags if its entries are bools or integers, loss weights if they are floats.

    Raises:
        ValueError, TypeError: as `turn_columns`; the message names the column.
    """
    rows = rows_of(name, column)
    if any(np.asarray(row).dtype.kind == "f" and np.size(row) for row in rows):
        return TurnEntries(turn_weights=entries_by_turn(name, rows, flags=False))
    return TurnEntries(turn_mask=entries_by_turn(name, rows, flags=True))


def rows_of(name: str, column: Any) -> list[Any]:
    """The entries of a column, one for each row of ids."""
    rows = as_list(name, listed(to_numpy(column, name)), "a list for each row")
    return [to_numpy(row, f"{name}: row {number}") for number, row in enumerate(rows)]


def entries_by_turn(name: str, rows: list[Any], *, flags: bool) -> Column:
    """The entries of all rows as float32. `flags`: they are flags, not weights."""
    try:
        flat = np.asarray(list(chain.from_iterable(rows)))
    except (TypeError, ValueError, OverflowError):
        flat = np.asarray(None)  # `turn_row` finds the wrong row
    if not valid_entries(flat, flags):
        rows = [turn_row(row, name, number, flags) for number, row in enumerate(rows)]
        flat = np.concatenate(rows)
    offsets = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=offsets[1:])
    return Column(flat.astype(np.float32), offsets[:-1], offsets[1:])


def valid_entries(entries: npt.NDArray[Any], flags: bool) -> bool:
    """Whether these are flags, or finite weights >= 0, in one dimension."""
    if entries.ndim != 1 or (entries.size and entries.dtype.kind not in "biuf"):
        return False
    if flags:
        return bool(np.isin(entries, (0, 1)).all())
    return bool(((entries >= 0) & (entries <= MAX_WEIGHT) & ((entries == 0) | (entries >= MIN_WEIGHT))).all())


def turn_row(row: Any, name: str, number: int, flags: bool) -> npt.NDArray[np.float32]:
    """The flags or weights of one row.

    Raises:
        ValueError: the row holds something else.
    """
    try:
        entries = np.asarray(row)
    except (TypeError, ValueError, OverflowError):
        entries = np.asarray(None)
    if not valid_entries(entries, flags):
        wanted = "True and False (or 1 and 0)" if flags else "weights >= 0 that are finite in float32"
        raise ValueError(
            f"{name}: row {number} is {short(row)}; expected a list of {wanted}, one for each turn of a trained role."
        )
    return entries.astype(np.float32)
