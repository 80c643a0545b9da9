"""The collator of transformers' Flax T5 example, reimplemented from its description.

It is the oracle of `compat.flax_t5`, and a peer in the benchmarks. It takes and returns NumPy arrays, requires rows of one length, loops
over rows for the masks, and uses the global random state: it is as slow and as strict as the original.
"""

import numpy as np
from transformers import BatchEncoding


class FlaxScriptCollator:
    """`spans_of`: `"noise"` in most versions and in nanoT5, `"smaller"` in the newest version."""

    def __init__(self, tokenizer, density, mean, input_length, target_length, pad_id, start_id, spans_of="noise"):
        self.tokenizer, self.density, self.mean, self.spans_of = tokenizer, density, mean, spans_of
        self.input_length, self.target_length, self.pad_id, self.start_id = input_length, target_length, pad_id, start_id

    def __call__(self, examples):
        batch = BatchEncoding({name: np.array([example[name] for example in examples]) for name in examples[0]})
        ids = batch["input_ids"]
        mask = np.asarray([self.random_spans_noise_mask(ids.shape[1]) for _ in range(len(ids))])
        inputs_sentinel = self.create_sentinel_ids(mask.astype(np.int8))
        labels_sentinel = self.create_sentinel_ids((~mask).astype(np.int8))
        batch["input_ids"] = self.filter_input_ids(ids, inputs_sentinel)
        batch["labels"] = self.filter_input_ids(ids, labels_sentinel)
        for name, length in (("input_ids", self.input_length), ("labels", self.target_length)):
            if batch[name].shape[-1] != length:
                raise ValueError(
                    f"`{name}` are incorrectly preprocessed. `{name}` length is {batch[name].shape[-1]}, but should be {length}."
                )
        shifted = np.zeros_like(batch["labels"])
        shifted[:, 1:] = batch["labels"][:, :-1]
        shifted[:, 0] = self.start_id
        batch["decoder_input_ids"] = np.where(shifted == -100, self.pad_id, shifted)
        return batch

    def create_sentinel_ids(self, mask):
        starts = mask - np.roll(mask, 1, axis=-1) * mask
        starts[:, 0] = mask[:, 0]
        ids = np.where(starts != 0, np.cumsum(starts, axis=-1), starts)
        ids = np.where(ids != 0, len(self.tokenizer) - ids, 0)
        ids -= mask - starts
        return ids

    def filter_input_ids(self, ids, sentinels):
        full = np.where(sentinels != 0, sentinels, ids)
        ids = full[full >= 0].reshape((len(ids), -1))
        return np.concatenate([ids, np.full((len(ids), 1), self.tokenizer.eos_token_id, dtype=np.int32)], axis=-1)

    def random_spans_noise_mask(self, length):
        noise = int(np.round(length * self.density))
        others = length - noise
        noise = min(max(noise, 1), length - 1)
        if self.spans_of == "noise":
            others = length - noise
            spans = int(np.round(noise / self.mean))
        else:  # the newest version counts the other tokens before the clamp
            spans = int(np.round(min(noise, others) / self.mean))
        spans = max(spans, 1)

        def segmentation(items, segments):
            firsts = np.arange(items - 1) < (segments - 1)
            np.random.shuffle(firsts)
            segment_id = np.cumsum(np.pad(firsts, [[1, 0]]))
            return np.unique(segment_id, return_counts=True)[1]

        hidden = segmentation(noise, spans)
        clear = segmentation(others, spans)
        runs = np.reshape(np.stack([clear, hidden], axis=1), [spans * 2])
        starts = np.zeros((length,), dtype=np.int8)
        starts[np.cumsum(runs)[:-1]] = True
        return np.equal(np.cumsum(starts) % 2, 1)[:length]
