"""Conversations of many messages: the template is rendered a few times, however long they are, and what is kept changes no label."""

from __future__ import annotations

import copy
import warnings
from random import Random

import pytest
from spanmask import DataCollatorForChat, SpanmaskWarning, encode_chat
from spanmask.chat import encode
from spanmask.chat.align import align
from spanmask.chat.text.bounded_cache import BoundedCache
from support import derivation
from support.chat_templates import STYLES
from support.trl_templates import TEMPLATES

EVERY = [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in STYLES)]


def look(number):
    return {"id": f"look{number:05d}", "type": "function", "function": {"name": "look", "arguments": {}}}


def move(number):
    return {"id": f"move{number:05d}", "type": "function", "function": {"name": "move", "arguments": {"to": f"place {number}"}}}


def rounds(rng, count, with_calls):
    """Questions and answers: some are blank, some have reasoning, some call functions without arguments."""
    messages = []
    for number in range(count):
        messages.append({"role": "user", "content": f"Question {number}?"})
        answer = {"role": "assistant", "content": rng.choice([f"Answer {number}.", "", " \n"])}
        messages.append(answer)
        if rng.random() < 0.3:
            answer["reasoning_content"] = f"Thought {number}."
        elif with_calls and rng.random() < 0.6:
            answer["tool_calls"] = [rng.choice([look, move])(number)]
            call = answer["tool_calls"][0]
            messages.append(
                {"role": "tool", "tool_call_id": call["id"], "name": call["function"]["name"], "content": f"Seen {number}."}
            )
            messages.append({"role": "assistant", "content": rng.choice([f"So {number}.", ""])})
    return messages


def encoded(tokenizer, kwargs, rows):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpanmaskWarning)
        out = encode_chat(tokenizer, rows, template_kwargs=dict(kwargs))
    return out.labels.to_list(), out.report.aligned_rows


@pytest.mark.parametrize(("source", "name"), EVERY)
def test_what_is_kept_of_other_turns_changes_no_label(source, name, monkeypatch):
    tokenizer, kwargs = derivation.tokenizer_with(source, name, "byte_level")
    rng = Random(f"{source} {name}")
    rows = []
    for number in range(8):
        row = rounds(rng, 4, with_calls=number % 2 == 1)
        try:
            encoded(tokenizer, kwargs, [row])
        except ValueError:  # the template refuses it
            continue
        rows.append(row)
    if not rows:
        return
    together = encoded(tokenizer, kwargs, rows)
    monkeypatch.setattr(BoundedCache, "get", lambda self, key, size, make: make())
    assert encoded(tokenizer, kwargs, rows) == together


@pytest.mark.parametrize("name", ["qwen3", "gptoss", "glm4moe"])
def test_the_template_is_rendered_a_few_times(name, monkeypatch):
    tokenizer, kwargs = derivation.tokenizer_with("trl", name, "byte_level")
    render, seen = type(tokenizer).apply_chat_template, []

    def counted(self, *arguments, **options):
        seen.append(arguments)
        return render(self, *arguments, **options)

    monkeypatch.setattr(type(tokenizer), "apply_chat_template", counted)
    counts = []
    for count in (8, 128):
        seen.clear()
        _, aligned = encoded(tokenizer, kwargs, [rounds(Random(count), count, with_calls=True)])
        assert aligned == 1
        counts.append(len(seen))
    assert counts[1] <= counts[0] + 8


def test_what_is_kept_is_bounded(monkeypatch):
    tokenizer, kwargs = derivation.tokenizer_with("trl", "qwen3", "byte_level")
    rows = [{"messages": rounds(Random(number), number % 9 + 1, with_calls=True)} for number in range(60)]
    unbounded = DataCollatorForChat(tokenizer, template_kwargs=dict(kwargs), padding_free=True, return_tensors="np")
    bounded = copy.deepcopy(unbounded)
    expected = [unbounded([row])["labels"].tolist() for row in rows]
    monkeypatch.setattr(encode, "MOST_KEPT", 10_000)
    for row, labels in zip(rows, expected, strict=True):
        assert bounded([row])["labels"].tolist() == labels
        kept = bounded._encoder.skeletons
        assert kept.size == sum(map(len, kept.results))
        assert kept.size <= 10_000 or len(kept) == 1
    assert len(kept) < len(unbounded._encoder.skeletons)


def test_contents_that_a_template_strips_are_found_however_many_there_are():
    contents = [f" content {number}\n" for number in range(12_000)]
    gaps = ["<turn>", *["</turn><turn>"] * (len(contents) - 1), "</turn>"]
    text = "".join(gap + content.strip() for gap, content in zip(gaps, contents, strict=False)) + gaps[-1]
    starts = align(text, gaps, contents)
    assert starts is not None
    assert all(text.startswith(gap, start) for gap, start in zip(gaps, starts, strict=True))
