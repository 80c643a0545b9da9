"""The same rows have the same labels in every engine, for any partitioning. Ray and Spark: make test-engines."""

import os
import signal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spanmask.arrow import ChatMasker
from support.chat_templates import STYLES
from support.files import chat_rows
from support.vocabularies import tokenizer_of

ROWS = chat_rows(120)
# Ray and Spark warn about their own code and that of others.
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def masker():
    tokenizer = tokenizer_of("byte-level", STYLES["chatml"].special)
    tokenizer.chat_template = STYLES["chatml"].template
    return ChatMasker(tokenizer, max_length=200, keep_columns=["id"])


@pytest.fixture(scope="module")
def want(masker):
    return by_id(masker(pa.Table.from_pylist(ROWS)).to_pylist())


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    for number in range(4):
        pq.write_table(pa.Table.from_pylist(ROWS[number * 30 : number * 30 + 30]), folder / f"{number}.parquet", row_group_size=7)
    return folder


def by_id(rows):
    return {row["id"]: (list(row["input_ids"]), list(row["labels"])) for row in rows}


def test_polars(masker, want, parquet):
    import polars

    frame = polars.read_parquet(parquet / "*.parquet")
    parts = [polars.from_arrow(masker(part.to_arrow())) for part in frame.iter_slices(17)]
    assert by_id(polars.concat(parts).to_dicts()) == want


def test_duckdb(masker, want, parquet):
    import duckdb

    reader = duckdb.sql(f"select * from '{parquet}/*.parquet' order by id").to_arrow_reader(13)
    masked = pa.Table.from_batches(masker.map_in_arrow(reader))  # noqa: F841  # DuckDB finds it by its name
    rows = duckdb.sql("select * from masked").fetchall()
    assert {row[0]: row[1:] for row in rows} == want


def test_a_loader_over_parquet(masker, want, parquet):
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Rows(IterableDataset):
        """Row groups of Parquet files, shared out among the workers."""

        def __iter__(self):
            info = get_worker_info()
            number, count = (info.id, info.num_workers) if info else (0, 1)
            for path in sorted(parquet.glob("*.parquet"))[number::count]:
                for batch in pq.ParquetFile(path).iter_batches(11):
                    yield from masker(batch).to_pylist()

    for workers in (0, 2):
        loader = DataLoader(Rows(), batch_size=None, num_workers=workers)
        assert by_id(loader) == want


@pytest.mark.engines
def test_ray_as_task_and_as_actor(ray, masker, want, parquet, tmp_path):
    data = ray.data.read_parquet(str(parquet))
    assert by_id(data.map_batches(masker, batch_format="pyarrow", batch_size=19).take_all()) == want

    class Masker:
        def __call__(self, table):
            return masker(table)

    actors = data.map_batches(Masker, batch_format="pyarrow", batch_size=8, compute=ray.data.ActorPoolStrategy(size=1))
    actors.write_parquet(str(tmp_path / "out"))
    written = pq.read_table(tmp_path / "out")
    assert by_id(written.to_pylist()) == want
    assert written.schema.field("labels").type == pa.list_(pa.int32())


@pytest.mark.engines
def test_a_killed_ray_worker_is_retried(ray, masker, want, parquet, tmp_path):
    marker = tmp_path / "killed"

    def mask(table):
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return masker(table)

    data = ray.data.read_parquet(str(parquet))
    assert by_id(data.map_batches(mask, batch_format="pyarrow", batch_size=19).take_all()) == want
    assert marker.exists()


@pytest.mark.engines
def test_spark(spark, masker, want, parquet):
    frame = spark.read.parquet(str(parquet)).repartition(3)
    masked = frame.mapInArrow(masker.map_in_arrow, masker.schema(frame.schema))
    assert by_id(row.asDict() for row in masked.collect()) == want
    assert dict(masked.dtypes)["labels"] == "array<int>"
