"""Pre-train a small T5 on sentences of a grammar, and see what fresh noise is worth.

The job: a text corpus, an encoder-decoder from scratch, spans hidden anew in each epoch. Every sentence tells three facts about a person,
and they follow from the names; a model that found out how fills the gaps of sentences it never saw. The same training with the noise
frozen to one epoch hides the same words of each sentence for ever: the model learns these by heart, and less of what they follow from.

The lines that a user writes are in `pretrain`: the collator, and `set_epoch` in front of each pass (`EpochCallback` does it for
transformers' `Trainer`).

Run it: `python examples/pretrain_t5.py` (one core, about two minutes; `--quick` for a look, some seconds)
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
    """Sentences to train on, and 200 others about people that they do not tell of.

    A first name decides the city, a family name the job and the food. Every sentence gives both, so a reader of many can work out what an
    unknown person does, where and on what.
    """
    dice = random.Random(seed)
    cities = [dice.choice(CITIES) for _ in range(names)]
    facts = [(dice.choice(JOBS), dice.choice(FOODS)) for _ in range(names)]
    people = [(first, family) for first in range(names) for family in range(names)]
    told = []
    for first, family in dice.sample(people, count + 200):
        job, food = facts[family]
        told.append(f"Y{first} F{family} the {job} of {cities[first]} eats {food} {dice.choice(TIMES)}")
    return told[:count], told[count:]


def make_tokenizer(sentences: list[str]) -> T5Tokenizer:
    """T5's tokenizer over the corpus's words."""
    words = sorted({word for sentence in sentences for word in sentence.split()})
    sentinels = [f"<extra_id_{number}>" for number in reversed(range(100))]
    pieces = ["<pad>", "</s>", "<unk>", *(f"\u2581{word}" for word in words), *sentinels]
    return T5Tokenizer(vocab=[(piece, 0.0) for piece in pieces], extra_ids=100)


def make_model(tokenizer: T5Tokenizer) -> T5ForConditionalGeneration:
    """A T5 of two layers on each side, all random."""
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
    """Train from scratch. `fresh`: other spans in each epoch."""
    set_seed(0)
    model = make_model(tokenizer)
    collator = DataCollatorForSpanCorruption(
        tokenizer,
        noise_density=0.35,
        mean_noise_span_length=1.0,
        layout="uniform",  # sentences are short: the classic layout would always hide their last word
        seed=42,
        on_repeat="warn" if fresh else "ignore",
    )
    loader = DataLoader(rows, batch_size=16, shuffle=True, collate_fn=collator)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * len(loader))
    for epoch in range(epochs):
        if fresh:
            collator.set_epoch(epoch)  # this line is all there is to it
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
    """Hide job, city and food of each sentence; the share of these words that the model writes back exactly."""
    wanted, questions = [], []
    for sentence in sentences:
        first, family, _, job, _, city, _, food, moment = sentence.split()
        wanted.append([job, city, food])
        questions.append(f"{first} {family} the <extra_id_0> of <extra_id_1> eats <extra_id_2> {moment}")
    model.eval()
    inputs = tokenizer(questions, return_tensors="pt", padding=True)
    written = model.generate(**inputs, max_new_tokens=9, do_sample=False)
    right = 0
    for answer, words in zip(tokenizer.batch_decode(written), wanted, strict=True):
        for number, word in enumerate(words):
            right += answer.partition(f"<extra_id_{number}>")[2].partition("<extra_id_")[0].strip() == word
    print(f"  {questions[0]}\n    -> {tokenizer.decode(written[0], skip_special_tokens=False)}   (is: {' '.join(wanted[0])})")
    return right / (3 * len(sentences))


def main() -> None:
    """Fresh noise, frozen noise, and guessing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer people and epochs")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    count, names, epochs = (600, 30, 12) if quick else (2000, 50, 30)
    seen, unseen = make_corpus(count, names)
    tokenizer = make_tokenizer(seen + unseen)
    rows = [{"input_ids": tokenizer(sentence)["input_ids"]} for sentence in seen]
    print(f"{len(rows)} sentences, for instance: {seen[0]}\n")
    shares = {}
    for name, fresh in (("noise drawn anew each epoch", True), ("noise frozen to one epoch", False)):
        start = time.perf_counter()
        print(name)
        model = pretrain(tokenizer, rows, epochs, fresh)
        shares[name] = fill(model, tokenizer, unseen)
        print(f"  {time.perf_counter() - start:.0f} s\n")
    print("words filled in exactly, in sentences never seen")
    for name, share in shares.items():
        print(f"  {name:<28} {share:6.1%}")
    print(f"  {'chance (one word of ten)':<28} {1 / len(JOBS):6.1%}")


if __name__ == "__main__":
    main()
