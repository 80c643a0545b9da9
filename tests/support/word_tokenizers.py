"""A small tokenizer of each kind, trained on Markdown and code, and the words of a text by rules that know nothing of tokens."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

ROOT = Path(__file__).parents[2]
TEXTS = [
    "The dog, which un-\nbelievably barked: (twice).",
    "# Title\n\n## Second ##\n\n- item\n\t- nested\n\n| a | b |\n|---|:-:|\n| 1 | `x` |\n",
    "def f(x):\n    if x:\n\t\treturn {'a': [1,2]}  # done\n\n\n    return None\r\n",
    "  leading and trailing  \n",
    "one\r\ntwo\ttabs\t\tthree\x0bvertical\x0cfeed",
    "Zoë naïve — “quoted” … 你好世界 こんにちは привет 😀👍🏽 e\u0301",
    "no\u00a0break\u3000wide\u2003em\u2028line",
    "#include <a.h>\n##\n###\n#pragma once ## pasted##tokens",
    "http://a.b/c?d=e&f=%20 e-mail@x.org 3.14 1,000",
    "",
    " ",
    "\n\n",
    "x",
]
# Text that spells the marks of other kinds.
STRANGE = ["Ġdog and ▁dog and dog</w> and @@ and ##ing", "a ▁ b Ġ c ## d </w> e", "▁", "##"]
STRANGERS = ["##", "Ġ", "▁", "##zq", "Ġzq", "▁zq", "zq</w>", "zq@@"]
SPECIAL = ["<unk>", "<s>", "</s>", "<mask>"]


@cache
def corpus() -> tuple[str, ...]:
    pages = sorted((ROOT / "docs" / "how-to").glob("*.md"))
    code = sorted((ROOT / "python" / "spanmask" / "reference").glob("*.py"))
    return (*(page.read_text(encoding="utf-8") for page in [*pages[:6], *code]), *TEXTS * 5)


def byte_level(prefix_space, decoder=True):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    if decoder:
        tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return tokenizer, trainers.BpeTrainer(vocab_size=900, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False)


def metaspace_bpe(pre_tokenizer, decoder=True):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    if decoder:
        tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, show_progress=False)


def byte_fallback():
    """As Llama 2: the normalizer writes the mark, unknown characters are bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    # Merges are learned within words.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("▁|\\s"), "merged_with_next")
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(parts)
    special = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))]
    return tokenizer, trainers.BpeTrainer(vocab_size=900, special_tokens=special, limit_alphabet=80, show_progress=False)


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer, trainers.UnigramTrainer(vocab_size=600, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)


def wordpiece(prefix="##"):
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>", continuing_subword_prefix=prefix))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=prefix)
    return tokenizer, trainers.WordPieceTrainer(
        vocab_size=900, special_tokens=SPECIAL, continuing_subword_prefix=prefix, show_progress=False
    )


def suffix_bpe(pre_tokenizer, decoder):
    """As GPT and CLIP."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    return tokenizer, trainers.BpeTrainer(vocab_size=900, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False)


def prefix_bpe():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", continuing_subword_prefix="##"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer, trainers.BpeTrainer(
        vocab_size=900, special_tokens=SPECIAL, continuing_subword_prefix="##", show_progress=False
    )


def word_level(pre_tokenizer):
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer, trainers.WordLevelTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False)


CLIP_WORDS = Regex(r"[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
# Kinds whose words are what white space separates.
SPACED = {
    "byte_level": lambda: byte_level(False),
    "byte_level_prefix_space": lambda: byte_level(True),
    "byte_level_without_decoder": lambda: byte_level(False, decoder=False),
    "metaspace": lambda: metaspace_bpe(pre_tokenizers.Metaspace()),
    "metaspace_first": lambda: metaspace_bpe(pre_tokenizers.Metaspace(prepend_scheme="first")),
    "metaspace_never": lambda: metaspace_bpe(pre_tokenizers.Metaspace(prepend_scheme="never", split=False)),
    "metaspace_other_mark": lambda: metaspace_bpe(pre_tokenizers.Metaspace(replacement="~"), decoder=False),
    "metaspace_of_split_words": lambda: metaspace_bpe(
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    ),
    "byte_fallback": byte_fallback,
    "unigram": unigram,
}
# Kinds whose words are those of the pre-tokenizer.
SPLIT = {
    "wordpiece": wordpiece,
    "wordpiece_other_prefix": lambda: wordpiece("~~"),
    "prefix_bpe": prefix_bpe,
    "gpt": lambda: suffix_bpe(pre_tokenizers.BertPreTokenizer(), decoders.BPEDecoder()),
    "clip": lambda: suffix_bpe(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Split(CLIP_WORDS, "removed", invert=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        ),
        decoders.ByteLevel(),
    ),
    "word_level": lambda: word_level(pre_tokenizers.Whitespace()),
    "word_level_of_split_words": lambda: word_level(pre_tokenizers.WhitespaceSplit()),
}


@cache
def trained(kind: str) -> str:
    tokenizer, trainer = {**SPACED, **SPLIT}[kind]()
    tokenizer.train_from_iterator(corpus(), trainer)
    return str(tokenizer.to_str())


def word_tokenizer(kind: str, strangers: bool = False) -> PreTrainedTokenizerFast:
    """A transformers tokenizer. `strangers`: tokens that look like those of other kinds are in its vocabulary."""
    state = json.loads(trained(kind))
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]  # bytes are ordinary tokens
    vocabulary = state["model"]["vocab"]
    for token in STRANGERS if strangers else ():
        if isinstance(vocabulary, list):
            vocabulary.extend([[token, -30.0]] if token not in dict(vocabulary) else [])
        else:
            vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", mask_token="<mask>"
    )


def begins_after_space(text: str, tokens: list[str], offsets: list[tuple[int, int]], mark: str) -> list[bool | None]:
    """By white space alone, whether a word begins with each token; `None` if the text does not tell: a token is special, or stands for no
    character, or for a part of a white-space character. `mark`: a character that this tokenizer cannot tell from a space, or "".
    """

    def is_white(at: int) -> bool:
        return text[at].isspace() or text[at] == mark

    # Some tokenizers put a mark before the text, at the place of its first character.
    silent = [
        token in SPECIAL or start == stop or (token in ("Ġ", mark) and not is_white(start))
        for token, (start, stop) in zip(tokens, offsets, strict=True)
    ]
    covered = Counter(at for start, stop in offsets for at in range(start, stop))
    told: list[bool | None] = [True] if offsets else []
    for number, ((start, stop), (next_start, next_stop)) in enumerate(zip(offsets, offsets[1:], strict=False)):
        white = [at for at in range(max(stop - 1, start), min(next_start + 1, next_stop)) if is_white(at)]
        if silent[number] or silent[number + 1] or any(covered[at] > 1 for at in white):
            told.append(None)
        else:
            told.append(bool(white))
    return told
