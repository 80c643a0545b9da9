"""XXH3, the 64-bit hash, spelled out from its specification (seed 0, default secret). Keys of rows are made of it."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["row_key", "xxh3"]

MASK = 2**64 - 1
P32_1, P32_2, P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
P64_1, P64_2, P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P64_4, P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
    "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
    "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def row_key(row: Sequence[int]) -> int:
    """The key of a row: XXH3 over its ids as little-endian 32-bit integers."""
    return xxh3(b"".join(token.to_bytes(4, "little") for token in row))


def xxh3(data: bytes) -> int:
    """The hash of `data`.

    >>> hex(xxh3(b""))
    '0x2d06800538d394c2'
    """
    if len(data) > 240:
        return long(data)
    if len(data) > 16:
        return medium(data)
    if len(data) > 8:
        low = u64(data, 0) ^ u64(SECRET, 24) ^ u64(SECRET, 32)
        high = u64(data, len(data) - 8) ^ u64(SECRET, 40) ^ u64(SECRET, 48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return avalanche(len(data) + swapped + high + fold(low, high))
    if len(data) >= 4:
        word = u32(data, len(data) - 4) + (u32(data, 0) << 32) ^ u64(SECRET, 8) ^ u64(SECRET, 16)
        word ^= rotate(word, 49) ^ rotate(word, 24)
        word = word * 0x9FB21C651E98DF25 & MASK
        word ^= (word >> 35) + len(data)
        word = word * 0x9FB21C651E98DF25 & MASK
        return word ^ word >> 28
    if data:
        word = data[0] << 16 | data[len(data) // 2] << 24 | data[-1] | len(data) << 8
        return old_avalanche(word ^ u32(SECRET, 0) ^ u32(SECRET, 4))
    return old_avalanche(u64(SECRET, 56) ^ u64(SECRET, 64))


def medium(data: bytes) -> int:
    """17 to 240 bytes: pairs of words, folded."""
    size = len(data)
    sum_ = size * P64_1
    if size <= 128:
        for pair in range((size - 1) // 32 + 1):
            sum_ += mix(data, 16 * pair, 32 * pair) + mix(data, size - 16 * (pair + 1), 32 * pair + 16)
        return avalanche(sum_)
    for pair in range(8):
        sum_ += mix(data, 16 * pair, 16 * pair)
    sum_ = avalanche(sum_)
    for pair in range(8, size // 16):
        sum_ += mix(data, 16 * pair, 16 * (pair - 8) + 3)
    return avalanche(sum_ + mix(data, size - 16, 136 - 17))


def long(data: bytes) -> int:
    """More than 240 bytes: eight sums over stripes of 64 bytes, scrambled after every 16."""
    sums = [P32_3, P64_1, P64_2, P64_3, P64_4, P32_2, P64_5, P32_1]
    stripes = (len(data) - 1) // 64
    for stripe in range(stripes):
        accumulate(sums, data, 64 * stripe, 8 * (stripe % 16))
        if stripe % 16 == 15:
            for lane in range(8):
                word = sums[lane] ^ sums[lane] >> 47 ^ u64(SECRET, 128 + 8 * lane)
                sums[lane] = word * P32_1 & MASK
    accumulate(sums, data, len(data) - 64, 192 - 64 - 7)
    total = len(data) * P64_1
    for pair in range(0, 8, 2):
        total += fold(sums[pair] ^ u64(SECRET, 11 + 8 * pair), sums[pair + 1] ^ u64(SECRET, 19 + 8 * pair))
    return avalanche(total)


def accumulate(sums: list[int], data: bytes, at: int, secret: int) -> None:
    """Add one stripe."""
    for lane in range(8):
        word = u64(data, at + 8 * lane)
        keyed = word ^ u64(SECRET, secret + 8 * lane)
        sums[lane ^ 1] = sums[lane ^ 1] + word & MASK
        sums[lane] = sums[lane] + (keyed & 0xFFFFFFFF) * (keyed >> 32) & MASK


def mix(data: bytes, at: int, secret: int) -> int:
    """Sixteen bytes with sixteen of the secret."""
    return fold(u64(data, at) ^ u64(SECRET, secret), u64(data, at + 8) ^ u64(SECRET, secret + 8))


def fold(a: int, b: int) -> int:
    """The halves of a 128-bit product, xored."""
    product = a * b
    return product & MASK ^ product >> 64


def avalanche(word: int) -> int:
    """XXH3's final mix."""
    word &= MASK
    word = (word ^ word >> 37) * 0x165667919E3779F9 & MASK
    return word ^ word >> 32


def old_avalanche(word: int) -> int:
    """XXH64's final mix, which XXH3 keeps for up to three bytes."""
    word = (word ^ word >> 33) * P64_2 & MASK
    word = (word ^ word >> 29) * P64_3 & MASK
    return word ^ word >> 32


def rotate(word: int, by: int) -> int:
    """To the left."""
    return (word << by | word >> 64 - by) & MASK


def u32(data: bytes, at: int) -> int:
    """Four bytes, little-endian."""
    return int.from_bytes(data[at : at + 4], "little")


def u64(data: bytes, at: int) -> int:
    """Eight bytes, little-endian."""
    return int.from_bytes(data[at : at + 8], "little")
