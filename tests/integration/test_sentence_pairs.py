"""Pairs of sentences in a real trainer: masked LM together with next sentence prediction, as BERT was trained."""

import datasets
import pytest
import torch
from spanmask import DataCollatorForMaskedLM
from support.denoising import bert_tokenizer
from support.trainers import SETTINGS
from transformers import BertConfig, BertForPreTraining, DataCollatorForLanguageModeling, Trainer, TrainingArguments

WORDS = [f"w{number}" for number in range(40)]


def pairs(tokenizer, count=64):
    """The second sentence continues the first one (label 0), or goes on with words of another kind (label 1)."""
    examples = []
    for number in range(count):
        low = number % 2 == 0
        first, second = WORDS[0:20], WORDS[20:40]
        other = first if low else second
        text = [" ".join(words[(number + at) % 20] for at in range(4 + number % 5)) for words in (first, other)]
        examples.append({**tokenizer(*text), "next_sentence_label": int(not low)})
    return examples


def model(tokenizer):
    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return BertForPreTraining(BertConfig(vocab_size=len(tokenizer), **size))


class Seen:
    """Records the batches that a collator makes."""

    def __init__(self, collator):
        self.collator, self.batches = collator, []

    def __call__(self, features):
        self.batches.append(self.collator(features))
        return self.batches[-1]


@pytest.mark.parametrize("kind", ["dicts", "dataset", "dataset of arrays"])
def test_next_sentences_are_learnt(tmp_path, kind):
    tokenizer = bert_tokenizer(40)
    rows = pairs(tokenizer)
    if kind != "dicts":
        rows = datasets.Dataset.from_list(rows)
    if kind == "dataset of arrays":
        rows = rows.with_format("numpy")
    made = DataCollatorForMaskedLM(tokenizer, keep_columns="next_sentence_label", min_one=True)
    seen = [Seen(made), Seen(DataCollatorForLanguageModeling(tokenizer))]
    losses = []
    for collator in seen[: 2 if kind == "dataset" else 1]:
        settings = {**SETTINGS, "max_steps": 60 if kind == "dataset" else 2, "per_device_train_batch_size": 16}
        settings["logging_strategy"] = "no"
        arguments = TrainingArguments(str(tmp_path), learning_rate=5e-3, seed=1, **settings)
        trainer = Trainer(model(tokenizer), arguments, data_collator=collator, train_dataset=rows)
        losses.append(trainer.train().training_loss)
        batch = collator.batches[0]
        assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels", "next_sentence_label"}
        assert set(batch["token_type_ids"].flatten().tolist()) == {0, 1}
    if kind != "dataset":
        return
    assert abs(losses[0] - losses[1]) < 0.5
    for ours, theirs in zip(*(collator.batches for collator in seen), strict=True):  # one seed: the same rows in the same order
        for name in ("token_type_ids", "attention_mask", "next_sentence_label"):
            assert torch.equal(ours[name], theirs[name])
    last = seen[0].batches[-1]
    with torch.no_grad():
        logits = trainer.model(
            **{name: last[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
        ).seq_relationship_logits
    assert (logits.argmax(dim=1) == last["next_sentence_label"]).float().mean() > 0.9
