"""Arrays that another thread writes while a call reads them without the lock: results or named errors, never memory that nobody wrote.

Each case runs in its own process, whose allocator fills new memory with a pattern that no id has.
"""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys, threading, time
import numpy as np
from spanmask import (
    ChatFormat, FillInTheMiddle, MaskedDiffusion, MaskedLM, MaskPolicy, Ragged, RoleBoundary, SpanCorruption, TextInfilling,
    corrupt, diffuse, fill_in_the_middle, find_turns, infill, mask_labels, mask_tokens,
)

fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
rng = np.random.default_rng(0)
COUNT, LENGTH = 100_000, 500
values, offsets = rng.integers(10, 60, COUNT), np.arange(0, COUNT + 1, LENGTH)
flags = rng.random(COUNT) < 0.2
rows, columns = Ragged(values, offsets.copy()), Ragged(flags, offsets.copy())
rows.offsets = columns.offsets = offsets  # the arrays that the thread writes
right = offsets.copy()
spec = SpanCorruption(range(1000, 3000), 1, protected_ids=[11, 12, 13])
CALLS = {
    "mask_labels": lambda: [mask_labels(rows, fmt, MaskPolicy(ignore_ids=[12])).labels.values],
    "find_turns": lambda: [find_turns(rows, fmt).start],
    "to_padded": lambda: [rows.to_padded(0)],
    "corrupt": lambda: (out := corrupt(rows, spec)) and [out.input_ids.values, out.labels.values],
    "corrupt_given": lambda: [corrupt(rows, spec, noise_mask=columns).labels.values],
    "corrupt_words": lambda: [corrupt(rows, spec, word_starts=columns).labels.values],
    "mask_tokens": lambda: [mask_tokens(rows, MaskedLM(4, 100, special_ids=[11, 12])).labels.values],
    "mask_words": lambda: [mask_tokens(rows, MaskedLM(4, 100, whole_word_mask=True), word_starts=columns).input_ids.values],
    "fill_in_the_middle": lambda: [fill_in_the_middle(rows, FillInTheMiddle(90, 91, 92, boundary_ids=[11])).input_ids.values],
    "diffuse": lambda: [diffuse(rows, MaskedDiffusion(4, special_ids=[11]), protected_mask=columns).input_ids.values],
    "infill": lambda: [infill(rows, TextInfilling(4, special_ids=[11])).input_ids.values],
}
what, name = sys.argv[1:]
done = threading.Event()


def write():
    rng = np.random.default_rng(1)
    while not done.is_set():
        if what == "offsets":
            at = rng.integers(1, len(offsets) - 1)
            offsets[at] = rng.choice([0, 2**62, -5, COUNT, right[at]])
        else:
            at = rng.integers(0, COUNT, 100)
            values[at] = rng.integers(10, 60, 100)
            flags[at] = ~flags[at]


thread = threading.Thread(target=write)
thread.start()
try:
    end = time.monotonic() + 1.0
    while time.monotonic() < end:
        try:
            arrays = CALLS[name]()
        except ValueError as error:
            assert what == "offsets" and "row" in str(error), error
        except RuntimeError as error:
            assert "was changed while the call read it" in str(error), error
        else:
            for array in arrays:
                assert array.size == 0 or (array.min() >= -100 and array.max() < 2**31), "memory that nobody wrote"
finally:
    done.set()
    thread.join()
"""
NAMES = ["mask_labels", "find_turns", "to_padded", "corrupt", "corrupt_given", "corrupt_words", "mask_tokens", "mask_words"]


@pytest.mark.parametrize("name", [*NAMES, "diffuse", "fill_in_the_middle", "infill"])
@pytest.mark.parametrize("what", ["values", "offsets"])
def test_outputs_hold_only_what_was_written(what, name):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, what, name],
        env={**os.environ, "MALLOC_PERTURB_": "165"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
