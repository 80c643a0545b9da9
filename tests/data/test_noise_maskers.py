"""`SpanCorrupter` and `TokenMasker`: the noise of `corrupt` and `mask_tokens`, for any partitioning of a table."""

import pickle
import random

import pyarrow as pa
import pytest
from datasets import Dataset
from datasets.fingerprint import Hasher
from spanmask import DenoiserMixture, MaskedLM, SentinelError, SpanCorruption, corrupt, mask_tokens, merge
from spanmask.arrow import SpanCorrupter, TokenMasker
from support.denoising import bert_tokenizer, t5_tokenizer

RNG = random.Random(5)
ROWS = [[RNG.randint(5, 400) for _ in range(RNG.choice([2, 9, 40, 200]))] for _ in range(50)]
TABLE = pa.table({"id": list(range(50)), "input_ids": pa.array(ROWS, pa.list_(pa.int32()))})


@pytest.fixture(scope="module")
def t5():
    return t5_tokenizer([f"w{number}" for number in range(500)])


@pytest.fixture(scope="module")
def bert():
    return bert_tokenizer(400)


def operators(t5, bert):
    spans, tokens = SpanCorruption.from_tokenizer(t5, noise_density=0.3), MaskedLM.from_tokenizer(bert, mlm_probability=0.4)
    return [
        (SpanCorrupter(t5, noise_density=0.3, seed=3, epoch=2), corrupt(ROWS, spans, seed=3, epoch=2)),
        (SpanCorrupter(t5, spec=DenoiserMixture.ul2(), seed=3), corrupt(ROWS, DenoiserMixture.ul2(t5), seed=3)),
        (TokenMasker(bert, mlm_probability=0.4, seed=1), mask_tokens(ROWS, tokens, seed=1)),
    ]


def test_every_partitioning_gives_the_noise_of_one_call(t5, bert):
    for operator, want in operators(t5, bert):
        for size in (1, 7, 50):
            out = pa.concat_tables([operator(TABLE.slice(first, size)) for first in range(0, 50, size)])
            assert out.schema == operator.schema(TABLE.schema)
            assert out["input_ids"].to_pylist() == want.input_ids.to_list()
            assert out["labels"].to_pylist() == want.labels.to_list()
            assert out["id"].to_pylist() == list(range(50))


@pytest.mark.needs("datasets>=4")  # older ones do not stream data sets in these formats
def test_datasets_with_processes_streams_and_the_cache(t5, bert):
    dataset = Dataset(TABLE).with_format("arrow")
    for operator, want in operators(t5, bert):
        fresh = Hasher.hash(operator)
        for made in (
            dataset.map(operator, batched=True, batch_size=7),
            dataset.map(operator, batched=True, num_proc=2, batch_size=9),
        ):
            assert made.with_format(None)["labels"][:] == want.labels.to_list()
        assert Hasher.hash(operator) == fresh == Hasher.hash(pickle.loads(pickle.dumps(operator)))
        stream = dataset.to_iterable_dataset(3).map(operator, batched=True, batch_size=4).with_format(None)
        assert [row["labels"] for row in stream] == want.labels.to_list()
    assert len({Hasher.hash(TokenMasker(bert, seed=seed)) for seed in range(3)}) == 3


def test_columns_of_rows_and_tokens_are_read(t5, bert):
    protected = [[token % 3 == 0 for token in row] for row in ROWS]
    special = [[token % 5 == 0 for token in row] for row in ROWS]
    words = [[None if token % 7 == 0 else at // 2 for at, token in enumerate(row)] for row in ROWS]
    densities, keys = [0.1 + 0.01 * number for number in range(50)], [f"k{number}" for number in range(50)]
    table = TABLE.append_column("protected_mask", pa.array(protected)).append_column("special_tokens_mask", pa.array(special))
    table = table.append_column("word_ids", pa.array(words)).append_column("key", pa.array(keys))
    both = [[a or b for a, b in zip(*rows, strict=True)] for rows in zip(protected, special, strict=True)]
    out = SpanCorrupter(t5, key_column="key", seed=9)(table.append_column("noise_density", pa.array(densities)))
    spec = SpanCorruption.from_tokenizer(t5)
    want = corrupt(ROWS, spec, seed=9, keys=keys, protected_mask=both, word_ids=words, noise_density=densities)
    assert out["labels"].to_pylist() == want.labels.to_list()
    masked = TokenMasker(bert, key_column="key", max_length=20)(table.append_column("mlm_probability", pa.array(densities)))
    cut = [[row[:20] for row in column] for column in (ROWS, both, words)]
    want = mask_tokens(
        cut[0], MaskedLM.from_tokenizer(bert), keys=keys, protected_mask=cut[1], word_ids=cut[2], mlm_probability=densities
    )
    assert masked["labels"].to_pylist() == want.labels.to_list()


def test_texts_are_tokenized(t5):
    texts = ["w1 w2 w3 w4 w5 w6", "w9 w8", "w7"]
    out = SpanCorrupter(t5)(pa.table({"text": texts}))
    spec = SpanCorruption.from_tokenizer(t5)
    rows = merge(out["input_ids"].to_pylist(), out["labels"].to_pylist(), spec)
    assert [t5.decode(row, skip_special_tokens=True) for row in rows.to_list()] == texts


def test_large_lists_stay_large_and_empty_tables_have_the_schema(t5):
    large = pa.table({"input_ids": pa.array(ROWS, pa.large_list(pa.int64()))})
    operator = SpanCorrupter(t5)
    assert operator(large).schema == pa.schema({name: pa.large_list(pa.int32()) for name in ("input_ids", "labels")})
    assert operator(large.slice(0, 0)).schema == operator(large).schema


def test_bad_input_is_named(t5, bert):
    with pytest.raises(ValueError, match="input_ids, text: no such column"):
        TokenMasker(bert)(pa.table({"x": [1]}))
    with pytest.raises(ValueError, match="attention_mask: the rows have padding"):
        TokenMasker(bert)(pa.table({"input_ids": [[5, 6]], "attention_mask": [[1, 0]]}))
    with pytest.raises(ValueError, match="key_column: no column 'key'"):
        TokenMasker(bert, key_column="key")(TABLE)
    with pytest.raises(TypeError, match="noise_density: cannot be combined with spec"):
        SpanCorrupter(t5, spec=SpanCorruption.from_tokenizer(t5), noise_density=0.2)
    with pytest.raises(SentinelError, match="no <extra_id"):
        SpanCorrupter(bert)
    with pytest.raises(ValueError, match="seed: "):
        TokenMasker(bert, seed=-1)
