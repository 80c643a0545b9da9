"""Formats are derived once a process: equal template, tokenizer and arguments share one, everything else does not."""

import time
import warnings
from types import MethodType

import pytest
from spanmask import ChatFormat, SpanmaskWarning
from spanmask.chat.template import cache, derive
from support.chat_templates import STYLES
from support.vocabularies import tokenizer_of
from tokenizers.pre_tokenizers import ByteLevel
from transformers import ByT5Tokenizer

MARKERS = ("<|open|>", "<|shut|>")
TEMPLATE = (
    "{% for m in messages %}<|open|>{{ m.role }}\n{{ m.content }}<|shut|>{{ tail or '' }}{% endfor %}"
    "{% if add_generation_prompt %}<|open|>assistant\n{% endif %}"
)


@pytest.fixture
def count(monkeypatch):
    """How often a format was derived."""
    made = []
    real = derive.Derivation.derive
    monkeypatch.setattr(derive.Derivation, "derive", lambda self: made.append(self) or real(self))
    monkeypatch.setattr(cache, "FORMATS", type(cache.FORMATS)())
    return made


def with_template(tokenizer, template=TEMPLATE):
    tokenizer.chat_template = template
    return tokenizer


def test_an_equal_tokenizer_has_its_format_at_once(count):
    first = ChatFormat.from_tokenizer(with_template(tokenizer_of("byte_level", MARKERS)))
    twin = with_template(tokenizer_of("byte_level", MARKERS))
    assert ChatFormat.from_tokenizer(twin) == first
    began = time.process_time()
    for _ in range(10):
        assert ChatFormat.from_tokenizer(twin) == first
    assert time.process_time() - began < 10 * 0.01
    assert len(count) == 1


CHANGES = {
    "another template": lambda t: with_template(t, TEMPLATE.replace("\n", " ")),
    "another token": lambda t: t.add_tokens(["<|more|>"], special_tokens=True),
    "another BOS": lambda t: setattr(t, "bos_token", "<|open|>"),
    "another size of pieces": lambda t: setattr(
        t.backend_tokenizer, "pre_tokenizer", ByteLevel(add_prefix_space=False, use_regex=False)
    ),
    "another vocabulary": lambda t: None,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen(count, change):
    tokenizer = with_template(tokenizer_of("byte_level", MARKERS))
    ChatFormat.from_tokenizer(tokenizer)
    CHANGES[change](tokenizer)
    if change == "another vocabulary":
        tokenizer = with_template(tokenizer_of("unigram", MARKERS))
    ChatFormat.from_tokenizer(tokenizer)
    assert len(count) == 2


def test_arguments_count(count):
    tokenizer = with_template(tokenizer_of("byte_level", MARKERS))
    for tail in ("\n", "\n\n", "\n"):
        ChatFormat.from_tokenizer(tokenizer, tail=tail)
    assert len(count) == 2


def test_what_cannot_be_compared_is_derived_anew(count):
    tokenizer = with_template(tokenizer_of("byte_level", MARKERS))
    for _ in range(2):
        ChatFormat.from_tokenizer(tokenizer, helper=len)
    render = type(tokenizer).apply_chat_template
    tokenizer.apply_chat_template = MethodType(lambda self, *args, **kwargs: render(self, *args, **kwargs), tokenizer)
    for _ in range(2):
        ChatFormat.from_tokenizer(tokenizer)
    assert len(count) == 4


def test_slow_tokenizers_share_nothing(count):
    for _ in range(2):
        tokenizer = with_template(ByT5Tokenizer())
        tokenizer.add_tokens(list(MARKERS), special_tokens=True)
        for _ in range(2):
            ChatFormat.from_tokenizer(tokenizer)
    assert len(count) == 2


def test_the_warning_comes_each_time(count):
    style = STYLES["vicuna"]
    tokenizer = with_template(tokenizer_of("byte_level", style.special), style.template)
    for _ in range(2):
        with pytest.warns(SpanmaskWarning, match="does not cover tool calls") as caught:
            ChatFormat.from_tokenizer(tokenizer)
        assert caught[0].filename == __file__
    assert len(count) == 1


def test_the_cache_is_bounded(count, monkeypatch):
    monkeypatch.setattr(cache, "SIZE", 2)
    tokenizer = with_template(tokenizer_of("byte_level", MARKERS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tail in ("a", "b", "a", "c", "a"):  # "b" is the least recently used when "c" comes
            ChatFormat.from_tokenizer(tokenizer, tail=f"\n{tail}\n")
        assert len(count) == 3
        assert len(cache.FORMATS) == 2
