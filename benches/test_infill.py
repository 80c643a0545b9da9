"""Text infilling: whole batches. spanmask, the noise of BART's own program (a row at a time), vectorized NumPy."""

import math
from itertools import count

import numpy as np
import pytest
from spanmask import DataCollatorForTextInfilling, TextInfilling, infill, reference
from spanmask.ragged import Ragged
from support.denoising import bert_tokenizer
from support.fairseq_denoising import FairseqDenoising
from timing import LONGER, TOKENS, TYPICAL, compare, fewer, in_new_epochs, with_typical
from timing import ROWS as FLAT_ROWS

ROWS, LENGTH = 128, 512
TOKENIZER = bert_tokenizer(10_000)
MASK, BOS, EOS = TOKENIZER.mask_token_id, 2, 3


@pytest.fixture(scope="module")
def ids():
    rows = np.random.default_rng(0).integers(5, len(TOKENIZER), size=(ROWS, LENGTH))
    rows[:, 0], rows[:, -1] = BOS, EOS
    return rows


def numpy_infill(ids, mask_ratio=0.3, poisson_lambda=3.5):
    """Infilling of rows of one length without a loop: the lengths of all spans, then where each span and each clear token goes."""
    generator = np.random.default_rng()
    body = ids[:, 1:-1]
    rows, length = body.shape
    hidden = math.ceil(length * mask_ratio)
    clear = length - hidden
    most = int(2 * hidden / poisson_lambda) + 32
    ends = np.minimum(np.cumsum(generator.poisson(poisson_lambda, (rows, most)), axis=1), hidden)
    before = np.concatenate([np.zeros((rows, 1), ends.dtype), ends[:, :-1]], axis=1)
    drawn = before < hidden
    cuts = np.sort(np.where(drawn, generator.integers(0, clear + 1, (rows, most)), clear + 1), axis=1)
    row, number = np.nonzero(drawn)
    at, start, stop = cuts[drawn], (cuts + before)[drawn], (cuts + ends)[drawn]
    edges = np.bincount(row * (length + 1) + start, minlength=rows * (length + 1))
    edges = edges - np.bincount(row * (length + 1) + stop, minlength=rows * (length + 1))
    kept = np.cumsum(edges.reshape(rows, length + 1)[:, :-1], axis=1) == 0
    masks = np.cumsum(np.bincount(row * (clear + 1) + at, minlength=rows * (clear + 1)).reshape(rows, clear + 1), axis=1)
    lengths = clear + drawn.sum(axis=1) + 2
    inputs = np.full((rows, int(lengths.max())), TOKENIZER.pad_token_id)
    inputs[:, 0] = ids[:, 0]
    inputs[np.arange(rows)[:, None], 1 + np.arange(clear) + masks[:, :clear]] = body[kept].reshape(rows, clear)
    inputs[row, 1 + at + number] = MASK
    inputs[np.arange(rows), lengths - 1] = ids[:, -1]
    attention = (np.arange(inputs.shape[1]) < lengths[:, None]).astype(np.int64)
    return {"input_ids": inputs, "attention_mask": attention, "labels": ids.copy()}


def program(ids, noise=FairseqDenoising(MASK, len(TOKENIZER))):  # noqa: B008  # its table of lengths is made once
    """The program's noise, and its padding."""
    generator = np.random.default_rng()
    rows = [noise(row, generator)[0] for row in ids]
    lengths = np.array([len(row) for row in rows])
    inputs = np.full((len(rows), int(lengths.max())), TOKENIZER.pad_token_id)
    for row, noised in enumerate(rows):
        inputs[row, : len(noised)] = noised
    attention = (np.arange(inputs.shape[1]) < lengths[:, None]).astype(np.int64)
    return {"input_ids": inputs, "attention_mask": attention, "labels": ids.copy()}


def check(ids, batch, exact):
    """Labels are the rows; inputs are their tokens in order, with masks; .3 of a row is hidden, or less where spans may overlap."""
    inputs, attention = np.asarray(batch["input_ids"]), np.asarray(batch["attention_mask"]).astype(bool)
    assert (np.asarray(batch["labels"]) == ids).all()
    budget = math.ceil((LENGTH - 2) * 0.3)
    for row, noised, real in zip(ids, inputs, attention, strict=True):
        clear = noised[real & (noised != MASK)]
        left = iter(row.tolist())
        assert all(token in left for token in clear.tolist())
        assert (noised[real][0], noised[real][-1]) == (row[0], row[-1])
        assert len(row) - len(clear) == budget if exact else len(row) - len(clear) <= budget
    drawn = (inputs == MASK).sum() / len(ids)
    assert abs(drawn - budget / 3.5) < (2 if exact else 10)


def test_infill(bench, ids):
    """The collator: lists of arrays in, a padded batch out. The others are given one array."""
    collator = DataCollatorForTextInfilling(TOKENIZER, seed=0, return_tensors="np")
    epochs, examples = count(), [{"input_ids": row} for row in ids]

    def ours():
        collator.set_epoch(next(epochs))
        return collator(examples)

    engines = {
        "spanmask": ours,
        "rewritten:fairseq": lambda: program(ids),
        "rewritten:numpy": lambda: numpy_infill(ids),
    }
    for name, run in engines.items():
        check(ids, run(), exact=name != "rewritten:fairseq")
    compare(bench(f"infill/{ROWS}x{LENGTH}/int64/spans", "spanmask"), engines)


SPECIAL_IDS, VOCABULARY = range(5), 1000


def spec_for(**options):
    return TextInfilling(4, **{"special_ids": SPECIAL_IDS, "vocab_size": VOCABULARY, **options})


def some_rows(rows, length):
    return np.random.default_rng(0).integers(len(SPECIAL_IDS), VOCABULARY, (rows, length))


@pytest.fixture(scope="module")
def typical(timed):
    return in_new_epochs(infill, some_rows(*(TYPICAL if timed else fewer(*TYPICAL))), spec_for())


@pytest.fixture
def flat(bench, timed, typical):
    """Times infilling, alternating with typical rows and a copy of its outputs. Two short rows are first compared with the reference."""

    def time(shape, case, options=(), made=some_rows, **about):
        spec = spec_for(**dict(options))
        short = made(2, 512)
        out = infill(short, spec)
        for row, inputs in zip(short, out.input_ids, strict=True):
            assert inputs.tolist() == reference.infill(row.tolist(), spec)[0]
        rows = made(*(shape if timed else fewer(*shape)))
        out = infill(rows, spec)
        benchmark = bench(f"infill/{shape[0]}x{shape[1]}/int64/{case}", "spanmask", tokens=rows.size, **about)
        outputs: list[Ragged] = [out.input_ids, out.labels]
        with_typical(benchmark, in_new_epochs(infill, rows, spec), typical, [side.values for side in outputs])

    return time


@pytest.mark.parametrize("rows", FLAT_ROWS)
def test_cost_over_shapes(flat, rows):
    flat((rows, TOKENS // rows), "spans", axes={"rows": rows})


ADVERSARIAL = {
    "mostly-insertions": (some_rows, {"poisson_lambda": 0.1}),
    "all-hidden": (some_rows, {"mask_ratio": 1.0}),
    "half-of-the-ids-special": (some_rows, {"special_ids": range(0, VOCABULARY, 2)}),
    "sentences": (some_rows, {"permute_sentence_ratio": 1.0, "sentence_end_ids": range(5, 55)}),
    "sentences-of-one-token": (some_rows, {"permute_sentence_ratio": 1.0, "sentence_end_ids": range(5, VOCABULARY, 2)}),
    "words": (some_rows, {"whole_word_mask": True, "continuation_ids": range(VOCABULARY // 2)}),
}


@pytest.mark.parametrize("shape", [TYPICAL, LONGER], ids=["typical", "longer"])
@pytest.mark.parametrize("case", ADVERSARIAL)
def test_adversarial(flat, case, shape):
    made, options = ADVERSARIAL[case]
    flat(shape, f"adversarial:{case}", options, made, adversarial=case)
