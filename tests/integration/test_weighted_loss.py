"""Loss weights in transformers' real Trainer, with a tiny model, compared with losses computed by hand."""

import os
import socket
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from spanmask import ChatFormat, DataCollatorForChat, MaskPolicy, RoleBoundary
from spanmask.integrations.weighted_loss import (
    WeightedLossMixin,
    WeightedLossTrainer,
    loss_amount,
    refuse_unused_weights,
    weighted_loss,
)
from tokenizers import Tokenizer, models
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

FORMAT = ChatFormat([RoleBoundary("assistant", [5, 6], [2]), RoleBoundary("user", [5, 7], [2])])
ROWS = [
    [1, 5, 7, 8, 2, 5, 6, 9, 10, 2],
    [1, 5, 7, 8, 8, 8, 2, 5, 6, 9, 2, 5, 7, 8, 2, 5, 6, 11, 12, 13, 2],
    [1, 5, 7, 8, 2, 5, 6, 14, 2],
    [1, 5, 7, 8, 2, 5, 6, 15, 15, 15, 15, 15, 15, 2],
]
TURN_WEIGHTS = [[0.5], [2.0, 0.25], [1.0], [3.0]]
POLICY = MaskPolicy(prompt_weight=0.125)


@pytest.fixture
def tokenizer():
    backend = Tokenizer(models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


@pytest.fixture
def model():
    torch.manual_seed(0)
    size = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=32, **size))


def train(model, collator, folder, cls=WeightedLossTrainer, weights=TURN_WEIGHTS, batch=2, accumulate=1, steps=1, **options):
    """The trainer after `steps` steps of plain gradient descent."""
    columns = {"input_ids": ROWS} | ({} if weights is None else {"turn_weights": weights})
    args = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulate,
        max_steps=steps,
        learning_rate=0.5,
        lr_scheduler_type="constant",
        optim="sgd",
        max_grad_norm=0.0,
        logging_steps=1,
        report_to=[],
        save_strategy="no",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    stream = Dataset.from_dict(columns).to_iterable_dataset()  # so that rows stay in order, with any version of transformers
    trainer = cls(model=model, args=args, train_dataset=stream, data_collator=collator, **options)
    trainer.train()
    return trainer


def by_hand(model, collator, normalize):
    """The weighted loss of all rows, token by token, divided by the sum that `normalize` names."""
    total = amount = 0.0
    for row, weights in zip(ROWS, TURN_WEIGHTS, strict=True):
        batch = collator([{"input_ids": row, "turn_weights": weights}])
        with torch.no_grad():
            logprobs = model(batch["input_ids"]).logits[0].double().log_softmax(-1)
        for position in range(1, len(row)):
            label, weight = batch["labels"][0, position].item(), batch["loss_weights"][0, position].item()
            if label != -100:
                total -= weight * logprobs[position - 1, label].item()
                amount += weight if normalize == "weights" else 1
    return total / amount


def parameters(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("normalize", ["weights", "tokens"])
@pytest.mark.parametrize(("batch", "accumulate"), [(4, 1), (2, 2), (1, 4)])
def test_trainer_uses_the_loss_computed_by_hand(model, tokenizer, tmp_path, normalize, batch, accumulate):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    expected = by_hand(model, collator, normalize)
    trainer = train(model, collator, tmp_path, batch=batch, accumulate=accumulate, normalize=normalize)
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, abs=6e-5)


@pytest.mark.parametrize("normalize", ["weights", "tokens"])
def test_gradient_accumulation_equals_one_big_batch(model, tokenizer, tmp_path, normalize):
    start = {name: value.clone() for name, value in model.state_dict().items()}
    ends = []
    for batch, accumulate in [(4, 1), (1, 4), (3, 2)]:  # 3 and then 1: a short batch too
        model.load_state_dict(start)
        train(
            model,
            DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY),
            tmp_path,
            batch=batch,
            accumulate=accumulate,
            normalize=normalize,
        )
        ends.append(parameters(model))
    torch.testing.assert_close(ends[0], ends[1])
    torch.testing.assert_close(ends[0], ends[2])
    model.load_state_dict(start)
    assert not torch.equal(ends[0], parameters(model))


def count_tokens(self, epoch_iterator, num_batches, device):
    """As in transformers 4.56 and in programs that replace this method of `Trainer`: nothing else is asked what to divide by."""
    batches = list(islice(epoch_iterator, num_batches))
    return batches, sum((batch["labels"] != -100).sum() for batch in batches)


@pytest.mark.parametrize("normalize", ["weights", "tokens"])
def test_a_trainer_that_counts_tokens_itself_divides_by_the_weights(model, tokenizer, tmp_path, monkeypatch, normalize):
    monkeypatch.setattr(Trainer, "get_batch_samples", count_tokens)
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    expected = by_hand(model, collator, normalize)
    trainer = train(model, collator, tmp_path, batch=1, accumulate=4, normalize=normalize)
    assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, abs=6e-5)


def test_a_class_that_counts_tokens_before_the_mixin_is_an_error(model, tokenizer, tmp_path):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    counting = type("Counting", (WeightedLossTrainer,), {"get_batch_samples": count_tokens})
    with pytest.raises(RuntimeError, match="Counting: num_items_in_batch is not the amount of loss weights"):
        train(model, collator, tmp_path, cls=counting, normalize="weights")


@pytest.mark.parametrize("normalize", ["weights", "tokens"])
def test_weights_of_one_equal_the_unweighted_trainer(model, tokenizer, tmp_path, normalize):
    start = {name: value.clone() for name, value in model.state_dict().items()}
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT)
    plain = train(model, collator, tmp_path, cls=Trainer, weights=None, accumulate=2, steps=3)
    expected = parameters(model)
    model.load_state_dict(start)
    ones = [[1.0] * len(weights) for weights in TURN_WEIGHTS]
    weighted = train(model, collator, tmp_path, weights=ones, accumulate=2, steps=3, normalize=normalize)
    torch.testing.assert_close(parameters(model), expected)
    for ours, theirs in zip(weighted.state.log_history[:3], plain.state.log_history[:3], strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1.2e-4)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_ranks_equal_one(tmp_path):
    """Four rows in one step: one rank with a batch of 4; two ranks, each with two batches of one row."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ends = []
    for world, batch, accumulate in [(1, 4, 1), (2, 1, 2)]:
        out = tmp_path / f"{world}.pt"
        command = [sys.executable, str(Path(__file__).with_name("rank.py")), "weights", str(out), str(batch), str(accumulate)]
        ranks = [
            subprocess.Popen(
                command, env=os.environ | (distributed(rank, world, port) if world > 1 else {}), stdout=subprocess.DEVNULL
            )
            for rank in range(world)
        ]
        assert [rank.wait(timeout=200) for rank in ranks] == [0] * world
        ends.append(torch.load(out))
    torch.testing.assert_close(*ends)


def distributed(rank, world, port):
    """What torchrun puts into a rank's environment."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
    }


def test_padding_free_batches_have_the_same_loss(model, tokenizer):
    features = [{"input_ids": row, "turn_weights": weights} for row, weights in zip(ROWS, TURN_WEIGHTS, strict=True)]
    padded = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features)
    flat = DataCollatorForChat(tokenizer, chat_format=FORMAT, padding_free=True)(features)
    logits = model(input_ids=padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    flat_logits = logits[padded["attention_mask"].bool()][None]
    losses = [
        weighted_loss(*pair, normalize="weights")
        for pair in ((logits, padded["labels"], padded["loss_weights"]), (flat_logits, flat["labels"], flat["loss_weights"]))
    ]
    torch.testing.assert_close(*losses)


def test_shifted_labels_have_the_same_loss(model, tokenizer):
    features = [{"input_ids": row, "turn_weights": weights} for row, weights in zip(ROWS, TURN_WEIGHTS, strict=True)]
    plain = DataCollatorForChat(tokenizer, chat_format=FORMAT)(features)
    shifted = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=MaskPolicy(shift="left"))(features)
    logits = model(input_ids=plain["input_ids"]).logits
    torch.testing.assert_close(
        weighted_loss(logits, plain["labels"], plain["loss_weights"], normalize="tokens"),
        weighted_loss(logits, shifted["labels"], shifted["loss_weights"], normalize="tokens", shift=False),
    )


def test_amounts_add_up():
    labels, weights = torch.tensor([[9, -100, 3, 4], [9, 9, -100, 4]]), torch.tensor([[1, 0, 0.5, 0.25], [1, 2, 0, 1]])
    assert loss_amount(labels, weights, normalize="weights").item() == 3.75
    assert loss_amount(labels, weights, normalize="tokens").item() == 4
    assert loss_amount(labels, weights, normalize="weights", shift=False).item() == 5.75


def test_nothing_to_train_does_not_give_nan():
    logits = torch.randn(1, 3, 4, requires_grad=True)
    for normalize in ("weights", "tokens"):
        loss = weighted_loss(logits, torch.full((1, 3), -100), torch.zeros(1, 3), normalize=normalize)
        loss.backward()
        assert loss.item() == 0
        assert logits.grad.abs().sum() == 0


def test_evaluation_is_weighted_too(model, tokenizer, tmp_path):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    trainer = train(model, collator, tmp_path, normalize="weights")
    rows = Dataset.from_dict({"input_ids": ROWS, "turn_weights": TURN_WEIGHTS})
    trainer.args.per_device_eval_batch_size = 4
    assert trainer.evaluate(rows)["eval_loss"] == pytest.approx(by_hand(model, collator, "weights"), rel=1e-5)


def test_weights_that_nothing_uses_are_an_error(model, tokenizer, tmp_path):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    handle = refuse_unused_weights(model)
    with pytest.raises(ValueError, match="loss_weights: reached LlamaForCausalLM, which ignores it"):
        train(model, collator, tmp_path, cls=Trainer)
    train(model, collator, tmp_path, normalize="weights")  # here the weights do not reach the model
    handle.remove()


def test_a_batch_without_weights_is_an_error(model, tokenizer, tmp_path):
    with pytest.raises(
        ValueError, match="inputs: no 'loss_weights' in the batch, which has 'input_ids', 'attention_mask', 'labels'"
    ):
        train(model, DataCollatorForChat(tokenizer, chat_format=FORMAT), tmp_path, weights=None, normalize="weights")
    renamed = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY, weight_key="w")
    train(model, renamed, tmp_path, normalize="weights", weight_key="w")


def test_the_mixin_comes_first():
    with pytest.raises(TypeError, match="Wrong: put WeightedLossMixin before the trainer's class"):
        type("Wrong", (Trainer, WeightedLossMixin), {})


def test_other_losses_are_refused(model, tokenizer, tmp_path):
    collator = DataCollatorForChat(tokenizer, chat_format=FORMAT, policy=POLICY)
    with pytest.raises(TypeError, match="normalize"):
        train(model, collator, tmp_path)
    with pytest.raises(ValueError, match="normalize: expected one of 'weights', 'tokens'"):
        train(model, collator, tmp_path, normalize="mean")
    with pytest.raises(ValueError, match="compute_loss_func: only supported by the trainer's own loss"):
        train(model, collator, tmp_path, normalize="weights", compute_loss_func=lambda *args, **kwargs: 0)
    t5 = T5ForConditionalGeneration(T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(ValueError, match="model: is an encoder-decoder"):
        train(t5, collator, tmp_path, normalize="weights")


def test_shapes_that_do_not_fit():
    logits, labels, weights = torch.zeros(1, 3, 4), torch.zeros(1, 3, dtype=torch.long), torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"weights: has shape \(1, 2\), but the logits have \(1, 3, 4\)"):
        weighted_loss(logits, labels, weights[:, 1:], normalize="weights")
    with pytest.raises(ValueError, match="normalize: expected one of"):
        weighted_loss(logits, labels, weights, normalize="mean", amount=1)
