"""Evaluation holds still: a model that does not change has the same loss in each evaluation, while training masks change."""

import functools
import logging
import multiprocessing
import warnings

import datasets
import pytest
import torch
from spanmask import DataCollatorForMaskedLM, LinearRate
from spanmask.integrations.transformers import EpochCallback
from spanmask.noise.training import ForTraining, calls_one_of, for_training
from support.denoising import bert_tokenizer
from support.trainers import SETTINGS
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForMaskedLM, Trainer, TrainerCallback, TrainingArguments

TOKENIZER = bert_tokenizer(60)
TRAIN = [{"input_ids": [2, *((5 + 7 * number + 3 * at) % 60 + 5 for at in range(30)), 3], "id": number} for number in range(8)]
HELD_OUT = [{"input_ids": row["input_ids"][::-1], "id": row["id"]} for row in TRAIN]
LOADERS = [
    pytest.param({}, id="no workers"),
    pytest.param({"dataloader_num_workers": 2}, id="workers"),
    pytest.param({"dataloader_num_workers": 2, "dataloader_persistent_workers": True}, id="persistent workers"),
    pytest.param(
        {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "dataloader_multiprocessing_context": "spawn"},
        id="spawned",
        marks=[pytest.mark.processes, pytest.mark.needs("transformers>=5")],  # the argument is new there
    ),
]


class Model(BertForMaskedLM):
    """Records the labels that it trains on, and those that it is evaluated on."""

    def __init__(self):
        size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        super().__init__(BertConfig(vocab_size=len(TOKENIZER), hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, **size))
        self.seen = {True: [], False: []}

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        self.seen[self.training].append(labels.tolist())
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)


def passes_of(seen, batches):
    """What was seen in each pass over the data."""
    return [seen[start : start + batches] for start in range(0, len(seen), batches)]


def passes(seen, batches):
    """The labels of each pass, in any order of the rows."""
    return [sorted(row for batch in part for row in batch) for part in passes_of(seen, batches)]


def trainer_of(tmp_path, collator, *callbacks, callback=None, evaluated=HELD_OUT, **options):
    torch.manual_seed(0)
    options = {
        **SETTINGS,
        "output_dir": str(tmp_path),
        "max_steps": -1,
        "num_train_epochs": 5,
        "learning_rate": 0.0,
        "eval_strategy": "epoch",
        "per_device_eval_batch_size": 4,
        **options,
    }
    callbacks = [callback or EpochCallback(collator), *callbacks]
    return Trainer(Model(), TrainingArguments(**options), collator, TRAIN, evaluated, callbacks=callbacks)


def losses_of(trainer, name="eval_loss"):
    return [entry[name] for entry in trainer.state.log_history if name in entry]


class TestTransformers:
    @pytest.mark.parametrize("loader", LOADERS)
    @pytest.mark.parametrize("seed", [42, None])
    def test_five_equal_losses_of_a_frozen_model(self, tmp_path, loader, seed):
        trainer = trainer_of(tmp_path, DataCollatorForMaskedLM(TOKENIZER, seed=seed, mlm_probability=0.4), **loader)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.train()
        losses = losses_of(trainer)
        assert len(losses) == 5
        assert len(set(losses)) == 1
        seen = trainer.model.seen
        assert len(set(map(str, passes(seen[True], 4)))) == 5
        assert len(set(map(str, passes(seen[False], 2)))) == 1
        assert trainer.evaluate()["eval_loss"] == losses[0]  # after training too
        assert trainer.predict(HELD_OUT).metrics["test_loss"] == losses[0]

    @pytest.mark.parametrize("loader", LOADERS[:3])
    @pytest.mark.parametrize("seed", [42, None])
    def test_several_sets_evaluated_in_the_middle_of_an_epoch(self, tmp_path, loader, seed):
        """Training workers prefetch meanwhile; they keep the noise of their epoch."""
        collator = DataCollatorForMaskedLM(TOKENIZER, seed=seed, mlm_probability=0.4)
        options = {"eval_strategy": "steps", "eval_steps": 3, "eval_on_start": True, "num_train_epochs": 3, **loader}
        trainer = trainer_of(tmp_path, collator, evaluated={"one": HELD_OUT, "two": TRAIN}, **options)
        trainer.train()
        for name in ("eval_one_loss", "eval_two_loss"):
            losses = losses_of(trainer, name)
            assert len(losses) == 5
            assert len(set(losses)) == 1
        training = passes(trainer.model.seen[True], 4)
        assert len(set(map(str, training))) == 3
        if seed is not None:
            expected = DataCollatorForMaskedLM(TOKENIZER, seed=seed, mlm_probability=0.4)
            for epoch, labels in enumerate(training):
                expected.set_epoch(epoch)
                assert labels == sorted(expected(TRAIN)["labels"].tolist())

    def test_a_resumed_run_evaluates_on_the_same_noise(self, tmp_path):
        class Stop(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_save = control.should_training_stop = state.global_step == 6

        def run(*callbacks, **resume):
            collator = DataCollatorForMaskedLM(TOKENIZER, mlm_probability=0.4)
            trainer = trainer_of(tmp_path, collator, *callbacks)
            trainer.train(**resume)
            return losses_of(trainer)

        first = run(Stop())
        again = run(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
        assert len(again) == 5
        assert len({*first, *again}) == 1

    @pytest.mark.parametrize("both", [False, True])
    def test_a_collator_for_each_loader(self, tmp_path, both):
        """Known to the callback or not, the evaluation collator has the noise of its own seed."""
        train, evaluation = (DataCollatorForMaskedLM(TOKENIZER, seed=seed, on_repeat="ignore") for seed in (1, 2))

        class TwoCollators(Trainer):
            def get_eval_dataloader(self, eval_dataset=None):
                return DataLoader(HELD_OUT, batch_size=8, collate_fn=evaluation)

        one = trainer_of(tmp_path, train, callback=EpochCallback(train, evaluation) if both else None, num_train_epochs=3)
        one.__class__ = TwoCollators
        one.train()
        assert one.model.seen[False] == [evaluation(HELD_OUT)["labels"].tolist()] * 3
        assert one.model.seen[False][0] == DataCollatorForMaskedLM(TOKENIZER, seed=2)(HELD_OUT)["labels"].tolist()
        assert len(set(map(str, passes(one.model.seen[True], 4)))) == 3

    def test_evaluating_alone_repeats_without_a_warning(self, tmp_path):
        trainer = trainer_of(tmp_path, DataCollatorForMaskedLM(TOKENIZER, seed=3, mlm_probability=0.4))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert trainer.evaluate()["eval_loss"] == trainer.evaluate()["eval_loss"]

    @pytest.mark.parametrize("seed", [42, None])
    def test_workers_that_evaluated_before_training_hold_too(self, tmp_path, seed):
        loader = {"dataloader_num_workers": 1, "dataloader_persistent_workers": True, "num_train_epochs": 3}
        trainer = trainer_of(tmp_path, DataCollatorForMaskedLM(TOKENIZER, seed=seed, mlm_probability=0.4), **loader)
        before = trainer.evaluate()["eval_loss"]
        trainer.train()
        losses = losses_of(trainer)
        assert len(losses) == 3
        assert len(set(losses)) == 1
        assert (losses[0] == before) is (seed is not None)

    def test_an_interrupted_run_still_evaluates_on_the_same_noise(self, tmp_path):
        class Interrupt(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                if state.global_step == 6:
                    raise KeyboardInterrupt

        trainer = trainer_of(tmp_path, DataCollatorForMaskedLM(TOKENIZER, seed=3, mlm_probability=0.4), Interrupt())
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        assert trainer.evaluate()["eval_loss"] == losses_of(trainer)[0]

    def test_a_loop_of_ones_own_afterwards_sets_its_epochs(self, tmp_path):
        collator = DataCollatorForMaskedLM(TOKENIZER, seed=3, mlm_probability=0.4, on_repeat="raise")
        trainer_of(tmp_path, collator, num_train_epochs=1).train()
        drawn = []
        for epoch in (7, 8):
            collator.set_epoch(epoch)
            drawn.append(collator(TRAIN)["labels"].tolist())
        fresh = DataCollatorForMaskedLM(TOKENIZER, seed=3, mlm_probability=0.4, epoch=8)
        assert drawn[0] != drawn[1] == fresh(TRAIN)["labels"].tolist()

    def test_a_dataset_that_collates_trains_on_fresh_noise(self, tmp_path):
        """Then nothing is held: a training loader that cannot be marked must not be taken for one of evaluation."""
        collator = DataCollatorForMaskedLM(TOKENIZER, seed=3, mlm_probability=0.4)
        data = datasets.Dataset.from_list([{"input_ids": row["input_ids"]} for row in TRAIN]).with_transform(collator)
        trainer = trainer_of(
            tmp_path, None, callback=EpochCallback(collator), eval_strategy="no", num_train_epochs=3, remove_unused_columns=False
        )
        trainer.train_dataset, trainer.data_collator = data, functools.partial(torch.utils.data.default_collate)
        trainer.train()
        assert len(set(map(str, passes(trainer.model.seen[True], 4)))) == 3

    def test_evaluation_holds_the_rate_too(self, tmp_path):
        rate = LinearRate(0.9, 0.1, steps=20)
        trainer = trainer_of(tmp_path, DataCollatorForMaskedLM(TOKENIZER, mlm_probability=rate))
        trainer.train()
        assert len(set(losses_of(trainer))) == 1
        hidden = [sum(label != -100 for row in labels for label in row) for labels in passes(trainer.model.seen[True], 4)]
        assert hidden == sorted(hidden, reverse=True)
        assert hidden[0] > 2 * hidden[-1]


COLLATOR = DataCollatorForMaskedLM(TOKENIZER)


def global_collate(features):
    return COLLATOR(features)


class Wrapper:
    def __init__(self, *parts):
        self.parts = parts

    def __call__(self, features):
        return self.parts[0](features)

    def method(self, features):
        return self(features)


class PassesOn:
    """A loader of another framework, around torch's."""

    def __init__(self, loader):
        self.loader = loader

    def __getattr__(self, name):
        return getattr(self.loader, name)


def test_the_collator_is_found_after_other_functions():
    inner = COLLATOR
    found = [
        inner,
        global_collate,
        lambda features: inner(features),
        functools.partial(Wrapper.__call__, Wrapper(inner)),
        Wrapper(Wrapper(global_collate)).method,
        inner.__call__,
        ForTraining(inner),
    ]
    assert all(calls_one_of(function, [COLLATOR]) for function in found)
    other = DataCollatorForMaskedLM(TOKENIZER)
    assert not any(calls_one_of(function, [other]) for function in [*found, torch.utils.data.default_collate, print, None])


def test_a_marked_loader_is_marked_once():
    loader = DataLoader(TRAIN, collate_fn=COLLATOR)
    assert for_training(loader, [COLLATOR])
    assert for_training(loader, [COLLATOR])
    assert loader.collate_fn.collate_fn is COLLATOR
    assert not for_training(DataLoader(TRAIN), [COLLATOR])
    assert not for_training(None, [COLLATOR])
    assert not for_training(PassesOn(DataLoader(TRAIN, collate_fn=COLLATOR)), [COLLATOR])


@pytest.mark.parametrize("start", multiprocessing.get_all_start_methods())
def test_a_worker_keeps_what_held_when_it_started(start):
    made, holds = DataCollatorForMaskedLM(TOKENIZER, seed=4, mlm_probability=0.4), [True]
    made.set_epoch(5)
    options = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": start, "batch_size": 8}
    loader = DataLoader(TRAIN, collate_fn=made, **options)
    made.schedule.hold(lambda: holds[0])
    held = next(iter(loader))["labels"].tolist()
    holds[0] = False
    assert (
        next(iter(loader))["labels"].tolist()
        == held
        == DataCollatorForMaskedLM(TOKENIZER, seed=4, mlm_probability=0.4)(TRAIN)["labels"].tolist()
    )
    assert made(TRAIN)["labels"].tolist() != held


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("seed", [42, None])
def test_lightning(tmp_path, workers, seed):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own warnings
        lightning = pytest.importorskip("lightning.pytorch")
        from spanmask.integrations.lightning import EpochCallback as LightningCallback

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = Model()
                self.losses = []

            def training_step(self, batch, number):
                return self.model(**batch).loss

            def validation_step(self, batch, number):
                self.losses.append(self.model(**batch).loss.item())

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.0)

        collator = DataCollatorForMaskedLM(
            TOKENIZER, seed=seed, mlm_probability=LinearRate(0.6, 0.2, steps=10), on_repeat="raise"
        )
        torch.manual_seed(0)
        trainer = lightning.Trainer(
            max_epochs=5,
            val_check_interval=0.5,
            accelerator="cpu",
            callbacks=[LightningCallback(collator)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        options = {"batch_size": 2, "collate_fn": collator, "num_workers": workers, "persistent_workers": workers > 0}
        module = Module()
        trainer.fit(module, DataLoader(TRAIN, shuffle=True, **options), DataLoader(HELD_OUT, **options))
        checked, fitted = module.losses[:2], passes_of(module.losses[2:], 4)
        assert len(set(map(str, passes(module.model.seen[True], 4)))) == 5
        module.losses = []
        trainer.validate(module, DataLoader(HELD_OUT, **options), verbose=False)
    assert len(fitted) == 10
    assert {*map(tuple, fitted), tuple(module.losses)} == {tuple(fitted[0])}
    assert checked == fitted[0][:2]
    assert collator.schedule.step == 20
    assert not collator.schedule.is_held
