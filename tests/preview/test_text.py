"""Plain text."""

import re

from spanmask import preview
from support.previews import SHOWN, body


def test_trained_text_is_in_brackets(tokenizer, row, labels):
    assert preview(row, labels, tokenizer).to_text() == f"row 0: 30 tokens, 14 trained (47%)\n{SHOWN}"


def test_trained_text_is_the_decoded_labels(tokenizer, row, labels):
    decoded = tokenizer.decode([label for label in labels if label != -100])
    assert re.findall(r"\[\[(.*?)\]\]", body(preview(row, labels, tokenizer))) == [decoded]


def test_nothing_trained_has_no_brackets(tokenizer, row):
    assert "[[" not in preview(row, [-100] * len(row), tokenizer).to_text()
