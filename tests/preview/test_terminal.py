"""What rich writes to a terminal."""

import io
import re

import numpy as np
from rich.console import Console
from spanmask import preview
from support.previews import SHOWN, terminal


def test_a_terminal_shows_colour_and_no_brackets(tokenizer, row, labels, chat_format):
    written, text = terminal(preview(row, labels, tokenizer, chat_format=chat_format))
    assert "[[" not in text
    assert "ASSISTANT: A red 中 square. 😀</s>" in text
    green = re.findall(r"\x1b\[[0-9;]*48;2;[0-9;]*m([^\x1b]*)", written)
    assert "".join(green) == " A red 中 square. 😀</s>" + "trained"  # the last word is in the legend


def test_markers_are_faint(tokenizer, row, labels, chat_format):
    written, _ = terminal(preview(row, labels, tokenizer, chat_format=chat_format))
    dim = "".join(re.findall(r"\x1b\[(?:2|2;3)m([^\x1b]*)", written))
    assert "USER:" in dim
    assert " ASSISTANT:" in dim
    assert "What" not in dim


def test_heavier_tokens_are_darker(tokenizer):
    ids = tokenizer("What is it?").input_ids
    written, _ = terminal(preview(ids, ids, tokenizer, weights=np.linspace(0.1, 1, len(ids))))
    reds = [int(red) for red in re.findall(r"48;2;(\d+);", written)]
    assert len(reds) > 2
    assert reds == sorted(reds, reverse=True)


def test_text_is_not_rich_markup(tokenizer):
    ids = tokenizer("[bold]is[/bold] :smile:").input_ids
    assert "[bold]is[/bold] :smile:" in terminal(preview(ids, ids, tokenizer))[1]


def test_a_terminal_without_colour_shows_brackets(tokenizer, row, labels):
    assert "ASSISTANT:[[ A red" in terminal(preview(row, labels, tokenizer), no_color=True)[1]
    console = Console(file=io.StringIO(), force_terminal=False, width=100)
    console.print(preview(row, labels, tokenizer))
    assert SHOWN in console.file.getvalue()
