import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import ChatFormat, MaskPolicy, Ragged, RoleBoundary, mask_labels, reference
from support.optional import optional
from support.strategies import DTYPES, batches, formats_and_policies, rows_of_markers, weights

torch = optional("torch")

FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
#          BOS user  hi end  assistant     end
CHAT = [1, 5, 7, 8, 2, 5, 6, 9, 10, 2]


def labels(row, policy=None, **options):
    return mask_labels([row], FORMAT, policy, **options).labels.to_list()[0]


@given(rows=batches, format_and_policy=formats_and_policies(), dtype=st.sampled_from(DTYPES), threads=st.sampled_from([1, 3]))
def test_mask_labels_equals_the_reference(rows, format_and_policy, dtype, threads):
    out = mask_labels([np.array(row, dtype) for row in rows], *format_and_policy, num_threads=threads)
    expected = [reference.mask_labels(row, *format_and_policy) for row in rows]
    assert out.labels == expected
    assert out.labels.values.dtype == np.int64
    if format_and_policy[1].weighted:
        assert [row.tolist() for row in out.weights] == [reference.mask_weights(row, *format_and_policy) for row in rows]
    else:
        assert out.weights is None
    trained = [sum(label != -100 for label in row) for row in expected]
    assert out.report.rows == len(rows)
    assert out.report.tokens == sum(map(len, rows))
    assert out.report.trained_tokens == sum(trained)
    assert [row for row, _ in out.report.untrained_rows] == [number for number, count in enumerate(trained) if not count]
    turns = [turn for row in rows for turn in reference.find_turns(row, format_and_policy[0])]
    assert out.report.turns == {
        role: sum(turn.role == number for turn in turns) for number, role in enumerate(format_and_policy[0].roles)
    }


@given(format_and_policy=formats_and_policies(), data=st.data())
def test_rows_of_markers_equal_the_reference(format_and_policy, data):
    rows = data.draw(st.lists(rows_of_markers(format_and_policy[0]), min_size=1, max_size=3))
    out = mask_labels(rows, *format_and_policy)
    assert out.labels == [reference.mask_labels(row, *format_and_policy) for row in rows]
    if out.weights is not None:
        assert [row.tolist() for row in out.weights] == [reference.mask_weights(row, *format_and_policy) for row in rows]


@given(rows=batches, format_and_policy=formats_and_policies(), data=st.data())
def test_labels_and_turn_weights_only_narrow(rows, format_and_policy, data):
    chat_format, policy = format_and_policy
    existing = [data.draw(st.lists(st.sampled_from([-100, 7]), min_size=len(row), max_size=len(row))) for row in rows]
    trained_turns = [
        [t for t in reference.find_turns(row, chat_format) if chat_format.roles[t.role] in policy.roles] for row in rows
    ]
    weight = data.draw(st.sampled_from([st.booleans(), weights]))
    given_weights = [data.draw(st.lists(weight, min_size=len(turns), max_size=len(turns) + 1)) for turns in trained_turns]
    key = "turn_mask" if weight is not weights else "turn_weights"
    out = mask_labels(rows, chat_format, policy, labels=existing, **{key: given_weights})
    expected = [
        {"labels": known, "turn_weights": turn_weights} for known, turn_weights in zip(existing, given_weights, strict=True)
    ]
    assert out.labels == [
        reference.mask_labels(row, chat_format, policy, **options) for row, options in zip(rows, expected, strict=True)
    ]
    if key == "turn_weights":
        assert [row.tolist() for row in out.weights] == [
            reference.mask_weights(row, chat_format, policy, **options) for row, options in zip(rows, expected, strict=True)
        ]


@given(
    rows=st.lists(st.lists(st.integers(0, 5), min_size=9, max_size=9), min_size=1, max_size=4),
    format_and_policy=formats_and_policies(),
    dtype=st.sampled_from(DTYPES),
    side=st.sampled_from(["right", "left", "both"]),
    data=st.data(),
)
def test_padded_rows_equal_ragged_ones(rows, format_and_policy, dtype, side, data):
    array = np.array(rows, dtype)
    mask = np.zeros(array.shape, np.int64)
    expected = np.full(array.shape, -100)
    for number, row in enumerate(rows):
        start = 0 if side == "right" else data.draw(st.integers(0, 9))
        stop = 9 if side == "left" else data.draw(st.integers(start, 9))
        mask[number, start:stop] = 1
        expected[number, start:stop] = reference.mask_labels(row[start:stop], *format_and_policy)
    out = mask_labels(array, *format_and_policy, attention_mask=mask).labels
    assert isinstance(out, np.ndarray)
    np.testing.assert_array_equal(out, expected)
    strided = np.repeat(array, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(mask_labels(strided, *format_and_policy, attention_mask=mask).labels, expected)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    np.testing.assert_array_equal(mask_labels(swapped, *format_and_policy, attention_mask=mask).labels, expected)


@pytest.mark.parametrize(
    ("policy", "trained"),
    [
        (MaskPolicy(), [7, 8, 9]),
        (MaskPolicy(train_on_eos="none"), [7, 8]),
        (MaskPolicy(train_on_eos="all"), [4, 7, 8, 9]),
        (MaskPolicy(include_start=True), [5, 6, 7, 8, 9]),
        (MaskPolicy(roles="user"), [3, 4]),
        (MaskPolicy(roles=("user", "assistant"), turns="last"), [7, 8, 9]),
        (MaskPolicy(roles=("user", "assistant"), train_on_eos="last"), [3, 7, 8, 9]),
        (MaskPolicy(ignore_ids=(9,)), [8, 9]),
    ],
)
def test_policy_decides_what_trains(policy, trained):
    assert labels(CHAT, policy) == [token if place in trained else -100 for place, token in enumerate(CHAT)]


def test_the_stop_token_trains_where_padding_has_its_id():
    ids = torch.tensor([[*CHAT, 2, 2, 2]])
    mask = torch.tensor([[1] * len(CHAT) + [0] * 3])
    out = mask_labels(ids, FORMAT, attention_mask=mask).labels
    assert out.dtype == torch.int64
    assert out[0, len(CHAT) - 1] == 2
    assert (out[0, len(CHAT) :] == -100).all()


def test_a_cut_turn_trains_unless_dropped():
    assert labels(CHAT[:-1])[-2:] == [9, 10]
    assert set(labels(CHAT[:-1], MaskPolicy(truncated_turn="drop"))) == {-100}


def test_existing_labels_are_intersected():
    assert labels(CHAT, labels=[[-100] * 8 + [10, 2]]) == [-100] * 8 + [10, 2]
    two_d = mask_labels(np.array([CHAT]), FORMAT, labels=np.array([[-100] * 8 + [10, 2]])).labels
    assert two_d.tolist() == [[-100] * 8 + [10, 2]]


def test_inputs_are_not_changed():
    row = np.array(CHAT)
    row.flags.writeable = False
    mask_labels(row[None], FORMAT, labels=row[None])
    assert row.tolist() == CHAT


@pytest.mark.parametrize(
    ("row", "policy", "options", "reason"),
    [
        ([], MaskPolicy(), {}, "empty row"),
        ([1, 2, 3], MaskPolicy(), {}, "no turn marker found"),
        ([5, 7, 8, 2], MaskPolicy(), {}, "no trained turn"),
        ([5, 7, 8], MaskPolicy(), {}, "truncated before the answer"),
        ([5, 7, 8, 2, 5, 6], MaskPolicy(), {}, "truncated before the answer"),
        ([5, 7, 8, 2, 5], MaskPolicy(), {}, "truncated before the answer"),
        ([5, 7, 8, 2, 9, 5], MaskPolicy(), {}, "truncated before the answer"),
        ([5], MaskPolicy(), {}, "truncated before the answer"),
        ([5, 7, 8, 2, 5, 9], MaskPolicy(), {}, "no trained turn"),
        ([5, 6, 8], MaskPolicy(truncated_turn="drop"), {}, "truncated in the answer, which truncated_turn='drop' leaves out"),
        ([5, 6], MaskPolicy(truncated_turn="drop"), {}, "truncated before the answer"),
        ([5, 6, 8], MaskPolicy(truncated_turn="drop"), {"turn_mask": [[False]]}, "excluded by labels or turn weights"),
        ([5, 6, 8], MaskPolicy(roles="user", truncated_turn="drop"), {}, "truncated before the answer"),
        ([5, 6, 8, 8, 2], MaskPolicy(ignore_ids=(8, 2)), {}, "all trained tokens ignored"),
        ([5, 6, 2], MaskPolicy(train_on_eos="none"), {}, "empty assistant turn"),
        ([5, 6, 8, 2], MaskPolicy(), {"labels": [[-100] * 4]}, "excluded by labels or turn weights"),
        ([5, 6, 8, 2], MaskPolicy(), {"turn_mask": [[False]]}, "excluded by labels or turn weights"),
    ],
)
def test_report_says_why_a_row_has_no_trained_tokens(row, policy, options, reason):
    report = mask_labels([row], FORMAT, policy, **options).report
    assert report.untrained_rows == [(0, reason)]
    assert report.reasons == {reason: 1}


def test_reports_add_up():
    one = mask_labels([CHAT, [1]], FORMAT).report
    both = one + mask_labels([[2], CHAT[:-1]], FORMAT).report
    assert (both.rows, both.tokens, both.trained_tokens, both.truncated_turns) == (4, 21, 5, 1)
    assert both.turns == {"assistant": 2, "user": 2}
    assert both.untrained_rows == [(1, "no turn marker found"), (2, "no turn marker found")]
    assert "rows without trained tokens  2" in str(both)


def test_only_reports_add_up():
    with pytest.raises(TypeError, match="unsupported operand"):
        mask_labels([CHAT], FORMAT).report + 5


def test_many_rows_on_threads_are_the_same():
    rng = np.random.default_rng(0)
    rows = Ragged(rng.integers(0, 8, 2_000_000), np.linspace(0, 2_000_000, 301).astype(np.int64))
    one, many = mask_labels(rows, FORMAT), mask_labels(rows, FORMAT, num_threads=4)
    assert one.labels == many.labels
    assert one.report == many.report


def test_the_lowest_bad_row_is_named_for_every_thread_count():
    rows = Ragged(np.tile([5, 6, 8, 2], 500_000), np.arange(0, 2_000_001, 4))
    flags = [[True]] * 500_000
    flags[300_001] = flags[400_000] = []
    for threads in (1, 2, 5):
        with pytest.raises(ValueError, match="turn_mask: row 300001 has 0 entries for 1 turns"):
            mask_labels(rows, FORMAT, turn_mask=flags, num_threads=threads)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: mask_labels([[1]], None), TypeError, "chat_format_or_turns: expected a ChatFormat or Turns, got NoneType"),
        (lambda: mask_labels([[1]], FORMAT, "turn"), TypeError, "policy: expected a MaskPolicy"),
        (lambda: mask_labels([[1]], FORMAT, MaskPolicy(roles="robot")), ValueError, "roles: the policy trains 'robot'"),
        (lambda: mask_labels([[1.5]], FORMAT), TypeError, r"rows: row 0 has 1.5 \(float\) at position 0"),
        (lambda: mask_labels([[1], [True]], FORMAT), TypeError, "rows: row 1 has True"),
        (lambda: mask_labels([[2**63]], FORMAT), ValueError, "does not fit in int64"),
        (lambda: mask_labels(np.ones((1, 2, 3), int), FORMAT), TypeError, "rows: expected rows, got one 3-D"),
        (lambda: mask_labels([[1]], FORMAT, labels=[[1, 2]]), ValueError, "labels: row 0 has 2 entries for 1 ids"),
        (lambda: mask_labels([[1]], FORMAT, labels=[[1], [2]]), ValueError, "labels: 2 rows for 1 rows"),
        (lambda: mask_labels(np.ones((1, 2), int), FORMAT, labels=np.ones((1, 3), int)), ValueError, "labels: has shape"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_mask=[[]]), ValueError, "turn_mask: row 0 has 0 entries for 1 turns"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_mask=[[True], [True]]), ValueError, "turn_mask: expected 1 items, got 2"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_mask=[["yes"]]), ValueError, "turn_mask: row 0"),
        (lambda: mask_labels([[5, 6, 2]] * 2, FORMAT, turn_mask=[[1], [2]]), ValueError, r"turn_mask: row 1 is \[2\]"),
        (lambda: mask_labels([[5, 6, 2]] * 2, FORMAT, turn_mask=[[1], 1]), ValueError, "turn_mask: row 1 is 1"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_weights=[[-1.0]]), ValueError, "turn_weights: row 0"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_weights=[[float("nan")]]), ValueError, "turn_weights: row 0"),
        (lambda: mask_labels([[5, 6, 2]], FORMAT, turn_weights=[[1e39]]), ValueError, "turn_weights: row 0 .* finite in float32"),
        (
            lambda: mask_labels([[5, 6, 2]], FORMAT, turn_mask=[[1]], turn_weights=[[1]]),
            ValueError,
            "turn_weights: cannot be combined with turn_mask",
        ),
        (
            lambda: mask_labels([[1], [2]], FORMAT, MaskPolicy(on_no_trained_turn="raise")),
            ValueError,
            "rows: row 0 has no turn of a trained role",
        ),
        (lambda: mask_labels([[1]], FORMAT, num_threads=0), ValueError, "num_threads: expected a positive integer, got 0"),
        (lambda: mask_labels([[1]], FORMAT, num_threads=2**70), ValueError, "num_threads: expected a positive integer"),
        (lambda: mask_labels(torch.ones(1, 2), FORMAT), TypeError, "rows: expected integer token ids, got torch.float32"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("roles", ()),
        ("turns", "first"),
        ("train_on_eos", True),
        ("truncated_turn", "keep"),
        ("on_no_trained_turn", None),
        ("include_start", "yes"),
        ("train_generation_prefill", 1),
        ("train_between_markers", "keep"),
        ("shift", "right"),
        ("on_untrained_row", "skip"),
        ("on_role_mismatch", "ignore"),
        ("prompt_weight", -1.0),
        ("prompt_weight", float("nan")),
        ("prompt_weight", 1e39),
        ("role_weights", {"user": 1.0}),
        ("role_weights", {"assistant": float("inf")}),
    ],
)
def test_bad_policy_names_the_option(option, value):
    with pytest.raises(ValueError, match=f"{option}: (expected|'(user|assistant)')"):
        MaskPolicy(**{option: value})


@pytest.mark.parametrize("value", [None, "assistant", ["assistant"], 5])
def test_role_weights_are_a_dict(value):
    with pytest.raises(TypeError, match="role_weights: expected a dict"):
        MaskPolicy(role_weights=value)


@pytest.mark.parametrize("roles", [None, 5, ["assistant", 5]])
def test_roles_are_names(roles):
    with pytest.raises(TypeError, match="roles: expected a name or a list of names"):
        MaskPolicy(roles=roles)


@pytest.mark.parametrize("rows", [[[1], [5, 6, 8, 2], [], [5, 6, 2]], [[1], []]])
def test_weights_and_labels_drop_the_same_rows(rows):
    policy = MaskPolicy(role_weights={"assistant": 0.5}, on_untrained_row="drop")
    out, whole = mask_labels(rows, FORMAT, policy), mask_labels(rows, FORMAT, MaskPolicy(role_weights={"assistant": 0.5}))
    assert out.labels.to_list() == [whole.labels[row].tolist() for row in out.rows]
    assert out.weights.to_list() == [whole.weights[row].tolist() for row in out.rows]
    assert (out.labels.values.dtype, out.weights.values.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("ignore_index", [-1.5, 2**70, True, None])
def test_ignore_index_is_an_integer(ignore_index):
    with pytest.raises(ValueError, match="ignore_index: expected an integer that fits in int64"):
        mask_labels([CHAT], FORMAT, ignore_index=ignore_index)


def test_a_result_keeps_its_report_and_pickles():
    out = mask_labels([[5, 6, 8, 2], [5, 7, 8]], FORMAT, MaskPolicy(on_untrained_row="drop"))
    assert out.report is out.report
    other = pickle.loads(pickle.dumps(out))
    assert other.labels == out.labels
    assert (other.rows.tolist(), other.report) == (out.rows.tolist(), out.report)


def test_a_policy_has_the_same_pickle_before_and_after_use():
    policy = MaskPolicy()
    before = pickle.dumps(policy)
    mask_labels([[5, 6, 8, 2]], FORMAT, policy)
    assert pickle.dumps(policy) == before  # datasets finds a function's cache by the pickle of its closure
