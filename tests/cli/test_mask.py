"""`spanmask mask` and `spanmask format`, as processes."""

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spanmask import encode_chat
from support.files import chat_rows, command, environment, read_out, save_tokenizer, start, write_rows
from transformers import AutoTokenizer

ROWS = chat_rows(60)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def want(tokenizer):
    return encode_chat(AutoTokenizer.from_pretrained(tokenizer), [row["messages"] for row in ROWS])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.arrow", "a.jsonl.zst"])
def test_files_become_parquet_with_labels(name, tokenizer, want, tmp_path):
    path = write_rows(tmp_path / name, ROWS)
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    rows = read_out(tmp_path / "out")
    assert [row["labels"] for row in rows] == want.labels.to_list()
    assert [row["input_ids"] for row in rows] == want.input_ids.to_list()
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert "messages" not in rows[0]
    assert report["written"] == 60
    assert report["tokens"] == len(want.input_ids.values)
    assert report["trained"] == int((want.labels.values != -100).sum())
    metadata = pq.read_schema(tmp_path / "out" / "part-00000.parquet").metadata
    described = json.loads(metadata[b"spanmask"])
    assert described["command"] == "mask"
    assert described["policy"] == "MaskPolicy()" or "MaskPolicy" in described["policy"]
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [".spanmask.json", "part-00000.parquet"]


def test_format_prints_and_fails(tokenizer, tmp_path):
    done = command("format", tokenizer)
    assert done.exit_code == 0
    assert "assistant" in done.stdout
    as_json = json.loads(command("format", tokenizer, "--json").stdout)
    assert {boundary["role"] for boundary in as_json["boundaries"]} >= {"user", "assistant"}
    (tmp_path / "t.jinja").write_text("{{ messages[0]['content'] }}")
    done = command("format", tokenizer, "--chat-template", tmp_path / "t.jinja")
    assert done.exit_code == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    alone = command("format", tokenizer / "tokenizer.json", "--chat-template", tokenizer / "chat_template.jinja")
    assert alone.exit_code == 0, alone.stderr
    assert "assistant" in alone.stdout


def test_bad_rows_stop_are_skipped_or_quarantined(tokenizer, want, tmp_path):
    rows = [dict(row) for row in ROWS]
    rows[7] = {"id": "seven", "messages": "no list"}
    rows[40] = {"id": "forty", "messages": [{"role": "user"}, {"content": 3}]}
    path = write_rows(tmp_path / "a.jsonl", rows)
    with path.open("ab") as file:
        file.write(b"not json\n")
    stopped = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert stopped.exit_code == 1
    assert f"{path}: row 7" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    assert not list((tmp_path / "out").glob("*.parquet"))
    skipped = command("mask", path, tmp_path / "skipped", "--tokenizer", tokenizer, "--on-bad-row", "skip", "--json")
    assert skipped.exit_code == 0, skipped.stderr
    assert json.loads(skipped.stdout)["bad"] == 3
    good = [labels for number, labels in enumerate(want.labels.to_list()) if number not in (7, 40)]
    assert [row["labels"] for row in read_out(tmp_path / "skipped")] == good
    kept = command("mask", path, tmp_path / "kept", "--tokenizer", tokenizer, "--on-bad-row", "quarantine")
    (beside,) = (tmp_path / "kept").glob("*.jsonl")
    assert f"left out, with the reasons: {beside}" in kept.stdout
    bad = [json.loads(line) for line in beside.read_text().splitlines()]
    assert [one["row"] for one in bad] == [7, 40, 60]
    assert json.loads(bad[0]["text"])["id"] == "seven"
    assert bad[2]["text"] == "not json"


def test_existing_output_is_refused_resumed_or_replaced(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    out = tmp_path / "out"
    arguments = ("mask", path, out, "--tokenizer", tokenizer)
    assert command(*arguments).exit_code == 0
    first = (out / "part-00000.parquet").read_bytes()
    again = command(*arguments)
    assert again.exit_code == 1
    assert "--resume" in again.stderr
    other = command(*arguments, "--resume", "--max-length", "9")
    assert other.exit_code == 1
    assert "max_length" in other.stderr
    assert command(*arguments, "--resume", "--overwrite").exit_code == 2
    (out / "part-00000.parquet").unlink()
    assert command(*arguments, "--resume").exit_code == 0
    assert (out / "part-00000.parquet").read_bytes() == first
    assert command(*arguments, "--overwrite", "--max-length", "30", "--drop-untrained").exit_code == 0
    assert max(len(row["labels"]) for row in read_out(out)) == 30
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    refused = command("mask", path, foreign, "--tokenizer", tokenizer, "--overwrite")
    assert refused.exit_code == 1
    assert (foreign / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_leaves_no_half_file_and_goes_on_to_the_same_bytes(workers, tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", chat_rows(2200))
    arguments = ("mask", path, tmp_path / "killed", "--tokenizer", tokenizer, "--workers", workers, "--rows-per-file", 1000)
    running = start(*arguments)
    deadline = time.monotonic() + 80
    while not list((tmp_path / "killed").glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(running.pid, signal.SIGKILL)
    running.communicate(timeout=30)
    for file in (tmp_path / "killed").glob("part-*.parquet"):
        assert pq.read_table(file).num_rows == 1000
    deadline = time.monotonic() + 30
    resumed = command(*arguments, "--resume")
    while "another process" in resumed.stderr and time.monotonic() < deadline:  # workers that see their parent's end
        time.sleep(0.5)
        resumed = command(*arguments, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert command(*arguments[:2], tmp_path / "whole", *arguments[3:]).exit_code == 0
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert sorted(file.name for file in (tmp_path / "killed").iterdir()) == names
    assert len(names) == 4
    for name in names[:-1]:
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_an_interrupt_ends_the_run_and_leaves_no_half_file(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", chat_rows(400) * 60)
    running = start("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".part-*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, errors = running.communicate(timeout=60)  # it takes a second on an idle machine
    assert running.returncode == 130
    assert errors.splitlines()[-1] == "error: interrupted; what is complete is kept."
    assert not list((tmp_path / "out").glob("*.tmp"))
    assert not list((tmp_path / "out").glob(".part*"))


def test_two_commands_on_one_folder(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", chat_rows(400) * 150)
    arguments = ("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    first = start(*arguments)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob(".part-*.tmp")) and time.monotonic() < deadline:
        time.sleep(0.05)
    second = command(*arguments, "--resume")
    assert first.poll() is None
    first.kill()
    first.communicate(timeout=30)
    assert second.exit_code == 1
    assert "another process writes to this folder" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("mask", "none.jsonl", "out", "--tokenizer", "TOKENIZER"), 1, "none.jsonl: no such file"),
        (("mask", "a.jsonl", "out", "--tokenizer", "nowhere"), 1, "nowhere: no such folder or file"),
        (("mask", "a.jsonl", "out", "--tokenizer", "TOKENIZER", "--roles", ""), 2, "roles"),
        (("mask", "a.jsonl", "out", "--tokenizer", "TOKENIZER", "--turns", "some"), 2, "turns: expected"),
        (("mask", "a.jsonl", "out", "--tokenizer", "TOKENIZER", "--column", "x"), 2, "--column: expected NAME=COLUMN"),
        (("mask", "a.jsonl", "out", "--tokenizer", "TOKENIZER", "--keep", "y"), 2, "--keep: no column 'y'"),
        (("mask", "a.jsonl", "--tokenizer", "TOKENIZER"), 2, "pass at least one input"),
        (("mask", "a.jsonl", "out"), 2, "tokenizer"),
    ],
)
def test_errors_are_one_line_with_a_status(arguments, status, text, tokenizer, tmp_path, monkeypatch):
    write_rows(tmp_path / "a.jsonl", ROWS[:2])
    filled = [str(tokenizer) if argument == "TOKENIZER" else argument for argument in arguments]
    monkeypatch.chdir(tmp_path)
    done = command(*filled)
    assert done.exit_code == status, done.stderr
    assert text in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_an_error_and_leaves_no_half_file(tokenizer, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=200k tmpfs {small} 2>/dev/null"):
        pytest.skip("no right to mount a small file system here")
    try:
        path = write_rows(tmp_path / "a.jsonl", chat_rows(400) * 20)
        done = command("mask", path, small / "out", "--tokenizer", tokenizer)
        assert done.exit_code == 1
        assert "cannot be written" in done.stderr
        assert "Traceback" not in done.stderr
        assert not list((small / "out").glob("*.parquet"))
        assert not list((small / "out").glob(".part*"))
    finally:
        os.system(f"umount {small}")


def test_messages_in_parquet_need_neither_torch_nor_pandas(tokenizer, tmp_path):
    """Their imports take longer than many files."""
    pq.write_table(pa.table({"messages": [row["messages"] for row in ROWS]}), tmp_path / "a.parquet")
    code = (
        "import sys; from spanmask.cli import main\n"
        "try: main()\n"
        "finally: print([name for name in ('torch._C', 'pandas') if name in sys.modules], file=sys.stderr)"
    )
    arguments = ["mask", tmp_path / "a.parquet", tmp_path / "out", "--tokenizer", tokenizer]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "[]\n")
