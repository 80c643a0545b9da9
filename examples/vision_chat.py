"""Fine-tune a vision-language model on the answers only.

The task: a LLaVA learns to answer questions in conversations about images, with two rounds each. TRL's collator copies `input_ids` to
`labels` and masks only padding, so it also trains the model to write the user's questions. One line changes that:

    trainer = SFTTrainer(model, args, train_dataset=dataset, data_collator=DataCollatorForVisionChat(processor))

Everything else makes the task small enough to run offline on one core in half a minute: the program draws the images, trains a tokenizer,
and builds a model from its configuration. With a checkpoint, replace `make_processor` and `make_model` by
`LlavaProcessor.from_pretrained(...)` and `LlavaForConditionalGeneration.from_pretrained(...)`.

Run it: `python examples/vision_chat.py`
"""

from __future__ import annotations

import random
import tempfile
from typing import Any

import torch
from datasets import Dataset
from PIL import Image, ImageDraw
from rich.console import Console
from rich.table import Table
from rich.text import Text
from spanmask import ChatFormat, DataCollatorForVisionChat, find_turns, preview
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    PrinterCallback,
    TrainerCallback,
    set_seed,
)
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

console = Console()

# --- The data: coloured shapes, and two questions about each ----------------------------------------------------------------------

SIZE, PATCH = 32, 16
COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 200, 40),
    "purple": (150, 60, 190),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
QUESTIONS = {
    "colour": ("What colour is it?", "Which colour does the shape have?", "Tell me the colour."),
    "shape": ("What shape is it?", "Which shape do you see?", "Name the shape."),
}


def draw(colour: str, shape: str, rng: random.Random) -> Image.Image:
    """One shape of random size near the middle, on a dark background."""
    image = Image.new("RGB", (SIZE, SIZE), tuple(rng.randrange(70) for _ in range(3)))
    pen, fill = ImageDraw.Draw(image), COLOURS[colour]
    r = SIZE * rng.uniform(0.30, 0.42)
    x, y = (SIZE * rng.uniform(0.42, 0.58) for _ in "xy")
    if shape == "circle":
        pen.ellipse((x - r, y - r, x + r, y + r), fill)
    elif shape == "square":
        pen.rectangle((x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r), fill)
    elif shape == "triangle":
        pen.polygon([(x, y - r), (x - r, y + r), (x + r, y + r)], fill)
    else:
        pen.rectangle((x - 0.35 * r, y - r, x + 0.35 * r, y + r), fill)
        pen.rectangle((x - r, y - 0.35 * r, x + r, y + 0.35 * r), fill)
    return image


def conversation(rng: random.Random) -> dict[str, Any]:
    """One example in the form of TRL's vision datasets: an image, and two rounds of messages about it."""
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    answers = {"colour": f"It is {colour}.", "shape": f"It is a {shape}."}
    messages = []
    for topic in rng.sample(sorted(QUESTIONS), 2):
        content = [{"type": "text", "text": rng.choice(QUESTIONS[topic])}]
        if not messages:
            content.insert(0, {"type": "image", "text": None})
        messages.append({"role": "user", "content": content})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answers[topic]}]})
    return {"images": [draw(colour, shape, rng)], "messages": messages}


# --- In place of a checkpoint: a processor and a model made here ------------------------------------------------------------------

# How LLaVA 1.5 writes a conversation: "USER: <image>\nWhat colour is it? ASSISTANT: It is red.</s>USER: ..."
CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{ message['role'].upper() + ': ' }}
{%- for part in message['content'] if part['type'] == 'image' %}{{ '<image>\n' }}{% endfor -%}
{%- for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor -%}
{{ '</s>' if message['role'] == 'assistant' else ' ' }}
{%- endfor -%}
{{ 'ASSISTANT:' if add_generation_prompt else '' }}"""


def make_processor(texts: list[str]) -> LlavaProcessor:
    """A byte-level BPE trained on `texts`, CLIP's image processor, and the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>", "<image>"]
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>"},
    )
    pixels = {"height": SIZE, "width": SIZE}
    return LlavaProcessor(
        CLIPImageProcessor(do_resize=False, do_center_crop=False, size=pixels, crop_size=pixels),
        tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """A LLaVA with about 200,000 random weights."""
    tokenizer = processor.tokenizer
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=4,
        image_size=SIZE,
        patch_size=PATCH,
        initializer_factor=12.0,  # the default is for much wider models; this one would hardly see the image
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        initializer_range=0.05,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=processor.image_token_id, vision_feature_layer=-1)
    )


# --- Inspecting a mask ------------------------------------------------------------------------------------------------------------


def trained_by_role(batch: dict[str, Any], chat_format: ChatFormat) -> dict[str, tuple[int, int]]:
    """For each role: how many of its tokens carry loss, and how many it has. The turn markers determine the role of a token."""
    roles = find_turns(batch["input_ids"], chat_format, attention_mask=batch["attention_mask"]).token_roles()
    trained = batch["labels"] != -100
    return {
        role: (int((trained & (roles == number)).sum()), int((roles == number).sum()))
        for number, role in enumerate(chat_format.roles)
        if (roles == number).any()
    }


def trained_texts(batch: dict[str, Any], processor: LlavaProcessor) -> list[str]:
    """The text that each row trains on: its labels, decoded. This does not depend on turn markers."""
    return [processor.tokenizer.decode(row[row != -100]) for row in batch["labels"]]


def answers_of(example: dict[str, Any]) -> str:
    """What a row should train on: each answer as the template writes it, with its closing token."""
    return "".join(f" {message['content'][0]['text']}</s>" for message in example["messages"] if message["role"] == "assistant")


def show(image: Image.Image) -> Text:
    """An image for the terminal, with two pixels per character."""
    small = image.resize((20, 20))
    picture = Text()
    for y in range(0, 20, 2):
        for x in range(20):
            top, bottom = (f"rgb({','.join(map(str, small.getpixel((x, row))))})" for row in (y, y + 1))
            picture.append("▀", style=f"{top} on {bottom}")
        picture.append("\n")
    return picture


# --- Training and testing ---------------------------------------------------------------------------------------------------------


class PrintLoss(TrainerCallback):
    """Prints each logged loss."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:  # noqa: D102
        if "loss" in logs:
            console.print(f"  step {state.global_step:>4}   loss {float(logs['loss']):.3f}")


def train(model: Any, processor: Any, collator: Any, dataset: Dataset, steps: int, batch_size: int) -> list[float]:
    """Fine-tune with TRL's `SFTTrainer`; returns the logged losses."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = SFTTrainer(
            model,
            SFTConfig(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=batch_size,
                learning_rate=3e-3,
                warmup_steps=min(20, steps // 4),
                lr_scheduler_type="linear",
                adam_beta2=0.95,
                logging_steps=max(1, steps // 8),
                use_cpu=True,
                bf16=False,
                activation_checkpointing=False,
                dataloader_pin_memory=False,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=dataset,
            data_collator=collator,  # <- the one line
            processing_class=processor,
            callbacks=[PrintLoss()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def ask(model: Any, processor: Any, images: list[Image.Image], questions: list[str]) -> list[str]:
    """The model's answer to one question about each image."""
    prompts = [
        processor.apply_chat_template(
            [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}], add_generation_prompt=True
        )
        for question in questions
    ]
    inputs = processor(text=prompts, images=[[image] for image in images], padding=True, padding_side="left", return_tensors="pt")
    model.eval()
    with torch.inference_mode():
        out = model.generate(**inputs, max_new_tokens=12, do_sample=False)
    return [text.strip() for text in processor.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)]


def main(steps: int = 300, batch_size: int = 32, examples: int = 2048, held_out: int = 120, seed: int = 0) -> dict[str, Any]:
    """Runs the whole example, and returns its results for the tests."""
    torch.set_num_threads(1)
    set_seed(seed)
    rng = random.Random(seed)
    rows = [conversation(rng) for _ in range(examples)]
    dataset = Dataset.from_list(rows)
    texts = [part["text"] or "" for row in rows[:200] for message in row["messages"] for part in message["content"]]
    processor = make_processor([f"USER: {text} ASSISTANT: {text}" for text in texts])

    collator = DataCollatorForVisionChat(processor)  # derives where turns start and end from the chat template
    chat_format = collator.chat_format
    batches = {"TRL's collator": DataCollatorForVisionLanguageModeling(processor), "spanmask": collator}
    batches = {name: collate(rows[:8]) for name, collate in batches.items()}

    console.rule("What TRL's collator trains on: also the questions")
    print(preview(batches["TRL's collator"], tokenizer=processor, chat_format=chat_format, max_rows=1))
    console.rule("What DataCollatorForVisionChat trains on")
    print(preview(batches["spanmask"], tokenizer=processor, chat_format=chat_format, max_rows=1))

    counts = {name: trained_by_role(batch, chat_format) for name, batch in batches.items()}
    table = Table("tokens with loss, in 8 conversations", *counts, title_justify="left")
    for role in counts["spanmask"]:
        table.add_row(role, *("{} of {}".format(*count[role]) for count in counts.values()))
    console.print(table)
    assert counts["spanmask"]["user"][0] == 0, "a token of the user is in the loss"
    assert trained_texts(batches["spanmask"], processor) == [answers_of(row) for row in rows[:8]]
    console.print("No token of the user is in the loss: each row trains exactly on its two answers.\n")

    console.rule("Training with TRL's SFTTrainer")
    model = make_model(processor)
    losses = train(model, processor, collator, dataset, steps, batch_size)
    console.print(f"\n{collator.report}\n")

    console.rule("Questions about images that were not in the training set")
    fresh = random.Random(seed + 1)
    tests = [conversation(fresh) for _ in range(held_out)]
    accuracy = {}
    for topic, chance in (("colour", 1 / len(COLOURS)), ("shape", 1 / len(SHAPES))):
        wanted = {row: said for row, test in enumerate(tests) for said in said_about(test, topic)}
        questions = [fresh.choice(QUESTIONS[topic]) for _ in tests]
        answers = ask(model, processor, [test["images"][0] for test in tests], questions)
        accuracy[topic] = sum(answer == wanted[row] for row, answer in enumerate(answers)) / held_out
        console.print(show(tests[0]["images"][0]) if topic == "colour" and console.color_system else "", end="")
        console.print(f"[bold]USER[/] {questions[0]}  [bold]ASSISTANT[/] [green]{answers[0]}[/]  (truth: {wanted[0]})")
        console.print(f"  {topic}: {accuracy[topic]:.0%} of {held_out} answers are correct; guessing gives {chance:.0%}")
    return {"counts": counts, "losses": losses, "accuracy": accuracy}


def said_about(example: dict[str, Any], topic: str) -> list[str]:
    """The answers in a conversation's round about `topic`."""
    texts = [message["content"][-1]["text"] for message in example["messages"]]
    return [answer for question, answer in zip(texts[::2], texts[1::2], strict=True) if question in QUESTIONS[topic]]


if __name__ == "__main__":
    main()
