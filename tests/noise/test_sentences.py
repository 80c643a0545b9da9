"""Which tokens of a vocabulary end a sentence, for all kinds of vocabularies."""

import pytest
from spanmask import TextInfilling
from spanmask.noise.sentences import sentence_end_ids_of
from support.denoising import bert_tokenizer, t5_tokenizer
from support.vocabularies import KINDS, tokenizer_of
from support.vocabulary_tokenizers import bert_of
from transformers import ByT5Tokenizer

ENDS = [
    ".",
    "!",
    "?",
    "...",
    "?!",
    "##.",
    "##!",
    "Ġ.",
    "▁?",
    '."',
    ".)",
    "!'",
    "?”",
    ".Ċ",
    "Ġ...",
    "。",
    "ãĢĤ",
    "…",
    ".</w>",
    "।",
]
OTHERS = ["a.", ".a", "a", ",", ";", ":", '"', ")", "Ċ", "▁", "##", "Ġ", "</w>", "-", "3.14", ".5", "¡", "e.g.", "(.", "Ġ,", ".,"]


def test_ends_in_every_spelling():
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *ENDS, *OTHERS]
    tokenizer = bert_of(names)
    found = sentence_end_ids_of(tokenizer)
    assert [names[number] for number in found] == ENDS


def test_ends_of_a_trained_vocabulary():
    """A sentence ends with one of them, and none is inside it."""
    tokenizer = tokenizer_of("byte_level")
    ends = set(sentence_end_ids_of(tokenizer))
    for text in ("the quick fox.", "user talk!", "a lazy dog?", 'the fox jumps over a dog."'):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert ids[-1] in ends or ids[-2] in ends, tokenizer.convert_ids_to_tokens(ids)
        assert not ends & set(ids[:-2])


@pytest.mark.parametrize("kind", KINDS)
def test_words_with_a_full_stop_end_no_sentence(kind):
    """`Mr.`, `fox.`: such tokens of large vocabularies are abbreviations."""
    tokenizer = tokenizer_of(kind)
    ends = sentence_end_ids_of(tokenizer)
    assert ends
    assert not any(character.isalnum() for number in ends for character in tokenizer.decode([number]))


def test_bytes():
    tokenizer = ByT5Tokenizer()
    assert set(tokenizer.convert_ids_to_tokens(sentence_end_ids_of(tokenizer))) == {".", "!", "?"}


def test_the_spec_takes_them_from_the_tokenizer_if_sentences_move():
    tokenizer = t5_tokenizer(["a", "b", ".", "!"])
    ends = tuple(tokenizer.convert_tokens_to_ids(["▁.", "▁!"]))
    assert TextInfilling.from_tokenizer(tokenizer, mask_token_id=9, permute_sentence_ratio=1.0).sentence_end_ids == ends
    assert TextInfilling.from_tokenizer(tokenizer, mask_token_id=9).sentence_end_ids == ()
    given = TextInfilling.from_tokenizer(tokenizer, mask_token_id=9, permute_sentence_ratio=1.0, sentence_end_ids=())
    assert given.sentence_end_ids == ()


def test_vocabularies_without_ends_are_errors():
    tokenizer = bert_tokenizer(5)
    with pytest.raises(ValueError, match="tokenizer: has no token that ends a sentence.*pass sentence_end_ids"):
        TextInfilling.from_tokenizer(tokenizer, permute_sentence_ratio=0.5)
    with pytest.raises(TypeError, match="tokenizer: expected a transformers tokenizer, got str"):
        sentence_end_ids_of("tokenizer")
    for ratio in (-1, 1.5, "all"):  # the ratio is wrong, not the vocabulary
        with pytest.raises((ValueError, TypeError), match="^permute_sentence_ratio: expected"):
            TextInfilling.from_tokenizer(tokenizer, permute_sentence_ratio=ratio)
    with pytest.raises(ValueError, match="tokenizer: has no mask token"):
        TextInfilling.from_tokenizer(t5_tokenizer(["a"]))
