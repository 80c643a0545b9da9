"""Batches of the chat collator equal what the reference makes of the same rows, for every layout."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    MaskPolicy,
    Ragged,
    RoleBoundary,
    SpanmaskWarning,
    Turns,
    _core,
    find_turns,
    mask_labels,
    reference,
)
from spanmask.reference import batch as twin
from support.strategies import DTYPES, formats_and_policies, rows, rows_of_markers
from transformers import ByT5Tokenizer

TOKENIZER = ByT5Tokenizer()
PAD = TOKENIZER.pad_token_id
filled = st.lists(rows, min_size=1, max_size=6)


def collated(chat_format, policy, columns, **options):
    collator = DataCollatorForChat(
        TOKENIZER, chat_format=chat_format, policy=policy, return_tensors="np", on_untrained_batch="ignore", **options
    )
    count = len(columns["input_ids"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)  # rows without trained tokens are part of the input
        batch = collator([{name: column[number] for name, column in columns.items()} for number in range(count)])
    return batch, collator


@given(
    batch=filled,
    made=formats_and_policies(),
    side=st.sampled_from(["right", "left"]),
    max_length=st.none() | st.integers(1, 90),
    multiple_of=st.sampled_from([1, 1, 8]),
    dtype=st.sampled_from([None, *DTYPES]),
)
def test_padded_batches_equal_the_reference(batch, made, side, max_length, multiple_of, dtype):
    chat_format, policy = made
    ids = batch if dtype is None else [np.array(row, dtype) for row in batch]
    out, collator = collated(
        chat_format, policy, {"input_ids": ids}, padding_side=side, max_length=max_length, pad_to_multiple_of=multiple_of
    )
    labels = [reference.mask_labels(row, chat_format, policy, max_length=max_length) for row in batch]
    assert out["input_ids"].tolist() == twin.pad(batch, PAD, side, max_length, multiple_of)
    assert out["attention_mask"].tolist() == twin.attention_mask(batch, side, max_length, multiple_of)
    assert out["labels"].tolist() == twin.pad(labels, -100, side, max_length, multiple_of)
    if "loss_weights" in out:
        weights = [reference.mask_weights(row, chat_format, policy, max_length=max_length) for row in batch]
        assert out["loss_weights"].tolist() == twin.pad(weights, 0.0, side, max_length, multiple_of)
    assert collator.report.trained_tokens == int((out["labels"] != -100).sum())
    assert collator.report.untrained_row_count == int((out["labels"] == -100).all(axis=1).sum())


@given(made=formats_and_policies(), max_length=st.integers(1, 30), padding_free=st.booleans(), data=st.data())
def test_rows_of_markers_are_cut_as_in_the_reference(made, max_length, padding_free, data):
    chat_format, policy = made
    batch = data.draw(st.lists(rows_of_markers(chat_format), min_size=1, max_size=3))
    out, _ = collated(chat_format, policy, {"input_ids": batch}, padding_free=padding_free, max_length=max_length)
    labels = [reference.mask_labels(row, chat_format, policy, max_length=max_length) for row in batch]
    if not padding_free:
        assert out["labels"].tolist() == twin.pad(labels, -100)
        return
    if policy.shift == "none":
        labels = [[-100, *row[1:]] if row else row for row in labels]
    assert out["labels"].tolist() == [[label for row in labels for label in row]]


@given(batch=filled, made=formats_and_policies(), max_length=st.none() | st.integers(1, 90))
def test_flattened_batches_equal_the_reference(batch, made, max_length):
    chat_format, policy = made
    out, collator = collated(chat_format, policy, {"input_ids": batch}, padding_free=True, max_length=max_length)
    flat = twin.flatten(batch, max_length)
    labels = [reference.mask_labels(row, chat_format, policy, max_length=max_length) for row in batch]
    if policy.shift == "none":
        labels = [[-100, *row[1:]] if row else row for row in labels]
    assert out["input_ids"].tolist() == [flat["input_ids"]]
    assert out["position_ids"].tolist() == [flat["position_ids"]]
    assert out["seq_idx"].tolist() == [flat["seq_idx"]]
    assert out["cu_seq_lens_q"].tolist() == out["cu_seq_lens_k"].tolist() == flat["cu_seq_lens"]
    assert out["max_length_q"] == out["max_length_k"] == flat["max_length"]
    assert out["labels"].tolist() == [[label for row in labels for label in row]]
    dtypes = [out[name].dtype for name in ("input_ids", "labels", "position_ids", "seq_idx", "cu_seq_lens_q")]
    assert dtypes == [np.int64, np.int64, np.int64, np.int32, np.int32]
    # The report also counts what the rule about first tokens removes.
    assert collator.report.trained_tokens == int((out["labels"] != -100).sum())
    assert collator.report.untrained_row_count == sum(all(label == -100 for label in row) for row in labels)


@given(batch=filled, made=formats_and_policies(), lists=st.booleans(), data=st.data())
def test_attention_masks_and_existing_labels_equal_the_reference(batch, made, lists, data):
    chat_format, policy = made
    lead = data.draw(st.integers(0, 3))
    tail = data.draw(st.integers(0, 3))
    padded = [[1] * lead + row + [1] * tail for row in batch]
    masks = [[0] * lead + [1] * len(row) + [0] * tail for row in batch]
    existing = [[token if data.draw(st.booleans()) else -100 for token in row] for row in padded]
    columns = {"input_ids": padded, "attention_mask": masks, "labels": existing}
    if not lists:
        columns = {name: [np.array(row, np.int64) for row in column] for name, column in columns.items()}
    out, _ = collated(chat_format, policy, columns)
    for row, mask in zip(batch, masks, strict=True):
        if row:  # a mask of only zeros does not show where its row was
            assert twin.real_tokens(mask) == (lead, lead + len(row))
    labels = [
        reference.mask_labels(row, chat_format, policy, labels=kept[lead : lead + len(row)])
        for row, kept in zip(batch, existing, strict=True)
    ]
    assert out["input_ids"].tolist() == twin.pad(batch, PAD)
    assert out["labels"].tolist() == twin.pad(labels, -100)


@given(batch=filled, made=formats_and_policies(), dtype=st.sampled_from(DTYPES))
def test_labels_of_turns_equal_labels_of_the_search(batch, made, dtype):
    chat_format, policy = made
    arrays = [np.array(row, dtype) for row in batch]
    searched = mask_labels(arrays, chat_format, policy)
    known = mask_labels(arrays, find_turns(arrays, chat_format), policy, num_threads=2)
    assert known.labels == searched.labels
    # Only the search sees that a row ends inside a header, and that reasoning does not close.
    for name in ("rows", "tokens", "trained_tokens", "turns", "truncated_turns", "untrained_row_count"):
        assert getattr(known.report, name) == getattr(searched.report, name)
    reasons = dict(known.report.untrained_rows), dict(searched.report.untrained_rows)
    for row, reason in reasons[0].items():
        in_header = reasons[1][row] == "truncated before the answer" and reason in ("no turn marker found", "no trained turn")
        assert reason == reasons[1][row] or in_header
    assert (known.weights is None) == (searched.weights is None)
    if known.weights is not None:
        assert known.weights.values.tolist() == searched.weights.values.tolist()


@given(lengths=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=8))
def test_turns_from_lengths_train_the_answers(lengths):
    prompts, totals = [prompt for prompt, _ in lengths], [prompt + answer for prompt, answer in lengths]
    rows = [list(range(100, 100 + total)) for total in totals]
    turns = Turns.from_lengths(prompts, totals)
    expected = [[-100] * prompt + row[prompt:] for prompt, row in zip(prompts, rows, strict=True)]
    assert mask_labels(rows, turns).labels == Ragged.from_rows(expected)
    roles = turns.token_roles().to_list()
    assert roles == [[0] * prompt + [1] * (total - prompt) for prompt, total in zip(prompts, totals, strict=True)]


KINDS = {"lists": list, "arrays": np.array}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("on_untrained_row", ["keep", "drop"])
@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("padding_free", [False, True])
def test_a_batch_crosses_into_the_core_twice(monkeypatch, kind, on_untrained_row, with_mask, padding_free):
    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
    policy = MaskPolicy(on_untrained_row=on_untrained_row)
    collator = DataCollatorForChat(
        TOKENIZER, chat_format=fmt, policy=policy, padding_free=padding_free, on_untrained_batch="ignore"
    )
    features = [{"input_ids": KINDS[kind](row)} for row in ([5, 6, 9, 2], [8, 9, 9])]
    if with_mask:
        features = [feature | {"attention_mask": KINDS[kind]([1] * len(feature["input_ids"]))} for feature in features]
    with pytest.warns(SpanmaskWarning):
        collator(features)
    calls = []
    for name in dir(_core):
        if callable(made := getattr(_core, name)) and not isinstance(made, type) and not name.startswith("_"):
            monkeypatch.setattr(
                _core,
                name,
                lambda *args, _made=made, _name=name, **kwargs: calls.append(_name) or _made(*args, **kwargs),
            )
    out = collator(features)
    # Then `LabelPlan.write`. `add_shared` adds ten numbers to those of all processes.
    assert [name for name in calls if name != "add_shared"] == ["plan_labels"]
    rows = 2 if on_untrained_row == "keep" else 1
    assert len(out["cu_seq_lens_q"]) - 1 == rows if padding_free else len(out["input_ids"]) == rows


@given(
    batch=st.lists(st.lists(st.integers(-9, 9), max_size=20), min_size=1, max_size=5),
    dtype=st.sampled_from([*DTYPES, np.float32, np.bool_]),
    side=st.sampled_from(["right", "left"]),
    max_length=st.none() | st.integers(1, 25),
    data=st.data(),
)
def test_numbers_of_any_type_equal_the_reference(batch, dtype, side, max_length, data):
    values = [np.abs(row).astype(dtype) if len(row) else np.empty(0, dtype) for row in batch]
    ragged = Ragged(np.concatenate(values), np.cumsum([0, *map(len, values)]))
    padding, expected = (True, np.bool_) if dtype == np.bool_ else (3, np.float32 if dtype == np.float32 else np.int64)
    padded = _core.pad(ragged, _core.Layout.padded(side, max_length, 4), padding)
    assert padded.dtype == expected
    assert padded.tolist() == twin.pad([row.tolist() for row in values], padding, side, max_length, 4)
    width = data.draw(st.integers(0, 6))
    places = [data.draw(st.lists(st.integers(-1, len(row) - 1), min_size=width, max_size=width)) for row in values]
    taken = _core.take(ragged, np.array(places, np.int64).reshape(len(values), width), padding)
    assert taken.dtype == expected
    assert taken.tolist() == twin.take([row.tolist() for row in values], places, padding)


def test_places_outside_of_their_rows_are_errors():
    ragged = Ragged.from_rows([[1, 2], [3]])
    with pytest.raises(ValueError, match="rows: row 1 "):
        _core.take(ragged, np.array([[0], [1]]), 0)
    with pytest.raises(ValueError, match="rows: expected 6 items, got 3"):
        _core.take(ragged, np.array([[0, 0, 0]]), 0)
