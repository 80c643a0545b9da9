"""`collator.counts`: what this process and the workers of its loaders made, each batch once."""

import copy
import json
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, MaskReport, RoleBoundary, SpanmaskWarning, _core
from spanmask.collators.counts import MaskCounts, SharedCounts, numbers_of
from spanmask.integrations.counts_log import CountsLog
from spanmask.noise.training import for_training
from support.tiny_models import CONVERSATIONS, chat_tokenizer
from torch.utils.data import DataLoader

pytestmark = pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens")
TOKENIZER = chat_tokenizer()
# Every fourth row has no answer; long rows are cut.
ROWS = [{"messages": messages[:1] if number % 4 == 3 else messages} for number, messages in enumerate(CONVERSATIONS)]


def collator(**options):
    return DataCollatorForChat(TOKENIZER, **{"max_length": 40, "on_untrained_batch": "ignore", **options})


def counted(batches):
    """An independent count of what padded batches hold."""
    labels = [row for batch in batches for row in batch["labels"].tolist()]
    trained = [sum(label != -100 for label in row) for row in labels]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    return len(labels), tokens, sum(trained), trained.count(0)


def seen(counts):
    return counts.rows, counts.tokens, counts.trained_tokens, counts.untrained_rows


def test_counts_are_those_of_the_report():
    made = collator(policy=MaskPolicy(on_untrained_row="drop"))
    made(ROWS)
    report, counts = made.report, made.counts
    for name in ("rows", "tokens", "trained_tokens", "truncated_turns", "aligned_rows", "searched_rows"):
        assert getattr(counts, name) == getattr(report, name), name
    assert counts.untrained_rows == report.untrained_row_count == counts.dropped_rows == 3
    assert counts.truncated_turns > 0
    assert counts.aligned_rows == 12
    as_dict = json.loads(json.dumps(report.to_dict()))
    assert as_dict["untrained_rows"] == [[row, "no assistant message, only user"] for row in (3, 7, 11)]
    assert as_dict["reasons"] == {"no assistant message, only user": 3}
    assert as_dict["turns"] == report.turns
    assert (as_dict["untrained_row_count"], as_dict["trained_share"]) == (3, report.trained_tokens / report.tokens)
    assert set(vars(report)) < set(as_dict)
    assert MaskReport().to_dict()["trained_share"] == 0
    assert counts.to_dict() == {**vars(counts), "trained_share": report.trained_tokens / report.tokens}


def test_counts_of_ids_that_are_searched_for_and_dropped():
    fmt = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
    made = collator(chat_format=fmt, policy=MaskPolicy(on_role_mismatch="drop"))
    good = {"input_ids": [5, 6, 9, 2], "messages": [{"role": "assistant", "content": "x"}]}
    bad = {"input_ids": [5, 7, 9, 2, 5, 6, 9, 2], "messages": [{"role": "assistant", "content": "x"}]}
    assert len(made([good, bad, good])["labels"]) == 2
    assert made.counts == MaskCounts(rows=3, tokens=16, trained_tokens=6, dropped_rows=1, role_mismatches=1)
    with pytest.raises(ValueError, match="all rows of this batch were dropped"):
        made([bad])
    assert made.counts.dropped_rows == 2


@pytest.mark.parametrize(
    ("workers", "start", "persistent"),
    [
        (0, None, False),
        (2, "fork", False),
        (2, "fork", True),
        pytest.param(1, "spawn", False, marks=pytest.mark.slow),
        pytest.param(2, "forkserver", True, marks=pytest.mark.slow),
    ],
)
def test_each_batch_of_each_worker_is_counted_once(workers, start, persistent):
    made = collator()
    made(ROWS[:2])  # counted in this process, before there is memory to share
    before = made.counts
    loader = DataLoader(
        ROWS, batch_size=2, collate_fn=made, num_workers=workers, multiprocessing_context=start, persistent_workers=persistent
    )
    batches = [batch for _ in range(2) for batch in loader]
    assert seen(made.counts - before) == counted(batches)
    assert made.counts.untrained_rows == 2 * 3
    made(ROWS[:2])
    assert (made.counts - before).rows == 26


def test_training_is_apart_from_everything_else_also_in_workers():
    made = collator()
    options = {"batch_size": 3, "collate_fn": made, "num_workers": 2, "persistent_workers": True}
    training, evaluation = DataLoader(ROWS, **options), DataLoader(ROWS[:5], **options)
    assert for_training(training, [made])
    log = CountsLog([made])
    for _ in range(2):
        batches = [batch for pair in zip(training, evaluation, strict=False) for batch in pair]
        list(training)
        del batches
        assert log.training("train", "total")["train/rows"] >= 12
        assert log.evaluation("eval")["eval/rows"] == 5
    log.start()
    batches = list(training)
    assert seen(MaskCounts(**{key: value for key, value in train(log).items() if key != "trained_share"})) == counted(batches)


def train(log):
    return {
        name.removeprefix("train/"): value for name, value in log.training("train", "total").items() if name.startswith("train/")
    }


def test_the_log_has_what_is_new_and_the_total():
    made, other = collator(), collator()
    log = CountsLog([made, other])
    log.start(training=lambda: True)
    made(ROWS)
    other(ROWS)
    first = log.training("now", "total")
    assert {first["now/rows"], first["total/rows"]} == {24}
    assert log.training("now", "total") == {}
    other(ROWS[:6])
    second = log.training("now", "total")
    assert (second["now/rows"], second["total/rows"]) == (6, 30)
    both = made.counts + other.counts
    assert second["total/trained_share"] == both.trained_tokens / both.tokens
    assert log.evaluation("eval") == {}
    assert list(second)[:7] == [
        f"now/{name}"
        for name in ("trained_share", "rows", "tokens", "trained_tokens", "truncated_turns", "untrained_rows", "aligned_rows")
    ]
    assert not [name for name in second if "dropped" in name or "searched" in name]
    made._counts.add(numbers_of(MaskCounts(rows=1, dropped_rows=1)))
    assert log.training("now", "total")["now/dropped_rows"] == 1
    made(ROWS)
    third = log.training("now", "total")
    assert (third["now/dropped_rows"], third["total/dropped_rows"]) == (0, 1)


def test_a_copy_counts_for_itself():
    made = collator()
    made(ROWS)
    for other in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert other.counts == MaskCounts()
        other(ROWS[:3])
        assert (other.counts.rows, made.counts.rows) == (3, 12)


def test_counts_subtract_add_and_share():
    one, two = MaskCounts(rows=3, tokens=8, trained_tokens=2), MaskCounts(rows=1, tokens=4, searched_rows=5)
    assert one + two - two == one
    assert (one.trained_share, MaskCounts().trained_share) == (0.25, 0.0)
    with pytest.raises(TypeError):
        one + 1
    with pytest.raises(TypeError):
        one - 1


def count_many(counts, times):
    for _ in range(times):
        counts.add(numbers_of(MaskCounts(rows=1, tokens=2)))


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow), "forkserver"])
def test_processes_and_threads_that_add_at_once_lose_nothing(start):
    counts, context = SharedCounts(), multiprocessing.get_context(start)
    processes = [context.Process(target=count_many, args=(counts, 4_000)) for _ in range(3)]
    threads = [threading.Thread(target=count_many, args=(counts, 4_000)) for _ in range(2)]
    for part in (*threads, *processes):
        part.start()
    for part in (*threads, *processes):
        part.join()
    assert counts.read(training=False) == MaskCounts(rows=20_000, tokens=40_000)
    assert counts.read(training=True) == MaskCounts()


def test_a_worker_that_is_killed_holds_nobody_up():
    counts, context = SharedCounts(), multiprocessing.get_context("fork")
    victim = context.Process(target=count_many, args=(counts, 10**9))
    victim.start()
    while not counts.read(training=False).rows:
        pass
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    before = counts.read(training=False).rows
    other = context.Process(target=count_many, args=(counts, 10))
    other.start()
    other.join(30)
    assert counts.read(training=False).rows == before + 10


def test_children_forked_while_threads_use_a_collator_go_on():
    """No lock is copied by a fork."""
    counts, stop = SharedCounts(), threading.Event()

    def busy():
        while not stop.is_set():
            counts.add(numbers_of(MaskCounts(rows=1)))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            child = multiprocessing.get_context("fork").Process(target=count_many, args=(counts, 5))
            child.start()
            child.join(30)
            assert child.exitcode == 0
    finally:
        stop.set()
        sys.setswitchinterval(before)
        for thread in threads:
            thread.join()
    assert counts.read(training=False).tokens == 2 * 5 * 8


def test_a_process_that_was_started_as_a_rank_starts_at_zero():
    counts, context = SharedCounts(), multiprocessing.get_context("fork")
    counts.add(numbers_of(MaskCounts(rows=7)))
    results = context.SimpleQueue()

    def rank():
        counts.start_here()
        counts.add(numbers_of(MaskCounts(rows=1)))
        worker = context.Process(target=count_many, args=(counts, 3))
        worker.start()
        worker.join()
        results.put(counts.read(training=False).rows)

    ranks = [context.Process(target=rank) for _ in range(2)]
    for process in ranks:
        process.start()
    assert [results.get() for _ in ranks] == [4, 4]
    for process in ranks:
        process.join()
    assert counts.read(training=False).rows == 7
    counts.start_here()
    assert counts.read(training=False).rows == 7


NO_MEMORY = """
import sys, os
from spanmask.collators.counts import MaskCounts, SharedCounts, numbers_of
counts = SharedCounts()
counts.add(numbers_of(MaskCounts(rows=2)))
assert counts.read(training=False).rows == 2
assert "multiprocessing.heap" not in sys.modules  # no shared memory without children
import multiprocessing.heap
def nothing(*args):
    raise OSError("no memory")
os.memfd_create = multiprocessing.heap.Arena.__init__ = nothing
child = os.fork()
if not child:
    counts.add(numbers_of(MaskCounts(rows=5)))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert counts.lost
assert counts.read(training=False).rows == 2
print("counted")
"""


def test_shared_memory_is_only_made_for_children_and_may_be_missing():
    done = subprocess.run([sys.executable, "-W", "error", "-c", NO_MEMORY], capture_output=True, text=True, timeout=90)
    assert (done.stdout.strip(), done.stderr) == ("counted", "")


def test_the_log_says_when_workers_cannot_be_counted():
    made = collator()
    made._counts._integers.lost = True
    with pytest.warns(SpanmaskWarning, match="no memory could be shared with the workers of a loader"):
        log = CountsLog([made])
    log.start()  # said once


def test_the_log_says_when_training_is_not_apart():
    made = collator()
    log = CountsLog([made])
    with pytest.warns(SpanmaskWarning, match="the training loader calls none of these collators"):
        log.start(apart=False)
    made(ROWS)
    assert log.evaluation("eval") == {}
    assert log.training("train", "total")["train/rows"] == 12


@pytest.mark.parametrize("collators", [(), (len,), (None,)])
def test_only_collators_that_count_are_taken(collators):
    with pytest.raises(TypeError, match="^collators: "):
        CountsLog(collators)


@pytest.mark.parametrize(
    "counters", [np.zeros(3, np.int64), np.zeros(4, np.int64)[::2], np.broadcast_to(np.int64(0), 2), np.zeros(2, np.int32)]
)
def test_the_core_takes_no_other_arrays(counters):
    with pytest.raises(
        TypeError, match="counters|is not an instance of 'ndarray'"
    ):  # Python 3.10 does not add the argument's name
        _core.add_shared(counters, [1, 2])
    raw = np.zeros(17, np.uint8)[1:].view(np.int64)  # unaligned
    with pytest.raises(TypeError, match="counters: expected a writable, aligned, contiguous array"):
        _core.add_shared(raw, [1, 2])
