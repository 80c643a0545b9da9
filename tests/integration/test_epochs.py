"""With a seed, noise is a pure function of (seed, epoch, example): with real loaders, ranks, resumed streams and mapped datasets.

Rows have an `id` column that the collator stacks; a pass is a dict from id to the row's inputs and labels.
"""

import itertools
import os
import subprocess
import sys
import warnings
from pathlib import Path

import datasets
import pytest
import torch
from spanmask import DataCollatorForMaskedLM, DataCollatorForSpanCorruption, SpanCorruption, SpanmaskWarning, corrupt
from support.denoising import t5_tokenizer
from torch.utils.data import DataLoader

TOKENIZER = t5_tokenizer([f"w{number}" for number in range(150)])
ROWS = [{"input_ids": list(range(3 + number, 3 + number + 20 + number)), "id": number} for number in range(24)]
PLAIN = {"num_workers": 0}
LOADERS = [
    PLAIN,
    *(
        pytest.param(
            {"num_workers": workers, "multiprocessing_context": start, "persistent_workers": persistent},
            marks=[pytest.mark.slow]
            if start != "fork" and not persistent
            else [],  # every worker of every pass imports torch again
        )
        for workers, start, persistent in itertools.product((1, 2), ("fork", "spawn", "forkserver"), (False, True))
    ),
]


def collator(**options):
    return DataCollatorForSpanCorruption(TOKENIZER, **{"seed": 42, "keep_columns": ["id"], **options})


def one_pass(loader):
    """The inputs and labels of each example."""
    rows = {}
    for batch in loader:
        for number, key in enumerate(batch["id"].tolist()):
            inputs = batch["input_ids"][number][batch["attention_mask"][number] == 1].tolist()
            labels = [label for label in batch["labels"][number].tolist() if label != -100]
            rows[key] = (inputs, labels)
    return rows


def expected(epoch, seed=42):
    rows = [row["input_ids"] for row in ROWS]
    out = corrupt(rows, SpanCorruption.from_tokenizer(TOKENIZER), seed=seed, epoch=epoch)
    return dict(enumerate(zip(out.input_ids.to_list(), out.labels.to_list(), strict=True)))


@pytest.mark.parametrize("loader", LOADERS, ids=lambda loader: "-".join(map(str, loader.values())))
def test_workers_and_start_methods_change_nothing_and_see_the_epoch(loader):
    made = collator()
    loader = DataLoader(ROWS, batch_size=4, collate_fn=made, **loader)
    for epoch in (1, 5):
        made.set_epoch(epoch)
        assert one_pass(loader) == expected(epoch)


@pytest.mark.parametrize("batch_size", [1, 5, 24])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batch_size_and_order_change_nothing(batch_size, shuffle):
    assert one_pass(DataLoader(ROWS, batch_size=batch_size, shuffle=shuffle, collate_fn=collator())) == expected(0)


def test_select_shuffle_and_shard_of_a_dataset_change_nothing():
    data = datasets.Dataset.from_list(ROWS)
    for part in (
        data.select(range(10, 24)),
        data.shuffle(seed=1),
        data.shard(3, 1),
        data.with_format("numpy"),
        data.with_format("torch"),
    ):
        rows = one_pass(DataLoader(part, batch_size=7, collate_fn=collator()))
        assert rows.items() <= expected(0).items()
        assert len(rows) == len(part)


WORKERS = [
    pytest.param({"num_workers": 0}, id="no workers"),
    pytest.param({"num_workers": 2}, id="workers"),
    pytest.param({"num_workers": 2, "persistent_workers": True}, id="persistent workers"),
]


class TestSeedNone:
    @staticmethod
    def passes(seed, count=3, data=ROWS, **loader):
        torch.manual_seed(seed)
        loader = DataLoader(data, batch_size=4, collate_fn=collator(seed=None), **loader)
        return [one_pass(loader) for _ in range(count)]

    @pytest.mark.parametrize("workers", WORKERS)
    def test_every_pass_is_fresh_and_manual_seed_repeats_the_run(self, workers):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            first, second, third = self.passes(5, **workers)
        assert first != second != third != first
        assert self.passes(5, **workers) == [first, second, third]
        assert self.passes(6, 1, **workers) != [first]

    def test_workers_differ(self):
        """Each worker draws from its own random state: rows of equal content are corrupted differently."""
        rows = [{"input_ids": list(range(3, 120)), "id": number} for number in range(8)]
        (drawn,) = self.passes(5, 1, rows, num_workers=2)
        assert drawn[0] == drawn[3]  # one batch, one seed, one key
        assert drawn[0] != drawn[4]

    def test_streams_that_map_the_collator_are_fresh(self):
        """A stage after the collator must not freeze the masks."""
        stream = datasets.IterableDataset.from_generator(lambda: iter(ROWS))
        made = collator(seed=None, return_tensors="np")
        mapped = stream.map(lambda batch: {"noised": list(made(batch)["labels"])}, batched=True, batch_size=4)
        loader = DataLoader(mapped.filter(lambda row: True), batch_size=None, num_workers=1, persistent_workers=True)
        passes = [[torch.as_tensor(row["noised"]).tolist() for row in loader] for _ in range(3)]
        assert passes[0] != passes[1] != passes[2] != passes[0]


class TestRepeats:
    """With a seed and an epoch that does not change, the second pass has the masks of the first."""

    @staticmethod
    def loader(made, **options):
        return DataLoader(ROWS, batch_size=4, collate_fn=made, **options)

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_the_main_process_warns_once(self, shuffle):
        loader = self.loader(collator(), shuffle=shuffle)
        one_pass(loader)
        with pytest.warns(SpanmaskWarning, match="the masks repeat") as caught:
            one_pass(loader)
        assert len(caught) == 1
        one_pass(loader)

    def test_persistent_workers_see_it(self):
        loader = self.loader(collator(on_repeat="raise"), num_workers=2, persistent_workers=True)
        one_pass(loader)
        with pytest.raises(ValueError, match="the masks repeat"):
            one_pass(loader)

    def test_workers_that_end_with_their_pass_do_not(self):
        """As the docstring says, such a worker knows nothing about the previous pass."""
        loader = self.loader(collator(on_repeat="raise"), num_workers=2)
        assert one_pass(loader) == one_pass(loader)

    @pytest.mark.parametrize("workers", WORKERS)
    def test_a_new_epoch_is_not_a_repeat(self, workers):
        made = collator(on_repeat="raise")
        loader = self.loader(made, **workers)
        for epoch in range(3):
            made.set_epoch(epoch)
            one_pass(loader)

    @pytest.mark.parametrize("start", ["fork", "forkserver"])
    def test_a_batch_seen_before_workers_start_is_not_a_repeat(self, start):
        made = collator(on_repeat="raise")
        made(ROWS[:4])
        one_pass(DataLoader(ROWS[:4], batch_size=4, collate_fn=made, num_workers=1, multiprocessing_context=start))


def test_masked_lm_sees_the_epoch_too(bert):
    made = DataCollatorForMaskedLM(bert, seed=1, keep_columns=["id"], mlm_probability=0.5)
    loader = DataLoader(ROWS, batch_size=4, collate_fn=made, num_workers=2, persistent_workers=True)
    passes = []
    for epoch in (0, 1):
        made.set_epoch(epoch)
        passes.append(one_pass(loader))
    assert passes[0] != passes[1]
    made.set_epoch(0)
    assert one_pass(DataLoader(ROWS, batch_size=7, collate_fn=made)) == passes[0]


RANK = """
import sys
sys.path[:] = {path!r}
from test_epochs import *
import torch.distributed as dist
from torch.utils.data.distributed import DistributedSampler
rank = int(sys.argv[1])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=rank, world_size=2)
made = collator()
sampler = DistributedSampler(ROWS, shuffle=True, seed=3)
loader = DataLoader(ROWS, batch_size=4, sampler=sampler, collate_fn=made)
for epoch in (0, 1):
    sampler.set_epoch(epoch)
    made.set_epoch(epoch)
    rows = one_pass(loader)
    gathered = [None, None]
    dist.all_gather_object(gathered, rows)
    assert len(rows) == 12
    assert gathered[0] | gathered[1] == expected(epoch)
dist.destroy_process_group()
print("agreed")
"""


def test_two_gloo_ranks(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    path = [str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK.format(path=path), str(rank), str(tmp_path / "store")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    for rank in ranks:
        out, errors = rank.communicate(timeout=90)
        assert "agreed" in out, errors


class TestResume:
    def test_a_stream_continues_mid_epoch(self):
        """Rows 8 to 23 of epoch 2, after a restart: as if there had been no interruption."""

        def stream():
            return datasets.IterableDataset.from_generator(lambda: iter(ROWS))

        made, data = collator(), stream()
        made.set_epoch(2)
        loader = iter(DataLoader(data, batch_size=4, collate_fn=made))
        head = one_pass(itertools.islice(loader, 2))
        states = data.state_dict(), made.state_dict()
        tail = one_pass(loader)

        again, fresh = stream(), collator(seed=0)
        again.load_state_dict(states[0])
        fresh.load_state_dict(states[1])
        assert head | one_pass(DataLoader(again, batch_size=4, collate_fn=fresh)) == expected(2)
        assert tail.items() <= expected(2).items()

    def test_load_state_dict_moves_persistent_workers(self):
        made = collator()
        loader = DataLoader(ROWS, batch_size=4, collate_fn=made, num_workers=2, persistent_workers=True)
        assert one_pass(loader) == expected(0)
        made.load_state_dict({"seed": 42, "epoch": 7, "algorithm": 1})
        assert one_pass(loader) == expected(7)


def corrupt_batch(batch):
    out = corrupt(batch["input_ids"], SpanCorruption.from_tokenizer(TOKENIZER), seed=42)
    return {"noised": out.input_ids.to_list(), "labels": out.labels.to_list()}


def test_dataset_map_with_two_processes(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ)  # datasets leaves a copy there, which rich would not see
    data = datasets.Dataset.from_list(ROWS)
    done = data.map(corrupt_batch, batched=True, batch_size=5, num_proc=2)
    assert {row["id"]: (row["noised"], row["labels"]) for row in done} == expected(0)
