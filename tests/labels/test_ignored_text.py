"""`ignore_between` and `ignore_sequences` as text, and regions that do not close."""

import pickle
from dataclasses import replace

import pytest
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, RoleBoundary, SpanmaskWarning, mask_labels
from spanmask.chat import ids_in_context, policy_with_ids
from spanmask.chat.tokens import encode
from support.vocabularies import KINDS, tokenizer_of

TEMPLATE = (
    "{% for m in messages %}<|S|>{{ m.role }}\n{{ m.content }}<|E|>{% endfor %}"
    "{% if add_generation_prompt %}<|S|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def tokenizers():
    made = {}

    def get(kind):
        if kind not in made:
            made[kind] = tokenizer_of(kind, ("<|S|>", "<|E|>"))
            made[kind].chat_template = TEMPLATE
            made[kind].pad_token = "<|E|>"
        return made[kind]

    return get


def chat(tokenizer):
    ends = {role: (f"<|S|>{role}\n", "<|E|>") for role in ("user", "assistant")}
    return ChatFormat.from_strings(tokenizer, **ends)


@pytest.mark.parametrize("after", ["\n\nFine.", " Fine.", "Fine.", ""])
@pytest.mark.parametrize("kind", KINDS)
def test_collators_turn_text_into_ids(tokenizers, kind, after):
    tokenizer = tokenizers(kind)
    policy = MaskPolicy(ignore_between=[("<think>", "</think>")], ignore_sequences=["Quoted: "])
    collator = DataCollatorForChat(tokenizer, chat_format=chat(tokenizer), policy=policy, return_tensors="np")
    answer = f"<think>two miles\n</think>{after} Quoted: 42."
    text = f"<|S|>user\nHi<|E|><|S|>assistant\n{answer}<|E|>"
    batch = collator([{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer}]}])
    [tokens] = encode(tokenizer, [text])
    assert batch["input_ids"][0].tolist() == tokens.ids
    for label, (start, stop) in zip(batch["labels"][0], tokens.spans, strict=True):
        within = [(text.index(part), text.index(part) + len(part)) for part in ("<think>two miles\n</think>", "Quoted:")]
        if any(left <= start < stop <= right for left, right in within) or stop <= text.index("<think>"):
            assert label == -100, text[start:stop]
        elif start >= text.index("</think>") and all(start >= right or stop <= left for left, right in within):
            assert label != -100 or not text[start:stop].strip(), text[start:stop]
    assert collator.report.unclosed_regions == 0
    assert pickle.loads(pickle.dumps(collator)).policy == collator.policy


def test_a_policy_with_text_becomes_one_with_ids():
    tokenizer = tokenizer_of("byte_level")
    policy = MaskPolicy(ignore_between=[(["<think>", [7, 8]], "</think>")], ignore_sequences="<none>", turns="last")
    made = policy_with_ids(tokenizer, policy)
    opening, closing = ids_in_context(tokenizer, "<think>"), ids_in_context(tokenizer, "</think>")
    sequences = ids_in_context(tokenizer, "<none>")
    assert made == replace(policy, ignore_between=[([*opening, (7, 8)], closing)], ignore_sequences=sequences)
    assert policy_with_ids(None, made) is made  # nothing is left to do
    assert MaskPolicy(ignore_between=[([7], [8])]).ignore_between == ((((7,),), ((8,),)),)


FORMAT = ChatFormat([RoleBoundary("assistant", [25, 26], [22]), RoleBoundary("user", [25, 27], [22])])
ROW = [25, 27, 40, 22, 25, 26, 41, 42, 22]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ignore_between": [("<think>", "</think>")]}, "ignore_between: has the text '<think>'"),
        ({"ignore_between": [([41], "</think>")]}, "ignore_between: has the text '</think>'"),
        ({"ignore_sequences": "<none>"}, "ignore_sequences: has the text '<none>'"),
        ({"ignore_sequences": [[3], "<none>"]}, "ignore_sequences: has the text '<none>'"),
    ],
)
def test_text_without_a_tokenizer_is_an_error(options, name):
    with pytest.raises(
        TypeError, match=rf"{name}.*policy_with_ids\(tokenizer, policy\), or the ids themselves: spanmask.chat.ids_in_context"
    ):
        mask_labels([ROW], FORMAT, MaskPolicy(**options))


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"ignore_between": ("<a>", "<b>")}, ValueError, "ignore_between: expected pairs"),
        ({"ignore_between": ["ab"]}, ValueError, "ignore_between: expected pairs .* got 'ab'"),
        ({"ignore_between": [("<a>",)]}, ValueError, "ignore_between: expected pairs"),
        ({"ignore_between": [("", "<b>")]}, ValueError, "ignore_between, opening: an empty marker"),
        ({"ignore_between": [("<a>", ["<b>", ""])]}, ValueError, "ignore_between, closing: an empty marker"),
        ({"ignore_between": [([], "<b>")]}, ValueError, "ignore_between: an opening marker has no ids"),
        ({"ignore_between": [(b"<a>", "<b>")]}, TypeError, "ignore_between, opening: expected token ids, got bytes"),
        ({"ignore_sequences": [5, "<a>"]}, TypeError, "ignore_sequences: expected ids, texts or a list of both"),
        ({"ignore_sequences": 5}, TypeError, "ignore_sequences: expected token ids"),
    ],
)
def test_what_a_policy_refuses(options, error, words):
    with pytest.raises(error, match=words):
        MaskPolicy(**options)


REGIONS = MaskPolicy(ignore_between=[([50], [51])])


@pytest.mark.parametrize(
    ("row", "count"),
    [
        pytest.param(ROW, 0, id="none"),
        pytest.param([25, 26, 50, 41, 51, 42, 22], 0, id="closed"),
        pytest.param([25, 26, 41, 50, 42, 22], 1, id="not closed"),
        pytest.param([25, 26, 50, 41, 51, 50, 42, 22], 1, id="the second"),
        pytest.param([25, 26, 50, 41, 22, 25, 26, 50, 51, 22, 25, 26, 50, 22], 2, id="in two turns of three"),
        pytest.param([25, 26, 50, 41, 22, 51], 1, id="closed after the turn"),
        pytest.param([25, 27, 50, 41, 22, 25, 26, 42, 22], 0, id="in a turn that does not train"),
        pytest.param([25, 26, 41, 50], 1, id="at the end of a row that ends early"),
        pytest.param([40, 50, 41], 0, id="nothing would train"),
    ],
)
def test_regions_that_do_not_close_are_counted(row, count):
    report = mask_labels([ROW, row], FORMAT, REGIONS).report
    assert report.unclosed_regions == count
    assert (report + report).unclosed_regions == 2 * count
    assert (f"unclosed regions             {count}" in str(report)) == (count > 0)


THINKING = ChatFormat(
    [RoleBoundary("assistant", start=[25, 26], end=[22]), RoleBoundary("user", start=[25, 27], end=[22])],
    reasoning=([[50]], [[51], [51, 52]]),
    empty_reasoning=[[50, 53, 51]],
)


@pytest.mark.parametrize(
    ("row", "count"),
    [
        pytest.param([25, 26, 50, 41, 51, 42, 22], 0, id="closed"),
        pytest.param([25, 26, 50, 41, 51, 22], 0, id="closed at the end"),
        pytest.param([25, 26, 50, 41, 51, 52, 22], 0, id="closed by the longer marker"),
        pytest.param([25, 26, 50, 53, 51, 22], 0, id="empty"),
        pytest.param([25, 26, 50, 41, 22], 1, id="not closed"),
        pytest.param([25, 26, 50, 22], 1, id="nothing but the opening"),
        pytest.param([25, 26, 50, 41], 1, id="the row ends"),
        pytest.param([25, 27, 50, 41, 22, 25, 26, 42, 22], 0, id="in a turn that does not train"),
        pytest.param([25, 26, 50, 41, 22, 25, 26, 50, 51, 22, 25, 26, 50, 22], 2, id="in two turns of three"),
    ],
)
def test_reasoning_that_does_not_close_is_counted_where_it_does_not_train(row, count):
    assert mask_labels([ROW, row], THINKING, MaskPolicy(reasoning="ignore")).report.unclosed_regions == count
    for reasoning in ("train", "ignore_empty"):
        assert mask_labels([row], THINKING, MaskPolicy(reasoning=reasoning)).report.unclosed_regions == 0


def test_a_collator_warns_once_about_regions_that_do_not_close(recwarn):
    tokenizer = tokenizer_of("byte_level")
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=REGIONS, padding_free=True)
    for _ in range(2):
        collator([{"input_ids": ROW}, {"input_ids": [25, 26, 41, 50, 42, 22]}])
    (warning,) = recwarn
    assert warning.category is SpanmaskWarning
    assert "policy: row 1 has a region of ignore_between, or reasoning, that opens but does not close" in str(warning.message)
    assert "such regions in the batch: 1" in str(warning.message)
    assert "pass the markers of ignore_between as text" in str(warning.message)
    assert collator.report.unclosed_regions == 2


def test_a_region_that_closes_after_the_cut_is_closed(recwarn):
    collator = DataCollatorForChat(
        tokenizer_of("byte_level"), chat_format=FORMAT, policy=REGIONS, padding_free=True, max_length=6
    )
    batch = collator([{"input_ids": [25, 26, 41, 50, 42, 43, 51, 44, 22]}])
    assert batch["labels"].tolist() == [[-100, -100, 41, -100, -100, -100]]
    assert collator.report.unclosed_regions == 0
    assert not recwarn.list


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("marker", ["<|", "<<", "think", "<think", "S|>", ">"])
def test_a_marker_that_is_part_of_an_added_token_is_not_that_token(kind, marker):
    tokenizer = tokenizer_of(kind, ("<|S|>", "<think>", "<<x>>", "think>"))
    added = {tokenizer.convert_tokens_to_ids(token) for token in ("<|S|>", "<think>", "<<x>>", "think>")}
    for ids in ids_in_context(tokenizer, marker):
        assert added.isdisjoint(ids)
