"""The media of a conversation, from its columns and its parts, and the messages with a placeholder for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spanmask.chat.conversation import Conversation, split_media_text
from spanmask.chat.placeholders import Placeholder, VisionTemplate
from spanmask.collators.media import KINDS, Kind, entries_of
from spanmask.ragged import listed

__all__ = ["COLUMNS", "Media", "media_columns", "place_media"]

COLUMNS: dict[Kind, tuple[str, str]] = {"image": ("images", "image"), "video": ("videos", "video"), "audio": ("audio", "audios")}
# Types of parts, as transformers and OpenAI name them, and the keys that may hold the medium.
KIND_OF_PART: dict[str, Kind] = {
    **{name: kind for kind in KINDS for name in (kind, f"{kind}_url")},
    "input_audio": "audio",
}
HIDDEN = "\0"
SOURCES = ("url", "path", "base64", "bytes")


@dataclass(frozen=True)
class Media:
    """The media of one kind in a row, and where they are from, for error messages."""

    column: str
    values: list[Any]


RowMedia = dict[Kind, Media]


def media_columns(columns: Mapping[str, Any], rows: int) -> list[RowMedia]:
    """The media in the columns of each row, by kind.

    Raises:
        ValueError: a row has media in two columns of a kind.
    """
    found: list[RowMedia] = [{} for _ in range(rows)]
    for kind, names in COLUMNS.items():
        for name in names:
            column = columns.get(name, ())
            for row, entry in enumerate(listed(column)):
                values = entries_of(kind, entry)
                if values and kind in found[row]:
                    raise ValueError(f"{name}: row {row} also has media in {found[row][kind].column!r}; keep one of the columns.")
                if values:
                    found[row][kind] = Media(name, values)
    return found


def place_media(
    conversation: Conversation, given: RowMedia, template: VisionTemplate
) -> tuple[list[dict[str, Any]], dict[Kind, Media]]:
    """Give each medium of a row its place in the messages, and each place its medium.

    Parts that hold a medium keep it; parts without one take those of the column, in order. If there are no such parts, `<image>`, `<video>`
    and `<audio>` in contents that are texts are the places, as in LLaVA's data, or the processor's own placeholder; in answers only if
    those in the other texts are too few. If there are none either, the media go before the first user content.

    Returns:
        The messages, whose media are parts without a medium, or placeholders in texts if the template takes texts; and the media of each
        kind, not read, in the order of their places.

    Raises:
        ValueError: numbers of media and of places differ, a row has media in parts and in a column, or the template has no place for
            a kind of medium. The message names the row.
    """
    own: dict[Kind, list[Any]] = {kind: [] for kind in KINDS}
    bare = dict.fromkeys(KINDS, 0)
    messages = []
    for number, message in enumerate(conversation.messages):
        if isinstance(message.get("content"), list):
            where = f"messages: {conversation.name}, message {number}"
            message = {**message, "content": [emptied(part, own, bare, where) for part in message["content"]]}
        messages.append(message)
    media = {kind: given.get(kind) or Media("messages", own[kind]) for kind in KINDS if kind in given or own[kind]}
    for kind in KINDS:
        count, parts = len(media[kind].values) if kind in media else 0, bare[kind] + len(own[kind])
        if kind in given and own[kind]:
            raise ValueError(
                f"{given[kind].column}: {conversation.name} has {count} {kind}s in this column and {len(own[kind])} in parts of its "
                "messages; keep one of them."
            )
        if parts not in (0, count):
            raise ValueError(
                f"{COLUMNS[kind][0]}: {conversation.name} has {count} {kind}s but {parts} {kind} parts in its messages; add one part "
                f"for each {kind}, or remove all of them to have the {kind}s put before the first user content."
            )
    placeholders = {kind: template.placeholder(kind, f"{found.column}: {conversation.name}") for kind, found in media.items()}
    unplaced = [kind for kind in given if not bare[kind] and not has_tokens(messages, kind, placeholders[kind], media[kind])]
    if unplaced:
        with_places_in_texts(messages, {kind: media[kind] for kind in unplaced}, placeholders, conversation.name)
    return [with_tokens(message, placeholders) for message in messages], media


def emptied(part: dict[str, Any], own: dict[Kind, list[Any]], bare: dict[Kind, int], where: str) -> dict[str, Any]:
    """A part without its medium, which is added to `own`; a part without one is counted in `bare`."""
    kind = KIND_OF_PART.get(part["type"])
    if kind is None:
        return part
    keys = [key for key in (*(name for name, named in KIND_OF_PART.items() if named == kind), *SOURCES) if key in part]
    if len(keys) > 1:
        raise ValueError(f"{where}: a part of type {part['type']!r} with {' and '.join(map(repr, keys))}; keep one of them.")
    if keys:
        own[kind].append(source_of(part[keys[0]], keys[0], kind))
    else:
        bare[kind] += 1
    return {"type": kind}


def source_of(value: Any, key: str, kind: Kind) -> Any:
    """What a key of a part holds, base64 text as a data URL."""
    if isinstance(value, Mapping) and key.endswith("_url"):
        value = value.get("url")
    elif isinstance(value, Mapping) and key == "input_audio":
        value, key = value.get("data"), "base64"
    if key == "base64" and isinstance(value, str) and not value.startswith("data:"):
        return f"data:{kind}/any;base64,{value}"
    return value


def has_tokens(messages: Sequence[Mapping[str, Any]], kind: Kind, placeholder: Placeholder, media: Media) -> bool:
    """Whether texts already have the processor's own placeholder once for each medium. `<image>` is LLaVA's if it can be a part."""
    if not placeholder.token or (placeholder.in_parts and placeholder.token == f"<{kind}>"):
        return False
    texts = texts_of(messages)
    count: int = sum(text.count(placeholder.token) for text in texts.values())
    return count == len(media.values) and any(placeholder.token in texts[number] for number in inputs_of(messages, texts))


def texts_of(messages: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """The contents that are texts, by the numbers of their messages."""
    return {number: message["content"] for number, message in enumerate(messages) if isinstance(message.get("content"), str)}


def inputs_of(messages: Sequence[Mapping[str, Any]], texts: Iterable[int]) -> list[int]:
    """Those of these messages that the model reads and does not write."""
    return [number for number in texts if messages[number]["role"] != "assistant"]


def with_places_in_texts(
    messages: list[dict[str, Any]], media: Mapping[Kind, Media], placeholders: Mapping[Kind, Placeholder], name: str
) -> None:
    """Make places for media, in the list of messages: where texts have `<image>` and its kin, else before the first user content."""
    texts = texts_of(messages)
    inputs = inputs_of(messages, texts)
    first: list[dict[str, Any]] = []
    marked: dict[Kind, Collection[int]] = {}
    for kind, found in media.items():
        values = found.values
        count = sum(text.count(f"<{kind}>") for text in texts.values())
        of_inputs = sum(texts[number].count(f"<{kind}>") for number in inputs)
        if not count:
            first += [{"type": kind}] * len(values)
        elif of_inputs == len(values):
            marked[kind] = inputs  # that in an answer is text
        elif count == len(values) and of_inputs:
            marked[kind] = texts
        elif count == len(values):
            raise ValueError(
                f"{found.column}: {name} has {len(values)} {kind}s, but '<{kind}>' only in answers, where it may be text; write the "
                f"contents as lists, with a part {{'type': '{kind}'}} for each {kind}."
            )
        else:
            raise ValueError(
                f"{found.column}: {name} has {len(values)} {kind}s but {count} times '<{kind}>' in its texts; write it once for each "
                f"{kind}, or nowhere to have the {kind}s put before the first user content."
            )
    for number, text in texts.items():
        kinds = tuple(kind for kind, places in marked.items() if number in places and f"<{kind}>" in text)
        if kinds:
            messages[number] = {**messages[number], "content": with_places(text, kinds, placeholders)}
    if first:
        number = next((number for number, message in enumerate(messages) if message["role"] == "user"), -1)
        if number < 0:
            kind = first[0]["type"]
            raise ValueError(
                f"{media[kind].column}: {name} has {len(media[kind].values)} {kind}s but no user message to put them in."
            )
        content = messages[number].get("content") or []
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        messages[number] = {**messages[number], "content": [*first, *parts]}


def with_places(text: str, kinds: tuple[Kind, ...], placeholders: Mapping[Kind, Placeholder]) -> str | list[dict[str, Any]]:
    """A text with parts for its `<image>` and its kin, or with the processor's own placeholders if the template takes texts."""
    for kind in kinds:
        if not placeholders[kind].in_parts:
            text = text.replace(f"<{kind}>", placeholders[kind].token)
    kinds = tuple(kind for kind in kinds if placeholders[kind].in_parts)
    if not kinds:
        return text
    for kind in set(KINDS) - set(kinds):  # no medium of this kind: it is text
        text = text.replace(f"<{kind}>", f"<{HIDDEN}{kind}>")
    parts = split_media_text(text)
    return [{**part, "text": part["text"].replace(HIDDEN, "")} if part["type"] == "text" else part for part in parts]


def with_tokens(message: dict[str, Any], placeholders: Mapping[Kind, Placeholder]) -> dict[str, Any]:
    """A message whose parts are written as one text, if its media are not parts in the template.

    Media before a text end with a line break, as in LLaVA's data.
    """
    parts: Any = message.get("content")
    tokens: dict[str, str] = {kind: place.token for kind, place in placeholders.items() if not place.in_parts}
    kinds = {part["type"] for part in parts} if isinstance(parts, list) else set()
    if not kinds & tokens.keys() or not kinds <= {"text", *tokens}:  # `adapt` names parts that the template does not take
        return message
    text = ""
    for number, part in enumerate(parts):
        if part["type"] in tokens:
            following = parts[number + 1] if number + 1 < len(parts) else {}
            is_before_text = bool(following.get("text")) and not following["text"][0].isspace()
            text += tokens[part["type"]] + ("\n" if is_before_text else "")
        else:
            text += part["text"]
    return {**message, "content": text}
