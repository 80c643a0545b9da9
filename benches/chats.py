"""Chat rows to mask: random ids in turns whose markers are three ids long; EOS closes every answer."""

import numpy as np
from spanmask import ChatFormat, RoleBoundary

EOS = 2
ASSISTANT, USER = (5, 6, 9), (5, 7, 9)  # headers: "ASSISTANT:" and "USER:"
FORMAT = ChatFormat([RoleBoundary("assistant", ASSISTANT, [EOS]), RoleBoundary("user", USER)])
LOWEST = 100  # ids below are markers


def chat_rows(rows, length, turns, dtype="int64"):
    """Ids [rows, length]: `turns` turns of equal length in each row, alternating between user and assistant."""
    ids = np.random.default_rng(0).integers(LOWEST, 32000, (rows, length)).astype(dtype)
    size = length // turns
    for turn in range(turns):
        ids[:, turn * size : turn * size + 3] = ASSISTANT if turn % 2 else USER
        if turn % 2:
            ids[:, (turn + 1) * size - 1] = EOS
    return ids


def chat_format(markers):
    """A format with this many markers: one, or those of `FORMAT` and starts of roles that occur in no row, each with its own first id."""
    if markers == 1:
        return ChatFormat([RoleBoundary("assistant", ASSISTANT)])
    others = [RoleBoundary(f"role {number}", (10 + number, 8, 9)) for number in range(markers - 3)]
    return ChatFormat([*FORMAT.boundaries, *others])
