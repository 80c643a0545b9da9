"""Train a T5 by denoising, then let it fill gaps.

The job: replace spans of each sentence by sentinels, and train an encoder-decoder to write what was hidden. A user writes the collator,
and a callback that sets its epoch, so that each pass over the data hides different spans:

    collator = DataCollatorForSpanCorruption(tokenizer, noise_density=0.15, mean_noise_span_length=3.0, seed=42)
    trainer = Trainer(model, args, train_dataset=dataset, data_collator=collator, callbacks=[EpochCallback(collator)])

Everything else makes the job small enough to run offline on one core in seconds: the words of one sentence as vocabulary, and a T5 built
from its configuration. With a checkpoint, replace `make_tokenizer` and `make_model` by `T5Tokenizer.from_pretrained(...)` and
`T5ForConditionalGeneration.from_pretrained(...)`.

Run it: `python examples/t5_denoising.py`
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from spanmask import DataCollatorForSpanCorruption, SpanCorruption, corrupt, denoise, merge, preview
from spanmask.integrations.transformers import EpochCallback
from transformers import (
    ByT5Tokenizer,
    PrinterCallback,
    T5Config,
    T5ForConditionalGeneration,
    T5Tokenizer,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

console = Console()
SENTENCE = "The cute dog walks in the green park"
GAPS = "The <extra_id_0> walks in <extra_id_1> park"


def make_tokenizer() -> T5Tokenizer:
    """T5's tokenizer with the words of the sentence as its vocabulary. `<extra_id_0>` has the last id, as in T5's own."""
    words = [f"\u2581{word}" for word in SENTENCE.split()]
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(100))]
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in ("<pad>", "</s>", "<unk>", *words, *sentinels)], extra_ids=100)


def make_model(tokenizer: T5Tokenizer) -> T5ForConditionalGeneration:
    """A T5 with two encoder and two decoder layers, randomly initialized."""
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=len(tokenizer),
            d_model=64,
            d_kv=16,
            d_ff=128,
            num_heads=4,
            num_layers=2,
            num_decoder_layers=2,
            dropout_rate=0.0,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


class PrintLoss(TrainerCallback):
    """Prints each logged loss."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # noqa: D102
        if "loss" in logs:
            console.print(f"  step {state.global_step:>4}   loss {float(logs['loss']):.3f}")


def train(
    model: T5ForConditionalGeneration, collator: DataCollatorForSpanCorruption, dataset: Dataset, steps: int
) -> list[float]:
    """Train with transformers' `Trainer`, one batch per epoch. Returns the logged losses."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model,
            TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=len(dataset),
                learning_rate=3e-3,
                warmup_steps=min(10, steps // 4),
                logging_steps=max(1, steps // 5),
                logging_first_step=True,
                remove_unused_columns=False,  # the collator reads the `id` column
                use_cpu=True,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=dataset,
            data_collator=collator,
            callbacks=[EpochCallback(collator), PrintLoss()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def fill(model: T5ForConditionalGeneration, tokenizer: T5Tokenizer, spec: SpanCorruption, text: str) -> tuple[str, str]:
    """Returns what the model writes for the gaps of `text`, and the sentence with its gaps filled."""
    inputs = tokenizer(text, return_tensors="pt")
    model.eval()
    with torch.inference_mode():
        written = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0, 1:]  # without the decoder's start token
    whole = merge([inputs["input_ids"][0]], [written], spec)
    return tokenizer.decode(written), tokenizer.decode(whole[0], skip_special_tokens=True)


def main(steps: int = 100, seed: int = 0) -> dict[str, Any]:
    """Run all steps. Returns the results, which the tests check."""
    torch.set_num_threads(1)
    set_seed(seed)
    tokenizer = make_tokenizer()

    console.rule("One sentence, denoised")
    pair = denoise(tokenizer, SENTENCE, noise_density=0.55, mean_noise_span_length=1.5, seed=2)
    console.print(f"sentence  {SENTENCE}")
    print(preview(pair, tokenizer=tokenizer, decoder=True))

    console.rule("The same with ByT5: one token per byte, ascending sentinels")
    byt5 = ByT5Tokenizer()
    by_bytes = denoise(byt5, SENTENCE, noise_density=0.55, mean_noise_span_length=5.0, seed=2)
    print(preview(by_bytes, tokenizer=byt5, decoder=True))
    restored = merge(by_bytes["input_ids"], by_bytes["labels"], SpanCorruption.from_tokenizer(byt5))
    assert byt5.decode(restored[0], skip_special_tokens=True) == SENTENCE
    console.print("merge() restores the sentence from inputs and labels.\n")

    # Sixteen rows of one sentence, each with an id: noise is a function of (seed, epoch, id), so different spans are hidden in each row.
    collator = DataCollatorForSpanCorruption(
        tokenizer, noise_density=0.5, mean_noise_span_length=2.0, layout="uniform", seed=42, key_column="id"
    )
    dataset = Dataset.from_list([{"id": number, "input_ids": tokenizer(SENTENCE).input_ids} for number in range(16)])

    console.rule("Inputs of the first row, by epoch")
    hidden = []
    for epoch in (0, 1, 2, 0):
        out = corrupt([dataset[0]["input_ids"]], collator.spec, seed=42, epoch=epoch, keys=[0])
        hidden.append(tokenizer.decode(out.input_ids[0]))
        console.print(f"  epoch {epoch}   {hidden[-1]}", markup=False)
    assert hidden[0] == hidden[3]

    console.rule("Training with transformers' Trainer")
    model = make_model(tokenizer)
    losses = train(model, collator, dataset, steps)

    console.rule("Filling gaps")
    written, filled = fill(model, tokenizer, collator.spec, GAPS)
    console.print(f"  gaps    {GAPS}\n  model   {written}\n  merged  {filled}", markup=False)
    return {"pair": pair, "losses": losses, "written": written, "filled": filled}


if __name__ == "__main__":
    main()
