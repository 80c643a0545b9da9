"""The inverse of span corruption, spelled out. Twin of `noise/merge.rs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["merge"]


def merge(
    inputs: Sequence[int],
    targets: Sequence[int],
    sentinels: Collection[int],
    eos: int | None = None,
    modes: Collection[int] = (),
) -> list[int]:
    """Undo span corruption: each span back at its sentinel.

    EOS is set aside, a mode token in front of the inputs dropped; what `targets` holds in front of its first sentinel goes on
    from the inputs.

    >>> merge([7, 99, 9, 1], [99, 8, 8, 1], sentinels=[99, 98], eos=1)
    [7, 8, 8, 9]
    """
    inputs, targets = ([*side[:-1], *(token for token in side[-1:] if token != eos)] for side in (inputs, targets))
    if targets and inputs and inputs[0] in modes:
        inputs = inputs[1:]
    spans: dict[int, list[int]] = {}
    rest: list[int] = []
    span = rest
    for token in targets:
        if token in sentinels:
            span = spans[token] = []
        else:
            span.append(token)
    return [t for token in inputs for t in spans.get(token, [token])] + rest
