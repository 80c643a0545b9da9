"""Text infilling in a real trainer: a tiny BART with a tokenizer that is trained here."""

import math
import warnings

import torch
from spanmask import DataCollatorForTextInfilling
from spanmask.integrations.transformers import EpochCallback
from support.trainers import SETTINGS
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import BartConfig, BartForConditionalGeneration, PreTrainedTokenizerFast, Trainer, TrainingArguments

SPECIAL = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>", "mask_token": "<mask>"}
TEXTS = [f"Dog {n} walks in the park. It is {n % 5} years old! Who has seen dog {n}?" for n in range(48)]


def bart_tokenizer():
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=120, special_tokens=[*SPECIAL.values()], show_progress=False)
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL)


def bart_model(tokenizer, positions):
    torch.manual_seed(0)
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=len(tokenizer),
            d_model=32,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=64,
            decoder_ffn_dim=64,
            max_position_embeddings=positions,
            dropout=0.0,
        )
    )


class Seen(DataCollatorForTextInfilling):
    """Records the epoch and the widths of each batch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.batches = []

    def __call__(self, features, return_tensors=None):
        batch = super().__call__(features, return_tensors)
        self.batches.append((self.epoch, batch["input_ids"].shape[1], batch["labels"].shape[1]))
        return batch


def test_a_bart_learns(tmp_path):
    """No batch is longer than the positions of the model, although there are insertions; every epoch has its noise; the loss falls."""
    tokenizer = bart_tokenizer()
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    longest = max(len(row["input_ids"]) for row in rows)
    collator = Seen(tokenizer, poisson_lambda=1.0, permute_sentence_ratio=1.0, whole_word_mask=True, max_length=longest, seed=1)
    assert set(tokenizer.convert_ids_to_tokens(collator.spec.sentence_end_ids)) >= {".", "!", "?"}
    settings = {
        **SETTINGS,
        "max_steps": 60,
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-2,
        "logging_steps": 6,
        "seed": 1,
    }
    trainer = Trainer(
        bart_model(tokenizer, longest),
        TrainingArguments(str(tmp_path), **settings),
        collator,
        rows,
        callbacks=[EpochCallback(collator)],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(map(math.isfinite, losses))
    assert losses[-1] < losses[0] / 2, losses
    assert max(width for _, *widths in collator.batches for width in widths) == longest
    assert [epoch for epoch, *_ in collator.batches] == [number // 6 for number in range(60)]


def test_label_smoothing_finds_decoder_inputs(tmp_path):
    tokenizer = bart_tokenizer()
    rows = [{"input_ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    collator = DataCollatorForTextInfilling(tokenizer, decoder_start_token_id=2)
    settings = TrainingArguments(str(tmp_path), **SETTINGS, label_smoothing_factor=0.1)
    assert Trainer(bart_model(tokenizer, 64), settings, collator, rows).train().training_loss > 0
