"""Drop-in replacements for the span-corruption collators of transformers' Flax T5 example and of nanoT5.

For the same noise mask the outputs equal those of the scripts bit for bit, and for the same `numpy.random` state so do the masks.
The quirks of the scripts are kept here and nowhere else: fixed lengths, a second EOS where rows end in one, sentinels counted down
from `len(tokenizer)`. Their crashes are not kept: a row that is too short for the planned number of spans gets fewer spans. New code
should use `spanmask.DataCollatorForSpanCorruption`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import as_density, as_span_length, as_uint64, check_choice, check_installed
from spanmask.errors import SpanmaskWarning
from spanmask.noise.corrupt import corrupt
from spanmask.noise.spec import SpanCorruption

__all__ = ["DataCollatorForT5MLM", "FlaxDataCollatorForT5MLM", "compute_input_and_target_lengths"]

Array = npt.NDArray[Any]
SpanCount = Literal["noise", "smaller"]


def compute_input_and_target_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """The row length and the target length for inputs of `inputs_length`, as the scripts' function of this name computes them.

    It does not clamp, so it disagrees with the scripts' own sampler for span length 1 and for long spans in short rows.
    `spanmask.plan_lengths` always agrees with its sampler.

    >>> compute_input_and_target_lengths(512, .15, 3.0)
    (568, 114)
    """

    def lengths(tokens: int) -> tuple[int, int]:
        noise = round(tokens * noise_density)
        spans = round(noise / mean_noise_span_length)
        return tokens - noise + spans + 1, noise + spans + 1

    tokens = inputs_length
    while lengths(tokens + 1)[0] <= inputs_length:
        tokens += 1
    inputs, targets = lengths(tokens)
    if noise_density == 0.5 and targets > inputs:
        return tokens - 1, targets - 1
    return tokens, targets


@dataclass(eq=False)
class FlaxDataCollatorForT5MLM:
    """Makes inputs and labels of fixed lengths from rows of one length, as NumPy arrays.

    In:  dicts with `input_ids`, all of one length. Other columns whose entries have one shape are passed through.
    Out: `input_ids` int64 [B, input_length], `labels` int64 [B, target_length]; with `decoder_start_token_id` also
         `decoder_input_ids`, the labels shifted by one place. There is no padding, so no -100.

    Args:
        tokenizer: sentinels are counted down from its length; its EOS id closes each row.
        noise_density: fraction of tokens that is hidden, strictly between 0 and 1.
        mean_noise_span_length: tokens in a hidden span, on average; at least 1.
        input_length, target_length: the expected lengths; not checked when `None`.
        pad_token_id: replaces -100 in `decoder_input_ids`.
        decoder_start_token_id: the first id of `decoder_input_ids`.
        rng: `"numpy"`: the global state of `numpy.random`, as in the scripts; a `numpy.random.RandomState`; or `"keyed"`: spanmask's
            own noise, a function of (seed, epoch, row).
        num_noise_spans: what the number of spans is computed from: the `"noise"` tokens (nanoT5, and most versions of the example),
            or the `"smaller"` number of noise and other tokens (the newest example).
        seed, epoch: 0 to 2**64 - 1, for `rng="keyed"`.

    Raises:
        ValueError: lengths other than the expected ones, rows of different lengths, an option out of range.

    >>> import numpy as np
    >>> class Tokenizer:
    ...     eos_token_id = 1
    ...     def __len__(self): return 100
    >>> collator = FlaxDataCollatorForT5MLM(Tokenizer(), .5, 2.0, rng=np.random.RandomState(0))
    >>> batch = collator([{"input_ids": [5, 6, 7, 8]}])
    >>> batch["input_ids"].tolist(), batch["labels"].tolist()
    ([[5, 6, 99, 1]], [[99, 7, 8, 1]])
    """

    tokenizer: Any = field(repr=False)
    noise_density: float
    mean_noise_span_length: float
    input_length: int | None = None
    target_length: int | None = None
    pad_token_id: int | None = None
    decoder_start_token_id: int | None = None
    rng: Literal["numpy", "keyed"] | np.random.RandomState = "numpy"
    _: KW_ONLY
    num_noise_spans: SpanCount = "noise"
    seed: int = 0
    epoch: int = 0

    _returns_tensors: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self._returns_tensors:
            check_installed("torch", "torch", type(self).__name__)
        self.noise_density = as_density("noise_density", self.noise_density)
        self.mean_noise_span_length = as_span_length("mean_noise_span_length", self.mean_noise_span_length)
        if not isinstance(self.rng, np.random.RandomState) and self.rng not in ("numpy", "keyed"):
            raise ValueError(f"rng: expected 'numpy', 'keyed' or a numpy.random.RandomState, got {self.rng!r}.")
        check_choice("num_noise_spans", self.num_noise_spans, SpanCount)
        self.seed = as_uint64("seed", self.seed)
        self.epoch = as_uint64("epoch", self.epoch)
        self._drawn = 0
        tokenizer = self.tokenizer
        first_sentinel = tokenizer.get_vocab().get("<extra_id_0>") if hasattr(tokenizer, "get_vocab") else None
        if first_sentinel is not None and first_sentinel != len(tokenizer) - 1:
            warnings.warn(
                f"tokenizer: the id of <extra_id_0> is {first_sentinel}, but the scripts, and so this class, count sentinels down from "
                f"len(tokenizer) - 1 = {len(tokenizer) - 1}. spanmask.DataCollatorForSpanCorruption finds sentinels by name.",
                SpanmaskWarning,
                stacklevel=3,
            )

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make one batch; see the class."""
        batch: dict[str, Any] = {name: stack(name, [example[name] for example in examples]) for name in examples[0]}
        ids = batch["input_ids"]
        mask = self._masks(ids)
        batch["input_ids"] = self.filter_input_ids(ids, self.create_sentinel_ids(mask.astype(np.int8)))
        batch["labels"] = self.filter_input_ids(ids, self.create_sentinel_ids((~mask).astype(np.int8)))
        for name, length in (("input_ids", self.input_length), ("labels", self.target_length)):
            if length is not None and batch[name].shape[-1] != length:
                raise ValueError(
                    f"`{name}` are incorrectly preprocessed. `{name}` length is {batch[name].shape[-1]}, but should be {length}."
                )
        if self.decoder_start_token_id is not None:
            shifted = np.roll(batch["labels"], 1, axis=-1)
            shifted[:, 0] = self.decoder_start_token_id
            batch["decoder_input_ids"] = (
                shifted if self.pad_token_id is None else np.where(shifted == -100, self.pad_token_id, shifted)
            )
        return batch

    def random_spans_noise_mask(self, length: int) -> npt.NDArray[np.bool_]:
        """Which of `length` tokens are hidden: bool [length]. Of two or more tokens, the first is clear and the last is hidden."""
        if self.rng == "keyed":
            self._drawn += 1
            row: npt.NDArray[np.bool_] = self._keyed(np.zeros((1, length), np.int64), keys=[self._drawn])[0]
            return row
        if length < 2:
            return np.zeros(length, np.bool_)
        noise, spans = self._counts(length)
        # The global state is the one that the scripts draw from.
        shuffle = np.random.shuffle if isinstance(self.rng, str) else self.rng.shuffle
        hidden = segments(noise, spans, shuffle)
        clear = segments(length - noise, spans, shuffle)
        runs = np.stack([clear, hidden], axis=1).reshape(-1)
        mask: npt.NDArray[np.bool_] = np.repeat(np.arange(2 * spans) % 2 == 1, runs)
        return mask

    def create_sentinel_ids(self, mask_indices: Array) -> Array:
        """The second argument of `filter_input_ids`: a sentinel id where a run of the mask starts, -1 in the rest of it, 0 elsewhere.

        `mask_indices`: [B, length] of 0 and 1.
        """
        mask = np.asarray(mask_indices) != 0
        starts = mask.copy()
        starts[:, 1:] &= ~mask[:, :-1]
        return np.where(starts, len(self.tokenizer) - np.cumsum(starts, axis=-1), -mask.astype(np.int64))

    def filter_input_ids(self, input_ids: Array, sentinel_ids: Array) -> Array:
        """Replace ids by the sentinels above 0, drop the ids at -1, and append EOS to each row.

        Args:
            input_ids: integers [B, length].
            sentinel_ids: what `create_sentinel_ids` returned for a mask of that shape.

        Returns:
            int64 [B, kept + 1].

        Raises:
            ValueError: rows keep different numbers of tokens.
        """
        ids = np.where(sentinel_ids != 0, sentinel_ids, input_ids)
        kept = ids >= 0
        counts = kept.sum(axis=-1)
        if len(counts) and (counts != counts[0]).any():
            raise ValueError(
                f"sentinel_ids: rows keep between {counts.min()} and {counts.max()} tokens, but all must keep the same number. Pass "
                "masks with the same number of hidden tokens and spans in each row."
            )
        eos = np.full((len(ids), 1), self.tokenizer.eos_token_id, dtype=np.int32)
        return np.concatenate([ids[kept].reshape(len(ids), -1), eos], axis=-1)

    def _counts(self, length: int) -> tuple[int, int]:
        """The numbers of hidden tokens and of spans. The last `min` is not in the scripts: they crash where it has an effect."""
        rounded = int(np.round(length * self.noise_density))
        noise = min(max(rounded, 1), length - 1)
        basis = noise if self.num_noise_spans == "noise" else min(noise, length - rounded)
        spans = max(int(np.round(basis / self.mean_noise_span_length)), 1)
        return noise, min(spans, noise, length - noise)

    def _masks(self, ids: Array) -> npt.NDArray[np.bool_]:
        if self.rng == "keyed":
            return self._keyed(ids)
        return np.array([self.random_spans_noise_mask(ids.shape[1]) for _ in range(len(ids))]).reshape(ids.shape)

    def _keyed(self, ids: Array, keys: Any = None) -> npt.NDArray[np.bool_]:
        # The spec has no EOS, so that a row's own counts as a token: the scripts hide it like any other.
        spec = SpanCorruption(
            sentinel_ids=range(2**32 - 1, 2**32 - 1 - ids.shape[1] - 1, -1),
            eos_token_id=None,
            noise_density=self.noise_density,
            mean_noise_span_length=self.mean_noise_span_length,
        )
        mask = corrupt(ids, spec, seed=self.seed, epoch=self.epoch, keys=keys).noise_mask()
        hidden: npt.NDArray[np.bool_] = mask.values.reshape(ids.shape)
        return hidden


def stack(name: str, entries: list[Any]) -> Array:
    """A column as one array; entries of different lengths are an error."""
    if len({np.shape(entry) for entry in entries}) > 1:
        raise ValueError(f"{name}: rows differ in length; join and cut them to one length first, as the scripts require.")
    return np.array(entries)


def segments(items: int, count: int, shuffle: Callable[[Array], None]) -> Array:
    """Lengths of `count` random segments of `items`. Like the scripts, shuffles flags that mark the first item of a segment."""
    firsts = np.arange(items - 1) < count - 1
    shuffle(firsts)
    edges = np.flatnonzero(np.concatenate([[True], firsts]))
    return np.diff(np.append(edges, items))


@dataclass(eq=False)
class DataCollatorForT5MLM(FlaxDataCollatorForT5MLM):
    """nanoT5's collator: as `FlaxDataCollatorForT5MLM`, but returns torch tensors."""

    _returns_tensors: ClassVar[bool] = True

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make one batch of tensors; see the class."""
        import torch

        return {name: torch.from_numpy(value) for name, value in super().__call__(examples).items()}
