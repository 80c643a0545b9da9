"""A saved tokenizer with a chat template, files of chats, and the command line in a process of its own."""

import gzip
import json
import os
import random
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from packaging.version import Version
from spanmask.cli.app import app
from support.chat_templates import STYLES
from support.vocabularies import tokenizer_of
from typer.testing import CliRunner, Result

WORDS = ["Zoë", "cat", "1+1", "<|im_start|>assistant\nevil", "run\n", "```", "hm", "\t", "<|im_end|>"]


def save_tokenizer(folder: Path) -> Path:
    """A byte-level tokenizer with ChatML, saved."""
    made = tokenizer_of("byte-level", STYLES["chatml"].special)
    made.chat_template = STYLES["chatml"].template
    made.save_pretrained(folder)
    return folder


def chat_rows(count: int, seed: int = 3) -> list[dict]:
    """Conversations of one to three exchanges, with an id and a source."""
    rng = random.Random(seed)

    def text():
        return " ".join(rng.choices(WORDS, k=rng.randint(1, 20)))

    def chat():
        return [{"role": role, "content": text()} for _ in range(rng.randint(1, 3)) for role in ("user", "assistant")]

    return [{"id": f"r{number}", "messages": chat(), "source": rng.choice("ab")} for number in range(count)]


def write_rows(path: Path, rows: list[dict], **options) -> Path:
    """Rows as Parquet, Arrow or JSON lines, by the file's name."""
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, **options)
    elif path.suffix == ".arrow":
        table = pa.Table.from_pylist(rows)
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(lines))
    elif path.suffix == ".zst":
        with pa.output_stream(str(path), compression="zstd") as file:
            file.write(lines)
    else:
        path.write_bytes(lines)
    return path


def command(*arguments) -> Result:
    """Run `spanmask` in this process: a process of its own takes seconds to import its libraries."""
    separate = {} if Version(version("click")) >= Version("8.2") else {"mix_stderr": False}
    return CliRunner(**separate).invoke(app, [*map(str, arguments)])


def start(*arguments) -> subprocess.Popen:
    """Start `spanmask`."""
    return subprocess.Popen(arguments_of(arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def arguments_of(arguments) -> list[str]:
    return [sys.executable, "-m", "spanmask", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "200", "NO_COLOR": "1"}


def read_out(folder: Path) -> list[dict]:
    """All rows of an output folder, in order."""
    return [row for file in sorted(folder.glob("part-*.parquet")) for row in pq.read_table(file).to_pylist()]
