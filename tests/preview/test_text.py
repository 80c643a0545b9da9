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


def test_brackets_of_a_row_do_not_look_like_what_trains():
    class Pieces:
        def __len__(self):
            return 4

        def decode(self, ids, **options):
            return "".join(("x", "[[y]]", "[", "]]]")[token] for token in ids)

    assert preview([1, 0, 1, 2, 3], [-100, 0, 1, -100, -100], Pieces()).to_text().splitlines()[1] == (
        "<U+005B>[y<U+005D>][[x<U+005B>[y<U+005D>]]][<U+005D><U+005D>]"
    )
