"""What an installed spanmask must do with NumPy alone: mask answers, hide spans. The last line is its version.

Run by `release/install.py`, outside of the source tree. The noise is compared with fixed numbers: all platforms must draw the same.
"""

import sys

import numpy as np
import spanmask
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, SpanCorruption, corrupt, mask_labels, merge

USER, ASSISTANT, END = [91, 11], [91, 12], [92]
CHAT = [*USER, 5, 6, *END, *ASSISTANT, 7, 8, 9, *END]


def mask_answers():
    chat = ChatFormat([RoleBoundary("user", USER, END), RoleBoundary("assistant", ASSISTANT, END)])
    out = mask_labels([np.array(CHAT), np.array(CHAT[:5])], chat, MaskPolicy())
    assert [row.tolist() for row in out.labels] == [[-100] * 7 + [7, 8, 9, 92], [-100] * 5], out.labels
    assert out.report.trained_tokens == 4, out.report


def hide_spans():
    spec = SpanCorruption(sentinel_ids=range(32099, 31999, -1), eos_token_id=1)
    row = [100, 107, 114, 121, 128, 135, 142, 149, 156, 1]
    out = corrupt([row], spec, seed=42, epoch=1)
    assert out.input_ids[0].tolist() == [100, 107, 114, 121, 128, 135, 142, 149, 32099, 1], out.input_ids
    assert out.labels[0].tolist() == [32099, 156, 1], out.labels
    rows = [np.arange(2, 1500, dtype=np.int32), np.arange(2, 40, dtype=np.int32)]
    out = corrupt(rows, spec, seed=7, num_threads=2)
    assert [row.tolist() for row in merge(out.input_ids, out.labels, spec)] == [row.tolist() for row in rows]


if __name__ == "__main__":
    mask_answers()
    hide_spans()
    others = {"accelerate", "datasets", "jinja2", "pyarrow", "rich", "torch", "transformers", "typer"} & set(sys.modules)
    assert not others, others
    print(spanmask.__version__)
