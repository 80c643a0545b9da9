"""Rows that are concatenated without padding, in models of transformers: they must not attend to each other."""

import datasets
import pytest
from spanmask import DataCollatorForChat, SpanmaskWarning
from spanmask.collators import chat
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from support.trainers import SETTINGS
from transformers import Trainer, TrainingArguments

SEPARATED = pytest.mark.needs("torch>=2.6")  # older ones cannot, which is a warning
ROWS = [{"messages": messages} for messages in CONVERSATIONS[:4]]


@pytest.fixture(scope="module")
def tokenizer():
    return chat_tokenizer()


@SEPARATED
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_rows_do_not_see_each_other(tokenizer, attention):
    model = causal_model(tokenizer)
    model.set_attn_implementation(attention)
    assert model.config.use_cache  # the default, with which models ignore where rows begin
    padded, flat = (
        model(**DataCollatorForChat(tokenizer, padding_free=padding_free)(ROWS)).loss.item() for padding_free in (False, True)
    )
    assert flat == pytest.approx(padded, abs=1e-6)


@SEPARATED
def test_rows_do_not_see_each_other_in_the_trainer(tokenizer, tmp_path):
    losses = []
    for padding_free in (False, True):
        settings = {
            **SETTINGS,
            "per_device_train_batch_size": 4,
            "max_steps": 1,
            "logging_steps": 1,
            "remove_unused_columns": False,
        }
        trainer = Trainer(
            model=causal_model(tokenizer),
            args=TrainingArguments(str(tmp_path), **settings),
            train_dataset=datasets.Dataset.from_list(ROWS),
            data_collator=DataCollatorForChat(tokenizer, padding_free=padding_free),
        )
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-4)


@pytest.mark.needs("torch<2.6")
def test_with_an_old_torch_rows_see_each_other_and_a_warning_says_so(tokenizer):
    with pytest.warns(SpanmaskWarning, match=r"padding_free: with torch 2\.\d\.\S+, before 2\.6, rows attend to each other"):
        collator = DataCollatorForChat(tokenizer, padding_free=True)
    model = causal_model(tokenizer)
    assert model(**collator(ROWS)).loss.item() != pytest.approx(
        model(**DataCollatorForChat(tokenizer)(ROWS)).loss.item(), abs=1e-6
    )


@pytest.mark.parametrize(("installed", "old"), [("2.2.0+cpu", True), ("2.5.1", True), ("2.6.0a0+git1", False), ("10.0", False)])
def test_the_warning_depends_on_the_version(tokenizer, monkeypatch, recwarn, installed, old):
    monkeypatch.setattr(chat, "version", lambda name: installed)
    DataCollatorForChat(tokenizer, padding_free=True)
    assert any(f"padding_free: with torch {installed}, before 2.6" in str(warning.message) for warning in recwarn) == old
    recwarn.clear()
    DataCollatorForChat(tokenizer)
    DataCollatorForChat(tokenizer, padding_free=True, return_tensors="np")
    assert not [warning for warning in recwarn if "padding_free" in str(warning.message)]
