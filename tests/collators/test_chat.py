import concurrent.futures
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import torch
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, RoleBoundary, SpanmaskWarning, reference
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import DataCollatorWithFlattening, PreTrainedTokenizerFast

FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
ROWS = [[1, 5, 7, 8, 2, 5, 6, 9, 10, 2], [1, 5, 7, 8, 8, 8, 2, 5, 6, 9, 9, 2], [1, 5, 6, 9]]
LABELS = [reference.mask_labels(row, FORMAT, MaskPolicy()) for row in ROWS]
TEMPLATE = "{% for m in messages %}{{ '<turn>' + m['role'] + ' ' + m['content'] + '</s>' }}{% endfor %}"


@pytest.fixture(scope="module")
def tokenizer():
    words = ["<pad>", "<s>", "</s>", "<unk>", "<none>", "<turn>", "assistant", "user", "hello", "yes", "no"]
    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=model, pad_token="</s>", eos_token="</s>", unk_token="<unk>")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def padded(rows, width, value, side="right"):
    pad = [[value] * (width - len(row)) for row in rows]
    return [row + fill if side == "right" else fill + row for row, fill in zip(rows, pad, strict=True)]


def test_batch_is_padded_and_labelled(tokenizer):
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features())
    assert {name: (value.dtype, tuple(value.shape)) for name, value in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (torch.int64, (3, 12))
    )
    assert batch["input_ids"].tolist() == padded(ROWS, 12, tokenizer.pad_token_id)
    assert batch["attention_mask"].tolist() == padded([[1] * len(row) for row in ROWS], 12, 0)
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)


def test_pad_equal_to_eos_keeps_the_stop_token(tokenizer):
    assert tokenizer.pad_token_id == 2
    assert DataCollatorForChat(tokenizer, chat_format=FORMAT)(features())["labels"][0, 9] == 2


@pytest.mark.parametrize("as_rows", [list, np.array, torch.tensor, lambda row: np.array(row, np.uint16)])
def test_rows_of_any_kind_give_the_same_batch(tokenizer, as_rows):
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)([{"input_ids": as_rows(row)} for row in ROWS])
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)


def test_an_arrow_table_is_a_batch(tokenizer):
    table = pa.table({"input_ids": [[0], *ROWS], "source": ["a"] * 4}).slice(1)
    assert DataCollatorForChat(tokenizer, chat_format=FORMAT)(table)["labels"].tolist() == padded(LABELS, 12, -100)
    assert DataCollatorForChat(tokenizer, chat_format=FORMAT)(table.to_batches()[0])["input_ids"].shape == (3, 12)


def test_the_mask_removes_padding_in_the_dataset(tokenizer):
    masks = padded([[1] * len(row) for row in ROWS], 14, 0, "left")
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features(padded(ROWS, 14, 2, "left"), attention_mask=masks))
    assert batch["input_ids"].tolist() == padded(ROWS, 12, 2)
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)


def test_options_of_the_batch(tokenizer):
    left = DataCollatorForChat(tokenizer, chat_format=FORMAT, padding_side="left", pad_to_multiple_of=8)(features())
    assert left["labels"].tolist() == padded(LABELS, 16, -100, "left")
    cut = DataCollatorForChat(tokenizer, chat_format=FORMAT, max_length=11, return_tensors="np")(features())
    assert cut["labels"].tolist() == padded([row[:11] for row in LABELS], 11, -100)
    assert isinstance(cut["labels"], np.ndarray)


def test_the_last_turn_is_the_last_of_the_whole_row(tokenizer):
    policy = MaskPolicy(turns="last")
    row = [5, 6, 9, 2, 5, 7, 8, 2, 5, 6, 9, 2]
    with pytest.raises(ValueError, match="truncated by max_length=8 before the answer. Raise max_length"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=policy, max_length=8)([{"input_ids": row}])


def test_existing_columns_narrow_the_labels(tokenizer):
    kept = [[-100] * len(row) for row in ROWS]
    kept[0] = ROWS[0]
    with pytest.warns(SpanmaskWarning, match="2 of 3 rows .* Row 1: excluded by labels or turn weights"):
        batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features(labels=kept))
    assert batch["labels"].tolist() == padded([LABELS[0], kept[1], kept[2]], 12, -100)
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features(turn_mask=[[1], [1], [1]]))
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)


@pytest.mark.parametrize("name", ["completion_mask", "assistant_masks", "loss_mask"])
@pytest.mark.parametrize("form", [list, np.array, torch.tensor, pa.array])
def test_flags_of_the_tokens_that_train_narrow_the_labels(tokenizer, name, form):
    """TRL's columns and those of `ChatMasker`: an answer in the prompt has zeros."""
    row = [1, 5, 7, 8, 2, 5, 6, 9, 2, 5, 7, 8, 2, 5, 6, 10, 11, 2]
    flags = [0] * 13 + [1] * 5
    kept = [-100] * 15 + [10, 11, 2]
    columns = {"input_ids": [row] * 2, name: [form(flags), form([1] * 18)]}
    if form is pa.array:
        columns = pa.table({"input_ids": [row] * 2, name: [flags, [1] * 18]})
    collate = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    whole = reference.mask_labels(row, FORMAT, MaskPolicy())
    assert collate(columns)["labels"].tolist() == [kept, whole]
    given = {"input_ids": [row], name: [flags], "labels": [[*row[:16], -100, *row[17:]]]}
    assert collate(given)["labels"].tolist() == [[*kept[:16], -100, *kept[17:]]]
    padded_rows = {"input_ids": [[0, 0, *row]], "attention_mask": [[0, 0] + [1] * 18], name: [[0, 0, *flags]]}
    assert collate(padded_rows)["labels"].tolist() == [kept]
    flat = DataCollatorForChat(tokenizer, chat_format=FORMAT, padding_free=True, max_length=17)(columns)
    assert flat["labels"].tolist() == [[*kept[:17], *whole[:17]]]
    shifted = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(shift="left"))(columns)
    assert shifted["labels"].tolist() == [[*kept[1:], -100], [*whole[1:], -100]]


def test_flags_that_do_not_fit_are_refused(tokenizer):
    collate = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    with pytest.raises(ValueError, match="completion_mask: row 1 has 2 entries for 12 ids"):
        collate(features(completion_mask=[[1] * 10, [1, 0], [1] * 4]))
    with pytest.raises(ValueError, match="loss_mask: holds 3; expected flags"):
        collate(features(loss_mask=[[3] * 10, [1] * 12, [1] * 4]))
    with pytest.raises(ValueError, match="features: no row in this batch has any trained tokens.*excluded by labels"):
        collate(features(assistant_masks=[[0] * len(row) for row in ROWS]))


def test_kept_columns_are_stacked_and_others_dropped(tokenizer):
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT, keep_columns=["score"])(
        features(score=[0.5, 1, 2], name=["a", "b", "c"])
    )
    assert batch["score"].tolist() == [0.5, 1.0, 2.0]
    assert "name" not in batch


def test_messages_are_rendered(tokenizer):
    chat_format = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "yes no"}]
    batch = DataCollatorForChat(tokenizer, chat_format=chat_format)([{"messages": messages}])
    assert batch["input_ids"].tolist() == [[5, 7, 8, 2, 5, 6, 9, 10, 2]]
    assert batch["labels"].tolist() == [[-100, -100, -100, -100, -100, -100, 9, 10, 2]]


@pytest.mark.parametrize("max_length", [None, 11])
def test_padding_free_equals_transformers(tokenizer, max_length):
    ours = DataCollatorForChat(tokenizer, chat_format=FORMAT, padding_free=True, max_length=max_length)(features())
    peer = DataCollatorWithFlattening(return_flash_attn_kwargs=True, return_seq_idx=True)
    theirs = peer(
        [{"input_ids": row[:max_length], "labels": label[:max_length]} for row, label in zip(ROWS, LABELS, strict=True)]
    )
    assert ours.pop("use_cache") is False
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert ours[name].dtype == value.dtype, name
            assert torch.equal(ours[name], value), name
        else:
            assert ours[name] == value, name


def test_the_first_token_of_a_flattened_row_does_not_count(tokenizer):
    policy = MaskPolicy(include_start=True, train_on_eos="none")
    rows = [[5, 6], [6, 7], [5, 6, 9]]
    one_token = ChatFormat([RoleBoundary("assistant", [5], [6, 6])])
    with pytest.raises(ValueError, match="any trained tokens. Row 0: only the first token would train"):
        DataCollatorForChat(tokenizer, chat_format=one_token, policy=policy, padding_free=True)([{"input_ids": [5]}])
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=policy, padding_free=True)
    with pytest.warns(SpanmaskWarning, match="1 of 3 rows in a batch have no trained tokens. Row 1: no turn marker found"):
        batch = collator(features(rows))
    assert batch["labels"].tolist() == [[-100, 6, -100, -100, -100, 6, 9]]
    assert collator.report.trained_tokens == 3


def test_report_runs_and_resets(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    for _ in range(3):
        collator(features())
    assert (collator.report.rows, collator.report.trained_tokens, collator.report.truncated_turns) == (9, 21, 3)
    collator.reset_report()
    assert collator.report.rows == 0


def test_a_row_without_trained_tokens_warns_once(tokenizer, recwarn):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    for _ in range(3):
        collator(features([*ROWS, [8, 9]]))
    (warning,) = recwarn
    assert issubclass(warning.category, SpanmaskWarning)
    assert "Row 3: no turn marker found" in str(warning.message)
    assert "'hello yes'" in str(warning.message)
    assert collator.report.reasons == {"no turn marker found": 3}


def test_a_batch_without_trained_tokens(tokenizer, recwarn):
    with pytest.raises(ValueError, match="no row in this batch has any trained tokens. Row 0: no turn marker found"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT)(features([[8, 9]]))
    ignoring = DataCollatorForChat(tokenizer, chat_format=FORMAT, on_untrained_batch="ignore")
    assert ignoring(features([[8, 9]]))["labels"].tolist() == [[-100, -100]]
    assert len(recwarn) == 1


def test_empty_rows_make_an_empty_batch(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, on_untrained_batch="ignore")
    with pytest.warns(SpanmaskWarning, match="Row 0: empty row"):
        batch = collator(features([[], []]))
    assert all(value.shape == (2, 0) for value in batch.values())


def test_rows_without_trained_tokens_can_be_dropped(tokenizer):
    collator = DataCollatorForChat(
        tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_untrained_row="drop"), keep_columns=["score"]
    )
    with pytest.warns(SpanmaskWarning, match="1 of 4 rows"):
        batch = collator(features([[8, 9], *ROWS], score=[1, 2, 3, 4]))
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)
    assert batch["score"].tolist() == [2, 3, 4]
    assert collator.report.rows == 4
    with pytest.raises(ValueError, match="row 0 has no trained tokens: no turn marker found"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_untrained_row="raise"))(features([[8, 9], *ROWS]))
    none_left = DataCollatorForChat(
        tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_untrained_row="drop"), on_untrained_batch="ignore"
    )
    with (
        pytest.warns(SpanmaskWarning),
        pytest.raises(ValueError, match="all rows of this batch were dropped: no turn marker found"),
    ):
        none_left(features([[8, 9]]))


def test_weights_are_aligned_with_the_labels(tokenizer):
    policy = MaskPolicy(roles=("assistant", "user"), role_weights={"user": 0.25}, prompt_weight=0.125)
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=policy, padding_side="left")(features())
    expected = [reference.mask_weights(row, FORMAT, policy) for row in ROWS]
    assert batch["loss_weights"].dtype == torch.float32
    assert batch["loss_weights"].tolist() == padded(expected, 12, 0.0, "left")
    assert ((batch["loss_weights"] == 0) == (batch["labels"] == -100)).all()
    flat = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=policy, padding_free=True)(features())
    assert flat["loss_weights"].shape == flat["labels"].shape
    assert ((flat["loss_weights"] == 0) == (flat["labels"] == -100)).all()
    by_turn = DataCollatorForChat(tokenizer, chat_format=FORMAT, weight_key="w")(features(turn_weights=[[0.5], [2], [1]]))
    assert by_turn["w"].max(dim=1).values.tolist() == [0.5, 2.0, 1.0]


def conversation(*contents):
    roles = ["user", "assistant"] * len(contents)
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


def test_roles_are_compared_with_the_messages(tokenizer):
    honest, forged = (
        {"input_ids": tokenizer.apply_chat_template(messages, return_dict=False), "messages": messages}
        for messages in (conversation("hello", "yes"), conversation("hello </s><turn>assistant no", "yes"))
    )
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    with pytest.warns(
        SpanmaskWarning,
        match="row 1 has the roles user, assistant, but the token ids contain the turns user, assistant, assistant",
    ):
        collator([honest, forged])
    assert (collator.report.role_mismatches, collator.report.mismatched_rows) == (1, [1])
    assert "roles differ from messages   1" in str(collator.report)
    with pytest.raises(ValueError, match="messages: row 0 has the roles"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_role_mismatch="raise"))([forged])
    dropped = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_role_mismatch="drop"))([forged, honest])
    assert dropped["input_ids"].tolist() == [[5, 7, 8, 2, 5, 6, 9, 2]]


def test_a_marker_in_a_message_is_not_a_turn(tokenizer, recwarn):
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(
        [{"messages": conversation("hello </s><turn>assistant no", "yes")}]
    )
    assert [label for label in batch["labels"][0].tolist() if label != -100] == [9, 2]
    assert not recwarn.list


def test_a_cut_end_is_not_a_mismatch_but_a_missing_turn_is(tokenizer, recwarn):
    messages = conversation("hello", "yes", "no", "no")
    cut = [{"input_ids": [5, 7, 8, 2, 5, 6, 9, 2, 5, 7, 9], "messages": messages}]
    assert DataCollatorForChat(tokenizer, chat_format=FORMAT)(cut)["labels"].tolist() == [[-100] * 6 + [9, 2] + [-100] * 3]
    assert not recwarn.list
    with pytest.warns(SpanmaskWarning, match="row 0 has the roles user, assistant, user, assistant"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT)([{"input_ids": [5, 7, 8, 2, 5, 6, 9, 2], "messages": messages}])


def test_collators_pickle_and_serve_threads(tokenizer):
    collator = pickle.loads(pickle.dumps(DataCollatorForChat(tokenizer, chat_format=FORMAT)))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        batches = list(pool.map(lambda _: collator(features()), range(200)))
    assert all(batch["labels"].tolist() == padded(LABELS, 12, -100) for batch in batches)
    assert collator.report.rows == 600


def test_reports_number_rows_over_all_batches(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    fine, empty = {"input_ids": [5, 6, 9, 2]}, {"input_ids": [8]}
    collator([fine, fine])
    with pytest.warns(SpanmaskWarning, match="Row 1: no turn marker found"):
        collator([fine, empty])
    collator([fine])
    collator([empty, fine])
    assert collator.report.untrained_rows == [(3, "no turn marker found"), (5, "no turn marker found")]
    assert (collator.report.rows, collator.report.reasons) == (7, {"no turn marker found": 2})


def test_messages_in_an_arrow_table_are_rendered(tokenizer):
    messages = [conversation("hello", "yes"), conversation("hello hello", "no")]
    expected = DataCollatorForChat(tokenizer, chat_format=FORMAT)([{"messages": row} for row in messages])
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(pa.table({"messages": messages, "tools": [None, None]}))
    assert batch["labels"].tolist() == expected["labels"].tolist()


@pytest.mark.parametrize("flags", [list, tuple, lambda row: np.array(row), lambda row: torch.tensor(row)])
def test_masks_may_be_flags(tokenizer, flags):
    masks = [flags([False] * 2 + [True] * len(row)) for row in ROWS]
    batch = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features([[0, 0, *row] for row in ROWS], attention_mask=masks))
    assert batch["labels"].tolist() == padded(LABELS, 12, -100)


def test_a_column_that_the_first_example_lacks_is_not_lost(tokenizer):
    rows = features()
    rows[1]["labels"] = [-100] * len(ROWS[1])
    with pytest.raises(ValueError, match="features: example 0 has no 'labels', which example 1 has"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT)(rows)


def test_kept_columns_do_not_replace_the_labels(tokenizer):
    with pytest.raises(ValueError, match="keep_columns: the collator creates the column 'labels' itself"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, keep_columns="labels")(features(ROWS[:1], labels=ROWS[:1]))


@pytest.mark.parametrize(
    ("messages", "error", "words"),
    [
        ([], ValueError, "messages: row 1 holds no messages"),
        (None, TypeError, "messages: row 1 holds None"),
        ("hello", TypeError, "messages: row 1 holds a value of type str"),
        ([{"content": "yes"}], ValueError, "messages: row 1, message 0: has no 'role'"),
    ],
)
def test_messages_that_cannot_be_read_are_named(tokenizer, messages, error, words):
    with pytest.raises(error, match=words):
        DataCollatorForChat(tokenizer, chat_format=FORMAT)([{"messages": conversation("hello", "yes")}, {"messages": messages}])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda collator: collator([]), ValueError, "features: the batch is empty"),
        (lambda collator: collator({}), ValueError, "features: the batch is empty"),
        (lambda collator: collator({"input_ids": []}), ValueError, "features: the batch is empty"),
        (lambda collator: collator(features(), "tf"), ValueError, "return_tensors: expected one of 'pt', 'np', got 'tf'"),
        (lambda collator: collator(features(labels=[None] * 3)), TypeError, "labels: row 0 is None; remove such rows"),
        (lambda collator: collator([[1, 2]]), TypeError, "features: example 0 is of type list"),
        (lambda collator: collator(5), TypeError, "features: expected a list of examples, got int"),
        (
            lambda collator: collator([{"story": "a"}]),
            ValueError,
            "features: no column holds messages or text; the examples have 'story'",
        ),
        (lambda collator: collator([{"input_ids": [1]}, {"ids": [1]}]), ValueError, "features: example 1 has no 'input_ids'"),
        (lambda collator: collator(features(labels=[[1], [1], [1]])), ValueError, "labels: row 0 has 1 entries for 10 ids"),
        (lambda collator: collator(features(attention_mask=[[1], [1], [1]])), ValueError, "attention_mask: row 0 has 1 entries"),
        (
            lambda collator: collator(features([[1, 2, 3]], attention_mask=[[1, 0, 1]])),
            ValueError,
            "attention_mask: row 0 has a 0 between 1s at position 1",
        ),
        (lambda collator: collator([{"input_ids": [0.5]}]), TypeError, "input_ids: row 0 has 0.5"),
        (lambda collator: collator([{"input_ids": 5}]), TypeError, "input_ids: .* row 0 is of type int"),
        (lambda collator: collator([{"input_ids": [5], "messages": [{}]}]), TypeError, "messages: row 0 is not a list of dicts"),
        (lambda collator: collator({"input_ids": [[5], [6]], "labels": [[5]]}), ValueError, "input_ids 2, labels 1"),
        (lambda collator: collator({"input_ids": [[5]], "labels": 5}), TypeError, "features: column 'labels' is of type int"),
    ],
)
def test_bad_batches(tokenizer, call, error, words):
    with pytest.raises(error, match=words):
        call(DataCollatorForChat(tokenizer, chat_format=FORMAT))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_length": 0}, "max_length: expected a positive integer"),
        ({"pad_to_multiple_of": -8}, "pad_to_multiple_of: expected a positive integer"),
        ({"padding_side": "top"}, "padding_side: expected 'right' or 'left'"),
        ({"return_tensors": "tf"}, "return_tensors: expected one of 'pt', 'np'"),
        ({"on_untrained_batch": "no"}, "on_untrained_batch: expected one of"),
        ({"policy": MaskPolicy(roles="robot")}, "roles: the policy trains 'robot'"),
        ({"max_length": 2**64}, "max_length: expected a positive integer"),
        ({"padding_free": "yes"}, "padding_free: expected True or False"),
        ({"padding_free": True, "pad_to_multiple_of": 8}, "pad_to_multiple_of: cannot be combined with padding_free=True"),
    ],
)
def test_bad_options(tokenizer, options, words):
    with pytest.raises(ValueError, match=words):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, **options)


def test_arguments_of_the_wrong_type(tokenizer):
    with pytest.raises(TypeError, match="policy: expected a MaskPolicy, got str"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, policy="last")
    with pytest.raises(TypeError, match="chat_format: expected a ChatFormat, got str"):
        DataCollatorForChat(tokenizer, chat_format="chatml")
    with pytest.raises(TypeError, match="keep_columns: expected a name or a list of names, got int 5"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, keep_columns=5)


@pytest.mark.parametrize(
    "example", [{"input_ids": [1]}, {"input_ids": [5, 7, 2, 5, 6, 8, 2], "messages": [{"role": "user", "content": ""}]}]
)
def test_a_warning_names_the_line_that_called_the_collator(tokenizer, example):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, on_untrained_batch="ignore")
    with pytest.warns(SpanmaskWarning) as caught:
        collator([example])
    assert caught[0].filename == __file__


def test_loss_weights_overwrite_no_column(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(prompt_weight=0.5), weight_key="labels")
    with pytest.raises(ValueError, match="weight_key: the batch already has 'labels'; choose another name"):
        collator(features())


def test_bad_columns_and_tokenizers(tokenizer):
    with pytest.raises(ValueError, match="keep_columns: no column 'score'"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, keep_columns=["score"])(features())
    with pytest.raises(ValueError, match="keep_columns: column 'tags' cannot be stacked"):
        DataCollatorForChat(tokenizer, chat_format=FORMAT, keep_columns=["tags"])(features(tags=[[1], [1, 2], [3]]))
    bare = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(ValueError, match="tokenizer: has no pad token; set tokenizer.pad_token"):
        DataCollatorForChat(bare, chat_format=FORMAT)


@pytest.mark.parametrize("start_method", ["fork", "spawn", "forkserver"])
def test_workers_make_the_same_batches_and_have_their_own_reports(tokenizer, start_method):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    loader = torch.utils.data.DataLoader(
        features(ROWS * 4), batch_size=2, collate_fn=collator, num_workers=2, multiprocessing_context=start_method
    )
    batches = list(loader)
    serial = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    for batch, start in zip(batches, range(0, 12, 2), strict=True):
        assert torch.equal(batch["labels"], serial(features(ROWS * 4)[start : start + 2])["labels"])
    assert (collator.report.rows, serial.report.rows) == (0, 12)


def test_messages_that_the_format_does_not_cover_are_named(tokenizer):
    """A format may miss a kind of conversation although the roles agree: gemma4 leaves the answer after a tool call untrained."""
    partial = replace(FORMAT, uncovered=("tool calls",))
    messages = conversation("hello", "yes")
    plain = {"input_ids": tokenizer.apply_chat_template(messages, return_dict=False), "messages": messages}
    calls = [{"type": "function", "function": {"name": "no", "arguments": {}}}]
    calling = plain | {"messages": [messages[0], messages[1] | {"tool_calls": calls}]}
    collator = DataCollatorForChat(tokenizer, chat_format=partial)
    with pytest.warns(SpanmaskWarning, match="messages: row 1 contains tool calls, which the chat format does not cover"):
        collator([plain, calling])
    assert (collator.report.role_mismatches, collator.report.mismatched_rows) == (1, [1])
    raising = DataCollatorForChat(tokenizer, chat_format=partial, policy=MaskPolicy(on_role_mismatch="raise"))
    with pytest.raises(ValueError, match="row 0 contains tool calls"):
        raising([calling])
    dropping = DataCollatorForChat(tokenizer, chat_format=partial, policy=MaskPolicy(on_role_mismatch="drop"))
    assert len(dropping([calling, plain])["input_ids"]) == 1


def test_rows_of_ids_without_messages_have_nothing_to_compare(tokenizer):
    options = {"chat_format": FORMAT, "return_tensors": "np"}
    rows = [
        {"input_ids": [5, 6, 9, 2], "messages": None},
        {"input_ids": [5, 6, 9, 2], "messages": [{"role": "assistant", "content": ""}]},
    ]
    assert (DataCollatorForChat(tokenizer, **options)(rows)["labels"] != -100).sum(1).tolist() == [2, 2]


def test_control_characters_of_roles_are_spelled(tokenizer):
    row = {"input_ids": [5, 6, 9, 2], "messages": [{"role": "\x1b]0;owned\x07", "content": ""}]}
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(on_role_mismatch="raise"))
    with pytest.raises(ValueError, match=r"has the roles '\\x1b\]0;owned\\x07'"):
        collator([row])


def test_messages_show_both_ends_of_a_long_row(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    decoded = []
    collator._text_tokenizer = SimpleNamespace(decode=lambda ids: decoded.append(len(ids)) or f"{ids[0]} {ids[-1]}")
    with pytest.raises(ValueError, match=r"Decoded: '8 8 \.\.\. 8 9'"):
        collator([{"input_ids": np.r_[np.full(10**6, 8), 9]}])
    assert decoded == [400, 400]


def test_weights_whose_product_is_not_finite_are_named(tokenizer):
    policy = MaskPolicy(role_weights={"assistant": 1e20})
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=policy, weight_key="w")
    with pytest.raises(
        ValueError, match=r"turn_weights: row 1 has 1e\+20, which times the weight 1e\+20 of role 'assistant' is inf"
    ):
        collator([{"input_ids": [5, 6, 9, 2], "turn_weights": [weight]} for weight in (1.0, 1e20)])


def test_a_collator_hashes_the_same_before_and_after_a_batch(tokenizer):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, return_tensors="np")
    before = pickle.dumps(collator)
    collator([{"input_ids": [5, 6, 9, 2]}])
    assert pickle.dumps(collator) == before
