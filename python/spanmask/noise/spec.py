"""What is hidden in a row, and what replaces it: `Denoiser`, `CorruptionSpec`, `SpanCorruption`.

The formulas are in `plan.rs` and `draw.rs`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal

from spanmask import _core
from spanmask._cached import cached_property
from spanmask._short_repr import short_repr
from spanmask._validate import as_density, as_span_length, as_token_id, as_token_ids, as_uint64, check_choice, check_flag, short
from spanmask.errors import SentinelError
from spanmask.noise.sentinels import bos_of, eos_of, sentinels_of

__all__ = ["CorruptionSpec", "Denoiser", "FromTokenizer", "OnExhausted", "OnSentinel", "SpanCorruption", "SpanLayout"]

Kind = Literal["spans", "prefix"]
Split = Literal["density", "uniform"]
SpanLayout = Literal["classic", "uniform"]
OnExhausted = Literal["raise", "merge_last", "fewer_spans"]
OnSentinel = Literal["raise", "allow"]
# For options in which None has a meaning: the option is taken from the tokenizer.
FromTokenizer = Literal["tokenizer"]

# ByT5's ids: padding, EOS, unknown, then the bytes. Bytes from 0xF5 on are in no UTF-8 text.
BYT5_EOS = 1
BYT5_SENTINELS = range(3 + 0xFF, 3 + 0xF4, -1)


@dataclass(frozen=True)
class Denoiser:
    """One way to corrupt a row.

    Args:
        mean_noise_span_length: mean length of the hidden spans in tokens, at least 1 (`kind="spans"`).
        noise_density: the fraction of tokens that is hidden, strictly between 0 and 1.
        kind: `"spans"`; or `"prefix"`: the model is given the beginning of the row and must produce the rest.
        split: where a prefix ends: so that the fraction `noise_density` of the row comes after it (`"density"`), or anywhere
            (`"uniform"`).
        sentinel: whether a sentinel marks the end of a prefix, in inputs and targets. Spans always have sentinels.
        mode_token: a token before the inputs that tells the model which denoiser was used: an id, or the text of a token, which
            is looked up when the mixture is given a tokenizer. It is added after noising and never hidden.
        name: the denoiser's name in reports; by default its settings.

    Raises:
        ValueError: a density or length is out of range, the kind or split is unknown, or spans have no sentinels.

    >>> Denoiser(3.0, .15).name
    'spans(3, 0.15)'
    """

    mean_noise_span_length: float = 3.0
    noise_density: float = 0.15
    _: KW_ONLY
    kind: Kind = "spans"
    split: Split = "density"
    sentinel: bool = True
    mode_token: int | str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)
        check_choice("split", self.split, Split)
        check_flag("sentinel", self.sentinel)
        if not isinstance(self.name, str):
            raise TypeError(f"name: expected a string, got {type(self.name).__name__} {short(self.name)}.")
        set_ = object.__setattr__
        set_(self, "noise_density", as_density("noise_density", self.noise_density))
        set_(self, "mean_noise_span_length", as_span_length("mean_noise_span_length", self.mean_noise_span_length))
        if self.mode_token is not None and not isinstance(self.mode_token, str):
            set_(self, "mode_token", as_token_id("mode_token", self.mode_token))
        if not self.sentinel and self.kind == "spans":
            raise ValueError('sentinel: False requires kind="prefix"; spans would leave no trace in the inputs.')
        if not self.name:
            hidden = "uniform" if self.kind == "prefix" and self.split == "uniform" else f"{self.noise_density:g}"
            settings = f"{self.mean_noise_span_length:g}, {hidden}" if self.kind == "spans" else hidden
            set_(self, "name", f"{self.kind}({settings})")


@dataclass(frozen=True, kw_only=True, repr=False)
class CorruptionSpec:
    """The base of `SpanCorruption` and `DenoiserMixture`: the tokens added to a row, and where spans may be."""

    sentinel_ids: Sequence[int] = ()
    eos_token_id: int | None = None
    bos_token_ids: Sequence[int] = ()
    layout: SpanLayout = "classic"
    final_sentinel: bool = False
    on_exhausted: OnExhausted = "raise"
    on_sentinel: OnSentinel = "raise"
    protected_ids: Sequence[int] = ()

    def __repr__(self) -> str:
        """The options that differ from their defaults; long lists of ids are shortened."""
        return short_repr(self)

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "sentinel_ids", as_token_ids("sentinel_ids", self.sentinel_ids))
        set_(self, "protected_ids", as_token_ids("protected_ids", self.protected_ids))
        set_(self, "bos_token_ids", as_token_ids("bos_token_ids", self.bos_token_ids))
        if self.eos_token_id is not None:
            set_(self, "eos_token_id", as_token_id("eos_token_id", self.eos_token_id))
        check_choice("layout", self.layout, SpanLayout)
        check_choice("on_exhausted", self.on_exhausted, OnExhausted)
        check_choice("on_sentinel", self.on_sentinel, OnSentinel)
        check_flag("final_sentinel", self.final_sentinel)
        seen: set[int] = set()
        for sentinel in self.sentinel_ids:
            if sentinel in seen:
                raise SentinelError(f"sentinel_ids: contains {sentinel} twice; ids must be unique.")
            seen.add(sentinel)
        if self.eos_token_id in seen:
            raise SentinelError(f"sentinel_ids: contains {self.eos_token_id}, which is eos_token_id; use another id.")

    def _weighted_denoisers(self) -> tuple[Sequence[Denoiser], Sequence[float]]:
        """The denoisers, and the weight of each."""
        raise NotImplementedError

    def _check_sentinel_count(self) -> None:
        """Raise unless there are enough sentinels for one span."""
        denoisers, _ = self._weighted_denoisers()
        least = 1 + self.final_sentinel if any(denoiser.sentinel for denoiser in denoisers) else 0
        if len(self.sentinel_ids) < least:
            raise SentinelError(
                f"sentinel_ids: {len(self.sentinel_ids)} given, at least {least} needed; pass the ids of <extra_id_0>, "
                "<extra_id_1>, ..., or create the spec with from_tokenizer."
            )

    @cached_property
    def _compiled(self) -> _core.SpanSpec:
        """The spec as the core uses it. It is made at first use and not pickled."""
        self._check_sentinel_count()
        denoisers, weights = self._weighted_denoisers()
        for denoiser in denoisers:
            if isinstance(denoiser.mode_token, str):
                raise ValueError(
                    f"mode_token: {denoiser.mode_token!r} has no id yet; pass the id, or create the mixture with from_tokenizer."
                )
        return _core.SpanSpec(
            denoisers=denoisers,
            weights=weights,
            sentinel_ids=self.sentinel_ids,
            allow_sentinels=self.on_sentinel == "allow",
            eos_token_id=self.eos_token_id,
            bos_token_ids=self.bos_token_ids,
            final_sentinel=self.final_sentinel,
            layout=self.layout,
            on_exhausted=self.on_exhausted,
            protected_ids=self.protected_ids,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}

    def plan_lengths(self, inputs_length: int) -> tuple[int, int]:
        """The greatest row length whose inputs fit `inputs_length`, and the greatest length of targets.

        It works like `spanmask.plan_lengths`, but with this spec's EOS, final sentinel, mode tokens and `on_exhausted`. Each of several
        denoisers has its own row length; the results are the greatest of all.

        Raises:
            ValueError: no row of two tokens fits.
            SentinelError: rows of this length need more sentinels than there are, and `on_exhausted="raise"`.
        """
        lengths = self._lengths(check_inputs_length(inputs_length))
        return max(tokens for tokens, _ in lengths), max(targets for _, targets in lengths)

    def _widths(self, inputs_length: int, targets_length: int | None, max_tokens: int | None) -> tuple[int, int]:
        """The widths of batches whose rows are cut to fit them: as given, or as `plan_lengths` returns them.

        `max_tokens`: rows are cut to this length beforehand, so that they may need fewer sentinels.

        Raises:
            ValueError: no row of two tokens fits.
            SentinelError: as `plan_lengths`.
        """
        inputs_length = check_inputs_length(inputs_length)
        if targets_length is None:
            planned = self._compiled.plan_lengths(inputs_length)
            targets_length = max((plan[1] for plan in planned if plan), default=None)
        self._lengths(inputs_length, targets_length, max_tokens and max(2, max_tokens))
        assert targets_length is not None  # otherwise no row fits
        return inputs_length, targets_length

    def _lengths(
        self, inputs_length: int, targets_length: int | None = None, max_tokens: int | None = None
    ) -> list[tuple[int, int]]:
        """For each denoiser, the greatest row length whose outputs fit, and the length of its targets."""
        lengths = []
        for number, plan in enumerate(self._compiled.plan_lengths(inputs_length, targets_length, max_tokens)):
            if plan is None and self._compiled.plan_lengths(inputs_length)[number] is None:
                raise ValueError(f"inputs_length: {inputs_length} does not fit a row of two tokens with its sentinel and EOS.")
            if plan is None:
                raise ValueError(f"targets_length: {targets_length} does not fit the targets of a row of two tokens; raise it.")
            tokens, targets, spans = plan
            if spans + self.final_sentinel > len(self.sentinel_ids) and self.sentinel_ids:
                raise SentinelError(
                    f"sentinel_ids: rows of {tokens} tokens need {spans} spans, but there are {len(self.sentinel_ids)} sentinels; "
                    'shorten inputs_length or max_length, add sentinels, or set on_exhausted="fewer_spans" or "merge_last".'
                )
            lengths.append((tokens, targets))
        return lengths


@dataclass(frozen=True, repr=False)
class SpanCorruption(CorruptionSpec):
    """Spans of a row are hidden (T5): a sentinel replaces each span in the inputs, and the targets contain each span after its sentinel.

    Args:
        sentinel_ids: the ids that replace spans, in the order of the spans. Distinct ids from 0 to 2**32 - 1, in any order.
        eos_token_id: ends inputs and targets, once each; a row's own EOS is removed before noising. `None`: no EOS anywhere.
        noise_density: the fraction of tokens that is hidden, strictly between 0 and 1.
        mean_noise_span_length: mean length of the hidden spans in tokens, at least 1.
        bos_token_ids: where a row begins with one of these, that token is not hidden. Only the uniform layout could hide it.
        layout: `"classic"`, T5's own: a row begins clear and ends hidden, so a short row, which has one span, has its end hidden in every
            epoch and nothing else. `"uniform"`: either may be first and last, and any part of a row may be hidden: better for short rows.
        final_sentinel: adds one more sentinel after the last span of the targets.
        on_exhausted: what happens to a row with more spans than sentinels: `"raise"`; `"fewer_spans"` draws fewer, longer spans;
            `"merge_last"` draws spans as planned and joins the last ones. If spans are fixed (by a custom mask, or because
            protected tokens split them), those without a sentinel stay clear in both cases. Ids outside of the list are never used.
        on_sentinel: rows that already contain a sentinel are an error (`"raise"`) or are accepted (`"allow"`; `merge` cannot
            undo them).
        protected_ids: ids that are never hidden. `noise_density` is then a fraction of the other tokens. By default every token may be
            hidden, as in T5: an EOS inside a row, SEP and unknown tokens too.

    Raises:
        SentinelError: there is no sentinel, one occurs twice, or one is EOS.
        ValueError: a density or length is out of range, an id is negative or needs more than 32 bits, or an option is unknown.
        TypeError: the ids are not integers.

    Source: Raffel et al. 2020, sections 3.1.4 and 3.3.4. Rounding, clamps and the draw: docs/reference/reproducibility.

    >>> spec = SpanCorruption(sentinel_ids=range(99, 89, -1), eos_token_id=1, noise_density=.3, mean_noise_span_length=2.0)
    >>> spec.plan_lengths(20)
    (22, 12)
    """

    sentinel_ids: Sequence[int] = field(kw_only=False)
    eos_token_id: int | None = field(default=None, kw_only=False)
    _: KW_ONLY
    noise_density: float = 0.15
    mean_noise_span_length: float = 3.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "noise_density", as_density("noise_density", self.noise_density))
        span_length = as_span_length("mean_noise_span_length", self.mean_noise_span_length)
        object.__setattr__(self, "mean_noise_span_length", span_length)
        self._check_sentinel_count()

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        *,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        sentinel_ids: Sequence[int] | None = None,
        eos_token_id: int | FromTokenizer | None = "tokenizer",
        bos_token_ids: Sequence[int] | None = None,
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> SpanCorruption:
        """The spec for a tokenizer: by default its `<extra_id_*>` tokens (mT5: `▁<extra_id_*>`), found by name, its EOS, BOS and CLS.

        The options are those of the class. For Google's released ByT5 models see `byt5`.

        Raises:
            SentinelError: the tokenizer has no such tokens, or has both spellings, or some are missing.
            ValueError: it has no EOS token.
        """
        return cls(
            sentinels_of(tokenizer) if sentinel_ids is None else sentinel_ids,
            eos_of(tokenizer) if isinstance(eos_token_id, str) and eos_token_id == "tokenizer" else eos_token_id,
            noise_density=noise_density,
            mean_noise_span_length=mean_noise_span_length,
            bos_token_ids=bos_of(tokenizer) if bos_token_ids is None else bos_token_ids,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )

    @classmethod
    def byt5(
        cls,
        *,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 20.0,
        sentinel_ids: Sequence[int] = BYT5_SENTINELS,
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Sequence[int] = (),
    ) -> SpanCorruption:
        """The span corruption that the released ByT5 models were trained on: sentinels 258, 257, ..., spans of 20 bytes.

        ByT5's vocabulary had no ids beyond the bytes, so T5's counting down from the last id yields ids of bytes: id 258 is byte 255. The
        `<extra_id_*>` tokens of transformers' `ByT5Tokenizer` (259 to 383) were added later, and are untrained.

        Args:
            sentinel_ids: by default the 11 ids from 258 to 248, bytes 0xFF to 0xF5, which no UTF-8 text contains. They suffice for rows of
                1,500 bytes, so for the 1,024 inputs of ByT5's own training. Lower ids are bytes of text (0xF4 to 0xF0 begin characters of
                four bytes, such as emoji): a longer list makes every row that contains one an error, unless `on_sentinel="allow"`.
            noise_density, mean_noise_span_length, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: as in the class.

        Source: Xue et al. 2022, "ByT5: Towards a Token-Free Future with Pre-trained Byte-to-Byte Models", section 3.1; its task
        definitions (google-research/byt5) and the byte vocabulary that they use (no extra ids).

        >>> spec = SpanCorruption.byt5()
        >>> spec.sentinel_ids[0], spec.sentinel_ids[-1]
        (258, 248)
        >>> spec.plan_lengths(1024)
        (1193, 189)
        """
        return cls(
            sentinel_ids,
            BYT5_EOS,
            noise_density=noise_density,
            mean_noise_span_length=mean_noise_span_length,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,
        )

    def _weighted_denoisers(self) -> tuple[Sequence[Denoiser], Sequence[float]]:
        return (Denoiser(self.mean_noise_span_length, self.noise_density),), (1.0,)


def check_inputs_length(value: Any) -> int:
    """A length of inputs: an integer from 3 to 2**32 - 1."""
    length = as_uint64("inputs_length", value)
    if not 3 <= length < 2**32:
        raise ValueError(f"inputs_length: expected at least 3 (a token, a sentinel, EOS) and less than 2**32, got {value}.")
    return length


def check_spec(spec: Any) -> None:
    """Raise unless `spec` says how spans are corrupted."""
    if not isinstance(spec, CorruptionSpec):
        raise TypeError(f"spec: expected SpanCorruption or DenoiserMixture, got {type(spec).__name__}.")
