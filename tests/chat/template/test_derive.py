"""`ChatFormat.from_tokenizer`: every template of TRL, and templates in the style of public formats, compared with the rendered text."""

import os
import pickle
import subprocess
import sys
import warnings

import pytest
from spanmask import ChatFormat, ChatFormatError, MaskPolicy, SpanmaskWarning, find_turns
from support.chat_templates import STYLES
from support.derivation import CONVENTIONS, PARTLY, RARELY, SPECIAL, conversations, roles_in_parts, tokenizer_with, trained
from support.text_truth import faults, messages, spans_in
from support.trl_templates import MARKED, TEMPLATES
from support.vocabularies import tokenizer_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
COUNT = 300 if THOROUGH else 12
KINDS = ("byte_level", "unigram", "sentencepiece_bpe") if THOROUGH else ("byte_level", "unigram")

# Templates whose turns cannot be derived, with the reason. All other templates must be derived.
REFUSED = {
    ("trl", "byte_level"): {},
    ("trl", "unigram"): {},
    ("trl", "sentencepiece_bpe"): {},
    ("style", "byte_level"): {},
    ("style", "unigram"): {},
    ("style", "sentencepiece_bpe"): {},
}


@pytest.fixture(scope="module")
def derived():
    """(tokenizer, format) of a template, derived once."""
    made = {}

    def get(source, name, kind):
        key = source, name, kind
        if key not in made:
            tokenizer, kwargs = tokenizer_with(source, name, kind)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore" if name in PARTLY else "error", SpanmaskWarning)
                made[key] = tokenizer, ChatFormat.from_tokenizer(tokenizer, **kwargs)
        return made[key]

    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_trl_template_masks_as_the_text_says(derived, name, kind):
    if name in REFUSED["trl", kind]:
        pytest.skip(REFUSED["trl", kind][name])
    tokenizer, chat_format = derived("trl", name, kind)
    checked = 0
    for contents, text in conversations(tokenizer, name, {}, COUNT):
        assert not faults(tokenizer, text, contents, trained(tokenizer, text, chat_format)), text
        checked += 1
    assert checked >= COUNT * 3 // 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", MARKED)
def test_trl_template_masks_as_transformers_does(derived, name, kind):
    """`return_assistant_tokens_mask` on the template with its marks, except for the conventions listed above."""
    tokenizer, chat_format = derived("trl", name, kind)
    whose, texts, _ = CONVENTIONS.get(name.removesuffix("_training"), (None, set(), ""))
    seen = set()
    for contents, text in conversations(tokenizer, name, {}, COUNT):
        out = tokenizer.apply_chat_template(
            messages(contents, roles_in_parts(name)),
            chat_template=TEMPLATES[name],
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        ours = trained(tokenizer, text, chat_format, MaskPolicy(train_generation_prefill=True, reasoning="train"))
        for at, (our, their) in enumerate(zip(ours, out["assistant_masks"], strict=True)):
            if our != bool(their):
                token = text[slice(*offsets[at])]
                inside = any(start <= offsets[at][0] and offsets[at][1] <= stop for start, stop, _ in spans_in(text, contents))
                if our and at and offsets[at] == offsets[at - 1]:
                    continue  # transformers marks only the first token of the last character
                assert not inside, (token, text)
                assert (whose, our) == ("theirs", False), (token, text)
                assert texts is None or token in texts, (token, text)
                seen.add(token)
    assert bool(seen) == (whose is not None)  # a convention that no longer differs must be removed from the list


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STYLES)
def test_style_masks_as_the_text_says(derived, name, kind):
    if name in REFUSED["style", kind]:
        pytest.skip(REFUSED["style", kind][name])
    tokenizer, chat_format = derived("style", name, kind)
    checked = 0
    for contents, text in conversations(tokenizer, name, STYLES[name].kwargs, COUNT):
        assert not faults(tokenizer, text, contents, trained(tokenizer, text, chat_format)), text
        checked += 1
    assert checked >= COUNT * (1 / 2 if name in PARTLY else 3 / 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["trl", "style"])
def test_the_list_of_refusals_is_exact(derived, source, kind):
    refused = set()
    for name in TEMPLATES if source == "trl" else STYLES:
        try:
            derived(source, name, kind)
        except ChatFormatError:
            refused.add(name)
    assert refused == set(REFUSED[source, kind])


@pytest.mark.parametrize("name", PARTLY)
def test_a_format_names_what_it_does_not_cover(name):
    tokenizer, kwargs = tokenizer_with("style" if name in STYLES else "trl", name, "byte_level")
    kinds, _ = PARTLY[name]
    with pytest.warns(SpanmaskWarning, match=f"does not cover {' and '.join(kinds)}: ") as caught:
        chat_format = ChatFormat.from_tokenizer(tokenizer, **kwargs)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert chat_format.uncovered == (*kinds, *RARELY.get(name, ()))
    assert f"not covered: {', '.join(chat_format.uncovered)}" in str(chat_format)


@pytest.mark.parametrize("source", ["trl", "style"])
def test_all_other_formats_cover_every_kind_that_the_template_renders(derived, source):
    for name in TEMPLATES if source == "trl" else STYLES:
        assert derived(source, name, "byte_level")[1].uncovered == (*PARTLY.get(name, ((), ""))[0], *RARELY.get(name, ())), name


CALL = {"type": "function", "id": "a1b2c3d4e", "function": {"name": "find_colour", "arguments": {"thing": "skyzz"}}}
TALK = [
    {"role": "user", "content": "questionzz"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "find_colour", "tool_call_id": "a1b2c3d4e", "content": "resultzz"},
    {"role": "assistant", "content": "answerzz"},
]


LOOK = [TALK[0], {**TALK[1], "content": "lookzz"}, *TALK[2:]]


def word_flags(tokenizer, text, chat_format):
    """For each content of a text, the flags of the tokens inside it."""
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    flags = trained(tokenizer, text, chat_format)
    found = {}
    for word in ("questionzz", "lookzz", "skyzz", "resultzz", "answerzz"):
        if (at := text.find(word)) >= 0:
            spans = enumerate(encoding["offset_mapping"])
            found[word] = {flags[token] for token, (start, stop) in spans if at <= start < stop <= at + len(word)}
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["qwen2_5", "qwen3", "qwen3_5_think", "llama3_1", "gptoss", "glm4moe", "gemma4", "deepseekv3_training", "lfm2_v2", "muse_glimmer",
     "nemotron_3_nano", "mistral_v3", "mistral_v7", "hermes"],
)  # fmt: skip
def test_calls_train_and_results_do_not(derived, name, kind):
    tokenizer, chat_format = derived("style" if name in STYLES else "trl", name, kind)
    text = tokenizer.apply_chat_template(TALK, tokenize=False)
    expected = {"questionzz": {False}, "skyzz": {True}, "resultzz": {False}, "answerzz": {True}}
    assert word_flags(tokenizer, text, chat_format) == expected, text


def in_parts(messages, name):
    """The messages in the form that a template accepts."""
    roles = (*roles_in_parts(name), *(("tool",) if "assistant" in roles_in_parts(name) else ()))
    return [{**m, "content": [{"type": "text", "text": m["content"]}] if m["role"] in roles else m["content"]} for m in messages]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["trl", "style"])
def test_calls_results_and_reasoning_are_masked_right_or_named_as_uncovered(derived, source, kind):
    """This holds for what a template renders: many drop calls or reasoning, and some of those render tool results as answers."""
    thought = [TALK[0], {**TALK[3], "reasoning_content": "lookzz"}]
    right = {"questionzz": {False}, "lookzz": {True}, "skyzz": {True}, "resultzz": {False}, "answerzz": {True}}
    compared = 0
    for name in TEMPLATES if source == "trl" else STYLES:
        tokenizer, chat_format = derived(source, name, kind)
        for talk in (TALK, LOOK, thought):
            try:
                kwargs = STYLES[name].kwargs if source == "style" else {}
                text = tokenizer.apply_chat_template(in_parts(talk, name), tokenize=False, **kwargs)
            except Exception:
                continue  # refused
            for word, flags in word_flags(tokenizer, text, chat_format).items():
                assert flags == right[word] or chat_format.uncovered_kind(talk), (name, word, text)
            compared += 1
    assert compared > 150


def test_gemma4_leaves_the_answer_after_text_and_a_call_untrained_and_says_so(derived):
    tokenizer, chat_format = derived("trl", "gemma4", "byte_level")
    flags = word_flags(tokenizer, tokenizer.apply_chat_template(LOOK, tokenize=False), chat_format)
    assert flags["answerzz"] == {False}
    assert chat_format.uncovered_kind(LOOK) == "text before tool calls"
    assert chat_format.uncovered_kind(TALK) is None


@pytest.mark.parametrize(
    ("name", "prefill"),
    [
        ("qwen3_5_think", "<think>\n"),
        ("qwen3_5_nothink", "<think>\n\n</think>\n\n"),
        ("deepseekv3", "<think>\n"),
        ("qwen2_5", None),
    ],
)
def test_generation_prefills_are_what_the_prompt_supplies(derived, name, prefill):
    tokenizer, chat_format = derived("trl", name, "byte_level")
    texts = [tokenizer.decode(ids) for ids in chat_format.generation_prefills]
    assert (prefill in texts) if prefill else not texts


def test_template_variables_change_the_prefills():
    tokenizer = tokenizer_of("byte_level", SPECIAL)
    tokenizer.chat_template = TEMPLATES["qwen3"]
    assert not ChatFormat.from_tokenizer(tokenizer).generation_prefills
    silent = ChatFormat.from_tokenizer(tokenizer, enable_thinking=False)
    assert "<think>\n\n</think>\n\n" in [tokenizer.decode(ids) for ids in silent.generation_prefills]


def test_formats_are_reproducible_and_picklable(derived):
    tokenizer, chat_format = derived("trl", "qwen3", "byte_level")
    assert ChatFormat.from_tokenizer(tokenizer) == chat_format
    assert pickle.loads(pickle.dumps(chat_format)) == chat_format
    assert "start '<|im_start|>assistant\\n'" in str(chat_format)


def test_rows_without_bos_are_masked_too(derived):
    """Trainers strip BOS; a marker must not require it."""
    tokenizer, chat_format = derived("trl", "llama3", "byte_level")
    text = tokenizer.apply_chat_template([{"role": "system", "content": "be kind"}, *TALK[:1]], tokenize=False)
    ids = tokenizer(text.removeprefix("<s>"), add_special_tokens=False)["input_ids"]
    roles = [chat_format.roles[role] for role in find_turns([ids], chat_format).role.tolist()]
    assert roles == ["system", "user"]


BAD = {
    "no template": (None, "chat template"),
    "not jinja": ("{% for m in messages %}", "TemplateSyntaxError"),
    "raises": ("{{ raise_exception('never') }}", "never"),
    "drops contents": (
        "{% for m in messages %}{{ m['role'] }}{% endfor %}",
        "do not each occur exactly once in the rendered text",
    ),
    "doubles contents": (
        "{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}",
        "do not each occur exactly once in the rendered text",
    ),
    "no markers": ("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}", "turn boundaries could not be derived"),
    "one marker for all": (
        "{% for m in messages %}{{ '<|turn|>' + m['content'] + '<|end|>' }}{% endfor %}",
        "turn boundaries could not be derived",
    ),
    "needs a variable": (
        "{{ colours|tojson }}{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}",
        "variables that the template requires",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_from_tokenizer_refuses(name):
    template, message = BAD[name]
    tokenizer = tokenizer_of("byte_level", ("<|turn|>", "<|end|>"))
    tokenizer.chat_template = template
    with pytest.raises(ChatFormatError, match=message) as caught:
        ChatFormat.from_tokenizer(tokenizer)
    assert "ChatFormat.from_strings" in str(caught.value)


def test_the_refusal_shows_the_rendered_text():
    tokenizer = tokenizer_of("byte_level")
    tokenizer.chat_template = BAD["one marker for all"][0]
    with pytest.raises(ChatFormatError, match=r"<\|turn\|><<user>><\|end\|><\|turn\|><<assistant>>"):
        ChatFormat.from_tokenizer(tokenizer)


@pytest.mark.parametrize("what", [None, "gpt2", 7])
def test_from_tokenizer_requires_a_tokenizer(what):
    with pytest.raises(TypeError, match="expected a transformers tokenizer"):
        ChatFormat.from_tokenizer(what)


def test_a_slow_tokenizer_is_accepted_if_its_tokens_decode_to_the_text():
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = STYLES["alpaca"].template.replace("{{ bos_token }}", "")
    chat_format = ChatFormat.from_tokenizer(tokenizer)
    [starts] = [boundary.start for boundary in chat_format.boundaries if boundary.role == "assistant"]
    assert tokenizer.decode(starts[0]).strip() == "### Response:"


def test_a_derived_format_is_the_same_in_every_process():
    """Vocabularies are hash maps: a format must not depend on their order, or caches and runs would differ."""
    code = (
        "from support.chat_templates import STYLES; from support.vocabularies import tokenizer_of; from spanmask import ChatFormat\n"
        "style = STYLES['apriel']\n"
        "tokenizer = tokenizer_of('sentencepiece_bpe', style.special)\n"
        "tokenizer.chat_template = style.template\n"
        "print(repr(ChatFormat.from_tokenizer(tokenizer, **style.kwargs)))"
    )
    seen = set()
    for seed in "12":
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        seen.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True).stdout)
    assert len(seen) == 1
