"""How a processor's chat template takes contents, and how it writes images, videos and sounds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from spanmask.chat import template
from spanmask.chat.conversation import Conversation, MessageForms
from spanmask.chat.tokens import text_tokenizer

__all__ = ["Placeholder", "VisionTemplate", "media_processor"]

QUESTION, ANSWER = "zq001kx", "zq002kx"
READERS = {"image": ("image_processor",), "video": ("video_processor",), "audio": ("feature_extractor", "audio_processor")}
KEYS_OF_PARTS = ("'type'", '"type"')  # a template that prints a list as Python or JSON does not take parts


class Placeholder(NamedTuple):
    """The text that a processor replaces with a medium.

    Attributes:
        token: the text, "" if it is not known.
        in_parts: the template writes it for a part of this type; else it must be written into a content that is a string.
    """

    token: str
    in_parts: bool


class VisionTemplate:
    """The chat template of a processor, or of its tokenizer if the processor has none.

    Attributes:
        forms: the forms in which it takes messages.
        media_in_parts: it writes some kind of medium for a part of a content; else it takes texts.
        sampling_rate: the rate of the sounds that the processor takes.
    """

    def __init__(self, processor: Any, template_kwargs: Mapping[str, Any]) -> None:
        self.name = type(processor).__name__
        self.tokenizer = text_tokenizer(processor)
        self.renderer = processor if getattr(processor, "chat_template", None) else text_tokenizer(processor)
        probes = template.Template(self.renderer, dict(template_kwargs))
        probes.detect_message_format()
        probes.detect_call_format()
        self.forms = MessageForms(probes.roles_in_parts, probes.json_arguments, probes.empty_content, probes.with_tools)
        variables = {**probes.default_variables, **template_kwargs}
        readers = {kind: media_processor(processor, kind) for kind in READERS}
        self.sampling_rate: int | None = getattr(readers["audio"], "sampling_rate", None)
        self.placeholders = {
            kind: self.find_placeholder(processor, kind, variables) for kind, reader in readers.items() if reader is not None
        }
        self.media_in_parts = any(place is not None and place.in_parts for place in self.placeholders.values())

    def placeholder(self, kind: str, where: str) -> Placeholder:
        """The placeholder of a kind of medium; `where` has such media.

        Raises:
            ValueError: the processor or its template takes none.
        """
        if kind not in self.placeholders:
            raise ValueError(
                f"{where} has {kind}s, but {self.name} takes none; remove them, or use the processor of a model that does."
            )
        placeholder = self.placeholders[kind]
        if placeholder is None:
            raise ValueError(
                f"{where} has {kind}s, but the chat template of {self.name} has no place for one; use another template."
            )
        return placeholder

    def check_placeholders(self, text: str, kind: str, count: int, where: str) -> None:
        """Raise unless a text has a placeholder for each of `count` media: a content may contain one, a template may leave one out."""
        placeholder = self.placeholders.get(kind)
        found = text.count(placeholder.token) if placeholder is not None and placeholder.token else count
        if placeholder is not None and found != count:
            raise ValueError(
                f"{where} has {count} {kind}s, but its rendered text contains {placeholder.token!r} {found} times, which the processor "
                f"would take for {found} {kind}s. Remove it from the texts of the messages, or move the {kind}s to messages of the user."
            )

    def spelled_placeholders(self, media_ids: Iterable[int]) -> list[str]:
        """The placeholders that are not tokens of their own (SmolVLM: `<video>`), so that a text's ids do not show them."""
        tokens = {placeholder.token for placeholder in self.placeholders.values() if placeholder and placeholder.token}
        known = {self.tokenizer.convert_ids_to_tokens(token) for token in media_ids}
        return sorted(tokens - known)

    def render(self, messages: Sequence[Mapping[str, Any]], conversation: Conversation) -> str:
        """The text of a conversation, with these messages instead of its own.

        Raises:
            ValueError: the template refuses it.
        """
        tools = {} if conversation.tools is None else {"tools": conversation.tools}
        try:
            return self.text_of(messages, **tools, **conversation.template_kwargs)
        except ImportError:
            raise  # jinja2 is missing: no row is at fault
        except Exception as error:  # a template may raise any exception
            raise ValueError(
                f"messages: {conversation.name} cannot be rendered by the chat template ({type(error).__name__}: {error}); fix or drop it."
            ) from error

    def text_of(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """What the template makes of messages."""
        return str(self.renderer.apply_chat_template(messages, tokenize=False, **variables))

    def find_placeholder(self, processor: Any, kind: str, variables: Mapping[str, Any]) -> Placeholder | None:
        """The placeholder of a kind of medium, found in the text of a question with it and of one without."""
        tokens = placeholder_tokens(processor, kind)
        text = {"type": "text", "text": QUESTION}
        answer: Any = [{"type": "text", "text": ANSWER}] if "assistant" in self.forms.roles_in_parts else ANSWER
        rendered = []
        for question in ([{"type": kind}, text], [text]):
            try:
                rendered.append(
                    self.text_of([{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **variables)
                )
            except Exception:  # a template may raise any exception
                rendered.append("")
        with_medium, without = rendered
        whole = all(with_medium.count(content) == 1 for content in (QUESTION, ANSWER))
        if whole and with_medium != without and not any(key in with_medium for key in KEYS_OF_PARTS):
            return Placeholder(next((token for token in tokens if token in with_medium), ""), in_parts=True)
        if tokens and "user" not in self.forms.roles_in_parts:
            return Placeholder(tokens[0], in_parts=False)
        return None


def placeholder_tokens(processor: Any, kind: str) -> list[str]:
    """The texts that a processor may replace with a medium of this kind. Gemma 3 replaces the one that begins an image."""
    names = (f"{kind}_token", f"bo{kind[0]}_token")
    owners = (processor, text_tokenizer(processor))
    found = (getattr(owner, name, None) for owner in owners for name in names)
    return list(dict.fromkeys(str(token) for token in found if token))


def media_processor(processor: Any, kind: str) -> Any:
    """The part of a processor that takes media of this kind, `None` if it has none."""
    return next((part for name in READERS[kind] if (part := getattr(processor, name, None)) is not None), None)
