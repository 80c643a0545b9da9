"""What the noise collators share: their options, the columns that they read next to `input_ids`, their seed and epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, MISSING, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import check_choice, check_ignore_index, check_length, check_side
from spanmask.batch import ReturnTensors, columns_of, pad_token_id, stack_columns, to_tensors, token_column
from spanmask.noise.schedule import NoiseSchedule, OnRepeat, ScheduleOption
from spanmask.ragged import Ragged, check_aligned, column_of_flags, is_arrow, without_none

__all__ = ["NoiseCollator", "NoiseColumns", "refuse_with_spec"]

PaddingSide = Literal["right", "left"]


@dataclass(eq=False, repr=False)
class NoiseCollator:
    """A collator that draws noise from a schedule. Subclasses make the spec, and a batch of arrays in `_collate`."""

    tokenizer: Any
    _: KW_ONLY
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule, init=False, repr=False)
    seed: int | None = ScheduleOption(None)  # type: ignore[assignment]
    epoch: int = ScheduleOption(0)  # type: ignore[assignment]
    on_repeat: OnRepeat = ScheduleOption("warn")  # type: ignore[assignment]  # noqa: RUF009  # a descriptor may be shared
    key_column: str | None = None
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    padding_side: PaddingSide | None = None
    label_pad_token_id: int = -100
    keep_columns: Iterable[str] = ()
    return_tensors: ReturnTensors = "pt"

    rate_columns: ClassVar[tuple[str, ...]] = ()
    """Columns with a number for each row that takes the place of the spec's."""

    def _check_options(self) -> None:
        """Check what all noise collators share; each calls it at the end of `__post_init__`."""
        check_length("max_length", self.max_length)
        check_length("pad_to_multiple_of", self.pad_to_multiple_of)
        self.padding_side = self.padding_side or getattr(self.tokenizer, "padding_side", "right")
        check_side(self.padding_side)
        self.label_pad_token_id = check_ignore_index("label_pad_token_id", self.label_pad_token_id)
        self.keep_columns = (self.keep_columns,) if isinstance(self.keep_columns, str) else tuple(self.keep_columns)
        check_choice("return_tensors", self.return_tensors, ReturnTensors)
        self.pad_token_id = pad_token_id(self.tokenizer)

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """Make one batch; see the class.

        Args:
            features: a list of dicts, an Arrow table or record batch, or a dict of columns.
            return_tensors: `"pt"` or `"np"` instead of the collator's own.
        """
        columns = columns_of(features)
        token_column(columns)
        seed_epoch = self.schedule.seed_epoch()
        batch, keys = self._collate(columns, seed_epoch)
        self.schedule.watch(seed_epoch, keys)
        batch.update(stack_columns(columns, self.keep_columns))
        return to_tensors(batch, return_tensors or self.return_tensors)

    def _collate(self, columns: Mapping[str, Any], seed_epoch: tuple[int, int]) -> tuple[dict[str, Any], npt.NDArray[np.uint64]]:
        """Make the batch as arrays, and the keys of the rows that noise was drawn for."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Call before each epoch, as with `DistributedSampler`; all worker processes see it.

        Raises:
            ValueError, TypeError: not an integer from 0 to 2**64 - 1.
        """
        self.schedule.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return seed, epoch and algorithm version: with a seed, everything that noise depends on apart from the rows."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            ValueError: an entry is missing, or the state is of another algorithm version.
        """
        self.schedule.load_state_dict(state)

    def __repr__(self) -> str:
        """The options that differ from their defaults, long tuples shortened."""
        return shorten(self)


class NoiseColumns:
    """The columns of a batch that noise depends on, next to `input_ids`. `None` where the batch has no such column.

    Attributes:
        keys: an integer or a string for each row.
        rates: a number for each row, by column name.
        protected_mask: `Ragged` of bool: the tokens that `protected_mask` or `special_tokens_mask` excludes.
        word_starts: `Ragged` of bool: tokens that begin a word.
        word_ids: `Ragged` of integers: the word of each token, negative where it has none.
    """

    def __init__(self, collator: NoiseCollator, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        self.keys = None
        if collator.key_column is not None:
            if collator.key_column not in columns:
                names = ", ".join(map(repr, columns))
                raise ValueError(f"key_column: no column {collator.key_column!r}; the examples have {names}.")
            self.keys = columns[collator.key_column]
        self.rates = {name: numbers_of(columns[name]) for name in collator.rate_columns if columns.get(name) is not None}
        self.protected_mask: Ragged | None = None
        self.word_starts: Ragged | None = None
        self.word_ids: Ragged | None = None

    @property
    def has_token_columns(self) -> bool:
        """Whether there is a column with an entry for each token, so that `read_token_columns` has something to read."""
        names = ("attention_mask", "protected_mask", "special_tokens_mask", "word_starts", "word_ids")
        return any(self._columns.get(name) is not None for name in names)

    def read_token_columns(self, rows: Ragged) -> None:
        """Read the columns with an entry for each token.

        Raises:
            ValueError: a column that is not aligned with `rows`, or both kinds of words.
            TypeError: a column that holds something else.
        """
        flags = {}
        for name in ("protected_mask", "special_tokens_mask", "word_starts"):
            if self._columns.get(name) is not None:
                flags[name] = column_of_flags(self._columns[name], name)
                check_aligned(flags[name], rows, name)
        self.word_starts = flags.pop("word_starts", None)
        if flags:
            excluded = np.logical_or.reduce([column.values for column in flags.values()])
            self.protected_mask = Ragged(excluded, rows.offsets)
        if self._columns.get("word_ids") is not None:
            if self.word_starts is not None:
                raise ValueError("word_starts: given together with word_ids; remove one of these columns.")
            column = self._columns["word_ids"]
            self.word_ids = Ragged.from_rows(without_none(column.to_pylist() if is_arrow(column) else column), "word_ids")
            check_aligned(self.word_ids, rows, "word_ids")


def numbers_of(column: Any) -> list[Any]:
    """A column of numbers as Python's own, whatever held them."""
    values = column.to_pylist() if is_arrow(column) else column
    return [value.item() if hasattr(value, "item") else value for value in values]


def refuse_with_spec(**options: Any) -> None:
    """Raise TypeError when one of these options was given, next to a spec that has its own."""
    for name, value in options.items():
        if value is not None:
            raise TypeError(f"{name}: cannot be combined with spec; set it on the spec.")


def shorten(value: Any) -> str:
    """A short `repr`: of dataclasses the fields that differ from their defaults, of long tuples both ends, of a tokenizer its class."""
    if isinstance(value, tuple):
        parts = [shorten(item) for item in value]
        if len(parts) > 8:
            parts = [*parts[:3], "...", parts[-1]]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if not is_dataclass(value):
        return repr(value)
    parts = []
    for option in fields(value):
        current = getattr(value, option.name)
        if option.name == "tokenizer":
            parts.append(type(current).__name__)
        elif option.repr and (option.default is MISSING or current != option.default):
            parts.append(f"{option.name}={shorten(current)}")
    return f"{type(value).__name__}({', '.join(parts)})"
