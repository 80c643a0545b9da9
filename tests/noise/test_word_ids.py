"""Numbers of words as users have them: `BatchEncoding.word_ids()`, through every format of a data set. A missing number is not a word."""

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from spanmask import (
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    MaskedLM,
    Ragged,
    SpanCorruption,
    corrupt,
    mask_tokens,
)
from support.denoising import bert_tokenizer, t5_tokenizer
from torch.utils.data import DataLoader

ROWS = [[2, *range(10, 40), 3], [2, 7, 3], [2, *range(200, 213)]]
WORDS = [[None, *np.repeat(range(10), 3).tolist(), None], [None, 0, None], [None, *np.repeat(range(4), 4).tolist()][:14]]
FILLED = [[-1 if word is None else word for word in row] for row in WORDS]
FLOATS = [np.array([np.nan if word is None else word for word in row]) for row in WORDS]
MASKS = MaskedLM(4, 1000, mlm_probability=0.4)
SPANS = SpanCorruption(range(900, 800, -1), 1, noise_density=0.4, mean_noise_span_length=2.0)
DATA = datasets.Dataset.from_dict({"input_ids": ROWS, "word_ids": WORDS})
FORMATS = [None, "numpy", "torch", "arrow", pytest.param("polars", marks=pytest.mark.needs("pyarrow>=16")), "pandas"]
SPELLINGS = {
    "None": WORDS,
    "-1": FILLED,
    "other negative": [[-7 if word is None else word for word in row] for row in WORDS],
    "tuples": [tuple(row) for row in WORDS],
    "tuple of lists": tuple(WORDS),
    "NaN in lists": [row.tolist() for row in FLOATS],
    "numpy NaN in lists": [list(row.astype(np.float32)) for row in FLOATS],
    "pandas.NA in lists": [[pd.NA if word is None else word for word in row] for row in WORDS],
    "numpy integers in lists": [[None if word is None else np.int32(word) for word in row] for row in WORDS],
    "float64": FLOATS,
    "float32": [row.astype(np.float32) for row in FLOATS],
    "float16, int64, int32": [FLOATS[0].astype(np.float16), np.array(FILLED[1]), np.array(FILLED[2], np.int32)],
    "int64": [np.array(row) for row in FILLED],
    "int64, then float64": [np.array(FILLED[0]), *FLOATS[1:]],
    "int8": [np.array(row, np.int8) for row in FILLED],
    "object": [np.array(row, object) for row in WORDS],
    "array of arrays": np.array([*FLOATS, None], object)[:3],
    "masked": [np.ma.masked_invalid(row) for row in FLOATS],
    "masked int64": [np.ma.masked_less(np.array(row), 0) for row in FILLED],
    "masked, values below the mask": [
        np.ma.array(np.where(np.isnan(row), 5, row).astype(int), mask=np.isnan(row)) for row in FLOATS
    ],
    "lists and arrays": [WORDS[0], FLOATS[1], WORDS[2]],
    "tensors": [torch.from_numpy(row) for row in FLOATS],
    "float32 tensors": [torch.from_numpy(row).float() for row in FLOATS],
    "int tensors": [torch.tensor(row) for row in FILLED],
    "tensors of several types": [
        torch.from_numpy(FLOATS[0]).bfloat16(),
        torch.from_numpy(FLOATS[1]).half(),
        torch.tensor(FILLED[2]),
    ],
    "ragged": Ragged.from_rows(FILLED),
    "ragged int32": Ragged.from_rows([np.array(row, np.int32) for row in FILLED]),
    "arrow": pa.array(WORDS),
    "arrow large, int32": pa.array(WORDS, pa.large_list(pa.int32())),
    "arrow uint16": pa.array(WORDS, pa.list_(pa.uint16())),
    "arrow uint64": pa.array(WORDS, pa.list_(pa.uint64())),
    "arrow floats": pa.array([row.tolist() for row in FLOATS]),
    "arrow floats and nulls": pa.array([[None if at else np.nan, *row.tolist()[1:]] for at, row in enumerate(FLOATS)]),
    "arrow slice": pa.array([[9, None], *WORDS, [None]]).slice(1, 3),
    "arrow chunks": pa.chunked_array([pa.array(WORDS[:1]), pa.array(WORDS[1:])]),
    "pandas": pd.Series(WORDS),
    "pandas arrays": pd.Series([np.array(FILLED[0]), *FLOATS[1:]]),
    "pandas arrow": pd.Series(pd.arrays.ArrowExtensionArray(pa.array(WORDS))),
    "pandas Int64": [pd.array(row, dtype="Int64") for row in WORDS],
}


def arrays(batch):
    return {name: np.asarray(value).tolist() for name, value in batch.items()}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_missing_number_is_no_word(name):
    words = SPELLINGS[name]
    for function, spec in ((mask_tokens, MASKS), (corrupt, SPANS)):
        out, expected = (function(ROWS, spec, seed=3, word_ids=given) for given in (words, FILLED))
        assert (out.input_ids, out.labels) == (expected.input_ids, expected.labels)
    for collator in collators():
        expected = arrays(collator({"input_ids": ROWS, "word_ids": FILLED}))
        assert arrays(collator({"input_ids": ROWS, "word_ids": words})) == expected
        assert arrays(collator({"input_ids": [np.array(row) for row in ROWS], "word_ids": words})) == expected
        rows = list(words.to_pylist() if hasattr(words, "to_pylist") else words)
        features = [{"input_ids": row, "word_ids": one} for row, one in zip(ROWS, rows, strict=True)]
        assert arrays(collator(features)) == expected


def collators():
    options = {"seed": 3, "on_repeat": "ignore", "return_tensors": "np"}
    bert = DataCollatorForMaskedLM(bert_tokenizer(), mlm_probability=0.4, **options)
    t5 = DataCollatorForSpanCorruption(t5_tokenizer(["a"]), spec=SPANS, **options)
    return bert, t5


def test_words_matter_here():
    """Otherwise equal results would show nothing."""
    for function, spec in ((mask_tokens, MASKS), (corrupt, SPANS)):
        assert function(ROWS, spec, seed=3, word_ids=FILLED).labels != function(ROWS, spec, seed=3).labels


@pytest.mark.parametrize("name", FORMATS)
def test_columns_of_a_data_set(name):
    batch = DATA.with_format(name)[:]
    for function, spec in ((mask_tokens, MASKS), (corrupt, SPANS)):
        out, expected = (function(ROWS, spec, seed=3, word_ids=given) for given in (batch["word_ids"], FILLED))
        assert (out.input_ids, out.labels) == (expected.input_ids, expected.labels)


@pytest.mark.parametrize("streamed", [False, True], ids=["stored", "streamed"])
@pytest.mark.parametrize("name", [*FORMATS[:-1], pytest.param("pandas", marks=pytest.mark.needs("datasets>=4"))])
def test_batches_of_a_data_set(name, streamed):
    for collator in collators():
        expected = arrays(collator({"input_ids": ROWS, "word_ids": FILLED}))
        data = DATA.to_iterable_dataset().with_format(name) if streamed else DATA.with_format(name)
        assert arrays(collator(next(iter(data.iter(batch_size=3))))) == expected
        assert arrays(collator(list(data))) == expected
        if name not in ("arrow", "polars") or streamed:  # `datasets` does not read several examples of a stored table one by one
            assert arrays(next(iter(DataLoader(data, batch_size=3, collate_fn=collator)))) == expected


def test_word_ids_of_an_encoding():
    tokenizer = bert_tokenizer()
    encoded = tokenizer(["w1 w2w3 w4", "w5"])
    words = [encoded.word_ids(0), encoded.word_ids(1)]
    assert words[0][0] is None
    assert mask_tokens(encoded["input_ids"], MASKS, word_ids=words).labels[0][0] == -100


BAD = {
    "fraction in a list": ([FILLED[0], [None, 0.5, None], FILLED[2]], "row 1 has 0.5 .* at position 1; expected an integer"),
    "fraction in an array": ([*FLOATS[:2], np.full(14, 1.5)], "row 2 has 1.5 at position 0; expected an integer"),
    "fraction in a tensor": ([torch.tensor(row) + 0.25 for row in FILLED], "row 0 has -0.75 at position 0"),
    "fraction in Arrow": (
        pa.array([FILLED[0], [None, 0.5, None], FILLED[2]], pa.list_(pa.float64())),
        "row 1 has 0.5 at position 1",
    ),
    "infinity": ([FILLED[0], [None, float("inf"), None], FILLED[2]], "row 1 has inf"),
    "infinity in an array": ([FLOATS[0], np.full(3, np.inf), FLOATS[2]], "row 1 has inf at position 0"),
    "text": ([FILLED[0], [None, "0", None], FILLED[2]], "row 1 has 0 .str. at position 1"),
    "text array": ([np.array(FILLED[0]), np.array(["a", "b", "c"]), np.array(FILLED[2])], "word_ids: row 1"),
    "bool": ([FILLED[0], [None, True, None], FILLED[2]], "row 1 has True .bool. at position 1"),
    "row missing": ([FILLED[0], None, FILLED[2]], "row 1"),
    "array row missing": ([FLOATS[0], None, FLOATS[2]], "row 1 is None; remove such rows or fill them"),
    "row of rows": ([np.zeros((2, 2))] * 3, "row 0 has shape"),
    "Arrow row missing": (pa.array([FILLED[0], None, FILLED[2]]), "row 1 is null"),
    "Arrow bools": (
        pa.array([[None if word is None else True for word in row] for row in WORDS]),
        "word_ids: expected an Arrow list of numbers of words, got a list of bool",
    ),
    "Arrow texts": (
        pa.array([[None if word is None else "a" for word in row] for row in WORDS]),
        "word_ids: expected an Arrow list of numbers of words, got a list of string",
    ),
    "number": (5, "word_ids: expected"),
    "string": ("abc", "word_ids: expected"),
    "one row": (FILLED[0], "word_ids: row 0"),
    "too few": ([np.array(FILLED[0]), FLOATS[1][:2], np.array(FILLED[2])], "word_ids: row 1 has 2 entries for 3 ids"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_word_ids_name_the_row(name):
    words, message = BAD[name]
    for function, spec in ((mask_tokens, MASKS), (corrupt, SPANS)):
        with pytest.raises((TypeError, ValueError), match=message):
            function(ROWS, spec, word_ids=words)
    if hasattr(words, "__len__"):
        for collator in collators():
            with pytest.raises(
                (TypeError, ValueError), match=message if len(words) == len(ROWS) and name != "string" else "word_ids"
            ):
                collator({"input_ids": ROWS, "word_ids": words})
