"""Tokenizers of transformers' own classes, made of vocabularies.

In transformers 5 these classes take a vocabulary. In transformers 4 they read files, or take a finished tokenizer, which is built here as
5 builds it.
"""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

TAKE_VOCABULARIES = int(transformers.__version__.partition(".")[0]) >= 5


def t5_of(pieces: list[tuple[str, float]], extra_ids: int = 100) -> Any:
    """T5's tokenizer; the first three pieces are `<pad>`, `</s>` and `<unk>`."""
    if TAKE_VOCABULARIES:
        return transformers.T5Tokenizer(vocab=pieces, extra_ids=extra_ids)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return transformers.T5TokenizerFast(tokenizer_object=tokenizer, extra_ids=extra_ids)


def bert_of(names: list[str]) -> Any:
    """BERT's tokenizer, `[CLS]` and `[SEP]` among the names."""
    vocabulary = {name: number for number, name in enumerate(names)}
    if TAKE_VOCABULARIES:
        return transformers.BertTokenizerFast(vocab=vocabulary)
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    return transformers.BertTokenizerFast(tokenizer_object=tokenizer)


def llama_of(vocabulary: dict[str, int], merges: list[tuple[str, str]], legacy: bool, **options: Any) -> Any:
    """Llama's tokenizer; `legacy`: the text after an added token gets a leading space, too."""
    if TAKE_VOCABULARIES:
        return transformers.LlamaTokenizer(vocab=vocabulary, merges=merges, legacy=legacy, **options)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always" if legacy else "first", split=False)
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", left=1)]
    tokenizer.decoder = decoders.Sequence(parts)
    return transformers.LlamaTokenizerFast(tokenizer_object=tokenizer, legacy=legacy, **options)
