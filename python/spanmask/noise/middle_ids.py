"""Ids for fill-in-the-middle, found by name in a tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from spanmask.errors import SentinelError
from spanmask.noise.sentinels import bos_of

__all__ = ["MiddleIds", "SpmFormat", "boundaries_of", "middle_ids_of"]

SpmFormat = Literal["joint", "plain", "unmarked"]


@dataclass(frozen=True)
class Names:
    """The tokens of a family of models, and what its documents with the suffix first look like."""

    prefix: str
    suffix: str
    middle: str
    eot: str | None = None
    pad: str | None = None
    spm_format: SpmFormat = "joint"


FAMILIES = (
    Names("<fim_prefix>", "<fim_suffix>", "<fim_middle>", pad="<fim_pad>"),  # StarCoder, StarCoder2, Granite
    Names("<fim-prefix>", "<fim-suffix>", "<fim-middle>", pad="<fim-pad>"),  # SantaCoder
    Names("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", pad="<|fim_pad|>"),  # Qwen2.5-Coder, CodeGemma
    Names("▁<PRE>", "▁<SUF>", "▁<MID>", eot="▁<EOT>"),  # CodeLlama
    # DeepSeek-Coder: the prefix is between `begin` and `hole`, the suffix between `hole` and `end`, and the middle comes after `end`.
    Names("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    # Codestral: the suffix, then the prefix, which the middle continues.
    Names("[PREFIX]", "[SUFFIX]", "[MIDDLE]", spm_format="unmarked"),
    Names("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),  # CodeGeeX4
)


@dataclass(frozen=True)
class MiddleIds:
    """The ids of a tokenizer for fill-in-the-middle."""

    prefix_id: int
    middle_id: int
    suffix_id: int
    eot_id: int | None
    pad_id: int | None
    spm_format: SpmFormat


def middle_ids_of(tokenizer: Any) -> MiddleIds:
    """The ids of the family of names of which the vocabulary has prefix, suffix and middle.

    Raises:
        SentinelError: there is no such family, or more than one; the message says which tokens were found.
        TypeError: this is not a tokenizer.
    """
    if not hasattr(tokenizer, "get_vocab"):
        raise TypeError(f"tokenizer: expected a transformers tokenizer, got {type(tokenizer).__name__}.")
    vocabulary: Mapping[str, int] = tokenizer.get_vocab()
    found = {names: [name for name in required(names) if name in vocabulary] for names in FAMILIES}
    complete = [names for names in FAMILIES if len(found[names]) == len(required(names))]
    if len(complete) > 1:
        both = " and ".join(names.prefix for names in complete)
        raise SentinelError(
            f"tokenizer: has {both} with their suffix and middle; pass prefix_id, middle_id and suffix_id of those that the model was "
            "trained with."
        )
    if complete:
        names = complete[0]
        return MiddleIds(
            prefix_id=int(vocabulary[names.prefix]),
            middle_id=int(vocabulary[names.middle]),
            suffix_id=int(vocabulary[names.suffix]),
            eot_id=optional(vocabulary, names.eot),
            pad_id=optional(vocabulary, names.pad),
            spm_format=names.spm_format,
        )
    remedy = (
        "If the model was trained with other tokens, pass their ids as prefix_id, middle_id and suffix_id. If it has none, add new ones "
        "(tokenizer.add_tokens, then model.resize_token_embeddings): their embeddings are untrained."
    )
    for names, present in found.items():
        if present:
            missing = [name for name in required(names) if name not in vocabulary]
            raise SentinelError(f"tokenizer: has {' and '.join(present)}, but not {' and '.join(missing)}. {remedy}")
    known = ", ".join(names.prefix for names in FAMILIES)
    raise SentinelError(
        f"tokenizer: has no tokens for fill-in-the-middle (none of {known} and their suffix and middle). {remedy}"
    )


def required(names: Names) -> tuple[str, str, str]:
    """The names that a family cannot do without."""
    return names.prefix, names.suffix, names.middle


def optional(vocabulary: Mapping[str, int], name: str | None) -> int | None:
    """The id of a token that may be missing."""
    return int(vocabulary[name]) if name is not None and name in vocabulary else None


def boundaries_of(tokenizer: Any) -> tuple[int, ...]:
    """The tokenizer's BOS, CLS and EOS ids, those that it has."""
    eos = getattr(tokenizer, "eos_token_id", None)
    return tuple(dict.fromkeys([*bos_of(tokenizer), *([] if eos is None else [int(eos)])]))
