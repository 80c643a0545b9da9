"""`split_media_text`: placeholders become parts where they are."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask.chat.conversation import split_media_text

IMAGE, VIDEO, AUDIO = ({"type": kind} for kind in ("image", "video", "audio"))
PIECES = st.sampled_from(["<image>", "<video>", "<audio>", "<images>", "image>", "<", "\n", "\r\n", " ", "\t", "word", "é"])


def parts(*items):
    return [item if isinstance(item, dict) else {"type": "text", "text": item} for item in items]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("What?", parts("What?")),
        ("", parts("")),
        ("\n", parts("\n")),
        ("<image>", parts(IMAGE)),
        ("<image>\n", parts(IMAGE)),
        ("<image>\nWhat?", parts(IMAGE, "What?")),
        ("<image>\r\nWhat?", parts(IMAGE, "What?")),
        ("What?\n<image>", parts("What?", IMAGE)),
        (" <image>\t \nWhat?", parts(IMAGE, "What?")),
        ("<image>What?", parts(IMAGE, "What?")),
        ("<image>\n\n What?\n", parts(IMAGE, "\n What?\n")),
        ("<image>\n<image>\nWhich?", parts(IMAGE, IMAGE, "Which?")),
        ("<image> <video>\nWhich?", parts(IMAGE, VIDEO, "Which?")),
        ("First\n<audio>\nthen\n<image>\nend", parts("First", AUDIO, "then", IMAGE, "end")),
        ("Is <image> like <image>?\nSay so.", parts("Is ", IMAGE, " like ", IMAGE, "?\nSay so.")),
        ("See <image>\nhere", parts("See ", IMAGE, "\nhere")),
        ("<Image> <image/> <img>", parts("<Image> <image/> <img>")),
    ],
)
def test_parts_stand_where_the_placeholders_stood(text, expected):
    assert split_media_text(text) == expected


@given(st.lists(PIECES, max_size=12).map("".join))
def test_split_media_text_loses_only_white_space_next_to_media(text):
    made = split_media_text(text)
    rejoined = "".join(part["text"] if part["type"] == "text" else f"<{part['type']}>" for part in made)
    assert re.sub(r"\s", "", rejoined) == re.sub(r"\s", "", text)
    assert [part["type"] for part in made if part["type"] != "text"] == re.findall("<(image|video|audio)>", text)
    for part in made:
        if part["type"] == "text":
            assert part["text"] in text
            assert not re.search("<(image|video|audio)>", part["text"])
    assert len(made) == 1 or {"type": "text", "text": ""} not in made


@given(st.lists(PIECES, max_size=12).map("".join))
def test_split_media_text_loses_no_line(text):
    lines = re.split(r"\r?\n", text)
    bare = [line for line in lines if not re.fullmatch(r"[ \t]*(<(image|video|audio)>[ \t]*)+", line)]
    texts = "".join(part["text"] for part in split_media_text(text) if part["type"] == "text")
    for line in bare:
        assert re.sub("<(image|video|audio)>", "", line) in texts
