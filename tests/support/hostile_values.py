"""Values that no argument expects: of wrong types, sizes, shapes, dtypes, devices, and containers that refuse to be read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

ESCAPE = "\x1b]0;owned\x07\x1b[2J"
NUMBERS = [
    *(
        0,
        1,
        -1,
        3,
        2**31,
        2**32 - 1,
        2**32,
        2**33,
        2**50,
        2**62,
        2**63 - 1,
        2**63,
        2**64 - 1,
        2**64,
        2**70,
        -(2**63),
        -(2**63) - 1,
    ),
    *(10**400, -(10**400), 0.0, 0.5, 1.0, 1.5, -0.5, 1e300, 1e-320, float("nan"), float("inf"), float("-inf")),
    *(np.timedelta64(1, "s"), np.timedelta64(1, "ns"), np.float16(0.5)),
    *(np.float32(0.5), np.float64("nan"), np.int8(5), np.uint64(2**64 - 1), np.int64(-7), np.bool_(True), 1 + 2j),
]
PLAIN = [None, True, False, "", "x", "right", "assistant", ESCAPE, "\ud800", b"", b"x", object(), int, len, ..., slice(3)]
LISTS = [
    *(
        [],
        (),
        {},
        set(),
        [[]],
        [[], []],
        [None],
        [[None]],
        [[[]]],
        [[[1]]],
        [0],
        [1, [2]],
        [[1], [2, 3]],
        [[1, 2], [3]],
        ["a"],
        [["a"]],
    ),
    *(
        [[1.5]],
        [[True]],
        [[2**63]],
        [[2**64]],
        [[10**400]],
        [[-1]],
        [[-(2**63) - 1]],
        [[1], "ab"],
        [[1], None],
        [[1], np.array([1])],
    ),
    *(
        {"a": 1},
        {None: [1]},
        {"input_ids": 5},
        {"input_ids": [[1, 2]]},
        [{}],
        [{"input_ids": None}],
        [{"input_ids": [1]}, 5],
        [(1, 2)],
    ),
    *(
        [[(1, 2)]],
        [{"role": "user"}],
        [[{"role": ESCAPE, "content": None}]],
        range(3),
        [range(3)],
        frozenset([1]),
        [[0.5], [0.5]],
    ),
]
ARRAYS = [
    *(np.array(3), np.array(None), np.zeros(0), np.zeros((2, 0)), np.zeros((0, 3), np.int64), np.zeros((1, 2, 3), np.int64)),
    *(np.array([object()]), np.array(["a"]), np.array([1 + 2j]), np.array([[1.5, 2]]), np.array([[2**64 - 1]], np.uint64)),
    *(np.array(["2020-01-01"], "datetime64[D]"), np.zeros(2, [("a", np.int64)]), np.ones((2, 3), np.float16), np.array([b"x"])),
    *(np.ma.masked_array([[1, 2]], mask=[[0, 1]]), np.arange(6, dtype=">i4").reshape(2, 3), np.arange(12).reshape(3, 4)[:, ::-2]),
    *(
        np.array([[True, False]]),
        [np.array([1]), np.array([1.5])],
        [np.array([1]), np.array([1], np.uint16)],
    ),
    *([np.array(1)], [np.zeros((2, 2), np.int64)]),
]
ARROW = [
    *(pa.array([1, 2]), pa.array([[1], None]), pa.array([[1, None]]), pa.array([["a"]]), pa.array([[0.5]]), pa.array([[True]])),
    *(
        pa.array([None, None]),
        pa.array([], pa.list_(pa.int64())),
        pa.table({"input_ids": [[1, 2]]}),
        pa.table({"x": pa.array([], pa.int64())}),
    ),
    *(pd.Series([1, 2]), pd.Series([[1], [2, 3]]), pd.Series([None, "a"]), pd.DataFrame({"input_ids": [[1]]}), pd.DataFrame()),
]


def tensors() -> list[Any]:
    """Tensors that NumPy cannot read, or that hold no ids."""
    ids = torch.tensor([[1, 2, 3]])
    with warnings.catch_warnings():  # nested and quantized tensors are prototypes
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([ids[0], ids[0, :1]])
        quantized = torch.quantize_per_tensor(torch.ones(2, 3), 0.1, 0, torch.qint8)
    return [
        *(
            torch.tensor(3),
            torch.tensor([1.5]),
            torch.tensor([[True]]),
            torch.ones(2, 2, requires_grad=True),
            torch.zeros(0, 2).long(),
        ),
        *(
            torch._neg_view(ids),
            ids.to(torch.complex64).conj(),
            torch.empty(2, 2, device="meta"),
            ids.to_sparse(),
            ids.bfloat16(),
        ),
        *(quantized, torch.zeros(2, 2, dtype=torch.bits8)),
        *([ids[0], torch.tensor([0.5])], [torch.tensor(1)], nested),
    ]


class Unreadable:
    """Claims to be many things, and is none."""

    def __len__(self) -> int:
        return 2**31

    def __getitem__(self, at: object) -> None:
        raise IndexError("unreadable")

    def __index__(self) -> int:
        return 2**80

    def __float__(self) -> float:
        return float("nan")

    def __repr__(self) -> str:
        return f"Unreadable({ESCAPE!r})"
