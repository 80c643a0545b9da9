"""Where turns begin and end: `RoleBoundary` for one role, `ChatFormat` for a conversation.

Markers are sequences of token ids. What is done with them is decided in the core: `turns.rs` finds the turns, `labels.rs` says
which tokens train.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from spanmask import _core
from spanmask.chat.boundary import Marker, MarkerLike, RoleBoundary, as_ids, as_markers
from spanmask.errors import ChatFormatError

__all__ = ["ChatFormat", "RoleBoundary"]

MarkerText = str | tuple[str, str | Sequence[str]]


@dataclass(frozen=True)
class ChatFormat:
    """The boundaries of every role, and what else a template fixes.

    Frozen, hashable and picklable; `print(chat_format)` shows the markers as text and ids, role by role.

    Args:
        boundaries: one `RoleBoundary` a role; several for one role are alternatives.
        ignore_ids: ids that never train (image, video and audio placeholders). Padding is not among them: it is told by lengths.
        stop_token_ids: ids that train when they directly follow a trained turn: where the model ends its turn with the next role's
            first token.
        generation_prefills: id sequences that the template's generation prompt puts behind the assistant's header (`<think>` and a
            newline, an empty think block): the model never writes them. `MaskPolicy.train_generation_prefill` decides whether they
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
    stop_token_ids: tuple[int, ...] = ()
    generation_prefills: tuple[Marker, ...] = ()
    texts: tuple[tuple[Marker, str], ...] = field(default=(), compare=False, repr=False)

    def __init__(
        self,
        boundaries: Iterable[RoleBoundary],
        ignore_ids: Iterable[int] = (),
        stop_token_ids: Iterable[int] = (),
        generation_prefills: MarkerLike = (),
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
        object.__setattr__(self, "stop_token_ids", as_ids(stop_token_ids, "stop_token_ids"))
        object.__setattr__(self, "generation_prefills", as_markers(generation_prefills, "generation_prefills"))
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
    def _compiled(self) -> _core.Format:
        """The compiled markers, left out of pickles."""
        return _core.Format(
            self.boundaries,
            roles=self.roles,
            stop_token_ids=self.stop_token_ids,
            generation_prefills=self.generation_prefills,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_compiled", "roles")}

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
        if self.stop_token_ids:
            lines.append(f"  trained behind a turn: {show(tuple((token,) for token in self.stop_token_ids))}")
        if self.generation_prefills:
            lines.append(f"  supplied by the generation prompt: {show(self.generation_prefills)}")
        return "\n".join(lines)
