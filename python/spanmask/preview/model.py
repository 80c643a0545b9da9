"""The model of a row that all renderers use: a headline and lines of segments, made from arrays of ids and labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from spanmask.chat.format import ChatFormat
from spanmask.preview.decode import TokenDecoder, spell_controls
from spanmask.turns import Turns, find_turns

__all__ = ["Line", "Row", "Segment", "TokenStyles", "beside", "encoder_decoder_row", "labelled_row"]

# Runs of one special token at least this long are folded: `<image> x 576`.
FOLD = 3
# A segment names this many of its ids, unless it has the text of each.
NAMED_IDS = 8
# Of a longer run of one style, the middle is folded: no edge of the mask is hidden.
LONGEST_RUN, HEAD, TAIL = 500, 250, 150


@dataclass(frozen=True, eq=False)
class Segment:
    """Text whose tokens all have the same style.

    Attributes:
        text: what to show; control characters are spelled out already, newlines are not.
        trained: the tokens carry loss.
        ignored: the tokens carry no loss, although they are content of a turn that does.
        special: a special token, or a run of one.
        marker: the tokens open or close a turn.
        weight: the loss weight; `None` without weights.
        shade: the weight as a fraction of the greatest one, 0 to 1.
        start: the position of its first token in the row.
        ids: its tokens; the first ones of many.
        size: how many tokens it has; 0 if it stands for none.
        pieces: the text token by token: each piece with its number of tokens, several where they share a character; empty if unknown.
        folded: the middle of a long run, of which text only says how many tokens it has.
    """

    text: str
    trained: bool = False
    ignored: bool = False
    special: bool = False
    marker: bool = False
    weight: float | None = None
    shade: float = 1.0
    start: int = 0
    ids: tuple[int, ...] = ()
    size: int = 0
    pieces: tuple[tuple[int, str], ...] = ()
    folded: bool = False

    @property
    def shown(self) -> str:
        """The text, or what stands for it where it is folded."""
        return f" \u2026 {self.size:,} tokens \u2026 " if self.folded else self.text


@dataclass(frozen=True, eq=False)
class Line:
    """A turn, with its role in the gutter; or one side of an encoder-decoder pair, with its name."""

    gutter: str
    segments: tuple[Segment, ...]

    def look(self) -> list[tuple[object, ...]]:
        """What is seen of the line."""
        return [(one.text, one.trained, one.ignored, one.marker, one.weight) for one in self.segments]


@dataclass(frozen=True, eq=False)
class Row:
    """One row: a headline with its counts, and its lines.

    `others`: the same lines with another mask, to be shown beside; empty if there is none.
    """

    headline: str
    lines: tuple[Line, ...]
    others: tuple[Line, ...] = ()

    def pairs(self) -> Iterator[tuple[Line, Line | None]]:
        """Each line, and the same with the other mask if that differs."""
        for line, other in zip(self.lines, self.others or self.lines, strict=True):
            yield line, None if line.look() == other.look() else other


class TokenStyle(NamedTuple):
    """What neighbouring tokens must have in common to be one segment. `label`: the label, if it is trained and is not the id."""

    trained: bool
    ignored: bool
    marker: bool
    weight: float | None
    label: int | None


@dataclass(eq=False, repr=False)
class TokenStyles:
    """What is shown about each token of one row, in arrays of the row's length.

    Attributes:
        ids, labels: integers.
        trained: the tokens carry loss.
        weights: loss weights; `None`: all tokens weigh the same.
        max_weight: the weight that gets the full shade.
        ignored, markers: as in `Segment`; all False at first.
    """

    ids: npt.NDArray[Any]
    labels: npt.NDArray[Any]
    trained: npt.NDArray[np.bool_]
    weights: npt.NDArray[Any] | None = None
    max_weight: float = 1.0
    ignored: npt.NDArray[np.bool_] = field(init=False)
    markers: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.ignored = np.zeros(len(self.ids), np.bool_)
        self.markers = np.zeros(len(self.ids), np.bool_)

    @classmethod
    def from_labels(
        cls,
        ids: npt.NDArray[Any],
        labels: npt.NDArray[Any],
        weights: npt.NDArray[Any] | None,
        *,
        ignore_index: int,
        max_weight: float,
    ) -> TokenStyles:
        """The styles of a row whose labels are aligned with its ids."""
        return cls(ids, labels, labels != ignore_index, weights, max_weight or 1.0)

    @classmethod
    def uniform(cls, ids: npt.NDArray[Any], *, trained: bool) -> TokenStyles:
        """The styles of ids that either all train or all do not."""
        return cls(ids, ids, np.full(len(ids), trained))

    def __getitem__(self, position: int) -> TokenStyle:
        trained = bool(self.trained[position])
        label = int(self.labels[position])
        return TokenStyle(
            trained,
            bool(self.ignored[position]),
            bool(self.markers[position]),
            None if self.weights is None else float(self.weights[position]),
            label if trained and label != self.ids[position] else None,
        )

    def mark_turns(self, turns: Turns) -> None:
        """Set `markers`, and set `ignored` for the untrained content of turns in which something trains."""
        for start, content_start, content_stop, stop in zip(
            turns.start, turns.content_start, turns.content_stop, turns.stop, strict=True
        ):
            self.markers[start:content_start] = self.markers[content_stop:stop] = True
            if self.trained[content_start:stop].any():
                self.ignored[content_start:content_stop] = ~self.trained[content_start:content_stop]


class LineSpan(NamedTuple):
    """The tokens [start, stop) of a line, and its gutter."""

    gutter: str
    start: int
    stop: int


def labelled_row(
    number: int,
    styles: TokenStyles,
    token_decoder: TokenDecoder,
    chat_format: ChatFormat | None,
    *,
    turns: Turns | None = None,
    windows: Sequence[tuple[int, int]] | None = None,
    by_token: bool = False,
) -> Row:
    """A row with labels aligned with its ids: a line for each turn, or one line without turns.

    Args:
        number: of the row, for its headline.
        styles: its tokens.
        token_decoder: gives their text.
        chat_format: finds its turns, if they are not given.
        turns: its turns.
        windows: the tokens to show, as ascending pairs [start, stop); a line says how many are left out between them. By default all.
        by_token: also find the text of each token.
    """
    size = len(styles.ids)
    spans = [LineSpan("", 0, size)]
    if turns is None and chat_format is not None and size:
        turns = find_turns([styles.ids], chat_format)
    if turns is not None and size:
        styles.mark_turns(turns)
        spans = turn_spans(turns, size)
    lines = []
    position = 0
    joined = join_blanks(spans, styles.ids, token_decoder)
    for start, stop in windows or [(0, size)]:
        if start > position:
            lines.append(left_out(start - position))
        for span in joined:
            low, high = max(span.start, start), min(span.stop, stop)
            if low < high:
                lines.append(Line(span.gutter, tuple(segments(styles, token_decoder, low, high, by_token=by_token))))
        position = stop
    if position < size:
        lines.append(left_out(size - position))
    trained = int(styles.trained.sum())
    fraction = f" ({trained / size:.0%})" if size else ""
    return Row(f"row {number}: {size} tokens, {trained} trained{fraction}", tuple(lines))


def beside(row: Row, other: Row, differing: int) -> Row:
    """A row with another mask of the same tokens beside its own; `differing`: how many tokens have another label."""
    theirs = other.headline.rpartition(" tokens, ")[2]
    return Row(f"{row.headline} in A, {theirs} in B; {differing} tokens differ", row.lines, other.lines)


def left_out(tokens: int) -> Line:
    """A line in the place of tokens that are not shown."""
    return Line("\u2026", (Segment(f"{tokens:,} tokens not shown", special=True),))


def encoder_decoder_row(number: int, ids: npt.NDArray[Any], target: npt.NDArray[Any], token_decoder: TokenDecoder) -> Row:
    """A row of an encoder-decoder model: the input, and below it the target, which trains entirely."""
    sides = {"input": TokenStyles.uniform(ids, trained=False), "target": TokenStyles.uniform(target, trained=True)}
    lines = [
        Line(name, tuple(segments(styles, token_decoder, 0, len(styles.ids), by_token=True))) for name, styles in sides.items()
    ]
    return Row(f"row {number}: {len(ids)} input tokens, {len(target)} target tokens", tuple(lines))


def turn_spans(turns: Turns, size: int) -> list[LineSpan]:
    """A span for each turn of one row, and for the tokens before, between and after turns; some may be empty."""
    spans = []
    position = 0
    for role, start, stop in zip(turns.role, turns.start, turns.stop, strict=True):
        spans += [LineSpan("", position, start), LineSpan(spell_controls(turns.roles[role]), start, stop)]
        position = stop
    return [*spans, LineSpan("", position, size)]


def join_blanks(spans: list[LineSpan], ids: npt.NDArray[Any], token_decoder: TokenDecoder) -> list[LineSpan]:
    """The spans without the empty ones; whitespace between two turns joins the line of the first turn."""
    joined: list[LineSpan] = []
    for span in spans:
        if joined and not span.gutter and not token_decoder.text(ids, span.start, span.stop).strip():
            joined[-1] = joined[-1]._replace(stop=span.stop)
        elif span.start < span.stop:
            joined.append(span)
    return joined


def segments(styles: TokenStyles, token_decoder: TokenDecoder, start: int, stop: int, *, by_token: bool) -> Iterator[Segment]:
    """The tokens [start, stop) in runs of one style; a special token forms runs only with itself.

    `by_token`: also the text of each token, which takes its time.
    """

    def style_and_special(position: int) -> tuple[TokenStyle, str | None]:
        return styles[position], token_decoder.special(int(styles.ids[position]))

    for (style, special), run in groupby(range(start, stop), key=style_and_special):
        positions = list(run)
        for low, high, folded in folds(positions[0], positions[-1] + 1, special):
            if special is None:
                text = token_decoder.text(styles.ids, low, high)
            else:
                text = f"{special} x {high - low}" if high - low >= FOLD else special * (high - low)
            pieces = token_decoder.pieces(styles.ids, low, high) if by_token and special is None and style.label is None else ()
            if style.label is not None:
                label = token_decoder.special(style.label) or token_decoder.text(np.array([style.label]), 0, 1)
                text = f"{text} -> {label.strip()}"
            yield Segment(
                spell_controls(text),
                style.trained,
                style.ignored,
                special is not None,
                style.marker,
                style.weight,
                1.0 if style.weight is None else max(style.weight, 0.0) / styles.max_weight,
                low,
                tuple(styles.ids[low : high if pieces else min(high, low + NAMED_IDS)].tolist()),
                high - low,
                pieces if "".join(piece for _, piece in pieces) == text else (),
                folded,
            )


def folds(start: int, stop: int, special: str | None) -> list[tuple[int, int, bool]]:
    """A run in one part, or in three of which the middle one is folded."""
    if special is not None or stop - start <= LONGEST_RUN:
        return [(start, stop, False)]
    return [(start, start + HEAD, False), (start + HEAD, stop - TAIL, True), (stop - TAIL, stop, False)]
