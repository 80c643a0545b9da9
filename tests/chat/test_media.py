"""`ChatFormat.from_processor`: media and the tokens around them never train. Processors are built offline, from their parts."""

import pytest
from spanmask import ChatFormat
from support.trl_templates import TEMPLATES, without_marks
from support.vocabularies import tokenizer_of
from transformers import (
    CLIPImageProcessor,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Idefics3ImageProcessor,
    Idefics3Processor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)


def tokenizer_with(special, **named):
    made = tokenizer_of("byte_level", special)
    return PreTrainedTokenizerFast(
        tokenizer_object=made.backend_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", extra_special_tokens=named
    )


def llava():
    tokenizer = tokenizer_with(["<image>", "[INST]", "[/INST]"], image_token="<image>")
    template = without_marks(TEMPLATES["llava_next"])
    return LlavaProcessor(CLIPImageProcessor(), tokenizer, patch_size=14, chat_template=template), ["<image>"]


def qwen2_vl():
    media = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = tokenizer_with(["<|im_start|>", "<|im_end|>", "<|box_start|>", *media])
    parts = Qwen2VLImageProcessor(), tokenizer, Qwen2VLVideoProcessor()
    return Qwen2VLProcessor(*parts, chat_template=TEMPLATES["qwen2_5_vl"]), media  # a box is part of an answer, not a medium


def gemma3():
    media = ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    tokenizer = tokenizer_with(
        ["<start_of_turn>", "<end_of_turn>", *media],
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
    )
    return Gemma3Processor(Gemma3ImageProcessor(), tokenizer, chat_template=TEMPLATES["gemma3"]), media


def idefics3():
    media = ["<image>", "<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<row_4_col_4>"]
    tokenizer = tokenizer_with(["<end_of_utterance>", "<|begin_of_text|>", *media])
    return Idefics3Processor(Idefics3ImageProcessor(), tokenizer, chat_template=TEMPLATES["idefics3"]), media


# Before transformers 5, a processor of Qwen2-VL takes no tokenizer but its own.
QWENS_TOKENIZER = pytest.mark.needs("transformers>=5")


@pytest.mark.parametrize("make", [llava, pytest.param(qwen2_vl, marks=QWENS_TOKENIZER), gemma3, idefics3])
def test_media_and_their_wrappers_never_train(make):
    processor, media = make()
    chat_format = ChatFormat.from_processor(processor)
    assert sorted(processor.tokenizer.convert_ids_to_tokens(list(chat_format.ignore_ids))) == sorted(media)
    assert {"user", "assistant"} <= set(chat_format.roles)


@QWENS_TOKENIZER
def test_a_processor_without_template_uses_its_tokenizers():
    processor, _ = qwen2_vl()
    processor.tokenizer.chat_template, processor.chat_template = processor.chat_template, None
    assert ChatFormat.from_processor(processor).boundaries == ChatFormat.from_tokenizer(processor.tokenizer).boundaries


def test_from_processor_requires_a_processor():
    with pytest.raises(TypeError, match="expected a transformers tokenizer"):
        ChatFormat.from_processor(object())
