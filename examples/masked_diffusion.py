"""Train a masked diffusion language model on answers, then let it fill masks.

The job: fine-tuning as LLaDA does it. A share of each answer's tokens, drawn anew for each row and epoch, becomes the mask; the question
stays clear; the model, which sees both sides of each mask, must predict what was there. A user writes the collator, which takes
conversations, and a trainer that reads the loss weights:

    collator = DataCollatorForMaskedDiffusion(tokenizer, weighting="row", pad_with_eos=True, seed=42)
    trainer = WeightedLossTrainer(model, args, train_dataset=dataset, data_collator=collator, normalize="rows", shift=False)

Everything else makes the job small enough to run offline on one core in seconds: a tokenizer trained on the conversations, and an encoder
built from its configuration. It learns twenty answers by heart, and writes them starting from masks only.

Run it: `python examples/masked_diffusion.py`
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from rich.console import Console
from spanmask import DataCollatorForMaskedDiffusion, preview
from spanmask.integrations.transformers import EpochCallback
from spanmask.integrations.weighted_loss import WeightedLossTrainer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainingArguments,
    set_seed,
)

console = Console()
WIDTH = 24  # tokens of a row
SOUNDS = {
    "cow": "moos",
    "dog": "barks",
    "cat": "purrs",
    "duck": "quacks",
    "frog": "croaks",
    "horse": "neighs",
    "lion": "roars",
    "owl": "hoots",
    "pig": "grunts",
    "wolf": "howls",
}
CONVERSATIONS = [
    [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    for animal, sound in SOUNDS.items()
    for question, answer in (
        (f"Who {sound}?", f"The {animal}."),
        (f"What does the {animal} do?", f"The {animal} {sound} when it wants to."),
    )
]
TEMPLATE = (
    "{% for m in messages %}<|start|>{{ m['role'] }}\n{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer, trained on the conversations, with a mask token and a chat template."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = [message["content"] for messages in CONVERSATIONS for message in messages]
    special = ["<|endoftext|>", "<|start|>", "<|end|>", "<|mask|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator([*texts, "user assistant"], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>", mask_token="<|mask|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(tokenizer: PreTrainedTokenizerFast) -> BertForMaskedLM:
    """An encoder of two layers, randomly initialized. Each position sees all others."""
    return BertForMaskedLM(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=64,
            initializer_range=0.1,  # the default, 0.02, is for larger models
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def train(model: BertForMaskedLM, collator: DataCollatorForMaskedDiffusion, dataset: Dataset, steps: int) -> list[float]:
    """Train with transformers' `Trainer`, one batch per epoch. Returns the logged losses, each the mean over some steps."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = WeightedLossTrainer(
            model,
            TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=len(dataset),
                learning_rate=3e-3,
                warmup_steps=min(10, steps // 4),
                logging_steps=max(1, steps // 10),
                remove_unused_columns=False,  # the collator reads `messages`
                use_cpu=True,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=dataset,
            data_collator=collator,
            callbacks=[EpochCallback(collator)],
            normalize="rows",
            shift=False,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def answer(model: BertForMaskedLM, tokenizer: PreTrainedTokenizerFast, question: str, steps: int = 6) -> list[torch.Tensor]:
    """Write an answer, continued with end-of-text to the width of a row, in `steps` steps. Returns the ids of the answer after each step.

    It begins with masks. In each step the model predicts all of them, and the predictions that it is most certain of stay (LLaDA's
    low-confidence remasking, without sampling).
    """
    messages = [{"role": "user", "content": question}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=False)
    length = WIDTH - prompt.shape[1]
    ids = torch.cat([prompt, torch.full((1, length), tokenizer.mask_token_id)], dim=1)
    drafts = [ids[0, -length:].clone()]
    model.eval()
    for left in range(steps, 0, -1):
        is_mask = ids == tokenizer.mask_token_id
        with torch.inference_mode():
            logits = model(ids).logits
            logits[..., tokenizer.mask_token_id] = -torch.inf  # it is never a label
            certainty, predicted = logits.softmax(dim=-1).max(dim=-1)
        best = certainty.masked_fill(~is_mask, -1).topk(int(is_mask.sum()) // left).indices
        ids = ids.scatter(1, best, predicted.gather(1, best))
        drafts.append(ids[0, -length:].clone())
    return drafts


def main(steps: int = 300, seed: int = 0) -> dict[str, Any]:
    """Run all steps. Returns the results, which the tests check."""
    torch.set_num_threads(1)
    set_seed(seed)
    tokenizer = make_tokenizer()
    collator = DataCollatorForMaskedDiffusion(
        tokenizer, weighting="row", antithetic=True, pad_with_eos=True, pad_to_multiple_of=WIDTH, seed=42
    )
    dataset = Dataset.from_list([{"messages": messages} for messages in CONVERSATIONS])

    console.rule("Three rows of a batch: weights by row, questions clear")
    batch = collator(dataset.select([0, 1, 2]).to_list())
    print(preview(batch, tokenizer=tokenizer))

    console.rule("Training with transformers' Trainer")
    model = make_model(tokenizer)
    losses = train(model, collator, dataset, steps)
    console.print("  loss  " + "  ".join(f"{loss:.2f}" for loss in losses))

    console.rule("Answers, from masks only")
    drafts = [tokenizer.decode(draft) for draft in answer(model, tokenizer, "What does the owl do?")]
    for step, draft in enumerate(drafts):
        console.print(f"  step {step}   {draft}", markup=False, soft_wrap=True)
    right = 0
    for question, expected in ((messages[0]["content"], messages[1]["content"]) for messages in CONVERSATIONS):
        ids = answer(model, tokenizer, question)[-1]
        assert tokenizer.mask_token_id not in ids, "every mask is filled"
        right += tokenizer.decode(ids, skip_special_tokens=True) == expected
    console.print(f"  {right} of {len(CONVERSATIONS)} answers are right")
    assert losses[-1] < losses[0]
    return {"batch": batch, "losses": losses, "drafts": drafts, "right": right / len(CONVERSATIONS)}


if __name__ == "__main__":
    main()
