"""A loop that a user wrote for TRL's LLaVA example, and the case in which it trains on a question."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peers import ASSISTANT, EOS, USER, loop_labels
from spanmask import ChatFormat, RoleBoundary, mask_labels

FORMAT = ChatFormat([RoleBoundary("assistant", ASSISTANT, [EOS]), RoleBoundary("user", USER)])
contents = st.lists(st.integers(10, 15), max_size=6)
chats = st.lists(st.tuples(contents, contents), min_size=1, max_size=4)


def row_of(chat):
    return [1] + [token for asked, answered in chat for token in (*USER, *asked, *ASSISTANT, *answered, EOS)]


def both(*rows):
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    return mask_labels(ids, FORMAT, attention_mask=mask).labels, loop_labels(ids, mask)


@given(batch=st.lists(chats, min_size=1, max_size=4))
def test_whole_conversations_have_equal_labels(batch):
    ours, theirs = both(*map(row_of, batch))
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("left", [1, 3, 5], ids=["in the header", "in the question", "before the answer"])
def test_a_last_turn_cut_by_truncation_trains_the_question(left):
    whole = row_of([([10, 11], [12]), ([13, 14], [15])])
    question = whole.index(13)
    cut = whole[: question - len(USER) + left]
    ours, theirs = both(cut)
    first_answer = whole.index(12)
    expected = [-100] * len(cut)
    expected[first_answer : first_answer + 2] = [12, EOS]
    assert ours.tolist() == [expected]
    assert theirs[0, question - len(USER) :].tolist() == cut[question - len(USER) :]  # trained: the user's header and words


def test_a_cut_answer_trains_in_ours_without_its_question():
    whole = row_of([([10, 11], [12]), ([13, 14], [15, 15])])
    ours, theirs = both(whole[:-1])
    assert ours[0, -2:].tolist() == [15, 15]
    assert ours[0, whole.index(13)] == -100
    assert theirs[0, whole.index(13)] == 13
