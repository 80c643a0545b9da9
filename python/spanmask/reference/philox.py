"""Philox 4x64-10. Twin of `rng/philox.rs`; its raw stream is `numpy.random.Philox`'s."""

from __future__ import annotations

__all__ = ["Stream", "block", "stream"]

MASK = 2**64 - 1
# The streams of an example: which spans, which denoiser, which tokens of a masked LM, what replaces them, which random ids.
SPANS, DENOISER, CHOICE, REPLACEMENT, RANDOM_ID = range(5)
FILL_IN_THE_MIDDLE = 5  # which documents, and where they are cut
# The mask ratio of masked diffusion, and its offset if those of a batch are antithetic.
RATE, RATE_OFFSET = 6, 7
# Of text infilling: how long spans are, and the order of sentences.
INFILL_LENGTHS, PERMUTATION = 8, 9


def block(key: tuple[int, int], counter: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Four random words: ten rounds over the counter (Salmon et al. 2011).

    >>> [hex(word) for word in block((0, 0), (0, 0, 0, 0))][:2]
    ['0x16554d9eca36314c', '0xdb20fe9d672d0fdc']
    """
    k0, k1 = key
    x0, x1, x2, x3 = counter
    for _ in range(10):
        product0, product1 = 0xD2E7470EE14C6C93 * x0, 0xCA5A826395121157 * x2
        x0, x1, x2, x3 = product1 >> 64 ^ x1 ^ k0, product1 & MASK, product0 >> 64 ^ x3 ^ k1, product0 & MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & MASK, (k1 + 0xBB67AE8584CAA73B) & MASK
    return x0, x1, x2, x3


class Stream:
    """The words after a counter, which advances before the first block; of a 64-bit word, the lower half comes first."""

    def __init__(self, key: tuple[int, int], counter: tuple[int, int, int, int]) -> None:
        self.key, self.counter = key, counter
        self.words: list[int] = []
        self.halves: list[int] = []

    def next_u64(self) -> int:
        """The next 64-bit word."""
        if not self.words:
            self.counter = ((self.counter[0] + 1) & MASK, *self.counter[1:])
            self.words = list(block(self.key, self.counter))
        return self.words.pop(0)

    def next_u32(self) -> int:
        """The next 32-bit word."""
        if not self.halves:
            word = self.next_u64()
            self.halves = [word & 2**32 - 1, word >> 32]
        return self.halves.pop(0)


def stream(seed: int, epoch: int, key: int, purpose: int) -> Stream:
    """The stream of one example for one purpose."""
    return Stream((seed, key), (0, 0, epoch, purpose))
