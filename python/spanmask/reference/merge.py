"""The inverse of span corruption. Twin of `noise/merge.rs`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

__all__ = ["merge"]


def merge(
    inputs: Sequence[int],
    targets: Sequence[int],
    sentinels: Collection[int],
    eos: int | None = None,
    mode_tokens: Collection[int] = (),
) -> list[int]:
    """Undo span corruption: each span replaces its sentinel again.

    EOS is removed, and a mode token at the beginning of the inputs is dropped. Targets before the first sentinel continue the
    inputs.

    >>> merge([7, 99, 9, 1], [99, 8, 8, 1], sentinels=[99, 98], eos=1)
    [7, 8, 8, 9]
    """
    inputs, targets = ([*side[:-1], *(token for token in side[-1:] if token != eos)] for side in (inputs, targets))
    if targets and inputs and inputs[0] in mode_tokens:
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
