"""Anchored starts: headers of plain text, which may occur inside a content."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import ChatFormat, ChatFormatError, MaskPolicy, RoleBoundary, find_turns, mask_labels, reference
from spanmask.chat.tokens import encode
from support.vocabularies import KINDS, tokenizer_of
from transformers import ByT5Tokenizer

SEP, CALL_END, BOS, PAD, NEXT, BLANK = 40, 41, 42, 43, 44, 45
# "human:" is 20 21, "bot:" is 30 21
FORMAT = ChatFormat(
    [
        RoleBoundary("bot", [[30, 21], [BLANK, 30, 21]], [[SEP], [CALL_END, CALL_END]], anchored=True),
        RoleBoundary("human", [20, 21], [SEP], anchored=True),
    ],
    stop_token_ids=[NEXT],
    anchor_ids=[BOS, PAD],
)


def starts(row, chat_format=FORMAT):
    turns = find_turns([row], chat_format)
    found = [(chat_format.roles[role], start) for role, start in zip(turns.role, turns.start, strict=True)]
    assert found == [(chat_format.roles[turn.role], turn.start) for turn in reference.find_turns(row, chat_format)]
    return found


@pytest.mark.parametrize(
    ("row", "found"),
    [
        pytest.param([20, 21, 7], [("human", 0)], id="a row's first token"),
        pytest.param([7, 20, 21, 7], [], id="after a content"),
        pytest.param([20, 21, 7, SEP, 30, 21, 8, SEP], [("human", 0), ("bot", 4)], id="after the closing marker"),
        pytest.param([20, 21, 7, 30, 21, 8, SEP, 30, 21, 9], [("human", 0), ("bot", 7)], id="a header inside a content"),
        pytest.param([20, 21, 30, 21, 8, SEP], [("human", 0)], id="a content that begins with a header"),
        pytest.param([SEP, 20, 21], [("human", 1)], id="after a closing marker outside of turns"),
        pytest.param([30, 21, 5, CALL_END, CALL_END, 20, 21], [("bot", 0), ("human", 5)], id="after each alternative of an end"),
        pytest.param([30, 21, 5, CALL_END, 20, 21], [("bot", 0)], id="after half an end"),
        pytest.param([20, 21, 5, CALL_END, CALL_END, 30, 21], [("human", 0), ("bot", 5)], id="after another role's end"),
        pytest.param([20, 21, 7, NEXT, 30, 21], [("human", 0), ("bot", 4)], id="after a stop token"),
        pytest.param([20, 21, 7, SEP, BLANK, 30, 21], [("human", 0), ("bot", 4)], id="a blank that the start begins with"),
        pytest.param([30, 21, 7, SEP, BLANK, 20, 21], [("bot", 0)], id="a blank that the start does not begin with"),
        pytest.param([20, 21, 7, BLANK, 30, 21], [("human", 0)], id="a blank inside a content"),
        pytest.param([BOS, 20, 21, 7], [("human", 1)], id="after BOS"),
        pytest.param([PAD, PAD, BOS, 20, 21], [("human", 3)], id="after padding and BOS"),
        pytest.param(
            [20, 21, 7, BOS, 20, 21, 8, SEP, 30, 21],
            [("human", 0), ("human", 4), ("bot", 8)],
            id="packed, after a conversation that was cut",
        ),
        pytest.param([20, 21, 7, SEP, PAD, 30, 21], [("human", 0), ("bot", 5)], id="a token between"),
    ],
)
def test_an_anchored_start_counts_where_a_turn_can_begin(row, found):
    assert starts(row) == found


def test_other_starts_count_everywhere():
    mixed = ChatFormat([RoleBoundary("bot", [30], [SEP], anchored=True), RoleBoundary("human", [20, 21], [SEP])])
    assert starts([7, 20, 21, 30, 7, SEP, 30], mixed) == [("human", 1), ("bot", 6)]


def test_a_shorter_start_counts_where_the_longest_is_not_anchored():
    mixed = ChatFormat([RoleBoundary("bot", [30, 21], [SEP], anchored=True), RoleBoundary("human", [30], [SEP])])
    assert starts([7, 30, 21, 7, SEP, 30, 21], mixed) == [("human", 1), ("bot", 5)]


def test_rows_of_one_array_begin_on_their_own():
    turns = find_turns([[7, 20], [20, 21, 7], [20, 21]], FORMAT)
    assert turns.row.tolist() == [1, 2]


def test_anchored_is_printed_compared_and_pickled():
    assert str(FORMAT).splitlines()[2:] == [
        "  human  start [20, 21]  end [40]  (anchored)",
        "  trained after a turn: [44]",
        "  texts begin and end with: [42] | [43]",
    ]
    assert pickle.loads(pickle.dumps(FORMAT)) == FORMAT
    assert RoleBoundary("bot", [30], anchored=True) != RoleBoundary("bot", [30])
    with pytest.raises(ValueError, match="anchored: expected True or False, got 'yes'"):
        RoleBoundary("bot", [30], anchored="yes")


HEADERS = {"human": ("human: ", "<sep>"), "bot": ("bot: ", "<sep>")}
words = st.sampled_from(["far", " no", "Yes.", "\n", "bot: ", "human: ", "\n\nbot: it", " human:", "(bot:", "42", "é"])
contents = st.lists(words, min_size=1, max_size=4).map("".join)


def tokenizer_for(kind):
    if kind != "byt5":
        return tokenizer_of(kind, ("<sep>",))
    tokenizer = ByT5Tokenizer()
    tokenizer.add_tokens(["<sep>"], special_tokens=True)
    return tokenizer


@pytest.fixture(scope="module")
def formats():
    made = {}

    def get(kind):
        if kind not in made:
            tokenizer = tokenizer_for(kind)
            made[kind] = tokenizer, ChatFormat.from_strings(tokenizer, anchored=True, **HEADERS)
        return made[kind]

    return get


@pytest.mark.parametrize("gap", ["", " ", "\n", "\n\n"])
@pytest.mark.parametrize("kind", [*KINDS, "byt5"])
@given(turns=st.lists(st.tuples(contents, contents), min_size=1, max_size=3))
def test_headers_inside_contents_open_no_turn(formats, kind, gap, turns):
    tokenizer, chat_format = formats(kind)
    text, spans = "", []
    for pair in turns:
        for role, content in zip(("human", "bot"), pair, strict=True):
            text += (gap if text else "") + f"{role}: "
            spans.append((len(text), len(text) + len(content), role))
            text += f"{content}<sep>"
    [tokens] = encode(tokenizer, [text])
    found = find_turns([tokens.ids], chat_format)
    assert [chat_format.roles[role] for role in found.role] == [role for _, _, role in spans]
    labels = mask_labels([tokens.ids], chat_format, MaskPolicy(roles="bot")).labels.to_list()[0]
    for start, stop, role in spans:
        inside = [at for at, (a, b) in enumerate(tokens.spans) if start <= a < b <= stop and text[a:b].strip()]
        assert all((labels[at] != -100) == (role == "bot") for at in inside), text


def test_from_strings_takes_the_tokens_of_the_text_s_ends_from_the_tokenizer():
    tokenizer = tokenizer_for("byt5")
    chat_format = ChatFormat.from_strings(tokenizer, anchored=True, **HEADERS)
    assert chat_format.anchor_ids == (tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert all(boundary.anchored for boundary in chat_format.boundaries)
    plain = ChatFormat.from_strings(tokenizer, **HEADERS)
    assert plain.anchor_ids == ()
    assert not any(boundary.anchored for boundary in plain.boundaries)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"anchored": True, "bot": ("bot:", "<sep>"), "human": "human:"}, ChatFormatError, "role 'human': has no end, so that"),
        ({"anchored": ("bot:", "<sep>")}, ValueError, "anchored: expected True or False"),
    ],
)
def test_from_strings_refuses(options, error, words):
    with pytest.raises(error, match=words):
        ChatFormat.from_strings(tokenizer_for("byt5"), **options)
