"""Answers that have little or no text of their own: blanks, tags, names of calls; and calls whose arguments are escaped."""

from __future__ import annotations

import json
import re
import warnings

import pytest
from spanmask import ChatFormat, SpanmaskWarning, encode_chat
from support import derivation
from support.chat_templates import STYLES
from support.trl_templates import TEMPLATES
from support.vocabularies import trained as trained_vocabulary
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

EVERY = [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in STYLES)]
ASK = {"role": "user", "content": "Where?"}


def trained(name: str, messages: list[dict[str, object]], source: str = "trl") -> list[str]:
    """The runs of tokens that train, as text."""
    tokenizer, kwargs = derivation.tokenizer_with(source, name, "byte_level")
    out = encode_chat(tokenizer, [messages], template_kwargs=dict(kwargs))
    assert out.report.aligned_rows == 1
    runs: list[list[int]] = [[]]
    for label in out.labels.to_list()[0]:
        if label != -100:
            runs[-1].append(label)
        elif runs[-1]:
            runs.append([])
    return [tokenizer.decode(run) for run in runs if run]


def call(**arguments: object) -> list[dict[str, object]]:
    return [{"type": "function", "id": "k7Hq2Lm0x", "function": {"name": "locate", "arguments": arguments}}]


@pytest.mark.parametrize("content", ["", "  ", "<think>", "</think>"])
def test_answer_without_words_whose_reasoning_the_template_drops(content):
    answer = {"role": "assistant", "content": content, "reasoning_content": "Somewhere in the north."}
    assert trained("qwen2_5", [ASK, answer]) == [f"{content}<|im_end|>"]


def test_tags_at_the_head_of_a_first_answer_train():
    messages = [{"role": "assistant", "content": "<think>Greet.</think>Good day."}, ASK]
    assert trained("chatml", messages, "style") == ["<think>Greet.</think>Good day.<|im_end|>"]


def test_header_of_a_blank_answer_after_results_does_not_train():
    messages = [
        ASK,
        {"role": "assistant", "content": "", "tool_calls": call()},
        {"role": "tool", "name": "locate", "tool_call_id": "k7Hq2Lm0x", "content": "Bergen"},
        {"role": "assistant", "content": ""},
    ]
    assert trained("diffusion_gemma", messages) == ["<|tool_call>call:locate{}<tool_call|><|tool_response>", "<turn|>"]


@pytest.mark.parametrize("arguments", [{}, {"area": "Vestland"}])
def test_call_trains_where_its_message_goes_on_after_the_result(arguments):
    messages = [
        ASK,
        {"role": "assistant", "content": "Let me look.", "tool_calls": call(**arguments)},
        {"role": "tool", "name": "locate", "tool_call_id": "k7Hq2Lm0x", "content": "Bergen"},
        {"role": "assistant", "content": "In Bergen."},
    ]
    first = trained("diffusion_gemma", messages)[0]
    assert first.startswith("<|tool_call>call:locate{")
    assert first.endswith("}<tool_call|><|tool_response>")


@pytest.mark.parametrize("word", ["the hotel's bar", 'a\\b\'s "c"\nd'])
def test_arguments_in_pythons_notation_are_aligned(word):
    written = word.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    answer = {"role": "assistant", "content": "", "tool_calls": call(area=word)}
    assert trained("lfm2_v2", [ASK, answer]) == [f"<|tool_call_start|>[locate(area='{written}')]<|tool_call_end|><|im_end|>"]


def test_contents_are_never_written_as_lists(recwarn):
    tokenizer, _ = derivation.tokenizer_with("style", "chatml", "byte_level")
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'][:4]")
    out = encode_chat(tokenizer, [[ASK, {"role": "assistant", "content": "Up north."}]])
    assert "type" not in tokenizer.decode(out.input_ids.to_list()[0])
    assert set(out.labels.to_list()[0]) == {-100}
    assert "trains nothing" in str(recwarn[0].message)


def test_header_does_not_train_where_calls_follow_it_without_its_line_break():
    tokenizer, _ = derivation.tokenizer_with("style", "chatml", "byte_level")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role }}{% if m.tool_calls %}{% for c in m.tool_calls %}"
        "{{ '<call>' + c.function.name + (c.function.arguments | tojson) }}{% endfor %}{% else %}{{ '\\n' + m.content }}{% endif %}"
        "{{ '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    )
    answer = {"role": "assistant", "content": "", "tool_calls": call(area="north")}
    out = encode_chat(tokenizer, [[ASK, answer, ASK, {"role": "assistant", "content": "There."}]])
    trains = [token for token in out.labels.to_list()[0] if token != -100]
    assert tokenizer.decode(trains) == '<call>locate{"area": "north"}<|im_end|>There.<|im_end|>'


@pytest.mark.parametrize("last", [True, None, [], {}, 7, "north"])
def test_call_trains_to_its_end_whatever_its_last_argument(last):
    tokenizer, _ = derivation.tokenizer_with("trl", "glm4moe", "byte_level")
    function = {"name": "locate", "arguments": json.dumps({"area": "Vestland", "deep": last})}
    answer = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": function}]}
    out = encode_chat(
        tokenizer, [[ASK, answer, {"role": "tool", "content": "Bergen"}, {"role": "assistant", "content": "There."}]]
    )
    trains = tokenizer.decode([token for token in out.labels.to_list()[0] if token != -100])
    assert trains.partition("</tool_call>")[0].endswith("</arg_value>\n")
    assert "</tool_call>There." in trains.replace("<|observation|>", "")


def test_contents_with_markers_are_not_searched_where_the_template_rewrites_them():
    tokenizer, _ = derivation.tokenizer_with("style", "chatml", "byte_level")
    chat_format = ChatFormat.from_tokenizer(tokenizer)
    tokenizer.chat_template = tokenizer.chat_template.replace("m['content']", "m['content'] | lower")
    rows = [
        [ASK, {"role": "assistant", "content": text}, ASK, {"role": "assistant", "content": "There."}]
        for text in ("Up North", "Say <|im_end|> Twice")
    ]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SpanmaskWarning)
        out = encode_chat(tokenizer, rows, chat_format=chat_format)
    assert any("row 1 trains nothing" in (text := str(one.message)) and "special tokens" in text for one in caught)
    assert out.report.searched_rows == 1
    assert set(out.labels.to_list()[1]) == {-100}


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan"), -0.0, 10**30, 731000002])
def test_calls_with_unusual_numbers_are_aligned(value):
    answer = {"role": "assistant", "content": "", "tool_calls": call(area="north", height=value)}
    assert trained("qwen2_5", [ASK, answer]) == [
        f'<tool_call>\n{{"name": "locate", "arguments": {{"area": "north", "height": {json.dumps(value)}}}}}\n</tool_call><|im_end|>'
    ]


@pytest.mark.parametrize("conversations", [None, 7, iter([[ASK]]), {"messages": None}])
def test_conversations_of_a_wrong_type(conversations):
    tokenizer, _ = derivation.tokenizer_with("style", "chatml", "byte_level")
    with pytest.raises(TypeError, match="conversations: expected a list of conversations"):
        encode_chat(tokenizer, conversations)


@pytest.mark.parametrize("arguments", [({}, {}), ({"area": "north"}, {"area": "south"}), ({"area": "north"}, {})])
def test_one_of_several_calls_that_the_template_leaves_out_is_told(arguments):
    tokenizer, _ = derivation.tokenizer_with("trl", "gptoss", "byte_level")
    calls = [
        {"type": "function", "function": {"name": name, "arguments": some}}
        for name, some in zip(("locate", "measure"), arguments, strict=True)
    ]
    results = [{"role": "tool", "name": name, "content": "Done."} for name in ("locate", "measure")]
    with pytest.warns(SpanmaskWarning, match=r"row 0, message 1: the chat template leaves out its tool calls"):
        encode_chat(tokenizer, [[ASK, {"role": "assistant", "content": "", "tool_calls": calls}, *results]])


def test_call_before_the_text_of_a_first_answer_trains():
    messages = [{"role": "assistant", "content": "Let me look.", "tool_calls": call()}, ASK]
    assert trained("diffusion_gemma", messages) == ["<|tool_call>call:locate{}<tool_call|>Let me look.<|tool_response>"]


@pytest.mark.parametrize("name", ["qwen3", "qwen3_8", "nemotron_3_nano"])
@pytest.mark.parametrize("content", ["", "\n", "<tool_response>"])
def test_reasoning_that_the_template_adds_to_answers_without_words_does_not_train(name, content):
    assert trained(name, [ASK, {"role": "assistant", "content": content}]) == [f"{content.strip()}<|im_end|>"]


@pytest.mark.parametrize("name", ["qwen3", "qwen3_8", "glm4moe"])
def test_tag_as_a_question_is_not_the_answers_reasoning(name):
    messages = [{"role": "user", "content": "<think>"}, {"role": "assistant", "content": "Up north."}]
    assert trained(name, messages)[0].lstrip("\n").startswith("Up north.")


def text_and_trained(tokenizer, kwargs, messages):
    """The text of one row, and the same with a null character in place of each token that does not train."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        out = encode_chat(tokenizer, [messages], template_kwargs=dict(kwargs))
    return tuple(
        "".join("\0" if token == -100 else tokenizer.decode([token]) for token in column.to_list()[0])
        for column in (out.input_ids, out.labels)
    )


@pytest.mark.parametrize(("source", "name"), EVERY)
def test_what_closes_an_answer_trains_also_if_the_answer_is_blank(source, name):
    tokenizer, kwargs = derivation.tokenizer_with(source, name, "byte_level")
    blanks = (" \n", "")
    for system in ([], [{"role": "system", "content": "Kind."}]):
        for at in (1, 3):
            plain = [{"role": ("user", "assistant")[number % 2], "content": f"t{number}"} for number in range(4)]
            rows = [[*system, *plain[:at], {"role": "assistant", "content": text}, *plain[at + 1 :]] for text in ("qqq", *blanks)]
            try:
                (text, trained), *others = [text_and_trained(tokenizer, kwargs, row) for row in rows]
            except ValueError:  # the template refuses such rows
                continue
            closing = re.search("qqq([^\0]*)", trained)[1].strip()
            for blank, (blank_text, blank_trained) in zip(blanks, others, strict=True):
                if closing and blank_text.count(closing) == text.count(closing):
                    assert blank_trained.count(closing) == trained.count(closing), (blank, blank_text)


@pytest.mark.parametrize("content", ["", "Bergen"])
def test_header_does_not_train_where_the_vocabulary_lists_bytes_as_added_tokens(content):
    """The header's line break is the token `<0x0A>`, which is no token of the template."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(trained_vocabulary("sentencepiece_bpe")))
    assert "<0x0A>" in tokenizer.get_added_vocab()
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '## ' + m['role'] + '\n' + m['content'] + ' (over)\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '## assistant\n' }}{% endif %}"
    )
    labels = encode_chat(tokenizer, [[ASK, {"role": "assistant", "content": content}]]).labels.to_list()[0]
    assert tokenizer.decode([label for label in labels if label != -100]).strip(" ") == f"{content} (over)".strip()
