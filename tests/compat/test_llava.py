"""`mask_targets` against LLaVA's own counting, written anew from what it does; and the collator of TRL's example."""

import json

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from spanmask.compat.llava import IMAGE, mask_targets
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaTokenizer, PreTrainedTokenizerFast

SYSTEM = "A chat between a curious human and an artificial intelligence assistant."
CORPUS = [
    f"{SYSTEM} USER: What is in the picture? ASSISTANT: The cute dog walks in the green park.",
    "[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nWho is it? [/INST] It is a dog. ",
    "system user assistant the dog\nand the cat\n\nand the park",
]


def llama_tokenizer(legacy, vocab_size=700):
    """Llama's kind: metaspace, byte fallback, BOS. `legacy`: a blank is put in front of the text behind an added token, too."""
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    model.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False))
    bpe = json.loads(model.to_str())["model"]
    merges = [tuple(merge) for merge in bpe["merges"]]
    options = {"pad_token": "<unk>", "padding_side": "right", "add_bos_token": True}
    return LlamaTokenizer(vocab=bpe["vocab"], merges=merges, legacy=legacy, **options)


def mpt_tokenizer():
    """GPT-NeoX's kind: byte-level, no BOS, pad is the end of text."""
    model = Tokenizer(models.BPE())
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    model.train_from_iterator(
        [*CORPUS, "\n\n\n\n"],
        trainers.BpeTrainer(vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False),
    )
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token=special[0], eos_token=special[0])


# Few merges, as in Llama, where a marker is several tokens, and many, where it is one.
TOKENIZERS = {
    "legacy": llama_tokenizer(True),
    "legacy, few merges": llama_tokenizer(True, 400),
    "new": llama_tokenizer(False),
    "new, few merges": llama_tokenizer(False, 400),
    "mpt": mpt_tokenizer(),
}
VERSIONS = [(version, name) for version in ("v1", "llama_2") for name in list(TOKENIZERS)[:4]] + [("mpt", "mpt")]


def prompt(version, contents):
    """The text that LLaVA trains on: questions and answers in turn, an empty content being none given."""
    text = {"v1": SYSTEM + " ", "llama_2": "", "mpt": f"<|im_start|>system\n{SYSTEM}<|im_end|>"}[version]
    for number, content in enumerate(contents):
        asked = number % 2 == 0
        if version == "v1":
            text += "USER:" if asked else "ASSISTANT:"
            text += (" " + content + (" " if asked else "</s>")) if content else ""
        elif version == "mpt":
            text += f"<|im_start|>{'user' if asked else 'assistant'}\n" + (content + "<|im_end|>" if content else "")
        elif content:
            system = "<<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\n" if number == 0 else ""
            text += f"<s>[INST] {system}{content} [/INST]" if asked else f" {content} </s>"
    return text.removeprefix("<s>")


def encode_with_images(text, tokenizer):
    """Ids of a text with -200 for each `<image>`; the parts are tokenized one by one, and only the first keeps its BOS."""
    parts = [tokenizer(part).input_ids for part in text.split("<image>")]
    bos = parts[0][:1] if parts[0][:1] == [tokenizer.bos_token_id] else []
    ids = list(bos)
    for number, part in enumerate(parts):
        ids += [IMAGE] * (number > 0) + part[len(bos) :]
    return ids


def count_targets(version, text, ids, tokenizer, max_length=2048):
    """LLaVA's targets, or None where it gives up. Tokenizes every round by itself and adds up lengths."""

    def length(part):
        return len(encode_with_images(part, tokenizer))

    end, header = {
        "v1": ("</s>", " ASSISTANT: "),
        "llama_2": ("</s>", "[/INST] "),
        "mpt": ("<|im_end|>", "<|im_end|><|im_start|>assistant\n"),
    }[version]
    rounds = text.split(end)
    if version == "mpt":  # a round is a question and an answer; the first one has the system message, too
        rounds = [end.join(rounds[:3]), *(end.join(rounds[at : at + 2]) for at in range(3, len(rounds), 2))]
    targets = list(ids)
    at = 0 if version == "mpt" else 1
    targets[:at] = [-100] * at
    for number, part in enumerate(rounds):
        if not part or part.count(header) != 1:
            break
        head = part.split(header)[0] + header
        if version == "mpt":
            asked, whole = length(head), length(part) + length(end)
        else:  # BOS stands for the closing token; a header's last blank belongs to the answer
            asked, whole = length(head) - 2, length(part)
            if version == "v1" and number and not tokenizer.legacy:
                asked, whole = asked - 1, whole - 1
        stop = min(at + asked, len(ids))
        targets[at:stop] = [-100] * (stop - at)
        at += whole
    targets[at:] = [-100] * len(targets[at:])
    real = sum(token != tokenizer.pad_token_id for token in ids)
    return None if at < max_length and at != real else targets


def true_targets(version, contents, tokenizer):
    """The answers with what closes them, from where each stands in the text and the tokens' offsets."""
    text = prompt(version, contents)
    trained = []
    at = 0
    opening = {"v1": "ASSISTANT: ", "llama_2": "[/INST] ", "mpt": "<|im_start|>assistant\n"}[version]
    closing = {"v1": "</s>", "llama_2": " </s>", "mpt": "<|im_end|>"}[version]
    for content in contents[1::2]:
        if content:
            at = text.index(opening + content + closing, at) + len(opening)
            # SentencePiece moves the header's last blank into the answer's first word.
            trained.append((at - (version != "mpt"), at + len(content + closing)))
            at += len(content)
    out = tokenizer(text, return_offsets_mapping=True)
    return out.input_ids, [
        token if any(start <= left and right <= stop and left < right for start, stop in trained) else -100
        for token, (left, right) in zip(out.input_ids, out.offset_mapping, strict=True)
    ]


words = st.sampled_from(
    ["dog", "The dog", "park.", "é", "中", "1 2", "Hi\nyou", "(x)", "<image>\nWhat?", "😀", " a", "b  c", "a ", ":", "x:"]
)
questions = st.lists(words, min_size=1, max_size=4).map(" ".join)
answers = questions.map(lambda text: text.replace("<image>", "image"))
rounds = st.lists(st.tuples(questions, answers), min_size=1, max_size=4).map(
    lambda pairs: [text for pair in pairs for text in pair]
)


@pytest.mark.parametrize(("version", "name"), VERSIONS)
@given(contents=rounds)
def test_targets_equal_llavas_where_it_gives_some(version, name, contents):
    tokenizer = TOKENIZERS[name]
    text = prompt(version, contents)
    ids = encode_with_images(text, tokenizer)
    theirs = count_targets(version, text, ids, tokenizer)
    assume(theirs is not None)
    assert mask_targets(ids, tokenizer, version) == theirs


@pytest.mark.parametrize(("version", "name"), VERSIONS)
@given(contents=rounds)
def test_targets_are_the_answers_with_their_closing_tokens(version, name, contents):
    contents = [content.replace("<image>", "image").strip() for content in contents]
    ids, truth = true_targets(version, contents, TOKENIZERS[name])
    assert mask_targets(ids, TOKENIZERS[name], version) == truth


@pytest.mark.parametrize(("version", "name"), VERSIONS)
@given(contents=rounds, length=st.integers(1, 60))
def test_truncated_rows_have_the_cut_targets(version, name, contents, length):
    contents = [content.replace("<image>", "image").strip() for content in contents]
    tokenizer = TOKENIZERS[name]
    ids, truth = true_targets(version, contents, tokenizer)
    assert mask_targets(ids[:length], tokenizer, version) == truth[:length]
    # LLaVA does not compare lengths in cut rows; where the whole row has targets, those of the cut one are right.
    text = prompt(version, contents)
    if length < len(ids) and count_targets(version, text, ids, tokenizer) is not None:
        assert count_targets(version, text, ids[:length], tokenizer, length) == truth[:length]


@pytest.mark.parametrize(("version", "name"), VERSIONS)
def test_rows_that_llava_gives_up_on_are_right(version, name):
    """A question left open at the end: LLaVA leaves the whole row out."""
    tokenizer = TOKENIZERS[name]
    contents = ["Who is it?", "A cat", "What is it?"]
    ids, truth = true_targets(version, contents, tokenizer)
    assert count_targets(version, prompt(version, contents), ids, tokenizer) is None
    assert mask_targets(ids, tokenizer, version) == truth
    assert sum(target != -100 for target in truth) > 1


@pytest.mark.parametrize(("version", "name"), VERSIONS)
def test_the_question_behind_an_empty_answer_does_not_train(version, name):
    """Without an answer the prompt runs on, "ASSISTANT:USER: ...", and nothing closes the turn."""
    ids, truth = true_targets(version, ["Who is it?", "", "What is it?", "The dog"], TOKENIZERS[name])
    assert mask_targets(ids, TOKENIZERS[name], version) == truth


def test_many_rounds_with_the_new_tokenizer_are_right():
    """`legacy=False`: LLaVA's correction by one token holds for Llama's vocabulary alone."""
    tokenizer = TOKENIZERS["new, few merges"]
    contents = ["Who is it?", "A dog", "What?", "A cat"]
    ids, truth = true_targets("v1", contents, tokenizer)
    assert count_targets("v1", prompt("v1", contents), ids, tokenizer) is None
    assert mask_targets(ids, tokenizer) == truth


@pytest.mark.parametrize("name", list(TOKENIZERS))
def test_plain_targets_are_the_caption(name):
    tokenizer = TOKENIZERS[name]
    ids = encode_with_images("<image>The cute dog\n", tokenizer)
    head = 1 + (tokenizer.bos_token_id is not None)
    assert mask_targets(ids, tokenizer, "plain") == [-100] * head + ids[head:]
    padded = [ids, ids[:-2] + [tokenizer.pad_token_id] * 2]
    assert mask_targets(padded, tokenizer, "plain")[1] == [-100] * head + ids[head:-2] + [-100] * 2


def test_targets_come_in_the_kind_of_the_ids():
    tokenizer = TOKENIZERS["legacy"]
    ids = encode_with_images(prompt("v1", ["<image>\nWhat?", "A dog"]), tokenizer)
    expected = mask_targets(ids, tokenizer)
    assert IMAGE in ids
    for one in (np.array(ids), np.array(ids, np.int32), torch.tensor(ids)):
        out = mask_targets(one, tokenizer)
        assert type(out) is type(one)
        assert out.tolist() == expected
        (row,) = mask_targets([one], tokenizer)
        assert type(row) is type(one)
        assert row.tolist() == expected
        assert mask_targets(one[None], tokenizer).tolist() == [expected]
    assert mask_targets([ids, ids[:3]], tokenizer) == [expected, [-100] * 3]
    assert mask_targets([], tokenizer) == []


def test_padding_does_not_train():
    tokenizer = TOKENIZERS["legacy"]
    ids = encode_with_images(prompt("v1", ["What?", "A dog"]), tokenizer)
    expected = mask_targets(ids, tokenizer)
    cut = ids[:-2]
    batch = torch.tensor([ids, cut + [tokenizer.pad_token_id] * 2])
    assert mask_targets(batch, tokenizer).tolist() == [expected, expected[:-2] + [-100] * 2]
    # Where padding is the closing token only a mask can tell them apart.
    batch = torch.tensor([ids, cut + [tokenizer.eos_token_id] * 2])
    mask = torch.tensor([[1] * len(ids), [1] * len(cut) + [0] * 2])
    assert mask_targets(batch, tokenizer, attention_mask=mask).tolist() == [expected, expected[:-2] + [-100] * 2]


def test_bad_versions_and_ids():
    tokenizer = TOKENIZERS["legacy"]
    with pytest.raises(ValueError, match="version: expected one of 'v1', 'llama_2', 'mpt', 'plain', got 'v2'"):
        mask_targets([1, 2], tokenizer, "v2")
    with pytest.raises(TypeError, match="row 0 has 0.5"):
        mask_targets([0.5], tokenizer)
