"""`ChatFormat`: where the turns of a conversation begin and end, as token ids.

The core decides what the markers mean: `turns/mod.rs` finds the turns, `labels/mod.rs` decides which tokens train.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._validate import as_list, as_markers, as_signed_ids, check_flag, short
from spanmask.chat import template
from spanmask.chat.boundary import MarkerIds, MarkerLike, Parts, Reasoning, RoleBoundary, compile_format, roles_of
from spanmask.chat.coverage import kinds_in
from spanmask.chat.media import media_ids
from spanmask.chat.strings import MarkerText, parts_from_strings
from spanmask.chat.tokens import text_tokenizer
from spanmask.errors import ChatFormatError

__all__ = ["ChatFormat"]


@dataclass(frozen=True)
class ChatFormat:
    """The turn boundaries of every role, and further properties of a chat template.

    Frozen, hashable and picklable; `print(chat_format)` shows the markers as text and ids, role by role.

    Args:
        boundaries: one `RoleBoundary` per role; several for one role are alternatives.
        ignore_ids: ids that never train (image, video and audio placeholders). Padding does not belong here: it is determined from
            lengths or the attention mask, never from a token id.
        stop_token_ids: ids that train when they directly follow a trained turn, for models that end their turn with the first token of
            the next role's header.
        anchor_ids: ids with which a text begins or ends (BOS, EOS, padding): a start of an anchored boundary may directly follow them.
        generation_prefills: id sequences that the template's generation prompt puts after the assistant's header (`<think>` and a
            newline, an empty think block): the model never writes them. `MaskPolicy.train_generation_prefill` decides whether they
            train.
        reasoning: a pair (openings, closings) of id sequences, each one sequence or several alternatives: what opens and closes the
            reasoning with which a turn's content begins (`<think>` and `</think>`, with the line breaks that the template writes). It may
            begin inside or directly after a generation prefill. Without a closing sequence it extends to the content's end.
            `MaskPolicy.reasoning` decides whether it trains.
        empty_reasoning: id sequences of whole blocks without reasoning, as the template adds them (`<think>`, `</think>` and line breaks).
        uncovered: kinds of conversations in which these boundaries do not find the turns, among them "system messages", "reasoning", "tool
            calls", "parallel tool calls", "declared tools", "two assistant messages in a row". Deriving a format from a template sets it;
            `uncovered_kind` finds such conversations. Other descriptions are allowed, but are only printed.
        texts: the text of each marker, used for printing: pairs of (ids, text).

    Raises:
        ChatFormatError: there is no boundary, or one start marker opens two roles.
        TypeError: a boundary is not a `RoleBoundary`, an id is not an integer, `uncovered` is not a sequence of strings.

    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> fmt.roles
    ('assistant', 'user')
    >>> print(fmt)
    ChatFormat
      assistant  start [5, 6]  end [2]
      user       start [5, 7]  end [2]
    """

    boundaries: tuple[RoleBoundary, ...]
    _: KW_ONLY
    ignore_ids: tuple[int, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    anchor_ids: tuple[int, ...] = ()
    generation_prefills: tuple[MarkerIds, ...] = ()
    reasoning: Reasoning = ()
    empty_reasoning: tuple[MarkerIds, ...] = ()
    uncovered: tuple[str, ...] = ()
    texts: tuple[tuple[MarkerIds, str], ...] = field(default=(), compare=False, repr=False)

    if TYPE_CHECKING:  # the constructor accepts more types than the fields hold

        def __init__(
            self,
            boundaries: Iterable[RoleBoundary],
            *,
            ignore_ids: Iterable[int] = (),
            stop_token_ids: Iterable[int] = (),
            anchor_ids: Iterable[int] = (),
            generation_prefills: MarkerLike = (),
            reasoning: tuple[()] | tuple[MarkerLike, MarkerLike] = (),
            empty_reasoning: MarkerLike = (),
            uncovered: Iterable[str] = (),
            texts: Iterable[tuple[Iterable[int], str]] = (),
        ) -> None: ...

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "boundaries", tuple(as_list("boundaries", self.boundaries, "a list of RoleBoundary")))
        check_boundaries(self.boundaries)
        set_(self, "ignore_ids", as_signed_ids("ignore_ids", self.ignore_ids))
        set_(self, "stop_token_ids", as_signed_ids("stop_token_ids", self.stop_token_ids))
        set_(self, "anchor_ids", as_signed_ids("anchor_ids", self.anchor_ids))
        set_(self, "generation_prefills", as_markers("generation_prefills", self.generation_prefills))
        set_(self, "reasoning", as_reasoning(self.reasoning))
        set_(self, "empty_reasoning", as_markers("empty_reasoning", self.empty_reasoning))
        kinds = tuple(as_list("uncovered", self.uncovered, "a sequence of strings"))
        if not all(isinstance(kind, str) for kind in kinds):
            raise TypeError(f"uncovered: expected a sequence of strings, got {short(self.uncovered)}.")
        set_(self, "uncovered", kinds)
        set_(self, "texts", tuple(as_text(pair) for pair in as_list("texts", self.texts, "pairs of (ids, text)")))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The distinct roles, in the order of the boundaries: `Turns.role` is an index into this tuple."""
        return roles_of(self.boundaries)

    def uncovered_kind(self, messages: Iterable[Mapping[str, Any]], tools: Any = None) -> str | None:
        """Find the first kind in `uncovered` that occurs in a conversation.

        Args:
            messages: one conversation, as for `apply_chat_template`. Reasoning and tool calls are recognized in the fields of messages
                (`reasoning_content`, `tool_calls`), not in their texts.
            tools: the tools that the conversation declares.

        Returns:
            The kind, or `None` if no kind in `uncovered` occurs. If one does, the turns that this format finds may be wrong.

        >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2])], uncovered=["tool calls"])
        >>> fmt.uncovered_kind([{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [{"type": "function"}]}])
        'tool calls'
        """
        if not self.uncovered:
            return None
        kinds = kinds_in(messages, tools)
        return next((kind for kind in self.uncovered if kind in kinds), None)

    @classmethod
    def from_strings(
        cls, tokenizer: Any, *, ignore_ids: Iterable[int] = (), anchored: bool = False, **roles: MarkerText
    ) -> ChatFormat:
        """Make boundaries from text. The token ids are found in context.

        The ids of a marker change with the text next to it (`ASSISTANT:` at the start of a text, after a space, after a newline). Each
        marker is therefore tokenized between many texts, and every distinct sequence of tokens that lies entirely inside it becomes an
        alternative.

        Args:
            tokenizer: a transformers tokenizer that returns offsets ("fast"), or one whose tokens decode to the text.
            ignore_ids: as in `ChatFormat`.
            anchored: all starts count only at the beginning of a text or after a closing marker, spaces and line breaks between them
                included: the words of a header inside a content open no turn. Every role must have an end. The tokenizer's BOS, EOS and
                padding become `anchor_ids`.
            **roles: for each role its start, or (start, end), or (start, [end, end, ...]), as text. A role cannot be called "ignore_ids" or
                "anchored": write `RoleBoundary` for it.

        Raises:
            ChatFormatError: the tokens of a marker merge with its neighbours in every context, the tokenizer returns no offsets, or a role
                without an end is to be anchored.
            TypeError: a marker is not text.

        Example:
            `ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:")`
        """
        check_flag("anchored", anchored)
        return cls._from_parts(parts_from_strings(tokenizer, roles, anchored), ignore_ids)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **template_kwargs: Any) -> ChatFormat:
        """The boundaries of a tokenizer's chat template, derived from the text that it renders.

        Conversations with known contents are rendered, and the text between the contents shows how turns open and close. The result
        is compared with random conversations of each kind before it is returned. Kinds on which it fails are named in `uncovered` and in
        a `SpanmaskWarning`; a format that fails on plain questions and answers is an error. Rare orders of messages (two of the assistant
        in a row, a system message after the first turn) and rare roles are only named in `uncovered`.

        Measured CPU time: 0.1 to 4 seconds. Reuse the format, or `pickle` it.

        Args:
            tokenizer: a transformers tokenizer with a chat template.
            **template_kwargs: variables that the template requires or that change it (`tools`, `documents`, `enable_thinking`), as for
                `apply_chat_template`. Pass those that your rows are rendered with.

        Raises:
            ChatFormatError: there is no chat template, or its turn boundaries could not be derived; the message shows the rendered text
                and how to write the boundaries by hand.

        Example:
            `ChatFormat.from_tokenizer(tokenizer, enable_thinking=False)`
        """
        return cls._from_parts(template.parts_from_template(tokenizer, tokenizer, template_kwargs))

    @classmethod
    def from_processor(cls, processor: Any, **template_kwargs: Any) -> ChatFormat:
        """The boundaries of a processor's chat template, and the ids of its media.

        `ignore_ids` are the placeholders of images, video and audio, and the tokens around them: they never train.

        Args:
            processor: a transformers processor; its own chat template is used, or its tokenizer's if it has none.
            **template_kwargs: as for `from_tokenizer`.

        Raises:
            ChatFormatError: as for `from_tokenizer`.

        Example:
            `ChatFormat.from_processor(processor).ignore_ids`
        """
        renderer = processor if getattr(processor, "chat_template", None) else text_tokenizer(processor)
        ignore_ids = media_ids(processor)
        return cls._from_parts(template.parts_from_template(renderer, processor, template_kwargs, ignore_ids), ignore_ids)

    @classmethod
    def _from_parts(cls, parts: Parts, ignore_ids: Iterable[int] = ()) -> ChatFormat:
        return cls(
            parts.boundaries,
            ignore_ids=ignore_ids,
            stop_token_ids=parts.stop_token_ids,
            anchor_ids=parts.anchor_ids,
            generation_prefills=parts.generation_prefills,
            reasoning=parts.reasoning,
            empty_reasoning=parts.empty_reasoning,
            uncovered=parts.uncovered,
            texts=parts.texts,
        )

    @cached_property
    def _compiled(self) -> _core.Format:
        """The compiled markers. They are not pickled."""
        return compile_format(Parts(**{part.name: getattr(self, part.name) for part in fields(Parts)}))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "roles")}

    def __str__(self) -> str:
        texts = dict(self.texts)
        width = max(len(role) for role in self.roles)

        def show(markers: tuple[MarkerIds, ...]) -> str:
            return " | ".join(f"{texts[m]!r} {list(m)}" if m in texts else str(list(m)) for m in markers)

        lines = ["ChatFormat"]
        for boundary in self.boundaries:
            end = show(boundary.end) if boundary.end else "(the next start)"
            anchored = "  (anchored)" if boundary.anchored else ""
            lines.append(f"  {boundary.role:<{width}}  start {show(boundary.start)}  end {end}{anchored}")
        if self.ignore_ids:
            lines.append(f"  never trained: {list(self.ignore_ids)}")
        if self.stop_token_ids:
            lines.append(f"  trained after a turn: {show(tuple((token,) for token in self.stop_token_ids))}")
        if self.anchor_ids:
            lines.append(f"  texts begin and end with: {show(tuple((token,) for token in self.anchor_ids))}")
        if self.generation_prefills:
            lines.append(f"  supplied by the generation prompt: {show(self.generation_prefills)}")
        if self.reasoning:
            openings, closings = self.reasoning
            lines.append(f"  reasoning: {show(openings)}  to {show(closings)}")
        if self.empty_reasoning:
            lines.append(f"  added where there is no reasoning: {show(self.empty_reasoning)}")
        if self.uncovered:
            lines.append(f"  not covered: {', '.join(self.uncovered)}")
        return "\n".join(lines)


def as_text(pair: Any) -> tuple[MarkerIds, str]:
    """A pair of `texts`: ids, and the text that they stand for."""
    pair = as_list("texts", pair, "pairs of (ids, text)")
    if len(pair) != 2 or not isinstance(pair[1], str):
        raise TypeError(f"texts: expected pairs of (ids, text), got {short(pair)}.")
    return as_signed_ids("texts", pair[0]), pair[1]


def as_reasoning(value: Any) -> Reasoning:
    """The openings and closings of reasoning, each as a tuple of alternatives."""
    try:
        pair = tuple(value)
    except (TypeError, RuntimeError):
        pair = (value,)
    if not pair:
        return ()
    if isinstance(value, str) or len(pair) != 2:
        raise ValueError(f"reasoning: expected a pair (openings, closings) of token ids, got {short(value)}.")
    openings, closings = as_markers("reasoning, openings", pair[0]), as_markers("reasoning, closings", pair[1])
    if not openings or not closings:
        raise ValueError(f"reasoning: openings and closings both need ids, got {short(value)}.")
    return openings, closings


def check_boundaries(boundaries: tuple[RoleBoundary, ...]) -> None:
    """Raise unless there is a boundary and each start opens only one role."""
    if not boundaries:
        raise ChatFormatError("boundaries: none given; a chat format needs at least one RoleBoundary.")
    owners: dict[MarkerIds, str] = {}
    for boundary in boundaries:
        if not isinstance(boundary, RoleBoundary):
            raise TypeError(f"boundaries: expected RoleBoundary, got {type(boundary).__name__}.")
        for marker in boundary.start:
            if owners.setdefault(marker, boundary.role) != boundary.role:
                raise ChatFormatError(
                    f"boundaries: start {list(marker)} opens both {owners[marker]!r} and {boundary.role!r}; "
                    "lengthen the markers until they differ."
                )
