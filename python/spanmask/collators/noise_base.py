"""The base of the noise collators: their options, the columns that they read in addition to `input_ids`, their seed and epoch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._short_repr import short_repr
from spanmask._validate import as_names, check_ignore_index, check_length, check_name, check_side, pad_token_id
from spanmask.chat.conversation import row_name
from spanmask.collators.columns import add_columns, columns_of, is_batch, required_column, stack_columns, token_column
from spanmask.collators.unread_columns import check_unread
from spanmask.errors import SpanmaskWarning, UnreadableRowsError
from spanmask.noise.rates import Rate, rates_at
from spanmask.noise.row_options import RowOptions, as_keys, column_of_probabilities, is_by_token
from spanmask.noise.schedule import HELD_AT, NoiseSchedule, OnRepeat, ScheduleOption
from spanmask.preview import Preview, preview
from spanmask.ragged import Column, Ragged, ReturnTensors, check_aligned, check_return_tensors, is_list_of_arrays, to_tensors
from spanmask.token_columns import RealRows, column_of_flags, column_of_numbers, real_rows

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["NoiseCollator", "NoiseColumns", "NoisedBatch", "given_options", "protects_spec"]

C = TypeVar("C", bound="NoiseCollator")
PaddingSide = Literal["right", "left"]
# Options of specs for which None is a meaningful value.
NULLABLE = ("eos_token_id", "continuation_ids", "eot_id")
# Columns with an entry for each token that noise depends on, in addition to the attention mask.
TOKEN_COLUMNS = ("protected_mask", "special_tokens_mask", "word_starts", "word_ids")
# The column with an entry for each token that is in every batch if the examples have it.
TOKEN_TYPES = "token_type_ids"
# How many rows a warning names.
NAMED_ROWS = 3


class NoisedBatch(NamedTuple):
    """What `_call_core` returns.

    Attributes:
        arrays: the columns of the batch.
        keys: the keys of the rows that noise was drawn for.
        labelled: int64 [rows]: tokens of each row that carry loss; sentinels and EOS may be left out.
        sources: int64, in the shape of `input_ids`: which token of its row each place stands for, counted from the row's first real
            token; -1 for padding. `None`: each token is at its own place, so that rows are padded as usual.
    """

    arrays: dict[str, Any]
    keys: npt.NDArray[np.uint64]
    labelled: npt.NDArray[np.int64]
    sources: npt.NDArray[np.int64] | None = None


@dataclass(eq=False, repr=False)
class NoiseCollator:
    """A collator that draws noise from a schedule. Subclasses make the spec, and a batch of arrays in `_collate`."""

    tokenizer: Any
    _: KW_ONLY
    schedule: NoiseSchedule = field(default_factory=NoiseSchedule, init=False, repr=False)
    moving_rates: dict[str, Rate] = field(default_factory=dict, init=False, repr=False)
    seed: int | None = ScheduleOption(None)  # type: ignore[assignment]
    epoch: int = ScheduleOption(0)  # type: ignore[assignment]
    step: int = ScheduleOption(0)  # type: ignore[assignment]
    on_repeat: OnRepeat = ScheduleOption("warn")  # type: ignore[assignment]  # noqa: RUF009  # a descriptor may be shared
    key_column: str | None = None
    max_length: int | None = None
    pad_to_multiple_of: int | None = None
    padding_side: PaddingSide | None = None
    label_pad_token_id: int = -100
    keep_columns: Iterable[str] = ()
    token_columns: Iterable[str] = ()
    return_tensors: ReturnTensors = "pt"

    rate_columns: ClassVar[tuple[str, ...]] = ()
    """Columns with a number for each row that replaces the spec's."""
    token_rate_columns: ClassVar[tuple[str, ...]] = ()
    """Those of them that may also have a number for each token."""
    noise_columns: ClassVar[tuple[str, ...]] = TOKEN_COLUMNS
    """Columns with an entry for each token that this collator reads, of those that most collators read."""
    flag_columns: ClassVar[tuple[str, ...]] = ()
    """Columns with a flag for each token that only this collator reads."""
    token_inputs: ClassVar[Mapping[str, Callable[[Any, str], Ragged]]] = {}
    """Further columns with an entry for each token that the batch is made of, and what reads each: `read(column, name)`."""
    encoder_decoder: ClassVar[bool] = False
    """Labels are the target of a decoder, of any length."""

    def _check_options(self) -> None:
        """Check the options of all noise collators. Each collator calls it at the end of `__post_init__`."""
        self.max_length = check_length("max_length", self.max_length)
        self.pad_to_multiple_of = check_length("pad_to_multiple_of", self.pad_to_multiple_of)
        for name in ("key_column", "weight_key"):
            check_name(name, getattr(self, name, None))
        side = getattr(self.tokenizer, "padding_side", "right") if self.padding_side is None else self.padding_side
        self.padding_side = check_side(side)  # type: ignore[assignment]
        self.label_pad_token_id = check_ignore_index("label_pad_token_id", self.label_pad_token_id)
        self.keep_columns = as_names("keep_columns", self.keep_columns)
        self.token_columns = as_names("token_columns", self.token_columns)
        check_return_tensors(self.return_tensors)
        self.pad_token_id = self._pad_id()
        self._warned_unlabelled = False

    def _pad_id(self) -> int:
        """The id that pads inputs."""
        return pad_token_id(self.tokenizer)

    def __call__(self, features: Any, return_tensors: ReturnTensors | None = None) -> dict[str, Any]:
        """Make one batch; see the class.

        Args:
            features: a list of dicts, an Arrow table or record batch, or a dict of columns.
            return_tensors: `"pt"` or `"np"` instead of the collator's own.
        """
        columns = self._columns(features)
        token_column(columns)
        if len(columns) > 1:
            check_unread(columns, self._read_names(), self._rates_by_row())
        seed_epoch = self.schedule.seed_epoch()
        noised = self._collate(columns, seed_epoch)
        self.schedule.watch(seed_epoch, noised.keys)
        add_columns(noised.arrays, "keep_columns", stack_columns(columns, self.keep_columns))
        if not self._warned_unlabelled and not np.count_nonzero(noised.labelled):  # `any` takes four times as long
            self._warned_unlabelled = True
            names = [row_name(columns, row) for row in range(min(len(noised.labelled), NAMED_ROWS))]
            more = len(noised.labelled) - len(names)
            warnings.warn(
                f"labels: this batch has none ({', '.join(names)}{f' and {more} more' if more else ''}), and the mean of no losses is NaN. "
                + self._remedy_for_no_label(),
                SpanmaskWarning,
                stacklevel=2,
            )
        return to_tensors(noised.arrays, return_tensors or self.return_tensors)

    def _columns(self, features: Any) -> Mapping[str, Any]:
        """The columns that the batch is made of."""
        return columns_of(features)

    def _read_names(self) -> tuple[str, ...]:
        """The columns that this collator reads, and those that its options name."""
        named = (*self.keep_columns, *self.token_columns, *(() if self.key_column is None else (self.key_column,)))
        columns = (*self.noise_columns, *self.flag_columns, *self.token_inputs, *self.rate_columns, *named)
        return ("input_ids", "attention_mask", TOKEN_TYPES, *columns)

    def _rates_by_row(self) -> tuple[str, ...]:
        """Those of `rate_columns` that the spec can take."""
        return self.rate_columns

    def _collate(self, columns: Mapping[str, Any], seed_epoch: tuple[int, int]) -> NoisedBatch:
        """Make the batch as arrays."""
        extra, tokens, cut = NoiseColumns(self, columns), columns["input_ids"], self._cut()
        if not extra.has_token_columns and is_list_of_arrays(tokens):
            rows = tokens if cut is None else [row[:cut] if isinstance(row, np.ndarray) and row.ndim else row for row in tokens]
            try:  # arrays are read in place
                return self._call_core(rows, extra, extra.row_options(len(rows)), seed_epoch)
            except UnreadableRowsError:
                pass  # they are copied below
        read = real_rows(tokens, columns.get("attention_mask"), columns.get("word_ids"), "input_ids")
        if cut is not None:
            read = read._replace(real=read.real._replace(stops=np.minimum(read.real.stops, read.real.starts + cut)))
        noised = self._call_core(read.real, extra, extra.row_options(len(read.rows), read), seed_epoch)
        laid_out = {name: self._lay_out(name, column, noised.sources) for name, column in extra.token_columns(read).items()}
        add_columns(noised.arrays, "token_columns", laid_out)
        return noised

    def _cut(self) -> int | None:
        """The length that rows are cut to before noise is drawn."""
        return self.max_length

    def _lay_out(self, name: str, column: Column, sources: npt.NDArray[np.int64] | None) -> npt.NDArray[Any]:
        """Lay out a column with an entry for each token as the ids are."""
        padding = (getattr(self.tokenizer, "pad_token_type_id", 0) or 0) if name == TOKEN_TYPES else 0
        if column.values.dtype == np.bool_:
            padding = bool(padding)
        if sources is None:
            return _core.pad(column, self._layout(), padding)
        return _core.take(column, sources, padding)

    def _layout(self) -> _core.Layout:
        """The layout of rows that are padded as they are."""
        return _core.Layout.padded(str(self.padding_side), None, self.pad_to_multiple_of)

    def _call_core(self, rows: Any, extra: NoiseColumns, options: RowOptions, seed_epoch: tuple[int, int]) -> NoisedBatch:
        """Draw noise for rows and write the batch, in one call of the core. `rows`: a list of arrays, or a column, both cut by `_cut`.

        If the tokens of a row do not stay at their places, `sources` must be made where `extra.names` has a column.
        """
        raise NotImplementedError

    def _remedy_for_no_label(self) -> str:
        """What to do about a batch without any label, in a sentence or two."""
        raise NotImplementedError

    def preview(self, features: Any, **options: Any) -> Preview:
        """Show which tokens are hidden and which carry loss, with the collator's tokenizer and ignore index.

        Args:
            features: a batch (a mapping with `input_ids` and `labels`), which is shown as it is; or examples, from which a batch is made
                with the noise of the current epoch. Without a seed it is that of seed 0: nothing is drawn from a random state of the run.
            **options: those of `preview`, such as `max_rows`.

        Raises:
            ValueError, TypeError: what `collator(features)` and `preview` raise.
        """
        if not is_batch(features):
            features = self._for_preview()(features, return_tensors="np")
        given = {"ignore_index": self.label_pad_token_id, "decoder": self.encoder_decoder}
        return preview(features, tokenizer=self.tokenizer, **{**given, **options})

    def _for_preview(self) -> Self:
        """A copy for batches that are only looked at: what it does changes nothing here."""
        made = copy.copy(self)
        made.schedule = copy.deepcopy(self.schedule)
        made.schedule.seed = HELD_AT if self.seed is None else self.seed
        made.schedule.on_repeat = "ignore"
        return made

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Call before each epoch, as with `DistributedSampler`; all worker processes see it.

        Raises:
            ValueError, TypeError: not an integer from 0 to 2**64 - 1.
        """
        self.schedule.epoch = epoch
        self.schedule.hold(False)  # an `EpochCallback` may have held it; it will do so again

    def set_step(self, step: int) -> None:
        """Set the step, for rates that are functions of it. Call after each optimizer step; all worker processes see it.

        Raises:
            ValueError, TypeError: not an integer from 0 to 2**64 - 1.
        """
        self.schedule.step = step

    def state_dict(self) -> dict[str, Any]:
        """Return seed, epoch, step and algorithm version: with a seed, everything that the noise depends on, except the rows."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state that `state_dict` returned: with a seed, exactly. Without one, noise follows torch's random state, which
        the state does not hold.

        Raises:
            ValueError: an entry is missing, or the state is of another algorithm version.
        """
        self.schedule.load_state_dict(state)

    def __repr__(self) -> str:
        """The options that differ from their defaults, long tuples shortened."""
        moving = "".join(f", {name}={rate!r}" for name, rate in self.moving_rates.items())
        return f"{short_repr(self)[:-1]}{moving})"


class NoiseColumns:
    """The columns of a batch in addition to `input_ids`: those that noise depends on, and those that are laid out as the ids are.

    Attributes:
        rates: a number for each row, by column name, for columns that the batch has; otherwise one for all rows, for rates that move.
        token_rates: columns with a number for each token: as in the batch, and after `row_options` as the core takes them.
        token_inputs: the same of the columns of `NoiseCollator.token_inputs` that the batch has.
        names: the columns that are laid out as the ids are.
        flags: the collator's own columns with a flag for each token, as the core takes them, once `row_options` has read them; only columns
            that the batch has.
    """

    def __init__(self, collator: NoiseCollator, columns: Mapping[str, Any]) -> None:
        self._columns = columns
        self._keys = None
        if collator.key_column is not None:
            self._keys = required_column(columns, "key_column", collator.key_column)
        self.names = dict.fromkeys((*((TOKEN_TYPES,) if TOKEN_TYPES in columns else ()), *collator.token_columns))
        self.rates: dict[str, Any] = {}
        if collator.moving_rates:
            self.rates.update(rates_at(collator.moving_rates, *collator.schedule.step_epoch()))
        self.rates.update((name, columns[name]) for name in collator.rate_columns if name in columns)
        self.token_rates: dict[str, Any] = {}
        for name in collator.token_rate_columns:
            if is_by_token(self.rates.get(name)):
                self.token_rates[name] = self.rates.pop(name)
        self.token_inputs = {name: columns[name] for name in collator.token_inputs if name in columns}
        self._readers = collator.token_inputs  # rates have none of their own: they are probabilities
        self._flag_names = [name for name in collator.flag_columns if name in columns]
        self.flags: dict[str, Column] = {}

    @property
    def has_token_columns(self) -> bool:
        """Whether there is a column with an entry for each token."""
        if self.names or self.token_rates or self.token_inputs or self._flag_names:
            return True
        return not self._columns.keys().isdisjoint(("attention_mask", *TOKEN_COLUMNS))

    def token_columns(self, read: RealRows) -> dict[str, Column]:
        """The columns that are laid out as the ids are, with the bounds of the rows.

        Raises:
            ValueError: a column is missing, or not aligned with the rows.
            TypeError: a column does not hold numbers.
        """
        columns = {}
        for name in self.names:
            column = column_of_numbers(required_column(self._columns, "token_columns", name), name)
            check_aligned(column, read.rows, name)
            if name == TOKEN_TYPES and column.values.dtype.kind == "f":
                raise TypeError(f"{name}: expected integers, got floats; models look them up in a table.")
            columns[name] = read.real._replace(values=column.values)
        return columns

    def row_options(self, count: int, read: RealRows | None = None) -> RowOptions:
        """The columns as the core takes them.

        `count`: the number of rows. `read`: the rows; needed only if there are columns with an entry for each token.

        Raises:
            ValueError: a column is not aligned with the rows, or both kinds of words are given.
            TypeError: a column has the wrong type.
        """
        options: RowOptions = {
            "keys": as_keys(self._keys, count, "key_column"),
            "protected_mask": None,
            "word_starts": None,
            "word_ids": None,
        }
        if read is None:
            return options
        flags = {}
        for name in ("protected_mask", "special_tokens_mask", "word_starts", *self._flag_names):
            if name in self._columns:
                flags[name] = column_of_flags(self._columns[name], name)
                check_aligned(flags[name], read.rows, name)
        self.flags = {name: read.real._replace(values=flags.pop(name).values) for name in self._flag_names}
        starts = flags.pop("word_starts", None)
        if starts is not None:
            if read.word_ids is not None:
                raise ValueError("word_starts: given together with word_ids; remove one of these columns.")
            options["word_starts"] = read.real._replace(values=starts.values)
        if flags:
            protected = np.logical_or.reduce([column.values for column in flags.values()])
            options["protected_mask"] = read.real._replace(values=protected)
        for entries in (self.token_rates, self.token_inputs):
            for name, column in entries.items():
                numbers = self._readers.get(name, column_of_probabilities)(column, name)
                check_aligned(numbers, read.rows, name)
                entries[name] = read.real._replace(values=numbers.values)
        if read.word_ids is not None:
            options["word_ids"] = read.real._replace(values=read.word_ids)
        return options


def given_options(spec: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the spec that were given: not `None`, or not "tokenizer" if None has a meaning.

    Raises:
        TypeError: an option was given together with `spec`.
    """
    given = {
        name: value
        for name, value in options.items()
        if (value is not None if name not in NULLABLE else not isinstance(value, str) or value != "tokenizer")
    }
    if spec is not None and given:
        raise TypeError(f"{next(iter(given))}: cannot be combined with spec; set it on the spec.")
    return given


def protects_spec(cls: type[C]) -> type[C]:
    """Refuse to set an option that a collator has passed on to its spec: setting it would have no effect."""
    for name in list(signature(vars(cls)["__post_init__"]).parameters)[1:]:
        setattr(cls, name, SpecOption(name, getattr(cls, name)))
    return cls


class SpecOption:
    """An option of a collator's spec. Reading it returns "not given", which `dataclasses.replace` passes on; the spec holds the value.

    A rate that moves is the exception: the collator holds it, and reading returns it.
    """

    def __init__(self, name: str, default: object) -> None:
        self._name, self._default = name, default

    def __get__(self, collator: Any, owner: type) -> Any:
        return self._default if collator is None else collator.moving_rates.get(self._name, self._default)

    def __set__(self, collator: Any, value: Any) -> None:
        changed = f"dataclasses.replace(collator.spec, {self._name}={value!r})"
        if callable(value) or self._name in collator.moving_rates:
            options = f"{self._name}={value!r}" if callable(value) else f"{self._name}=None, spec={changed}"
            raise AttributeError(
                f"{self._name}: a rate that moves is fixed; make another collator: dataclasses.replace(collator, {options})."
            )
        raise AttributeError(f"{self._name}: is an option of the spec; set collator.spec = {changed}.")
