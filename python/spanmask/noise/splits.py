"""`Splits`: how the documents of rows are transformed by fill-in-the-middle, as columns and as lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._validate import as_list, short

__all__ = ["Split", "Splits"]

# The order of the parts, and how many tokens precede middle and suffix.
Split = tuple[Literal["psm", "spm"], int, int]


@dataclass(frozen=True, eq=False)
class Splits:
    """Which documents of which rows are transformed: columns with an entry for each such document, row by row.

    Attributes:
        offsets: int64 [rows + 1]: the entries of row `i` are `offsets[i]` to `offsets[i + 1]`.
        documents: int64: the number of the document among those of its row, ascending.
        first, second: int64: the numbers of tokens of the document that precede its middle and its suffix.
        spm: bool: whether its suffix comes first.
    """

    offsets: npt.NDArray[np.int64]
    documents: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    spm: npt.NDArray[np.bool_]

    @classmethod
    def _unchecked(cls, columns: _core.FimSplits) -> Splits:
        """Columns that the core has made."""
        return cls(columns.offsets, columns.documents, columns.first, columns.second, columns.spm)

    @classmethod
    def from_rows(cls, splits: Any, rows: int) -> Splits:
        """Splits as users pass them: columns, or a list for each row with an entry for each document.

        Raises:
            ValueError: the number of rows is wrong, or an entry is; the message names row and document.
            TypeError: they are something else.
        """
        if isinstance(splits, Splits):
            made = splits
            made._check()
        else:
            made = from_lists(as_list("splits", splits, "a list for each row"))
        if len(made) != rows:
            raise ValueError(f"splits: {len(made)} entries for {rows} rows; pass one for each.")
        return made

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.offsets) - 1

    def to_list(self) -> list[list[Split | None]]:
        """A list for each row, with an entry for each of its documents up to the last one that is transformed."""
        rows: list[list[Split | None]] = []
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            row: list[Split | None] = []
            for entry in range(start, stop):
                row += [None] * (int(self.documents[entry]) - len(row))
                row.append(("spm" if self.spm[entry] else "psm", int(self.first[entry]), int(self.second[entry])))
            rows.append(row)
        return rows

    def _check(self) -> None:
        """Raise unless the columns have the dtypes and lengths of the class."""
        for name in ("offsets", "documents", "first", "second", "spm"):
            column = getattr(self, name)
            wanted = np.bool_ if name == "spm" else np.int64
            if not isinstance(column, np.ndarray) or column.dtype != wanted or column.ndim != 1 or not column.flags.c_contiguous:
                raise TypeError(f"splits.{name}: expected a contiguous 1-D array of {np.dtype(wanted)}, got {column!r}.")
            if name not in ("offsets", "documents") and len(column) != len(self.documents):
                raise ValueError(f"splits.{name}: {len(column)} entries for {len(self.documents)} documents.")
            if name != "spm" and (column < 0).any():
                raise ValueError(f"splits.{name}: contains a negative number.")
        if not len(self.offsets) or self.offsets[0] != 0 or self.offsets[-1] != len(self.documents):
            raise ValueError(f"splits.offsets: expected 0 to {len(self.documents)}, a number for each row and one more.")


def from_lists(rows: Sequence[Any]) -> Splits:
    """Splits from a list for each row."""
    offsets, entries = [0], []
    for number, row in enumerate(rows):
        for document, entry in enumerate(as_list(f"splits: row {number}", row, "a list with an entry for each document")):
            if entry is not None:
                entries.append((document, *as_split(entry, number, document)))
        offsets.append(len(entries))
    documents, orders, first, second = zip(*entries, strict=True) if entries else ((), (), (), ())
    return Splits(
        np.array(offsets, np.int64),
        np.array(documents, np.int64),
        np.array(first, np.int64),
        np.array(second, np.int64),
        np.array([order == "spm" for order in orders], np.bool_),
    )


def as_split(entry: Any, row: int, document: int) -> Split:
    """The entry of one document."""
    try:
        order, first, second = entry
        first, second = index(first), index(second)
    except (TypeError, ValueError, RuntimeError):
        order = None
    if not isinstance(order, str) or order not in ("psm", "spm"):
        raise ValueError(
            f'splits: row {row} has {short(entry)} for document {document}; expected None, or an order and two cuts such as ("psm", 3, 10).'
        )
    if not 0 <= first <= second < 2**32:
        raise ValueError(
            f"splits: document {document} of row {row} is cut at {first} and {second}; cuts must ascend from 0 to its number of tokens."
        )
    return ("psm" if order == "psm" else "spm"), first, second
