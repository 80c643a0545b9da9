"""Marker text -> ids in context: `ChatFormat.from_strings`, `ids_in_context`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import ChatFormat, ChatFormatError, MaskPolicy, RoleBoundary, mask_labels
from spanmask.chat import ids_in_context
from spanmask.chat.tokens import encode
from support.text_truth import ENDS, MIDDLES
from support.vocabularies import KINDS, tokenizer_of
from transformers import ByT5Tokenizer

FORMS = {
    "vicuna": (" USER: ", " ASSISTANT: ", "</s>", {"assistant": ("ASSISTANT:", "</s>"), "user": "USER:"}),
    "chatml": (
        "<|im_end|>\n<|im_start|>user\n",
        "<|im_end|>\n<|im_start|>assistant\n",
        "<|im_end|>\n",
        {"assistant": ("<|im_start|>assistant\n", ["<|im_end|>"]), "user": ("<|im_start|>user\n", "<|im_end|>")},
    ),
    "alpaca": (
        "\n\n### Instruction:\n",
        "\n\n### Response:\n",
        "",
        {"assistant": "### Response:\n", "user": "### Instruction:\n"},
    ),
    "tags": ("<user>", "<assistant>", "</assistant>\n", {"assistant": ("<assistant>", "</assistant>"), "user": "<user>"}),
}
SPECIAL = {"chatml": ("<|im_start|>", "<|im_end|>")}
CONTENTS = st.builds(
    lambda start, middle, end: start + middle + end, st.sampled_from(ENDS), st.sampled_from(MIDDLES), st.sampled_from(ENDS)
)


def tokenizer_for(kind, form):
    return ByT5Tokenizer() if kind == "byt5" else tokenizer_of(kind, SPECIAL.get(form, ()))


@pytest.fixture(scope="module")
def formats():
    """The format of each form with each tokenizer, cached."""
    made = {}

    def get(kind, form):
        if (kind, form) not in made:
            tokenizer = tokenizer_for(kind, form)
            made[kind, form] = tokenizer, ChatFormat.from_strings(tokenizer, **FORMS[form][3])
        return made[kind, form]

    return get


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", [*KINDS, "byt5"])
@given(contents=st.lists(st.tuples(CONTENTS, CONTENTS), min_size=1, max_size=3))
def test_from_strings_trains_only_answers(formats, kind, form, contents):
    tokenizer, chat_format = formats(kind, form)
    question, answer, end, _ = FORMS[form]
    text, spans = "", []
    for asked, answered in contents:
        text += question
        spans.append((len(text), len(text) + len(asked), False))
        text += asked + answer
        spans.append((len(text), len(text) + len(answered), True))
        text += answered + end
    [tokens] = encode(tokenizer, [text])
    labels = mask_labels([tokens.ids], chat_format).labels.to_list()[0]
    for start, stop, trains in spans:
        inside = [at for at, (a, b) in enumerate(tokens.spans) if start <= a < b <= stop and text[a:b].strip()]
        wrong = [text[slice(*tokens.spans[at])] for at in inside if (labels[at] != -100) != trains]
        assert not wrong, (text, start, stop)


def test_from_strings_shows_text_and_ids():
    tokenizer = tokenizer_of("byte_level", SPECIAL["chatml"])
    chat_format = ChatFormat.from_strings(tokenizer, **FORMS["chatml"][3])
    start, end, header = (tokenizer.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>", "assistant"))
    assert f"start '<|im_start|>assistant\\n' [{start}, {header}," in str(chat_format)
    assert f"end '<|im_end|>' [{end}]" in str(chat_format)
    assert f"'<|im_start|>assistant' [{start}, {header}]" in str(chat_format)  # where the line break merges with the content


def test_from_strings_keeps_ignore_ids():
    assert ChatFormat.from_strings(tokenizer_of("byte_level"), assistant="A:", ignore_ids=[7]).ignore_ids == (7,)


@pytest.mark.parametrize(
    ("tokenizer", "roles", "error", "message"),
    [
        (None, {"assistant": "A:"}, TypeError, "expected a transformers tokenizer"),
        ("byte_level", {}, ChatFormatError, "none given"),
        ("byte_level", {"assistant": ""}, ChatFormatError, "empty marker"),
        ("byte_level", {"assistant": ("A:", "")}, ChatFormatError, "empty marker"),
        ("byte_level", {"assistant": 7}, TypeError, "expected a start"),
        ("byte_level", {"assistant": ("A:", "b", "c")}, TypeError, "expected a start"),
        ("byte_level", {"assistant": ("A:", 7)}, TypeError, "expected a start"),
        ("byte_level", {"assistant": [1, 2]}, TypeError, "expected a start"),
        ("byte_level", {"assistant": "A:", "user": "A:"}, ChatFormatError, "opens both"),
        ("lossy", {"assistant": "A:"}, ChatFormatError, "use its fast version"),
    ],
)
def test_from_strings_refuses(tokenizer, roles, error, message):
    made = LossyTokenizer() if tokenizer == "lossy" else tokenizer_of(tokenizer) if tokenizer else None
    with pytest.raises(error, match=message):
        ChatFormat.from_strings(made, **roles)


class LossyTokenizer(ByT5Tokenizer):
    """A tokenizer without offsets whose tokens do not decode to the text."""

    def decode(self, ids, **kwargs):
        return super().decode(ids, **kwargs).upper() + "?"


@pytest.mark.parametrize("kind", KINDS)
def test_ids_in_context_find_a_marker_in_any_content(kind):
    tokenizer = tokenizer_of(kind)
    opens, closes = ids_in_context(tokenizer, "<think>"), ids_in_context(tokenizer, "</think>")
    everything = ChatFormat([RoleBoundary("assistant", [10**6])])
    policy = MaskPolicy(on_no_trained_turn="keep", ignore_between=[(opens, closes)])
    for before in ("", "Hi", "so ", "a\n", "1."):
        for inside in ("two miles", "\nmany\n", "42"):
            for after in ("", "A walk", "\n\nA walk", " 7", ".", "(b)"):
                text = f"{before}<think>{inside}</think>{after}"
                encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
                labels = mask_labels([encoded["input_ids"]], everything, policy).labels[0]
                start, stop = len(before), len(text) - len(after)
                for label, (left, right) in zip(labels, encoded["offset_mapping"], strict=True):
                    if start <= left < right <= stop:
                        assert label == -100, (text, text[left:right])
                    elif (right <= start or left >= stop) and text[left:right].strip():
                        assert label != -100, (text, text[left:right])


@pytest.mark.parametrize(("text", "error"), [(5, TypeError), ("", ChatFormatError)])
def test_ids_in_context_requires_a_marker(text, error):
    with pytest.raises(error, match="text: "):
        ids_in_context(tokenizer_of("byte_level"), text)
