"""Our class compared with the removed one, which is read from the wheel of TRL 0.19.1."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from spanmask import SpanmaskWarning
from spanmask.compat.trl import DataCollatorForCompletionOnlyLM
from support.completion_only import removed_class
from support.strategies import ids
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WORDS = ["zero", "one", "two", "three", "four", "five", "</s>", "<mask>"]
EOS = 6
RESPONSE, INSTRUCTION = [5, 1], [5, 2]  # "five one", "five two"


def make_tokenizer(pad="zero", side="right"):
    model = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="zero"))
    model.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=model, pad_token=pad, eos_token="</s>", mask_token="<mask>", padding_side=side
    )


def call(cls, features, *args, **options):
    """The batch, and what each warning is about; deprecation warnings of the removed class do not count."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            batch = cls(*args, **options)(features)
        except (RuntimeError, KeyError) as error:  # padding-free rows without any token, or rows without a mask
            return type(error), None
    kinds = [
        "response" if "response" in str(w.message) else "instruction" if "instruction" in str(w.message) else "pad is EOS"
        for w in caught
        if not issubclass(w.category, (DeprecationWarning, FutureWarning))
    ]
    return batch, kinds


def assert_equal(features, *args, **options):
    """Ours equals the removed class: the same keys, values, dtypes, shapes and warnings."""
    ours, our_warnings = call(DataCollatorForCompletionOnlyLM, features, *args, **options)
    theirs, their_warnings = call(removed_class(), features, *args, **options)
    assert our_warnings == their_warnings
    if isinstance(theirs, type):
        assert ours is theirs
        return None
    assert type(ours) is type(theirs)
    assert list(ours) == list(theirs)
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        assert ours[name].shape == value.shape, name
        assert torch.equal(ours[name], value), name
    return ours


def features(*rows):
    return [{"input_ids": list(row), "attention_mask": [1] * len(row)} for row in rows]


templates = st.lists(ids, min_size=1, max_size=3)
as_text = templates.map(lambda template: " ".join(WORDS[token] for token in template))
# Rows made of templates and single ids, so that a row contains several of each.
pieces = st.one_of(st.just(RESPONSE), st.just(INSTRUCTION), st.lists(st.integers(0, EOS), min_size=1, max_size=3))
chats = st.lists(pieces, max_size=12).map(lambda parts: [token for part in parts for token in part])


@given(
    rows=st.lists(chats, min_size=1, max_size=5),
    response=st.one_of(st.just(RESPONSE), templates, as_text),
    instruction=st.one_of(st.none(), st.just(INSTRUCTION), templates, as_text),
    pad=st.sampled_from(["zero", "</s>", "one"]),
    side=st.sampled_from(["right", "left"]),
    padding_free=st.booleans(),
    ignore_index=st.sampled_from([-100, -1, 0, 5]),
    multiple=st.sampled_from([None, 8]),
)
@example([[5, 1, 5, 1, 3]], [5, 1], [5, 1], "zero", "right", False, -100, None)  # one template for both
def test_batches_equal_the_removed_class(rows, response, instruction, pad, side, padding_free, ignore_index, multiple):
    options = {"ignore_index": ignore_index, "padding_free": padding_free, "pad_to_multiple_of": multiple}
    assert_equal(features(*rows), response, instruction, tokenizer=make_tokenizer(pad, side), **options)


@given(rows=st.lists(st.lists(ids, min_size=1, max_size=30), min_size=1, max_size=4), response=templates, data=st.data())
def test_masked_rows_and_bare_rows_equal_the_removed_class(rows, response, data):
    instruction = data.draw(st.none() | templates)
    assert_equal(rows, response, instruction, tokenizer=make_tokenizer())
    # Rows that are padded already, as by a tokenizer with padding="max_length".
    masked = [
        {"input_ids": row, "attention_mask": [int(start <= number < stop) for number in range(len(row))]}
        for row in rows
        for start, stop in [sorted((data.draw(st.integers(0, len(row))), data.draw(st.integers(0, len(row)))))]
    ]
    assert_equal(masked, response, instruction, tokenizer=make_tokenizer(), padding_free=data.draw(st.booleans()))


def test_mlm_equals_the_removed_class():
    torch.manual_seed(0)
    theirs, _ = call(
        removed_class(), features([5, 2, 3, 5, 1, 3, 3]), RESPONSE, INSTRUCTION, mlm=True, tokenizer=make_tokenizer()
    )
    torch.manual_seed(0)
    ours, _ = call(
        DataCollatorForCompletionOnlyLM,
        features([5, 2, 3, 5, 1, 3, 3]),
        RESPONSE,
        INSTRUCTION,
        mlm=True,
        tokenizer=make_tokenizer(),
    )
    assert torch.equal(ours["labels"], theirs["labels"])
    assert torch.equal(ours["input_ids"], theirs["input_ids"])


def labels(row, *args, tokenizer=None, **options):
    """The labels of one row, equal to those of the removed class."""
    return assert_equal(features(row), *args, tokenizer=tokenizer or make_tokenizer(), **options)["labels"][0].tolist()


def test_quirk_the_last_response_wins_without_an_instruction_template():
    assert labels([5, 2, 3, 5, 1, 4, 5, 2, 3, 5, 1, 4], RESPONSE) == [-100] * 11 + [4]


def test_quirk_questions_and_answers_pair_by_index():
    # The second question has no answer, so the third answer pairs with nothing and the third question trains.
    row = [5, 2, 3, 5, 1, 4, 5, 2, 3, 5, 2, 3, 5, 1, 4]
    assert labels(row, RESPONSE, INSTRUCTION) == [-100] * 5 + [4] + [-100] * 9
    row = [5, 2, 3, 5, 1, 4, 5, 1, 4, 5, 2, 3, 5, 1, 4]
    assert labels(row, RESPONSE, INSTRUCTION) == [-100] * 5 + [4, 5, 1, 4, 5, 2, 3, 5, 1, 4]


def test_quirk_an_answer_before_the_first_question_is_paired_with_nothing():
    assert labels([3, 5, 1, 4, 5, 2, 3, 5, 1, 4], RESPONSE, INSTRUCTION) == [-100] * 3 + [4] + [-100] * 5 + [4]


def test_quirk_a_last_question_trains_nothing_only_when_questions_outnumber_answers():
    assert labels([5, 2, 3, 5, 1, 4, 5, 2, 3], RESPONSE, INSTRUCTION) == [-100] * 5 + [4] + [-100] * 3


def test_quirk_a_row_without_a_template_trains_nothing_and_causes_a_warning():
    collator = DataCollatorForCompletionOnlyLM(RESPONSE, tokenizer=make_tokenizer())
    with pytest.warns(SpanmaskWarning, match=r"response_template: \[5, 1\] was not found in a row; .* 'three four'"):
        assert collator(features([3, 4]))["labels"].tolist() == [[-100, -100]]
    assert labels([3, 4], RESPONSE) == [-100, -100]
    assert labels([5, 1, 4], RESPONSE, INSTRUCTION) == [-100] * 3


def test_quirk_padding_is_found_by_its_id():
    assert labels([5, 1, 4, EOS], RESPONSE, tokenizer=make_tokenizer()) == [-100, -100, 4, EOS]
    assert labels([5, 1, 4, EOS], RESPONSE, tokenizer=make_tokenizer("</s>")) == [-100, -100, 4, -100]


def test_quirk_a_template_with_the_pad_token_is_never_found():
    assert labels([EOS, 5, 1, 4], [EOS, 5, 1], tokenizer=make_tokenizer()) == [-100] * 3 + [4]
    assert labels([EOS, 5, 1, 4], [EOS, 5, 1], tokenizer=make_tokenizer("</s>")) == [-100] * 4


def test_quirk_pad_equal_to_eos_causes_a_warning_only_with_an_instruction_template():
    with pytest.warns(SpanmaskWarning, match="tokenizer: its pad token is also its EOS token"):
        DataCollatorForCompletionOnlyLM(RESPONSE, INSTRUCTION, tokenizer=make_tokenizer("</s>"))
    DataCollatorForCompletionOnlyLM(RESPONSE, tokenizer=make_tokenizer("</s>"))


def test_quirk_padding_keeps_100_whatever_ignore_index_says():
    batch = assert_equal(features([5, 1, 4], [5, 1, 4, 4]), RESPONSE, tokenizer=make_tokenizer(), ignore_index=-1)
    assert batch["labels"].tolist() == [[-1, -1, 4, -100], [-1, -1, 4, 4]]


def test_quirk_padding_free_has_two_dimensional_edges():
    batch = assert_equal(features([5, 1, 4], [5, 1, 4, 4]), RESPONSE, tokenizer=make_tokenizer(), padding_free=True)
    assert list(batch) == [
        "input_ids",
        "labels",
        "position_ids",
        "cu_seq_lens_q",
        "cu_seq_lens_k",
        "max_length_k",
        "max_length_q",
    ]
    assert batch["cu_seq_lens_q"].tolist() == [[0, 3, 7]]
    assert batch["cu_seq_lens_q"].dtype == torch.int32
    assert batch["max_length_q"].tolist() == [4]


def test_quirk_numpy_batches_are_not_masked():
    ours, _ = call(
        DataCollatorForCompletionOnlyLM, features([5, 1, 4]), RESPONSE, tokenizer=make_tokenizer(), return_tensors="np"
    )
    theirs, _ = call(removed_class(), features([5, 1, 4]), RESPONSE, tokenizer=make_tokenizer(), return_tensors="np")
    assert ours["labels"].tolist() == theirs["labels"].tolist() == [[5, 1, 4]]


def test_text_templates_are_tokenized_alone():
    assert DataCollatorForCompletionOnlyLM("five one", tokenizer=make_tokenizer()).response_token_ids == RESPONSE
    assert labels([5, 2, 3, 5, 1, 4], "five one", "five two") == [-100] * 5 + [4]


def test_ids_may_be_any_sequence_and_the_collator_pickles():
    for template in (tuple(RESPONSE), np.array(RESPONSE)):
        collator = pickle.loads(pickle.dumps(DataCollatorForCompletionOnlyLM(template, tokenizer=make_tokenizer())))
        assert collator(features([5, 1, 4]))["labels"].tolist() == [[-100, -100, 4]]


@pytest.mark.parametrize(
    ("template", "error", "words"),
    [
        ([], ValueError, r"response_template: \[\] has no tokens"),
        ("", ValueError, "response_template: '' has no tokens"),
        ([0.5], TypeError, "response_template: expected a token id, got float 0.5"),
        (5, TypeError, "response_template: expected token ids, got int 5"),
    ],
)
def test_bad_templates(template, error, words):
    with pytest.raises(error, match=words):
        DataCollatorForCompletionOnlyLM(template, tokenizer=make_tokenizer())
