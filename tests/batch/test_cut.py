"""Rows that a collator cuts: the policy sees the cut (`Turn::cut`)."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    MaskPolicy,
    RoleBoundary,
    SpanmaskWarning,
    Turns,
    _core,
    find_turns,
    reference,
)
from spanmask.report import REASONS
from support.strategies import batches, formats_and_policies
from transformers import ByT5Tokenizer

FORMAT = ChatFormat(
    [RoleBoundary("assistant", [30, 31], [[33, 34]]), RoleBoundary("user", [30, 32], [[33, 34]])], stop_token_ids=[39]
)
#      0   1   2   3   4   5   6   7   8   9   10  11  12
ROW = [30, 32, 50, 33, 34, 30, 31, 51, 52, 53, 33, 34, 39]
DROP = MaskPolicy(truncated_turn="drop")
IN_ANSWER = "in the answer, which truncated_turn='drop' leaves out"


def collated(rows, policy=None, chat_format=FORMAT, **options):
    collator = DataCollatorForChat(
        ByT5Tokenizer(), chat_format=chat_format, policy=policy, return_tensors="np", on_untrained_batch="ignore", **options
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        return collator([{"input_ids": row} for row in rows]), collator.report


@pytest.mark.parametrize("padding_free", [False, True])
@pytest.mark.parametrize(
    ("max_length", "policy", "trained", "truncated", "turns", "reason"),
    [
        (13, DROP, [7, 8, 9, 10, 11, 12], 0, 2, None),
        (12, DROP, [7, 8, 9, 10, 11], 0, 2, None),
        (11, DROP, [], 1, 2, "truncated by max_length=11 " + IN_ANSWER),
        (11, None, [7, 8, 9, 10], 1, 2, None),
        (11, MaskPolicy(train_on_eos="none"), [7, 8, 9], 1, 2, None),
        (9, DROP, [], 1, 2, "truncated by max_length=9 " + IN_ANSWER),
        (9, None, [7, 8], 1, 2, None),
        (7, DROP, [], 1, 2, "truncated by max_length=7 before the answer"),
        (7, None, [], 1, 2, "truncated by max_length=7 before the answer"),
        (6, None, [], 1, 2, "truncated by max_length=6 before the answer"),
        (5, None, [], 0, 1, "truncated by max_length=5 before the answer"),
        (3, None, [], 1, 1, "truncated by max_length=3 before the answer"),
        (5, MaskPolicy(roles="user"), [2, 3, 4], 0, 1, None),
        (4, MaskPolicy(roles="user", truncated_turn="drop"), [], 1, 1, "truncated by max_length=4 " + IN_ANSWER),
        (9, MaskPolicy(ignore_ids=[51, 52, 53, 33, 34, 39]), [], 1, 2, "all trained tokens ignored"),
        (5, MaskPolicy(on_no_trained_turn="keep"), [], 0, 1, "truncated by max_length=5 before the answer"),
        (5, MaskPolicy(on_no_trained_turn="raise"), [], 0, 1, "truncated by max_length=5 before the answer"),
    ],
)
def test_a_turn_is_cut_with_its_row(max_length, policy, trained, truncated, turns, reason, padding_free):
    batch, report = collated([ROW], policy, max_length=max_length, padding_free=padding_free)
    assert np.flatnonzero(batch["labels"][0] != -100).tolist() == trained
    assert report.truncated_turns == truncated
    assert sum(report.turns.values()) == turns
    assert report.untrained_rows == ([(0, reason)] if reason else [])
    assert report.trained_tokens == len(trained)


def test_an_answer_that_is_cut_is_dropped_as_in_a_row_that_was_cut_before():
    """Case K6: a cut answer that trains teaches never to stop."""
    by_collator, report = collated([ROW], DROP, max_length=9)
    cut_before, other = collated([ROW[:9]], DROP)
    assert by_collator["labels"].tolist() == cut_before["labels"].tolist() == [[-100] * 9]
    assert report.truncated_turns == other.truncated_turns == 1
    assert report.untrained_rows == [(0, "truncated by max_length=9 " + IN_ANSWER)]
    assert other.untrained_rows == [(0, "truncated " + IN_ANSWER)]


@pytest.mark.parametrize("max_length", [24, 30, 45, 46, 60])
def test_answers_of_messages_are_dropped_too(max_length):
    tokenizer = ByT5Tokenizer()
    tokenizer.add_tokens(["<|S|>", "<|E|>"], special_tokens=True)
    tokenizer.chat_template = "{% for m in messages %}<|S|>{{ m.role }}\n{{ m.content }}<|E|>{% endfor %}"
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "a long answer that is cut"}]
    start, end = tokenizer.convert_tokens_to_ids(["<|S|>", "<|E|>"])
    header = {role: [start, *tokenizer(f"{role}\n", add_special_tokens=False)["input_ids"]] for role in ("user", "assistant")}
    chat_format = ChatFormat([RoleBoundary(role, ids, [end]) for role, ids in header.items()])
    collator = DataCollatorForChat(
        tokenizer, chat_format=chat_format, policy=DROP, max_length=max_length, on_untrained_batch="ignore"
    )
    ids = tokenizer.apply_chat_template(messages, return_dict=False)
    if max_length >= len(ids):
        labels = collator([{"messages": messages}])["labels"][0].tolist()
        assert bytes(label - 3 for label in labels[-26:-1]) == b"a long answer that is cut"
        assert labels[-1] == end
        return
    where = "before the answer" if max_length <= ids.index(start, 1) + 1 + len("assistant\n") else IN_ANSWER
    with pytest.warns(SpanmaskWarning, match=f"Row 0: truncated by max_length={max_length} {where}. Raise max_length"):
        assert set(collator([{"messages": messages}])["labels"][0].tolist()) == {-100}


def test_the_last_turn_is_that_of_the_whole_row():
    two = [*ROW, *ROW]
    last = MaskPolicy(turns="last")
    assert np.flatnonzero(collated([two], last, max_length=20)[0]["labels"][0] != -100).tolist() == []
    assert np.flatnonzero(collated([two], last, max_length=21)[0]["labels"][0] != -100).tolist() == [20]
    eos = MaskPolicy(train_on_eos="last")
    assert np.flatnonzero(collated([two], eos, max_length=20)[0]["labels"][0] != -100).tolist() == [7, 8, 9]


@given(rows=batches.filter(bool), made=formats_and_policies(), max_length=st.none() | st.integers(1, 60), flat=st.booleans())
def test_turns_that_are_given_are_cut_like_those_that_are_found(rows, made, max_length, flat):
    chat_format, policy = made

    def plan(turns):
        return _core.plan_labels(
            rows, turns=turns, policy=policy._compile(chat_format.roles, chat_format.ignore_ids), attention_mask=None, labels=None,
            turn_mask=None, turn_weights=None, ignore_index=-100, weighted=policy.weighted, max_length=max_length,
            skip_first=flat, uncut_ids=(), with_roles=True, name="rows",
        )  # fmt: skip

    searched, known = plan(chat_format._compiled), plan(find_turns(rows, chat_format))
    layout = _core.Layout.packed(max_length)
    written = [made.write(layout, padding=0) for made in (searched, known)]
    np.testing.assert_array_equal(written[0].labels, written[1].labels)
    # Only the search sees that a row ends inside a header.
    for found, given_ in zip(searched.outcomes, known.outcomes, strict=True):
        in_header = REASONS[found] == "truncated before the answer" and REASONS[given_] in (
            "no turn marker found",
            "no trained turn",
        )
        assert found == given_ or in_header
    assert searched.row_roles == known.row_roles
    cut = [
        turn
        for row in rows
        for turn in (
            reference.batch.cut_turns(reference.find_turns(row, chat_format), max_length)
            if max_length is not None and max_length < len(row)
            else reference.find_turns(row, chat_format)
        )
    ]
    for counts in (searched.counts, known.counts):
        assert counts.turns == [sum(turn.role == number for turn in cut) for number in range(len(chat_format.roles))]


def test_an_empty_turn_at_the_end_of_a_row_is_not_cut():
    turns = Turns.from_lengths([2, 2], [2, 4])
    plan = _core.plan_labels(
        [[7, 7], [7, 7, 8, 9]], turns=turns, policy=MaskPolicy()._compile(turns.roles, ()), attention_mask=None, labels=None,
        turn_mask=None, turn_weights=None, ignore_index=-100, weighted=False, max_length=3, skip_first=False, uncut_ids=(),
        with_roles=False, name="rows",
    )  # fmt: skip
    assert plan.counts.turns == [2, 2]
    assert plan.write(_core.Layout.padded("right", 3), padding=0).labels.tolist() == [[-100, -100, -100], [-100, -100, 8]]
