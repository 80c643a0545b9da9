"""`expanded_positions`, compared with the character offsets of eleven real processors, and on rows written by hand."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask.chat.media import media_ids
from spanmask.chat.text.expanded import expanded_positions
from support import text_truth as truth
from support import tiny_processors as zoo

pytestmark = pytest.mark.needs("transformers>=5")  # the processors of the tests are built as that version builds them

ARGUMENT = {"image": "images", "video": "videos", "audio": "audio"}


def conversation(rng, kind):
    """Messages with media at the edges of questions, also with a few tokens between two, and the media."""
    contents = truth.conversation(rng, [*["system"] * rng.randrange(2), *["user", "assistant"] * rng.randint(1, 3)])
    messages, values = truth.messages(contents, truth.ROLES), []
    for message in messages:
        for _ in range(rng.randrange(3) if message["role"] == "user" else 0):
            message["content"].insert(rng.choice([0, len(message["content"])]), {"type": kind})
            if rng.random() < 0.3:
                message["content"].insert(0, {"type": "text", "text": rng.choice(["\n", "a", "x\n", " the weather"])})
            values.append(zoo.video(rng, frames=4) if kind == "video" else zoo.MEDIUM[kind](rng))
    return messages, values


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in zoo.KINDS.items() for kind in kinds])
def test_tokens_begin_where_their_text_begins(name, kind):
    processor = zoo.processor_of(name)
    media, rng = media_ids(processor), random.Random(11)
    known = uncertain = 0
    for _ in range(25):
        messages, values = conversation(rng, kind)
        text = processor.apply_chat_template(messages, tokenize=False)
        settings = {"add_special_tokens": not text.startswith(processor.tokenizer.bos_token), "return_offsets_mapping": True}
        given = {ARGUMENT[kind]: [values] if kind == "image" else values} if values else {}
        row = processor(text=[text], return_text_replacement_offsets=True, return_tensors="np", **given, **settings)
        plain = processor.tokenizer(text, **settings)
        positions = expanded_positions(plain["input_ids"], row["input_ids"][0], media)
        if (name, kind) == ("smolvlm", "video") and values:  # its placeholder `<video>` is not a token
            assert positions is None
            continue
        assert positions[-1] == len(row["input_ids"][0])
        assert (np.diff(positions[positions >= 0]) >= 0).all()
        starts = [start for start, _ in row["offset_mapping"][0]]
        written = (row.get("text_replacement_offsets") or [[]])[0]
        for at, (token, (start, stop)) in enumerate(zip(plain["input_ids"], plain["offset_mapping"], strict=True)):
            if start == stop or token in media:  # BOS; a run of placeholders
                continue
            if positions[at] < 0:
                uncertain += 1
                continue
            known += 1
            gained = [one["new_span"][1] - one["span"][1] for one in written if one["span"][1] <= start]
            assert starts[positions[at]] == start + (gained[-1] if gained else 0), text[start:]
    assert known > 30 * uncertain
    assert known > 200


PLACEHOLDER, OPEN, CLOSE = 900, 901, 902
MEDIA = [PLACEHOLDER, OPEN, CLOSE]


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5),
    st.integers(1, 4),
    st.sampled_from([(), (OPEN, CLOSE)]),
)
def test_any_row_without_added_text_is_certain(stretches, count, wrappers):
    expansion = [*wrappers[:1], *[PLACEHOLDER] * count, *wrappers[1:]]
    text, row, wanted = [], [], []
    for number, stretch in enumerate(stretches):
        if number:
            wanted.append(len(row))
            text.append(PLACEHOLDER)
            row += expansion
        wanted += range(len(row), len(row) + len(stretch))
        text += stretch
        row += stretch
    positions = expanded_positions(text, row, MEDIA)
    inside_a_run = np.zeros(len(text) + 1, bool)
    inside_a_run[1:-1] = np.isin(text, MEDIA)[1:] & np.isin(text, MEDIA)[:-1]
    assert positions.tolist() == np.where(inside_a_run, -1, [*wanted, len(row)]).tolist()


@pytest.mark.parametrize(
    ("text", "row", "wanted"),
    [
        ([1, 2, 3], [1, 2, 3], [0, 1, 2, 3]),
        ([PLACEHOLDER], [PLACEHOLDER] * 3, [0, 3]),
        # Text is added on both sides, and the second 1 merges with it.
        ([1, 2, 3, 1, PLACEHOLDER, 4, 5], [1, 2, 3, 8, PLACEHOLDER, PLACEHOLDER, 7, 4, 5], [0, 1, 2, 3, 3, 7, 8, 9]),
        ([1, PLACEHOLDER, 4, 5], [1, PLACEHOLDER, 6, 5], [0, 1, -1, 3, 4]),
        # Text between tiles that is also the whole text between two images: not certain; the text around it is.
        (
            [1, PLACEHOLDER, 3, PLACEHOLDER, 4],
            [1, PLACEHOLDER, 3, PLACEHOLDER, 3, PLACEHOLDER, 3, PLACEHOLDER, 4],
            [0, 1, -1, -1, 8, 9],
        ),
        # Enough text between two images is found among the text of tiles.
        (
            [1, PLACEHOLDER, 3, 5, 6, 3, PLACEHOLDER, 4],
            [1, PLACEHOLDER, 3, PLACEHOLDER, 3, 5, 6, 3, PLACEHOLDER, 3, PLACEHOLDER, 4],
            [0, 1, 4, 5, 6, 7, 8, 11, 12],
        ),
        # The same text twice: each has its own place.
        (
            [1, PLACEHOLDER, 5, 6, 7, PLACEHOLDER, 5, 6, 7, PLACEHOLDER],
            [1, PLACEHOLDER, 3, PLACEHOLDER, 5, 6, 7, PLACEHOLDER, 5, 6, 7, PLACEHOLDER, 3, PLACEHOLDER],
            [0, 1, 4, 5, 6, 7, 8, 9, 10, 11, 14],
        ),
    ],
)
def test_added_text(text, row, wanted):
    assert expanded_positions(text, row, MEDIA).tolist() == wanted


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ([1, 2], [1, 2, 3]),
        ([1, 2], [1, PLACEHOLDER, 2]),
        ([1, PLACEHOLDER, 2], [1, 2]),
        ([1, 2, 3, 4, PLACEHOLDER, 2], [1, 5, 5, 5, PLACEHOLDER, 2]),
        ([1, PLACEHOLDER, 2, 3, 4], [1, PLACEHOLDER, 5, 5, 5]),
        ([1, PLACEHOLDER, 2, 3, 4, 5, 6, PLACEHOLDER, 1], [1, PLACEHOLDER, PLACEHOLDER, 1]),
        ([1, PLACEHOLDER, 2, 3, 4, 5, 6, PLACEHOLDER, 1], [1, PLACEHOLDER, 2, 3, 9, 5, 6, PLACEHOLDER, 1]),
    ],
)
def test_rows_of_other_texts_have_no_positions(text, row):
    assert expanded_positions(text, row, MEDIA) is None
