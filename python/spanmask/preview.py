"""See a mask: the decoded text with the trained tokens marked, in a terminal, in a notebook, or as plain text.

What is trained is read off the labels. Nothing is decided here, and nothing is fast: it is for a few rows and a pair of eyes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask.chat.format import ChatFormat
from spanmask.labels import MaskedLabels
from spanmask.ragged import Ragged, is_arrow, token_array
from spanmask.turns import find_turns

__all__ = ["Preview", "preview"]

# How many tokens before a piece of text are decoded with it: enough for the parts of a character, and for the space that
# SentencePiece drops at the start of a text.
CONTEXT = 8
# Runs of one special token at least this long are folded: `<image> x 576`.
FOLD = 3
# Shown as their number, since they would turn the text around them.
BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Segment:
    """Text whose tokens are all of one kind.

    Attributes:
        text: what to show: control characters already spelled out, newlines not yet.
        trained: the tokens carry loss.
        ignored: they do not, though they are content of a turn that does.
        special: a special token, or a run of one.
        marker: the opening or closing tokens of a turn.
        weight: their loss weight, where there are weights.
        share: that weight over the greatest one, 0 to 1: the shade.
    """

    text: str
    trained: bool = False
    ignored: bool = False
    special: bool = False
    marker: bool = False
    weight: float | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Line:
    """What stands beside one entry of the gutter: a turn under its role, or a side of an encoder-decoder pair."""

    gutter: str
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class Row:
    """One row: a headline with its counts, and its lines."""

    headline: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Preview:
    """What `preview` returns. `print` shows it in colour where the terminal has colours, a notebook shows it as HTML.

    Colour needs rich (`pip install 'spanmask[cli]'`) and follows `NO_COLOR` and `FORCE_COLOR`; without it, and in pipes and
    files, trained text stands in `[[ ]]` and ignored text in `(( ))`.

    Attributes:
        rows: what is shown, row by row.
        hidden: how many rows were left out.
    """

    rows: tuple[Row, ...]
    hidden: int = 0

    def to_text(self) -> str:
        """Plain text, whatever the terminal can do."""
        blocks = ["\n".join([row.headline, *text_lines(row)]) for row in self.rows]
        return "\n\n".join([*blocks, *self._rest()])

    def to_html(self) -> str:
        """A fragment of HTML with its styles inline; all of the rows' text is escaped. Readable on light and dark pages."""
        parts = ["".join(html_row(row)) for row in self.rows]
        rest = [f"<div {HTML_DIM}>{escape(text)}</div>" for text in self._rest()]
        return f"<div {HTML_BOX}>{''.join([*parts, *rest])}</div>"

    def __str__(self) -> str:
        """In colour when standard output is a terminal that has colours, else plain."""
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
        for text in self._rest():
            yield Text(f"\n{text}", style="dim")

    def _repr_html_(self) -> str:
        return self.to_html()

    def _rest(self) -> list[str]:
        return [f"... and {self.hidden} more rows"] if self.hidden else []


def preview(
    rows: Any,
    labels: Any = None,
    tokenizer: Any = None,
    *,
    attention_mask: Any = None,
    weights: Any = None,
    chat_format: ChatFormat | None = None,
    decoder: bool | None = None,
    shift: Literal["none", "left"] = "none",
    ignore_index: int = -100,
    max_rows: int | None = 8,
) -> Preview:
    """Show which tokens of a row or batch carry loss.

    Args:
        rows: one row of ids, or several: a list, a 1-D or 2-D array or tensor, a `Ragged`, Arrow; or a batch (or an example),
            a mapping with `input_ids`, whose `labels`, `attention_mask`, `loss_weights` and `cu_seq_lens_q` are then used.
        labels: in the shape of the rows; or what `mask_labels` returned, with its weights.
        tokenizer: decodes the ids; a processor's tokenizer is found in it.
        attention_mask: tokens with a 0 are padding and not shown.
        weights: loss weights, aligned with the labels; shown as shades.
        chat_format: puts each turn on a line of its own beside its role, sets its opening and closing tokens apart (not in plain
            text), and marks what is ignored inside trained turns.
        decoder: the labels are a decoder's target of its own length, shown below the input; by default they are when a row has
            another length than its labels.
        shift: as in `MaskPolicy`: with `"left"` a label stands on the token in front of its own.
        ignore_index: the label of a token without loss.
        max_rows: how many rows are shown; `None`: all.

    Where an aligned label differs from its id (masked language models), both are shown: `<mask> -> dog`.

    Raises:
        TypeError: no tokenizer, no labels, ids that are not integers.
        ValueError: labels, mask or weights do not fit the rows.

    Example:
        `print(spanmask.preview(batch, tokenizer=tokenizer))`
    """
    if isinstance(rows, Mapping):
        batch: Mapping[str, Any] = rows
        if "input_ids" not in batch:
            raise TypeError(f"rows: the batch has no 'input_ids', only {', '.join(map(repr, batch)) or 'nothing'}.")
        rows = batch["input_ids"]
        labels = batch.get("labels") if labels is None else labels
        weights = batch.get("loss_weights") if weights is None else weights
        attention_mask = batch.get("attention_mask") if attention_mask is None else attention_mask
        if "cu_seq_lens_q" in batch:  # rows laid end to end (padding_free)
            edges = as_rows(batch["cu_seq_lens_q"], "cu_seq_lens_q")[0]
            rows, labels, weights = (cut(column, edges) for column in (rows, labels, weights))
    if tokenizer is None:
        raise TypeError("tokenizer: None; give the tokenizer (or processor) that made the ids.")
    if labels is None:
        raise TypeError("labels: None; give the rows' labels, or a batch that has 'labels'.")
    if isinstance(labels, MaskedLabels):
        labels, weights = labels.labels, labels.weights if weights is None else weights
    pieces = Pieces(getattr(tokenizer, "tokenizer", tokenizer))
    all_ids, all_labels = as_rows(rows, "rows"), as_rows(labels, "labels")
    masks = None if attention_mask is None else as_rows(attention_mask, "attention_mask")
    all_weights = None if weights is None else as_rows(weights, "weights")
    for name, column in {"labels": all_labels, "attention_mask": masks, "weights": all_weights}.items():
        if column is not None and len(column) != len(all_ids):
            raise ValueError(f"{name}: {len(column)} rows for {len(all_ids)} rows of ids; give one for each.")
    greatest = max((float(row.max(initial=0.0)) for row in all_weights or ()), default=0.0)

    shown = []
    for number, (ids, row_labels) in enumerate(zip(all_ids[:max_rows], all_labels, strict=False)):
        real = np.ones(len(ids), np.bool_)
        if masks is not None:
            check_aligned("attention_mask", masks[number], ids, number)
            real = masks[number] != 0
        if decoder or (decoder is None and len(row_labels) != len(ids)):
            shown.append(pair_row(number, ids[real], row_labels[row_labels != ignore_index], pieces))
            continue
        check_aligned("labels", row_labels, ids, number)
        back = 1 if shift == "left" else 0
        looks = Looks(ids[real], moved(row_labels[real], back, ignore_index), ignore_index)
        if all_weights is not None:
            check_aligned("weights", all_weights[number], ids, number)
            looks.weigh(moved(all_weights[number][real], back, 0), greatest)
        shown.append(chat_row(number, looks, pieces, chat_format))
    return Preview(tuple(shown), len(all_ids) - len(shown))


def check_aligned(name: str, column: npt.NDArray[Any], ids: npt.NDArray[Any], number: int) -> None:
    """Raise unless the row has an entry of `column` for each id."""
    if len(column) != len(ids):
        raise ValueError(f"{name}: row {number} has {len(column)} entries for {len(ids)} ids; give one for each token.")


def moved(column: npt.NDArray[Any], places: int, fill: int) -> npt.NDArray[Any]:
    """A row moved to the right."""
    return np.concatenate([np.full(min(places, len(column)), fill, column.dtype), column[: len(column) - places]])


class Looks:
    """What is to be told about each token of one row, in arrays of its length."""

    def __init__(self, ids: npt.NDArray[Any], labels: npt.NDArray[Any], ignore_index: int) -> None:
        self.ids = ids
        self.labels = labels
        self.trained: npt.NDArray[np.bool_] = labels != ignore_index
        self.ignored = np.zeros(len(ids), np.bool_)
        self.markers = np.zeros(len(ids), np.bool_)
        self.weights: npt.NDArray[Any] | None = None
        self.greatest = 1.0

    def weigh(self, weights: npt.NDArray[Any], greatest: float) -> None:
        """Add loss weights; `greatest` gets the full shade."""
        self.weights, self.greatest = weights, greatest or 1.0

    def __getitem__(self, position: int) -> tuple[bool, bool, bool, float | None, int | None]:
        """What neighbours must share to stand in one segment."""
        weight = None if self.weights is None else float(self.weights[position])
        trained = bool(self.trained[position])
        replaced = trained and self.labels[position] != self.ids[position]
        ignored, marker = bool(self.ignored[position]), bool(self.markers[position])
        return trained, ignored, marker, weight, int(self.labels[position]) if replaced else None


def chat_row(number: int, looks: Looks, pieces: Pieces, chat_format: ChatFormat | None) -> Row:
    """A row with aligned labels: a line for each turn where a format tells the turns, else one."""
    size = len(looks.ids)
    spans: list[tuple[str, int, int]] = []
    position = 0
    if chat_format is not None and size:
        turns = find_turns([looks.ids], chat_format)
        for role, start, content_start, content_stop, stop in zip(
            turns.role, turns.start, turns.content_start, turns.content_stop, turns.stop, strict=True
        ):
            content = slice(content_start, content_stop)
            looks.markers[start:content_start] = looks.markers[content_stop:stop] = True
            if looks.trained[content_start:stop].any():
                looks.ignored[content] = ~looks.trained[content]
            spans.append(("", position, start))
            spans.append((turns.roles[role], start, stop))
            position = stop
    spans.append(("", position, size))
    spans = with_blanks_joined(spans, looks.ids, pieces)
    lines = [Line(gutter, tuple(segments(looks, pieces, start, stop))) for gutter, start, stop in spans]
    trained = int(looks.trained.sum())
    share = f" ({trained / size:.0%})" if size else ""
    return Row(f"row {number}: {size} tokens, {trained} trained{share}", tuple(lines))


def with_blanks_joined(spans: list[tuple[str, int, int]], ids: npt.NDArray[Any], pieces: Pieces) -> list[tuple[str, int, int]]:
    """The spans without the empty ones; blanks between two turns stay on the line of the first."""
    joined: list[tuple[str, int, int]] = []
    for gutter, start, stop in spans:
        if joined and not gutter and not pieces.text(ids, start, stop).strip():
            joined[-1] = (*joined[-1][:2], stop)
        elif start < stop:
            joined.append((gutter, start, stop))
    return joined


def pair_row(number: int, ids: npt.NDArray[Any], target: npt.NDArray[Any], pieces: Pieces) -> Row:
    """An encoder-decoder row: the input, and below it the target, all of which trains."""
    sides = {"input": Looks(ids, ids, -100), "target": Looks(target, target, -100)}
    for name, looks in sides.items():
        looks.trained[:] = name == "target"
    lines = [Line(name, tuple(segments(looks, pieces, 0, len(looks.ids)))) for name, looks in sides.items()]
    return Row(f"row {number}: {len(ids)} input tokens, {len(target)} target tokens", tuple(lines))


def segments(looks: Looks, pieces: Pieces, start: int, stop: int) -> Iterator[Segment]:
    """The tokens [start, stop) in runs of one look; each special token is a run of its own kind."""
    for (look, special), run in groupby(range(start, stop), key=lambda at: (looks[at], pieces.special(int(looks.ids[at])))):
        positions = list(run)
        trained, ignored, marker, weight, replaced = look
        if special is None:
            text = pieces.text(looks.ids, positions[0], positions[-1] + 1)
        else:
            text = f"{special} x {len(positions)}" if len(positions) >= FOLD else special * len(positions)
        if replaced is not None:
            label = pieces.special(replaced) or pieces.text(np.array([replaced]), 0, 1)
            text = f"{text} -> {label.strip()}"
        share = 1.0 if weight is None else max(weight, 0.0) / looks.greatest
        yield Segment(visible(text), trained, ignored, special is not None, marker, weight, share)


class Pieces:
    """The text of tokens in their place, from any tokenizer with `decode`."""

    def __init__(self, tokenizer: Any) -> None:
        if not callable(getattr(tokenizer, "decode", None)):
            raise TypeError(f"tokenizer: expected a tokenizer with decode(), got {type(tokenizer).__name__}.")
        self.tokenizer = tokenizer
        self.size = len(tokenizer)
        added = getattr(tokenizer, "added_tokens_decoder", {})
        self.names = {int(number): str(token) for number, token in added.items()}
        self.names |= zip(getattr(tokenizer, "all_special_ids", ()), getattr(tokenizer, "all_special_tokens", ()), strict=True)

    def special(self, token: int) -> str | None:
        """The name of a special or added token, or of an id that the tokenizer does not have; `None` for ordinary ones."""
        if token in self.names:
            return self.names[token]
        return None if 0 <= token < self.size else f"<{token}>"

    def text(self, ids: npt.NDArray[Any], start: int, stop: int) -> str:
        """The text that ids[start:stop] add to what stands before them.

        Decoded with some tokens before them, and what those give alone taken off: a piece decoded by itself would lose its
        leading space or, where the cut runs through a character, turn into replacement characters.
        """
        before = start
        while before > max(0, start - CONTEXT) and 0 <= ids[before - 1] < self.size:
            before -= 1
        context, whole = self.decode(ids[before:start]), self.decode(ids[before:stop])
        shared = 0
        while shared < min(len(context), len(whole)) and context[shared] == whole[shared]:
            shared += 1
        return whole[shared:]

    def decode(self, ids: npt.NDArray[Any]) -> str:
        """The ids' text as it is; special tokens stay."""
        text: str = self.tokenizer.decode(ids.tolist(), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text


def visible(text: str) -> str:
    """The text with control characters spelled out: they could move the cursor, or turn the text around. Newlines stay."""
    return "".join(
        char if char == "\n" else f"<U+{ord(char):04X}>" if unicodedata.category(char) == "Cc" or char in BIDI_CONTROLS else char
        for char in text
    )


def as_rows(column: Any, name: str) -> list[npt.NDArray[Any]]:
    """One row or several, as users hold them, as a list of 1-D arrays; integers (or floats, for weights)."""
    if is_arrow(column) and not isinstance(column, np.ndarray):
        column = Ragged.from_rows(column, name)
    column = to_numpy(column)
    if isinstance(column, (str, bytes, Mapping)) or not isinstance(column, Iterable):
        raise TypeError(f"{name}: expected token ids or rows of them, got {type(column).__name__}.")
    items = [to_numpy(item) for item in column]
    if items and all(np.ndim(item) == 0 for item in items):
        items = [np.asarray(items)]
    arrays = [np.asarray(item) for item in items]
    for number, array in enumerate(arrays):
        if array.ndim != 1:
            raise ValueError(f"{name}: row {number} has shape {array.shape}; expected 1-D.")
        if name == "weights" or array.dtype == np.bool_:
            continue
        arrays[number] = token_array(array, f"{name}: row {number}")
    return arrays


def to_numpy(value: Any) -> Any:
    """A tensor of any framework and device as an array; everything else as it is."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


def cut(column: Any, edges: npt.NDArray[Any]) -> Any:
    """A column of rows laid end to end, [1, T], as its rows."""
    return None if column is None else np.split(to_numpy(column).reshape(-1), edges[1:-1])


# --- Plain text -------------------------------------------------------------------------------------------------------------------


def text_lines(row: Row) -> Iterator[str]:
    """A row's lines with the gutter before each; neighbours that differ only in kind share one pair of brackets."""
    width = max((len(line.gutter) for line in row.lines), default=0)
    for line in row.lines:
        text = ""
        for (trained, ignored, weight), run in groupby(line.segments, key=lambda s: (s.trained, s.ignored, s.weight)):
            inner = "".join(segment.text for segment in run).replace("\n", "\\n\n")
            shade = "" if weight is None else f"{weight:g}: "
            text += f"[[{shade}{inner}]]" if trained else f"(({inner}))" if ignored else inner
        for number, part in enumerate(split_lines(text)):
            yield f"{line.gutter if number == 0 else '':<{width}} | {part}" if width else part


def split_lines(text: str) -> Sequence[str]:
    """The text cut at its newlines only (`splitlines` knows more of them), without an empty line at the end."""
    return text.removesuffix("\n").split("\n")


# --- Terminal ---------------------------------------------------------------------------------------------------------------------


def has_colour(console: Any) -> bool:
    """Whether a rich console shows colour."""
    return bool(console.is_terminal and console.color_system and not console.no_color)


def rich_row(row: Row, *, first: bool) -> Iterator[Any]:
    """A row as rich renderables."""
    from rich.table import Table
    from rich.text import Text

    yield Text(row.headline if first else f"\n{row.headline}", style="dim")
    gutter = any(line.gutter for line in row.lines)
    table = Table.grid(padding=(0, 2, 0, 0))
    for line in row.lines:
        text = Text(overflow="fold")
        for segment in line.segments:
            text.append(segment.text.replace("\n", "\u21b5\n"), style=rich_style(segment))
        text.remove_suffix("\n")
        table.add_row(*([Text(line.gutter, style="cyan")] if gutter else []), text)
    yield table


def rich_style(segment: Segment) -> Any:
    """Trained text is black on green, the paler the less it weighs; what is ignored is struck through."""
    from rich.color import Color
    from rich.style import Style

    if segment.trained:
        pale, full = (225, 240, 228), (98, 205, 118)
        shade = Color.from_rgb(*(low + (high - low) * segment.share for low, high in zip(pale, full, strict=True)))
        return Style(color="#0b2012", bgcolor=shade, italic=segment.special)
    if segment.ignored:
        return Style(color="red", strike=True, italic=segment.special)
    return Style(dim=segment.special or segment.marker, italic=segment.special)


# --- HTML -------------------------------------------------------------------------------------------------------------------------

# Styles stand in each element, since notebooks and sites strip style sheets. Colours are translucent, so that the page's own text
# and background show through, light or dark.
HTML_BOX = 'style="font-family:ui-monospace,monospace;font-size:13px;line-height:1.7;text-align:left"'
HTML_DIM = 'style="opacity:.65;margin:.6em 0 .2em"'
HTML_GRID = 'style="display:grid;grid-template-columns:max-content 1fr;column-gap:1.2em"'
HTML_GUTTER = 'style="opacity:.65;text-align:right"'
HTML_TEXT = 'style="white-space:pre-wrap;overflow-wrap:anywhere"'


def html_row(row: Row) -> Iterator[str]:
    """A row as HTML: its headline, then a grid of gutter and text."""
    yield f"<div {HTML_DIM}>{escape(row.headline)}</div><div {HTML_GRID}>"
    for line in row.lines:
        yield f"<div {HTML_GUTTER}>{escape(line.gutter)}</div><div {HTML_TEXT}>"
        yield from map(html_segment, line.segments)
        yield "</div>"
    yield "</div>"


def html_segment(segment: Segment) -> str:
    """One segment; a mark, so that the meaning survives where styles do not."""
    text = escape(segment.text).replace("\n", '<span style="opacity:.5">&#8629;</span>\n')
    style = "font-style:italic;" if segment.special else ""
    if segment.trained:
        style += f"color:inherit;background:rgba(46,160,67,{0.12 + 0.33 * segment.share:.2f})"
        title = "trained" if segment.weight is None else f"trained, weight {segment.weight:g}"
        return f'<mark style="{style}" title="{title}">{text}</mark>'
    if segment.ignored:
        style += "background:rgba(218,54,51,.18);text-decoration:line-through"
        return f'<span style="{style}" title="ignored">{text}</span>'
    return f'<span style="{style}opacity:.6">{text}</span>' if segment.special or segment.marker else text
