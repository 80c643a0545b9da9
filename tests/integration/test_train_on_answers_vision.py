"""`train_on_answers` with images: the collator that TRL chose is replaced, and keeps what was set on it."""

import random

import datasets
import pytest
import torch
from spanmask import DataCollatorForVisionChat, MaskPolicy, train_on_answers
from support import tiny_processors as zoo
from support import trainers
from transformers import Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

pytestmark = [
    pytest.mark.needs("transformers>=5"),  # the processors of the tests are built as that version builds them
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.parametrize("name", ["llava", "qwen2_5_vl", "gemma3"]),
]
SETTINGS = {**trainers.SETTINGS, "learning_rate": 0.0, "logging_steps": 1}
SAID = ["seven cats", "a hat", "no", "one more dog"]


def rows():
    rng = random.Random(4)
    made = []
    for number in range(4):
        part = {"type": "text", "text": f"Q{number}?"}
        first = {"role": "user", "content": [{"type": "image", "text": None}, part]}
        turns = [SAID[number], SAID[(number + 1) % 4]]
        answers = [{"role": "assistant", "content": [{"type": "text", "text": text}]} for text in turns]
        made.append(
            {"messages": [first, answers[0], {"role": "user", "content": [part]}, answers[1]], "images": [zoo.image(rng)]}
        )
    return made


def dataset(**columns):
    data = datasets.Dataset.from_list(rows())
    for name, column in columns.items():
        data = data.add_column(name, column)
    return data


def texts(tokenizer, batches):
    """The pieces of text that train."""
    pieces = []
    for row in (row for batch in batches for row in batch["labels"]):
        edges = torch.nonzero(torch.diff((row != -100).int(), prepend=torch.zeros(1, dtype=torch.int))).flatten().tolist()
        for start, stop in zip(edges[::2], [*edges[1::2], len(row)], strict=False):
            pieces.append(tokenizer.decode(row[start:stop]).strip())
    return sorted(pieces)


def expected(tokenizer, name, turns=(0, 1)):
    end = {"llava": "</s>", "qwen2_5_vl": "<|im_end|>", "gemma3": "<end_of_turn>"}[name]
    return sorted(SAID[(number + turn) % 4] + end for number in range(4) for turn in turns)


def sft(name, folder, data, **options):
    built = zoo.build(name)
    args = SFTConfig(str(folder), bf16=False, **{**SETTINGS, **options})
    return SFTTrainer(built.make_model(), args, train_dataset=data, eval_dataset=data, processing_class=built.processor)


def test_sft_trainer(name, tmp_path, capsys):
    tokenizer = zoo.build(name).processor.tokenizer
    trainer = sft(name, tmp_path, dataset(), max_length=500)
    assert train_on_answers(train_on_answers(trainer)) is trainer
    said = capsys.readouterr().out.splitlines()
    assert "counted by DataCollatorForVisionChat" in said[0]
    assert "nothing to do" in said[2]
    assert trainer.data_collator.max_length == 500
    assert trainer.data_collator.padding_side == "right"
    seen = []
    trainer.model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    trainer.train()
    batches = seen[:2]
    assert texts(tokenizer, batches) == expected(tokenizer, name)
    assert trainer.spanmask_report["train"].turns["assistant"] == 8
    batch = {key: value for key, value in batches[0].items() if key != "fused_lm_head"}
    with torch.no_grad():
        logits = trainer.model(**{**batch, "labels": None}).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), batch["labels"][:, 1:].flatten())
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged[0] == pytest.approx(loss.item(), rel=1e-3)
    assert trainer.evaluate()["eval_loss"] > 0


def test_flags_of_turns_reach_the_collator(name, tmp_path):
    """TRL's trainer would drop the column."""
    tokenizer = zoo.build(name).processor.tokenizer
    trainer = sft(name, tmp_path, dataset(kept=[[False, True]] * 4))
    train_on_answers(trainer, turn_column="kept")
    assert texts(tokenizer, trainer.get_train_dataloader()) == expected(tokenizer, name, turns=(1,))
    with pytest.raises(ValueError, match="turn_column: the train set has no column 'kept'"):
        train_on_answers(sft(name, tmp_path, dataset()), turn_column="kept")


def test_transformers_trainer(name, tmp_path):
    built = zoo.build(name)
    args = TrainingArguments(str(tmp_path), **SETTINGS)
    trainer = Trainer(built.make_model(), args, train_dataset=rows(), processing_class=built.processor)
    train_on_answers(trainer, MaskPolicy(turns="last"))
    assert isinstance(trainer.data_collator, DataCollatorForVisionChat)
    assert texts(built.processor.tokenizer, trainer.get_train_dataloader()) == expected(None, name, turns=(1,))
    trainer.train()
