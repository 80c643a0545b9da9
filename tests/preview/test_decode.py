"""Ids -> text: spaces, cut characters, control characters, special tokens."""

from spanmask import ChatFormat, RoleBoundary, preview
from support.previews import SHOWN, body
from support.vocabulary_tokenizers import t5_of


def test_a_character_cut_by_the_mask_is_not_hidden(tokenizer):
    ids = tokenizer("a 中 b").input_ids
    cut = next(at for at in range(len(ids)) if tokenizer.decode(ids[: at + 1]).endswith("\ufffd")) + 1
    assert body(preview(ids, [-100] * cut + ids[cut:], tokenizer)) == "a \ufffd[[中 b]]"


def test_sentencepiece_keeps_its_spaces():
    words = ["The", "dog", "walks"]
    t5 = t5_of([(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in words))])
    ids = t5("The dog walks").input_ids
    assert body(preview(ids, [-100, *ids[1:]], t5)) == "The[[ dog walks</s>]]"


def test_newlines_and_control_characters_are_seen(tokenizer):
    ids = tokenizer("a\nb\x1b[31m\u202ec\r").input_ids
    assert body(preview(ids, ids, tokenizer)) == "[[a\\n\nb<U+001B>[31m<U+202E>c<U+000D>]]"


def test_invisible_characters_are_seen_and_joiners_stay(tokenizer):
    ids = tokenizer("a\u200eb\u200bc\u00add\ufeffe\U000e0041f\u2028g\u200dh").input_ids
    assert body(preview(ids, ids, tokenizer)) == "[[a<U+200E>b<U+200B>c<U+00AD>d<U+FEFF>e<U+E0041>f<U+2028>g\u200dh]]"


def test_roles_in_the_gutter_are_spelled(tokenizer):
    start = tokenizer("a").input_ids
    fmt = ChatFormat([RoleBoundary("\x1b]0;owned\x07", start)])
    text = preview(start, start, tokenizer, chat_format=fmt).to_text()
    assert "<U+001B>]0;owned<U+0007>" in text
    assert "\x1b" not in text


def test_ids_that_the_tokenizer_does_not_have_are_numbers(tokenizer):
    ids = [*tokenizer("a").input_ids, -200, -200, -200, 99999]
    assert body(preview(ids, [-100] * 5, tokenizer)) == "a<-200> x 3<99999>"


def test_a_processor_is_accepted_as_tokenizer(tokenizer, row, labels):
    class Processor:
        def __init__(self):
            self.tokenizer = tokenizer

    assert body(preview(row, labels, Processor())) == SHOWN
