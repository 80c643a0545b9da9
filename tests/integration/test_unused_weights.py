"""Loss weights that no loss reads: the first batch says so, in the main process and in workers, and only then."""

import os
import warnings

import datasets
import pytest
from spanmask import DataCollatorForChat, MaskPolicy, SpanmaskWarning
from spanmask.integrations.weighted_loss import WeightedLossMixin, WeightedLossTrainer, weighted_loss
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
SETTINGS = {
    "per_device_train_batch_size": 2,
    "max_steps": 2,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "remove_unused_columns": False,
}


@pytest.fixture(scope="module")
def tokenizer():
    return chat_tokenizer()


def collator_of(tokenizer, policy):
    return DataCollatorForChat(tokenizer, policy=policy)


@pytest.fixture
def weighting(tokenizer):
    return collator_of(tokenizer, MaskPolicy(prompt_weight=0.25))


@pytest.fixture(scope="module")
def dataset():
    return datasets.Dataset.from_dict({"messages": CONVERSATIONS})


def trainer_of(cls, tokenizer, dataset, collator, folder, **options):
    extra = {name: options.pop(name) for name in ("normalize", "compute_loss_func") if name in options}
    if issubclass(cls, SFTTrainer):
        args = SFTConfig(str(folder), bf16=False, dataset_kwargs={"skip_prepare_dataset": True}, **SETTINGS, **options)
        extra["processing_class"] = tokenizer
    else:
        args = TrainingArguments(str(folder), **SETTINGS, **options)
    return cls(causal_model(tokenizer), args, train_dataset=dataset, eval_dataset=dataset, data_collator=collator, **extra)


class OwnLoss(Trainer):
    """A user's trainer, which may read the weights."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        inputs.pop("loss_weights")
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class WeightedSFT(WeightedLossMixin, SFTTrainer):
    pass


@pytest.mark.parametrize("cls", [Trainer, SFTTrainer])
def test_a_trainer_that_ignores_weights_is_named_once_with_the_remedy(cls, tokenizer, dataset, weighting, tmp_path):
    trainer = trainer_of(cls, tokenizer, dataset, weighting, tmp_path)
    with pytest.warns(
        SpanmaskWarning, match=rf"loss_weights: {cls.__name__} ignores .*WeightedLossMixin, {cls.__name__}\)"
    ) as told:
        trainer.train()
    assert len(told) == 1


def test_evaluation_is_told_as_well(tokenizer, dataset, weighting, tmp_path):
    with pytest.warns(SpanmaskWarning, match="Trainer ignores loss weights"):
        trainer_of(Trainer, tokenizer, dataset, weighting, tmp_path).evaluate()


def test_turn_weights_of_the_dataset_are_weights_too(tokenizer, tmp_path):
    weights = [[0.5] * (len(messages) // 2) for messages in CONVERSATIONS]
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS, "turn_weights": weights})
    with pytest.warns(SpanmaskWarning, match="Trainer ignores loss weights"):
        trainer_of(Trainer, tokenizer, dataset, collator_of(tokenizer, None), tmp_path).train()


def test_a_loss_function_without_the_batch_cannot_read_weights(tokenizer, dataset, weighting, tmp_path):
    def loss(outputs, labels, num_items_in_batch=None):
        return outputs.logits.sum() * 0

    with pytest.warns(SpanmaskWarning, match="Trainer ignores loss weights"):
        trainer_of(Trainer, tokenizer, dataset, weighting, tmp_path, compute_loss_func=loss).train()


@pytest.mark.parametrize(("cls", "options"), [(WeightedLossTrainer, "tokens"), (WeightedSFT, "weights"), (OwnLoss, None)])
def test_trainers_that_use_weights_are_left_in_peace(cls, options, tokenizer, dataset, weighting, tmp_path):
    trainer_of(cls, tokenizer, dataset, weighting, tmp_path, **({"normalize": options} if options else {})).train()


def test_a_custom_loop_and_a_look_at_a_batch_are_left_in_peace(tokenizer, dataset, weighting, tmp_path):
    batch = next(iter(trainer_of(Trainer, tokenizer, dataset, weighting, tmp_path).get_train_dataloader()))
    logits = causal_model(tokenizer)(batch["input_ids"]).logits
    assert weighted_loss(logits, batch["labels"], batch["loss_weights"], normalize="weights") > 0
    assert "loss_weights" in weighting(dataset.select(range(2)).to_list())


def test_no_weights_no_warning(tokenizer, dataset, tmp_path):
    trainer_of(Trainer, tokenizer, dataset, collator_of(tokenizer, MaskPolicy()), tmp_path).train()


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_know_the_trainer_that_started_them(context, tokenizer, dataset, weighting, tmp_path, capfd):
    def said(cls, collator, **options):
        trainer = trainer_of(cls, tokenizer, dataset, collator, tmp_path, dataloader_num_workers=1, **options)
        loader = trainer.get_train_dataloader
        trainer.get_train_dataloader = lambda: with_context(loader(), context)
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # in a worker an error would end the process
            warnings.showwarning = lambda message, *where: os.write(2, str(message).encode())  # a forked worker has pytest's
            trainer.train()
        return capfd.readouterr().err

    assert "Trainer ignores loss weights" in said(Trainer, weighting)
    assert "ignores" not in said(WeightedLossTrainer, collator_of(tokenizer, weighting.policy), normalize="tokens")


def with_context(loader, context):
    """The loader, whose workers start in this way."""
    loader.base_dataloader.multiprocessing_context = context
    return loader
