"""Eight vision-language models with their processors, built offline: the tokenizers are trained here, the models have random weights.

The templates are the real ones from TRL; LLaVA's is written here from its documentation.
"""

from __future__ import annotations

import base64
import random
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import transformers as tf
from PIL import Image
from support.trl_templates import TEMPLATES
from support.vocabularies import trained
from tokenizers import AddedToken, Tokenizer, processors

LLAVA_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] }}{% endfor %}"
    "{{ '</s>' if message['role'] == 'assistant' else ' ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


class Built(NamedTuple):
    """A processor, a function that makes a fresh model for it, and the text of every token that must never train."""

    processor: Any
    make_model: Any
    media: tuple[str, ...]


def tokenizer_of(kind: str, special: tuple[str, ...], named: dict[str, str] | None = None, eos: str = "</s>") -> Any:
    """A tokenizer with `special` tokens added; `named` ones are its attributes, such as `image_token`. The SentencePiece one writes BOS."""
    tokenizer = Tokenizer.from_str(trained(kind))
    names = dict.fromkeys(["<pad>", "<s>", eos, *special, *(named or {}).values()])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    if kind == "sentencepiece_bpe":
        bos = ("<s>", tokenizer.token_to_id("<s>"))
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[bos])
    return tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token=eos, pad_token="<pad>", extra_special_tokens=named or {}
    )


def text_settings(tokenizer: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def llava() -> Built:
    tokenizer = tokenizer_of("sentencepiece_bpe", (), {"image_token": "<image>"})
    pixels = {"height": 28, "width": 28}
    processor = tf.LlavaProcessor(
        tf.CLIPImageProcessor(size=pixels, crop_size=pixels),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=28, patch_size=14, projection_dim=32),
        text_config=tf.LlamaConfig(**text_settings(tokenizer)),
        image_token_id=tokenizer.image_token_id,
    )
    return Built(processor, lambda: tf.LlavaForConditionalGeneration(config), ("<image>",))


def llava_next() -> Built:
    tokenizer = tokenizer_of("sentencepiece_bpe", (), {"image_token": "<image>"})
    grid = [[28, 56], [56, 28], [56, 56]]
    processor = tf.LlavaNextProcessor(
        tf.LlavaNextImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grid),
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATES["llava_next"],
    )
    config = tf.LlavaNextConfig(
        vision_config=tf.CLIPVisionConfig(**VISION, image_size=28, patch_size=14, projection_dim=32),
        text_config=tf.LlamaConfig(**text_settings(tokenizer)),
        image_grid_pinpoints=grid,
        image_token_id=tokenizer.image_token_id,
    )
    return Built(processor, lambda: tf.LlavaNextForConditionalGeneration(config), ("<image>",))


QWEN_TOKENS = ("<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")


def qwen(kind: str, template: str, patch: int, **vision: Any) -> Built:
    tokenizer = tokenizer_of("byte_level", QWEN_TOKENS, eos="<|im_end|>")
    image_processor = tf.Qwen2VLImageProcessor(
        patch_size=patch, merge_size=2, size={"shortest_edge": (2 * patch) ** 2, "longest_edge": (4 * patch) ** 2}
    )
    videos = tf.Qwen3VLVideoProcessor() if kind == "Qwen3VL" else tf.Qwen2VLVideoProcessor()
    processor = getattr(tf, f"{kind}Processor")(image_processor, tokenizer, videos, chat_template=TEMPLATES[template])
    config = getattr(tf, f"{kind}Config")(
        vision_config={"depth": 2, "num_heads": 2, "patch_size": patch, "spatial_merge_size": 2, **vision},
        text_config={
            **text_settings(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 4]},
            **({"head_dim": 16} if kind == "Qwen3VL" else {}),
        },
        **{
            f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{token}|>")
            for name, token in (
                ("image", "image_pad"),
                ("video", "video_pad"),
                ("vision_start", "vision_start"),
                ("vision_end", "vision_end"),
            )
        },
    )
    return Built(processor, lambda: getattr(tf, f"{kind}ForConditionalGeneration")(config), QWEN_TOKENS[1:])


def qwen2_vl() -> Built:
    return qwen("Qwen2VL", "qwen2_5_vl", 14, embed_dim=32, hidden_size=32, mlp_ratio=2)


def qwen2_5_vl() -> Built:
    return qwen(
        "Qwen2_5_VL",
        "qwen2_5_vl",
        14,
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        window_size=56,
        fullatt_block_indexes=[1],
    )


def qwen3_vl() -> Built:
    return qwen(
        "Qwen3VL",
        "qwen3_vl",
        16,
        hidden_size=32,
        out_hidden_size=32,
        intermediate_size=48,
        num_position_embeddings=16,
        deepstack_visual_indexes=[0],
    )


TILES = tuple(f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4))


def idefics3() -> Built:
    special = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *TILES)
    tokenizer = tokenizer_of("byte_level", ("<|begin_of_text|>", *special))
    processor = tf.Idefics3Processor(
        tf.Idefics3ImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATES["idefics3"],
    )
    config = tf.Idefics3Config(
        vision_config={**VISION, "image_size": 28, "patch_size": 7},
        text_config=tf.LlamaConfig(**text_settings(tokenizer)),
        image_token_id=processor.image_token_id,
        scale_factor=2,
    )
    media = tuple(token for token in special if token != "<end_of_utterance>")
    return Built(processor, lambda: tf.Idefics3ForConditionalGeneration(config), media)


def smolvlm() -> Built:
    special = ("<fake_token_around_image>", "<image>", "<end_of_utterance>", "<global-img>", *TILES)
    tokenizer = tokenizer_of("byte_level", ("<|im_start|>", *special))
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        tokenizer,
        tf.SmolVLMVideoProcessor(size={"longest_edge": 56}, max_image_size={"longest_edge": 28}),
        image_seq_len=4,
        chat_template=TEMPLATES["smolvlm"],
    )
    config = tf.SmolVLMConfig(
        vision_config={**VISION, "image_size": 28, "patch_size": 7},
        text_config=tf.LlamaConfig(**text_settings(tokenizer)),
        image_token_id=processor.image_token_id,
        scale_factor=2,
    )
    media = tuple(token for token in special if token != "<end_of_utterance>")
    return Built(processor, lambda: tf.SmolVLMForConditionalGeneration(config), media)


def gemma3() -> Built:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = tokenizer_of("sentencepiece_bpe", ("<start_of_turn>", "<end_of_turn>"), named, eos="<eos>")
    processor = tf.Gemma3Processor(
        tf.Gemma3ImageProcessor(size={"height": 28, "width": 28}),
        tokenizer,
        image_seq_length=4,
        chat_template=TEMPLATES["gemma3"],
    )
    config = tf.Gemma3Config(
        vision_config=tf.SiglipVisionConfig(**VISION, image_size=28, patch_size=7, vision_use_head=False),
        text_config=tf.Gemma3TextConfig(**text_settings(tokenizer), head_dim=16, query_pre_attn_scalar=16, sliding_window=64),
        mm_tokens_per_image=4,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    return Built(processor, lambda: tf.Gemma3ForConditionalGeneration(config), tuple(named.values()))


MODELS = {
    "llava": llava,
    "llava_next": llava_next,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
}


# Processors of models for videos and sounds, without models. The templates are written here from their documentation.
PARTS_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% else %}{{ PLACEHOLDERS[part['type']] }}{% endif %}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def parts_template(**placeholders: str) -> str:
    return "{% set PLACEHOLDERS = " + repr(placeholders) + " %}" + PARTS_TEMPLATE


def llava_next_video() -> Any:
    pixels = {"height": 28, "width": 28}
    return tf.LlavaNextVideoProcessor(
        tf.LlavaNextVideoVideoProcessor(size={"shortest_edge": 28}, crop_size=pixels),
        tf.LlavaNextImageProcessor(
            size={"shortest_edge": 28}, crop_size=pixels, image_grid_pinpoints=[[28, 56], [56, 28], [56, 56]]
        ),
        tokenizer_of("byte_level", ("<|im_start|>", "<image>", "<video>"), eos="<|im_end|>"),
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=parts_template(image="<image>\n", video="<video>\n"),
    )


def llava_onevision() -> Any:
    pixels = {"height": 28, "width": 28}
    return tf.LlavaOnevisionProcessor(
        tf.LlavaOnevisionImageProcessor(size=pixels, image_grid_pinpoints=[[28, 56], [56, 28]]),
        tokenizer_of("byte_level", ("<|im_start|>", "<image>", "<video>"), eos="<|im_end|>"),
        tf.LlavaOnevisionVideoProcessor(size=pixels),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
        chat_template=parts_template(image="<image>\n", video="<video>\n"),
    )


AUDIO_TOKENS = ("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>")


def qwen2_audio() -> Any:
    """With the chat template that comes with the class."""
    tokenizer = tokenizer_of("byte_level", ("<|im_start|>", *AUDIO_TOKENS), eos="<|im_end|>")
    return tf.Qwen2AudioProcessor(tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1), tokenizer)


def qwen2_5_omni() -> Any:
    vision = {"vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>"}
    media = {"image_token": "<|IMAGE|>", "video_token": "<|VIDEO|>", "audio_token": "<|AUDIO|>"}
    audio = {"audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"}
    patches = {"patch_size": 14, "merge_size": 2, "size": {"shortest_edge": 28**2, "longest_edge": 56**2}}
    return tf.Qwen2_5OmniProcessor(
        tf.Qwen2VLImageProcessor(**patches),
        tf.Qwen2VLVideoProcessor(**patches),
        tf.WhisperFeatureExtractor(feature_size=8, chunk_length=1),
        tokenizer_of("byte_level", ("<|im_start|>",), vision | media | audio, eos="<|im_end|>"),
        chat_template=parts_template(
            image="<|vision_bos|><|IMAGE|><|vision_eos|>",
            video="<|vision_bos|><|VIDEO|><|vision_eos|>",
            audio="<|audio_bos|><|AUDIO|><|audio_eos|>",
        ),
    )


def mllama() -> Any:
    """Its images are not tokens of the row: the processor returns which tokens see which tiles."""
    return tf.MllamaProcessor(
        tf.MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=2),
        tokenizer_of("byte_level", ("<|im_start|>", "<|image|>"), eos="<|im_end|>"),
        chat_template="{{ bos_token }}" + parts_template(image="<|image|>"),
    )


PROCESSORS = {
    "mllama": mllama,
    "llava_next_video": llava_next_video,
    "llava_onevision": llava_onevision,
    "qwen2_audio": qwen2_audio,
    "qwen2_5_omni": qwen2_5_omni,
}
KINDS = dict.fromkeys(MODELS, ("image",))
KINDS |= dict.fromkeys(
    ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm", "llava_next_video", "llava_onevision"), ("image", "video")
)
KINDS |= {"qwen2_audio": ("audio",), "qwen2_5_omni": ("image", "video", "audio")}


@cache
def processor_of(name: str) -> Any:
    """A processor by name, built once."""
    return build(name).processor if name in MODELS else PROCESSORS[name]()


@cache
def build(name: str) -> Built:
    """Build a model by name, once."""
    return MODELS[name]()


def image(rng: random.Random) -> Image.Image:
    """Random pixels in a random shape."""
    size = rng.randrange(24, 60), rng.randrange(24, 60)
    pixels = np.random.default_rng(rng.randrange(2**32)).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def video(rng: random.Random, frames: int | None = None) -> Any:
    """Random frames, an array [frames, height, width, 3]."""
    shape = frames or rng.randrange(2, 7), rng.randrange(28, 60), rng.randrange(28, 60), 3
    return np.random.default_rng(rng.randrange(2**32)).integers(0, 256, shape, dtype=np.uint8)


def sound(rng: random.Random) -> Any:
    """Random samples at 16 kHz, an array [n]."""
    return np.random.default_rng(rng.randrange(2**32)).standard_normal(rng.randrange(4000, 14000)).astype(np.float32)


MEDIUM = {"image": image, "video": video, "audio": sound}


def base64_of(path: Path) -> str:
    """A file as base64 text."""
    return base64.b64encode(path.read_bytes()).decode()
