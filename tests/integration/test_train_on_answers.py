"""One line for SFTTrainer and Trainer: the labels that reach the model, and the loss on them, for every layout of data."""

import datasets
import pytest
import torch
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, encode_chat, reference, train_on_answers
from support import trainers
from support.tiny_models import ANSWERS, CONVERSATIONS, causal_model, chat_tokenizer
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForSeq2Seq,
    DataCollatorWithFlattening,
    Trainer,
    TrainingArguments,
)
from transformers import __version__ as transformers_version
from trl import SFTConfig, SFTTrainer

pytestmark = pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
SETTINGS = {**trainers.SETTINGS, "max_steps": 3, "learning_rate": 0.0, "logging_steps": 1}
PACKED = {"packing": True, "max_length": 90}
WRAPPED = {"packing": True, "packing_strategy": "wrapped", "max_length": 37}
PADDING_FREE = {"padding_free": True, "max_length": None}
KINDS = {
    "plain": {},
    "packed": PACKED,
    "wrapped": WRAPPED,
    "padding-free": PADDING_FREE,
    "split": {**PACKED, "packing_strategy": "bfd_split"},
}


@pytest.fixture(scope="module")
def tokenizer():
    return chat_tokenizer()


@pytest.fixture(scope="module")
def chat_format(tokenizer):
    return ChatFormat.from_tokenizer(tokenizer)


@pytest.fixture(scope="module")
def rows(tokenizer):
    return [tokenizer.apply_chat_template(messages, return_dict=False) for messages in CONVERSATIONS]


def messages_set(stream=False):
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS})
    return dataset.to_iterable_dataset() if stream else dataset


def sft(tokenizer, dataset, folder, cls=SFTTrainer, collator=None, evaluation=None, **options):
    args = SFTConfig(str(folder), bf16=False, **{**SETTINGS, **options})
    data = {"train_dataset": dataset, "eval_dataset": evaluation}
    return cls(causal_model(tokenizer), args, data_collator=collator, processing_class=tokenizer, **data)


def plain(tokenizer, dataset, folder, cls=Trainer, collator=None, evaluation=None, **options):
    args = TrainingArguments(str(folder), **{**SETTINGS, **options})
    data = {"train_dataset": dataset, "eval_dataset": evaluation}
    return cls(causal_model(tokenizer), args, data_collator=collator, processing_class=tokenizer, **data)


def trained(trainer):
    """Train; the batches that reach the model, each with its logged loss."""
    seen = []
    hook = trainer.model.register_forward_pre_hook(lambda module, args, kwargs: seen.append(kwargs), with_kwargs=True)
    trainer.train()
    hook.remove()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == len(seen) == SETTINGS["max_steps"]
    return list(zip(seen, losses, strict=True))


def loss_by_hand(tokenizer, batch, labels):
    """The mean cross entropy of next tokens, on labels that were not the batch's."""
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask", "position_ids") if name in batch}
    logits = causal_model(tokenizer)(**inputs, use_cache=False).logits
    total = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), reduction="sum").item()
    # Nothing predicts the first token of a row, but transformers 4 counts its label.
    return total / (labels if transformers_version.startswith("4.") else labels[:, 1:]).ne(-100).sum().item()


def check_training(trainer, tokenizer, expected):
    """What reaches the model is what `expected` gives for the ids of each row, and the loss is that of these labels."""
    for batch, loss in trained(trainer):
        labels = torch.full_like(batch["input_ids"], -100)
        position = 0
        for row, (ids, got) in enumerate(trainers.rows_of(batch)):
            assert got == expected(ids)
            if "position_ids" in batch:
                labels[0, position : position + len(ids)] = torch.tensor(expected(ids))
                position += len(ids)
            else:
                labels[row, : len(ids)] = torch.tensor(expected(ids))
        assert (labels != -100).any()
        assert torch.equal(labels, batch["labels"])
        assert loss == pytest.approx(loss_by_hand(tokenizer, batch, labels), rel=1e-3)


def answers(tokenizer, loader):
    """The texts that train in a whole data set, by turn."""
    texts = [tokenizer.decode(batch["labels"][batch["labels"] != -100]) for batch in loader]
    return "".join(texts).split("<|im_end|>")


def all_answers():
    return sorted(message["content"] for messages in CONVERSATIONS for message in messages if message["role"] == "assistant")


@pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
@pytest.mark.parametrize("kind", KINDS)
def test_sft_trainer(kind, stream, tokenizer, chat_format, rows, tmp_path, capsys):
    trainer = sft(tokenizer, messages_set(stream), tmp_path, **KINDS[kind])
    assert train_on_answers(trainer) is trainer
    said = capsys.readouterr().out
    assert said.startswith("train_on_answers: train: ")
    assert "120 of 516 tokens train (23.3%)" in said
    pieces = {}
    whole = [token for row in rows for token in row]
    labels = reference.mask_labels(whole, chat_format, MaskPolicy())
    for start in range(0, len(whole), 37):
        pieces[tuple(whole[start : start + 37])] = labels[start : start + 37]

    def expected(ids):
        if kind == "wrapped":
            return pieces[tuple(ids)]
        assert ids in rows
        return reference.mask_labels(ids, chat_format, MaskPolicy())

    check_training(trainer, tokenizer, expected)
    assert trainer.spanmask_report["train"].trained_tokens >= (1 if stream else 120)
    loaded = trainer.get_train_dataloader()
    if kind == "wrapped":  # pieces are shuffled, and answers with them
        assert sum(int((batch["labels"] != -100).sum()) for batch in loaded) == 120
    else:
        *texts, end = answers(tokenizer, loaded)
        assert (sorted(texts), end) == (all_answers(), "")


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_a_second_call_changes_nothing_and_says_so(options, tokenizer, tmp_path, capsys):
    trainer = train_on_answers(sft(tokenizer, messages_set(), tmp_path, evaluation=messages_set(), **options))
    before = trainer.train_dataset, trainer.eval_dataset, trainer.data_collator, trainer.spanmask_report
    capsys.readouterr()
    assert train_on_answers(trainer) is train_on_answers(trainer, MaskPolicy())
    assert (trainer.train_dataset, trainer.eval_dataset, trainer.data_collator, trainer.spanmask_report) == before
    assert capsys.readouterr().out == 2 * "train_on_answers: nothing to do, this trainer was set up before\n"
    with pytest.raises(ValueError, match="set up with others, and labels only narrow; make a new trainer"):
        train_on_answers(trainer, MaskPolicy(turns="last"))


@pytest.mark.parametrize("evaluation", ["one", "several", "none", "stream"])
@pytest.mark.parametrize("make", [sft, plain])
def test_evaluation_sets(make, evaluation, tokenizer, chat_format, rows, tmp_path):
    tokenized = datasets.Dataset.from_dict({"input_ids": rows})
    held_out = tokenized.select([3, 5, 7])
    given = {"one": held_out, "several": {"a": held_out, "b": tokenized}, "none": None, "stream": held_out.to_iterable_dataset()}
    trainer = train_on_answers(make(tokenizer, tokenized, tmp_path, evaluation=given[evaluation]), chat_format=chat_format)
    labels = [reference.mask_labels(row, chat_format, MaskPolicy()) for row in held_out["input_ids"]]
    batch = {
        "input_ids": torch.tensor([row + [0] * (65 - len(row)) for row in held_out["input_ids"]]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (65 - len(row)) for row in held_out["input_ids"]]),
    }
    expected = loss_by_hand(tokenizer, batch, torch.tensor([row + [-100] * (65 - len(row)) for row in labels]))
    names = {"one": ["eval"], "several": ["eval_a", "eval_b"], "none": [], "stream": ["eval"]}[evaluation]
    assert list(trainer.spanmask_report) == ["train", *names]
    # A set that is passed later must not be evaluated on all tokens.
    losses = trainer.evaluate(held_out)
    assert losses["eval_loss"] == pytest.approx(expected, rel=1e-3)
    if names:
        key = "eval_a_loss" if evaluation == "several" else "eval_loss"
        assert trainer.evaluate()[key] == pytest.approx(expected, rel=1e-3)


def test_prompt_and_completion_stay_what_trl_made_of_them(tokenizer, chat_format, tmp_path):
    """Of two answers the first is part of the prompt."""
    two = [messages for messages in CONVERSATIONS if len(messages) >= 4]
    dataset = datasets.Dataset.from_dict({"prompt": [m[:3] for m in two], "completion": [m[3:4] for m in two]})
    trainer = train_on_answers(sft(tokenizer, dataset, tmp_path))
    *texts, end = answers(tokenizer, trainer.get_train_dataloader())
    assert (sorted(texts), end) == (sorted(m[3]["content"] for m in two), "")


@pytest.mark.parametrize("options", [{}, PACKED], ids=["plain", "packed"])
def test_completions_of_text_train_as_trl_says(options, tokenizer, tmp_path):
    dataset = datasets.Dataset.from_dict({"prompt": ["Who?", "What?"], "completion": [" a bird", " a red line"]})
    trainer = train_on_answers(sft(tokenizer, dataset, tmp_path, **options))
    (batch,) = trainer.get_train_dataloader()
    text = tokenizer.decode(batch["labels"][batch["labels"] != -100])
    assert sorted(text.split("<|im_end|>")) == ["", " a bird", " a red line"]


@pytest.mark.parametrize("options", [PACKED, WRAPPED], ids=["packed", "wrapped"])
def test_packed_sets_say_that_they_have_no_weights_and_labels_made_before_are_a_remedy(options, tokenizer, tmp_path, capsys):
    """The second answer of each row that has two is not to train."""
    said = [[*row[:3], {**row[3], "weight": 0}, *row[4:]] if len(row) >= 4 else row for row in CONVERSATIONS]
    dataset = datasets.Dataset.from_list([{"messages": row} for row in said])
    trainer = train_on_answers(sft(tokenizer, dataset, tmp_path, **options))
    note = "packed by TRL, without the messages: if contents hold text of markers, or rows have weights"
    assert note in str(trainer.spanmask_report)
    assert note in capsys.readouterr().out
    plain_trainer = train_on_answers(sft(tokenizer, dataset, tmp_path))
    assert "packed" not in str(plain_trainer.spanmask_report)

    def label(batch):
        out = encode_chat(tokenizer, batch)
        return {"input_ids": out.input_ids.to_list(), "labels": out.labels.to_list()}

    labeled = dataset.map(label, batched=True, remove_columns=dataset.column_names)
    remedied = train_on_answers(sft(tokenizer, labeled, tmp_path, **options))
    counted = plain_trainer.spanmask_report["train"].trained_tokens
    assert remedied.spanmask_report["train"].trained_tokens == counted < trainer.spanmask_report["train"].trained_tokens
    assert "packed" not in str(remedied.spanmask_report)


def test_assistant_only_loss_is_narrowed_not_widened(tokenizer, chat_format, rows, tmp_path):
    """Its template marks all of an assistant's turn; our labels are the fewer tokens."""
    marked = chat_tokenizer()
    marked.chat_template = (
        "{% for m in messages %}{% if m['role'] == 'assistant' %}<|im_start|>assistant\n{% generation %}{{ m['content'] }}<|im_end|>\n"
        "{% endgeneration %}{% else %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    trainer = sft(marked, messages_set(), tmp_path, assistant_only_loss=True)
    theirs = sum(label != -100 for row in trainer.train_dataset["labels"] for label in row)
    train_on_answers(trainer, MaskPolicy(train_on_eos="none"))
    assert trainer.spanmask_report["train"].trained_tokens == theirs - 2 * len(all_answers())  # stop token and newline


@pytest.mark.parametrize("column", ["messages", "input_ids"])
@pytest.mark.parametrize("stream", [False, True], ids=["rows", "stream"])
def test_transformers_trainer(column, stream, tokenizer, chat_format, rows, tmp_path):
    dataset = datasets.Dataset.from_dict({column: CONVERSATIONS if column == "messages" else rows})
    trainer = plain(tokenizer, dataset.to_iterable_dataset() if stream else dataset, tmp_path)
    check_training(train_on_answers(trainer), tokenizer, lambda ids: reference.mask_labels(ids, chat_format, MaskPolicy()))
    assert trainer.spanmask_report["train"].trained_tokens > 0


@pytest.mark.parametrize("options", [{}, PADDING_FREE], ids=["padded", "padding-free"])
def test_messages_that_sft_trainer_did_not_prepare(options, tokenizer, chat_format, rows, tmp_path):
    trainer = sft(tokenizer, messages_set(), tmp_path, dataset_kwargs={"skip_prepare_dataset": True}, **options)
    train_on_answers(trainer)
    assert isinstance(trainer.data_collator, DataCollatorForChat)
    assert trainer.data_collator.max_length == options.get("max_length", trainer.args.max_length)
    check_training(trainer, tokenizer, lambda ids: reference.mask_labels(ids, chat_format, MaskPolicy()))


@pytest.mark.parametrize("data", ["list", "torch"])
def test_rows_that_are_no_dataset_of_datasets(data, tokenizer, chat_format, rows, tmp_path):
    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(rows)

        def __getitem__(self, at):
            if at >= len(rows):
                raise IndexError
            return {"input_ids": rows[at]}

    given = [{"input_ids": row} for row in rows] if data == "list" else Rows()
    trainer = train_on_answers(plain(tokenizer, given, tmp_path))
    check_training(trainer, tokenizer, lambda ids: reference.mask_labels(ids, chat_format, MaskPolicy()))


@pytest.mark.parametrize("name", ["padding", "causal", "flattening", "seq2seq", "ours"])
def test_collators_of_transformers(name, tokenizer, chat_format, rows, tmp_path):
    policy = MaskPolicy(train_on_eos="last") if name == "ours" else MaskPolicy()
    collator = {
        "padding": None,
        "causal": DataCollatorForLanguageModeling(tokenizer, mlm=False),  # makes labels of its own
        "flattening": DataCollatorWithFlattening(),
        "seq2seq": DataCollatorForSeq2Seq(tokenizer),
        "ours": DataCollatorForChat(tokenizer, policy=policy),
    }[name]
    trainer = train_on_answers(plain(tokenizer, datasets.Dataset.from_dict({"input_ids": rows}), tmp_path, collator=collator))
    assert (trainer.data_collator is collator) == (name in ("flattening", "seq2seq"))
    check_training(trainer, tokenizer, lambda ids: reference.mask_labels(ids, chat_format, policy))


def test_masks_of_rows_without_labels_narrow(tokenizer, rows, chat_format, tmp_path):
    """Padding that was stored, and a mask of completions."""
    first = reference.mask_labels(rows[1], chat_format, MaskPolicy())
    stop = next(at for at in range(len(first) - 1, 0, -1) if first[at] != -100)
    mask = [0 if at == stop else 1 for at in range(len(first))]
    dataset = datasets.Dataset.from_dict(
        {"input_ids": [rows[1] + [7, 7]], "attention_mask": [[1] * len(first) + [0, 0]], "completion_mask": [[*mask, 1, 1]]}
    )
    (batch,) = train_on_answers(plain(tokenizer, dataset, tmp_path, max_steps=1)).get_train_dataloader()
    assert (
        batch["labels"][0].tolist()
        == [label if at != stop else -100 for at, label in enumerate([*first, -100, -100])][: len(batch["labels"][0])]
    )


def test_turn_flags_are_read_before_the_trainer_drops_them(tokenizer, tmp_path):
    flags = [[turn == 0 for turn in range(len(messages) // 2)] for messages in CONVERSATIONS]
    dataset = datasets.Dataset.from_dict({"messages": CONVERSATIONS, "turn_mask": flags, "first": flags})
    for options in ({}, {"turn_column": "first"}):
        trainer = train_on_answers(sft(tokenizer, dataset, tmp_path), **options)
        *texts, end = answers(tokenizer, trainer.get_train_dataloader())
        assert (sorted(texts), end) == (sorted(messages[1]["content"] for messages in CONVERSATIONS), "")
    with pytest.raises(ValueError, match="turn_column: the train set has no column 'first'.*packing drops it"):
        train_on_answers(sft(tokenizer, dataset, tmp_path, **PACKED), turn_column="first")


def test_labels_are_cached_by_their_configuration(tokenizer, chat_format, rows, tmp_path):
    datasets.Dataset.from_dict({"input_ids": rows}).save_to_disk(str(tmp_path / "rows"))
    prints = []
    for policy in (None, MaskPolicy(), MaskPolicy(turns="last"), None):
        trainer = plain(tokenizer, datasets.load_from_disk(str(tmp_path / "rows")), tmp_path)
        train_on_answers(trainer, policy, chat_format=chat_format)
        prints.append((trainer.train_dataset._fingerprint, trainer.train_dataset.cache_files[-1]["filename"]))
    assert prints[0] == prints[1] == prints[3] != prints[2]
    assert trainer.spanmask_report["train"].trained_tokens == 120  # counted, although the labels came from the cache


@pytest.mark.parametrize("large", [False, True])
def test_the_labels_column_is_as_narrow_as_the_ids(large, tokenizer, rows, tmp_path):
    kind = datasets.LargeList if large else datasets.List
    features = datasets.Features({"input_ids": kind(datasets.Value("int32"))})
    trainer = plain(tokenizer, datasets.Dataset.from_dict({"input_ids": rows}, features=features), tmp_path)
    assert train_on_answers(trainer).train_dataset.features["labels"] == kind(datasets.Value("int32"))


def test_streams_in_workers(tokenizer, chat_format, rows, tmp_path):
    stream = datasets.Dataset.from_dict({"messages": CONVERSATIONS}).to_iterable_dataset(num_shards=2)
    trainer = train_on_answers(sft(tokenizer, stream, tmp_path, dataloader_num_workers=2))
    *texts, end = answers(tokenizer, trainer.get_train_dataloader())
    assert (sorted(texts), end) == (all_answers(), "")
    assert set(texts) <= set(ANSWERS)
