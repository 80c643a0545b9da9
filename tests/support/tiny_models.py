"""A chat tokenizer and a causal model, made without downloads, for tests in real trainers and for the pages of the docs."""

import functools

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Letters of questions never occur in answers, so that a text shows whether a question trained.
QUESTIONS = ["What is the colour?", "Who was that?", "What should we show them?", "Which house?"]
ANSWERS = ["a red line", "a bird and a fin", "a line", "red and read and read bird", "a fine banana"]
CONVERSATIONS = [
    [
        {"role": role, "content": (QUESTIONS if role == "user" else ANSWERS)[(number + turn) % 4]}
        for turn in range(1 + number % 3)
        for role in ("user", "assistant")
    ]
    for number in range(12)
]


@functools.cache
def _backend():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": special, "initial_alphabet": alphabet, "show_progress": False}
    tokenizer.train_from_iterator([*QUESTIONS, *ANSWERS, "system user assistant"], trainers.BpeTrainer(vocab_size=330, **options))
    return tokenizer.to_str()


def chat_tokenizer(pad="<|endoftext|>"):
    """A byte-level tokenizer with a ChatML template."""
    backend = Tokenizer.from_str(_backend())
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", pad_token=pad)
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def causal_model(tokenizer):
    """About two thousand weights, always the same."""
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **size, eos_token_id=tokenizer.eos_token_id))
