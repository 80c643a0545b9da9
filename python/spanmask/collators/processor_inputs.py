"""What a processor is called with for a batch of conversations, and the call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spanmask.chat.conversation import Conversation
from spanmask.chat.placeholders import VisionTemplate, media_processor
from spanmask.collators.media import KINDS, Kind, read_medium
from spanmask.collators.media_parts import Media

__all__ = ["Inputs", "adds_special_tokens", "call_processor"]


@dataclass
class Inputs:
    """The conversation, the text and the media of each row, as the template and the processor take them."""

    conversations: list[Conversation] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    media: dict[Kind, list[list[Any]]] = field(default_factory=lambda: {kind: [] for kind in KINDS})

    def add(self, conversation: Conversation, text: str, media: Mapping[Kind, Media], template: VisionTemplate) -> None:
        """Add a row.

        Raises:
            ValueError: the text does not have one placeholder for each medium, or a medium cannot be read.
            TypeError: a medium of another type.
        """
        for kind in KINDS:
            given = media.get(kind) or Media("messages", [])
            where = f"{given.column}: {conversation.name}"
            template.check_placeholders(text, kind, len(given.values), where)
            self.media[kind].append([read_medium(kind, value, where, template.sampling_rate) for value in given.values])
        self.conversations.append(conversation)
        self.texts.append(text)

    def of_rows(self, rows: Sequence[int]) -> Inputs:
        """The inputs of some rows."""
        conversations, texts = [self.conversations[row] for row in rows], [self.texts[row] for row in rows]
        return Inputs(conversations, texts, {kind: [all_[row] for row in rows] for kind, all_ in self.media.items()})


def call_processor(processor: Any, inputs: Inputs, padding_side: str) -> dict[str, Any]:
    """The processor's output as NumPy arrays.

    Raises:
        ValueError: the processor cannot take a row, or these rows in one batch; or it would return images and videos under the same name,
            and one of them would be lost.
    """
    if any(inputs.media["image"]) and any(inputs.media["video"]):
        check_names(processor)
    try:
        processed = processor(**arguments_of(processor, inputs, padding_side))
    except (ImportError, MemoryError):
        raise  # no row is at fault
    except Exception as error:  # a processor may raise any exception
        raise ValueError(refusal_of(processor, inputs, padding_side, error)) from error
    return {name: as_array(value) for name, value in processed.items()}


def arguments_of(processor: Any, inputs: Inputs, padding_side: str) -> dict[str, Any]:
    """The arguments of the processor's call."""
    images, videos, sounds = (inputs.media[kind] for kind in KINDS)
    media: dict[str, Any] = {}
    # Text is up to 1.6 times as fast as arrays. Images are not: fast processors of transformers 4 return tensors only; nor is text next to
    # videos: InternVL takes tensors for granted.
    if any(images):
        media |= {"images": images, "images_kwargs": {"return_tensors": "pt"}}
    if any(videos):
        media |= {"videos": videos, "videos_kwargs": {"return_tensors": "pt"}}
    if any(sounds):
        rate = media_processor(processor, "audio").sampling_rate
        media |= {"audio": [sound for row in sounds for sound in row]}
        media |= {"audio_kwargs": {"return_tensors": "np", "sampling_rate": rate}}
    text = {
        "padding": True,
        "padding_side": padding_side,
        "add_special_tokens": adds_special_tokens(processor, inputs.texts[0]),
        "return_tensors": "pt" if any(videos) else "np",
    }
    return {"text": list(inputs.texts), "text_kwargs": text, **media}


def refusal_of(processor: Any, inputs: Inputs, padding_side: str, error: Exception) -> str:
    """Which row the processor cannot take, and why; or that it takes each of them alone."""
    name = type(processor).__name__
    for row, conversation in enumerate(inputs.conversations):
        try:
            processor(**arguments_of(processor, inputs.of_rows([row]), padding_side))
        except Exception as own:  # as above
            return f"features: {conversation.name} cannot be processed by {name} ({type(own).__name__}: {own}); fix or drop it."
    return (
        f"features: {name} takes each of these rows alone, but not together ({type(error).__name__}: {error}). Give each batch rows "
        "with the same numbers of images, videos and sounds, for example by sorting or filtering the data set."
    )


def adds_special_tokens(processor: Any, text: str) -> bool:
    """Whether the tokenizer adds BOS, as at inference: LLaVA's template leaves it to the tokenizer, Gemma's writes it."""
    bos = processor.tokenizer.bos_token
    return not (bos and text.startswith(bos))


def as_array(value: Any) -> Any:
    """An array of the dtype that `return_tensors="pt"` gives; other values are not changed.

    Lists of numbers become arrays, too: Qwen2.5-Omni of transformers 5.20 leaves one.
    """
    if isinstance(value, list) and value and all(isinstance(number, (int, float)) for number in value):
        value = np.asarray(value)
    array = value.numpy() if hasattr(value, "numpy") else value
    return array.astype(np.float32) if isinstance(array, np.ndarray) and array.dtype == np.float64 else array


def check_names(processor: Any) -> None:
    """Raise if images and videos have the same names in the processor's output (SmolVLM)."""
    names = [set(getattr(getattr(processor, part), "model_input_names", ())) for part in ("image_processor", "video_processor")]
    shared = sorted(set.intersection(*names))
    if shared:
        raise ValueError(
            f"features: {type(processor).__name__} returns both images and videos as {' and '.join(map(repr, shared))}, so a batch "
            "cannot have both; give each batch rows of one kind."
        )
