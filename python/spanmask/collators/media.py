"""Images, videos and sounds as data sets hold them -> what a transformers processor takes. Nothing is downloaded."""

from __future__ import annotations

import binascii
import io
import os
import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

__all__ = ["KINDS", "Kind", "entries_of", "read_medium"]

Kind = Literal["image", "video", "audio"]
KINDS: tuple[Kind, ...] = get_args(Kind)
DATA_URL = r"data:[\w.+-]+/[\w.+-]+(?:;[\w=.+-]+)*;base64,"  # patterns as text: see `spanmask.chat.media`
BASE64 = r"[A-Za-z0-9+/]*={0,2}"  # `base64.b64decode(validate=True)` does the same; the module takes 1 ms to import
EXPECTED = {
    "image": "a PIL image, an array [height, width, channels], a path, a data URL or the bytes of a file",
    "video": "an array [frames, height, width, 3], a list of frames (PIL images or arrays), or a path",
    "audio": "an array of samples [n], {'array': ..., 'sampling_rate': ...} as datasets decodes it, a path or a data URL",
}
MEDIUM_DIMENSIONS = {"image": (2, 3), "video": (4,), "audio": (1,)}


def read_medium(kind: Kind, value: Any, where: str, sampling_rate: int | None = None) -> Any:
    """One image, video or sound as processors take it.

    Args:
        kind: what it is.
        value: see `EXPECTED`; also `{"bytes": ..., "path": ...}` as datasets holds undecoded media, and the decoders of torchcodec that it
            returns for sounds and videos.
        where: the column and the row, for error messages.
        sampling_rate: that of the processor, for sounds.

    Returns:
        For an image a PIL image or an array, for a video an array [frames, height, width, 3] or a path, for a sound an array [n].

    Raises:
        ValueError: a URL, a file that does not exist or cannot be read, or a sound of another sampling rate.
        TypeError: a value of another type.
    """
    if kind == "audio" and hasattr(value, "get_all_samples"):
        samples = value.get_all_samples()
        value = {"array": np.asarray(samples.data).mean(axis=0), "sampling_rate": samples.sample_rate}
    elif kind == "video" and hasattr(value, "get_frames_in_range"):
        value = value[:]
    if isinstance(value, Mapping):
        value = from_struct(kind, value, where, sampling_rate)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, str):
        value = from_text(kind, value, where)
    if kind == "image":
        value = decoded_image(value, where)
    elif kind == "video" and isinstance(value, (list, tuple)):
        value = stacked_frames(value, where)
    elif kind == "audio" and isinstance(value, (bytes, str)):
        value = decoded_audio(value, where, sampling_rate)
    elif kind == "audio" and isinstance(value, (list, tuple)) and all(isinstance(sample, (int, float)) for sample in value):
        value = np.asarray(value, np.float32)
    is_decoded = is_pil_image(value) if kind == "image" else kind == "video" and isinstance(value, str)
    if not is_decoded and dimensions(value) not in MEDIUM_DIMENSIONS[kind]:
        shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
        raise TypeError(f"{where}: got {type(value).__name__}{shape}; expected {EXPECTED[kind]}.")
    return np.asarray(value) if kind == "audio" else value


def entries_of(kind: Kind, entry: Any) -> list[Any]:
    """The media in one row of a column: none, one, or a list of them. A list of frames is one video, a list of numbers one sound."""
    if entry is None:
        return []
    if kind != "audio" and dimensions(entry) == MEDIUM_DIMENSIONS[kind][-1] + 1:
        return list(entry)  # an array of media of one shape; of sounds it would be the channels of one
    if not isinstance(entry, (list, tuple)):
        return [entry]
    given = [item for item in entry if item is not None]
    if given and kind == "video" and all(is_pil_image(item) or dimensions(item) == 3 for item in given):
        return [given]
    if given and kind == "audio" and all(isinstance(item, (int, float)) for item in given):
        return [given]
    return given


def dimensions(value: Any) -> int | None:
    """The number of dimensions of an array or tensor, `None` for other values."""
    return len(value.shape) if hasattr(value, "shape") and hasattr(value, "dtype") else None


def is_pil_image(value: Any) -> bool:
    """Whether `value` is a PIL image, without an import of PIL."""
    return hasattr(value, "getexif") and hasattr(value, "tobytes")


def from_struct(kind: Kind, value: Mapping[str, Any], where: str, sampling_rate: int | None) -> Any:
    """The medium in a dict of datasets: decoded sound with its rate, or the bytes or the path of a file."""
    given = {key: entry for key, entry in value.items() if entry is not None}
    if kind == "audio" and "array" in given:
        rate = given.get("sampling_rate")
        if rate is not None and sampling_rate is not None and rate != sampling_rate:
            raise ValueError(
                f"{where}: a sampling rate of {rate} Hz, but the processor takes {sampling_rate} Hz; resample it, for example with "
                f"dataset.cast_column('audio', Audio(sampling_rate={sampling_rate}))."
            )
        return given["array"] if dimensions(given["array"]) else np.asarray(given["array"], np.float32)
    found = given.get("bytes", given.get("path"))
    if found is None:
        raise ValueError(
            f"{where}: a dict with {', '.join(map(repr, given)) or 'no values'}; expected 'bytes' or 'path' with a value."
        )
    if kind == "video" and isinstance(found, bytes):
        if "path" not in given or not os.path.isfile(given["path"]):
            raise ValueError(f"{where}: the bytes of a file; write them to a file and give its path, or decode them to frames.")
        return given["path"]
    return found


def from_text(kind: Kind, text: str, where: str) -> str | bytes:
    """A path of a file that exists, or the bytes in a data URL or in base64 text."""
    if re.match(r"(?i)(?:https?|ftp|s3|gs|hf)://", text):
        raise ValueError(f"{where}: {shortened(text)} is on a network; download it first, and give its path.")
    text = text.removeprefix("file://")
    if found := re.match(DATA_URL, text):
        content = text[found.end() :]
        if not re.fullmatch(BASE64, content) or len(content) % 4:
            raise ValueError(f"{where}: {shortened(text)} has invalid base64.")
        if kind == "video":
            raise ValueError(f"{where}: a video in a data URL; write it to a file and give its path, or decode it to frames.")
        return binascii.a2b_base64(content)
    if not os.path.isfile(text):
        raise ValueError(f"{where}: there is no file {shortened(text)}; the working directory is {os.getcwd()!r}.")
    return text


def shortened(text: str) -> str:
    """A text in an error message."""
    return repr(text if len(text) <= 120 else f"{text[:100]}...")


def decoded_image(value: Any, where: str) -> Any:
    """A file or its bytes as an RGB image, upright, as transformers' `load_image` returns it. Other values are not changed."""
    if not isinstance(value, (str, bytes)):
        return value
    from PIL import Image, ImageOps

    try:
        return ImageOps.exif_transpose(Image.open(io.BytesIO(value) if isinstance(value, bytes) else value)).convert("RGB")
    except OSError as error:
        name = shortened(value) if isinstance(value, str) else "the bytes"
        raise ValueError(f"{where}: {name} cannot be read as an image ({error}).") from error


def stacked_frames(frames: list[Any] | tuple[Any, ...], where: str) -> Any:
    """A video as one array."""
    arrays = [np.asarray(frame.convert("RGB") if is_pil_image(frame) else frame) for frame in frames]
    shapes = {array.shape for array in arrays}
    if len(shapes) != 1 or arrays[0].ndim != 3:
        found = ", ".join(map(str, sorted(shapes))) or "none"
        raise TypeError(f"{where}: frames of the shapes {found}; expected frames of one shape [height, width, 3].")
    return np.stack(arrays)


def decoded_audio(value: str | bytes, where: str, sampling_rate: int | None) -> Any:
    """The samples of a sound file, read by transformers."""
    from transformers.audio_utils import load_audio

    source = value if isinstance(value, str) else binascii.b2a_base64(value, newline=False).decode()
    try:
        return load_audio(source, sampling_rate=sampling_rate or 16_000)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        name = shortened(value) if isinstance(value, str) else "the bytes"
        raise ValueError(f"{where}: {name} cannot be read as a sound ({type(error).__name__}: {error}).") from error
