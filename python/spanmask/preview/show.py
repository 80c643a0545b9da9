"""The function `preview` and its result, which picks a renderer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

from spanmask._validate import check_choice, check_flag, check_ignore_index, check_length
from spanmask.chat.format import ChatFormat
from spanmask.policy import MaskPolicy, Shift
from spanmask.preview.decode import TokenDecoder, spell_controls
from spanmask.preview.html import html_document, html_fragment, legend
from spanmask.preview.inputs import PreviewInputs
from spanmask.preview.model import Row, TokenStyles, beside, encoder_decoder_row, labelled_row
from spanmask.preview.pick import Pick
from spanmask.preview.terminal import has_colour, rich_legend, rich_row
from spanmask.preview.text import plain_text

__all__ = ["Preview", "preview"]


@dataclass(frozen=True, eq=False)
class Preview:
    """The result of `preview`. `print` shows it, in colour where the terminal supports colour; a notebook shows it as HTML.

    Colour needs rich (`pip install rich`); `NO_COLOR` and `FORCE_COLOR` are respected. Without rich, and in pipes and files,
    trained text is in `[[ ]]` and ignored text in `(( ))`.

    Attributes:
        rows: the rows shown.
        hidden: the number of rows left out.
        unusable: how many of the rows of a data set that were looked at cannot be shown, and why the first one cannot; empty if none.
    """

    rows: tuple[Row, ...]
    hidden: int = 0
    unusable: str = ""

    def to_text(self) -> str:
        """Plain text, also in a terminal with colour."""
        return plain_text(self.rows, self._notes())

    def to_html(self, *, with_legend: bool = False) -> str:
        """An HTML fragment with inline styles, readable on light and dark pages. All text from the rows is escaped.

        The pointer shows the borders of tokens, their positions and their ids. Long parts are folded, and open with a click.
        """
        return (legend() if with_legend else "") + html_fragment(self.rows, self._notes())

    def save(self, path: str | PathLike[str], title: str = "Masks") -> None:
        """Write a whole HTML page with a legend: one file, in UTF-8, that needs no network.

        Raises:
            OSError: the file cannot be written.
        """
        with open(path, "w", encoding="utf-8") as file:
            file.write(html_document(self.rows, self._notes(), title))

    def __str__(self) -> str:
        """Text in colour if standard output is a terminal with colour, else plain text."""
        try:
            from rich.console import Console
        except ImportError:
            return self.to_text()
        console = Console()
        if console.is_jupyter or not has_colour(console):
            return self.to_text()
        with console.capture() as captured:
            console.print(self)
        return str(captured.get()).rstrip("\n")

    __repr__ = __str__

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from rich.text import Text

        if not has_colour(console):
            yield Text(self.to_text(), overflow="fold")
            return
        for number, row in enumerate(self.rows):
            yield from rich_row(row, first=number == 0)
        for note in self._notes():
            yield Text(f"\n{note}", style="dim")
        if self.rows:
            yield Text("\n", end="")
            yield rich_legend()

    def _repr_html_(self) -> str:
        return self.to_html(with_legend=True)

    def _notes(self) -> list[str]:
        """The notes after the rows."""
        more = [f"... and {self.hidden} more rows"] if self.hidden else []
        return [*more, spell_controls(self.unusable)] if self.unusable else more


def preview(
    rows: Any,
    labels: Any = None,
    tokenizer: Any = None,
    *,
    attention_mask: Any = None,
    weights: Any = None,
    other: Any = None,
    chat_format: ChatFormat | None = None,
    policy: MaskPolicy | None = None,
    pick: Pick = "first",
    seed: int = 0,
    decoder: bool | None = None,
    shift: Literal["none", "left"] = "none",
    ignore_index: int = -100,
    max_rows: int | None = 8,
) -> Preview:
    """Show which tokens of a row, a batch or some rows of a data set carry loss.

    Args:
        rows: integer ids of one row or of several rows: a list, a 1-D or 2-D array or tensor, a `Ragged`, an Arrow list array. Or a
            batch or an example, a mapping with `input_ids`: its `labels`, `attention_mask`, `loss_weights` and `cu_seq_lens_q` are
            then used. Or what `encode_chat` or a function of noise returns, with its labels and weights. Or a data set, as `audit` takes
            it: one of `datasets`, files, an Arrow table, a list of dicts; its rows are labelled as `DataCollatorForChat` labels them,
            unless they have labels.
        labels: integers in the shape of the rows; or the result of `mask_labels`, with its weights.
        tokenizer: decodes the ids: a tokenizer, or a processor that has one.
        attention_mask: aligned with the rows; tokens with a 0 are padding and not shown.
        weights: loss weights >= 0, aligned with the labels; shown as shades of green.
        other: another mask of the same rows, shown beside the first: labels; for a data set, a `MaskPolicy`, or data with the same rows.
        policy: which tokens train, for a data set without labels.
        pick: which rows: the `"first"`; the first that train nothing (`"untrained"`); the `"longest"`; those with the `"fewest"` trained
            tokens, of those that have some; the first whose mask is not that of `other`, or without `other` not that of the messages
            beside their ids, or whose turns are not those of their messages (`"mismatch"`); or some at `"random"`.
        seed: for `"random"`: the same seed gives the same rows.
        chat_format: puts each turn on its own line, next to its role; makes its opening and closing tokens faint (not in plain text);
            marks ignored tokens inside trained turns.
        decoder: the labels are the target of an encoder-decoder model, of any length, and are shown below the input. `None`: this is
            so for each row that differs in length from its labels, and for a batch with `decoder_input_ids`, or with labels at its padding.
        shift: as in `MaskPolicy`; `"left"`: each label is at the position before its token.
        ignore_index: the label of a token without loss.
        max_rows: the greatest number of rows shown; `None`: all.

    Returns:
        A `Preview`. If the label of a token differs from its id (masked language models), both are shown: `<mask> -> dog`. Control
        characters and invisible ones are shown as their number, and in plain text the first bracket of `[[` and `]]` in a row.

    Raises:
        TypeError: there is no tokenizer or there are no labels, the ids are not integers, or an option does not apply to what is shown.
        ValueError: labels, mask or weights do not fit the rows; or there is nothing to find a mismatch with.

    >>> class Letters:
    ...     def __len__(self):
    ...         return 26
    ...
    ...     def decode(self, ids, **options):
    ...         return "".join(chr(97 + token) for token in ids)
    >>> print(preview([0, 1, 2], [-100, 1, 2], Letters()).to_text())
    row 0: 3 tokens, 2 trained (67%)
    a[[bc]]
    """
    if tokenizer is None:
        raise TypeError("tokenizer: None; pass the tokenizer (or processor) that made the ids.")
    check_choice("pick", pick, Pick)
    if labels is None and is_data_set(rows):
        for name, value in (("attention_mask", attention_mask), ("weights", weights), ("decoder", decoder)):
            if value is not None:
                raise TypeError(f"{name}: is for ids; the rows of a data set have columns of their own.")
        from spanmask.data.audit.pick import pick_rows  # data is above this module, and is needed only here

        most = check_length("max_rows", max_rows)
        return pick_rows(
            [rows] if is_conversation(rows) else rows,
            tokenizer,
            policy,
            chat_format=chat_format,
            other=other,
            pick=pick,
            seed=seed,
            max_rows=sys.maxsize if most is None else most,
        )
    if policy is not None:
        raise TypeError(
            "policy: is for data sets; these rows have labels. Label them with mask_labels(rows, chat_format, policy)."
        )
    ignore_index = check_ignore_index("ignore_index", ignore_index)
    check_choice("shift", shift, Shift)
    if decoder is not None:
        check_flag("decoder", decoder)
    check_length("max_rows", max_rows)
    if chat_format is not None and not isinstance(chat_format, ChatFormat):
        raise TypeError(f"chat_format: expected a ChatFormat, got {type(chat_format).__name__}.")
    token_decoder = TokenDecoder(getattr(tokenizer, "tokenizer", tokenizer))
    inputs = PreviewInputs.read(rows, labels, attention_mask, weights)
    others = None
    if other is not None:
        if isinstance(other, MaskPolicy):
            raise TypeError("other: a MaskPolicy is for data sets; pass labels: mask_labels(rows, chat_format, policy).")
        others = PreviewInputs.read(rows, other.get("labels") if isinstance(other, Mapping) else other, attention_mask, None)
    elif pick == "mismatch":
        raise ValueError("pick: 'mismatch' needs another mask to compare with; pass other=, or a data set with messages.")
    max_weight = inputs.max_weight()
    if decoder is None and inputs.is_encoder_decoder(ignore_index):
        decoder = True

    shown = []
    picked = inputs.picked(pick, seed, ignore_index, shift, others)
    for number in picked[:max_rows]:
        if decoder or (decoder is None and not inputs.is_aligned(number)):
            if others is not None:
                raise ValueError(
                    "other: is for labels aligned with the ids; these are the target of a decoder. Show it by itself."
                )
            ids, target = inputs.encoder_decoder_pair(number, ignore_index)
            shown.append(encoder_decoder_row(number, ids, target, token_decoder))
            continue
        columns = inputs.aligned_columns(number, shift, ignore_index)
        styles = TokenStyles.from_labels(*columns, ignore_index=ignore_index, max_weight=max_weight)
        row = labelled_row(number, styles, token_decoder, chat_format, by_token=True)
        if others is not None:
            ids, theirs, heavy = others.aligned_columns(number, shift, ignore_index)
            second = TokenStyles.from_labels(ids, theirs, heavy, ignore_index=ignore_index, max_weight=others.max_weight())
            differing = int((columns[1] != theirs).sum())
            row = beside(row, labelled_row(number, second, token_decoder, chat_format, by_token=True), differing)
        shown.append(row)
    return Preview(tuple(shown), len(picked) - len(shown))


def is_data_set(rows: Any) -> bool:
    """Whether rows are a data set, a conversation, or a batch of conversations: not ids."""
    if isinstance(rows, Mapping):
        return "input_ids" not in rows and any(name in rows for name in ("messages", "prompt", "conversations", "text"))
    if isinstance(rows, (list, tuple)):
        return len(rows) > 0 and isinstance(rows[0], (Mapping, str, PathLike))
    if isinstance(rows, (str, PathLike)) or hasattr(rows, "column_names"):
        return True
    return type(rows).__module__.partition(".")[0] == "datasets" and not hasattr(rows, "__array__")


def is_conversation(rows: Any) -> bool:
    """Whether these are the columns of one row."""
    if not isinstance(rows, Mapping):
        return False
    first = next(iter(rows[name] for name in ("messages", "conversations", "prompt", "text") if name in rows))
    return isinstance(first, str) or (isinstance(first, (list, tuple)) and len(first) > 0 and isinstance(first[0], Mapping))
