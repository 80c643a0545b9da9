"""`DataCollatorForVisionChat` with eight real processors, compared with the rendered text, and inside two trainers."""

import random
from unittest import mock

import pytest
import torch
from datasets import Dataset
from spanmask import ChatFormat, DataCollatorForVisionChat, MaskPolicy, SpanmaskWarning
from support import text_truth as truth
from support import tiny_processors as zoo
from transformers import Trainer, TrainingArguments

pytestmark = [
    pytest.mark.needs("transformers>=5"),  # the processors of the tests are built as that version builds them
    pytest.mark.parametrize("name", zoo.MODELS),
]


def example(rng, rounds, images=None):
    """A conversation with hard edges and images in its questions, and the contents that it was made from."""
    system = ["system"] * rng.randrange(2)
    contents = truth.conversation(rng, [*system, *["user", "assistant"] * rounds])
    messages, pictures = truth.messages(contents, truth.ROLES), []
    for number, message in enumerate(messages[len(system) :: 2]):
        count = rng.randrange(3) if images is None else images * (number == 0)
        for _ in range(count or (images is None and number == 0)):
            message["content"].insert(rng.choice([0, len(message["content"])]), {"type": "image"})
            pictures.append(zoo.image(rng))
    return {"messages": messages, "images": pictures}, contents


def examples(count, seed=0, images=None):
    rng = random.Random(seed)
    return [example(rng, rng.randint(1, 3), images)[0] for _ in range(count)]


def simple(rng, rounds=2):
    """A conversation without hard edges, for training."""
    messages = []
    for number in range(rounds):
        messages.append(
            {"role": "user", "content": [{"type": "text", "text": rng.choice(["What is it?", "And this?", "Hello!"])}]}
        )
        messages.append(
            {"role": "assistant", "content": [{"type": "text", "text": rng.choice(["A lazy dog.", "the weather", "x"])}]}
        )
        messages[-2]["content"].insert(0, {"type": "image", "text": None} if number == 0 else {"type": "text", "text": ""})
    return {"messages": messages, "images": [zoo.image(rng)]}


def unpadded(batch, column):
    """A column's rows without padding."""
    return [row[mask.bool()].tolist() for row, mask in zip(batch[column], batch["attention_mask"], strict=True)]


def aligned(batch):
    """The columns that have an entry for each token."""
    return [name for name, value in batch.items() if value.shape == batch["input_ids"].shape]


class RecordedTexts:
    """Records the texts that a processor tokenizes, with its placeholders expanded."""

    def __init__(self, processor):
        self.write_out = processor.get_text_with_replacements
        self.patch = mock.patch.object(processor, "get_text_with_replacements", self)

    def __call__(self, *arguments, **options):
        out = self.write_out(*arguments, **options)
        self.texts = out[0]
        return out

    def __enter__(self):
        self.patch.start()
        return self

    def __exit__(self, *error):
        self.patch.stop()


def media_ids(built):
    ids = built.processor.tokenizer.convert_tokens_to_ids(list(built.media))
    assert built.processor.tokenizer.unk_token_id not in ids
    return torch.tensor(ids)


# --- Labels -----------------------------------------------------------------------------------------------------------------------


def test_labels_are_what_the_text_says(name):
    processor = zoo.build(name).processor
    collator = DataCollatorForVisionChat(processor)
    rng = random.Random(1)
    for _ in range(12):
        made = [example(rng, rng.randint(1, 3)) for _ in range(3)]
        with RecordedTexts(processor) as overheard:
            batch = collator([features for features, _ in made])
        columns = overheard.texts, unpadded(batch, "input_ids"), unpadded(batch, "labels")
        for (_, contents), text, ids, labels in zip(made, *columns, strict=True):
            written = processor.tokenizer(
                text, add_special_tokens=False
            ).input_ids  # so positions in the text are positions in the row
            before = len(ids) - len(written)  # BOS, if the tokenizer writes it and not the template
            assert ids[before:] == written
            assert before <= 1
            assert labels[:before] == [-100] * before
            assert truth.faults(processor.tokenizer, text, contents, [label != -100 for label in labels[before:]]) == []
            assert all(label in (-100, token) for label, token in zip(labels, ids, strict=True))


def test_headers_and_prompts_do_not_train(name):
    processor = zoo.build(name).processor
    batch = DataCollatorForVisionChat(processor)([simple(random.Random(seed)) for seed in range(4)])
    for seed, labels in enumerate(batch["labels"]):
        trained = processor.tokenizer.decode(labels[labels != -100], skip_special_tokens=True)
        answers = [m["content"][-1]["text"] for m in simple(random.Random(seed))["messages"][1::2]]
        assert trained.split() == " ".join(answers).split() or trained.replace(" ", "") == "".join(answers).replace(" ", "")


def test_media_and_their_wrappers_never_train(name):
    built = zoo.build(name)
    policy = MaskPolicy(roles=("user", "assistant"), include_start=True, train_on_eos="all")
    derived = DataCollatorForVisionChat(built.processor, policy=policy)
    written = DataCollatorForVisionChat(
        built.processor, chat_format=ChatFormat(derived.chat_format.boundaries), policy=policy
    )  # has no media
    media = media_ids(built)
    for collator in (derived, written):
        batch = collator(examples(6))
        assert torch.isin(batch["input_ids"], media).any()
        assert not torch.isin(batch["labels"], media).any()
    labels = DataCollatorForVisionChat(built.processor, policy=policy)([simple(random.Random(0), rounds=1)])["labels"]
    question = simple(random.Random(0), rounds=1)["messages"][0]["content"][-1]["text"]
    assert question[2:] in built.processor.tokenizer.decode(labels[labels != -100])  # the rest of the question does train


def test_placeholders_are_all_known(name):
    built = zoo.build(name)
    assert set(media_ids(built).tolist()) <= set(DataCollatorForVisionChat(built.processor).media_ids)


# --- The batch --------------------------------------------------------------------------------------------------------------------


def test_padding_side_is_respected(name):
    processor, rows = zoo.build(name).processor, examples(4, seed=2)
    batches = {side: DataCollatorForVisionChat(processor, padding_side=side)(rows) for side in ("right", "left")}
    for side, batch in batches.items():
        edge = batch["attention_mask"][:, -1 if side == "right" else 0]
        assert 0 in edge
        assert batch["attention_mask"][:, 0 if side == "right" else -1].all()
        assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
        assert (batch["input_ids"][batch["attention_mask"] == 0] == processor.tokenizer.pad_token_id).all()
    assert aligned(batches["left"]) == aligned(batches["right"])
    for column in aligned(batches["left"]):
        assert unpadded(batches["left"], column) == unpadded(batches["right"], column), column
    own = DataCollatorForVisionChat(processor)(rows)
    assert torch.equal(own["input_ids"], batches[processor.tokenizer.padding_side]["input_ids"])


def test_all_outputs_of_the_processor_are_passed_on(name):
    processor, rows = zoo.build(name).processor, examples(3, seed=3)
    batch = DataCollatorForVisionChat(processor, padding_side="right")(rows)
    pictures = [iter(row["images"]) for row in rows]
    shown = [
        [
            {
                **message,
                "content": [{**part, "image": next(own)} if part["type"] == "image" else part for part in message["content"]],
            }
            for message in row["messages"]
        ]
        for row, own in zip(rows, pictures, strict=True)
    ]
    settings = {"padding": True, "padding_side": "right"}
    expected = processor.apply_chat_template(
        shown, tokenize=True, return_dict=True, return_tensors="pt", processor_kwargs=settings
    )  # what users call at inference
    assert {*expected, "labels"} == {*batch}
    for column, value in expected.items():
        assert torch.equal(batch[column], value), column
        assert batch[column].dtype == value.dtype, column


def test_width_is_rounded_up(name):
    built = zoo.build(name)
    batch = DataCollatorForVisionChat(built.processor, pad_to_multiple_of=64)(examples(3, seed=4))
    assert batch["input_ids"].shape[1] % 64 == 0
    assert {"input_ids", "attention_mask", "labels"} <= {*aligned(batch)}
    assert torch.isfinite(built.make_model()(**batch).loss)


def test_contents_as_text_put_images_first(name):
    processor = zoo.build(name).processor
    pictures = [zoo.image(random.Random(seed)) for seed in range(2)]
    text = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A lazy dog."}]
    parts = truth.messages([truth.Content(m["role"], m["content"], False) for m in text], truth.ROLES)
    parts[0]["content"] = [{"type": "image"}, {"type": "image"}, *parts[0]["content"]]
    collator = DataCollatorForVisionChat(processor)
    one, other = (collator([{"messages": messages, "images": pictures}]) for messages in (text, parts))
    assert all(torch.equal(one[column], other[column]) for column in other)


def test_rows_without_images_next_to_rows_with_some(name):
    built = zoo.build(name)
    rows = [*examples(1, seed=5, images=0), *examples(1, seed=6, images=2)]
    batch = DataCollatorForVisionChat(built.processor)(rows)
    assert torch.isfinite(built.make_model()(**batch).loss)
    alone = DataCollatorForVisionChat(built.processor)(rows[:1])
    assert unpadded(batch, "labels")[0] == unpadded(alone, "labels")[0]
    assert torch.isfinite(built.make_model()(**alone).loss)


def test_nothing_is_cut_inside_media(name):
    built = zoo.build(name)
    rows = examples(1, seed=7)
    collator = DataCollatorForVisionChat(built.processor, on_untrained_batch="ignore")
    whole = collator(rows)
    ids, labels = whole["input_ids"][0], whole["labels"][0]
    media = torch.isin(ids, media_ids(built))
    last = int(media.nonzero()[-1]) + 1
    assert 0 < last < len(ids)
    for max_length in range(1, len(ids) + 2):
        collator = DataCollatorForVisionChat(
            built.processor, chat_format=collator.chat_format, max_length=max_length, on_untrained_batch="ignore"
        )
        if max_length < last:
            with pytest.raises(ValueError, match=f"max_length: {max_length} cuts row 0 .* raise max_length to {last} or more"):
                collator(rows)
            continue
        batch = collator(rows) if (labels[:max_length] != -100).any() else None
        if batch is not None:
            assert torch.equal(batch["input_ids"][0], ids[:max_length])
            assert torch.equal(batch["labels"][0], labels[:max_length])
    short = DataCollatorForVisionChat(built.processor, max_length=len(ids) - 1)(rows)
    assert torch.isfinite(built.make_model()(**short).loss)


@pytest.mark.parametrize("counts", [(1, 2, 1), (2, 0, 2), (1, 1, 1), (3, 1, 0), (2, 1, 0)], ids=str)
def test_dropped_rows_take_their_images_with_them(name, counts):
    """The processor runs again only if its arrays do not show which images belong to which row: as many images as rows, but unevenly."""
    built = zoo.build(name)
    rng = random.Random(3)
    rows = [example(rng, 1, images=count)[0] for count in counts]
    rows = [row | {"turn_mask": [number != 1]} for number, row in enumerate(rows)]  # the second row has no trained tokens
    collator = DataCollatorForVisionChat(
        built.processor, policy=MaskPolicy(on_untrained_row="drop"), on_untrained_batch="ignore", return_tensors="pt"
    )
    with (
        mock.patch.object(type(built.processor), "__call__", autospec=True, side_effect=type(built.processor).__call__) as calls,
        pytest.warns(SpanmaskWarning, match="1 of 3 rows"),
    ):
        batch = collator(rows)
    ambiguous = sum(counts) == len(counts) and set(counts) != {1}
    assert calls.call_count == (2 if ambiguous and not name.startswith("qwen") else 1)  # arrays of Qwen say whose they are
    alone = collator([rows[0], rows[2]])
    assert set(batch) == set(alone)
    for column in ("input_ids", "labels", "attention_mask", *aligned(alone)):
        assert torch.equal(batch[column], alone[column])
    model = built.make_model().eval()
    with torch.no_grad():
        assert model(**batch).loss.item() == pytest.approx(model(**alone).loss.item(), rel=1e-5)


# --- Training ---------------------------------------------------------------------------------------------------------------------

SETTINGS = {
    "per_device_train_batch_size": 2,
    "learning_rate": 3e-3,
    "use_cpu": True,
    "dataloader_pin_memory": False,
    "save_strategy": "no",
    "report_to": "none",
    "logging_steps": 1,
    "disable_tqdm": True,
}


def losses(trainer):
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(loss == loss and 0 < loss < 100 for loss in logged)
    return logged


def test_sft_trainer(name, tmp_path):
    built = zoo.build(name)
    torch.manual_seed(0)
    from trl import SFTConfig, SFTTrainer  # an old transformers cannot import it

    trainer = SFTTrainer(
        built.make_model(),
        SFTConfig(output_dir=str(tmp_path), max_steps=3, bf16=False, activation_checkpointing=False, **SETTINGS),
        train_dataset=Dataset.from_list([simple(random.Random(seed)) for seed in range(6)]),
        data_collator=DataCollatorForVisionChat(built.processor),
        processing_class=built.processor,
    )
    trainer.train()
    assert len(losses(trainer)) == 3


def test_trainer(name, tmp_path):
    built = zoo.build(name)
    torch.manual_seed(0)
    trainer = Trainer(
        built.make_model(),
        TrainingArguments(output_dir=str(tmp_path), max_steps=1, remove_unused_columns=False, **SETTINGS),
        train_dataset=examples(4, seed=8, images=2),
        data_collator=DataCollatorForVisionChat(built.processor),
    )
    trainer.train()
    assert len(losses(trainer)) == 1


def test_only_the_answers_are_in_the_loss(name):
    """The model's loss is the mean over the answers' tokens, computed from its logits and the text of the labels."""
    built = zoo.build(name)
    batch = DataCollatorForVisionChat(built.processor)([simple(random.Random(0))])
    model = built.make_model().eval()
    with torch.no_grad():
        out = model(**batch)
    logs = out.logits[0].log_softmax(-1)
    wanted = [-logs[at - 1, label].item() for at, label in enumerate(batch["labels"][0]) if label != -100]
    assert out.loss.item() == pytest.approx(sum(wanted) / len(wanted), rel=1e-4)


def test_a_tokenizer_is_not_a_processor(name):
    with pytest.raises(
        TypeError, match="processor: expected a transformers processor with a tokenizer, got .*use DataCollatorForChat"
    ):
        DataCollatorForVisionChat(zoo.build(name).processor.tokenizer)
