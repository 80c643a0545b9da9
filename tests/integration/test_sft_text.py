"""Text chats in TRL's SFTTrainer and transformers' Trainer: the labels that reach the model, for every route."""

import datasets
import pytest
import torch
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, mask_labels, reference
from spanmask.integrations.weighted_loss import WeightedLossMixin, weighted_loss
from support.tiny_models import ANSWERS, CONVERSATIONS, causal_model, chat_tokenizer
from support.trainers import rows_of
from torch.utils.data import DataLoader
from transformers import DataCollatorWithFlattening, Trainer, TrainingArguments
from trl import SFTConfig, SFTTrainer

# transformers deprecates TRL's own default.
pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
STEPS, BATCH = 3, 2


@pytest.fixture(scope="module", params=["<|endoftext|>", "<|im_end|>"], ids=["pad", "pad is EOS"])
def tokenizer(request):
    return chat_tokenizer(request.param)


@pytest.fixture
def chat_format(tokenizer):
    return ChatFormat.from_tokenizer(tokenizer)


@pytest.fixture
def rows(tokenizer):
    return [tokenizer.apply_chat_template(messages, return_dict=False) for messages in CONVERSATIONS]


def with_labels(rows, chat_format):
    """The result of `Dataset.map` in the offline route."""

    def add_labels(batch):
        return {"labels": mask_labels(batch["input_ids"], chat_format).labels.to_list()}

    return datasets.Dataset.from_dict({"input_ids": rows}).map(add_labels, batched=True)


class Watched(SFTTrainer):
    """Keeps what reaches the model."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []
        self.model.register_forward_pre_hook(lambda module, args, kwargs: self.seen.append(kwargs), with_kwargs=True)


def train(tokenizer, dataset, folder, cls=Watched, collator=None, with_losses=False, **options):
    """The batches that reach the model in three steps, and the losses."""
    trainer_options = {name: options.pop(name) for name in ("normalize",) if name in options}
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH,
        "max_steps": STEPS,
        "logging_steps": 1,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "bf16": False,
        "dataloader_pin_memory": False,
        **options,
    }
    trainer = cls(
        model=causal_model(tokenizer),
        args=SFTConfig(**settings),
        train_dataset=dataset,
        data_collator=collator,
        processing_class=tokenizer,
        **trainer_options,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == STEPS
    assert all(0 < loss < 20 for loss in losses)
    assert len(trainer.seen) == STEPS
    return trainer.seen if not with_losses else (trainer.seen, losses)


def unpadded(batch):
    """The ids of each row."""
    return [
        ids[:length].tolist() for ids, length in zip(batch["input_ids"], batch["attention_mask"].sum(1).tolist(), strict=True)
    ]


def assert_answers_train(batches, tokenizer, chat_format, known=None):
    """The labels are the reference's, and only answers and their closing tokens are among them."""
    for ids, labels in (row for batch in batches for row in rows_of(batch)):
        assert labels == reference.mask_labels(ids, chat_format, MaskPolicy())
        assert known is None or ids in known
        answers = tokenizer.decode([label for label in labels if label != -100]).split("<|im_end|>")
        assert answers.pop() == ""
        assert answers
        assert set(answers) <= set(ANSWERS)
    for batch in batches:
        if "attention_mask" in batch:
            assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()


def test_pretokenized_rows_with_our_collator(tokenizer, chat_format, rows, tmp_path):
    dataset = datasets.Dataset.from_dict({"input_ids": rows})
    batches = train(tokenizer, dataset, tmp_path, collator=DataCollatorForChat(tokenizer))
    assert_answers_train(batches, tokenizer, chat_format, rows)


def test_raw_messages_with_our_collator(tokenizer, chat_format, rows, tmp_path):
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS})
    options = {"dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
    batches = train(tokenizer, dataset, tmp_path, collator=DataCollatorForChat(tokenizer), **options)
    assert_answers_train(batches, tokenizer, chat_format, rows)


@pytest.mark.parametrize("column", ["input_ids", "messages"])
def test_streams_with_our_collator(tokenizer, chat_format, rows, tmp_path, column):
    stream = datasets.Dataset.from_dict({"input_ids": rows} if column == "input_ids" else {"messages": CONVERSATIONS})
    options = {}
    if column == "messages":
        options = {"dataset_kwargs": {"skip_prepare_dataset": True}, "remove_unused_columns": False}
    batches = train(tokenizer, stream.to_iterable_dataset(), tmp_path, collator=DataCollatorForChat(tokenizer), **options)
    assert_answers_train(batches, tokenizer, chat_format, rows)


# The last piece is short and has no header.
@pytest.mark.filterwarnings("ignore:.* of 2 rows in a batch have no trained tokens:spanmask.SpanmaskWarning")
def test_wrapped_packing_with_our_collator(tokenizer, chat_format, rows, tmp_path):
    dataset = datasets.Dataset.from_dict({"input_ids": rows})
    options = {"packing": True, "packing_strategy": "wrapped", "max_length": 64}
    batches = train(tokenizer, dataset, tmp_path, collator=DataCollatorForChat(tokenizer, on_untrained_batch="ignore"), **options)
    for batch in batches:
        for ids, labels in rows_of(batch):
            assert len(ids) <= 64
            # A piece that begins inside an answer has lost that answer's header: the rest of the answer does not train.
            assert labels == reference.mask_labels(ids, chat_format, MaskPolicy())
            assert not set(tokenizer.decode([label for label in labels if label != -100])) & set("Wh?")


def test_wrapped_packing_of_a_labels_column_loses_nothing(tokenizer, chat_format, rows, tmp_path):
    dataset = with_labels(rows, chat_format)
    stream = [token for row in dataset["input_ids"] for token in row], [label for row in dataset["labels"] for label in row]
    pieces = [tuple(column[start : start + 64] for column in stream) for start in range(0, len(stream[0]), 64)]
    batches = train(tokenizer, dataset, tmp_path, packing=True, packing_strategy="wrapped", max_length=64)
    assert all(row in pieces for batch in batches for row in rows_of(batch))


def test_labels_column_with_trls_collator_and_with_ours(tokenizer, chat_format, rows, tmp_path):
    dataset = with_labels(rows, chat_format)
    for collator in (None, DataCollatorForChat(tokenizer)):
        assert_answers_train(train(tokenizer, dataset, tmp_path, collator=collator), tokenizer, chat_format, rows)


def test_labels_column_packed(tokenizer, chat_format, rows, tmp_path):
    dataset = with_labels(rows, chat_format)
    batches = train(tokenizer, dataset, tmp_path, packing=True, max_length=128, per_device_train_batch_size=1)
    assert_answers_train(batches, tokenizer, chat_format, rows)
    assert any(len(rows_of(batch)) > 1 for batch in batches)


def test_labels_column_padding_free(tokenizer, chat_format, rows, tmp_path):
    dataset = with_labels(rows, chat_format)
    batches = train(tokenizer, dataset, tmp_path, padding_free=True, max_length=None)
    assert_answers_train(batches, tokenizer, chat_format, rows)
    assert all(batch["input_ids"].shape[0] == 1 and len(rows_of(batch)) == BATCH for batch in batches)


def test_trl_refuses_our_collator_with_packing_and_padding_free(tokenizer, rows, tmp_path):
    """The docs say so, and recommend the labels column. If this test fails, the docs can be shortened."""
    dataset = datasets.Dataset.from_dict({"input_ids": rows})
    for options in ({"packing": True, "max_length": 64}, {"padding_free": True, "max_length": None}):
        with pytest.raises(ValueError, match="custom data collator is not supported when using padding-free"):
            train(tokenizer, dataset, tmp_path, collator=DataCollatorForChat(tokenizer), **options)


def test_weights_in_the_sft_trainer(tokenizer, rows, tmp_path):
    class Weighted(WeightedLossMixin, Watched):
        pass

    collator = DataCollatorForChat(tokenizer, policy=MaskPolicy(prompt_weight=0.125))
    dataset = datasets.Dataset.from_dict({"input_ids": rows})
    options = {"cls": Weighted, "collator": collator, "normalize": "weights"}
    batches, losses = train(tokenizer, dataset, tmp_path, with_losses=True, **options)
    assert all("loss_weights" not in batch for batch in batches)
    batch = collator([{"input_ids": ids} for ids in unpadded(batches[0])])
    logits = causal_model(tokenizer)(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    expected = weighted_loss(logits, batch["labels"], batch["loss_weights"], normalize="weights").item()
    assert losses[0] == pytest.approx(expected, rel=1e-3)


def test_our_padding_free_batches_in_the_plain_trainer(tokenizer, chat_format, rows, tmp_path):
    """Equal to transformers' own flattening of the same rows: in what the model receives, and in what it learns."""
    dataset = with_labels(rows, chat_format)
    ends = []
    for collator in (
        DataCollatorForChat(tokenizer, padding_free=True),
        DataCollatorWithFlattening(return_seq_idx=True, return_flash_attn_kwargs=True),
    ):
        args = TrainingArguments(
            output_dir=str(tmp_path),
            per_device_train_batch_size=BATCH,
            max_steps=STEPS,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
            dataloader_pin_memory=False,
        )
        model = causal_model(tokenizer)
        model.config.use_cache = False  # transformers 4 and its collator leave this to users
        seen = []
        model.register_forward_pre_hook(lambda module, args, kwargs, seen=seen: seen.append(kwargs), with_kwargs=True)
        Trainer(model=model, args=args, train_dataset=dataset, data_collator=collator).train()
        ends.append((seen, torch.cat([parameter.detach().flatten() for parameter in model.parameters()])))
    (ours, our_end), (theirs, their_end) = ends
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.pop("use_cache") is False
        assert {name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in mine.items()} == {
            name: value.tolist() if isinstance(value, torch.Tensor) else value for name, value in other.items()
        }
    assert_answers_train(ours, tokenizer, chat_format, rows)
    assert torch.equal(our_end, their_end)


@pytest.mark.parametrize(("context", "workers"), [(None, 0), ("fork", 2), ("spawn", 1), ("forkserver", 1)])
def test_loader_workers_give_the_same_batches(chat_format, context, workers):
    tokenizer = chat_tokenizer()
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS})
    collator = DataCollatorForChat(tokenizer)
    expected = [collator([dataset[at] for at in range(start, start + 4)]) for start in range(0, 12, 4)]
    collator.reset_report()
    loader = DataLoader(dataset, batch_size=4, collate_fn=collator, num_workers=workers, multiprocessing_context=context)
    for batch, other in zip(loader, expected, strict=True):
        assert batch.keys() == other.keys()
        assert all(torch.equal(batch[name], other[name]) for name in other)
    assert collator.report.rows == (0 if workers else 12)  # each worker has its own report
