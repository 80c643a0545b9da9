"""With a seed, noise is a pure function of (seed, epoch, example): with real loaders, ranks, resumed streams and mapped datasets.

Rows have an `id` column that the collator stacks; a pass is a dict from id to the row's inputs and labels.
"""

import copy
import itertools
import subprocess
import sys
import warnings
from pathlib import Path

import datasets
import pytest
import torch
from spanmask import DataCollatorForMaskedLM, DataCollatorForSpanCorruption, SpanCorruption, SpanmaskWarning, corrupt
from support.denoising import bert_tokenizer, t5_tokenizer
from torch.utils.data import DataLoader

TOKENIZER = t5_tokenizer([f"w{number}" for number in range(150)])
MASKING_TOKENIZER = bert_tokenizer()
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


def masker(**options):
    return DataCollatorForMaskedLM(MASKING_TOKENIZER, **{"mlm_probability": 0.4, **options})


def shards_of(shards):
    """Each shard has half of the rows."""
    for shard in shards:
        yield from ROWS[shard::2]


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

    @pytest.mark.parametrize("stages", ["map", "map and filter", "interleave", "interleave and shuffle"])
    @pytest.mark.parametrize("workers", WORKERS)
    def test_streams_that_map_the_collator_are_fresh(self, stages, workers):
        """No stage after the collator freezes the masks, and two workers draw different ones."""
        made = masker(return_tensors="np")

        def mapped():
            options = {"batched": True, "batch_size": 4, "remove_columns": "id"}
            return datasets.IterableDataset.from_generator(shards_of, gen_kwargs={"shards": [0, 1]}).map(made, **options)

        stream = mapped()
        if stages == "map and filter":
            stream = stream.filter(lambda row: True)
        elif stages != "map":
            stream = datasets.interleave_datasets([stream, mapped()])
            if stages == "interleave and shuffle":
                stream = stream.shuffle(seed=1, buffer_size=3)
        if not workers["num_workers"]:
            self.check_fresh(stream)
        self.check_fresh(DataLoader(stream, batch_size=None, **workers))

    @pytest.mark.parametrize(
        "workers",
        [
            *WORKERS,
            pytest.param({"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "spawn"}, id="spawned"),
            pytest.param({"num_workers": 2, "multiprocessing_context": "spawn"}, id="spawned anew", marks=pytest.mark.processes),
        ],
    )
    def test_transforms_are_fresh(self, workers):
        data = datasets.Dataset.from_list([{"input_ids": list(range(5, 105))}] * 8)
        self.check_fresh(DataLoader(data.with_transform(masker()), batch_size=2, **workers), rows=8)
        data.set_transform(masker())
        self.check_fresh(data)

    @pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata calls it
    @pytest.mark.parametrize("workers", WORKERS)
    def test_stateful_loaders_are_fresh(self, workers):
        loaders = pytest.importorskip("torchdata.stateful_dataloader", reason="torchdata is not installed")
        rows = [{"input_ids": list(range(5 + number, 105))} for number in range(8)]
        self.check_fresh(loaders.StatefulDataLoader(rows, batch_size=2, collate_fn=masker(), **workers))
        for seed, equal in [(None, False), (7, True)]:  # its state does not hold torch's random state
            first, other = (
                loaders.StatefulDataLoader(rows, batch_size=2, collate_fn=masker(seed=seed), **workers) for _ in range(2)
            )
            batches = iter(first)
            next(batches)
            other.load_state_dict(first.state_dict())
            rest, again = ([batch["labels"].tolist() for batch in part] for part in (batches, other))
            assert len(rest) == 3
            assert (rest == again) is equal

    @staticmethod
    def check_fresh(loader, passes=3, rows=None):
        """Each pass differs from the others; in a pass, rows of equal content from different calls differ too."""
        drawn = []
        for _ in range(passes):
            labels = [torch.as_tensor(batch["labels"]) for batch in loader]
            drawn.append([row.tolist() for batch in labels for row in (batch if batch.ndim == 2 else [batch])])
        assert all(one != other for one, other in itertools.combinations(drawn, 2))
        assert rows is None or all(len(set(map(str, one))) >= rows // 2 for one in drawn)

    def test_equal_rows_of_two_workers_of_a_stream_differ(self):
        stream = datasets.IterableDataset.from_generator(shards_of, gen_kwargs={"shards": [0, 0]})
        mapped = stream.map(masker(return_tensors="np"), batched=True, batch_size=4)
        loader = DataLoader(mapped, batch_size=None, num_workers=2)
        rows = [(int(row["id"]), str(torch.as_tensor(row["labels"]).tolist())) for row in loader]
        assert len(rows) == 24
        assert len(set(rows)) == 24

    def test_processes_of_map_start_from_a_copy(self):
        """As the page says: each process draws the same seeds, so only rows of equal content share noise; and so does mapping again."""
        data = datasets.Dataset.from_list([{"input_ids": list(range(5, 105))}] * 4 + [{"input_ids": list(range(6, 106))}] * 4)
        options = {"batched": True, "batch_size": 4, "load_from_cache_file": False}

        def mapped(**more):
            return [list(row) for row in data.map(masker(return_tensors="np"), **options, **more)["labels"]]

        forked = mapped(num_proc=2)
        assert [label == -100 for label in forked[0]] != [label == -100 for label in forked[4]]
        assert forked == mapped(num_proc=2)
        assert mapped() != mapped()

    def test_the_cache_of_map_recognises_a_collator_and_its_epoch(self, tmp_path):
        """A cached map keeps its noise: that is what a cache is for. Another epoch is another collator."""
        datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path)
        data = datasets.load_from_disk(tmp_path)

        def mapped(**options):
            made = masker(return_tensors="np", **options)
            return [list(row) for row in data.map(made, batched=True, batch_size=4, remove_columns="id")["labels"]]

        assert mapped() == mapped()
        assert mapped(seed=1) == mapped(seed=1) != mapped(seed=1, epoch=1)


NUMPY_ONLY = """
import sys
sys.modules["torch"] = None  # as if it were not installed
import numpy as np
from types import SimpleNamespace
from spanmask import DataCollatorForMaskedLM, MaskedLM
tokenizer = SimpleNamespace(pad_token_id=0, padding_side="right")
made = DataCollatorForMaskedLM(tokenizer, spec=MaskedLM(4, 1000, mlm_probability=.5), return_tensors="np")
rows = [{"input_ids": list(range(5, 105))}] * 2
runs = []
for _ in range(2):
    np.random.seed(3)
    runs.append([made(rows)["labels"].tolist() for _ in range(3)])
assert runs[0] == runs[1]
assert len(set(map(str, runs[0]))) == 3
assert sys.modules["torch"] is None
print("fresh")
"""


def test_without_torch_numpy_draws_the_seeds():
    done = subprocess.run([sys.executable, "-c", NUMPY_ONLY], capture_output=True, text=True, timeout=90)
    assert done.stdout.strip() == "fresh", done.stderr


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


class TestCopies:
    """Data sets copy what was mapped before: `set_epoch` does not reach the copy, and in workers that end nobody sees the repeat."""

    @staticmethod
    def mixed(made):
        streams = [
            datasets.IterableDataset.from_generator(shards_of, gen_kwargs={"shards": [shard]}).map(
                made, batched=True, batch_size=4
            )
            for shard in (0, 1)
        ]
        return datasets.interleave_datasets(streams)

    @staticmethod
    def renamed(made):
        return datasets.Dataset.from_list(ROWS).add_column("group", [0] * 24).with_transform(made).rename_column("group", "part")

    @pytest.mark.parametrize("data", [mixed, renamed])
    def test_a_copy_that_stays_behind_is_an_error_in_workers_too(self, data):
        made = masker(seed=5, return_tensors="np", on_repeat="raise")
        loader = DataLoader(data(made), batch_size=None, num_workers=1)
        assert len(list(loader)) >= 23  # interleaving ends with the first stream
        made.set_epoch(2)
        with pytest.raises(ValueError, match="this collator is a copy, and draws noise for epoch 0, while .* original is 2"):
            list(loader)

    def test_it_is_said_once_and_not_of_copies_with_an_epoch_of_their_own(self):
        made = masker(seed=5)
        copies = [copy.deepcopy(copy.deepcopy(made)) for _ in range(4)]
        copies[1].set_epoch(0)
        copies[2].load_state_dict(made.state_dict())
        copies[3].on_repeat = "ignore"
        made.set_epoch(1)
        with pytest.warns(SpanmaskWarning, match="this collator is a copy") as caught:
            first, *others = [[one([row])["labels"].tolist() for row in ROWS[20:]] for one in copies]
        assert len(caught) == 1
        assert others == [first] * 3
        assert made(ROWS[20:21])["labels"].tolist() != first[0]

    def test_the_right_order_is_heard(self):
        made = masker(seed=5, return_tensors="np", on_repeat="raise")
        shards = [datasets.IterableDataset.from_generator(shards_of, gen_kwargs={"shards": [shard]}) for shard in (0, 1)]
        stream = datasets.interleave_datasets(shards).map(made, batched=True, batch_size=4)
        drawn = []
        for epoch in range(2):
            made.set_epoch(epoch)
            drawn.append([list(row["labels"]) for row in DataLoader(stream, batch_size=None, num_workers=1)])
        assert drawn[0] != drawn[1]


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
        made.load_state_dict({"seed": 42, "epoch": 7, "step": 0, "algorithm": 1})
        assert one_pass(loader) == expected(7)


def corrupt_batch(batch):
    out = corrupt(batch["input_ids"], SpanCorruption.from_tokenizer(TOKENIZER), seed=42)
    return {"noised": out.input_ids.to_list(), "labels": out.labels.to_list()}


def test_dataset_map_with_two_processes():
    data = datasets.Dataset.from_list(ROWS)
    done = data.map(corrupt_batch, batched=True, batch_size=5, num_proc=2)
    assert {row["id"]: (row["noised"], row["labels"]) for row in done} == expected(0)
