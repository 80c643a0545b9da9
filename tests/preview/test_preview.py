import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
import torch
from rich.console import Console
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, Ragged, RoleBoundary, mask_labels, preview
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast, T5Tokenizer

TEXT = "<s>USER: <image><image><image><image>\nWhat is it? ASSISTANT: A red 中 square. 😀</s>"
SHOWN = "<s>USER: <image> x 4\\n\nWhat is it? ASSISTANT:[[ A red 中 square. 😀</s>]]"


@pytest.fixture(scope="module")
def tokenizer():
    """Byte-level: 中 and 😀 are several tokens each."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(["USER: ASSISTANT: What is it? A red square."] * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )


@pytest.fixture(scope="module")
def chat_format(tokenizer):
    return ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:")


@pytest.fixture(scope="module")
def row(tokenizer):
    return tokenizer(TEXT).input_ids


@pytest.fixture(scope="module")
def labels(row, chat_format):
    return mask_labels([row], chat_format).labels.to_list()[0]


def body(shown):
    """Plain text without the headline."""
    return shown.to_text().partition("\n")[2]


def terminal(shown, **options):
    """What rich writes for a terminal, and its text without escapes."""
    console = Console(
        file=io.StringIO(), width=100, force_terminal=True, color_system="truecolor", **{"no_color": False, **options}
    )
    console.print(shown)
    written = console.file.getvalue()
    return written, re.sub(r"\x1b\[[0-9;]*m", "", written)


class Marked(HTMLParser):
    """The text of a page, and what of it stands in <mark>."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.marked = [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        self.marked += data if "mark" in self.open else ""


# --- The text ---------------------------------------------------------------------------------------------------------------------


def test_trained_text_stands_in_brackets(tokenizer, row, labels):
    assert preview(row, labels, tokenizer).to_text() == f"row 0: 30 tokens, 14 trained (47%)\n{SHOWN}"


def test_trained_text_is_the_decoded_labels(tokenizer, row, labels):
    decoded = tokenizer.decode([label for label in labels if label != -100])
    assert re.findall(r"\[\[(.*?)\]\]", body(preview(row, labels, tokenizer))) == [decoded]


def test_nothing_trained_has_no_brackets(tokenizer, row):
    assert "[[" not in preview(row, [-100] * len(row), tokenizer).to_text()


def test_a_character_cut_by_the_mask_is_not_hidden(tokenizer):
    ids = tokenizer("a 中 b").input_ids
    cut = next(at for at in range(len(ids)) if tokenizer.decode(ids[: at + 1]).endswith("\ufffd")) + 1
    assert body(preview(ids, [-100] * cut + ids[cut:], tokenizer)) == "a \ufffd[[中 b]]"


def test_sentencepiece_keeps_its_spaces():
    words = ["The", "dog", "walks"]
    t5 = T5Tokenizer(vocab=[(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in words))])
    ids = t5("The dog walks").input_ids
    assert body(preview(ids, [-100, *ids[1:]], t5)) == "The[[ dog walks</s>]]"


def test_newlines_and_control_characters_are_seen(tokenizer):
    ids = tokenizer("a\nb\x1b[31m\u202ec\r").input_ids
    assert body(preview(ids, ids, tokenizer)) == "[[a\\n\nb<U+001B>[31m<U+202E>c<U+000D>]]"


def test_ids_that_the_tokenizer_lacks_are_numbers(tokenizer):
    ids = [*tokenizer("a").input_ids, -200, -200, -200, 99999]
    assert body(preview(ids, [-100] * 5, tokenizer)) == "a<-200> x 3<99999>"


def test_replaced_tokens_show_both(tokenizer):
    first, *rest = tokenizer("A red square.").input_ids
    shown = preview([tokenizer.pad_token_id, *rest], [first, *[-100] * len(rest)], tokenizer)
    assert body(shown) == "[[<pad> -> A]] red square."


def test_roles_stand_in_the_gutter(tokenizer, row, labels, chat_format):
    assert body(preview(row, labels, tokenizer, chat_format=chat_format)).split("\n") == [
        "          | <s>",
        "user      | USER: <image> x 4\\n",
        "          | What is it?",
        "assistant |  ASSISTANT:[[ A red 中 square. 😀</s>]]",
    ]


def test_ignored_regions_of_a_trained_turn_are_marked(tokenizer, row, labels, chat_format):
    red = row.index(tokenizer(" red").input_ids[0])
    labels = [*labels[:red], -100, *labels[red + 1 :]]
    assert "[[ A]](( red))[[ 中 square. 😀</s>]]" in body(preview(row, labels, tokenizer, chat_format=chat_format))
    assert "((" not in body(preview(row, labels, tokenizer))  # without turns nobody can tell


def test_weights_are_told(tokenizer):
    ids = tokenizer("A red square.").input_ids
    red = ids.index(tokenizer(" red").input_ids[0])
    weights = [0.0] * red + [0.5] + [1.0] * (len(ids) - red - 1)
    labels = [-100] * red + ids[red:]
    assert body(preview(ids, labels, tokenizer, weights=weights)) == "A[[0.5:  red]][[1:  square.]]"
    batch = {"input_ids": ids, "labels": labels, "loss_weights": np.array(weights, np.float32)}
    assert body(preview(batch, tokenizer=tokenizer)) == "A[[0.5:  red]][[1:  square.]]"


def test_what_mask_labels_returns_is_taken_whole(tokenizer, row, chat_format):
    out = mask_labels([row], chat_format, MaskPolicy(role_weights={"assistant": 0.5}))
    assert body(preview([row], out, tokenizer)) == SHOWN.replace("[[", "[[0.5: ")


def test_shifted_labels_are_shown_on_their_tokens(tokenizer, row, chat_format):
    out = mask_labels([row], chat_format, MaskPolicy(shift="left"))
    assert body(preview([row], out, tokenizer, shift="left")) == SHOWN
    assert " -> " in body(preview([row], out, tokenizer))


def test_markers_are_set_apart(tokenizer, row, labels, chat_format):
    written, _ = terminal(preview(row, labels, tokenizer, chat_format=chat_format))
    dim = "".join(re.findall(r"\x1b\[(?:2|2;3)m([^\x1b]*)", written))
    assert "USER:" in dim
    assert " ASSISTANT:" in dim
    assert "What" not in dim


def test_decoder_targets_are_shown_below_the_input():
    byt5 = ByT5Tokenizer()
    source, target = byt5("a<extra_id_0>c").input_ids, byt5("<extra_id_0>bb").input_ids
    batch = {"input_ids": torch.tensor([source]), "labels": torch.tensor([[*target, -100, -100]])}
    text = preview(batch, tokenizer=byt5).to_text()
    assert text.split("\n") == [
        "row 0: 4 input tokens, 4 target tokens",
        "input  | a<extra_id_0>c</s>",
        "target | [[<extra_id_0>bb</s>]]",
    ]
    same_length = preview(source, target, byt5, decoder=True)
    assert "target | [[<extra_id_0>bb</s>]]" in same_length.to_text()


# --- What may be given ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "as_rows",
    [
        lambda row: row,
        lambda row: [row],
        lambda row: tuple(row),
        np.array,
        torch.tensor,
        lambda row: torch.tensor([row]),
        lambda row: np.array([row], np.int32),
        lambda row: [torch.tensor(row)],
        lambda row: Ragged.from_rows([row]),
        lambda row: pa.array([row]),
    ],
    ids=["row", "rows", "tuple", "1-D", "tensor", "2-D tensor", "2-D", "tensors", "Ragged", "Arrow"],
)
def test_rows_of_any_kind_look_alike(tokenizer, row, labels, as_rows):
    assert body(preview(as_rows(row), as_rows(labels), tokenizer)) == SHOWN


def test_a_batch_brings_its_own_columns(tokenizer, row, chat_format):
    collator = DataCollatorForChat(tokenizer, chat_format, padding_side="left")
    batch = collator([{"input_ids": row}, {"input_ids": [*row, *row]}])
    first, second = preview(batch, tokenizer=tokenizer).to_text().split("\n\n")
    assert first.partition("\n")[2] == SHOWN
    assert second.partition("\n")[2] == SHOWN + SHOWN
    assert "<pad>" in preview(batch["input_ids"], batch["labels"], tokenizer).to_text()  # without a mask nothing is padding


def test_rows_laid_end_to_end_are_taken_apart(tokenizer, row, chat_format):
    batch = DataCollatorForChat(tokenizer, chat_format, padding_free=True)([{"input_ids": row}, {"input_ids": row}])
    assert [part.partition("\n")[2] for part in preview(batch, tokenizer=tokenizer).to_text().split("\n\n")] == [SHOWN, SHOWN]


def test_a_processor_serves_as_tokenizer(tokenizer, row, labels):
    class Processor:
        def __init__(self):
            self.tokenizer = tokenizer

    assert body(preview(row, labels, Processor())) == SHOWN


def test_many_rows_are_counted_not_shown(tokenizer, row, labels):
    shown = preview([row] * 11, [labels] * 11, tokenizer)
    assert len(shown.rows) == 8
    assert shown.to_text().endswith("\n\n... and 3 more rows")
    assert len(preview([row] * 11, [labels] * 11, tokenizer, max_rows=None).rows) == 11


def test_an_empty_row_is_a_headline(tokenizer):
    assert preview([[]], [[]], tokenizer).to_text() == "row 0: 0 tokens, 0 trained"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2], [1, 2], None), TypeError, "tokenizer: None; give the tokenizer"),
        (([1, 2], [1, 2], object()), TypeError, "tokenizer: expected a tokenizer with decode"),
        (([1, 2], None, "tokenizer"), TypeError, "labels: None; give the rows' labels"),
        (({"ids": [1]}, None, "tokenizer"), TypeError, "rows: the batch has no 'input_ids', only 'ids'"),
        (([1.5], [1], "tokenizer"), TypeError, "rows: row 0: expected integer token ids"),
        (("text", [1], "tokenizer"), TypeError, "rows: expected token ids"),
        (([[[1]]], [1], "tokenizer"), ValueError, r"rows: row 0 has shape \(1, 1\)"),
        (([[1], [2]], [[1]], "tokenizer"), ValueError, "labels: 1 rows for 2 rows of ids"),
    ],
)
def test_bad_arguments(tokenizer, arguments, error, message):
    rows, labels, decoder = arguments
    with pytest.raises(error, match=message):
        preview(rows, labels, tokenizer if decoder == "tokenizer" else decoder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "weights: row 0 has 1 entries for 2 ids"),
        ({"attention_mask": [1]}, "attention_mask: row 0 has 1 entries for 2 ids"),
        ({"decoder": False, "labels": [1]}, "labels: row 0 has 1 entries for 2 ids"),
    ],
)
def test_columns_of_another_length(tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        preview([5, 6], **{"labels": [5, 6], **options}, tokenizer=tokenizer)


# --- Terminal and notebook --------------------------------------------------------------------------------------------------------


def test_a_terminal_shows_colour_and_no_brackets(tokenizer, row, labels, chat_format):
    written, text = terminal(preview(row, labels, tokenizer, chat_format=chat_format))
    assert "[[" not in text
    assert "ASSISTANT: A red 中 square. 😀</s>" in text
    green = re.findall(r"\x1b\[[0-9;]*48;2;[0-9;]*m([^\x1b]*)", written)
    assert "".join(green) == " A red 中 square. 😀</s>"


def test_heavier_tokens_are_darker(tokenizer):
    ids = tokenizer("What is it?").input_ids
    written, _ = terminal(preview(ids, ids, tokenizer, weights=np.linspace(0.1, 1, len(ids))))
    reds = [int(red) for red in re.findall(r"48;2;(\d+);", written)]
    assert len(reds) > 2
    assert reds == sorted(reds, reverse=True)


def test_text_is_not_rich_markup(tokenizer):
    ids = tokenizer("[bold]is[/bold] :smile:").input_ids
    assert "[bold]is[/bold] :smile:" in terminal(preview(ids, ids, tokenizer))[1]


def test_no_colour_means_brackets(tokenizer, row, labels):
    assert "ASSISTANT:[[ A red" in terminal(preview(row, labels, tokenizer), no_color=True)[1]
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    console.print(preview(row, labels, tokenizer))
    assert SHOWN in console.file.getvalue()


@pytest.mark.parametrize(("variable", "coloured"), [("NO_COLOR", False), ("FORCE_COLOR", True), (None, False)])
def test_print_follows_the_terminal(tokenizer, row, labels, monkeypatch, variable, coloured):
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    if variable:
        monkeypatch.setenv(variable, "1")
    shown = str(preview(row, labels, tokenizer))
    assert ("\x1b[" in shown) == coloured
    assert ("[[" in shown) != coloured


def test_plain_text_needs_no_rich(tokenizer, row, labels, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "rich.console", None)
    shown = preview(row, labels, tokenizer)
    assert str(shown) == shown.to_text()


def test_html_marks_what_trains(tokenizer, row, labels, chat_format):
    page = Marked(preview(row, labels, tokenizer, chat_format=chat_format)._repr_html_())
    assert page.marked == " A red 中 square. 😀</s>"
    assert not page.open


def test_html_is_escaped(tokenizer):
    attack = "</div><script>alert(1)</script><img src=x onerror=\"alert('2')\">&amp;"
    ids = tokenizer(attack).input_ids
    for labels in (ids, [-100] * len(ids)):
        html = preview(ids, labels, tokenizer).to_html()
        assert attack in Marked(html).text
        assert "<script" not in html
        assert "<img" not in html


def test_html_escapes_names_of_tokens_and_roles(tokenizer):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")
    tokenizer.add_special_tokens({"pad_token": "<b onclick=x>"})
    ids = [tokenizer.pad_token_id, *tokenizer("a</s>").input_ids]
    fmt = ChatFormat([RoleBoundary("<i>", [ids[0]], [tokenizer.eos_token_id])])
    html = preview(ids, ids, tokenizer, chat_format=fmt).to_html()
    assert "<b " not in html
    assert "<i>" not in html


def test_preview_imports_no_torch():
    code = """
import sys
from spanmask import preview
class Letters:
    def __len__(self): return 26
    def decode(self, ids, **options): return "".join(chr(97 + i) for i in ids)
assert preview([0, 1, 2], [-100, 1, 2], Letters()).to_text().endswith("a[[bc]]")
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
