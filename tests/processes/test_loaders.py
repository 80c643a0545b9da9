"""Loaders with workers of every start method, for each family of collators; workers that are killed.

`make test-processes` starts all methods; `make test` forks.
"""

import itertools
import multiprocessing
import os
import signal

import numpy as np
import pytest
from spanmask import (
    DataCollatorForChat,
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForTextInfilling,
    DataCollatorForVisionChat,
    FillInTheMiddle,
    MaskedDiffusion,
    MaskedLM,
    SpanCorruption,
    TextInfilling,
)
from support.denoising import bert_tokenizer
from support.letters import Letters
from support.long_calls import FORMAT, rows_of
from support.tiny_processors import processor_of
from torch.utils.data import DataLoader

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens"),
    pytest.mark.filterwarnings("ignore:labels. this batch has none"),
    pytest.mark.filterwarnings("ignore:loss_weights. this batch has loss weights"),
]
ROWS = [{"input_ids": row.tolist()} for row in rows_of(12, 60)]
CHATS = [
    {"messages": [{"role": "user", "content": f"hello {number}"}, {"role": "assistant", "content": f"yes {number}"}]}
    for number in range(8)
]
FAMILIES = {
    "chat": lambda: DataCollatorForChat(Letters(), chat_format=FORMAT, on_untrained_batch="warn"),
    "spans": lambda: DataCollatorForSpanCorruption(
        Letters(), seed=3, on_repeat="ignore", spec=SpanCorruption(range(2000, 2100), 1)
    ),
    "masked_lm": lambda: DataCollatorForMaskedLM(Letters(), seed=3, on_repeat="ignore", spec=MaskedLM(4, 60_000)),
    "infilling": lambda: DataCollatorForTextInfilling(Letters(), seed=3, on_repeat="ignore", spec=TextInfilling(4)),
    "middle": lambda: DataCollatorForFillInTheMiddle(
        Letters(), seed=3, on_repeat="ignore", spec=FillInTheMiddle(60_001, 60_002, 60_003)
    ),
    "diffusion": lambda: DataCollatorForMaskedDiffusion(bert_tokenizer(100), seed=3, on_repeat="ignore", spec=MaskedDiffusion(4)),
    "vision": lambda: DataCollatorForVisionChat(processor_of("llava")),
}
BRIEFLY, LATER = ("infilling", "middle", "diffusion"), pytest.mark.processes  # other families: tests/integration, tests/collators


def batches(loader):
    return [{name: value.numpy().copy() for name, value in batch.items()} for batch in loader]


def equal(some, others):
    return len(some) == len(others) and all(
        one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
        for one, other in zip(some, others, strict=True)
    )


@pytest.mark.parametrize(
    ("family", "start", "persistent"),
    [
        pytest.param(
            family, start, persistent, marks=[] if (start, persistent) == ("fork", True) and family in BRIEFLY else LATER
        )
        for family, start, persistent in itertools.product(FAMILIES, ("fork", "spawn", "forkserver"), (True, False))
    ],
)
@pytest.mark.timeout(900)
def test_workers_make_the_batches_of_no_workers(family, start, persistent):
    rows = CHATS if family == "vision" else ROWS
    made, alone = FAMILIES[family](), FAMILIES[family]()
    loader = DataLoader(
        rows, batch_size=3, collate_fn=made, num_workers=2, multiprocessing_context=start, persistent_workers=persistent
    )
    for epoch in (1, 4):
        for collate in (made, alone):
            if hasattr(collate, "set_epoch"):
                collate.set_epoch(epoch)
        assert equal(batches(loader), batches(DataLoader(rows, batch_size=3, collate_fn=alone)))
    if hasattr(made, "counts"):
        assert made.counts == alone.counts


class Killing:
    """Rows, one of which kills the worker that reads it."""

    def __init__(self, armed):
        self.armed = armed

    def __len__(self):
        return len(ROWS)

    def __getitem__(self, number):
        if number == 7 and self.armed.value:
            self.armed.value = 0
            os.kill(os.getpid(), signal.SIGKILL)
        return ROWS[number]


@pytest.mark.parametrize("family", ["chat", "spans"])
def test_a_worker_that_is_killed_is_a_clear_error_and_the_next_pass_works(family):
    # In a process of its own: torch raises the error when the signal comes, which may be while pytest does something else.
    process = multiprocessing.get_context("fork").Process(target=lose_a_worker, args=(family,))
    process.start()
    process.join()
    assert process.exitcode == 0  # the traceback is in the captured output


def lose_a_worker(family):
    made, alone = FAMILIES[family](), FAMILIES[family]()
    context = multiprocessing.get_context("fork")
    loader = DataLoader(
        Killing(context.Value("i", 1)),
        batch_size=3,
        collate_fn=made,
        num_workers=2,
        multiprocessing_context="fork",
        prefetch_factor=1,  # a worker that dies while its first batch is on the way may show as a lost connection
    )
    with pytest.raises(RuntimeError, match=r"DataLoader worker \(pid.*(killed by signal|exited unexpectedly)"):
        list(loader)
    before = getattr(made, "counts", None)
    expected = batches(DataLoader(ROWS, batch_size=3, collate_fn=alone))
    assert equal(batches(loader), expected)
    if before is not None:
        assert made.counts - before == alone.counts
    assert equal([{name: value.numpy() for name, value in made(ROWS[:3]).items()}], expected[:1])
