"""Fill-in-the-middle for one row. Twin of `noise/fill_in_the_middle/`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Any

from spanmask.reference.bounded import below, threshold
from spanmask.reference.key import row_key
from spanmask.reference.philox import FILL_IN_THE_MIDDLE, Stream, stream

__all__ = ["fill_in_the_middle", "merge_documents"]

# The order of the parts, and how many tokens precede middle and suffix.
Split = tuple[str, int, int]


def fill_in_the_middle(
    row: Sequence[int],
    spec: Any,
    seed: int = 0,
    epoch: int = 0,
    key: int | None = None,
    rate: float | None = None,
    splits: Sequence[Split | None] | None = None,
    max_length: int | None = None,
    ignore_index: int = -100,
) -> tuple[list[int], list[int]]:
    """Input ids and labels of one row. `spec`: a `FillInTheMiddle`; `key`: 64 bits, by default the row's hash.

    >>> from spanmask import FillInTheMiddle
    >>> spec = FillInTheMiddle(90, 91, 92, boundary_ids=[0])
    >>> fill_in_the_middle([5, 6, 7, 8, 9, 0], spec, splits=[("spm", 1, 3)])[0]
    [90, 92, 8, 9, 91, 5, 6, 7, 0]
    """
    row = list(row)
    check(row, spec)
    limit = len(row) if spec.length == "cut" else None
    limit = min((length for length in (limit, max_length) if length is not None), default=None)
    words = stream(seed, epoch, row_key(row) if key is None else key, FILL_IN_THE_MIDDLE)
    limits = threshold(spec.rate if rate is None else rate), threshold(spec.spm_rate)
    inputs: list[int] = []
    labels: list[int] = []
    number = 0
    for is_boundary, piece in pieces(row[:limit] if spec.level == "context" else row, spec.boundary_ids):
        if is_boundary or (limit is not None and len(inputs) >= limit):
            inputs, labels = inputs + piece, labels + piece
            continue
        given = None if splits is None else (splits[number] if number < len(splits) else None)
        number += 1
        room = limit - len(inputs) if limit is not None and (spec.level, spec.length) == ("context", "grow") else None
        prompt, answer, rest = transformed(piece, spec, next_order(words, limits, splits is not None, given), given, words, room)
        inputs += prompt + answer + rest
        labels += (prompt if spec.loss == "all" else [ignore_index] * len(prompt)) + answer + rest
    return inputs[:limit], labels[:limit]


def next_order(words: Stream, limits: tuple[int, int], is_given: bool, given: Split | None) -> str | None:
    """The order of the next document, `None` if it is not transformed: one word decides that, another one the order."""
    if is_given:
        return None if given is None else given[0]
    if words.next_u32() >= limits[0]:
        return None
    return "spm" if words.next_u32() < limits[1] else "psm"


def transformed(
    document: list[int], spec: Any, order: str | None, given: Split | None, words: Stream, room: int | None
) -> tuple[list[int], list[int], list[int]]:
    """What precedes the middle, the middle, and what is not transformed."""
    if order is None:
        return [], [], document
    eot = [] if spec.eot_id is None else [spec.eot_id]
    added = (2 if order == "spm" and spec.spm_format == "unmarked" else 3) + len(eot)
    if room is not None:
        if room <= added:
            return [], [], document
        document = document[: room - added]
    if given is None:
        first, second = sorted(below(words, len(document) + 1) for _ in range(2))
    else:
        first, second = given[1:]
    if not 0 <= first <= second <= len(document):
        raise ValueError(f"cuts {first}, {second} of {len(document)} tokens")
    prefix, middle, suffix = document[:first], document[first:second], document[second:]
    if spec.length == "keep":
        if len(suffix) <= added:
            return [], [], document
        suffix = suffix[:-added]
    pre, mid, suf = [spec.prefix_id], [spec.middle_id], [spec.suffix_id]
    prompts = {
        "joint": pre + suf + suffix + mid + prefix,
        "plain": suf + suffix + pre + prefix + mid,
        "unmarked": suf + suffix + pre + prefix,
    }
    return prompts[spec.spm_format] if order == "spm" else pre + prefix + suf + suffix + mid, middle + eot, []


def pieces(row: Iterable[int], boundaries: Collection[int]) -> list[tuple[bool, list[int]]]:
    """The documents of a row, and what is between them (marked with True), in order."""
    return [(is_boundary, list(run)) for is_boundary, run in groupby(row, key=lambda token: token in boundaries)]


def merge_documents(ids: Sequence[int], spec: Any) -> list[int]:
    """The row of which a row of input ids was made.

    >>> from spanmask import FillInTheMiddle
    >>> merge_documents([90, 92, 8, 9, 91, 5, 6, 7, 0], FillInTheMiddle(90, 91, 92, boundary_ids=[0]))
    [5, 6, 7, 8, 9, 0]
    """
    row: list[int] = []
    for is_boundary, piece in pieces(ids, spec.boundary_ids):
        row += piece if is_boundary else merged(piece, spec)
    return row


def merged(document: list[int], spec: Any) -> list[int]:
    """The parts of a document in their original order. Raises ValueError if they are not complete."""
    pre, mid, suf, eot = spec.prefix_id, spec.middle_id, spec.suffix_id, spec.eot_id
    markers = [token for token in document if token in (pre, mid, suf) or (eot is not None and token == eot)]
    if not markers:
        return document
    if eot is not None:
        if document[-1] != eot or markers.count(eot) != 1:
            raise ValueError("no end")
        document, markers = document[:-1], markers[:-1]
    if not document or document[0] not in (pre, suf):
        raise ValueError("no beginning")
    places = [at for at, token in enumerate(document) if token in (pre, mid, suf)]
    parts = [document[start + 1 : stop] for start, stop in zip(places, [*places[1:], len(document)], strict=True)]
    if markers == [pre, suf, mid]:
        return parts[0] + parts[2] + parts[1]
    if markers == [suf, pre, mid]:
        return parts[1] + parts[2] + parts[0]
    if markers == [suf, pre] and spec.spm_format == "unmarked":
        return parts[1] + parts[0]
    raise ValueError(f"markers {markers}")


def check(row: Sequence[int], spec: Any) -> None:
    """Raise for ids that no row may contain."""
    for token in row:
        if not 0 <= token < 2**32:
            raise ValueError(f"id {token}")
        if token in (spec.prefix_id, spec.middle_id, spec.suffix_id, spec.eot_id) and spec.on_sentinel == "raise":
            raise ValueError(f"sentinel {token}")
