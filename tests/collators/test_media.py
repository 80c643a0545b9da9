"""Media as data sets hold them: files, URLs, bytes, arrays, dicts of `datasets`."""

import base64
import io
import random
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from spanmask.collators.media import entries_of, read_medium
from support import tiny_processors as zoo

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

RNG = random.Random(3)
PICTURE = zoo.image(RNG)


def encoded(picture, kind="PNG", **options):
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def same_picture(read, wanted=PICTURE):
    return read.mode == "RGB" and np.array_equal(np.asarray(read), np.asarray(wanted))


def forms_of_an_image(folder):
    path = folder / "a picture.png"
    path.write_bytes(encoded(PICTURE))
    text = base64.b64encode(encoded(PICTURE)).decode()
    return {
        "path": str(path),
        "Path": path,
        "file url": f"file://{path}",
        "data url": f"data:image/png;base64,{text}",
        "data url with parameters": f"data:image/png;charset=utf-8;base64,{text}",
        "bytes": encoded(PICTURE),
        "struct of bytes": {"bytes": encoded(PICTURE), "path": None},
        "struct of a path": {"bytes": None, "path": str(path)},
        "struct of both": {"bytes": encoded(PICTURE), "path": "elsewhere.png"},
    }


def test_images_are_read_from_all_forms(tmp_path):
    for name, form in forms_of_an_image(tmp_path).items():
        assert same_picture(read_medium("image", form, "images: row 0")), name


def test_images_that_are_decoded_stay_as_they_are():
    for value in (PICTURE, PICTURE.convert("L"), np.zeros((9, 8, 3)), torch.zeros(3, 8, 9), np.zeros((9, 8), np.uint8)):
        assert read_medium("image", value, "images: row 0") is value


def test_files_are_turned_upright_and_are_rgb(tmp_path):
    turned = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    turned.write_bytes(encoded(PICTURE, "JPEG", exif=exif, quality=100))
    assert read_medium("image", turned, "").size == PICTURE.size[::-1]
    assert read_medium("image", encoded(PICTURE.convert("P")), "").mode == "RGB"


def test_videos_are_arrays_frames_or_paths(tmp_path):
    array = zoo.video(RNG, frames=3)
    assert read_medium("video", array, "") is array
    for frames in ([Image.fromarray(frame) for frame in array], tuple(array), [torch.from_numpy(frame) for frame in array]):
        assert np.array_equal(read_medium("video", frames, ""), array)
    path = tmp_path / "film.mp4"
    path.write_bytes(b"a film")
    for form in (path, str(path), {"bytes": None, "path": str(path)}, {"bytes": b"a film", "path": str(path)}):
        assert read_medium("video", form, "") == str(path)


def test_sounds_are_samples(monkeypatch, tmp_path):
    samples = zoo.sound(RNG)
    for value in (
        samples,
        samples.tolist(),
        torch.from_numpy(samples),
        {"array": samples, "sampling_rate": 8000, "path": None},
        {"array": samples.tolist(), "sampling_rate": 8000},
    ):
        read = read_medium("audio", value, "audio: row 0", 8000)
        assert read.dtype == np.float32
        assert np.array_equal(read, samples)
    path = tmp_path / "a.wav"
    path.write_bytes(b"a sound")
    asked = []
    monkeypatch.setattr(
        "transformers.audio_utils.load_audio", lambda source, sampling_rate: asked.append((source, sampling_rate)) or samples
    )
    text = base64.b64encode(b"a sound").decode()
    for value in (path, b"a sound", f"data:audio/wav;base64,{text}", {"bytes": b"a sound", "path": "x"}):
        assert read_medium("audio", value, "", 8000) is samples
    assert asked == [(str(path), 8000), *[(text, 8000)] * 3]


class SoundDecoder:
    """Returns what a `torchcodec.decoders.AudioDecoder` does."""

    def __init__(self, channels):
        self.samples = SimpleNamespace(data=torch.from_numpy(channels), sample_rate=8000, pts_seconds=0.0)

    def get_all_samples(self):
        return self.samples


class VideoDecoder:
    """Returns what a `torchcodec.decoders.VideoDecoder` does."""

    def __init__(self, frames):
        self.frames = torch.from_numpy(frames).permute(0, 3, 1, 2)

    def __getitem__(self, at):
        return self.frames[at]

    def get_frames_in_range(self, start, stop):
        raise NotImplementedError


def test_decoders_are_read_whole():
    stereo = np.stack([np.arange(9.0), np.arange(9.0) + 2]).astype(np.float32)
    assert read_medium("audio", SoundDecoder(stereo), "", 8000).tolist() == (np.arange(9.0) + 1).tolist()
    with pytest.raises(ValueError, match="audio: row 4: a sampling rate of 8000 Hz, but the processor takes 16000 Hz"):
        read_medium("audio", SoundDecoder(stereo), "audio: row 4", 16000)
    film = zoo.video(RNG, frames=3)
    assert np.array_equal(read_medium("video", VideoDecoder(film), "").permute(0, 2, 3, 1), film)


@pytest.mark.parametrize(
    ("kind", "value", "error", "message"),
    [
        ("image", "https://example.org/a.png", ValueError, "'https://example.org/a.png' is on a network; download it first"),
        ("video", "HTTP://example.org/a.mp4", ValueError, "download it first"),
        ("audio", "s3://bucket/a.wav", ValueError, "download it first"),
        ("image", "nowhere.png", ValueError, "there is no file 'nowhere.png'; the working directory is '/"),
        ("image", {"bytes": None, "path": "nowhere.png"}, ValueError, "there is no file 'nowhere.png'"),
        ("image", {"bytes": None, "path": None}, ValueError, "a dict with no values; expected 'bytes' or 'path'"),
        ("image", b"no picture", ValueError, "the bytes cannot be read as an image"),
        ("image", "data:image/png;base64,####", ValueError, "has invalid base64"),
        ("image", 5, TypeError, "got int; expected a PIL image"),
        ("image", np.zeros((2, 3, 4, 5)), TypeError, re.escape("got ndarray of shape (2, 3, 4, 5); expected a PIL image")),
        ("video", np.zeros((3, 4, 5)), TypeError, re.escape("shape (3, 4, 5); expected an array [frames, height, width, 3]")),
        ("video", [np.zeros((3, 4, 3)), np.zeros((5, 4, 3))], TypeError, re.escape("frames of the shapes (3, 4, 3), (5, 4, 3)")),
        ("video", [], TypeError, "frames of the shapes none"),
        ("video", {"bytes": b"a film", "path": None}, ValueError, "the bytes of a file; write them to a file"),
        ("video", "data:video/mp4;base64,AAAA", ValueError, "a video in a data URL; write it to a file"),
        ("audio", np.zeros((2, 400)), TypeError, re.escape("shape (2, 400); expected an array of samples [n]")),
        (
            "audio",
            {"array": np.zeros(9), "sampling_rate": 44100},
            ValueError,
            "44100 Hz, but the processor takes 8000 Hz; resample",
        ),
        ("audio", [[0.5], [0.5, 0.5]], TypeError, "got list; expected an array of samples"),
        ("video", PICTURE, TypeError, "got Image; expected an array"),
        ("audio", PICTURE, TypeError, "got Image; expected an array of samples"),
    ],
)
def test_errors_name_the_row_and_the_remedy(kind, value, error, message):
    with pytest.raises(error, match=f"^films: row 7: .*{message}"):
        read_medium(kind, value, "films: row 7", 8000)


def test_sounds_that_transformers_cannot_read_are_errors(tmp_path):
    """Without a library for sounds, or with one: these bytes are none."""
    path = tmp_path / "a.wav"
    path.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"^audio: row 2: '/.*a.wav' cannot be read as a sound"):
        read_medium("audio", path, "audio: row 2", 16000)


def test_entries_of_columns(tmp_path):
    film = zoo.video(RNG, frames=2)
    frames = [Image.fromarray(frame) for frame in film]
    pictures = np.zeros((4, 9, 8, 3))
    samples = [0.5, 0.25]
    cases = [
        ("image", None, []),
        ("image", [], []),
        ("image", [None, PICTURE, None], [PICTURE]),
        ("image", PICTURE, [PICTURE]),
        ("image", (PICTURE, "a.png"), [PICTURE, "a.png"]),
        ("image", {"bytes": b"", "path": None}, [{"bytes": b"", "path": None}]),
        ("video", frames, [frames]),
        ("video", [frames, frames], [frames, frames]),
        ("video", Path("a.mp4"), [Path("a.mp4")]),
        ("audio", samples, [samples]),
        ("audio", [samples, samples], [samples, samples]),
    ]
    for kind, entry, wanted in cases:
        assert entries_of(kind, entry) == wanted
    assert [
        len(entries_of(*case)) for case in (("image", pictures), ("image", pictures[0]), ("video", film), ("video", film[None]))
    ] == [4, 1, 1, 1]
    assert len(entries_of("audio", np.zeros((2, 9)))) == 1  # channels of one sound, which is an error when it is read
