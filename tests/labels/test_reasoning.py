"""`MaskPolicy.reasoning`: the reasoning at the head of a content, and the empty block that a template adds."""

import pytest
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, Turns, mask_labels, reference

START, END, OPEN, CLOSE, LINES = 60, 61, 70, 71, 81
FORMAT = ChatFormat(
    [RoleBoundary("assistant", [START, 1], [END]), RoleBoundary("user", [START, 2], [END])],
    generation_prefills=[OPEN, LINES, CLOSE, LINES],
    reasoning=([OPEN], [[CLOSE], [CLOSE, LINES]]),
    empty_reasoning=[OPEN, LINES, CLOSE, LINES],
)
WITHOUT_PREFILL = ChatFormat(FORMAT.boundaries, reasoning=FORMAT.reasoning, empty_reasoning=FORMAT.empty_reasoning)
EMPTY = [START, 1, OPEN, LINES, CLOSE, LINES, 7, 8, END]
TEXT = [START, 1, OPEN, 5, 6, CLOSE, LINES, 7, 8, END]


def trained(row, chat_format, policy):
    [labels] = mask_labels([row], chat_format, policy).labels.to_list()
    assert labels == reference.mask_labels(row, chat_format, policy)
    return [place for place, label in enumerate(labels) if label != -100]


@pytest.mark.parametrize(
    ("row", "chat_format", "options", "places"),
    [
        (EMPTY, FORMAT, {}, [6, 7, 8]),
        (EMPTY, WITHOUT_PREFILL, {}, [6, 7, 8]),
        (EMPTY, WITHOUT_PREFILL, {"reasoning": "ignore"}, [6, 7, 8]),
        (EMPTY, WITHOUT_PREFILL, {"reasoning": "train"}, [2, 3, 4, 5, 6, 7, 8]),
        # An empty block that is also a prefill trains only if both rules allow it.
        (EMPTY, FORMAT, {"reasoning": "train"}, [6, 7, 8]),
        (EMPTY, FORMAT, {"train_generation_prefill": True}, [6, 7, 8]),
        (EMPTY, FORMAT, {"reasoning": "train", "train_generation_prefill": True}, [2, 3, 4, 5, 6, 7, 8]),
        (TEXT, FORMAT, {}, [2, 3, 4, 5, 6, 7, 8, 9]),
        (TEXT, FORMAT, {"reasoning": "train"}, [2, 3, 4, 5, 6, 7, 8, 9]),
        (TEXT, FORMAT, {"reasoning": "ignore"}, [7, 8, 9]),
        (TEXT, FORMAT, {"reasoning": "ignore", "include_start": True}, [0, 1, 7, 8, 9]),
        # What never trains is not trained by a weight for the other tokens either, in any turn.
        ([*TEXT, *EMPTY], FORMAT, {"turns": "last", "prompt_weight": 0.5}, [*range(12), *range(16, 19)]),
        ([*TEXT, *EMPTY], FORMAT, {"turns": "last", "prompt_weight": 0.5, "reasoning": "ignore"},
         [0, 1, *range(7, 12), *range(16, 19)]),
        ([*EMPTY, *TEXT], FORMAT, {"roles": "user", "on_no_trained_turn": "keep"}, [0, 1, *range(6, 19)]),
        # A block that is cut off.
        (EMPTY[:5], FORMAT, {"reasoning": "ignore"}, []),
        (TEXT[:4], FORMAT, {"reasoning": "ignore"}, []),
        (TEXT[:4], FORMAT, {}, [2, 3]),
    ],
)  # fmt: skip
def test_the_policy_decides_whether_reasoning_trains(row, chat_format, options, places):
    assert trained(row, chat_format, MaskPolicy(**options)) == places


@pytest.mark.parametrize(
    ("reasoning", "places"), [("train", [1, 2, 3, 4, 5]), ("ignore", [3, 4]), ("ignore_empty", [1, 2, 3, 4])]
)
def test_turns_from_elsewhere_say_what_is_reasoning(reasoning, places):
    turns = Turns(
        row=[0, 0], role=[0, 0], start=[0, 5], content_start=[1, 5], content_stop=[4, 6], stop=[5, 6], closed=[True, True],
        roles=("assistant",), reasoning_stop=[3, 6], empty_reasoning=[False, True],
    )  # fmt: skip
    labels = mask_labels([[90, 91, 92, 93, 94, 95, 96]], turns, MaskPolicy(reasoning=reasoning)).labels.to_list()[0]
    assert [place for place, label in enumerate(labels) if label != -100] == places


@pytest.mark.parametrize("reasoning_stop", [0, 5])
def test_reasoning_lies_inside_the_content(reasoning_stop):
    turns = Turns([0], [0], [0], [1], [4], [5], [True], ("assistant",), reasoning_stop=[reasoning_stop])
    with pytest.raises(ValueError, match="turns: turn 0 of row 0 does not fit"):
        mask_labels([[90, 91, 92, 93, 94]], turns)


@pytest.mark.parametrize(
    ("chat_format", "reason"), [(WITHOUT_PREFILL, "all trained tokens ignored"), (FORMAT, "empty assistant turn")]
)
def test_a_row_of_nothing_but_an_empty_block_says_why(chat_format, reason):
    report = mask_labels([[*EMPTY[:6], END]], chat_format, MaskPolicy(train_on_eos="none")).report
    assert report.untrained_rows == [(0, reason)]
