"""Several denoisers, one of which is drawn for each row: `DenoiserMixture` (UL2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from spanmask._validate import as_list, as_number, check_flag
from spanmask.noise.sentinels import bos_of, eos_of, mode_id, sentinels_of
from spanmask.noise.spec import CorruptionSpec, Denoiser, OnExhausted, OnSentinel, SpanLayout

__all__ = ["DenoiserMixture"]

# UL2's own names for its modes, by denoiser.
MODES = {"R": "[NLU]", "X": "[NLG]", "S": "[S2S]"}


@dataclass(frozen=True, repr=False)
class DenoiserMixture(CorruptionSpec):
    """Several denoisers. The denoiser of each row is drawn by weight, from a keyed stream of its own.

    Args:
        denoisers: one or more `Denoiser`.
        weights: how often each is used, relative to the others; finite numbers >= 0, at least one above 0. By default all are
            equal.
        sentinel_ids, eos_token_id, bos_token_ids, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: as in `SpanCorruption`.
            Without `sentinel_ids`, a collator uses the sentinels and EOS of its tokenizer, and without `bos_token_ids` its BOS and CLS.

    Raises:
        ValueError: there is no denoiser, or the number of weights or a weight is wrong.
        SentinelError: as in `SpanCorruption`.

    Source: Tay et al. 2022, "UL2: Unifying Language Learning Paradigms", section 3.1.

    >>> denoisers = [Denoiser(3.0, .15), Denoiser(kind="prefix", noise_density=.25)]
    >>> mixture = DenoiserMixture(denoisers, [3, 1], sentinel_ids=[9, 8, 7])
    >>> mixture.names
    ('spans(3, 0.15)', 'prefix(0.25)')
    """

    denoisers: Sequence[Denoiser]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        denoisers = () if self.denoisers is None else tuple(as_list("denoisers", self.denoisers, "a list"))
        if not denoisers:
            raise ValueError("denoisers: none given; a mixture needs at least one Denoiser.")
        for denoiser in denoisers:
            if not isinstance(denoiser, Denoiser):
                raise TypeError(f"denoisers: expected Denoiser, got {type(denoiser).__name__}.")
        weights = (
            [1.0] * len(denoisers)
            if self.weights is None
            else [as_number("weights", weight) for weight in as_list("weights", self.weights, "a list")]
        )
        if len(weights) != len(denoisers):
            raise ValueError(f"weights: {len(weights)} for {len(denoisers)} denoisers; pass one for each.")
        if not all(isfinite(weight) and weight >= 0 for weight in weights) or not 0 < sum(weights) < float("inf"):
            raise ValueError(f"weights: expected finite numbers >= 0, at least one above 0, got {weights}.")
        if self.protected_ids and not all(denoiser.sentinel for denoiser in denoisers):
            raise ValueError("protected_ids: a prefix without a sentinel cannot leave out tokens; use sentinel=True.")
        object.__setattr__(self, "denoisers", denoisers)
        object.__setattr__(self, "weights", tuple(weights))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the denoisers in order: `Corrupted.denoisers` contains indices into it."""
        return tuple(denoiser.name for denoiser in self.denoisers)

    def _weighted_denoisers(self) -> tuple[Sequence[Denoiser], Sequence[float]]:
        return self.denoisers, self.weights or ()

    def for_tokenizer(self, tokenizer: Any) -> DenoiserMixture:
        """The same mixture with ids from the tokenizer: of mode tokens, of BOS and CLS if none were given, and of sentinels and EOS if no
        sentinels were given.

        Raises:
            SentinelError: the tokenizer has no `<extra_id_*>` tokens.
            ValueError: it has no EOS token, or lacks a mode token.
        """
        denoisers = [
            replace(denoiser, mode_token=mode_id(tokenizer, denoiser.mode_token))
            if isinstance(denoiser.mode_token, str)
            else denoiser
            for denoiser in self.denoisers
        ]
        sentinel_ids, eos_token_id = self.sentinel_ids, self.eos_token_id
        if not sentinel_ids:
            sentinel_ids = sentinels_of(tokenizer)
            eos_token_id = eos_of(tokenizer) if eos_token_id is None else eos_token_id
        bos_token_ids = self.bos_token_ids or bos_of(tokenizer)
        return replace(
            self, denoisers=denoisers, sentinel_ids=sentinel_ids, eos_token_id=eos_token_id, bos_token_ids=bos_token_ids
        )

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        denoisers: Sequence[Denoiser],
        weights: Sequence[float] | None = None,
        *,
        sentinel_ids: Sequence[int] = (),
        eos_token_id: int | None = None,
        bos_token_ids: Sequence[int] = (),
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> DenoiserMixture:
        """The mixture for a tokenizer: sentinels, EOS and mode tokens are found by name. The options are those of the class.

        Raises:
            SentinelError: the tokenizer has no `<extra_id_*>` tokens.
            ValueError: it has no EOS token, or lacks a mode token.
        """
        mixture = cls(
            denoisers,
            weights,
            sentinel_ids=sentinel_ids,
            eos_token_id=eos_token_id,
            bos_token_ids=bos_token_ids,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )
        return mixture.for_tokenizer(tokenizer)

    @classmethod
    def ul2(
        cls,
        tokenizer: Any = None,
        *,
        mode_tokens: bool | Mapping[str, str] = False,
        sentinel_ids: Sequence[int] = (),
        eos_token_id: int | None = None,
        bos_token_ids: Sequence[int] = (),
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> DenoiserMixture:
        """UL2's seven denoisers with equal weights: two R, four X, one S (the last quarter of the row).

        Args:
            tokenizer: supplies sentinels, EOS and mode tokens; `None`: a collator takes them from its tokenizer.
            mode_tokens: `True` puts `[NLU]`, `[NLG]`, `[S2S]` before the inputs of R, X, S; a dict with keys `"R"`, `"X"`, `"S"`
                gives other tokens.
            sentinel_ids, eos_token_id, bos_token_ids, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: as in the
                class. Long rows need more than T5's 100 sentinels (128 for 512 inputs): see `on_exhausted`.

        Source: Tay et al. 2022, "UL2: Unifying Language Learning Paradigms", section 3.1.2.
        """
        modes = modes_of(mode_tokens)
        spans = [(3.0, 0.15, "R"), (8.0, 0.15, "R"), (3.0, 0.5, "X"), (8.0, 0.5, "X"), (64.0, 0.15, "X"), (64.0, 0.5, "X")]
        denoisers = [
            Denoiser(mean, density, mode_token=modes.get(mode), name=f"{mode}({mean:g}, {density:g})")
            for mean, density, mode in spans
        ]
        denoisers.append(Denoiser(noise_density=0.25, kind="prefix", mode_token=modes.get("S"), name="S(0.25)"))
        mixture = cls(
            denoisers,
            sentinel_ids=sentinel_ids,
            eos_token_id=eos_token_id,
            bos_token_ids=bos_token_ids,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )
        return mixture if tokenizer is None else mixture.for_tokenizer(tokenizer)

    @classmethod
    def ul2r(
        cls,
        tokenizer: Any = None,
        *,
        mode_tokens: bool | Mapping[str, str] = False,
        sentinel_ids: Sequence[int] = (),
        eos_token_id: int | None = None,
        bos_token_ids: Sequence[int] = (),
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> DenoiserMixture:
        """UL2R's mixture for models that are already trained: half S (the prefix ends anywhere), a quarter R, a quarter X.

        Arguments as in `ul2`. Source: Tay et al. 2022, "Transcending Scaling Laws with 0.1% Extra Compute", section 3.1.
        """
        modes = modes_of(mode_tokens)
        denoisers = [
            Denoiser(3.0, 0.15, mode_token=modes.get("R"), name="R(3, 0.15)"),
            Denoiser(32.0, 0.15, mode_token=modes.get("X"), name="X(32, 0.15)"),
            Denoiser(3.0, 0.5, mode_token=modes.get("X"), name="X(3, 0.5)"),
            Denoiser(kind="prefix", split="uniform", mode_token=modes.get("S"), name="S(uniform)"),
        ]
        mixture = cls(
            denoisers,
            [0.25, 0.125, 0.125, 0.5],
            sentinel_ids=sentinel_ids,
            eos_token_id=eos_token_id,
            bos_token_ids=bos_token_ids,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )
        return mixture if tokenizer is None else mixture.for_tokenizer(tokenizer)

    @classmethod
    def t5(
        cls,
        tokenizer: Any = None,
        *,
        sentinel_ids: Sequence[int] = (),
        eos_token_id: int | None = None,
        bos_token_ids: Sequence[int] = (),
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> DenoiserMixture:
        """T5's single denoiser: spans of mean length 3, 15 % of the row. Arguments as in `ul2`."""
        mixture = cls(
            [Denoiser(3.0, 0.15, name="R(3, 0.15)")],
            sentinel_ids=sentinel_ids,
            eos_token_id=eos_token_id,
            bos_token_ids=bos_token_ids,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )
        return mixture if tokenizer is None else mixture.for_tokenizer(tokenizer)


def modes_of(mode_tokens: bool | Mapping[str, str]) -> Mapping[str, str]:
    """The mode token of each denoiser letter."""
    if isinstance(mode_tokens, Mapping):
        for letter in mode_tokens:
            if letter not in MODES:
                raise ValueError(f"mode_tokens: unknown denoiser {letter!r}; expected 'R', 'X', 'S'.")
        return mode_tokens
    check_flag("mode_tokens", mode_tokens)
    return MODES if mode_tokens else {}
