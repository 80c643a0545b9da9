"""Pre-train a small T5 on generated sentences, and measure the effect of fresh noise in each epoch.

The job: a text corpus, an encoder-decoder trained from scratch, different spans hidden in each epoch. Every sentence states three facts
about a person. They follow from the person's names, so a model that has learned this fills the gaps of sentences that it has never seen.
Training with the noise frozen to one epoch hides the same words of each sentence every time: the model memorizes these words, and
learns less about what they follow from.

The lines that a user writes are in `pretrain`: the collator, and `set_epoch` before each pass (`EpochCallback` calls it for
transformers' `Trainer`).

Run it: `python examples/pretrain_t5.py` (one core, about two minutes; with `--quick` a few seconds)
"""

from __future__ import annotations

import argparse
import random
import time

import torch
from spanmask import DataCollatorForSpanCorruption
from torch.utils.data import DataLoader
from transformers import T5Config, T5ForConditionalGeneration, T5Tokenizer, set_seed

JOBS = ["baker", "doctor", "farmer", "fisher", "miller", "painter", "pilot", "singer", "smith", "teacher"]
CITIES = ["Aachen", "Bergen", "Cadiz", "Delft", "Essen", "Faro", "Ghent", "Halle", "Izmir", "Jena"]
FOODS = ["apples", "bread", "cheese", "dates", "eggs", "figs", "grapes", "honey", "kale", "lentils"]
TIMES = ["always", "daily", "mostly", "never", "now", "often", "rarely", "soon", "then", "today"]


def make_corpus(count: int, names: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Sentences to train on, and 200 more about people who do not occur in them.

    The first name determines the city, the family name the job and the food. Every sentence contains both names, so the facts about an
    unknown person can be inferred from sentences about others.
    """
    rng = random.Random(seed)
    cities = [rng.choice(CITIES) for _ in range(names)]
    facts = [(rng.choice(JOBS), rng.choice(FOODS)) for _ in range(names)]
    people = [(first, family) for first in range(names) for family in range(names)]
    sentences = []
    for first, family in rng.sample(people, count + 200):
        job, food = facts[family]
        sentences.append(f"Y{first} F{family} the {job} of {cities[first]} eats {food} {rng.choice(TIMES)}")
    return sentences[:count], sentences[count:]


def make_tokenizer(sentences: list[str]) -> T5Tokenizer:
    """T5's tokenizer with the words of the corpus as its vocabulary."""
    words = sorted({word for sentence in sentences for word in sentence.split()})
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(100))]
    pieces = ["<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in words), *sentinels]
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=100)


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
            dropout_rate=0.0,
            decoder_start_token_id=tokenizer.pad_token_id,
        )
    )


def pretrain(tokenizer: T5Tokenizer, rows: list[dict[str, list[int]]], epochs: int, fresh: bool) -> T5ForConditionalGeneration:
    """Train from scratch. `fresh`: hide different spans in each epoch."""
    set_seed(0)
    model = make_model(tokenizer)
    collator = DataCollatorForSpanCorruption(
        tokenizer,
        noise_density=0.35,
        mean_noise_span_length=1.0,
        layout="uniform",  # the classic layout would always hide the last word of rows as short as these
        seed=42,
        on_repeat="warn" if fresh else "ignore",
    )
    loader = DataLoader(rows, batch_size=16, shuffle=True, collate_fn=collator)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        if fresh:
            collator.set_epoch(epoch)  # the only line that fresh noise needs
        losses = []
        for batch in loader:
            optimizer.zero_grad()
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if epoch % max(1, epochs // 6) == 0 or epoch + 1 == epochs:
            print(f"  epoch {epoch:>3}   loss {sum(losses) / len(losses):.3f}", flush=True)
    return model


def fill(model: T5ForConditionalGeneration, tokenizer: T5Tokenizer, sentences: list[str]) -> float:
    """Hide job, city and food of each sentence. Returns the fraction of these words that the model writes exactly."""
    expected, questions = [], []
    for sentence in sentences:
        first, family, _, job, _, city, _, food, moment = sentence.split()
        expected.append([job, city, food])
        questions.append(f"{first} {family} the <extra_id_0> of <extra_id_1> eats <extra_id_2> {moment}")
    model.eval()
    inputs = tokenizer(questions, return_tensors="pt", padding=True)
    written = model.generate(**inputs, max_new_tokens=9, do_sample=False)
    correct = 0
    for answer, words in zip(tokenizer.batch_decode(written), expected, strict=True):
        for number, word in enumerate(words):
            # The text after the gap's sentinel, up to the next special token.
            correct += answer.partition(f"<extra_id_{number}>")[2].partition("<")[0].strip() == word
    print(
        f"  {questions[0]}\n    -> {tokenizer.decode(written[0], skip_special_tokens=False)}   (expected: {' '.join(expected[0])})"
    )
    return correct / (3 * len(sentences))


def main() -> None:
    """Compare fresh noise, frozen noise, and guessing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a short run: too few epochs to learn much")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    count, names, epochs = (600, 30, 12) if quick else (2000, 47, 36)
    seen, unseen = make_corpus(count, names)
    tokenizer = make_tokenizer(seen + unseen)
    rows = [{"input_ids": tokenizer(sentence)["input_ids"]} for sentence in seen]
    print(f"{len(rows)} sentences, for instance: {seen[0]}\n")
    accuracy = {}
    for name, fresh in (("fresh noise in each epoch", True), ("noise frozen to one epoch", False)):
        start = time.perf_counter()
        print(name)
        model = pretrain(tokenizer, rows, epochs, fresh)
        accuracy[name] = fill(model, tokenizer, unseen)
        print(f"  {time.perf_counter() - start:.0f} s\n")
    print("words filled in exactly, in unseen sentences")
    for name, fraction in accuracy.items():
        print(f"  {name:<28} {fraction:6.1%}")
    print(f"  {'chance (one word of ten)':<28} {1 / len(JOBS):6.1%}")


if __name__ == "__main__":
    main()
