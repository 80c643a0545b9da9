"""What is hidden of a row, and what takes its place: `SpanCorruption`. The formulas are `plan.rs`'s and `draw.rs`'s."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from spanmask import _core
from spanmask._validate import as_density, as_span_length, as_token_id, as_token_ids, as_uint64, check_choice
from spanmask.errors import SentinelError
from spanmask.noise.sentinels import eos_of, sentinels_of

__all__ = ["DenoiserRow", "Marks", "SpanCorruption"]

SpanLayout = Literal["classic", "uniform"]
OnExhausted = Literal["raise", "merge", "cap"]
OnSentinel = Literal["raise", "allow"]

# A denoiser as the core takes it: kind, density, mean span length, mode token, sentinels.
DenoiserRow = tuple[str, float, float, "int | None", bool]


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What `SpanCorruption` and `DenoiserMixture` share: the tokens around spans, and where spans may stand."""

    sentinel_ids: tuple[int, ...] = ()
    eos_token_id: int | None = None
    layout: SpanLayout = "classic"
    final_sentinel: bool = False
    on_exhausted: OnExhausted = "raise"
    on_sentinel: OnSentinel = "raise"
    protected_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        set_(self, "sentinel_ids", as_token_ids("sentinel_ids", self.sentinel_ids))
        set_(self, "protected_ids", as_token_ids("protected_ids", self.protected_ids))
        if self.eos_token_id is not None:
            set_(self, "eos_token_id", as_token_id("eos_token_id", self.eos_token_id))
        check_choice("layout", self.layout, SpanLayout)
        check_choice("on_exhausted", self.on_exhausted, OnExhausted)
        check_choice("on_sentinel", self.on_sentinel, OnSentinel)
        if not isinstance(self.final_sentinel, bool):
            raise ValueError(f"final_sentinel: expected True or False, got {self.final_sentinel!r}.")
        seen: set[int] = set()
        for sentinel in self.sentinel_ids:
            if sentinel in seen:
                raise SentinelError(f"sentinel_ids: {sentinel} is there twice; each span needs a sentinel of its own.")
            seen.add(sentinel)
        if self.eos_token_id in seen:
            raise SentinelError(f"sentinel_ids: {self.eos_token_id} is eos_token_id; take another id.")

    def denoiser_rows(self) -> tuple[list[DenoiserRow], list[float]]:
        """The denoisers as the core takes them, and their weights."""
        raise NotImplementedError

    @cached_property
    def _core(self) -> _core.SpanSpec:
        """The compiled spec, made at the first use and left out of pickles."""
        rows, weights = self.denoiser_rows()
        least = 1 + self.final_sentinel if any(sentinels for *_, sentinels in rows) else 0
        if len(self.sentinel_ids) < least:
            raise SentinelError(
                f"sentinel_ids: {len(self.sentinel_ids)} given, at least {least} needed; give the ids of <extra_id_0>, "
                "<extra_id_1>, ..., or make the spec with from_tokenizer."
            )
        return _core.SpanSpec(
            denoisers=rows,
            weights=weights,
            sentinel_ids=self.sentinel_ids,
            allow_sentinels=self.on_sentinel == "allow",
            eos=self.eos_token_id,
            final_sentinel=self.final_sentinel,
            layout=self.layout,
            on_exhausted=self.on_exhausted,
            protected_ids=self.protected_ids,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_core"}

    def plan_lengths(self, inputs_length: int) -> tuple[int, int]:
        """The greatest row length whose inputs fit `inputs_length`, and the greatest length of targets.

        As the module's `plan_lengths`, but with this spec's EOS, final sentinel, mode tokens and exhaustion policy; of several
        denoisers each counts with its own row length.

        Raises:
            ValueError: no row of two tokens fits.
            SentinelError: rows of this length need more sentinels than there are, and `on_exhausted="raise"`.
        """
        plans = self._core.plan_lengths(check_inputs_length(inputs_length))
        lengths = []
        for plan in plans:
            if plan is None:
                raise ValueError(f"inputs_length: {inputs_length} does not fit a row of two tokens with its sentinel and EOS.")
            tokens, targets, spans = plan
            if spans + self.final_sentinel > len(self.sentinel_ids) and self.sentinel_ids:
                raise SentinelError(
                    f"sentinel_ids: rows of {tokens} tokens need {spans} spans, {len(self.sentinel_ids)} sentinels given; add "
                    'sentinels, shorten inputs_length, or set on_exhausted="merge" or "cap".'
                )
            lengths.append((tokens, targets))
        return max(tokens for tokens, _ in lengths), max(targets for _, targets in lengths)


def check_inputs_length(value: Any) -> int:
    """A length of inputs: an integer of at least 3."""
    length = as_uint64("inputs_length", value)
    if length < 3:
        raise ValueError(f"inputs_length: expected at least 3 (a token, a sentinel, EOS), got {value}.")
    return length


@dataclass(frozen=True, init=False)
class SpanCorruption(Marks):
    """Hide spans of a row: each becomes one sentinel in the inputs, and the targets give what stood there (T5).

    Args:
        sentinel_ids: the ids that stand for spans, the first span's first; any integers, ascending, descending or neither, each
            once.
        eos_token_id: closes inputs and targets, once each; a row's own is set aside before noising. `None`: no EOS anywhere.
        noise_density: the share of tokens that is hidden, above 0 and below 1.
        mean_noise_span_length: tokens a hidden span, on average; at least 1.
        layout: `"classic"`: a row begins clear and ends hidden. `"uniform"`: it may begin and end either way.
        final_sentinel: one more sentinel behind the last span of the targets.
        on_exhausted: a row with more spans than sentinels is an error (`"raise"`); or is drawn as planned and the last spans
            become one (`"merge"`); or is drawn with fewer, longer spans (`"cap"`). Where spans are fixed (a mask of one's own,
            or cut by protected tokens), those without a sentinel stay clear under either. Never an id past the list.
        on_sentinel: rows that already hold a sentinel are an error (`"raise"`) or taken as they are (`"allow"`; `merge` cannot
            undo them).
        protected_ids: ids that are never hidden. The share is then one of the other tokens.

    Raises:
        SentinelError: no sentinel, one twice, or one that is EOS.
        ValueError: a density or length out of range, an id that is negative or beyond 32 bits, an unknown option.
        TypeError: ids that are no integers.

    Source: Raffel et al. 2020, section 3.1.4 and 3.3.4. Rounding, clamps and the draw: docs/reference/reproducibility.

    >>> spec = SpanCorruption(sentinel_ids=range(99, 89, -1), eos_token_id=1, noise_density=.3, mean_noise_span_length=2.0)
    >>> spec.plan_lengths(20)
    (22, 12)
    """

    noise_density: float
    mean_noise_span_length: float

    def __init__(
        self,
        sentinel_ids: Iterable[int],
        eos_token_id: int | None = None,
        noise_density: float = 0.15,
        mean_noise_span_length: float = 3.0,
        layout: SpanLayout = "classic",
        final_sentinel: bool = False,
        on_exhausted: OnExhausted = "raise",
        on_sentinel: OnSentinel = "raise",
        protected_ids: Iterable[int] = (),
    ) -> None:
        super().__init__(
            sentinel_ids=sentinel_ids,  # type: ignore[arg-type]
            eos_token_id=eos_token_id,
            layout=layout,
            final_sentinel=final_sentinel,
            on_exhausted=on_exhausted,
            on_sentinel=on_sentinel,
            protected_ids=protected_ids,  # type: ignore[arg-type]
        )
        object.__setattr__(self, "noise_density", as_density("noise_density", noise_density))
        object.__setattr__(self, "mean_noise_span_length", as_span_length("mean_noise_span_length", mean_noise_span_length))
        self._core  # noqa: B018  # too few sentinels are an error now, not in the first batch

    @classmethod
    def from_tokenizer(cls, tokenizer: Any, **options: Any) -> SpanCorruption:
        """The spec for a tokenizer: its `<extra_id_*>` tokens, found by name, and its EOS. `options` as in the class.

        Raises:
            SentinelError: the tokenizer has no such tokens.
            ValueError: it has no EOS token.
        """
        if "sentinel_ids" not in options:
            options["sentinel_ids"] = sentinels_of(tokenizer)
        if "eos_token_id" not in options:
            options["eos_token_id"] = eos_of(tokenizer)
        return cls(**options)

    def denoiser_rows(self) -> tuple[list[DenoiserRow], list[float]]:
        """One denoiser."""
        return [("spans", self.noise_density, self.mean_noise_span_length, None, True)], [1.0]
