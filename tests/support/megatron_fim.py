"""Programs that do fill-in-the-middle as two training frameworks do, on token ids and with given decisions. Written from a reading of
their code, which draws decisions and decodes text in between; `decide` says what they would have drawn.

`megatron_sample`: NVIDIA's and BigCode's Megatron-LM and gpt-neox: documents of a packed sample, then the sample is cut to its length.
`permute`: one document of theirs, with their option to keep its length.
"""

import numpy as np


def permute(document, decision, ids, keep_length=False):
    """One document. `decision`: None, or (suffix first, two cuts); `ids`: prefix, middle, suffix."""
    if decision is None:
        return document
    suffix_first, *cuts = decision
    prefix, middle, suffix = np.split(document, sorted(cuts))
    if keep_length:
        excess = 3  # what is added to a document of tokens
        if len(suffix) <= excess:
            return document
        suffix = suffix[:-excess]
    pre, mid, suf = ids
    if suffix_first:
        return np.concatenate([[pre, suf], suffix, [mid], prefix, middle])
    return np.concatenate([[pre], prefix, [suf], suffix, [mid], middle])


def megatron_sample(sample, decide, ids, eod, pad, keep_length=False):
    """A packed sample. `decide(number, document)` is asked for each document, in order.

    An EOD without a document before it is dropped; a document after the last EOD is one even if it is empty.
    """
    pieces, start, number = [], 0, 0
    for stop in np.flatnonzero(sample == eod):
        if stop > start:
            document = sample[start:stop]
            pieces += [permute(document, decide(number, document), ids, keep_length), [eod]]
            number += 1
        start = stop + 1
    document = sample[start:]
    pieces.append(permute(document, decide(number, document), ids, keep_length))
    made = np.concatenate(pieces)[: len(sample)]
    return np.pad(made, (0, len(sample) - len(made)), constant_values=pad).astype(np.int64)


def random_decisions(rng, rate, spm_rate):
    """Decisions drawn as they draw them."""

    def decide(number, document):
        if not rng.binomial(1, rate):
            return None
        cuts = rng.randint(0, len(document) + 1, 2)
        return rng.binomial(1, spm_rate), *cuts

    return decide
