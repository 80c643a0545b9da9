# ruff: noqa: E501
"""What single templates do, in the style of public ones: calls known by their ids, stop tokens after calls, Python's notation, tokens that
take white space. The templates were written for these tests.
"""

from __future__ import annotations

import warnings

import pytest
from spanmask import MaskPolicy, SpanmaskWarning, encode_chat
from support.vocabularies import decoded
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

ASK = {"role": "user", "content": "Where?"}
LOOP, END = "{% for m in messages %}", "{% endfor %}"


def tokenizer_with(template, *added):
    tokenizer = ByT5Tokenizer()
    tokenizer.add_tokens(list(added), special_tokens=True)
    tokenizer.chat_template = template
    return tokenizer


def trained(tokenizer, messages, policy=None, tools=None):
    """The trained runs of one row, as text; warnings are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", SpanmaskWarning)
        out = encode_chat(tokenizer, [messages], policy, tools=tools)
    assert (out.report.aligned_rows, out.report.searched_rows) == (1, 0)
    runs, last = [], -2
    for at, (token, label) in enumerate(zip(out.input_ids.to_list()[0], out.labels.to_list()[0], strict=True)):
        if label != -100:
            runs = runs if at == last + 1 else [*runs, []]
            runs[-1].append(token)
            last = at
    return [decoded(tokenizer, run) for run in runs]


def calling(*calls, content="", **fields):
    made = [{"type": "function", "id": name, "function": {"name": "look", "arguments": arguments}} for name, arguments in calls]
    return {"role": "assistant", "content": content, "tool_calls": made, **fields}


def result(name, content="Oslo"):
    return {"role": "tool", "name": "look", "tool_call_id": name, "content": content}


BY_ID = (
    LOOP
    + "<|s|>{{ m.role }}<|m|>{{ m.content }}{% if m.tool_calls %}<|calls|>{% for c in m.tool_calls %}{{ c.id }}<|args|>"
    + "{{ c.function.arguments | tojson }}{% endfor %}{% endif %}<|e|>"
    + END
    + "{% if add_generation_prompt %}<|s|>assistant<|m|>{% endif %}"
)


def test_a_call_without_arguments_is_known_by_its_id():
    tokenizer = tokenizer_with(BY_ID, "<|s|>", "<|m|>", "<|e|>", "<|calls|>", "<|args|>")
    rows = [ASK, calling(("functions.look:0", {})), result("functions.look:0"), calling(("functions.look:1", {}), ("f:2", {}))]
    assert trained(tokenizer, rows) == [
        "<|calls|>functions.look:0<|args|>{}<|e|>",
        "<|calls|>functions.look:1<|args|>{}f:2<|args|>{}<|e|>",
    ]


NEXT_HEADER = (
    LOOP
    + "<|{{ 'observation' if m.role == 'tool' else m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function.name }}"
    + "{% for k, v in c.function.arguments.items() %}<key>{{ k }}</key>{{ v }}{% endfor %}</call>{% endfor %}"
    + END
    + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
NEXT_TOKENS = ("<|user|>", "<|assistant|>", "<|observation|>", "<call>", "</call>", "<key>", "</key>", "<think>", "</think>")


def test_the_next_header_stops_calls_where_it_stops_answers():
    tokenizer = tokenizer_with(NEXT_HEADER, *NEXT_TOKENS)
    rows = [ASK, calling(("1", {"city": "x"})), result("1"), {"role": "assistant", "content": "There."}, ASK, calling(("2", {}))]
    assert trained(tokenizer, rows) == [
        "<call>look<key>city</key>x</call><|observation|>",
        "There.<|user|>",
        "<call>look</call>",
    ]
    two = [ASK, calling(("1", {"city": "x"})), {"role": "assistant", "content": "There."}]
    assert trained(tokenizer, two) == ["<call>look<key>city</key>x</call>", "There."]  # its own header is no stop token


@pytest.mark.parametrize("content", ["Hm<think>", "Hm</think>", "Hm</think>\n"])
def test_a_tag_at_the_end_of_a_content_is_not_the_templates(content):
    tokenizer = tokenizer_with(NEXT_HEADER, *NEXT_TOKENS)
    rows = [ASK, {"role": "assistant", "content": content}, ASK]
    assert trained(tokenizer, rows) == [f"{content}<|user|>"]
    assert trained(tokenizer, rows, MaskPolicy(train_on_eos="none")) == [content]


def test_a_header_that_only_calls_have_after_results_does_not_train():
    template = (
        "{% set ns = namespace(result=false) %}"
        + LOOP
        + "{% if m.role == 'user' %}<|u|>{{ m.content }}{% elif m.role == 'tool' %}<|out|>{{ m.content }}{% set ns.result = true %}"
        + "{% elif m.tool_calls %}<|a|>{{ m.content }}<|call|>{{ m.tool_calls[0].function.name }}{{ m.tool_calls[0].function.arguments | tojson }}<|e|>"
        + "{% else %}{{ '<|/out|>' if ns.result else '<|a|>' }}{{ m.content }}<|e|>{% set ns.result = false %}{% endif %}"
        + END
        + "{% if ns.result %}<|/out|>{% endif %}{% if add_generation_prompt and not ns.result %}<|a|>{% endif %}"
    )
    tokenizer = tokenizer_with(template, "<|u|>", "<|a|>", "<|e|>", "<|call|>", "<|out|>", "<|/out|>")
    rows = [
        ASK,
        calling(("1", {"q": "x"})),
        result("1"),
        calling(("2", {"q": "y"})),
        result("2"),
        {"role": "assistant", "content": "There."},
    ]
    call = '<|call|>look{{"q": "{}"}}<|e|>'
    assert trained(tokenizer, rows) == [call.format("x"), call.format("y"), "There.<|e|>"]


def test_arguments_in_pythons_notation_become_json():
    template = (
        LOOP + "<|s|>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments }}{% endfor %}<|e|>" + END
        + "{% if add_generation_prompt %}<|s|>assistant: {% endif %}"
    )  # fmt: skip
    tokenizer = tokenizer_with(template, "<|s|>", "<|e|>")
    assert trained(tokenizer, [ASK, calling(("1", {"q": "it's", "deep": True}))]) == ['look{"q": "it\'s", "deep": true}<|e|>']


def test_python_quotes_texts_with_apostrophes_differently():
    template = (
        LOOP + "<|s|>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}{% for k, v in c.function.arguments.items() %}<{{ k }}>{{ v }}"
        + "{% endfor %}{% endfor %}<|e|>" + END + "{% if add_generation_prompt %}<|s|>assistant: {% endif %}"
    )  # fmt: skip
    tokenizer = tokenizer_with(template, "<|s|>", "<|e|>")
    arguments = {"all": ["it's", 'so "it" is', "plain", "both ' and \""], "one": "it's"}
    assert trained(tokenizer, [ASK, calling(("1", arguments))]) == [f"<all>{arguments['all']}<one>it's<|e|>"]


def test_replacements_of_a_template_are_known():
    template = (
        LOOP + "{% if not loop.first %}\n\n{% endif %}{{ m.role }}: {{ m.content.strip().replace('\\r\\n', '\\n') | replace('\\n\\n', '\\n') }}" + END
        + "{% if add_generation_prompt %}\n\nassistant: {% endif %}"
    )  # fmt: skip
    rows = [
        {"role": "user", "content": "One\r\n\r\ntwo"},
        {"role": "assistant", "content": "Three\n\nfour\n\nassistant: five "},
        {"role": "user", "content": "\r\nSix"},
    ]
    assert trained(tokenizer_with(template.replace("\n\n{%", "{{ '\\n\\n' }}{%")), rows) == ["Three\nfour\nassistant: five"]


def fast_tokenizer(template, **strip):
    words = {word: number for number, word in enumerate(["<unk>", "Where", "?", "There", "!"])}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    tokenizer.add_tokens(
        [AddedToken(text, special=True, normalized=False, **strip) for text in ("<|user|>", "<|assistant|>", "<|end|>")]
    )
    tokenizer.chat_template = template
    return tokenizer


@pytest.mark.parametrize("strip", [{}, {"rstrip": True}, {"lstrip": True}, {"rstrip": True, "lstrip": True}])
@pytest.mark.parametrize("content", ["There!", " There!", "There! ", "\n There! \n", "There! <|end|>", " <|end|>There!"])
def test_tokens_of_the_template_that_take_white_space(strip, content):
    tokenizer = fast_tokenizer(
        LOOP
        + "<|{{ m.role }}|>{{ '\n' }}{{ m.content }}<|end|>{{ '\n' }}"
        + END
        + "{% if add_generation_prompt %}<|assistant|>{{ '\n' }}{% endif %}",
        **strip,
    )
    said = tokenizer.convert_ids_to_tokens(tokenizer(content)["input_ids"])
    for policy, closing in ((MaskPolicy(), ["<|end|>"]), (MaskPolicy(train_on_eos="none"), [])):
        out = encode_chat(tokenizer, [[ASK, {"role": "assistant", "content": content}, ASK]], policy)
        tokens = tokenizer.convert_ids_to_tokens([label for label in out.labels.to_list()[0] if label != -100])
        assert tokens == [*said, *closing]


@pytest.mark.parametrize("strip", [{}, {"rstrip": True}, {"lstrip": True}, {"rstrip": True, "lstrip": True}])
@pytest.mark.parametrize("content", ["There!", "There! ", "There! \n", "There\n!\n"])
def test_the_header_that_stops_an_answer_takes_white_space(strip, content):
    """The token after it, of the next question, does not train."""
    template = LOOP + "<|{{ m.role }}|>{{ m.content }}" + END + "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    tokenizer = fast_tokenizer(template, **strip)
    out = encode_chat(tokenizer, [[ASK, {"role": "assistant", "content": content}, ASK]])
    tokens = tokenizer.convert_ids_to_tokens([label for label in out.labels.to_list()[0] if label != -100])
    assert tokens == ["There", "!", "<|user|>"]


@pytest.mark.parametrize("thought", ["Hm", "  Hm  ", "Hm\n\n"])
@pytest.mark.parametrize("said", ["Yes", "\tYes\n", "\n\n    if yes:\n", "  Yes  "])
def test_contents_that_are_trimmed_and_then_split_at_a_tag(thought, said):
    """Line breaks are stripped at the tag, white space of any kind at the ends."""
    template = (
        LOOP + "{% set c = m.content | trim %}<|s|>{{ m.role }}<|m|>{% if '</think>' in c %}[{{ c.split('</think>')[0].rstrip('\n') }}]"
        + "{% set c = c.split('</think>')[-1].lstrip('\n') %}{% endif %}{{ c }}<|e|>" + END
        + "{% if add_generation_prompt %}<|s|>assistant<|m|>{% endif %}"
    )  # fmt: skip
    answer = f"{thought}</think>\n\n{said}"
    first, last = answer.strip().split("</think>")
    wanted = f"[{first.rstrip(chr(10))}]{last.lstrip(chr(10))}<|e|>"
    tokenizer = tokenizer_with(template, "<|s|>", "<|m|>", "<|e|>")
    assert trained(tokenizer, [ASK, {"role": "assistant", "content": answer}]) == [wanted]


@pytest.mark.parametrize("number", [731_000_000, 731_000_001, 731_123_456])
def test_numbers_of_tools_that_look_like_marks(number):
    tokenizer = tokenizer_with(
        "{% if tools %}{{ tools | tojson }}{% endif %}" + BY_ID, "<|s|>", "<|m|>", "<|e|>", "<|calls|>", "<|args|>"
    )
    tool = {"type": "function", "function": {"name": "look", "description": "zq99999kx", "parameters": {"maximum": number}}}
    rows = [ASK, calling(("c1", {"q": "x"})), result("c1")]
    assert trained(tokenizer, rows, tools=[tool]) == ['<|calls|>c1<|args|>{"q": "x"}<|e|>']


def test_messages_that_a_template_compares_with_each_other():
    template = (
        "{% set asked = messages | selectattr('role', 'equalto', 'user') | list %}"
        + LOOP
        + "{% if m.role == 'user' %}{% if m == asked[-1] %}<|last|>{% endif %}<|u|>{{ m.content }}<|a|>{% else %}{{ m.content }}<|e|>{% endif %}"
        + END
    )
    tokenizer = tokenizer_with(template, "<|last|>", "<|u|>", "<|a|>", "<|e|>")
    again = {"role": "user", "content": "Again<|a|>!"}
    answers = [{"role": "assistant", "content": text} for text in ("One.", "Two<|u|>.", "Two<|u|>.", "Four.")]
    rows = [again, answers[0], ASK, answers[1], again, answers[2], again, answers[3]]
    assert trained(tokenizer, rows) == ["One.<|e|>", "Two<|u|>.<|e|>", "Two<|u|>.<|e|>", "Four.<|e|>"]
    assert trained(tokenizer, [ASK, answers[0], ASK, answers[0]]) == ["One.<|e|>", "One.<|e|>"]
