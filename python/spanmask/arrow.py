"""Operators for Arrow tables, for `datasets`, Ray, Spark, Polars, DuckDB and plain Parquet: a table in, the same kind out."""

from spanmask.data.chat_masker import ChatMasker

__all__ = ["ChatMasker"]
