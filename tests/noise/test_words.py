"""Words as the tokens of a vocabulary show them, compared with words of the text."""

import json

import numpy as np
import pytest
from spanmask import MaskedLM, mask_tokens
from spanmask.noise.words import vocabulary_words
from spanmask.reference.words import words_of
from support.word_tokenizers import SPACED, SPLIT, STRANGE, TEXTS, begins_after_space, corpus, word_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import ByT5Tokenizer, CanineTokenizer, CTRLTokenizer, DataCollatorForLanguageModeling, PreTrainedTokenizerFast


def begins(row, words):
    """Whether a word begins with each token of a row."""
    starts = {
        start for start, _ in words_of(row, continuation_ids=set(words.continuation_ids), word_end_ids=set(words.word_end_ids))
    }
    return [at in starts for at in range(len(row))]


@pytest.mark.parametrize("strangers", [False, True], ids=["plain", "strangers"])
@pytest.mark.parametrize("kind", SPACED)
def test_words_are_what_white_space_separates(kind, strangers):
    tokenizer = word_tokenizer(kind, strangers)
    words = vocabulary_words(tokenizer)
    mark = {"metaspace_other_mark": "~"}.get(kind, "" if kind.startswith("byte_level") else "▁")
    checked = 0
    for text in [*TEXTS, *STRANGE, *corpus()[:4]]:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        row = encoded["input_ids"]
        expected = begins_after_space(text, tokenizer.convert_ids_to_tokens(row), encoded["offset_mapping"], mark)
        for at, (found, told) in enumerate(zip(begins(row, words), expected, strict=True)):
            if told is not None:
                assert found == told, (text[:200], tokenizer.convert_ids_to_tokens(row[max(at - 3, 0) : at + 3]))
                checked += 1
    assert checked > 2000


@pytest.mark.parametrize("strangers", [False, True], ids=["plain", "strangers"])
@pytest.mark.parametrize("kind", SPLIT)
def test_words_are_those_of_the_pre_tokenizer(kind, strangers):
    tokenizer = word_tokenizer(kind, strangers)
    words = vocabulary_words(tokenizer)
    checked = 0
    for text in [*TEXTS, *STRANGE, *corpus()[:4]]:
        encoded = tokenizer(text, add_special_tokens=False)
        row, numbers, unknown = encoded["input_ids"], encoded.word_ids(), tokenizer.unk_token_id
        for at, found in enumerate(begins(row, words)):
            if unknown not in row[max(at - 1, 0) : at + 1]:
                assert found == (at == 0 or numbers[at] != numbers[at - 1]), (text[:200], tokenizer.convert_ids_to_tokens(row))
                checked += 1
    assert checked > 500


@pytest.mark.parametrize("kind", [*SPACED, *SPLIT])
def test_special_and_added_tokens_are_words_of_their_own(kind):
    tokenizer = word_tokenizer(kind)
    tokenizer.add_tokens(["<tool>"])
    words = vocabulary_words(tokenizer)
    start, tool, end = tokenizer.convert_tokens_to_ids(["<s>", "<tool>", "</s>"])
    first = tokenizer("The", add_special_tokens=False)["input_ids"]
    found = begins([start, *first, tool, *first, end, start], words)
    assert [found[at] for at in (0, 1, len(first) + 1, len(first) + 2, -2, -1)] == [True] * 6


def test_the_first_word_after_a_special_token_is_chosen():
    """As RoBERTa: `<s>` and then a word without a mark."""
    tokenizer = word_tokenizer("byte_level")
    spec = MaskedLM.from_tokenizer(tokenizer, whole_word_mask=True, mlm_probability=1.0)
    row = [tokenizer.bos_token_id, *tokenizer("The dog", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert mask_tokens([row], spec).labels.to_list() == [[-100, *row[1:-1], -100]]


@pytest.mark.parametrize("kind", ["byte_level", "wordpiece", "gpt", "unigram"])
def test_words_of_a_tokenizer_are_chosen_whole(kind):
    tokenizer = word_tokenizer(kind, strangers=True)
    spec = MaskedLM.from_tokenizer(tokenizer, whole_word_mask=True, mlm_probability=0.4)
    row = tokenizer(corpus()[0], add_special_tokens=False)["input_ids"]
    labels = np.array(mask_tokens([row] * 20, spec, keys=range(20)).labels.to_list())
    words = vocabulary_words(tokenizer)
    for start, stop in words_of(row, continuation_ids=set(words.continuation_ids), word_end_ids=set(words.word_end_ids)):
        chosen = labels[:, start:stop] != -100
        assert (chosen.all(axis=1) == chosen.any(axis=1)).all()
        assert chosen.any() or tokenizer.unk_token_id in row[start:stop]


def toy(tokens, pre_tokenizer=None, decoder=None):
    """A word-level tokenizer over these tokens."""
    vocabulary = {token: number for number, token in enumerate(["[UNK]", *tokens])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize("pre_tokenizer", [None, pre_tokenizers.WhitespaceSplit()], ids=["none", "split"])
@pytest.mark.parametrize(
    ("tokens", "continuing"),
    [
        (["The", "Ġun", "believ", "ably", "Ġdog"], ["The", "believ", "ably"]),
        (["The", "Ġun", "believ", "ably", "Ġdog", "##"], ["The", "believ", "ably", "##"]),
        (["The", "Ġun", "believ", "ably", "Ġdog", "##x", "▁"], ["The", "believ", "ably", "##x", "▁"]),
        (["the", "un", "##believ", "##ably", "Ġ", "▁", "Ġdog"], ["##believ", "##ably"]),
        (["▁the", "▁un", "believ", "ably", "Ċ", "##s"], ["believ", "ably", "Ċ", "##s"]),
    ],
)
def test_the_mark_that_most_tokens_carry_decides_where_nothing_else_does(tokens, continuing, pre_tokenizer):
    tokenizer = toy(tokens, pre_tokenizer)
    found = vocabulary_words(tokenizer).continuation_ids
    assert set(tokenizer.convert_ids_to_tokens(found)) - {"[UNK]"} == set(continuing)


def test_a_slow_tokenizer_whose_tokens_say_that_the_word_goes_on(tmp_path):
    tokens = ["<unk>", "un@@", "believ@@", "ably", "dog", "##", "Ġ"]
    (tmp_path / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nu n\n")
    tokenizer = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    assert not tokenizer.is_fast
    assert begins([1, 2, 3, 4, 1, 3, 0, 4], vocabulary_words(tokenizer)) == [True, False, False, True, True, False, True, True]


@pytest.mark.needs("transformers>=5")  # its collator has `whole_word_mask`
def test_whole_words_of_transformers_are_other_words():
    """transformers takes tokens whose places in the text touch for one word, so `dog,` is one; `mask-words.md` says so."""
    tokenizer = word_tokenizer("wordpiece")
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    text = "dog, dog, dog, dog, " * 10
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, return_special_tokens_mask=True)
    tokens = tokenizer.convert_ids_to_tokens(encoded["input_ids"])
    commas = [at for at, token in enumerate(tokens) if token == ","]
    assert len(commas) == 40
    options = {"mask_replace_prob": 1.0, "random_replace_prob": 0.0}
    theirs = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.3, whole_word_mask=True, seed=0, **options)
    spec = MaskedLM.from_tokenizer(tokenizer, mlm_probability=0.3, whole_word_mask=True)
    chosen = [theirs([dict(encoded)])["labels"][0].numpy() != -100, mask_tokens([encoded["input_ids"]], spec).labels[0] != -100]
    assert [any(flags[at] != flags[at - 1] for at in commas) for flags in chosen] == [False, True]


def test_characters_and_bytes_show_words_by_white_space():
    for tokenizer in (ByT5Tokenizer(), CanineTokenizer()):
        text = "no dog\n\tbärks"
        row = tokenizer(text, add_special_tokens=False)["input_ids"]
        found = begins(row, vocabulary_words(tokenizer))
        letters = text.encode().decode("latin-1") if isinstance(tokenizer, ByT5Tokenizer) else text
        assert found == [at == 0 or letters[at].isspace() or letters[at - 1].isspace() for at in range(len(letters))]


@pytest.mark.parametrize(
    "tokenizer",
    [
        toy(["a", "b", "c"]),
        toy(["Ġa", "##b", "c"]),  # a tie
        PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "Ġ": 3}, [("a", "b")])), unk_token="a"
        ),
    ],
    ids=["no mark", "tie", "bpe"],
)
def test_tokens_that_do_not_show_words_are_an_error(tokenizer):
    with pytest.raises(
        ValueError, match=r"tokenizer: its tokens do not show where words begin; pass continuation_ids .* word_ids="
    ):
        vocabulary_words(tokenizer)


def test_a_bpe_that_drops_white_space_without_a_mark_is_an_error():
    state = Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "##": 4}, [("a", "b")]))
    state.pre_tokenizer, state.decoder = pre_tokenizers.Whitespace(), decoders.ByteLevel()
    with pytest.raises(ValueError, match="its tokens do not show where words begin"):
        vocabulary_words(PreTrainedTokenizerFast(tokenizer_object=state))


def test_the_unknown_token_is_a_part_of_its_word_where_it_may_be_one():
    tokenizer = word_tokenizer("unigram")
    words = vocabulary_words(tokenizer)
    row = tokenizer("the \U0001f9ff dog\U0001f9fcs", add_special_tokens=False)["input_ids"]
    tokens = tokenizer.convert_ids_to_tokens(row)
    found = begins(row, words)
    assert "<unk>" in tokens
    for at, token in enumerate(tokens):
        if token == "<unk>":
            assert found[at] == (tokens[at - 1] == "▁")
    whole = word_tokenizer("wordpiece")
    assert whole.unk_token_id not in vocabulary_words(whole).continuation_ids


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["wordpiece", "gpt", "clip", "word_level"], ["dog", ",", "un", "-", "done", "The", "dog", "."]),
        (["byte_level", "byte_level_prefix_space"], ["dog,", " un-done", "\n", "The", " dog."]),
        (["metaspace", "metaspace_other_mark"], ["dog,", " un-done", "\n", "The", " dog."]),
    ],
)
def test_what_mask_words_says_of_punctuation(kinds, expected):
    text = "dog, un-done\nThe dog."
    for kind in kinds:
        tokenizer = word_tokenizer(kind)
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        row, offsets = encoded["input_ids"], encoded["offset_mapping"]
        words = vocabulary_words(tokenizer)
        spans = words_of(row, continuation_ids=set(words.continuation_ids), word_end_ids=set(words.word_end_ids))
        found = [text[offsets[start][0] : offsets[stop - 1][1]] for start, stop in spans]
        assert found == expected, kind


def test_wordpiece_needs_no_word_ends():
    """They would cost instructions for each token."""
    assert vocabulary_words(word_tokenizer("wordpiece", strangers=True)).word_end_ids == ()


def test_ids_of_ones_own():
    tokenizer = word_tokenizer("byte_level")
    spec = MaskedLM.from_tokenizer(tokenizer, whole_word_mask=True, continuation_ids=[7])
    assert (spec.continuation_ids, spec.word_end_ids) == ((7,), ())
    spec = MaskedLM.from_tokenizer(tokenizer, whole_word_mask=True, word_end_ids=[7])
    assert (spec.continuation_ids, spec.word_end_ids) == (vocabulary_words(tokenizer).continuation_ids, (7,))
    with pytest.raises(ValueError, match="word_end_ids: requires continuation_ids; pass the ids that continue a word"):
        MaskedLM(4, 100, word_end_ids=[7])


def test_strangers_are_in_the_vocabularies():
    """Otherwise these tests would not test them."""
    for kind in [*SPACED, *SPLIT]:
        state = json.loads(word_tokenizer(kind, strangers=True).backend_tokenizer.to_str())
        vocabulary = state["model"]["vocab"]
        names = {entry[0] for entry in vocabulary} if isinstance(vocabulary, list) else set(vocabulary)
        assert {"##", "Ġ", "▁", "##zq", "▁zq"} <= names
