"""Small tokenizers, trained when they are needed: byte-level BPE, and the two kinds of SentencePiece (metaspace; byte fallback)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import cache
from random import Random
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

KINDS = ("byte_level", "unigram", "sentencepiece_bpe")
TEXT = (
    "the quick brown fox jumps over a lazy dog while user and assistant talk about system tools, weather in Paris and 12345 things "
    'Hello! Zoë: def f(x): return [x, {y}] (z) <b>bold</b> http://a.b/c?d=e #1 50% it\'s "quoted" '
    "你好 世界 привет 😀 ok END ASSISTANT USER Human"
)
WORDS = TEXT.split()


def corpus() -> Iterator[str]:
    """Text with the spaces, line breaks and brackets that cause merges across a marker's edge."""
    rng = Random(0)
    for _ in range(1500):
        words = [rng.choice(WORDS) for _ in range(rng.randint(3, 15))]
        yield "".join(word + rng.choice([" "] * 8 + ["\n", "\n\n", "  ", ". ", ".\n", ": ", ":\n", ">\n"]) for word in words)


@cache
def trained(kind: str) -> str:
    """A tokenizer without added tokens, as JSON."""
    if kind == "byte_level":
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
        tokenizer.train_from_iterator(corpus(), trainer)
    elif kind == "unigram":
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
        tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.UnigramTrainer(
            vocab_size=900, special_tokens=["<unk>", *bytes_as_tokens()], unk_token="<unk>", show_progress=False
        )
        tokenizer.train_from_iterator(corpus(), trainer)
        as_json = json.loads(tokenizer.to_str())
        as_json["model"]["byte_fallback"] = True  # the trainer has no argument for it
        return json.dumps(as_json)
    else:
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        trainer = trainers.BpeTrainer(
            vocab_size=1500, special_tokens=["<unk>", *bytes_as_tokens()], limit_alphabet=200, show_progress=False
        )
        # As in SentencePiece: spaces only at the beginning of a piece, line breaks as bytes.
        lines = (line.replace(" ", " ▁").split(" ") for text in corpus() for line in text.split("\n"))
        tokenizer.train_from_iterator((piece for line in lines for piece in line), trainer)
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return str(tokenizer.to_str())


def bytes_as_tokens() -> list[str]:
    return [f"<0x{number:02X}>" for number in range(256)]


def tokenizer_of(kind: str, special: Iterable[str] = ()) -> PreTrainedTokenizerFast:
    """A transformers tokenizer with added tokens; BOS `<s>`, EOS `</s>`."""
    tokenizer = Tokenizer.from_str(trained(kind))
    names = dict.fromkeys(["<s>", "</s>", *special])
    tokenizer.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in names])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def decoded(tokenizer: Any, ids: Iterable[int]) -> str:
    """The text of ids. Slow tokenizers of transformers 4 would put spaces around added tokens."""
    return str(tokenizer.decode(ids, spaces_between_special_tokens=False))
