"""Several denoisers at once, and which of them a row gets: `Denoiser`, `DenoiserMixture` (UL2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from spanmask import _core
from spanmask._validate import as_density, as_number, as_span_length, as_token_id, check_choice
from spanmask.noise.sentinels import eos_of, mode_id, sentinels_of
from spanmask.noise.spec import DenoiserRow, Marks

__all__ = ["Denoiser", "DenoiserMixture"]

Kind = Literal["spans", "prefix"]
Split = Literal["density", "uniform"]

# UL2's own names of its modes, by denoiser.
MODES = {"R": "[NLU]", "X": "[NLG]", "S": "[S2S]"}


@dataclass(frozen=True)
class Denoiser:
    """One way to corrupt a row.

    Args:
        mean_noise_span_length: tokens a hidden span, on average (`kind="spans"`).
        noise_density: the share of tokens that is hidden.
        kind: `"spans"`, or `"prefix"`: the row's beginning is given, its end must be produced.
        split: where a prefix ends: so that `noise_density` of the row is behind it (`"density"`), or anywhere (`"uniform"`).
        sentinel: a prefix's end is marked by a sentinel in inputs and targets, or by nothing.
        mode: a token in front of the inputs that says which denoiser it is: an id, or a token's text, looked up when the
            mixture meets a tokenizer. Added after noising, never hidden.
        name: what reports call it.

    Raises:
        ValueError: a density or length out of range, an unknown kind or split.

    >>> Denoiser(3.0, .15).name
    'spans(3, 0.15)'
    """

    mean_noise_span_length: float = 3.0
    noise_density: float = 0.15
    kind: Kind = "spans"
    split: Split = "density"
    sentinel: bool = True
    mode: int | str | None = None
    name: str = ""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, Kind)
        check_choice("split", self.split, Split)
        set_ = object.__setattr__
        set_(self, "noise_density", as_density("noise_density", self.noise_density))
        set_(self, "mean_noise_span_length", as_span_length("mean_noise_span_length", self.mean_noise_span_length))
        if self.mode is not None and not isinstance(self.mode, str):
            set_(self, "mode", as_token_id("mode", self.mode))
        if not self.sentinel and self.kind == "spans":
            raise ValueError("sentinel: only a prefix can do without; spans would leave no trace in the inputs.")
        if not self.name:
            share = "uniform" if self.kind == "prefix" and self.split == "uniform" else f"{self.noise_density:g}"
            spans = f"spans({self.mean_noise_span_length:g}, {share})"
            set_(self, "name", spans if self.kind == "spans" else f"prefix({share})")

    def row(self) -> DenoiserRow:
        """As the core takes it."""
        if isinstance(self.mode, str):
            raise ValueError(f"mode: {self.mode!r} has no id yet; give the id, or make the mixture with from_tokenizer.")
        kind = "prefix_uniform" if self.kind == "prefix" and self.split == "uniform" else self.kind
        return (kind, self.noise_density, self.mean_noise_span_length, self.mode, self.sentinel)


@dataclass(frozen=True, init=False)
class DenoiserMixture(Marks):
    """Several denoisers; each row gets one, drawn by weight from its own keyed stream.

    Args:
        denoisers: one or more `Denoiser`.
        weights: how often each is used; any numbers that are not negative. All alike by default.
        sentinel_ids, eos_token_id, layout, final_sentinel, on_exhausted, on_sentinel, protected_ids: as in `SpanCorruption`.
            Without `sentinel_ids` the mixture takes them from the tokenizer of the collator it is given to.

    Raises:
        ValueError: no denoiser, weights that do not fit.
        SentinelError: as in `SpanCorruption`.

    Source: Tay et al. 2022, "UL2: Unifying Language Learning Paradigms", section 3.1.

    >>> denoisers = [Denoiser(3.0, .15), Denoiser(kind="prefix", noise_density=.25)]
    >>> mixture = DenoiserMixture(denoisers, [3, 1], sentinel_ids=[9, 8, 7])
    >>> mixture.names
    ('spans(3, 0.15)', 'prefix(0.25)')
    """

    denoisers: tuple[Denoiser, ...]
    weights: tuple[float, ...]

    def __init__(self, denoisers: Iterable[Denoiser], weights: Iterable[float] | None = None, **marks: Any) -> None:
        super().__init__(**marks)
        denoisers = tuple(denoisers)
        if not denoisers:
            raise ValueError("denoisers: none given; a mixture needs at least one Denoiser.")
        for denoiser in denoisers:
            if not isinstance(denoiser, Denoiser):
                raise TypeError(f"denoisers: expected Denoiser, got {type(denoiser).__name__}.")
        weights = tuple(as_number("weights", weight) for weight in ([1] * len(denoisers) if weights is None else weights))
        if len(weights) != len(denoisers):
            raise ValueError(f"weights: {len(weights)} for {len(denoisers)} denoisers; give one for each.")
        object.__setattr__(self, "denoisers", denoisers)
        object.__setattr__(self, "weights", weights)
        if self.protected_ids and any(not denoiser.sentinel for denoiser in denoisers):
            raise ValueError("protected_ids: a prefix without a sentinel cannot leave them out; give it a sentinel.")
        _core.SpanSpec(  # weights are checked now, sentinels once they are known
            denoisers=[replace(denoiser, mode=None).row() for denoiser in denoisers],
            weights=list(weights),
            sentinel_ids=(),
            allow_sentinels=False,
            eos=None,
            final_sentinel=False,
            layout="classic",
            on_exhausted="raise",
            protected_ids=(),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What the denoisers are called, in order: `Corrupted.denoisers` holds indices into it."""
        return tuple(denoiser.name for denoiser in self.denoisers)

    def denoiser_rows(self) -> tuple[list[DenoiserRow], list[float]]:
        """All denoisers."""
        return [denoiser.row() for denoiser in self.denoisers], list(self.weights)

    @classmethod
    def from_tokenizer(
        cls, tokenizer: Any, denoisers: Iterable[Denoiser], weights: Iterable[float] | None = None, **marks: Any
    ) -> DenoiserMixture:
        """The mixture for a tokenizer: sentinels, EOS and mode tokens by name.

        Raises:
            SentinelError: the tokenizer has no `<extra_id_*>` tokens.
            ValueError: it lacks EOS or a mode token.
        """
        return cls(denoisers, weights, **marks).for_tokenizer(tokenizer)

    def for_tokenizer(self, tokenizer: Any) -> DenoiserMixture:
        """The same, with what was left to the tokenizer: sentinels and EOS where no sentinel was given, ids of mode tokens."""
        denoisers = [
            replace(denoiser, mode=mode_id(tokenizer, denoiser.mode)) if isinstance(denoiser.mode, str) else denoiser
            for denoiser in self.denoisers
        ]
        marks = {name: getattr(self, name) for name in Marks.__dataclass_fields__}
        if not self.sentinel_ids:
            marks["sentinel_ids"] = sentinels_of(tokenizer)
            if self.eos_token_id is None:
                marks["eos_token_id"] = eos_of(tokenizer)
        return DenoiserMixture(denoisers, self.weights, **marks)

    @classmethod
    def ul2(cls, tokenizer: Any = None, mode_tokens: bool | Mapping[str, str] = False, **marks: Any) -> DenoiserMixture:
        """UL2's seven denoisers, each as often as the others: two R, four X, one S (the last quarter of the row).

        Args:
            tokenizer: where sentinels, EOS and mode tokens come from; may be left to the collator.
            mode_tokens: `True` puts `[NLU]`, `[NLG]`, `[S2S]` in front of the inputs of R, X, S; a dict of `"R"`, `"X"`, `"S"`
                names others.
            **marks: as in the class. Long rows need more than T5's 100 sentinels (128 for 512 inputs): see `on_exhausted`.
        """
        modes = modes_of(mode_tokens)
        spans = [(3.0, 0.15, "R"), (8.0, 0.15, "R"), (3.0, 0.5, "X"), (8.0, 0.5, "X"), (64.0, 0.15, "X"), (64.0, 0.5, "X")]
        denoisers = [
            Denoiser(mean, density, mode=modes.get(mode), name=f"{mode}({mean:g}, {density:g})") for mean, density, mode in spans
        ]
        denoisers.append(Denoiser(noise_density=0.25, kind="prefix", mode=modes.get("S"), name="S(0.25)"))
        return cls.preset(denoisers, None, tokenizer, marks)

    @classmethod
    def ul2r(cls, tokenizer: Any = None, mode_tokens: bool | Mapping[str, str] = False, **marks: Any) -> DenoiserMixture:
        """UL2R's mixture for models that are trained already: half S (the prefix ends anywhere), a quarter R, a quarter X.

        Arguments as in `ul2`. Source: Tay et al. 2022, "Transcending Scaling Laws with 0.1% Extra Compute", section 3.1.
        """
        modes = modes_of(mode_tokens)
        denoisers = [
            Denoiser(3.0, 0.15, mode=modes.get("R"), name="R(3, 0.15)"),
            Denoiser(32.0, 0.15, mode=modes.get("X"), name="X(32, 0.15)"),
            Denoiser(3.0, 0.5, mode=modes.get("X"), name="X(3, 0.5)"),
            Denoiser(kind="prefix", split="uniform", mode=modes.get("S"), name="S(uniform)"),
        ]
        return cls.preset(denoisers, [0.25, 0.125, 0.125, 0.5], tokenizer, marks)

    @classmethod
    def t5(cls, tokenizer: Any = None, **marks: Any) -> DenoiserMixture:
        """T5's one denoiser: spans of 3, 15 % of the row."""
        return cls.preset([Denoiser(3.0, 0.15, name="R(3, 0.15)")], None, tokenizer, marks)

    @classmethod
    def preset(
        cls, denoisers: list[Denoiser], weights: list[float] | None, tokenizer: Any, marks: Mapping[str, Any]
    ) -> DenoiserMixture:
        """A mixture, for a tokenizer where there is one."""
        mixture = cls(denoisers, weights, **marks)
        return mixture if tokenizer is None else mixture.for_tokenizer(tokenizer)


def modes_of(mode_tokens: bool | Mapping[str, str]) -> Mapping[str, str]:
    """The mode token of each denoiser letter."""
    if isinstance(mode_tokens, Mapping):
        for letter in mode_tokens:
            if letter not in MODES:
                raise ValueError(f"mode_tokens: unknown denoiser {letter!r}; expected 'R', 'X', 'S'.")
        return mode_tokens
    return MODES if mode_tokens else {}
