"""`encode_chat` is held against what the rendered text says, with contents that hold the template's own text."""

from __future__ import annotations

import warnings
from random import Random

import pytest
from jinja2 import TemplateError
from spanmask import SpanmaskWarning, encode_chat
from support import derivation
from support.agent_rows import agent_row, call_form, places
from support.chat_templates import STYLES
from support.hostile import pieces_of, with_pieces
from support.text_truth import faults, messages
from support.trl_templates import TEMPLATES
from support.vocabularies import KINDS

EVERY = [*(("trl", name) for name in TEMPLATES), *(("style", name) for name in STYLES)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("source", "name"), EVERY, ids=[name for _, name in EVERY])
def test_contents_may_hold_the_text_of_the_template(source, name, kind):
    tokenizer, kwargs = derivation.tokenizer_with(source, name, kind)
    in_parts = derivation.roles_in_parts(name)
    rng = Random(f"{name} {kind}")
    pieces = pieces_of(tokenizer, name, kwargs)
    rows = []
    for contents, _ in derivation.conversations(tokenizer, name, kwargs, 10):
        hostile = with_pieces(rng, contents, pieces)
        try:
            text = tokenizer.apply_chat_template(messages(hostile, in_parts), tokenize=False, **kwargs)
        except TemplateError:  # gpt-oss refuses contents with its own markers
            continue
        if all(text.count(content.text.strip()) == 1 for content in hostile if content.text.strip()):
            rows.append((hostile, text))
    assert len(rows) >= 3
    out = encode_chat(tokenizer, [messages(contents, in_parts) for contents, _ in rows], template_kwargs=dict(kwargs))
    assert out.report.aligned_rows == len(rows)
    for (contents, text), ids, labels in zip(rows, out.input_ids.to_list(), out.labels.to_list(), strict=True):
        assert ids == tokenizer.apply_chat_template(messages(contents, in_parts), return_dict=False, **kwargs)
        assert not faults(tokenizer, text, contents, [label != -100 for label in labels])


@pytest.mark.parametrize("kind", KINDS)
def test_calls_train_and_results_do_not(kind):
    tested, wrong = 0, []
    for source, name in EVERY:
        tokenizer, kwargs = derivation.tokenizer_with(source, name, kind)
        form = call_form(tokenizer, kwargs)
        if form is None:
            continue  # the template renders no calls
        tested += 1
        rng = Random(f"{name} {kind}")
        rows = [row for _ in range(12) if (row := agent_row(rng, form, tokenizer, kwargs)) is not None]
        columns = {"messages": [row.messages for row in rows], "tools": [row.tools for row in rows]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SpanmaskWarning)  # some templates leave out the text next to calls, and say so
            out = encode_chat(tokenizer, columns, template_kwargs=dict(kwargs))
        if not rows or out.report.aligned_rows < len(rows):
            wrong.append((name, f"{out.report.aligned_rows} of {len(rows)} rows aligned"))
        for row, ids, labels in zip(rows, out.input_ids.to_list(), out.labels.to_list(), strict=True):
            encoding = tokenizer(row.text, add_special_tokens=False, return_offsets_mapping=True)
            assert ids == encoding["input_ids"]
            wrong += [
                (name, row.text[start:stop], words)
                for words, trains in row.words
                for left, right in places(row.text, words)
                for (start, stop), label in zip(encoding["offset_mapping"], labels, strict=True)
                if left <= start < stop <= right and (label != -100) != trains
            ]
    assert not wrong
    assert tested >= 45, "the templates that render calls are no longer found"
