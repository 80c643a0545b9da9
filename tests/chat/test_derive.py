"""`ChatFormat.from_tokenizer`: every template of TRL, and templates in the manner of public formats, against truths that need no format."""

import os
import pickle
import subprocess
import sys
import warnings
from random import Random

import pytest
from spanmask import ChatFormat, ChatFormatError, MaskPolicy, SpanmaskWarning, mask_labels
from support.chat_templates import STYLES, special_looking
from support.text_truth import conversation, faults, messages, shapes, spans_in
from support.trl_templates import MARKED, PARTS, TEMPLATES, without_marks
from support.vocabularies import tokenizer_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
COUNT = 300 if THOROUGH else 12
KINDS = ("byte_level", "unigram", "sentencepiece_bpe") if THOROUGH else ("byte_level", "unigram")
SPECIAL = special_looking([*TEMPLATES.values()])

# Templates whose turns cannot be told apart, with the reason. All others must be derived.
REFUSED = {
    ("trl", "byte_level"): {},
    ("trl", "unigram"): {},
    ("trl", "sentencepiece_bpe"): {},
    ("style", "byte_level"): {},
    ("style", "unigram"): {},
    ("style", "sentencepiece_bpe"): {},
}
# Derived, but not for all kinds of conversations: the warning says which.
PARTLY = {
    "gemma4": "an answer behind text, a call and its result stands without a header",
    "gemma4_v3": "as gemma4",
    "gemma4_v4": "as gemma4",
    "system_as_assistant": "the system message is written as an answer",
}
# Where transformers' mask differs from ours: (whose tokens train, their texts or None for any), and why.
BREAK = ("theirs", {"\n"}, "the line break behind the stop token: the model stops before it")
HEADER = ("theirs", None, "the marks enclose the header, which the generation prompt supplies")
CONVENTIONS = {
    "deepseek_r1_distill": HEADER,
    "deepseekv3": HEADER,
    "gptoss": HEADER,
    "muse_glimmer": HEADER,
    "phi3": ("theirs", {"\n", "</s>"}, "line break and EOS behind the stop token"),
    "phi3_5": ("theirs", {"\n", "</s>"}, "line break and EOS behind the stop token"),
    **dict.fromkeys(
        (
            "diffusion_gemma",
            "gemma",
            "gemma3",
            "idefics3",
            "lfm2",
            "lfm2_2_5",
            "lfm2_2_5_v2",
            "lfm2_2_5_vl",
            "lfm2_v2",
            "smolvlm",
        ),
        BREAK,
    ),
    **dict.fromkeys(("nemotron_3_5_lightning", "nemotron_3_nano", "nemotron_3_super", "nemotron_3_ultra"), BREAK),
    **dict.fromkeys(("qwen2_5", "qwen2_5_vl", "qwen3", "qwen3_5_nothink", "qwen3_5_think", "qwen3_6", "qwen3_8"), BREAK),
    **dict.fromkeys(("qwen3_instruct_2507", "qwen3_vl"), BREAK),
}


@pytest.fixture(scope="module")
def derived():
    """(tokenizer, format) of a template, derived once."""
    made = {}

    def get(source, name, kind):
        key = source, name, kind
        if key not in made:
            style = STYLES.get(name) if source == "style" else None
            tokenizer = tokenizer_of(kind, style.special if style else SPECIAL)
            tokenizer.chat_template = style.template if style else without_marks(TEMPLATES[name])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore" if name in PARTLY else "error", SpanmaskWarning)
                made[key] = tokenizer, ChatFormat.from_tokenizer(tokenizer, **(style.kwargs if style else {}))
        return made[key]

    return get


def conversations(tokenizer, name, kwargs, count):
    """Random conversations that the template takes, with their text. A template that refuses a system message is asked without."""
    rng = Random(f"{name} {count}")
    every = shapes(system=True, tail=True)
    for number in range(count):
        contents = conversation(rng, every[number % len(every)])
        for some in (contents, contents[1:] if contents[0].role == "system" else contents):
            try:
                text = tokenizer.apply_chat_template(messages(some, name.startswith(("parts", *PARTS))), tokenize=False, **kwargs)
            except Exception:
                continue
            yield [content for content in some if content.role != "system" or content.text.strip() in text], text
            break


def trained(tokenizer, text, chat_format, policy=None):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [label != -100 for label in mask_labels([ids], chat_format, policy).labels.to_list()[0]]


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
    """`return_assistant_tokens_mask` on the template with its marks, but for the conventions listed above."""
    tokenizer, chat_format = derived("trl", name, kind)
    whose, texts, _ = CONVENTIONS.get(name.removesuffix("_training"), (None, set(), ""))
    seen = set()
    for contents, text in conversations(tokenizer, name, {}, COUNT):
        out = tokenizer.apply_chat_template(
            messages(contents, name.startswith(PARTS)),
            chat_template=TEMPLATES[name],
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        ours = trained(tokenizer, text, chat_format, MaskPolicy(train_generation_prefill=True))
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
    assert bool(seen) == (whose is not None)  # a convention that no longer differs leaves the list


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", STYLES)
def test_style_masks_as_the_text_says(derived, name, kind):
    if name in REFUSED["style", kind]:
        pytest.skip(REFUSED["style", kind][name])
    tokenizer, chat_format = derived("style", name, kind)
    for contents, text in conversations(tokenizer, name, STYLES[name].kwargs, COUNT):
        if name == "system_as_assistant" and contents[0].role == "system":
            continue
        assert not faults(tokenizer, text, contents, trained(tokenizer, text, chat_format)), text


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
def test_what_a_format_does_not_cover_is_said(name):
    style = STYLES.get(name)
    tokenizer = tokenizer_of("byte_level", style.special if style else SPECIAL)
    tokenizer.chat_template = style.template if style else TEMPLATES[name]
    with pytest.warns(SpanmaskWarning, match="does not cover"):
        ChatFormat.from_tokenizer(tokenizer)


CALL = {"type": "function", "id": "a1b2c3d4e", "function": {"name": "find_colour", "arguments": {"thing": "skyzz"}}}
TALK = [
    {"role": "user", "content": "questionzz"},
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "find_colour", "tool_call_id": "a1b2c3d4e", "content": "resultzz"},
    {"role": "assistant", "content": "answerzz"},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    ["qwen2_5", "qwen3", "qwen3_5_think", "llama3_1", "gptoss", "glm4moe", "gemma4", "deepseekv3_training", "lfm2_v2", "muse_glimmer",
     "nemotron_3_nano", "mistral_v3", "mistral_v7", "hermes"],
)  # fmt: skip
def test_calls_train_and_results_do_not(derived, name, kind):
    tokenizer, chat_format = derived("style" if name in STYLES else "trl", name, kind)
    text = tokenizer.apply_chat_template(TALK, tokenize=False)
    encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    flags = trained(tokenizer, text, chat_format)
    for word, trains in (("questionzz", False), ("skyzz", True), ("resultzz", False), ("answerzz", True)):
        at = text.index(word)
        spans = enumerate(encoding["offset_mapping"])
        assert {flags[token] for token, (start, stop) in spans if at <= start < stop <= at + len(word)} == {trains}, (word, text)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("qwen3_5_think", "<think>\n"),
        ("qwen3_5_nothink", "<think>\n\n</think>\n\n"),
        ("deepseekv3", "<think>\n"),
        ("qwen2_5", None),
    ],
)
def test_generation_heads_are_what_the_prompt_supplies(derived, name, head):
    tokenizer, chat_format = derived("trl", name, "byte_level")
    texts = [tokenizer.decode(ids) for ids in chat_format.generation_prefills]
    assert (head in texts) if head else not texts


def test_template_variables_change_the_heads():
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
    """Trainers strip BOS; a marker must not need it."""
    tokenizer, chat_format = derived("trl", "llama3", "byte_level")
    text = tokenizer.apply_chat_template([{"role": "system", "content": "be kind"}, *TALK[:1]], tokenize=False)
    ids = tokenizer(text.removeprefix("<s>"), add_special_tokens=False)["input_ids"]
    roles = [chat_format.roles[role] for role in mask_roles(ids, chat_format)]
    assert roles == ["system", "user"]


def mask_roles(ids, chat_format):
    from spanmask import find_turns

    return find_turns([ids], chat_format).role.tolist()


BAD = {
    "no template": (None, "chat template"),
    "not jinja": ("{% for m in messages %}", "TemplateSyntaxError"),
    "raises": ("{{ raise_exception('never') }}", "never"),
    "drops contents": ("{% for m in messages %}{{ m['role'] }}{% endfor %}", "do not both come through"),
    "doubles contents": ("{% for m in messages %}{{ m['content'] + m['content'] }}{% endfor %}", "do not both come through"),
    "no markers": ("{% for m in messages %}{{ m['content'] + '\n' }}{% endfor %}", "cannot be told apart"),
    "one marker for all": (
        "{% for m in messages %}{{ '<|turn|>' + m['content'] + '<|end|>' }}{% endfor %}",
        "cannot be told apart",
    ),
    "needs a variable": (
        "{{ colours|tojson }}{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}",
        "variables that it needs",
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
def test_from_tokenizer_wants_a_tokenizer(what):
    with pytest.raises(TypeError, match="expected a transformers tokenizer"):
        ChatFormat.from_tokenizer(what)


def test_a_slow_tokenizer_that_spells_its_text_will_do():
    from transformers import ByT5Tokenizer

    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = STYLES["alpaca"].template.replace("{{ bos_token }}", "")
    chat_format = ChatFormat.from_tokenizer(tokenizer)
    [starts] = [boundary.start for boundary in chat_format.boundaries if boundary.role == "assistant"]
    assert tokenizer.decode(starts[0]).strip() == "### Response:"


def test_a_derived_format_is_the_same_in_every_process():
    """Vocabularies are hash maps: what a format holds must not follow their order, or caches and runs would differ."""
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
