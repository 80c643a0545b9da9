"""Conversations -> token ids and turns, exact: turns come from the rendered text, not from a search for markers.

Each conversation is rendered once. Its twin (`twin.py`), rendered once for each shape, shows the template's own text (`skeleton.py`);
the contents between are found in the real text (`align.py`), and the tokenizer's offsets turn characters into tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from spanmask.chat.align import align
from spanmask.chat.skeleton import Place, Skeleton, SkeletonReader
from spanmask.chat.template.probe import Template
from spanmask.chat.token_edges import TokenEdges, encode_with_edges
from spanmask.chat.tokens import added_tokens, text_tokenizer
from spanmask.chat.twin import Exchange, Kind, mentioned_in, tags_pattern

__all__ = ["AlignedTurn", "ChatEncoder", "EncodedRow"]

SHAPES = 4096  # skeletons that an encoder keeps
CHUNK = 512  # rows that are rendered and tokenized together: their texts and offsets are in memory at the same time


class AlignedTurn(NamedTuple):
    """One turn of a row: positions of tokens, as in `Turns`, and the index of its message."""

    role: str
    message: int
    start: int
    content_start: int
    prefill_stop: int
    reasoning_stop: int
    content_stop: int
    stop: int
    stop_token: bool
    empty_reasoning: bool


@dataclass(slots=True)
class EncodedRow:
    """A conversation's ids, and its turns. `turns` is `None` if the text could not be aligned with the twin's.

    `dropped`: messages of which the template leaves something out, and what.
    """

    ids: list[int]
    turns: list[AlignedTurn] | None
    dropped: tuple[tuple[int, str], ...] = ()


class ChatEncoder:
    """Encodes conversations with one template and tokenizer. It keeps the skeletons of the shapes that it has seen.

    Args:
        renderer: what has `apply_chat_template`: a tokenizer or a processor.
        tokenizer: the tokenizer, or a processor that has one.
    """

    def __init__(self, renderer: Any, tokenizer: Any) -> None:
        self.renderer = renderer
        self.tokenizer = text_tokenizer(tokenizer)
        self.template = Template(renderer, {})
        self.template.detect_message_format()
        self.tags = tags_pattern(name for text in template_texts(renderer) for name in mentioned_in(text))
        self.reader = SkeletonReader(
            added_tokens(self.tokenizer),
            lambda role, text: {"role": role, "content": self.template.content(role, text)},
            lambda messages, generation: self._try_render(messages, None, {}, generation),
        )
        self.skeletons: dict[str, Skeleton | None] = {}

    def encode(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        tools: Sequence[Any],
        template_kwargs: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool = False,
    ) -> Iterator[EncodedRow]:
        """Encode conversations whose messages have the form that the template takes.

        Args:
            tools, template_kwargs: an entry for each conversation.

        Raises:
            ValueError: the template refuses a conversation; the message names the row.
        """
        for first in range(0, len(conversations), CHUNK):
            rows = range(first, min(first + CHUNK, len(conversations)))
            texts = self.render(conversations, tools, template_kwargs, rows, add_generation_prompt)
            for row, text, edges in zip(rows, texts, encode_with_edges(self.tokenizer, texts), strict=True):
                twin = Exchange.of(conversations[row], self.tags)
                yield self._turns(text, edges, twin, tools[row], template_kwargs[row], add_generation_prompt)

    def render(
        self,
        conversations: Sequence[Sequence[Mapping[str, Any]]],
        tools: Sequence[Any],
        template_kwargs: Sequence[Mapping[str, Any]],
        rows: Sequence[int],
        add_generation_prompt: bool = False,
    ) -> list[str]:
        """The texts of some conversations. Those with the same tools and variables are rendered in one call."""
        texts: list[str] = []
        for _, group in groupby(rows, key=lambda row: (id(tools[row]), repr(template_kwargs[row]))):
            some = list(group)
            options = {"tools": tools[some[0]], **template_kwargs[some[0]]}
            try:
                texts += self._render([conversations[row] for row in some], options, add_generation_prompt)
            except Exception:  # a template may raise any exception; the row that it refuses is looked for
                texts += [self._render_row(row, conversations[row], options, add_generation_prompt) for row in some]
        return texts

    def _render(self, conversations: Sequence[Any], options: Mapping[str, Any], generation: bool) -> list[str]:
        return list(
            self.renderer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=generation, **options)
        )

    def _render_row(self, row: int, messages: Any, options: Mapping[str, Any], generation: bool) -> str:
        try:
            return self._render([messages], options, generation)[0]
        except Exception as error:
            raise ValueError(
                f"messages: row {row} cannot be rendered by the chat template ({type(error).__name__}: {error}); fix or drop it."
            ) from error

    def _try_render(self, messages: Sequence[Any], tools: Any, kwargs: Mapping[str, Any], generation: bool) -> str | None:
        try:
            return self._render([messages], {"tools": tools, **kwargs}, generation)[0]
        except Exception:  # the beginning of a conversation may be one that the template refuses
            return None

    def _turns(
        self, text: str, edges: TokenEdges, twin: Exchange, tools: Any, kwargs: Mapping[str, Any], generation: bool
    ) -> EncodedRow:
        """The turns of one row. A template may write the time: if an old skeleton does not fit, the twin is rendered again."""
        key = f"{twin.key} {tools!r} {kwargs!r} {generation}"
        leaves = [leaf.text for leaf in twin.leaves]
        for is_known in (True, False) if key in self.skeletons else (False,):
            skeleton = self.skeletons[key] if is_known else self._read(twin, tools, kwargs, generation)
            if not is_known:
                self._keep(key, skeleton)
            if skeleton is None:
                continue
            starts = align(text, skeleton.gaps, [leaves[number] for number in skeleton.order])
            if starts is not None:
                return EncodedRow(edges.ids, turns_at(skeleton, starts, edges), skeleton.dropped)
        return EncodedRow(edges.ids, None)

    def _read(self, twin: Exchange, tools: Any, kwargs: Mapping[str, Any], generation: bool) -> Skeleton | None:
        text = self._try_render(twin.messages, tools, kwargs, generation)
        if text is None:
            return None
        return self.reader.read(twin, lambda messages, prompt: self._try_render(messages, tools, kwargs, prompt), text)

    def _keep(self, key: str, skeleton: Skeleton | None) -> None:
        if len(self.skeletons) >= SHAPES:
            del self.skeletons[next(iter(self.skeletons))]
        self.skeletons[key] = skeleton


def template_texts(renderer: Any) -> list[str]:
    """The templates of a tokenizer or processor: one, or several by name."""
    template = getattr(renderer, "chat_template", None)
    return [text for text in (template.values() if isinstance(template, Mapping) else [template]) if isinstance(text, str)]


def turns_at(skeleton: Skeleton, starts: Sequence[int], edges: TokenEdges) -> list[AlignedTurn]:
    """The turns of a skeleton whose gaps begin at these characters of the text.

    A token that is partly content belongs to the content.
    """
    turns = []
    last = 0
    for turn in skeleton.turns:

        def at(place: Place) -> int:
            return starts[place.gap] + place.offset

        start = max(last, edges.following(at(turn.start)))
        stop = max(start, edges.following(at(turn.stop)))
        is_blank = turn.content_start == turn.content_stop
        content_stop = max(start, edges.following(at(turn.content_stop)))
        content_start = content_stop if is_blank else max(last, edges.covering(at(turn.content_start)))
        content_stop = max(content_start, content_stop)
        if turn.prefill_stop == turn.content_start:
            prefill_stop = content_start
        else:
            prefill_stop = min(max(content_start, edges.covering(at(turn.prefill_stop))), content_stop)
        if turn.reasoning_stop == turn.content_start:
            reasoning_stop = content_start
        else:
            reasoning_stop = min(max(content_start, edges.covering(at(turn.reasoning_stop))), content_stop)
        stop = max(stop, content_stop)
        start = min(start, content_start)
        turns.append(
            AlignedTurn(
                turn.role,
                turn.message,
                start,
                content_start,
                prefill_stop,
                reasoning_stop,
                content_stop,
                stop,
                turn.stop_token,
                turn.empty_reasoning,
            )
        )
        last = stop
    return turns
