"""Operators for Arrow tables, for `datasets`, Ray, Spark, Polars, DuckDB and plain Parquet: a table in, the same kind out."""

from spanmask.data.chat_masker import ChatMasker
from spanmask.data.noise_maskers import MiddleFiller, SpanCorrupter, TokenMasker

__all__ = ["ChatMasker", "MiddleFiller", "SpanCorrupter", "TokenMasker"]
