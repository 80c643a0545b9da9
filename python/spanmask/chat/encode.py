"""Conversations -> token ids and turns, exact: turns come from the rendered text, not from a search for markers.

Each conversation is rendered once. Its twin (`twin.py`), rendered once for each shape, shows the template's own text (`skeleton.py`);
the contents between are found in the real text (`align.py`), and the tokenizer's offsets turn characters into tokens.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from spanmask._cached import cached_property
from spanmask.chat.align import align
from spanmask.chat.conversation import Conversation, MessageForms, adapt
from spanmask.chat.template.probe import Template
from spanmask.chat.text.bounded_cache import BoundedCache
from spanmask.chat.text.reading import read_skeleton
from spanmask.chat.text.skeleton import Skeleton
from spanmask.chat.text.token_edges import TokenEdges, encode_with_edges
from spanmask.chat.text.turn_edges import TurnEdges
from spanmask.chat.text.twin import Exchange, mentioned_in
from spanmask.chat.tokens import added_token_ids, added_tokens, text_tokenizer
from spanmask.errors import ChatFormatError

__all__ = ["AlignedTurn", "ChatEncoder", "EncodedRow"]

# An encoder keeps skeletons while their keys have fewer characters than this. They take about ten times as many bytes: a long conversation
# has a shape of its own, and takes hundreds of kilobytes.
MOST_KEPT = 4_000_000
CHUNK = 512  # rows that are rendered and tokenized together: their texts and offsets are in memory at the same time


class AlignedTurn(NamedTuple):
    """One turn of a row, and the index of its message.

    `places`: positions of tokens: start, content_start, prefill_stop, reasoning_stop, content_stop and stop, as in `Turns`.
    """

    role: str
    message: int
    places: tuple[int, ...]
    stop_token: bool = False
    empty_reasoning: bool = False


@dataclass(slots=True)
class EncodedRow:
    """A conversation's ids, and its turns: `None` if the text could not be aligned with the twin's.

    `dropped`: messages of the assistant of which the template leaves something out, and what. `holds_tokens`: its contents hold the text of
    added tokens, so that a search may take them for markers; only known where `turns` is `None`. `aligned`: the skeleton and where its gaps
    begin in the text.
    """

    ids: list[int]
    turns: list[AlignedTurn] | None
    dropped: tuple[tuple[int, str], ...] = ()
    holds_tokens: bool = False
    aligned: tuple[Skeleton, list[int]] | None = None


class ChatEncoder:
    """Encodes conversations with one template and tokenizer. It keeps the skeletons of the shapes that it has seen.

    Args:
        renderer: what has `apply_chat_template`: a tokenizer or a processor.
        tokenizer: the tokenizer, or a processor that has one.

    Raises:
        ChatFormatError: there is no chat template.
    """

    def __init__(self, renderer: Any, tokenizer: Any) -> None:
        self.renderer = renderer
        self.tokenizer = text_tokenizer(tokenizer)
        texts = template_texts(renderer)
        if not texts:
            raise ChatFormatError("chat template: the tokenizer has none; set tokenizer.chat_template.")
        self.template = Template(renderer, {})
        self.template.detect_message_format()
        self.mentioned = mentioned_in(texts)
        self.turn_edges = TurnEdges(
            added_tokens(self.tokenizer),
            lambda role, text: {"role": role, "content": self.template.content(role, text)},
            lambda messages, generation: self._try_render(messages, {}, generation),
        )
        self.skeletons = BoundedCache[Skeleton | None](MOST_KEPT)

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """The ids of added tokens."""
        return added_token_ids(self.tokenizer)

    @cached_property
    def forms(self) -> MessageForms:
        """What the template takes. Without calls in a conversation, only the forms of contents matter."""
        return MessageForms(roles_in_parts=self.template.roles_in_parts)

    @cached_property
    def call_forms(self) -> MessageForms:
        """What the template takes in conversations with calls."""
        template = copy(self.template)
        template.detect_call_format()
        return MessageForms(template.roles_in_parts, template.json_arguments, template.empty_content, template.with_tools)

    def encode(
        self, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False, as_is: bool = False
    ) -> Iterator[EncodedRow]:
        """Encode conversations. `as_is`: messages are in the forms that the template takes, or in those that a trainer gave it.

        Raises:
            ValueError: the template refuses a conversation or cannot take what it holds, or a text cannot be tokenized; the message names
                the row.
            ChatFormatError: the tokenizer returns no offsets, and decoding its tokens does not reproduce the text.
        """
        for first in range(0, len(conversations), CHUNK):
            some = [
                conversation if as_is else replace(conversation, messages=self.adapted(conversation))
                for conversation in conversations[first : first + CHUNK]
            ]
            texts = self.render(some, add_generation_prompt)
            for conversation, text, edges in zip(some, texts, self.tokenized(some, texts), strict=True):
                yield self.read(conversation, text, edges, add_generation_prompt)

    def tokenized(self, conversations: Sequence[Conversation], texts: Sequence[str]) -> list[TokenEdges]:
        """The tokens of rendered conversations."""
        try:
            return encode_with_edges(self.tokenizer, texts)
        except (TypeError, UnicodeEncodeError) as error:
            for conversation, text in zip(conversations, texts, strict=True):
                if lone := re.search("[\ud800-\udfff]", text):
                    raise ValueError(
                        f"messages: {conversation.name} contains {lone[0]!r}, half a surrogate pair, which is not a character and "
                        "cannot be tokenized. Drop the row, or repair its texts: "
                        "text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')."
                    ) from error
            raise

    def adapted(self, conversation: Conversation) -> list[dict[str, Any]]:
        """The messages of a conversation in the forms that the template takes."""
        has_calls = any("tool_calls" in message for message in conversation.messages)
        return adapt(conversation, self.call_forms if has_calls else self.forms)

    def render(self, conversations: Sequence[Conversation], add_generation_prompt: bool = False) -> list[str]:
        """The texts of conversations. Neighbours with the same tools and variables are rendered in one call."""
        texts: list[str] = []
        for _, group in groupby(conversations, key=lambda one: repr(options_of(one))):
            some = list(group)
            options = options_of(some[0])
            try:
                texts += self._render([one.messages for one in some], options, add_generation_prompt)
            except Exception:  # a template may raise any exception; the row that it refuses is looked for
                texts += [self._render_row(one, options, add_generation_prompt) for one in some]
        return texts

    def _render(self, conversations: Sequence[Any], options: Mapping[str, Any], generation: bool) -> list[str]:
        return list(self.renderer.apply_chat_template(conversations, tokenize=False, add_generation_prompt=generation, **options))

    def _render_row(self, conversation: Conversation, options: Mapping[str, Any], generation: bool) -> str:
        try:
            return self._render([conversation.messages], options, generation)[0]
        except ImportError:
            raise  # jinja2 is missing: no row is at fault
        except Exception as error:
            raise ValueError(
                f"messages: {conversation.name} cannot be rendered by the chat template ({type(error).__name__}: {error}); fix or drop it."
            ) from error

    def _try_render(self, messages: Sequence[Any], options: Mapping[str, Any], generation: bool) -> str | None:
        try:
            return self._render([messages], options, generation)[0]
        except Exception:  # the beginning of a conversation may be one that the template refuses
            return None

    def read(self, conversation: Conversation, text: str, edges: TokenEdges, generation: bool = False) -> EncodedRow:
        """The turns of one row, from the twin; if that does not fit, from one that keeps the fields of which nothing is known, or one in
        which equal messages are equal.
        """
        twin = Exchange.of(conversation.messages, self.mentioned)
        row = self._read_by(twin, conversation, text, edges, generation)
        if row is None and twin.has_fields:
            kept = Exchange.of(conversation.messages, self.mentioned, keep_fields=True)
            row = self._read_by(kept, conversation, text, edges, generation)
        if row is None:
            equal = Exchange.of(conversation.messages, self.mentioned, keep_equal=True)
            if equal.key != twin.key:
                row = self._read_by(equal, conversation, text, edges, generation)
        if row is None:
            return EncodedRow(edges.ids, None, holds_tokens=self.holds_tokens(conversation))
        return row

    def holds_tokens(self, conversation: Conversation, harmless: Container[str] = ()) -> bool:
        """Whether contents hold the text of added tokens other than `harmless` ones."""
        leaves = Exchange.of(conversation.messages, self.mentioned).leaves
        spans = ((leaf.text, span) for leaf in leaves for span in self.turn_edges.added.spans(leaf.text))
        return any(text[slice(*span)] not in harmless for text, span in spans)

    def gaps(self, conversation: Conversation) -> tuple[str, ...]:
        """The template's own text between the contents of a conversation; nothing if it is not known."""
        twin, options = Exchange.of(conversation.messages, self.mentioned), options_of(conversation)
        key = skeleton_key(twin, options, generation=False)
        skeleton = self.skeletons.get(key, len(key), lambda: self._read_twin(twin, options, False))
        return () if skeleton is None else skeleton.gaps

    def _read_by(
        self, twin: Exchange, conversation: Conversation, text: str, edges: TokenEdges, generation: bool
    ) -> EncodedRow | None:
        """The turns of one row. A template may write the time: if an old skeleton does not fit, the twin is rendered again."""
        options = options_of(conversation)
        key = skeleton_key(twin, options, generation)
        for is_known in (True, False) if key in self.skeletons else (False,):
            if not is_known:
                self.skeletons.put(key, len(key), self._read_twin(twin, options, generation))
            skeleton = self.skeletons[key]
            if skeleton is None:
                continue
            leaves = [twin.leaves[number].text for number in skeleton.order]
            starts = align(text, skeleton.gaps, leaves, self.mentioned.replaced)
            if starts is not None:
                turns = turns_at(skeleton, starts, text, edges, self.added_ids)
                return EncodedRow(edges.ids, turns, skeleton.dropped, aligned=(skeleton, starts))
        return None

    def _read_twin(self, twin: Exchange, options: Mapping[str, Any], generation: bool) -> Skeleton | None:
        text = self._try_render(twin.messages, options, generation)
        if text is None:
            return None
        context = f"{self._context(options)} {generation}"
        return read_skeleton(
            self.turn_edges, twin, lambda messages, prompt: self._try_render(messages, options, prompt), text, context
        )

    def _context(self, options: Mapping[str, Any]) -> str:
        """What the edges of turns depend on beside the messages and the gaps: each row may have other tools, of which templates can only
        ask whether they are there, and compare their texts with strings of their own.
        """
        tools = options["tools"]
        if not tools or not all(isinstance(tool, Mapping) for tool in tools):
            return repr(options)
        return repr({**options, "tools": sorted(self.mentioned.literals.intersection(texts_in(tools)))})


def skeleton_key(twin: Exchange, options: Mapping[str, Any], generation: bool) -> str:
    """What a skeleton is kept by."""
    return f"{twin.key} {options!r} {generation}"


def options_of(conversation: Conversation) -> dict[str, Any]:
    """What `apply_chat_template` takes in addition to the messages."""
    return {"tools": conversation.tools, **conversation.template_kwargs}


def texts_in(value: Any) -> Iterator[str]:
    """All texts in a value, the keys of mappings included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield str(name)
            yield from texts_in(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from texts_in(item)


def template_texts(renderer: Any) -> list[str]:
    """The templates of a tokenizer or processor: one, or several by name."""
    template = getattr(renderer, "chat_template", None)
    return [text for text in (template.values() if isinstance(template, Mapping) else [template]) if isinstance(text, str)]


def turns_at(
    skeleton: Skeleton, starts: Sequence[int], text: str, edges: TokenEdges, added_ids: Container[int]
) -> list[AlignedTurn]:
    """The turns of a skeleton whose gaps begin at these characters of the text.

    A token that is partly content belongs to the content. Not so an added token of the template: some take the white space next to them,
    which may be that of a content (Phi-3).
    """
    turns = []
    last = 0  # the first token that no earlier turn has
    for turn in skeleton.turns:
        start, content_start, prefill, reasoning, content_stop, stop = (starts[place.gap] + place.offset for place in turn.places)
        stop_at = edges.following(content_stop)
        if stop_at and edges.ids[stop_at - 1] in added_ids and text[content_stop - 1 : content_stop].isspace():
            stop_at = min(stop_at, covering_last_printed(edges, text, content_stop) + 1)
        stop_at = max(last, stop_at)
        first = stop_at if content_start == content_stop else max(last, edges.covering(content_start))
        if first < stop_at and edges.ids[first] in added_ids and first == covering_last_printed(edges, text, content_start):
            first = min(max(first, edges.following(content_start)), stop_at)
        stop_at = max(first, stop_at)
        inside = [first if at == content_start else min(max(first, edges.covering(at)), stop_at) for at in (prefill, reasoning)]
        begin = min(max(last, edges.following(start)), first)
        # A stop token that takes the white space before it begins before the turn's end.
        last = max(stop_at, edges.covering(stop) if turn.stop_token else edges.following(stop))
        turns.append(
            AlignedTurn(turn.role, turn.message, (begin, first, *inside, stop_at, last), turn.stop_token, turn.empty_reasoning)
        )
    return turns


def covering_last_printed(edges: TokenEdges, text: str, at: int) -> int:
    """The token that covers the last character before `at` that is not white space; -1 if there is none."""
    length = len(text[:at].rstrip())
    return edges.covering(length - 1) if length else -1
