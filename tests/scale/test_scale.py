"""Rows and totals beyond 2^31 and 2^32 tokens. The ids are zeros but for a few turns, of memory that is never written, so that a case takes
few gigabytes: its outputs.

`make test-scale` runs these. Each case runs in its own process, one after the other.
"""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

pytestmark = pytest.mark.scale
LONG, LONGER = (1 << 31) + 9, (1 << 32) + 1_000
ANSWER = [5, 6, 9, 8, 2]  # of the assistant; 9, 8 and 2 train


def rows_of(*lengths, dtype=np.uint16):
    """Rows that end with an answer."""
    from spanmask import Ragged

    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = np.zeros(int(offsets[-1]), dtype)
    for stop in offsets[1:]:
        values[stop - len(ANSWER) : stop] = ANSWER
    return Ragged(values, offsets)


def chat(**options):
    from spanmask import DataCollatorForChat
    from support.letters import Letters
    from support.long_calls import FORMAT

    return DataCollatorForChat(Letters(), chat_format=FORMAT, return_tensors="np", on_untrained_batch="ignore", **options)


def turns_are_found_beyond_32_bits():
    from spanmask import find_turns
    from support.long_calls import FORMAT

    lengths = [LONG, 7, LONGER]
    turns = find_turns(rows_of(*lengths), FORMAT)
    assert turns.row.tolist() == [0, 1, 2]
    assert turns.start.tolist() == [length - 5 for length in lengths]
    assert turns.content_start.tolist() == [length - 3 for length in lengths]
    assert turns.stop.tolist() == lengths


def many_rows_beyond_32_bits():
    from spanmask import find_turns
    from support.long_calls import FORMAT

    rows = rows_of(*[1 << 20] * 4_100)
    assert rows.offsets[-1] > 1 << 32
    turns = find_turns(rows, FORMAT)
    assert turns.row.tolist() == [*range(4_100)]
    assert set(turns.start.tolist()) == {(1 << 20) - 5}


def a_batch_is_cut_from_longer_rows():
    made = chat(max_length=8)
    batch = made({"input_ids": rows_of(LONG, 9, LONGER)})
    assert batch["labels"].tolist() == [[-100] * 8, [-100] * 6 + [9, 8], [-100] * 8]
    assert made.report.reasons == {"truncated by max_length=8 before the answer": 2}
    assert made.report.turns["assistant"] == 1  # before the cuts


def rows_at_the_end_of_longer_values():
    """The rows are short; they are beyond 2^32 in their values, as the real tokens of padded rows can be."""
    from spanmask import MaskedLM, SpanCorruption, _core
    from spanmask.ragged import Column
    from support.long_calls import FORMAT

    values = np.zeros(LONGER, np.uint16)
    values[-1_000:] = 10 + np.arange(1_000) % 50
    values[-5:] = ANSWER
    starts, stops = np.array([0, 500]), np.array([500, 1_000])
    far = Column(values, starts + (LONGER - 1_000), stops + (LONGER - 1_000))
    near = Column(values[-1_000:].copy(), starts, stops)
    spans, masks = SpanCorruption(range(100, 200), 1)._compiled, MaskedLM(4, 100)._compiled
    padded = _core.Layout.padded("right", None, None)
    noised, turns = [], []
    for rows in (far, near):
        corrupted = _core.corrupt(rows, spans, seed=1, epoch=0)
        masked = _core.mask_tokens(rows, masks, seed=1, epoch=0, ignore_index=-100, layout=padded)
        noised.append([corrupted.input_ids, corrupted.labels, masked.input_ids, masked.labels])
        found = _core.find_turns(rows, FORMAT._compiled)
        turns.append([found.row, found.start, found.content_stop])
    assert all(map(np.array_equal, noised[0], noised[1]))
    assert all(map(np.array_equal, turns[0], turns[1]))
    assert len(turns[0][0])


def an_output_of_more_places():
    """Flags, a byte each: 4 GiB."""
    from spanmask import Ragged

    flags = np.zeros(LONGER, np.bool_)
    flags[[0, LONG, -1]] = True
    padded = Ragged(flags, np.array([0, LONGER - 1, LONGER])).to_padded(False)
    assert padded.shape == (2, LONGER - 1)
    assert np.flatnonzero(padded[0]).tolist() == [0, LONG]
    assert padded[1, 0]
    assert not padded[1, 1:].any()


def spans_of_a_longer_row():
    from spanmask import DataCollatorForSpanCorruption, SpanCorruption
    from support.letters import Letters

    made = DataCollatorForSpanCorruption(
        Letters(), seed=1, spec=SpanCorruption(range(100, 200), 1), inputs_length=64, targets_length=32, return_tensors="np"
    )
    batch = made({"input_ids": rows_of(LONG, 300)})
    assert batch["input_ids"].shape == (2, 64)
    assert (batch["labels"][0] >= 100).sum() == (batch["input_ids"][0] >= 100).sum() > 0
    with pytest.raises(ValueError, match=r"row 0 has 4294968296 tokens; noise accepts up to 2\*\*32 - 4"):
        made({"input_ids": rows_of(LONGER)})


def documents_of_a_longer_row():
    from spanmask import FillInTheMiddle, fill_in_the_middle

    rows = rows_of(LONG)
    out = fill_in_the_middle(rows, FillInTheMiddle(90, 91, 92, boundary_ids=[2], rate=0.0), max_length=16)
    assert out.input_ids.to_list() == [[0] * 16]


def flags_of_a_longer_row():
    from spanmask import SpanCorruption, _core

    rows = rows_of(LONG)
    spec = SpanCorruption([100, 101], on_exhausted="fewer_spans", noise_density=0.25)
    start = time.monotonic()
    mask = _core.noise_mask(rows, spec._compiled, seed=1, epoch=0)
    print(f"{time.monotonic() - start:.1f} s", file=sys.stderr)
    assert mask.shape == (LONG,)
    assert mask.sum() == round(LONG * 0.25)


CASES = [
    name for name, made in globals().items() if getattr(made, "__module__", None) == __name__ and name not in ("rows_of", "chat")
]


def run(name):
    import resource

    start = time.monotonic()
    globals()[name]()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(json.dumps({"seconds": round(time.monotonic() - start, 1), "peak GiB": round(peak, 2)}))


@pytest.mark.parametrize("name", CASES)
def test_scale(name):
    code = f"import sys; sys.path[:0] = {sys.path!r}; from scale import test_scale; test_scale.run({name!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    print(name, done.stdout.strip(), done.stderr.strip()[-300:])
    assert json.loads(done.stdout)["peak GiB"] < 10
