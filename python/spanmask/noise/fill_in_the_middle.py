"""Fill-in-the-middle: documents are cut in three, and the middle moves to the end (`FillInTheMiddle`, `fill_in_the_middle`).

`fill_in_the_middle/` in the core draws the cuts and writes the rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._short_repr import short_repr
from spanmask._validate import (
    as_fraction,
    as_token_id,
    as_token_ids,
    as_uint64,
    check_choice,
    check_ignore_index,
    check_length,
    check_threads,
)
from spanmask.errors import SentinelError
from spanmask.noise.middle_ids import SpmFormat, boundaries_of, middle_ids_of
from spanmask.noise.row_options import as_keys, per_row
from spanmask.noise.spec import FromTokenizer, OnSentinel
from spanmask.noise.splits import Splits
from spanmask.ragged import Ragged

__all__ = ["FillInTheMiddle", "FilledRows", "MiddleReport", "fill_in_the_middle"]

Level = Literal["document", "context"]
RowLength = Literal["grow", "keep", "cut"]
Loss = Literal["all", "middle"]


@dataclass(frozen=True, repr=False)
class FillInTheMiddle:
    """Which documents of a row are transformed, and what they become.

    A document is a run of ids that are not `boundary_ids`. Two cuts, each at any place from before its first token to after its last
    with the same probability, divide it into prefix, middle and suffix; each of them may be empty. It becomes, with P for `prefix_id`
    and so on:

        PSM:                P prefix S suffix M middle
        SPM, "joint":       P S suffix M prefix middle      (a variant for training in both orders)
        SPM, "plain":       S suffix P prefix M middle
        SPM, "unmarked":    S suffix P prefix middle        (Codestral)

    then `eot_id`, if there is one. Boundary ids (BOS, EOS) stay where they are.

    Args:
        prefix_id, middle_id, suffix_id: the ids that precede prefix, middle and suffix.
        eot_id: an id that follows the middle. `None`: none is added; the EOS after the document, if rows have one, ends the middle.
        boundary_ids: ids between documents, usually BOS and EOS. Without any, a row is one document.
        rate: the probability that a document is transformed, from 0 to 1.
        spm_rate: the probability that the suffix of a transformed document comes first.
        spm_format: what it looks like then; see above.
        level: rows are cut to `max_length` after their documents are transformed (`"document"`), which can separate a middle from its
            document; or before (`"context"`): what is left of each document is transformed, and with `length="grow"` the row is cut so
            much that the last document fits with the ids that are added.
        length: `"grow"`: a transformed document is longer by the ids that are added. `"keep"`: it loses as many tokens, from the end of
            its suffix; a document whose suffix has no more than that is not transformed. `"cut"`: rows are cut at their end to the
            length that they had.
        loss: `"all"` tokens have labels, the added ids too; or those of `"middle"`: no label for what precedes the middle in a
            transformed document, its `middle_id` included. Other documents and boundary ids have labels in both cases.
        on_sentinel: rows that already contain `prefix_id`, `middle_id`, `suffix_id` or `eot_id` are an error (`"raise"`) or are accepted
            (`"allow"`; `merge` cannot undo them).
        pad_id: pads batches of a tokenizer that has no pad token.

    Raises:
        SentinelError: two of the added ids are equal, or one is a boundary id.
        ValueError: a rate is out of range, an id is negative or needs more than 32 bits, or an option is unknown.
        TypeError: the ids are not integers.

    Source: Bavarian et al. 2022, "Efficient Training of Language Models to Fill in the Middle", section 3.

    >>> spec = FillInTheMiddle(prefix_id=90, middle_id=91, suffix_id=92, boundary_ids=[0], rate=1.0)
    >>> out = fill_in_the_middle([[5, 6, 7, 8, 9, 0]], spec, splits=[[("psm", 1, 3)]])
    >>> out.input_ids.to_list()
    [[90, 5, 92, 8, 9, 91, 6, 7, 0]]
    """

    prefix_id: int
    middle_id: int
    suffix_id: int
    _: KW_ONLY
    eot_id: int | None = None
    boundary_ids: Sequence[int] = ()
    rate: float = 0.5
    spm_rate: float = 0.5
    spm_format: SpmFormat = "joint"
    level: Level = "document"
    length: RowLength = "grow"
    loss: Loss = "all"
    on_sentinel: OnSentinel = "raise"
    pad_id: int | None = None

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        for name in ("prefix_id", "middle_id", "suffix_id", "eot_id", "pad_id"):
            value = getattr(self, name)
            if value is not None or name not in ("eot_id", "pad_id"):
                set_(self, name, as_token_id(name, value))
        set_(self, "boundary_ids", as_token_ids("boundary_ids", self.boundary_ids))
        set_(self, "rate", as_fraction("rate", self.rate))
        set_(self, "spm_rate", as_fraction("spm_rate", self.spm_rate))
        check_choice("spm_format", self.spm_format, SpmFormat)
        check_choice("level", self.level, Level)
        check_choice("length", self.length, RowLength)
        check_choice("loss", self.loss, Loss)
        check_choice("on_sentinel", self.on_sentinel, OnSentinel)
        names: dict[int, str] = {}
        for name in ("prefix_id", "middle_id", "suffix_id", "eot_id"):
            number = getattr(self, name)
            if number is None:
                continue
            if number in names:
                raise SentinelError(f"{name}: {number} is {names[number]} too; ids must be unique.")
            if number in self.boundary_ids:
                remedy = "; leave eot_id=None: the EOS of a document ends its middle" if name == "eot_id" else ""
                raise SentinelError(f"{name}: {number} is one of boundary_ids; use another id{remedy}.")
            names[number] = name

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        rate: float = 0.5,
        spm_rate: float = 0.5,
        spm_format: SpmFormat | None = None,
        level: Level = "document",
        length: RowLength = "grow",
        loss: Loss = "all",
        on_sentinel: OnSentinel = "raise",
        prefix_id: int | None = None,
        middle_id: int | None = None,
        suffix_id: int | None = None,
        eot_id: int | FromTokenizer | None = "tokenizer",
        boundary_ids: Sequence[int] | None = None,
        pad_id: int | None = None,
    ) -> FillInTheMiddle:
        """The spec for a tokenizer: by default its tokens for prefix, middle and suffix, found by name, and its BOS and EOS as boundaries.

        Known names are those of StarCoder, SantaCoder, Granite, Qwen2.5-Coder, CodeGemma, CodeLlama (also its `▁<EOT>`), DeepSeek-Coder,
        Codestral (`spm_format="unmarked"`) and CodeGeeX4. If `prefix_id`, `middle_id` and `suffix_id` are all given, no name is looked up.
        The other options are those of the class.

        Raises:
            SentinelError: the tokenizer does not have such tokens, or those of two families of models.

        >>> class Tokenizer:
        ...     bos_token_id, eos_token_id = None, 0
        ...
        ...     def get_vocab(self):
        ...         return {"<|endoftext|>": 0, "<fim_prefix>": 1, "<fim_middle>": 2, "<fim_suffix>": 3, "<fim_pad>": 4}
        >>> FillInTheMiddle.from_tokenizer(Tokenizer(), rate=.9)
        FillInTheMiddle(prefix_id=1, middle_id=2, suffix_id=3, boundary_ids=(0,), rate=0.9, pad_id=4)
        """
        ids: dict[str, Any] = {"prefix_id": prefix_id, "middle_id": middle_id, "suffix_id": suffix_id}
        found: dict[str, Any] = {}
        if any(given is None for given in ids.values()):
            found = vars(middle_ids_of(tokenizer))
        for name, given in ids.items():
            ids[name] = found[name] if given is None else given
        return cls(
            **ids,
            eot_id=found.get("eot_id") if isinstance(eot_id, str) and eot_id == "tokenizer" else eot_id,
            boundary_ids=boundaries_of(tokenizer) if boundary_ids is None else boundary_ids,
            rate=rate,
            spm_rate=spm_rate,
            spm_format=found.get("spm_format", "joint") if spm_format is None else spm_format,
            level=level,
            length=length,
            loss=loss,
            on_sentinel=on_sentinel,
            pad_id=found.get("pad_id") if pad_id is None else pad_id,
        )

    def __repr__(self) -> str:
        """The options that differ from their defaults; long lists of ids are shortened."""
        return short_repr(self)

    @cached_property
    def _compiled(self) -> _core.FimSpec:
        """The spec as the core uses it. It is made at first use and not pickled."""
        return _core.FimSpec(
            prefix_id=self.prefix_id,
            middle_id=self.middle_id,
            suffix_id=self.suffix_id,
            eot_id=self.eot_id,
            boundary_ids=self.boundary_ids,
            allow_sentinels=self.on_sentinel == "allow",
            rate=self.rate,
            spm_rate=self.spm_rate,
            spm_format=self.spm_format,
            level=self.level,
            length=self.length,
            loss=self.loss,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


@dataclass(frozen=True)
class MiddleReport:
    """What was transformed.

    Attributes:
        rows, tokens: totals of the rows that were passed.
        documents: their documents, without those that were cut off whole.
        transformed: documents that were transformed.
        spm: those of them whose suffix comes first.
    """

    rows: int
    tokens: int
    documents: int
    transformed: int
    spm: int


@dataclass(eq=False)
class FilledRows:
    """Rows with documents transformed, as `fill_in_the_middle` returns them.

    Attributes:
        input_ids, labels: `Ragged` of int64, one row for each input row, equally long; labels are not shifted.
        documents: int64 [rows]: the number of documents of each row.
        splits: `Splits`: which documents were transformed, in which order, and where they were cut. The same call with these `splits`
            gives the same rows.
        keys: uint64 [rows]: what the noise of each row was drawn from, together with seed and epoch.
        report: `MiddleReport`.
    """

    input_ids: Ragged
    labels: Ragged
    documents: npt.NDArray[np.int64]
    splits: Splits
    keys: npt.NDArray[np.uint64]
    _tokens: int = field(repr=False)

    @cached_property
    def report(self) -> MiddleReport:
        """Totals of what was transformed."""
        return MiddleReport(
            rows=len(self.keys),
            tokens=self._tokens,
            documents=int(self.documents.sum()),
            transformed=len(self.splits.documents),
            spm=int(self.splits.spm.sum()),
        )


def fill_in_the_middle(
    rows: Any,
    spec: FillInTheMiddle,
    *,
    seed: int = 0,
    epoch: int = 0,
    keys: Any = None,
    rate: Any = None,
    splits: Splits | Iterable[Any] | None = None,
    max_length: int | None = None,
    ignore_index: int = -100,
    num_threads: int = 1,
) -> FilledRows:
    """Cut documents of each row in three, and move the middle of each to its end.

    Noise is a pure function of (seed, epoch, key of the row), as in `corrupt`. The documents of a row draw from one stream, in order.

    Args:
        rows: token ids from 0 to 2**32 - 1, in any form that `Ragged.from_rows` accepts, without padding. A row holds one document, or
            several with boundary ids between them.
        spec: a `FillInTheMiddle`.
        seed, epoch: 0 to 2**64 - 1.
        keys: an integer or a string for each row; by default the XXH3 hash of all its ids.
        rate: one number for each row, or one for all, instead of the spec's.
        splits: the documents to transform; nothing is drawn. For each row a list with an entry for each of its documents, in order:
            `None`, or the order and the two cuts, as numbers of tokens from the document's beginning: `("psm", 3, 10)`, `("spm", 0, 4)`.
            Entries of last documents may be left out. Or the `splits` of a result.
        max_length: no row becomes longer. See `level` of the spec.
        ignore_index: the label of tokens without loss; any int64.
        num_threads: threads for bulk work; the result is the same for any number.

    Returns:
        `FilledRows`: `input_ids`, `labels`, `documents`, `splits`, `keys`, `report`.

    Raises:
        SentinelError: a row already contains one of the added ids.
        ValueError: an id, seed, key or rate is out of range, or splits do not fit the rows; the message names the row.
        TypeError: the ids are not integers.

    >>> from spanmask import FillInTheMiddle, fill_in_the_middle, merge
    >>> spec = FillInTheMiddle(90, 91, 92, boundary_ids=[0], loss="middle")
    >>> out = fill_in_the_middle([[5, 6, 7, 0, 8, 9, 0]], spec, splits=[[("spm", 1, 2), None]])
    >>> out.input_ids.to_list(), out.labels.to_list()
    ([[90, 92, 7, 91, 5, 6, 0, 8, 9, 0]], [[-100, -100, -100, -100, -100, 6, 0, 8, 9, 0]])
    >>> merge(out.input_ids, None, spec).to_list()
    [[5, 6, 7, 0, 8, 9, 0]]
    """
    if not isinstance(spec, FillInTheMiddle):
        raise TypeError(f"spec: expected FillInTheMiddle, got {type(spec).__name__}.")
    ragged = Ragged.from_rows(rows)
    count = len(ragged)
    if splits is not None and rate is not None:
        raise ValueError("rate: cannot be combined with splits, which say what is transformed; pass one of them.")
    out = _core.fill_in_the_middle(
        ragged,
        spec._compiled,
        seed=as_uint64("seed", seed),
        epoch=as_uint64("epoch", epoch),
        keys=as_keys(keys, count),
        rate=per_row("rate", rate, count, as_fraction),
        splits=None if splits is None else Splits.from_rows(splits, count),
        max_length=check_length("max_length", max_length),
        ignore_index=check_ignore_index("ignore_index", ignore_index),
        num_threads=check_threads(num_threads),
    )
    return FilledRows(
        Ragged._unchecked(out.input_ids, out.offsets),
        Ragged._unchecked(out.labels, out.offsets),
        out.documents,
        Splits._unchecked(out.splits),
        out.keys,
        len(ragged.values),
    )
