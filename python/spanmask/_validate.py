"""Checks of single arguments, each with its error message. Rows and columns are checked in `ragged.py`.

A function `check_*` returns nothing or its argument; a function `as_*` returns the argument in the type that the core takes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from operator import index
from typing import Any, get_args

import numpy as np

__all__ = [
    "MAX_WEIGHT",
    "NOT_NUMBERS",
    "UINT64_RANGE",
    "MarkerIds",
    "MarkerLike",
    "as_column_names",
    "as_density",
    "as_fraction",
    "as_list",
    "as_markers",
    "as_names",
    "as_number",
    "as_positive",
    "as_probability",
    "as_signed_ids",
    "as_span_length",
    "as_token_id",
    "as_token_ids",
    "as_uint64",
    "as_weight",
    "check_choice",
    "check_flag",
    "check_ignore_index",
    "check_installed",
    "check_length",
    "check_name",
    "check_side",
    "check_threads",
    "mask_token_of",
    "pad_token_id",
    "short",
]

UINT64_RANGE = 2**64
NOT_NUMBERS = (bool, np.timedelta64)  # kinds of integers, of Python and of NumPy, that are no numbers
MAX_WEIGHT = float(np.finfo(np.float32).max)
MIN_WEIGHT = float(np.finfo(np.float32).smallest_subnormal)
LONGEST_VALUE = 200  # characters of a value in a message

# A marker is a sequence of token ids; options accept one marker or several alternatives.
MarkerIds = tuple[int, ...]
MarkerLike = Iterable[int] | Iterable[Iterable[int]]


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raise unless `value` is one of the literal type's values."""
    allowed = get_args(choices)
    if not isinstance(value, (str, int, type(None))) or value not in allowed:  # an array has no single answer
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, allowed))}, got {short(value)}.")


def check_flag(name: str, value: object) -> None:
    """Raise unless `value` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {short(value)}.")


def check_threads(num_threads: Any) -> int:
    """A number of threads: a positive integer."""
    return as_positive("num_threads", num_threads, "a positive integer")


def check_length(name: str, value: int | None) -> int | None:
    """A length: a positive integer, or `None` for no limit."""
    return None if value is None else as_positive(name, value, "a positive integer or None")


def as_positive(name: str, value: Any, expected: str = "a positive integer") -> int:
    """A count from 1 to 2**63 - 1, of any integer type. `expected` describes it in error messages."""
    try:
        number = index(value)
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number < 2**63:
        raise ValueError(f"{name}: expected {expected}, got {short(value)}.")
    return number


def as_names(name: str, value: Any) -> tuple[str, ...]:
    """One name or several names, as a tuple."""
    names = (value,) if isinstance(value, str) else tuple(as_list(name, value, "a name or a list of names"))
    for entry in names:
        if not isinstance(entry, str):
            raise TypeError(f"{name}: expected a name or a list of names, got {short(value)}.")
    return names


def check_installed(module: str, extra: str, what: str, instead: str = "") -> None:
    """Raise an error that says how to install a module, if it is not installed. It is not imported.

    `what`: what needs it. `instead`: what to do without it.
    """
    if (sys.modules[module] if module in sys.modules else find_spec(module)) is None:
        raise ImportError(f"{what} needs {module}; install it with: pip install 'spanmask[{extra}]'{instead}")


def check_name(name: str, value: Any) -> None:
    """Raise unless `value` is the name of a column, or `None`."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}: expected the name of a column, got {short(value)}.")


def as_column_names(columns: Any) -> dict[str, str]:
    """`columns`: the names of columns in the data, by the names under which they are read. `None`: they have these names."""
    if columns is None:
        return {}
    if not isinstance(columns, Mapping) or not all(isinstance(name, str) for pair in columns.items() for name in pair):
        raise TypeError(f"columns: expected a dict such as {{'messages': 'dialogue'}}, got {short(columns)}.")
    return dict(columns)


def check_side(padding_side: Any) -> str:
    """`padding_side`: `"right"` or `"left"`."""
    if not isinstance(padding_side, str) or padding_side not in ("right", "left"):
        raise ValueError(f"padding_side: expected 'right' or 'left', got {short(padding_side)}.")
    return str(padding_side)


def as_weight(name: str, weight: Any) -> float:
    """A loss weight: a number >= 0 that is finite in float32, the type of weights."""
    number = isinstance(weight, (int, float, np.integer, np.floating)) and not isinstance(weight, NOT_NUMBERS)
    if not number or not 0 <= weight <= MAX_WEIGHT:
        raise ValueError(f"{name}: expected a loss weight >= 0 that is finite in float32, got {short(weight)}.")
    if weight > 0 and not np.float32(weight):
        raise ValueError(f"{name}: {short(weight)} is 0 in float32, the type of loss weights; pass 0, or at least {MIN_WEIGHT}.")
    return float(weight)


def short(value: object) -> str:
    """A value for an error message: both ends of a long one."""
    if isinstance(value, int) and value.bit_length() > 2**12:  # Python refuses to write longer ones
        return f"an integer of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # whatever it raises, the message is about the argument
        text = f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= LONGEST_VALUE else f"{text[:60]} ... {text[-20:]}"


def check_ignore_index(name: str, value: Any) -> int:
    """The label of a token without loss: an integer that fits in int64."""
    if not isinstance(value, (int, np.integer)) or isinstance(value, NOT_NUMBERS) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{name}: expected an integer that fits in int64, got {short(value)}.")
    return int(value)


def as_uint64(name: str, value: Any) -> int:
    """A seed or an epoch: an integer from 0 to 2**64 - 1."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} {short(value)}.") from None
    if isinstance(value, bool) or not 0 <= number < UINT64_RANGE:
        raise ValueError(f"{name}: expected an integer from 0 to 2**64 - 1, got {short(value)}.")
    return number


def as_token_id(name: str, value: Any) -> int:
    """A token id that noise may write: 0 to 2**32 - 1."""
    number = as_integer(name, value)
    if not 0 <= number < 2**32:
        raise ValueError(f"{name}: expected a token id from 0 to 2**32 - 1, got {number}.")
    return number


def as_token_ids(name: str, values: Any) -> tuple[int, ...]:
    """Token ids that noise may write, as a tuple."""
    return tuple(as_token_id(name, value) for value in as_iterable(name, values))


def as_signed_ids(name: str, values: Any) -> tuple[int, ...]:
    """Token ids that rows may hold, as a tuple: any int64, since some models mark images with negative ids."""
    ids = tuple(as_integer(name, value) for value in as_iterable(name, values))
    for number in ids:
        if not -(2**63) <= number < 2**63:
            raise ValueError(f"{name}: id {number} does not fit in int64.")
    return ids


def as_markers(name: str, markers: Any) -> tuple[MarkerIds, ...]:
    """One marker or several alternatives, as a tuple of distinct markers in their order."""
    if isinstance(markers, (str, bytes)) or not isinstance(markers, Iterable):
        raise TypeError(
            f"{name}: expected token ids, got {type(markers).__name__} {short(markers)}; for text use ChatFormat.from_strings."
        )
    items = as_list(name, markers, "token ids")
    items = [
        as_list(name, item, "token ids") if isinstance(item, Iterable) and not isinstance(item, (str, bytes)) else item
        for item in items
    ]
    if not items:
        return ()
    nested = [isinstance(item, Iterable) for item in items]
    if any(nested) and not all(nested):
        raise TypeError(f"{name}: expected one id sequence or a list of id sequences, got a mixture of both.")
    alternatives = [as_signed_ids(name, item) for item in (items if nested[0] else [items])]
    if () in alternatives:
        raise ValueError(f"{name}: an empty marker would match everywhere; remove it.")
    return tuple(dict.fromkeys(alternatives))


def as_integer(name: str, value: Any) -> int:
    """A token id of any size."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a token id, got {type(value).__name__} {short(value)}.") from None
    if isinstance(value, bool):
        raise TypeError(f"{name}: expected a token id, got the bool {short(value)}.")
    return number


def as_iterable(name: str, values: Any) -> Iterable[Any]:
    """An iterable of token ids. Text is an error."""
    return as_list(name, values, "token ids")


def as_list(name: str, values: Any, expected: str) -> list[Any]:
    """The items of an iterable; arrays and tensors without dimensions among them become numbers. `expected` describes it in error messages.

    Raises:
        TypeError: text, no iterable, or one without items that can be read: an array without dimensions, a tensor without memory.
    """
    if isinstance(values, (str, bytes, np.ma.MaskedArray)) or not isinstance(values, Iterable):
        raise TypeError(f"{name}: expected {expected}, got {type(values).__name__} {short(values)}.")
    try:
        return [item.item() if getattr(item, "ndim", None) == 0 and hasattr(item, "item") else item for item in values]
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"{name}: expected {expected}, got a {type(values).__name__} whose items cannot be read: {error}"
        ) from error


def as_number(name: str, value: Any) -> float:
    """A real number."""
    if isinstance(value, NOT_NUMBERS) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise TypeError(f"{name}: expected a number, got {type(value).__name__} {short(value)}.")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number that fits in float64, got one of {int(value).bit_length()} bits.") from None


def as_density(name: str, value: Any) -> float:
    """A fraction of a row, strictly between 0 and 1."""
    number = as_number(name, value)
    if not 0 < number < 1:
        raise ValueError(f"{name}: expected a fraction strictly between 0 and 1, got {short(value)}.")
    return number


def as_span_length(name: str, value: Any) -> float:
    """A mean span length in tokens: finite, at least 1."""
    number = as_number(name, value)
    if not 1 <= number < float("inf"):
        raise ValueError(f"{name}: expected a finite length of at least 1 token, got {short(value)}.")
    return number


def as_probability(name: str, value: Any) -> float:
    """A probability above 0 and at most 1."""
    number = as_number(name, value)
    if not 0 < number <= 1:
        raise ValueError(f"{name}: expected a probability above 0 and at most 1, got {short(value)}.")
    return number


def as_fraction(name: str, value: Any) -> float:
    """A fraction from 0 to 1, both included."""
    number = as_number(name, value)
    if not 0 <= number <= 1:
        raise ValueError(f"{name}: expected a fraction from 0 to 1, got {short(value)}.")
    return number


def mask_token_of(tokenizer: Any) -> int:
    """The id of the tokenizer's mask token.

    Raises:
        ValueError: it has none.
        TypeError: this is not a tokenizer.
    """
    number = getattr(tokenizer, "mask_token_id", None)
    if number is None:
        if not hasattr(tokenizer, "get_vocab"):
            raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
        raise ValueError("tokenizer: has no mask token; set tokenizer.mask_token, or pass mask_token_id.")
    return int(number)


def pad_token_id(tokenizer: Any) -> int:
    """The tokenizer's pad id.

    Raises:
        ValueError: it has none.
    """
    pad_id = getattr(tokenizer, "pad_token_id", None)
    if pad_id is None:
        raise ValueError(
            "tokenizer: has no pad token; set tokenizer.pad_token = tokenizer.eos_token (safe here: padding is determined from lengths or "
            "the attention mask, never from a token id, so the stop token still trains)."
        )
    return int(pad_id)
