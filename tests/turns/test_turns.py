import pickle

import numpy as np
import pytest
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, Turns, find_turns, mask_labels
from support.optional import optional

torch = optional("torch")

COLUMNS = {
    "row": [0, 0, 2],
    "role": [1, 0, 0],
    "start": [0, 3, 1],
    "content_start": [1, 4, 1],
    "content_stop": [2, 6, 3],
    "stop": [3, 7, 4],
    "closed": [True, True, False],
    "roles": ("assistant", "user"),
}
ROWS = [[9, 20, 2, 9, 30, 31, 2, 50], [7], [40, 41, 42, 43]]


def turns(**changes):
    return Turns(**(COLUMNS | changes))


@pytest.mark.parametrize(
    ("changes", "policy", "labels"),
    [
        ({}, MaskPolicy(), [[4, 5, 6], [], [1, 2, 3]]),
        ({"include_end": [True, False, True]}, MaskPolicy(), [[4, 5], [], [1, 2, 3]]),
        ({"include_start": [True, True, False]}, MaskPolicy(), [[3, 4, 5, 6], [], [1, 2, 3]]),
        ({"prefill_stop": [1, 5, 1]}, MaskPolicy(), [[5, 6], [], [1, 2, 3]]),
        ({"prefill_stop": [1, 5, 1]}, MaskPolicy(train_generation_prefill=True), [[4, 5, 6], [], [1, 2, 3]]),
        ({"stop_token": [False, True, False]}, MaskPolicy(), [[4, 5, 6, 7], [], [1, 2, 3]]),
        ({"ignore_ids": [31, 42]}, MaskPolicy(), [[4, 6], [], [1, 3]]),
        ({}, MaskPolicy(truncated_turn="drop"), [[4, 5, 6], [], []]),
        ({}, MaskPolicy(roles="user", train_on_eos="none"), [[1], [], []]),
    ],
)
def test_labels_follow_the_turns(changes, policy, labels):
    out = mask_labels(ROWS, turns(**changes), policy)
    trained = [[place for place, label in enumerate(row) if label != -100] for row in out.labels.to_list()]
    assert trained == labels


def test_labels_follow_the_turns_of_a_padded_tensor():
    ids = torch.tensor([[0, 0, 9, 20, 2, 9, 30, 2]])
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1, 1]])
    one = Turns([0], [0], [3], [4], [5], [6], [True], ("assistant",))
    assert mask_labels(ids, one, attention_mask=mask).labels.tolist() == [[-100] * 6 + [30, 2]]


def test_reports_count_the_turns():
    report = mask_labels(ROWS, turns()).report
    assert report.turns == {"assistant": 2, "user": 1}
    assert report.untrained_rows == [(1, "no turn marker found")]
    assert report.truncated_turns == 1


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"start": [0, 2, 1]}, ValueError, "turns: turn 1 of row 0 does not fit"),
        ({"stop": [3, 9, 4]}, ValueError, "turns: turn 1 of row 0 does not fit"),
        ({"content_stop": [2, 3, 3]}, ValueError, "turns: turn 1 of row 0 does not fit"),
        ({"start": [-1, 3, 1]}, ValueError, "turns: turn 0 of row 0 does not fit"),
        ({"role": [1, 0, 2]}, ValueError, "turns: turn 0 of row 2 does not fit"),
        ({"row": [0, 0, 3]}, ValueError, "turns: entry 2 belongs to row 3; rows must ascend from 0 to 2"),
        ({"row": [2, 0, 0]}, ValueError, "turns: entry 1 belongs to row 0"),
        ({"stop_token": [False, False, True]}, ValueError, "turns: turn 0 of row 2 does not fit"),
        ({"stop": [3, 7]}, ValueError, r"stop: has shape \(2,\)"),
        ({"row": [[0, 0, 2]]}, ValueError, r"row: has shape \(1, 3\)"),
        ({"closed": [1, 1, 0]}, TypeError, "closed: expected bool, got int64"),
        ({"start": [0.5, 3, 1]}, TypeError, "start: expected int64, got float64"),
        ({"ignore_ids": ["a"]}, TypeError, "ignore_ids: expected a token id"),
    ],
)
def test_turns_that_do_not_fit(changes, error, words):
    with pytest.raises(error, match=words):
        mask_labels(ROWS, turns(**changes))


@pytest.mark.parametrize(
    ("prompts", "rows", "words"),
    [
        ([1], [2, 3], "prompt_lengths: 1 lengths for 2 rows"),
        ([3], [2], "prompt_lengths: row 0 has a prompt of 3 in 2 tokens; expected 0 to 2"),
        ([0, -1], [2, 2], "prompt_lengths: row 1 has a prompt of -1"),
    ],
)
def test_lengths_that_do_not_fit(prompts, rows, words):
    with pytest.raises(ValueError, match=words):
        Turns.from_lengths(prompts, rows)


def test_turns_made_by_hand_need_lengths_to_be_laid_out_by_token():
    with pytest.raises(ValueError, match="row_lengths: None"):
        turns().token_roles()
    made = turns(row_lengths=[8, 1, 4])
    assert made.token_roles().to_list() == [[1, 1, 1, 0, 0, 0, 0, -1], [-1], [-1, 0, 0, 0]]
    assert made.token_turns().to_list() == [[0, 0, 0, 1, 1, 1, 1, -1], [-1], [-1, 0, 0, 0]]


def test_turns_pickle():
    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])], ignore_ids=[9])
    rows = [[5, 7, 8, 2, 5, 6, 9, 8, 2]]
    copy = pickle.loads(pickle.dumps(find_turns(rows, fmt)))
    assert mask_labels(rows, copy).labels == mask_labels(rows, fmt).labels
    assert copy.ignore_ids == (9,)


def test_turns_for_the_wrong_number_of_rows():
    with pytest.raises(ValueError, match="turns: entry 2 belongs to row 2"):
        mask_labels(ROWS[:2], turns())


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[5, 6, 7]], "turns: belong to 2 rows, but there are 1 rows of ids"),
        ([[5, 6, 7]] * 3, "turns: belong to 2 rows, but there are 3 rows of ids"),
        ([[5, 6, 7], [5, 6, 7, 8]], "turns: row 1 has 3 tokens, but 4 ids"),
        (np.ones((2, 2), int), "turns: row 0 has 3 tokens, but 2 ids"),
    ],
)
def test_turns_with_lengths_label_only_their_own_rows(rows, words):
    with pytest.raises(ValueError, match=words):
        mask_labels(rows, Turns.from_lengths([1, 1], [3, 3]))


def test_padding_may_follow_the_rows_of_turns():
    assert mask_labels(np.array([[5, 6, 7, 0]]), Turns.from_lengths([1], [3])).labels.tolist() == [[-100, 6, 7, -100]]


def test_row_lengths_cover_all_rows():
    with pytest.raises(ValueError, match="row: has rows from 0 to 2, but there are 2 row_lengths"):
        turns(row_lengths=[8, 1])


@pytest.mark.parametrize("lengths", [[1.5], 3, "ab", None, [[1]], [None]])
def test_lengths_are_integers(lengths):
    with pytest.raises(TypeError, match="prompt_lengths: expected an integer for each row"):
        Turns.from_lengths(lengths, [3])


def test_many_turns_on_threads_are_the_same():
    rows = 3000
    lengths = np.full(rows, 400)
    made = Turns.from_lengths(np.arange(rows) % 400, lengths)
    ids = np.arange(rows * 400).reshape(rows, 400)
    one, four = mask_labels(ids, made), mask_labels(ids, made, num_threads=4)
    np.testing.assert_array_equal(one.labels, four.labels)
    assert one.report == four.report
    assert (one.labels != -100).sum() == (400 - np.arange(rows) % 400).sum()
