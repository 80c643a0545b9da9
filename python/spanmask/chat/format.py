"""Where turns begin and end: `RoleBoundary` for one role, `ChatFormat` for a conversation.

Markers are sequences of token ids. What is done with them is decided in the core: `turns.rs` finds the turns, `labels.rs` says
which tokens train.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import index
from typing import Any

from spanmask import _core
from spanmask.errors import ChatFormatError

__all__ = ["ChatFormat", "RoleBoundary"]

Marker = tuple[int, ...]
MarkerLike = Iterable[int] | Iterable[Iterable[int]]
MarkerText = str | tuple[str, str | Sequence[str]]


@dataclass(frozen=True)
class RoleBoundary:
    """How one role's turn opens and closes.

    Args:
        role: the role's name, as in the `role` field of messages.
        start: the ids that open a turn: one sequence, or several alternatives (a marker may tokenize differently next to
            different neighbours). Ids may be negative.
        end: the ids that close a turn, likewise; empty where a turn ends only at the next start (Alpaca).
        include_start: the opening ids train with the turn.
        include_end: the closing ids may train; `MaskPolicy.train_on_eos` decides when. `False`: never.

    Raises:
        ValueError: no start, or an empty marker.
        TypeError: an id is not an integer.

    >>> RoleBoundary("assistant", start=[5, 6], end=[[2], [3, 4]])
    RoleBoundary(role='assistant', start=((5, 6),), end=((2,), (3, 4)), include_start=False, include_end=True)
    """

    role: str
    start: tuple[Marker, ...]
    end: tuple[Marker, ...] = ()
    include_start: bool = False
    include_end: bool = True

    def __init__(
        self, role: str, start: MarkerLike, end: MarkerLike = (), include_start: bool = False, include_end: bool = True
    ) -> None:
        if not isinstance(role, str) or not role:
            raise ValueError(f"role: expected a non-empty string, got {role!r}.")
        starts = as_markers(start, f"start of role {role!r}")
        if not starts:
            raise ValueError(f"start of role {role!r}: no marker; give the token ids that open a turn.")
        object.__setattr__(self, "role", role)
        object.__setattr__(self, "start", starts)
        object.__setattr__(self, "end", as_markers(end, f"end of role {role!r}"))
        object.__setattr__(self, "include_start", bool(include_start))
        object.__setattr__(self, "include_end", bool(include_end))


@dataclass(frozen=True)
class ChatFormat:
    """The boundaries of every role, and what else a template fixes.

    Frozen, hashable and picklable; `print(chat_format)` shows the markers as text and ids, role by role.

    Args:
        boundaries: one `RoleBoundary` a role; several for one role are alternatives.
        ignore_ids: ids that never train (image, video and audio placeholders). Padding is not among them: it is told by lengths.
        stop_ids: ids that train when they directly follow a trained turn: where the model ends its turn with the next role's
            first token.
        generation_heads: id sequences that the template's generation prompt puts behind the assistant's header (`<think>` and a
            newline, an empty think block): the model never writes them. `MaskPolicy.train_generation_prompt` decides whether they
            train.
        texts: the text of markers, for printing: pairs of (ids, text).

    Raises:
        ChatFormatError: no boundary, or one start marker opens two roles.
        TypeError: a boundary is not a `RoleBoundary`, an id not an integer.

    >>> fmt = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
    >>> fmt.roles
    ('assistant', 'user')
    >>> print(fmt)
    ChatFormat
      assistant  start [5, 6]  end [2]
      user       start [5, 7]  end [2]
    """

    boundaries: tuple[RoleBoundary, ...]
    ignore_ids: tuple[int, ...] = ()
    stop_ids: tuple[int, ...] = ()
    generation_heads: tuple[Marker, ...] = ()
    texts: tuple[tuple[Marker, str], ...] = field(default=(), compare=False, repr=False)

    def __init__(
        self,
        boundaries: Iterable[RoleBoundary],
        ignore_ids: Iterable[int] = (),
        stop_ids: Iterable[int] = (),
        generation_heads: MarkerLike = (),
        texts: Iterable[tuple[Iterable[int], str]] = (),
    ) -> None:
        boundaries = tuple(boundaries)
        if not boundaries:
            raise ChatFormatError("boundaries: none given; a chat format needs at least one RoleBoundary.")
        owner: dict[Marker, str] = {}
        for boundary in boundaries:
            if not isinstance(boundary, RoleBoundary):
                raise TypeError(f"boundaries: expected RoleBoundary, got {type(boundary).__name__}.")
            for marker in boundary.start:
                if owner.setdefault(marker, boundary.role) != boundary.role:
                    raise ChatFormatError(
                        f"boundaries: start {list(marker)} opens both {owner[marker]!r} and {boundary.role!r}; "
                        "lengthen the markers until they differ."
                    )
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "ignore_ids", as_ids(ignore_ids, "ignore_ids"))
        object.__setattr__(self, "stop_ids", as_ids(stop_ids, "stop_ids"))
        object.__setattr__(self, "generation_heads", as_markers(generation_heads, "generation_heads"))
        object.__setattr__(self, "texts", tuple((as_ids(ids, "texts"), text) for ids, text in texts))

    @cached_property
    def roles(self) -> tuple[str, ...]:
        """The roles in the order of the boundaries, each once: `Turns.role` is an index into it."""
        return tuple(dict.fromkeys(boundary.role for boundary in self.boundaries))

    @classmethod
    def from_strings(cls, tokenizer: Any, *, ignore_ids: Iterable[int] = (), **roles: MarkerText) -> ChatFormat:
        """Boundaries written as text, their ids found in context.

        A marker's ids change with its neighbours (`ASSISTANT:` at the start of a text, behind a space, behind a newline), so each
        marker is tokenized between many neighbours, and every distinct sequence of tokens that lies wholly inside it becomes an
        alternative.

        Args:
            tokenizer: a transformers tokenizer that returns offsets ("fast").
            ignore_ids: as in `ChatFormat`.
            **roles: for each role its start, or (start, end), or (start, [end, end, ...]), as text.

        Raises:
            ChatFormatError: a marker has no token of its own in any context; the tokenizer gives no offsets.
            TypeError: a marker is not text.

        Example:
            `ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:")`
        """
        from spanmask.chat.markers import format_from_strings

        return format_from_strings(tokenizer, roles, ignore_ids)

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **template_kwargs: Any) -> ChatFormat:
        """The boundaries of a tokenizer's chat template, worked out from what it renders.

        Conversations with known contents are rendered, and what stands between the contents tells how turns open and close. The result is
        tried on random conversations before it is returned. It takes well under a second; keep it, or `pickle` it.

        Args:
            tokenizer: a transformers tokenizer with a chat template.
            **template_kwargs: variables that the template needs or that change it (`tools`, `documents`, `enable_thinking`), as for
                `apply_chat_template`. Give those that your rows are rendered with.

        Raises:
            ChatFormatError: no chat template, or one whose turns cannot be told apart; the message shows the rendered text and how to write
                the boundaries by hand.

        Example:
            `ChatFormat.from_tokenizer(tokenizer, enable_thinking=False)`
        """
        from spanmask.chat.derive import format_from_template

        return format_from_template(tokenizer, tokenizer, template_kwargs)

    @classmethod
    def from_processor(cls, processor: Any, **template_kwargs: Any) -> ChatFormat:
        """The boundaries of a processor's chat template, and the ids of its media.

        `ignore_ids` are the placeholders of images, video and audio, and the tokens that wrap them: they never train.

        Args:
            processor: a transformers processor; its own chat template is used, else its tokenizer's.
            **template_kwargs: as for `from_tokenizer`.

        Raises:
            ChatFormatError: as for `from_tokenizer`.

        Example:
            `ChatFormat.from_processor(processor).ignore_ids`
        """
        from spanmask.chat.derive import format_from_template
        from spanmask.chat.media import media_ids
        from spanmask.chat.tokens import text_tokenizer

        renderer = processor if getattr(processor, "chat_template", None) else text_tokenizer(processor)
        return format_from_template(renderer, processor, template_kwargs, media_ids(processor))

    @cached_property
    def _core(self) -> _core.Format:
        """The compiled markers, left out of pickles."""
        return _core.Format(
            [(self.roles.index(b.role), b.start, b.end, b.include_start, b.include_end) for b in self.boundaries],
            self.stop_ids,
            self.generation_heads,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_core", "roles")}

    def __str__(self) -> str:
        texts = dict(self.texts)
        width = max(len(role) for role in self.roles)

        def show(markers: tuple[Marker, ...]) -> str:
            return " | ".join(f"{texts[m]!r} {list(m)}" if m in texts else str(list(m)) for m in markers)

        lines = ["ChatFormat"]
        for boundary in self.boundaries:
            end = show(boundary.end) if boundary.end else "(the next start)"
            lines.append(f"  {boundary.role:<{width}}  start {show(boundary.start)}  end {end}")
        if self.ignore_ids:
            lines.append(f"  never trained: {list(self.ignore_ids)}")
        if self.stop_ids:
            lines.append(f"  trained behind a turn: {show(tuple((token,) for token in self.stop_ids))}")
        if self.generation_heads:
            lines.append(f"  supplied by the generation prompt: {show(self.generation_heads)}")
        return "\n".join(lines)


def as_ids(ids: Iterable[int], name: str) -> Marker:
    """Token ids as a tuple of Python integers; `name` goes into the error."""
    if isinstance(ids, (str, bytes)) or not isinstance(ids, Iterable):
        raise TypeError(f"{name}: expected token ids, got {type(ids).__name__} {ids!r}; for text use ChatFormat.from_strings.")
    out = []
    for item in ids:
        if isinstance(item, bool):
            raise TypeError(f"{name}: expected token ids, got the bool {item!r}.")
        try:
            out.append(index(item))
        except TypeError:
            raise TypeError(f"{name}: expected token ids, got {type(item).__name__} {item!r}.") from None
    for item in out:
        if not -(2**63) <= item < 2**63:
            raise ValueError(f"{name}: id {item} does not fit 64 bits.")
    return tuple(out)


def as_markers(markers: MarkerLike, name: str) -> tuple[Marker, ...]:
    """One id sequence or several alternatives -> several, each once, in their order."""
    if isinstance(markers, (str, bytes)) or not isinstance(markers, Iterable):
        raise TypeError(
            f"{name}: expected token ids, got {type(markers).__name__} {markers!r}; for text use ChatFormat.from_strings."
        )
    items = list(markers)
    if not items:
        return ()
    nested = [isinstance(item, Iterable) for item in items]
    if any(nested) and not all(nested):
        raise TypeError(f"{name}: expected one id sequence or a list of sequences, got a mixture.")
    alternatives = [as_ids(item, name) for item in items] if nested[0] else [as_ids(items, name)]  # type: ignore[arg-type]
    for marker in alternatives:
        if not marker:
            raise ValueError(f"{name}: an empty marker matches everywhere; remove it.")
    return tuple(dict.fromkeys(alternatives))
