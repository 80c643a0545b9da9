"""A batch without any label has a loss of NaN: the first one is a warning with the remedy, and the remedy helps."""

import pickle
import warnings

import pytest
import torch
from spanmask import DataCollatorForMaskedLM, DataCollatorForSpanCorruption, MaskedLM, SpanmaskWarning
from support.denoising import bert_tokenizer, t5_tokenizer

BERT, T5 = bert_tokenizer(40), t5_tokenizer(["a", "b", "c"])
SHORT = [{"input_ids": [2, 10 + number, 3], "id": f"n-{number}"} for number in range(6)]


def masked_lm(**options):
    return DataCollatorForMaskedLM(BERT, **{"seed": 5, "on_repeat": "ignore", "mlm_probability": 0.001, **options})


def spans(**options):
    return DataCollatorForSpanCorruption(T5, **{"seed": 5, "on_repeat": "ignore", **options})


def test_the_first_one_warns():
    made = masked_lm()
    with pytest.warns(SpanmaskWarning, match="^labels: this batch has none") as caught:
        batch = made(SHORT)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    for part in ("row 0 (id 'n-0'), row 1 (id 'n-1'), row 2 (id 'n-2') and 3 more", "NaN", "min_one=True"):
        assert part in str(caught[0].message)
    assert (batch["labels"] == -100).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(SHORT)
        pickle.loads(pickle.dumps(made))(SHORT)


@pytest.mark.parametrize(
    "options", [{}, {"mode": "span"}, {"max_length": 2}, {"whole_word_mask": True}, {"padding_side": "left"}]
)
def test_min_one_gives_every_row_a_label(options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        batch = masked_lm(min_one=True, **options)(SHORT)
    assert (batch["labels"] != -100).sum(dim=1).tolist() == [1] * 6
    spec = MaskedLM.from_tokenizer(BERT, mlm_probability=0.001, min_one=True)
    assert masked_lm(spec=spec, mlm_probability=None)(SHORT)["labels"].max() > 0


def test_min_one_holds_after_the_cut():
    """The only token that may be chosen among many that the cut removes."""
    rows = [{"input_ids": [2, 10, *range(11, 60), 3]}] * 4
    assert (masked_lm(min_one=True, max_length=2)(rows)["labels"][:, 1] == 10).all()


def test_rows_in_which_nothing_may_be_chosen():
    with pytest.warns(SpanmaskWarning, match="labels: this batch has none .*No token of these rows may be chosen"):
        masked_lm(min_one=True)([{"input_ids": [2, 3]}])
    batch = masked_lm(min_one=True)([{"input_ids": [2, 3]}, {"input_ids": [2, 9, 3]}])  # one label is enough
    assert batch["labels"].tolist() == [[-100, -100, -100], [-100, 9, -100]]


def test_rows_too_short_for_a_span():
    made = spans()
    with pytest.warns(SpanmaskWarning, match=r"labels: this batch has none \(row 0, row 1\).*at least two of its tokens"):
        made([{"input_ids": [4, 1]}, {"input_ids": [1]}])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spans()([{"input_ids": [4, 1]}, {"input_ids": [3, 4, 1]}])
        spans(seed=None)([{"input_ids": [3, 4]}])


def test_by_default_short_rows_keep_their_statistics():
    torch.manual_seed(0)
    rows = [{"input_ids": [2, 10, 11, 3]} for _ in range(4000)]
    labels = DataCollatorForMaskedLM(BERT, seed=1, key_column="id")([{**row, "id": n} for n, row in enumerate(rows)])["labels"]
    empty = int((labels == -100).all(dim=1).sum())
    assert abs(empty - 4000 * 0.85**2) < 5 * (4000 * 0.7225 * 0.2775) ** 0.5
