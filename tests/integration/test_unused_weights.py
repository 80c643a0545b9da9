"""Loss weights that no loss reads: the first batch says so, unless the process has a loss that reads them."""

import pickle
import sys

import datasets
import pytest
from spanmask import DataCollatorForChat, MaskPolicy, SpanmaskWarning
from spanmask.integrations.weighted_loss import WeightedLossMixin, WeightedLossTrainer
from support import trainers
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

READER = "spanmask.integrations.weighted_loss"
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
SETTINGS = {**trainers.SETTINGS, "remove_unused_columns": False}


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
    extra = {name: options.pop(name) for name in ("normalize",) if name in options}
    if issubclass(cls, SFTTrainer):
        args = SFTConfig(str(folder), bf16=False, dataset_kwargs={"skip_prepare_dataset": True}, **SETTINGS, **options)
        extra["processing_class"] = tokenizer
    else:
        args = TrainingArguments(str(folder), **SETTINGS, **options)
    return cls(causal_model(tokenizer), args, train_dataset=dataset, eval_dataset=dataset, data_collator=collator, **extra)


class WeightedSFT(WeightedLossMixin, SFTTrainer):
    pass


@pytest.fixture
def without_reader(monkeypatch):
    """A process that has not imported the weighted loss."""
    monkeypatch.delitem(sys.modules, READER)


@pytest.mark.parametrize("cls", [Trainer, SFTTrainer])
@pytest.mark.usefixtures("without_reader")
def test_weights_are_reported_once_with_the_remedy(cls, tokenizer, dataset, weighting, tmp_path):
    trainer = trainer_of(cls, tokenizer, dataset, weighting, tmp_path)
    with pytest.warns(SpanmaskWarning, match="loss_weights: this batch has loss weights.*WeightedLossMixin") as told:
        trainer.train()
    assert len(told) == 1


@pytest.mark.usefixtures("without_reader")
def test_turn_weights_of_the_dataset_are_weights_too(tokenizer, tmp_path):
    weights = [[0.5] * (len(messages) // 2) for messages in CONVERSATIONS]
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS, "turn_weights": weights})
    with pytest.warns(SpanmaskWarning, match="loss_weights: this batch has loss weights"):
        trainer_of(Trainer, tokenizer, dataset, collator_of(tokenizer, None), tmp_path).evaluate()


@pytest.mark.parametrize(("cls", "normalize"), [(WeightedLossTrainer, "tokens"), (WeightedSFT, "weights")])
def test_trainers_that_use_weights_are_left_in_peace(cls, normalize, tokenizer, dataset, weighting, tmp_path):
    trainer_of(cls, tokenizer, dataset, weighting, tmp_path, normalize=normalize).train()


@pytest.mark.usefixtures("without_reader")
def test_who_names_the_key_is_left_in_peace(tokenizer, dataset):
    named = DataCollatorForChat(tokenizer, policy=MaskPolicy(prompt_weight=0.25), weight_key="loss_weights")
    assert "loss_weights" in named(dataset.select(range(2)).to_list())


def test_no_weights_no_warning(tokenizer, dataset, tmp_path):
    trainer_of(Trainer, tokenizer, dataset, collator_of(tokenizer, MaskPolicy()), tmp_path).train()


def test_a_pickled_collator_knows_what_its_process_imported(tokenizer, dataset, weighting, monkeypatch):
    rows = dataset.select(range(2)).to_list()
    copy = pickle.dumps(weighting)
    monkeypatch.delitem(sys.modules, READER)
    assert "loss_weights" in pickle.loads(copy)(rows)
    with pytest.warns(SpanmaskWarning, match="this batch has loss weights"):
        pickle.loads(pickle.dumps(collator_of(tokenizer, weighting.policy)))(rows)
