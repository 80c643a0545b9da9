"""Real trainers log what chat collators trained: the numbers are those of an independent count of all batches that the model was given."""

import logging
import types
import warnings

import datasets
import pytest
import torch
from spanmask import DataCollatorForChat, SpanmaskWarning, train_on_answers
from spanmask.integrations.transformers import MaskReportCallback
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from support.trainers import SETTINGS
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens")
TOKENIZER = chat_tokenizer()
# Every fourth row has no answer; long rows are cut.
TRAIN = [{"messages": messages[:1] if number % 4 == 3 else messages} for number, messages in enumerate(CONVERSATIONS)]
HELD_OUT = [{"messages": messages[-2:]} for messages in CONVERSATIONS[:5]]
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


def collator(**options):
    return DataCollatorForChat(TOKENIZER, **{"max_length": 40, "on_untrained_batch": "ignore", **options})


def watched_model():
    """The model, and the batches that it was given, those for training and the others."""
    model, seen = causal_model(TOKENIZER), {True: [], False: []}

    def watch(module, args, kwargs):
        seen[module.training].append({name: kwargs[name].tolist() for name in ("labels", "attention_mask")})

    model.register_forward_pre_hook(watch, with_kwargs=True)
    return model, seen


def counted(batches, name):
    """An independent count of what batches hold, under the names of the log."""
    labels = [row for batch in batches for row in batch["labels"]]
    trained = [sum(label != -100 for label in row) for row in labels]
    tokens = sum(sum(row) for batch in batches for row in batch["attention_mask"])
    return {
        f"{name}/rows": len(labels),
        f"{name}/tokens": tokens,
        f"{name}/trained_tokens": sum(trained),
        f"{name}/trained_share": sum(trained) / tokens,
        f"{name}/untrained_rows": trained.count(0),
        f"{name}/aligned_rows": len(labels),
    }


def logged(entries, name):
    """The counts of each log that has some, without truncated turns, which are not counted here."""
    entries = [{key: value for key, value in entry.items() if key.startswith(f"{name}/")} for entry in entries]
    return [{key: value for key, value in entry.items() if key != f"{name}/truncated_turns"} for entry in entries if entry]


def trainer_of(tmp_path, made=None, model=None, evaluated=HELD_OUT, cls=Trainer, **options):
    options = {
        **SETTINGS,
        "output_dir": str(tmp_path),
        "max_steps": -1,
        "num_train_epochs": 3,
        "logging_strategy": "epoch",
        "eval_strategy": "epoch",
        "per_device_eval_batch_size": 2,
        "remove_unused_columns": False,
        **options,
    }
    arguments = TrainingArguments(**options)
    return cls(model or causal_model(TOKENIZER), arguments, made or collator(), TRAIN, evaluated, processing_class=TOKENIZER)


class Sink(TrainerCallback):
    """A logger: it comes before the callback, as those of `report_to` do."""

    def __init__(self):
        self.got = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.got.append({**logs, "step": state.global_step})


class TestTransformers:
    @pytest.mark.parametrize("loader", LOADERS)
    def test_every_epoch_and_every_evaluation_log_their_own_batches(self, tmp_path, loader):
        model, seen = watched_model()
        trainer, sink = trainer_of(tmp_path, model=model, **loader), Sink()
        trainer.add_callback(sink)
        trainer.add_callback(MaskReportCallback(trainer))
        trainer.train()
        history = trainer.state.log_history
        epochs = [seen[True][start : start + 6] for start in (0, 6, 12)]
        assert logged(history, "mask") == [counted(batches, "mask") for batches in epochs]
        assert logged(history, "mask_total") == [counted(seen[True][:end], "mask_total") for end in (6, 12, 18)]
        evaluations = [seen[False][start : start + 3] for start in (0, 3, 6)]
        assert logged(history, "eval_mask") == [counted(batches, "eval_mask") for batches in evaluations]
        assert [entry["mask/untrained_rows"] for entry in history if "mask/rows" in entry] == [3, 3, 3]
        assert all(entry["mask/truncated_turns"] > 0 for entry in history if "mask/rows" in entry)
        for entry in history:
            entry.pop("total_flos", None)  # which a logger of transformers removes
        assert sink.got == history  # every logger has them
        assert [entry["step"] for entry in history if "mask/rows" in entry] == [6, 12, 18]

    @pytest.mark.parametrize("loader", LOADERS[:3])
    def test_steps_add_up_to_the_total_and_nothing_is_logged_twice(self, tmp_path, loader):
        trainer = trainer_of(tmp_path, logging_strategy="steps", logging_steps=4, eval_strategy="steps", eval_steps=5, **loader)
        trainer.add_callback(MaskReportCallback(trainer))
        trainer.train()
        history = trainer.state.log_history
        entries = [entry for entry in history if "mask/rows" in entry]
        for name in ("rows", "tokens", "trained_tokens", "untrained_rows", "truncated_turns"):
            assert sum(entry[f"mask/{name}"] for entry in entries) == entries[-1][f"mask_total/{name}"] > 0
        assert entries[-1]["mask_total/rows"] == 36
        assert {entry["eval_mask/rows"] for entry in history if "eval_mask/rows" in entry} == {5}

    def test_several_sets_evaluations_alone_and_predictions(self, tmp_path):
        trainer = trainer_of(tmp_path, evaluated={"one": HELD_OUT, "two": TRAIN}, num_train_epochs=1)
        sink = Sink()
        trainer.add_callback(sink)
        trainer.add_callback(MaskReportCallback(trainer))
        trainer.predict(HELD_OUT)
        trainer.evaluate()
        trainer.train()
        trainer.predict(HELD_OUT)
        trainer.evaluate(TRAIN[:3], metric_key_prefix="test")
        rows = [{key: value for key, value in entry.items() if key.endswith("/rows")} for entry in sink.got]
        both = [{"eval_one_mask/rows": 5}, {"eval_two_mask/rows": 12}]
        assert [entry for entry in rows if entry] == [
            *both,
            {"mask/rows": 12, "mask_total/rows": 12},
            *both,
            {"test_mask/rows": 3},
        ]

    def test_a_second_run_starts_at_zero(self, tmp_path):
        trainer = trainer_of(tmp_path, num_train_epochs=1, eval_strategy="no")
        trainer.add_callback(MaskReportCallback(trainer))
        for _ in range(2):
            trainer.train()
            assert [entry["mask_total/rows"] for entry in trainer.state.log_history if "mask_total/rows" in entry] == [12]

    @pytest.mark.parametrize("loader", LOADERS[:2])
    def test_a_resumed_run_continues_the_last_logged_total(self, tmp_path, loader):
        class Stop(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_save = control.should_training_stop = state.global_step == 8

        model, before = watched_model()
        first = trainer_of(tmp_path, model=model, **loader)
        first.add_callback(MaskReportCallback(first))
        first.add_callback(Stop())
        first.train()
        model, seen = watched_model()
        resumed = trainer_of(tmp_path, model=model, **loader)
        resumed.add_callback(MaskReportCallback(resumed))
        resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
        entries = logged(resumed.state.log_history, "mask_total")
        logged_before = before[True][:6]  # the first epoch; the checkpoint is two steps further
        assert entries[-1] == counted(logged_before + seen[True], "mask_total")
        assert len(seen[True]) == 10

    def test_a_collator_for_each_loader(self, tmp_path):
        evaluation = collator(max_length=20)

        class TwoCollators(Trainer):
            def get_eval_dataloader(self, eval_dataset=None):
                return DataLoader(HELD_OUT, batch_size=8, collate_fn=evaluation)

        trainer = trainer_of(tmp_path, num_train_epochs=1, cls=TwoCollators)
        trainer.add_callback(MaskReportCallback(trainer, trainer.data_collator, evaluation))
        trainer.train()
        rows = {key: value for entry in trainer.state.log_history for key, value in entry.items() if key.endswith("mask/rows")}
        assert rows == {"mask/rows": 12, "eval_mask/rows": 5}

    def test_rows_that_the_data_set_collates_are_not_told_apart(self, tmp_path):
        made = collator(return_tensors="np")
        trainer = trainer_of(tmp_path, num_train_epochs=1, eval_strategy="no")
        data = datasets.Dataset.from_list(TRAIN).with_transform(made)
        trainer.train_dataset, trainer.data_collator = data, torch.utils.data.default_collate
        trainer.args.per_device_train_batch_size = 1
        trainer.add_callback(MaskReportCallback(trainer, made))
        with pytest.warns(SpanmaskWarning, match="the training loader calls none of these collators"):
            trainer.train()
        assert [entry["mask/rows"] for entry in trainer.state.log_history if "mask/rows" in entry] == [12]

    def test_what_cannot_be_logged_is_refused(self, tmp_path):
        with pytest.raises(TypeError, match="trainer: expected transformers' Trainer, got function"):
            MaskReportCallback(collator)
        trainer = trainer_of(tmp_path)
        with pytest.raises(TypeError, match="collators: expected DataCollatorForChat .* got function"):
            MaskReportCallback(trainer, torch.utils.data.default_collate)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning", "ignore:.* rows train nothing")
class TestSFTTrainer:
    @staticmethod
    def trainer(tmp_path, **options):
        options = {**SETTINGS, "output_dir": str(tmp_path), "bf16": False, "max_steps": 6, "logging_steps": 3, **options}
        data = datasets.Dataset.from_list([{"messages": row["messages"]} for row in TRAIN])
        return SFTTrainer(causal_model(TOKENIZER), SFTConfig(**options), train_dataset=data, processing_class=TOKENIZER)

    def test_batches_that_train_on_answers_makes_are_logged_and_no_metric_twice(self, tmp_path):
        trainer = train_on_answers(self.trainer(tmp_path, dataset_kwargs={"skip_prepare_dataset": True}))
        trainer.add_callback(MaskReportCallback(trainer))
        trainer.train()
        entries = [entry for entry in trainer.state.log_history if "mask/rows" in entry]
        assert entries[-1]["mask_total/rows"] == 12
        assert not [key for entry in entries for key in entry if not key.startswith(("mask", "epoch", "step"))]

    def test_rows_labeled_before_training_are_counted_elsewhere(self, tmp_path):
        trainer = train_on_answers(self.trainer(tmp_path))
        with pytest.raises(TypeError, match="are counted in trainer.spanmask_report"):
            MaskReportCallback(trainer)
        assert trainer.spanmask_report["train"].rows == 12


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning(tmp_path, workers):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own warnings
        lightning = pytest.importorskip("lightning.pytorch")
        from lightning.pytorch.loggers.logger import DummyLogger
        from spanmask.integrations.lightning import MaskReportCallback as LightningCallback

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model, self.seen = watched_model()

            def training_step(self, batch, number):
                return self.model(**batch).loss.nan_to_num()  # a batch without trained tokens has no loss

            def validation_step(self, batch, number):
                self.model(**batch)

            test_step = predict_step = validation_step

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.0)

        class Logger(DummyLogger):
            def __init__(self):
                super().__init__()
                self.got = []

            def log_metrics(self, metrics, step=None):
                self.got.append({**metrics, "step": step})

        made, logger, module = collator(), Logger(), Module()
        options = {"batch_size": 2, "collate_fn": made, "num_workers": workers, "persistent_workers": workers > 0}
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            callbacks=[LightningCallback(made)],
            logger=logger,
            log_every_n_steps=4,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        held_out = DataLoader(HELD_OUT, **options)
        trainer.fit(module, DataLoader(TRAIN, shuffle=True, **options), held_out)
        training, validation = list(module.seen[True]), list(module.seen[False])[2:]  # two batches are Lightning's check
        trainer.predict(module, held_out)
        trainer.test(module, held_out)

    steps = [entry["step"] for entry in logger.got if "train/mask/rows" in entry]
    assert set(steps) <= {4, 6, 8, 12}  # workers make batches ahead: the last steps may have no new ones
    totals = logged(logger.got, "train/mask_total")
    assert totals[-1] == counted(training, "train/mask_total")
    parts = logged(logger.got, "train/mask")
    assert sum(part["train/mask/trained_tokens"] for part in parts) == totals[-1]["train/mask_total/trained_tokens"]
    assert logged(logger.got, "val/mask") == [counted(validation[start : start + 3], "val/mask") for start in (0, 3)]
    assert logged(logger.got, "test/mask") == [counted(validation[:3], "test/mask")]


def test_lightning_continues_the_total_of_a_checkpoint():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own warnings
        pytest.importorskip("lightning.pytorch")
        from spanmask.integrations.lightning import MaskReportCallback as LightningCallback
    made = collator()
    first = LightningCallback(made)
    made(TRAIN[:4])  # Lightning would mark the loader's batches; here all are counted
    trainer = types.SimpleNamespace(training=True)
    first.setup(trainer, None, "fit")
    made(TRAIN[:4])
    saved = first.state_dict()
    assert saved["rows"] == 4
    resumed = LightningCallback(made)
    resumed.setup(trainer, None, "fit")
    resumed.load_state_dict(saved)
    made(TRAIN[4:6])
    assert resumed.state_dict()["rows"] == 6
