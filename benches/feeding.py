"""The common parts of `loader.py` and `gpu_feed.py`: rows, collators, checks, and the function that writes their parts of a page.

It imports only what a typical machine with a GPU has: torch, transformers, NumPy, spanmask. TRL's collators are imported on demand.
"""

import sys
import warnings
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from spanmask import (  # noqa: E402
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForSpanCorruption,
    MaskPolicy,
    RoleBoundary,
    reference,
)
from support.completion_only import WHEEL, removed_class  # noqa: E402
from support.flax_script import FlaxScriptCollator  # noqa: E402
from tokenizers import Tokenizer, models  # noqa: E402
from transformers import PreTrainedTokenizerFast, T5Tokenizer  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "feeding.md"
EOS = 2
ASSISTANT, USER = (5, 6, 9), (5, 7, 9)  # headers: "ASSISTANT:" and "USER:", three tokens each
FORMAT = ChatFormat([RoleBoundary("assistant", ASSISTANT, [EOS]), RoleBoundary("user", USER)])
VOCABULARY = 32000
TURNS = 4
OURS, FLAX = "spanmask", "rewritten:flax-script"
COMPLETION_ONLY = "-".join(WHEEL.name.split("-")[:2])
try:
    TRL = f"trl-{version('trl')}"
except PackageNotFoundError:
    TRL = "trl"


def chat_rows(rng, count, shortest, longest):
    """Rows of random ids, `shortest` to `longest` tokens in four turns, every answer closed by EOS; and the labels of each row."""
    rows = []
    for length in rng.integers(shortest, longest + 1, count).tolist():
        row = rng.integers(10, VOCABULARY, length)
        edges = np.linspace(0, length, TURNS + 1, dtype=int).tolist()
        for turn, (start, stop) in enumerate(pairwise(edges)):
            row[start : start + 3] = ASSISTANT if turn % 2 else USER
            if turn % 2:
                row[stop - 1] = EOS
        rows.append(row)
    return rows, [reference.mask_labels(row.tolist(), FORMAT, MaskPolicy()) for row in rows]


def chat_collators(fetch):
    """Name -> collator, or a text that says why it is missing. TRL's collator requires rows with finished labels.

    `fetch`: download the wheel with TRL's removed collator if it is missing.
    """
    backend = Tokenizer(models.WordLevel({"<pad>": 0, "</s>": EOS}, unk_token="<pad>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    made = {OURS: DataCollatorForChat(tokenizer, chat_format=FORMAT)}
    try:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
    except ImportError as error:
        made[TRL] = f"left out, TRL cannot be imported ({error})"
    else:
        made[TRL] = DataCollatorForLanguageModeling(pad_token_id=0)
    if fetch or WHEEL.exists():
        with warnings.catch_warnings():  # it warns about its removal
            warnings.simplefilter("ignore", DeprecationWarning)
            made[COMPLETION_ONLY] = removed_class()(list(ASSISTANT), list(USER), tokenizer=tokenizer, mlm=False)
    else:
        made[COMPLETION_ONLY] = (
            f"left out, there is no wheel of TRL 0.19.1 in {WHEEL.parent.name}/ (the tests of compat.trl download it)"
        )
    return made


def check_chat(batch, rows, labels):
    """Rows are padded on the right, and labels are those of the reference."""
    for number, (row, wanted) in enumerate(zip(rows, labels, strict=True)):
        got = {name: batch[name][number].tolist() for name in ("input_ids", "attention_mask", "labels")}
        padding = batch["input_ids"].shape[1] - len(row)
        assert got["input_ids"] == [*row.tolist(), *[0] * padding], number
        assert got["attention_mask"] == [1] * len(row) + [0] * padding, number
        assert got["labels"] == [*wanted, *[-100] * padding], number


def t5_tokenizer():
    """A T5 tokenizer with as many ids as the real one. (The one in tests/support would import hypothesis.)"""
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁w{n}", -1.0 - n) for n in range(VOCABULARY - 3))]
    return T5Tokenizer(vocab=[*pieces, *((f"<extra_id_{n}>", 0.0) for n in reversed(range(100)))], extra_ids=100)


def t5_rows(rng, count, length):
    """Rows of random ids, each of `length` tokens."""
    return list(rng.integers(3, VOCABULARY, (count, length)))


def as_tensors(collator, examples):
    """The batch of the Flax example as nanoT5 passes it on: torch tensors over the same memory."""
    batch = collator(examples)
    return {name: torch.from_numpy(batch[name]) for name in ("input_ids", "labels")}


def t5_collators(tokenizer, inputs, targets):
    """Name -> collator."""
    return {
        OURS: DataCollatorForSpanCorruption(tokenizer, seed=0),
        FLAX: partial(as_tensors, FlaxScriptCollator(tokenizer, 0.15, 3.0, inputs, targets, 0, 0)),
    }


def check_t5(batch, rows, tokenizer, inputs, targets):
    """Each collator draws its own masks, so this compares lengths, and checks that inputs and labels merge into the row."""
    assert batch["input_ids"].shape == (len(rows), inputs)
    assert batch["labels"].shape == (len(rows), targets)
    sentinels = range(len(tokenizer) - 1, len(tokenizer) - 101, -1)
    for row, got, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert reference.merge(got, labels, sentinels, eos=1) == row.tolist()


def write_part(page, script, text):
    """Puts `text` between the two marks of `script` on a page; the rest of the page is kept."""
    begin, end = f"<!-- begin: benches/{script} -->", f"<!-- end: benches/{script} -->"
    old = page.read_text(encoding="utf-8")
    before, after = old.split(begin)[0], old.split(end)[1]
    page.write_text(f"{before}{begin}\n{text.strip()}\n{end}{after}", encoding="utf-8")
