"""The peak memory of a call: its outputs, and little for each row. It is not timed and does not depend on the load of the machine.

Each case runs in its own process, which asks Linux for the most memory that it held since the call began; nothing else sees both NumPy's
memory and Rust's. Inputs are 64 MiB, so that the interpreter's own memory is comparatively small.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROWS, LENGTH = 1024, 8192  # 8M int64 ids: 64 MiB
TINY_ROWS, TINY = 1 << 20, 4
SLACK = 4 << 20  # the allocator, the interpreter, a chunk's scratch
PER_ROW = 192  # bytes in addition to the outputs: bounds, reports, keys


def batch(rows, length):
    """Answers of random ids, made in parts of at most one mebibyte."""
    ids = np.empty((rows, length), np.int64)
    rng = np.random.default_rng(0)
    for at in range(0, rows, 16):
        ids[at : at + 16] = rng.integers(10, 32000, (len(ids[at : at + 16]), length))
    ids[:, :2] = 5, 6
    return ids


def mask_labels(ids):
    from spanmask import ChatFormat, RoleBoundary, mask_labels

    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
    return lambda: [mask_labels(ids, fmt).labels]


def corrupt(ids):
    from spanmask import Ragged, SpanCorruption, corrupt

    rows = Ragged(ids.reshape(-1), np.arange(len(ids) + 1) * ids.shape[1])
    spec = SpanCorruption(range(32000, 34000), 1)

    def call():
        out = corrupt(rows, spec)
        return [out.input_ids.values, out.labels.values]

    return call


def mask_tokens(ids):
    from spanmask import MaskedLM, mask_tokens

    spec = MaskedLM(4, 32000, special_ids=range(5))

    def call():
        out = mask_tokens(ids, spec)
        return [out.input_ids, out.labels]

    return call


def fill_in_the_middle(ids):
    from spanmask import FillInTheMiddle, Ragged, fill_in_the_middle

    rows = Ragged(ids.reshape(-1), np.arange(len(ids) + 1) * ids.shape[1])
    spec = FillInTheMiddle(32000, 32001, 32002, boundary_ids=[0], rate=1.0)

    def call():
        out = fill_in_the_middle(rows, spec)
        return [out.input_ids.values, out.labels.values, *vars(out.splits).values()]

    return call


def infill(ids):
    from spanmask import Ragged, TextInfilling, infill

    rows = Ragged(ids.reshape(-1), np.arange(len(ids) + 1) * ids.shape[1])
    spec = TextInfilling(4)

    def call():
        out = infill(rows, spec)
        return [out.input_ids.values, out.labels.values]

    return call


def diffuse(ids):
    from spanmask import MaskedDiffusion, diffuse

    spec = MaskedDiffusion(4, special_ids=range(5))

    def call():
        out = diffuse(ids, spec)
        return [out.input_ids, out.labels, out.loss_weights]

    return call


def operator(ids, make):
    """A call of an Arrow operator on a table of these ids."""
    import pyarrow as pa

    offsets = pa.array(np.arange(len(ids) + 1) * ids.shape[1])
    table = pa.table({"input_ids": pa.LargeListArray.from_arrays(offsets, pa.array(ids.reshape(-1)))})
    made = make()

    def call():
        out = made(table)
        return [out[name] for name in out.column_names if name == "labels" or out[name].type != table[name].type]

    return call


def chat_operator(ids):
    from spanmask import ChatFormat, RoleBoundary
    from spanmask.arrow import ChatMasker
    from support.denoising import bert_tokenizer

    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
    return operator(ids, lambda: ChatMasker(bert_tokenizer(100), chat_format=fmt))


def masked_lm_operator(ids):
    from spanmask import MaskedLM
    from spanmask.arrow import TokenMasker
    from support.denoising import bert_tokenizer

    return operator(ids, lambda: TokenMasker(bert_tokenizer(100), spec=MaskedLM(4, 32000), seed=0))


def collator(ids, make):
    """A collator's call on NumPy rows, with its tensors as arrays."""
    features = [{"input_ids": row} for row in ids]
    collate = make(return_tensors="np")
    return lambda: list(collate(features).values())


def chat_collator(ids):
    from spanmask import ChatFormat, DataCollatorForChat, RoleBoundary
    from support.denoising import bert_tokenizer

    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
    return collator(ids, lambda **options: DataCollatorForChat(bert_tokenizer(100), chat_format=fmt, **options))


def span_corruption_collator(ids):
    from spanmask import DataCollatorForSpanCorruption, SpanCorruption
    from support.denoising import WORDS, t5_tokenizer

    spec = SpanCorruption(range(32000, 34000), 1)
    return collator(ids, lambda **options: DataCollatorForSpanCorruption(t5_tokenizer(WORDS), spec=spec, seed=0, **options))


def masked_lm_collator(ids):
    from spanmask import DataCollatorForMaskedLM, MaskedLM
    from support.denoising import bert_tokenizer

    spec = MaskedLM(4, 32000, special_ids=range(5))
    return collator(ids, lambda **options: DataCollatorForMaskedLM(bert_tokenizer(100), spec=spec, seed=0, **options))


def fill_in_the_middle_collator(ids):
    from spanmask import DataCollatorForFillInTheMiddle, FillInTheMiddle
    from support.denoising import bert_tokenizer

    spec = FillInTheMiddle(32000, 32001, 32002, boundary_ids=[0])
    return collator(ids, lambda **options: DataCollatorForFillInTheMiddle(bert_tokenizer(100), spec=spec, seed=0, **options))


# How many bytes a call may take per byte of its input, in addition to its outputs. The collators for chat and masked LM join their rows.
COPIES = {
    mask_labels: 0,
    corrupt: 0,
    mask_tokens: 0,
    fill_in_the_middle: 0,
    infill: 0,
    diffuse: 0,
    chat_operator: 1,
    masked_lm_operator: 2,
    span_corruption_collator: 0,
    fill_in_the_middle_collator: 0,
    chat_collator: 1,
    masked_lm_collator: 1,
}


def resident(field):
    """VmRSS or VmHWM of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(field))


def measure(name, rows, length):
    """In the child process: prints by how many bytes the call raises the peak, and the bytes of its outputs."""
    make = globals()[name]
    make(batch(2, 64))()  # imports, first-call memory
    call = make(batch(rows, length))
    Path("/proc/self/clear_refs").write_text("5")  # the peak is measured from here on
    before = resident("VmRSS")
    outputs = call()
    print(json.dumps([resident("VmHWM") - before, sum(output.nbytes for output in outputs)]))


def peak(function, rows, length):
    """Run `measure` in its own process."""
    call = f"from bulk import test_memory; test_memory.measure({function.__name__!r}, {rows}, {length})"
    code = f"import sys; sys.path[:0] = {sys.path!r}; {call}"
    return json.loads(subprocess.check_output([sys.executable, "-c", code], text=True))


pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="asks Linux for the peak of a process")


@pytest.mark.parametrize("function", COPIES, ids=lambda function: function.__name__)
def test_peak_memory_is_the_outputs(function):
    taken, outputs = peak(function, ROWS, LENGTH)
    assert outputs > 30 << 20  # int32 of an operator; others have int64
    assert taken > 0.9 * outputs  # the measurement includes the outputs
    assert taken < outputs + COPIES[function] * 8 * ROWS * LENGTH + PER_ROW * ROWS + SLACK


@pytest.mark.parametrize(
    "function", [mask_labels, corrupt, mask_tokens, fill_in_the_middle, infill, diffuse], ids=lambda function: function.__name__
)
def test_peak_memory_of_tiny_rows_is_a_little_for_each(function):
    taken, outputs = peak(function, TINY_ROWS, TINY)
    assert taken < outputs + PER_ROW * TINY_ROWS + SLACK


@pytest.mark.parametrize(
    "function", [mask_labels, mask_tokens, fill_in_the_middle, diffuse], ids=lambda function: function.__name__
)
def test_peak_memory_of_one_long_row_is_the_outputs(function):
    taken, outputs = peak(function, 1, ROWS * LENGTH)
    assert taken < outputs + SLACK
