"""The reasoning with which a turn's content begins: `Turns.reasoning_stop`, `Turns.empty_reasoning`."""

import pickle

import pytest
from spanmask import ChatFormat, RoleBoundary, Turns, find_turns, reference

START, END, OPEN, CLOSE, LINE, LINES, HEAD = 60, 61, 70, 71, 80, 81, 90
FORMAT = ChatFormat(
    [RoleBoundary("assistant", [START, 1], [END]), RoleBoundary("user", [START, 2], [END])],
    generation_prefills=[[OPEN, LINE], [HEAD, HEAD], [OPEN, LINES, CLOSE, LINES]],
    reasoning=([[OPEN, LINE], [OPEN]], [[CLOSE], [CLOSE, LINES]]),
    empty_reasoning=[OPEN, LINES, CLOSE, LINES],
)


@pytest.mark.parametrize(
    ("content", "reasoning", "empty", "prefill"),
    [
        pytest.param([7, 8], 0, False, 0, id="none"),
        pytest.param([], 0, False, 0, id="no content"),
        pytest.param([OPEN, 7, CLOSE, 8], 3, False, 0, id="the first closing ends it"),
        pytest.param([OPEN, 7, CLOSE, 8, CLOSE, LINES, 9], 3, False, 0, id="a second closing is content"),
        pytest.param([OPEN, 7, CLOSE, LINES, 8], 4, False, 0, id="the longest closing counts"),
        pytest.param([OPEN, LINE, CLOSE, 8], 3, False, 2, id="the longest opening counts"),
        pytest.param([OPEN, LINE, 7, CLOSE, 8], 4, False, 2, id="the opening is the prefill"),
        pytest.param([OPEN, 7, 8], 3, False, 0, id="never closed"),
        pytest.param([OPEN], 1, False, 0, id="only an opening"),
        pytest.param([7, OPEN, 8, CLOSE], 0, False, 0, id="after other content"),
        pytest.param([CLOSE, 7], 0, False, 0, id="a closing alone"),
        pytest.param([HEAD, HEAD, OPEN, 7, CLOSE, 8], 5, False, 2, id="after the prefill"),
        pytest.param([HEAD, OPEN, 7, CLOSE, 8], 0, False, 0, id="after half a prefill"),
        pytest.param([OPEN, LINES, CLOSE, LINES, 8], 4, True, 4, id="an empty block"),
        pytest.param([OPEN, LINES, CLOSE, LINES], 4, True, 4, id="nothing but an empty block"),
        pytest.param([HEAD, HEAD, OPEN, LINES, CLOSE, LINES, 8], 6, True, 2, id="an empty block after the prefill"),
        pytest.param([OPEN, LINES, CLOSE, 8], 3, False, 0, id="not the template's empty block"),
    ],
)
@pytest.mark.parametrize("closed", [True, False])
def test_reasoning_is_found_at_the_content_s_head(content, reasoning, empty, prefill, closed):
    row = [START, 2, 5, END, START, 1, *content, *([END, CLOSE] if closed else [])]
    turns = find_turns([row], FORMAT)
    assert (turns.reasoning_stop[-1] - 6, bool(turns.empty_reasoning[-1]), turns.prefill_stop[-1] - 6) == (
        reasoning,
        empty,
        prefill,
    )
    twin = reference.find_turns(row, FORMAT)[-1]
    assert (twin.reasoning_stop - 6, twin.empty_reasoning, twin.prefill_stop - 6) == (reasoning, empty, prefill)


def test_reasoning_inside_a_prefill():
    chat_format = ChatFormat(
        [RoleBoundary("assistant", [START], [END])], generation_prefills=[[LINE, OPEN, LINE]], reasoning=([OPEN], [CLOSE])
    )
    row = [START, LINE, OPEN, LINE, 7, CLOSE, 8, END]
    assert find_turns([row], chat_format).reasoning_stop.tolist() == [6]
    assert reference.find_turns(row, chat_format)[0].reasoning_stop == 6


def test_a_format_with_reasoning_is_printed_compared_and_pickled():
    assert str(FORMAT).splitlines()[4:] == ["  reasoning: [70, 80] | [70]  to [71] | [71, 81]",
                                            "  added where there is no reasoning: [70, 81, 71, 81]"]  # fmt: skip
    assert pickle.loads(pickle.dumps(FORMAT)) == FORMAT
    assert eval(repr(FORMAT)) == FORMAT
    assert ChatFormat(FORMAT.boundaries).reasoning == ()


@pytest.mark.parametrize(
    ("reasoning", "error", "words"),
    [
        ([OPEN], ValueError, r"reasoning: expected a pair \(openings, closings\) of token ids, got \[70\]"),
        ((OPEN, CLOSE), TypeError, "reasoning, openings: expected token ids, got int 70"),
        (([OPEN], []), ValueError, "reasoning: openings and closings both need ids"),
        (("<think>", "</think>"), TypeError, "reasoning, openings: expected token ids, got str '<think>'"),
        ("ab", ValueError, "reasoning: expected a pair"),
        (5, ValueError, "reasoning: expected a pair"),
    ],
)
def test_reasoning_is_a_pair_of_ids(reasoning, error, words):
    with pytest.raises(error, match=words):
        ChatFormat(FORMAT.boundaries, reasoning=reasoning)


COLUMNS = {"row": [0], "role": [0], "start": [0], "content_start": [1], "content_stop": [4], "stop": [5], "closed": [True]}


def test_turns_have_no_reasoning_by_default():
    turns = Turns(**COLUMNS, roles=("assistant",))
    assert turns.reasoning_stop.tolist() == [1]
    assert turns.empty_reasoning.tolist() == [False]
