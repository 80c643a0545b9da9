"""Rows with calls, results, declared tools and rare orders, in all templates: masked right, or named by the format as not covered."""

import os

import pytest
from spanmask.chat.coverage import kinds_in
from support.chat_templates import STYLES
from support.derivation import derived_format, roles_in_parts, trained
from support.tool_rows import KINDS, rendered_rows, wrong_tokens
from support.trl_templates import TEMPLATES
from support.vocabularies import KINDS as VOCABULARIES

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"


@pytest.mark.parametrize("vocabulary", VOCABULARIES if THOROUGH else VOCABULARIES[:1])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["trl", "style"])
def test_rows_are_masked_right_or_named_as_uncovered(source, kind, vocabulary):
    compared = named = 0
    for name in TEMPLATES if source == "trl" else STYLES:
        tokenizer, kwargs, chat_format = derived_format(source, name, vocabulary)
        parts = roles_in_parts(name)
        for row, text in rendered_rows(tokenizer, kind, kwargs, 2, (*parts, "tool") if "assistant" in parts else parts):
            compared += 1
            offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
            if wrong_tokens(text, offsets, trained(tokenizer, text, chat_format), row):
                assert kinds_in(row.messages, tools=row.tools).intersection(chat_format.uncovered), (name, text)
                named += 1
    assert compared > 80
    assert named <= compared // 6


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_finds_wrong_masks(kind):
    """With all tokens trained, and with none, the comparison must object: else it compares nothing."""
    tokenizer, kwargs, _ = derived_format("trl", "qwen3", "byte_level")
    for row, text in rendered_rows(tokenizer, kind, kwargs, 3):
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        for flag in (True, False):
            assert wrong_tokens(text, offsets, [flag] * len(offsets), row)
