import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import MaskPolicy, Turns, mask_labels

NAMES = st.sampled_from(["assistant", "user", "tool"])
ROWS = st.lists(st.lists(st.tuples(NAMES, st.integers(0, 4)), max_size=6), max_size=5)


@given(rows=ROWS)
def test_each_token_has_the_role_of_its_segment(rows):
    turns = Turns.from_segments(
        [[size for _, size in row] for row in rows], [[name for name, _ in row] for row in rows] or ["user"]
    )
    painted = [[turns.roles[number] for number in row] for row in turns.token_roles()]
    assert painted == [[name for name, size in row for _ in range(size)] for row in rows]
    assert len(turns) == sum(map(len, rows))


@given(rows=ROWS)
def test_only_the_segments_of_trained_roles_train(rows):
    named = [[name for name, _ in row] for row in rows]
    ids = [list(range(7, 7 + sum(size for _, size in row))) for row in rows]
    turns = Turns.from_segments([[size for _, size in row] for row in rows], named or ["user"])
    for role in turns.roles:
        labels = mask_labels(ids, turns, MaskPolicy(roles=role)).labels.to_list()
        roles = [[name for name, size in row for _ in range(size)] for row in rows]
        assert labels == [
            [token if name == role else -100 for token, name in zip(row, names, strict=True)]
            for row, names in zip(ids, roles, strict=True)
        ]


def test_roles_repeat():
    turns = Turns.from_segments([[2, 1, 3, 1, 2], np.array([1, 1])], ["user", "assistant", "tool", "assistant"])
    assert turns.roles == ("user", "assistant", "tool")
    assert [turns.roles[role] for role in turns.role] == ["user", "assistant", "tool", "assistant", "user", "user", "assistant"]
    assert turns.row_lengths.tolist() == [9, 2]


@pytest.mark.parametrize(
    ("lengths", "roles", "error", "message"),
    [
        ([[1, 2]], "assistant", TypeError, "roles: expected role names"),
        ([[1, 2]], [], TypeError, "roles: expected role names"),
        ([[1, 2]], [["user", 3]], TypeError, "roles: row 0: expected a name"),
        ([[1, 2], [3]], [["user", "assistant"]], ValueError, "roles: given for 1 rows, but lengths for 2"),
        ([[1], [3, 4]], [["user"], ["user"]], ValueError, "roles: row 1 has 1 roles for 2 lengths"),
        ([[1], [3, -4]], ["user"], ValueError, r"lengths: row 1 is \[3, -4\]"),
        ([[1], [0.5]], ["user"], TypeError, "lengths: row 1: expected an integer"),
    ],
)
def test_errors_name_the_row(lengths, roles, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Turns.from_segments(lengths, roles)


def test_turns_of_other_rows_are_refused():
    with pytest.raises(ValueError, match="turns: row 0 has 3 tokens, but 4 ids"):
        mask_labels([[5, 6, 7, 8]], Turns.from_segments([[1, 2]], ("user", "assistant")))
