"""Sizes beyond memory, memory and threads that are not there, panics and forks: typed errors, and a process that goes on."""

import ast
import os
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from spanmask import DataCollatorForChat, DataCollatorForMaskedLM, DataCollatorForSpanCorruption, MaskedLM, SpanCorruption, _core
from support.programs import output_of
from support.public_callables import FORMAT, ROW, TOKENIZER

ROOT = Path(__file__).parents[2]
EXAMPLES = [{"input_ids": ROW}] * 8
OPTIONS = {"tokenizer": TOKENIZER, "return_tensors": "np"}
SPANS = {**OPTIONS, "seed": 0, "spec": SpanCorruption([99], 1, on_exhausted="merge_last")}


@pytest.mark.parametrize("size", [2**50, 2**62, 2**63 - 1])
@pytest.mark.parametrize(
    "collator",
    [
        lambda size: DataCollatorForChat(**OPTIONS, chat_format=FORMAT, pad_to_multiple_of=size),
        lambda size: DataCollatorForMaskedLM(**OPTIONS, seed=0, spec=MaskedLM(4, 100), pad_to_multiple_of=size),
        lambda size: DataCollatorForSpanCorruption(**SPANS, pad_to_multiple_of=size),
        lambda size: DataCollatorForSpanCorruption(**SPANS, inputs_length=512, targets_length=size),
    ],
)
def test_sizes_beyond_memory_are_memory_errors_with_the_size(collator, size):
    with pytest.raises(MemoryError, match=r"rows: an output of shape \[.*\] takes [\d.]+ GiB"):
        collator(size)(EXAMPLES)


def test_widths_of_a_density_near_one_are_a_memory_error():
    spec = SpanCorruption(range(20, 40), noise_density=float(np.nextafter(1, 0)))
    collator = DataCollatorForSpanCorruption(**OPTIONS, seed=0, spec=spec, inputs_length=20)
    assert collator.targets_length > 2**31
    with pytest.raises(MemoryError, match="inputs_length"):
        collator(EXAMPLES * 64)


SHORT = """
import resource
import numpy as np
from spanmask import *
rows = Ragged(np.full(2_000_000, 9, np.uint16), np.arange(2_000_001))
whole = Ragged(np.full(8_000_000, 9, np.uint16), np.arange(0, 8_000_001, 8000))
spec = SpanCorruption(range(20, 4000), 1)
fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
arrays = list(np.split(whole.values, 1000))
CALLS = [
    lambda: corrupt(rows, spec), lambda: corrupt(whole, spec), lambda: corrupt(whole, spec).noise_mask,
    lambda: mask_tokens(rows, MaskedLM(4, 100)), lambda: mask_tokens(whole, MaskedLM(4, 100)), lambda: mask_labels(rows, fmt),
    lambda: mask_labels(whole, fmt), lambda: Ragged.from_rows(arrays), lambda: whole.to_padded(0), lambda: find_turns(rows, fmt),
    lambda: infill(rows, TextInfilling(4)), lambda: fill_in_the_middle(rows, FillInTheMiddle(90, 91, 92)),
]
corrupt([[1, 2, 3]], spec)
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + MIB * 2**20,) * 2)
for number, call in enumerate(CALLS):
    try:
        call()
    except MemoryError as error:
        assert str(error), number
        print(number)
"""


@pytest.mark.parametrize("mib", [4, 12, 24])
def test_too_little_memory_is_a_memory_error(mib):
    assert output_of(SHORT.replace("MIB", str(mib)), RUST_BACKTRACE="1").split(), "no call was short of memory"


LONG_ROW = """
import resource
import numpy as np
from spanmask import *
row = Ragged(np.arange(8_000_000, dtype=np.uint16) % np.uint16(900) + np.uint16(10), np.array([0, 8_000_000]))
flags = Ragged(np.ones(8_000_000, np.bool_), row.offsets)
infill([[5, 6, 7]], TextInfilling(4), word_starts=[[True] * 3])
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + 24 * 2**20,) * 2)
try:
    infill(row, TextInfilling(4), word_starts=flags)  # 8 bytes for each word, before there are outputs
except MemoryError as error:
    print(error)
assert len(infill([[5, 6, 7]], TextInfilling(4)).labels) == 1
"""


def test_too_little_working_memory_for_one_row_is_a_memory_error():
    assert re.match(r"rows: working memory of [\d.]+ GiB does not fit in memory", output_of(LONG_ROW))


# Repeats a call with STEP MiB more each time, until it succeeds.
UNTIL_IT_FITS = """
used = int(open("/proc/self/statm").read().split()[0]) * 4096
for mib in range(1, MOST, STEP):
    resource.setrlimit(resource.RLIMIT_AS, (used + mib * 2**20, -1))
    try:
        CALL
    except MemoryError as error:
        print("short:", error)
    else:
        print("done")
        break
"""


def lines_until_it_fits(setup, call, most, step):
    """What a program prints that calls with more and more memory, from 1 MiB to `most`."""
    loop = UNTIL_IT_FITS.replace("CALL", call).replace("MOST", str(most)).replace("STEP", str(step))
    return output_of(setup + loop).splitlines()


STARVED = """
import resource
import numpy as np
from spanmask import *
from spanmask import _core
fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
fim = FillInTheMiddle(90, 91, 92, boundary_ids=[0], rate=1)
rows = Ragged(np.tile(np.array([5, 6, 2], np.uint16), 200_000), np.arange(0, 600_001, 3))
documents = Ragged(np.tile(np.array([9, 0], np.uint16), 200_000), np.arange(0, 400_001, 400))
turns, filled = find_turns(rows, fmt), fill_in_the_middle(documents, fim)
"""


@pytest.mark.parametrize(
    "call",
    [
        "find_turns(rows, fmt)",
        "_core.find_all(np.tile(rows.values, 10), [[5], [5, 6]])",
        "mask_labels(rows, turns)",
        "fill_in_the_middle(documents, fim)",
        "fill_in_the_middle(documents, fim, splits=filled.splits)",
        "merge(filled.input_ids, None, fim)",
    ],
)
def test_lists_that_grow_with_rows_are_memory_errors_until_they_fit(call):
    *short, last = lines_until_it_fits(STARVED, call, 300, 2)
    assert last == "done"
    assert short
    assert all(re.match("short: .", line) for line in short)


MANY = """
import resource
import numpy as np
from spanmask import *
fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
rows = Ragged(np.array([5, 6, 2], np.uint16), np.append(0, np.full(1_000_000, 3)))  # all but the first are empty
turns, grid = find_turns(rows, fmt), np.ones((1_000_000, 1), np.int64)
diffusion = MaskedDiffusion(4, antithetic=True)
arrays = [rows.values] * 300_000
"""


@pytest.mark.parametrize(
    "call",
    [
        "mask_labels(rows, turns)",
        "mask_labels(grid, fmt, attention_mask=grid)",
        "diffuse(rows, diffusion)",
        "Ragged.from_rows(arrays)",
    ],
)
def test_lists_with_an_entry_for_each_row_are_memory_errors_until_they_fit(call):
    *short, last = lines_until_it_fits(MANY, call, 400, 3)
    assert last == "done"
    assert short
    assert all(line.startswith("short:") for line in short)  # Python's own lists give no reason


def test_without_further_threads_those_that_there_are_do_all_work():
    program = """
import os, resource
import numpy as np
from spanmask import *
fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
rows = Ragged(np.full(2_000_000, 9, np.uint16), np.arange(0, 2_000_001, 1000))
wanted = mask_labels(rows, fmt, num_threads=2).labels
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
if os.getuid() == 0:
    os.setuid(65534)  # the limit does not bind root
assert mask_labels(rows, fmt, num_threads=10**6).labels == wanted
"""
    output_of(program)


def test_a_panic_is_an_exception_that_asks_for_a_report():
    with pytest.raises(RuntimeError, match=r"a fault of this library ended the call: found \{\}\. .* report it"):
        _core.panic("found {}")


def test_every_function_of_the_binding_is_guarded():
    found, unguarded = 0, []
    for file in sorted((ROOT / "rust" / "py" / "src").glob("*.rs")):
        blocks = re.findall(r"#\[pyfunction\]\n((?:.*\n)*?)(?:pub )?fn (\w+)", file.read_text())
        for block in re.findall(r"#\[pymethods\]\n(.*?)\n}\n", file.read_text(), re.S):
            blocks += re.findall(r"((?:    (?:#\[|///).*\n(?:        .*\n|    \)\)\]\n)*)*)    (?:pub )?fn (\w+)", block)
        found += len(blocks)
        unguarded += [f"{file.name}: {name}" for attributes, name in blocks if "#[guarded]" not in attributes]
    assert unguarded == []
    assert found >= 30  # the patterns still fit the source code


def test_a_fork_while_a_thread_counts_a_batch_does_not_hang():
    collator = DataCollatorForChat(**OPTIONS, chat_format=FORMAT)
    collator(EXAMPLES)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with collator._running._lock:
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    entered.wait(60)
    child = os.fork()
    if not child:  # no assertion here: the child must not return into pytest
        counted = collator(EXAMPLES) and collator.report.rows
        os._exit(0 if counted == 16 else 1)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_numpy_only_processes_need_no_torch():
    program = """
import sys
sys.modules["torch"] = None  # as if it were not installed
sys.path.insert(0, TESTS)
from spanmask import *
class Letters:
    pad_token_id, eos_token_id, mask_token_id, padding_side, all_special_ids = 0, 1, 4, "right", (0,)
    def __len__(self): return 100
    def decode(self, ids, **options): return ""
options = {"tokenizer": Letters(), "return_tensors": "np"}
rows = [{"input_ids": [5, 6, 9, 2] * 9}] * 2
fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2])])
DataCollatorForSpanCorruption(**options, spec=SpanCorruption(range(20, 40)))(rows)
DataCollatorForMaskedLM(**options, spec=MaskedLM(4, 100))(rows)
DataCollatorForTextInfilling(**options, spec=TextInfilling(4))(rows)
DataCollatorForFillInTheMiddle(**options, spec=FillInTheMiddle(90, 91, 92))(rows)
print(DataCollatorForChat(**options, chat_format=fmt)(rows)["labels"].shape)
"""
    assert ast.literal_eval(output_of(program.replace("TESTS", repr(str(ROOT / "tests"))))) == (2, 36)
