"""Denoising in real trainers: transformers', Lightning's, and a plain loop. Tiny models, built from their configuration."""

import logging
import warnings

import numpy as np
import pytest
import torch
from spanmask import (
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    Denoiser,
    DenoiserMixture,
    corrupt,
)
from spanmask.integrations.transformers import EpochCallback
from support.denoising import bert_tokenizer, t5_tokenizer
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForMaskedLM,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

TOKENIZER = t5_tokenizer([f"w{number}" for number in range(40)])


def t5_model():
    torch.manual_seed(0)
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(TOKENIZER),
            d_model=32,
            d_kv=16,
            d_ff=64,
            num_layers=1,
            num_heads=2,
            decoder_start_token_id=0,
            dropout_rate=0.0,
        )
    )


def sentences(count, seed=0):
    """Rows with something to learn: each word's number is that of the previous word plus one."""
    starts = np.random.default_rng(seed).integers(0, 40, size=count)
    return [{"input_ids": [*(3 + (start + at) % 40 for at in range(16)), 1]} for start in starts.tolist()]


def arguments(tmp_path, **options):
    return TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        learning_rate=3e-3,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        logging_strategy="no",
        seed=1,
        **options,
    )


class Watched(DataCollatorForSpanCorruption):
    """Records the epoch of each batch."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.epochs = []

    def __call__(self, features, return_tensors=None):
        self.epochs.append(self.epoch)
        return super().__call__(features, return_tensors)


class TestTransformers:
    def test_the_callback_moves_the_epoch(self, tmp_path):
        collator = Watched(TOKENIZER, seed=1)
        trainer = Trainer(
            t5_model(), arguments(tmp_path, num_train_epochs=3), collator, sentences(32), callbacks=[EpochCallback(collator)]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            trainer.train()
        assert collator.epochs == [0] * 4 + [1] * 4 + [2] * 4

    def test_a_resumed_run_continues_in_its_epoch(self, tmp_path):
        class Stop(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs):
                control.should_save = control.should_training_stop = state.global_step == 6

        def trainer(collator, *callbacks):
            options = arguments(tmp_path, num_train_epochs=3)
            options.save_strategy = "no"
            return Trainer(t5_model(), options, collator, sentences(32), callbacks=[EpochCallback(collator), *callbacks])

        trainer(Watched(TOKENIZER, seed=1), Stop()).train()
        resumed = Watched(TOKENIZER, seed=1)
        trainer(resumed).train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
        assert resumed.epochs[-6:] == [1, 1, 2, 2, 2, 2]
        assert set(resumed.epochs) == {1, 2}

    def test_seed_none_needs_no_callback(self, tmp_path):
        seen = []

        class Seen(DataCollatorForSpanCorruption):
            def __call__(self, features, return_tensors=None):
                batch = super().__call__(features, return_tensors)
                seen.append(batch["labels"].flatten().tolist())
                return batch

        row = sentences(1) * 8
        collator = Seen(TOKENIZER, noise_density=0.5, mean_noise_span_length=1.5)
        Trainer(t5_model(), arguments(tmp_path, num_train_epochs=4), collator, row).train()
        assert len({tuple(labels) for labels in seen}) == 4  # a new mask in each epoch

    def test_masked_lm_trains_as_well_as_with_transformers_collator(self, tmp_path):
        tokenizer = bert_tokenizer(20)
        rows = [{"input_ids": [2, *(5 + (number + at) % 20 for at in range(16)), 3]} for number in range(64)]
        losses = []
        for collator in (DataCollatorForMaskedLM(tokenizer), None):
            from transformers import DataCollatorForLanguageModeling

            torch.manual_seed(0)
            model = BertForMaskedLM(
                BertConfig(
                    vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64
                )
            )
            trainer = Trainer(
                model, arguments(tmp_path, num_train_epochs=12), collator or DataCollatorForLanguageModeling(tokenizer), rows
            )
            losses.append(trainer.train().training_loss)
        assert abs(losses[0] - losses[1]) < 0.35
        assert max(losses) < 3.6

    def test_only_collators_with_an_epoch_are_accepted(self):
        with pytest.raises(TypeError, match="collators: expected collators with set_epoch, .*, got function"):
            EpochCallback(lambda features: features)


def test_label_smoothing_finds_decoder_inputs(tmp_path):
    collator = DataCollatorForSpanCorruption(TOKENIZER, seed=1, decoder_start_token_id=0, on_repeat="ignore")
    options = arguments(tmp_path, max_steps=3)
    options.label_smoothing_factor = 0.1
    assert Trainer(t5_model(), options, collator, sentences(32)).train().training_loss > 0


def test_lightning(tmp_path):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own warnings
        lightning = pytest.importorskip("lightning.pytorch")
        from spanmask.integrations.lightning import EpochCallback as LightningCallback

        class Module(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.model = t5_model()

            def training_step(self, batch, number):
                return self.model(**batch).loss

            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=3e-3)

        collator = Watched(TOKENIZER, seed=1)
        callback = LightningCallback(collator)
        trainer = lightning.Trainer(
            max_epochs=3,
            accelerator="cpu",
            callbacks=[callback],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(Module(), DataLoader(sentences(16), batch_size=4, collate_fn=collator))
    assert collator.epochs == [0] * 4 + [1] * 4 + [2] * 4
    state = callback.state_dict()
    other = Watched(TOKENIZER, seed=9)
    LightningCallback(other).load_state_dict(state)
    assert other.state_dict() == collator.state_dict()


@pytest.mark.slow
def test_a_t5_learns_from_a_mixture():
    """A few hundred steps of R, X and S: the loss falls for each of them."""
    tokenizer = t5_tokenizer([f"w{number}" for number in range(40)])
    tokenizer.add_tokens(["[NLU]", "[NLG]", "[S2S]"])
    mixture = DenoiserMixture.from_tokenizer(
        tokenizer,
        [
            Denoiser(3.0, 0.15, mode_token="[NLU]", name="R"),
            Denoiser(3.0, 0.5, mode_token="[NLG]", name="X"),
            Denoiser(kind="prefix", noise_density=0.25, mode_token="[S2S]", name="S"),
        ],
    )
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=64,
            d_kv=32,
            d_ff=128,
            num_layers=2,
            num_heads=2,
            decoder_start_token_id=0,
            dropout_rate=0.0,
        )
    )
    held_out = [row["input_ids"] for row in sentences(120, seed=9)]
    out = corrupt(held_out, mixture, seed=5, keys=range(120))
    padded = {"input_ids": out.input_ids.to_padded(0), "labels": out.labels.to_padded(-100)}

    def losses():
        model.eval()
        tensors = {name: torch.from_numpy(value) for name, value in padded.items()}
        with torch.no_grad():
            found = [
                model(
                    input_ids=tensors["input_ids"][mine],
                    attention_mask=(tensors["input_ids"][mine] != 0).long(),
                    labels=tensors["labels"][mine],
                ).loss.item()
                for mine in (torch.from_numpy(out.denoisers == number) for number in range(3))
            ]
        model.train()
        return dict(zip(mixture.names, found, strict=True))

    before = losses()
    rows = [{**row, "id": number} for number, row in enumerate(sentences(320))]  # 40 sentences, each several times
    collator = DataCollatorForSpanCorruption(tokenizer, spec=mixture, seed=1, key_column="id")
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for epoch in range(15):
        collator.set_epoch(epoch)
        for batch in DataLoader(rows, batch_size=16, shuffle=True, collate_fn=collator):
            optimizer.zero_grad()
            model(**batch).loss.backward()
            optimizer.step()
    after = losses()
    print("loss by denoiser:", {name: (round(before[name], 2), round(after[name], 2)) for name in before})
    assert all(after[name] < before[name] / 2 for name in before), (before, after)
