"""Every instruction set of the machine gives the same results. Each needs a process of its own: the core looks once."""

import os
import subprocess
import sys

import pytest

# Rows of 0 to 400 tokens, in three types, through every kernel; what comes out is hashed.
PROGRAM = """
import hashlib
import numpy as np
import spanmask
from spanmask import *

def update(digest, result):
    for value in vars(result).values():
        if isinstance(value, Ragged):
            value = value.values
        if isinstance(value, np.ndarray):
            digest.update(value.tobytes())

rng = np.random.default_rng(7)
digest = hashlib.sha256()
chat = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
words = {"whole_word_mask": True, "continuation_ids": range(20, 26), "special_ids": [0, 1]}
for dtype in (np.uint16, np.int32, np.int64):
    lengths = rng.integers(0, 400, 60)
    ids = rng.integers(2, 30, lengths.sum()).astype(dtype)
    ids[rng.random(len(ids)) < 0.2] = 5
    rows = Ragged(ids, np.concatenate([[0], np.cumsum(lengths)]))
    update(digest, mask_labels(rows, chat, MaskPolicy(ignore_ids=[9], role_weights={"assistant": 0.5})))
    update(digest, corrupt(rows, SpanCorruption(range(200, 100, -1), 1, protected_ids=[8, 11], on_exhausted="merge_last"), seed=3))
    update(digest, mask_tokens(rows, MaskedLM(4, 40, **words), seed=3))
    update(digest, infill(rows, TextInfilling(4, sentence_end_ids=[2], permute_sentence_ratio=0.5, **words), seed=3))
    update(digest, diffuse(rows, MaskedDiffusion(4, special_ids=[0, 1, 2]), seed=3))
    update(digest, fill_in_the_middle(rows, FillInTheMiddle(90, 91, 92, boundary_ids=[2]), seed=3))
print(spanmask._core.simd_level(), digest.hexdigest())
"""


def run(level):
    """The level that was used, and the digest."""
    environment = {**os.environ, "SPANMASK_SIMD": level}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("level", ["avx2", "avx512"])
def test_a_level_gives_what_the_baseline_gives(level):
    used, digest = run(level)
    if used != level:
        pytest.skip(f"this machine's best is {used}")
    assert run("baseline") == ["baseline", digest]
