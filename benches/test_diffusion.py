"""Masked diffusion: the masking of a padded batch, and of a fine-tuning batch. spanmask, and LLaDA's forward process in torch and NumPy."""

import numpy as np
import pytest
import torch
from spanmask import DataCollatorForMaskedDiffusion, MaskedDiffusion, diffuse, reference
from support.denoising import bert_tokenizer
from timing import compare, in_new_epochs

ROWS, LENGTH, PROMPT, EPS = 128, 512, 100, 1e-3
TOKENIZER = bert_tokenizer(10000)
MASK = TOKENIZER.mask_token_id


@pytest.fixture(scope="module")
def ids():
    return np.random.default_rng(0).integers(5, len(TOKENIZER), size=(ROWS, LENGTH))


def torch_process(ids, trained=None):
    """The forward process as LLaDA's guidelines describe it, and what a trainer makes of it: inputs, labels, weights.

    `trained`: bool, the tokens that may be masked.
    """
    ratio = (1 - EPS) * torch.rand(len(ids), 1) + EPS
    masked = torch.rand(ids.shape) < ratio
    if trained is not None:
        masked &= trained
    inputs = torch.where(masked, MASK, ids)
    labels = torch.where(masked, ids, -100)
    return inputs, labels, masked / ratio


def numpy_process(ids, trained=None):
    """The same in NumPy."""
    generator = np.random.default_rng()
    ratio = (1 - EPS) * generator.random((len(ids), 1), dtype=np.float32) + np.float32(EPS)
    masked = generator.random(ids.shape, dtype=np.float32) < ratio
    if trained is not None:
        masked &= trained
    return np.where(masked, MASK, ids), np.where(masked, ids, -100), masked / ratio


def check(ids, trained, inputs, labels, weights):
    """Labels are the ids of masked tokens, other tokens are unchanged, weights are 1 / ratio and add up to the trained tokens.

    The bounds are 6 sigma: one in a million runs misses.
    """
    inputs, labels, weights = map(np.asarray, (inputs, labels, weights))
    masked = labels != -100
    assert (inputs == np.where(masked, MASK, ids)).all()
    assert (labels == np.where(masked, ids, -100)).all()
    assert not (masked & ~trained).any()
    assert ((weights > 0) == masked).all()
    assert weights.dtype == np.float32
    count = trained.sum(axis=1)
    has_masks = masked.any(axis=1)
    ratio = 1 / weights.max(axis=1)[has_masks]
    assert (np.abs(masked.sum(axis=1)[has_masks] - count[has_masks] * ratio) < 6 * np.sqrt(count[has_masks] * ratio) + 6).all()
    assert abs(ratio.mean() - 0.5) < 6 * 0.29 / np.sqrt(len(ids))


def whole(ids):
    return np.ones(ids.shape, bool)


def answers(ids):
    trained = whole(ids)
    trained[:, :PROMPT] = False
    return trained


@pytest.mark.parametrize(("case", "made"), [("tokens", whole), ("answers", answers)])
def test_diffusion(bench, ids, case, made):
    trained = made(ids)
    labels = None if case == "tokens" else torch.from_numpy(np.where(trained, ids, -100))
    tensor, flags = torch.from_numpy(ids), None if labels is None else torch.from_numpy(trained)
    spec = MaskedDiffusion(MASK, eps=EPS)
    run = in_new_epochs(diffuse, tensor, spec, labels=labels)

    def ours():
        out = run()
        return out.input_ids, out.labels, out.loss_weights

    array = None if labels is None else trained
    engines = {
        "spanmask": ours,
        "rewritten:torch": lambda: torch_process(tensor, flags),
        "rewritten:numpy": lambda: numpy_process(ids, array),
    }
    torch.manual_seed(0)
    for engine in engines.values():
        check(ids, trained, *engine())
    first = diffuse(ids[:1], spec, labels=None if labels is None else labels[:1].numpy())
    expected = reference.diffuse(ids[0].tolist(), spec, labels=None if labels is None else labels[0].tolist())
    assert (first.input_ids[0].tolist(), first.labels[0].tolist()) == expected[:2]
    compare(bench(f"masked-diffusion/{ROWS}x{LENGTH}/int64/{case}", "spanmask"), engines)


def test_collator(bench, ids):
    """Rows of 256 to 512 tokens to a padded batch."""
    rows = [{"input_ids": row[: LENGTH // 2 + 2 * number]} for number, row in enumerate(ids)]
    lengths = np.array([len(row["input_ids"]) for row in rows])
    real = np.arange(lengths.max()) < lengths[:, None]
    table = np.where(real, ids[:, : lengths.max()], TOKENIZER.pad_token_id)
    collator = DataCollatorForMaskedDiffusion(TOKENIZER, weight_key="loss_weights")

    def theirs():
        tensors = [torch.from_numpy(row["input_ids"]) for row in rows]
        padded = torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=TOKENIZER.pad_token_id)
        attention = torch.arange(padded.shape[1]) < torch.tensor([len(row) for row in tensors])[:, None]
        inputs, labels, weights = torch_process(padded, attention)
        return {"input_ids": inputs, "labels": labels, "loss_weights": weights, "attention_mask": attention.long()}

    engines = {"spanmask": lambda: collator(rows), "rewritten:torch": theirs}
    torch.manual_seed(0)
    for engine in engines.values():
        batch = engine()
        check(table, real, batch["input_ids"], batch["labels"], batch["loss_weights"])
        assert (batch["attention_mask"].numpy() == real).all()
    compare(bench(f"masked-diffusion-collator/{ROWS}x256-512/int64/numpy-rows", "spanmask"), engines)
