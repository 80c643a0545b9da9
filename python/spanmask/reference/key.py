"""Keys of examples: hashes of what they contain. Twin of `rng/key.rs`."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["name_key", "row_key"]


def row_key(row: Sequence[int]) -> int:
    """The key of a row: XXH3 over its ids as little-endian 32-bit integers.

    >>> hex(row_key([]))
    '0x2d06800538d394c2'
    """
    return xxh3(b"".join(token.to_bytes(4, "little") for token in row))


def name_key(name: str) -> int:
    """The key of a name: XXH3 over its UTF-8 encoding."""
    return xxh3(name.encode())


def xxh3(data: bytes) -> int:
    """The 64-bit XXH3 hash, computed by the package xxhash.

    Raises:
        ImportError: the package is not installed.
    """
    try:
        import xxhash
    except ImportError as error:
        raise ImportError("spanmask.reference computes keys with xxhash; install it with: pip install xxhash") from error
    return xxhash.xxh3_64_intdigest(data)
