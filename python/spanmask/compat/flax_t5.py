"""The span-corruption collators of transformers' Flax T5 example and of nanoT5, as drop-ins.

Given the same noise mask the outputs are the scripts' bit for bit, and given the same `numpy.random` state so are the masks.
Their quirks are kept here and nowhere else: fixed lengths, a second EOS where rows end in one, sentinels counted down from
`len(tokenizer)`. Their crashes are not kept: where a row is too short for the spans that they want, there are fewer. For new code:
`spanmask.DataCollatorForSpanCorruption`.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spanmask._validate import as_density, as_span_length, as_uint64, check_choice
from spanmask.errors import SpanmaskWarning
from spanmask.noise.corrupt import corrupt
from spanmask.noise.spec import SpanCorruption

__all__ = ["DataCollatorForT5MLM", "FlaxDataCollatorForT5MLM", "compute_input_and_target_lengths"]

Array = npt.NDArray[Any]
SpanCount = Literal["noise", "smaller"]


def compute_input_and_target_lengths(inputs_length: int, noise_density: float, mean_noise_span_length: float) -> tuple[int, int]:
    """The row length and target length for inputs of `inputs_length`, as the scripts' helper of this name computes them.

    It knows no clamps, so it disagrees with the scripts' own sampler for span length 1, and for long spans in short rows;
    `spanmask.plan_lengths` never does.

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


class FlaxDataCollatorForT5MLM:
    """Rows of one length -> inputs and labels of fixed lengths, as NumPy arrays.

    In:  dicts with `input_ids`, all of one length; other columns of one shape pass through.
    Out: `input_ids`, `labels` int64 [B, input_length], [B, target_length]; with `decoder_start_token_id` also
         `decoder_input_ids`, the labels one place later. No -100 anywhere: there is no padding.

    Args:
        tokenizer: its length (sentinels are counted down from it) and its EOS id.
        noise_density, mean_noise_span_length: as in `SpanCorruption`.
        input_length, target_length: checked, when given.
        pad_token_id: takes the place of -100 in `decoder_input_ids`.
        decoder_start_token_id: the first of `decoder_input_ids`.
        rng: `"numpy"`: the global state of `numpy.random`, as the scripts have it; a `numpy.random.RandomState`; or `"keyed"`:
            spanmask's own noise, a function of (seed, epoch, row).
        num_noise_spans: which of the scripts' formulas: spans follow from the `"noise"` tokens (nanoT5, and the example for
            most of its life), or from the `"smaller"` of noise and other tokens (the newest example).
        seed, epoch: for `rng="keyed"`.

    Raises:
        ValueError: lengths that are not as announced, rows of different lengths.
    """

    def __init__(
        self,
        tokenizer: Any,
        noise_density: float,
        mean_noise_span_length: float,
        input_length: int | None = None,
        target_length: int | None = None,
        pad_token_id: int | None = None,
        decoder_start_token_id: int | None = None,
        rng: Literal["numpy", "keyed"] | np.random.RandomState = "numpy",
        num_noise_spans: SpanCount = "noise",
        seed: int = 0,
        epoch: int = 0,
    ) -> None:
        self.tokenizer = tokenizer
        self.noise_density = as_density("noise_density", noise_density)
        self.mean_noise_span_length = as_span_length("mean_noise_span_length", mean_noise_span_length)
        self.input_length = input_length
        self.target_length = target_length
        self.pad_token_id = pad_token_id
        self.decoder_start_token_id = decoder_start_token_id
        if not isinstance(rng, np.random.RandomState) and rng not in ("numpy", "keyed"):
            raise ValueError(f"rng: expected 'numpy', 'keyed' or a numpy.random.RandomState, got {rng!r}.")
        check_choice("num_noise_spans", num_noise_spans, SpanCount)
        self.rng = rng
        self.num_noise_spans = num_noise_spans
        self.seed = as_uint64("seed", seed)
        self.epoch = as_uint64("epoch", epoch)
        self._drawn = 0
        named = tokenizer.get_vocab().get("<extra_id_0>") if hasattr(tokenizer, "get_vocab") else None
        if named is not None and named != len(tokenizer) - 1:
            warnings.warn(
                f"tokenizer: <extra_id_0> is {named}, but the scripts count sentinels down from len(tokenizer) - 1 = "
                f"{len(tokenizer) - 1}, and so does this drop-in; spanmask.DataCollatorForSpanCorruption finds them by name.",
                SpanmaskWarning,
                stacklevel=2,
            )

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch; see the class."""
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
        """What is hidden of a row of `length` tokens: bool [length], clear at its start, hidden at its end."""
        if self.rng == "keyed":
            self._drawn += 1
            row: npt.NDArray[np.bool_] = self._keyed(np.zeros((1, length), np.int64), keys=[self._drawn])[0]
            return row
        if length < 2:
            return np.zeros(length, np.bool_)
        noise, spans = self._counts(length)
        shuffle = np.random.shuffle if isinstance(self.rng, str) else self.rng.shuffle  # the state that the scripts draw from
        hidden = segments(noise, spans, shuffle)
        clear = segments(length - noise, spans, shuffle)
        runs = np.stack([clear, hidden], axis=1).reshape(-1)
        mask: npt.NDArray[np.bool_] = np.repeat(np.arange(2 * spans) % 2 == 1, runs)
        return mask

    def create_sentinel_ids(self, mask_indices: Array) -> Array:
        """Marks for `filter_input_ids`: a sentinel's id where a run of the mask begins, -1 where it goes on, else 0.

        `mask_indices`: [B, length] of 0 and 1.
        """
        mask = np.asarray(mask_indices) != 0
        starts = mask.copy()
        starts[:, 1:] &= ~mask[:, :-1]
        return np.where(starts, len(self.tokenizer) - np.cumsum(starts, axis=-1), -mask.astype(np.int64))

    def filter_input_ids(self, input_ids: Array, sentinel_ids: Array) -> Array:
        """Rows with marks applied, and EOS behind each: sentinels stand for what they cover, -1 drops a token.

        Both [B, length]; the result int64 [B, kept + 1].

        Raises:
            ValueError: rows keep different numbers of tokens.
        """
        ids = np.where(sentinel_ids != 0, sentinel_ids, input_ids)
        kept = ids >= 0
        counts = kept.sum(axis=-1)
        if len(counts) and (counts != counts[0]).any():
            raise ValueError(
                f"sentinel_ids: rows keep between {counts.min()} and {counts.max()} tokens; the scripts need one number for all."
            )
        eos = np.full((len(ids), 1), self.tokenizer.eos_token_id, dtype=np.int32)
        return np.concatenate([ids[kept].reshape(len(ids), -1), eos], axis=-1)

    def _counts(self, length: int) -> tuple[int, int]:
        """Hidden tokens and spans. The outer `min` is ours: without it the scripts crash where it binds."""
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
        # Without EOS in the spec, a row's own counts as a token: the scripts hide it like any other.
        spec = SpanCorruption(
            range(2**32 - 1, 2**32 - 1 - ids.shape[1] - 1, -1), None, self.noise_density, self.mean_noise_span_length
        )
        mask = corrupt(ids, spec, seed=self.seed, epoch=self.epoch, keys=keys).noise_mask()
        hidden: npt.NDArray[np.bool_] = mask.values.reshape(ids.shape)
        return hidden


def stack(name: str, entries: list[Any]) -> Array:
    """A column as one array."""
    if len({np.shape(entry) for entry in entries}) > 1:
        raise ValueError(f"{name}: rows differ in length; the scripts take rows of one length only, cut and joined beforehand.")
    return np.array(entries)


def segments(items: int, count: int, shuffle: Any) -> Array:
    """Lengths of `count` random segments of `items`, by the scripts' shuffle of their first places."""
    firsts = np.arange(items - 1) < count - 1
    shuffle(firsts)
    edges = np.flatnonzero(np.concatenate([[True], firsts]))
    return np.diff(np.append(edges, items))


class DataCollatorForT5MLM(FlaxDataCollatorForT5MLM):
    """The same with torch tensors out: nanoT5's collator."""

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """One batch of tensors; see the class."""
        import torch

        return {name: torch.from_numpy(value) for name, value in super().__call__(examples).items()}
