"""`mask_targets` compared with LLaVA's counting, reimplemented from its description; and the collator of TRL's example."""

import json
import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from spanmask import DataCollatorForVisionChat
from spanmask.compat.llava import IMAGE, LLavaDataCollator, mask_targets
from support import tiny_processors
from support.vocabulary_tokenizers import llama_of
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SYSTEM = "A chat between a curious human and an artificial intelligence assistant."
CORPUS = [
    f"{SYSTEM} USER: What is in the picture? ASSISTANT: The cute dog walks in the green park.",
    "[INST] <<SYS>>\nYou are a helpful assistant.\n<</SYS>>\n\nWho is it? [/INST] It is a dog. ",
    "system user assistant the dog\nand the cat\n\nand the park",
]


def llama_tokenizer(legacy, vocab_size=700):
    """Like Llama's: metaspace, byte fallback, BOS. `legacy`: the text after an added token gets a leading space, too."""
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    model.train_from_iterator(CORPUS, trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=special, show_progress=False))
    bpe = json.loads(model.to_str())["model"]
    merges = [tuple(merge) for merge in bpe["merges"]]
    options = {"pad_token": "<unk>", "padding_side": "right", "add_bos_token": True}
    return llama_of(bpe["vocab"], merges, legacy, **options)


def mpt_tokenizer():
    """Like GPT-NeoX's: byte-level, no BOS, the pad token is the end of text."""
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


# Few merges, as in Llama: a marker is several tokens. Many merges: it is one token.
TOKENIZERS = {
    "legacy": llama_tokenizer(True),
    "legacy, few merges": llama_tokenizer(True, 400),
    "new": llama_tokenizer(False),
    "new, few merges": llama_tokenizer(False, 400),
    "mpt": mpt_tokenizer(),
}
VERSIONS = [(version, name) for version in ("v1", "llama_2") for name in list(TOKENIZERS)[:4]] + [("mpt", "mpt")]


def prompt(version, contents):
    """The text that LLaVA trains on: questions and answers alternate; an empty content is a missing one."""
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
    """Ids of a text with -200 for each `<image>`; the parts are tokenized separately, and only the first keeps its BOS."""
    parts = [tokenizer(part).input_ids for part in text.split("<image>")]
    bos = parts[0][:1] if parts[0][:1] == [tokenizer.bos_token_id] else []
    ids = list(bos)
    for number, part in enumerate(parts):
        ids += [IMAGE] * (number > 0) + part[len(bos) :]
    return ids


def count_targets(version, text, ids, tokenizer, max_length=2048):
    """LLaVA's targets, or None where it masks the whole row. Tokenizes each round separately and adds up lengths."""

    def length(part):
        return len(encode_with_images(part, tokenizer))

    end, header = {
        "v1": ("</s>", " ASSISTANT: "),
        "llama_2": ("</s>", "[/INST] "),
        "mpt": ("<|im_end|>", "<|im_end|><|im_start|>assistant\n"),
    }[version]
    rounds = text.split(end)
    if version == "mpt":  # a round is a question and an answer; the first one also has the system message
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
        else:  # BOS is counted as the closing token; the last space of a header belongs to the answer
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
    """The answers with their closing tokens, from their positions in the text and the offsets of the tokens."""
    text = prompt(version, contents)
    trained = []
    at = 0
    opening = {"v1": "ASSISTANT: ", "llama_2": "[/INST] ", "mpt": "<|im_start|>assistant\n"}[version]
    closing = {"v1": "</s>", "llama_2": " </s>", "mpt": "<|im_end|>"}[version]
    for content in contents[1::2]:
        if content:
            at = text.index(opening + content + closing, at) + len(opening)
            # SentencePiece moves the last space of the header into the first word of the answer.
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
def test_targets_equal_llavas_where_it_has_targets(version, name, contents):
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
def test_targets_of_truncated_rows_are_truncated_targets(version, name, contents, length):
    contents = [content.replace("<image>", "image").strip() for content in contents]
    tokenizer = TOKENIZERS[name]
    ids, truth = true_targets(version, contents, tokenizer)
    assert mask_targets(ids[:length], tokenizer, version) == truth[:length]
    # LLaVA does not compare lengths in truncated rows; where the whole row has targets, those of the truncated row are right.
    text = prompt(version, contents)
    if length < len(ids) and count_targets(version, text, ids, tokenizer) is not None:
        assert count_targets(version, text, ids[:length], tokenizer, length) == truth[:length]


@pytest.mark.parametrize(("version", "name"), VERSIONS)
def test_rows_that_llava_masks_have_targets(version, name):
    """The last question has no answer: LLaVA masks the whole row."""
    tokenizer = TOKENIZERS[name]
    contents = ["Who is it?", "A cat", "What is it?"]
    ids, truth = true_targets(version, contents, tokenizer)
    assert count_targets(version, prompt(version, contents), ids, tokenizer) is None
    assert mask_targets(ids, tokenizer, version) == truth
    assert sum(target != -100 for target in truth) > 1


@pytest.mark.parametrize(("version", "name"), VERSIONS)
def test_the_question_after_an_empty_answer_does_not_train(version, name):
    """Without an answer the next question follows at once, "ASSISTANT:USER: ...", and nothing closes the turn."""
    ids, truth = true_targets(version, ["Who is it?", "", "What is it?", "The dog"], TOKENIZERS[name])
    assert mask_targets(ids, TOKENIZERS[name], version) == truth


def test_several_rounds_with_the_new_tokenizer_have_targets():
    """`legacy=False`: LLaVA's correction by one token is only right for Llama's vocabulary."""
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


def test_targets_have_the_type_of_the_ids():
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
    # Where the pad token is the closing token, only a mask can distinguish the two.
    batch = torch.tensor([ids, cut + [tokenizer.eos_token_id] * 2])
    mask = torch.tensor([[1] * len(ids), [1] * len(cut) + [0] * 2])
    assert mask_targets(batch, tokenizer, attention_mask=mask).tolist() == [expected, expected[:-2] + [-100] * 2]


def test_bad_versions_and_ids():
    tokenizer = TOKENIZERS["legacy"]
    with pytest.raises(ValueError, match="version: expected one of 'v1', 'llama_2', 'mpt', 'plain', got 'v2'"):
        mask_targets([1, 2], tokenizer, "v2")
    with pytest.raises(TypeError, match="row 0 has 0.5"):
        mask_targets([0.5], tokenizer)


# --- The collator of TRL's example ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def processor():
    return tiny_processors.build("llava").processor


def vision_example(question="What is it?", answer="A lazy dog.", images=1):
    parts = [*[{"type": "image"}] * images, {"type": "text", "text": question}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": [{"type": "text", "text": answer}]}]
    return {"messages": messages, "images": [tiny_processors.image(random.Random(0)) for _ in range(images)]}


def test_quirk_all_tokens_but_the_pad_token_train(processor):
    batch = LLavaDataCollator(processor)([vision_example(), vision_example("And this?", "x")])
    pad = processor.tokenizer.pad_token_id
    assert torch.equal(batch["labels"], torch.where(batch["input_ids"] == pad, -100, batch["input_ids"]))
    assert (batch["labels"] == processor.tokenizer.convert_tokens_to_ids("<image>")).any()


def test_masked_instructions_leave_the_answers(processor):
    examples = [vision_example(), vision_example("And this?", "x")]
    batch = LLavaDataCollator(processor, mask_instructions=True)(examples)
    expected = DataCollatorForVisionChat(processor)(examples)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["labels"], expected["labels"])
    assert (batch["labels"] != -100).any(dim=1).all()


@pytest.mark.parametrize("images", [0, 2])
def test_an_example_without_exactly_one_image_is_an_error(processor, images):
    with pytest.raises(ValueError, match=f"images: row 1 has {images} images; this collator takes one image per example"):
        LLavaDataCollator(processor)([vision_example(), vision_example(images=images)])
