"""The same rows have the same noise in every engine, for any partitioning. Ray and Spark: make test-engines."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spanmask import FillInTheMiddle, MaskedLM, SpanCorruption, corrupt, fill_in_the_middle, mask_tokens
from spanmask.arrow import MiddleFiller, SpanCorrupter, TokenMasker
from support.denoising import bert_tokenizer, t5_tokenizer
from support.vocabularies import tokenizer_of

# Ray and Spark warn about their own code and that of others.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

RNG = random.Random(11)
ROWS = [[RNG.randint(5, 800) for _ in range(RNG.choice([1, 8, 33, 150]))] for _ in range(90)]
IDS = [f"row {number}" for number in range(90)]
NAMES = ["spans", "tokens", "middle"]


@pytest.fixture(scope="module")
def operators():
    """Each operator, with the result of the function for all rows at once."""
    t5, bert = t5_tokenizer([f"w{number}" for number in range(900)]), bert_tokenizer(900)
    fim = tokenizer_of("byte-level", ["<fim_prefix>", "<fim_middle>", "<fim_suffix>"])
    spans = SpanCorruption.from_tokenizer(t5, noise_density=0.25)
    return {
        "spans": (SpanCorrupter(t5, noise_density=0.25, seed=7, epoch=3), corrupt(ROWS, spans, seed=7, epoch=3)),
        "tokens": (
            TokenMasker(bert, mlm_probability=0.3, seed=8, key_column="id"),
            mask_tokens(ROWS, MaskedLM.from_tokenizer(bert, mlm_probability=0.3), seed=8, keys=IDS),
        ),
        "middle": (
            MiddleFiller(fim, rate=0.8, seed=9, epoch=1),
            fill_in_the_middle(ROWS, FillInTheMiddle.from_tokenizer(fim, rate=0.8), seed=9, epoch=1),
        ),
    }


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ids")
    table = pa.table({"id": IDS, "input_ids": pa.array(ROWS, pa.list_(pa.int32()))})
    for number in range(3):
        pq.write_table(table.slice(number * 30, 30), folder / f"{number}.parquet", row_group_size=8)
    return folder


def by_id(rows):
    return {row["id"]: (list(row["input_ids"]), list(row["labels"])) for row in rows}


def expected(out):
    return dict(zip(IDS, zip(out.input_ids.to_list(), out.labels.to_list(), strict=True), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_engines_of_one_process(name, operators, parquet):
    import duckdb
    import polars

    operator, out = operators[name]
    want = expected(out)
    assert any(ids != row for (ids, _), row in zip(want.values(), ROWS, strict=True))
    frame = polars.read_parquet(parquet / "*.parquet")
    parts = [polars.from_arrow(operator(part.to_arrow())) for part in frame.iter_slices(11)]
    assert by_id(polars.concat(parts).to_dicts()) == want
    reader = duckdb.sql(f"select * from '{parquet}/*.parquet' order by id desc").to_arrow_reader(17)
    assert by_id(row for batch in operator.map_in_arrow(reader) for row in batch.to_pylist()) == want
    groups = [batch for path in parquet.glob("*.parquet") for batch in pq.ParquetFile(path).iter_batches(7)]
    assert by_id(row for batch in reversed(groups) for row in operator(batch).to_pylist()) == want


@pytest.mark.engines
def test_ray(ray, operators, parquet, tmp_path):
    data = ray.data.read_parquet(str(parquet))
    for name, batch_size in zip(NAMES, (13, 50, None), strict=True):
        operator, out = operators[name]
        data.map_batches(operator, batch_format="pyarrow", batch_size=batch_size).write_parquet(str(tmp_path / name))
        written = pq.read_table(tmp_path / name)
        assert by_id(written.to_pylist()) == expected(out)
        assert written.schema.field("labels").type == pa.list_(pa.int32())


@pytest.mark.engines
def test_spark(spark, operators, parquet):
    for name, partitions in zip(NAMES, (1, 4, 7), strict=True):
        operator, out = operators[name]
        frame = spark.read.parquet(str(parquet)).repartition(partitions)
        noised = frame.mapInArrow(operator.map_in_arrow, operator.schema(frame.schema))
        assert by_id(row.asDict() for row in noised.collect()) == expected(out)
        assert dict(noised.dtypes)["labels"] == "array<int>"
