import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import ChatFormat, RoleBoundary, find_turns, reference
from support.optional import optional
from support.strategies import DTYPES, batches, chat_formats, rows_of_markers

torch = optional("torch")

FORMAT = ChatFormat(
    [RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2]), RoleBoundary("tool", [5, 6, 6], [3, 3])]
)


def tuples(turns, *more):
    columns = (turns.row, turns.role, turns.start, turns.content_start, turns.content_stop, turns.stop, turns.closed, *more)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def expected(rows, chat_format, fields=6):
    return [(number, *turn[:fields]) for number, row in enumerate(rows) for turn in reference.find_turns(row, chat_format)]


@given(rows=batches, chat_format=chat_formats(), dtype=st.sampled_from(DTYPES))
def test_find_turns_equals_the_reference(rows, chat_format, dtype):
    turns = find_turns([np.array(row, dtype) for row in rows], chat_format)
    flags = turns.include_start, turns.include_end
    assert tuples(turns, *flags, turns.prefill_stop, turns.reasoning_stop, turns.empty_reasoning) == expected(
        rows, chat_format, fields=11
    )


@given(chat_format=chat_formats(), data=st.data())
def test_find_turns_equals_the_reference_in_rows_of_markers(chat_format, data):
    rows = data.draw(st.lists(rows_of_markers(chat_format), min_size=1, max_size=3))
    turns = find_turns(rows, chat_format)
    assert tuples(
        turns, turns.include_start, turns.include_end, turns.prefill_stop, turns.reasoning_stop, turns.empty_reasoning
    ) == (expected(rows, chat_format, fields=11))


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        pytest.param([], [], id="empty row"),
        pytest.param([5], [], id="half a marker"),
        pytest.param([5, 6], [(0, 0, 0, 2, 2, 2, False)], id="only a header"),
        pytest.param([5, 6, 2], [(0, 0, 0, 2, 2, 3, True)], id="empty turn"),
        pytest.param([5, 6, 8, 2], [(0, 0, 0, 2, 3, 4, True)], id="one turn"),
        pytest.param([2, 2, 5, 6, 2, 2], [(0, 0, 2, 4, 4, 5, True)], id="ends outside turns mean nothing"),
        pytest.param(
            [5, 7, 1, 5, 6, 9], [(0, 1, 0, 2, 3, 3, True), (0, 0, 3, 5, 6, 6, False)], id="a start closes the turn before it"
        ),
        pytest.param([5, 6, 1, 2, 5, 6, 2], [(0, 0, 0, 2, 3, 4, True), (0, 0, 4, 6, 6, 7, True)], id="two turns of one role"),
        pytest.param([5, 6, 6, 2, 3, 3], [(0, 2, 0, 3, 4, 6, True)], id="the longest start wins"),
        pytest.param(
            [5, 6, 6, 3, 5, 6, 3, 3], [(0, 2, 0, 3, 4, 4, True), (0, 0, 4, 6, 8, 8, False)], id="half an end is content"
        ),
    ],
)
def test_find_turns_cases(row, turns):
    assert tuples(find_turns([row], FORMAT)) == turns == expected([row], FORMAT)


def test_a_start_that_extends_an_end_loses_to_it():
    chat_format = ChatFormat([RoleBoundary("assistant", [5], [2]), RoleBoundary("user", [2, 5, 7], [2])])
    row = [5, 9, 2, 5, 7, 9]
    assert (
        tuples(find_turns([row], chat_format))
        == expected([row], chat_format)
        == [
            (0, 0, 0, 1, 2, 3, True),
            (0, 0, 3, 4, 6, 6, False),
        ]
    )


def test_markers_of_64_roles_are_all_found():
    chat_format = ChatFormat([RoleBoundary(f"role{i}", [100 + i, 3], [200 + i]) for i in range(64)])
    row = [token for i in range(64) for token in (100 + i, 3, 7, 200 + i)]
    turns = find_turns([row], chat_format)
    assert turns.role.tolist() == list(range(64))
    assert turns.closed.all()


@given(
    rows=st.lists(st.lists(st.integers(0, 5), min_size=7, max_size=7), min_size=1, max_size=4),
    chat_format=chat_formats(),
    data=st.data(),
)
def test_padding_is_determined_from_the_mask(rows, chat_format, data):
    start = data.draw(st.integers(0, 7))
    stop = data.draw(st.integers(start, 7))
    mask = np.zeros((len(rows), 7), bool)
    mask[:, start:stop] = True
    turns = find_turns(np.array(rows), chat_format, attention_mask=mask)
    assert tuples(turns) == expected([row[start:stop] for row in rows], chat_format)
    assert (turns.token_roles()[~mask] == -1).all()


def test_attribution_has_the_shape_of_the_rows():
    rows = [[1, 5, 7, 8, 2, 5, 6, 9], [5, 6, 2, 5, 6, 8, 2, 0]]
    ragged = find_turns(rows, FORMAT)
    assert ragged.token_roles() == [[-1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, -1]]
    assert ragged.token_turns() == [[-1, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, -1]]
    tensor = find_turns(torch.tensor(rows), FORMAT).token_turns()
    assert tensor.dtype == torch.int64
    assert tensor.tolist() == ragged.token_turns().to_list()


def test_negative_ids_are_ids():
    chat_format = ChatFormat([RoleBoundary("assistant", [-200, 5], [-1])])
    assert tuples(find_turns([[-200, 5, -7, -1, 4]], chat_format)) == [(0, 0, 0, 2, 3, 4, True)]
    assert len(find_turns([np.array([5, 5], np.uint16)], chat_format)) == 0


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: find_turns([[1]], "format"), TypeError, "chat_format: expected a ChatFormat, got str"),
        (lambda: find_turns([1, 2], FORMAT), TypeError, "rows: .*wrap a single row"),
        (lambda: find_turns([[1]], FORMAT, attention_mask=[[1]]), TypeError, "attention_mask: only supported for 2-D input"),
        (
            lambda: find_turns(np.ones((2, 2), int), FORMAT, attention_mask=np.ones((2, 3))),
            ValueError,
            r"attention_mask: has shape \(2, 3\)",
        ),
        (
            lambda: find_turns(np.ones((2, 3), int), FORMAT, attention_mask=[[1, 1, 1], [1, 0, 1]]),
            ValueError,
            "attention_mask: row 1 has a 0 between 1s at position 1",
        ),
        (
            lambda: find_turns(np.ones((1, 2), int), FORMAT, attention_mask=[[1.0, 0.0]]),
            TypeError,
            "attention_mask: expected integer",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
