"""Files as strangers have them: rows whose columns differ, files that differ, and output beside input."""

import fcntl
import gzip
import json
import os
import subprocess
import sys
import warnings

import datasets
import filelock
import pandas
import polars
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from spanmask import DataError, SpanmaskWarning
from spanmask.cli.jobs import Totals, kind_of_warning
from spanmask.cli.messages import Progress
from spanmask.data.files import Part, Piece, read_part
from spanmask.data.operator import joined
from spanmask.data.output import HOST, Folder, replaced
from spanmask.data.write import warnings_of
from support.files import chat_rows, command, read_out, save_tokenizer, write_rows

ROWS = chat_rows(8)
CHAT = ROWS[0]["messages"]
SHORT = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
QUESTION = {"messages": [{"role": "user", "content": "a"}]}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.mark.parametrize(
    ("first", "then", "text"),
    [
        (7, "x", "extra: an entry is string, not int64"),
        (7, 1.5, "extra: an entry is double, not int64"),
        (7, 2**70, "extra: an entry is not int64"),
        (7, True, "extra: an entry is bool, not int64"),
        (1.5, 2**60 + 1, "extra: an entry is not double"),
        ("x", 7, "extra: an entry is int64, not string"),
        ("x", "\ud800", "extra: an entry is not string"),
        ({"a": 1}, {"a": 1, "b": 2}, "extra: an entry is struct<a: int64, b: int64>, not struct<a: int64>"),
        ([{"a": 1}], [{"b": 1}], "not list<item: struct<a: int64>>"),
        ([1], [1.5], "extra: an entry is list<item: double>, not list<item: int64>"),
        (None, 7, "extra: has a value, but the output has no such column"),
    ],
)
def test_a_column_that_changes_after_the_first_rows_is_never_cut_or_dropped(first, then, text, tokenizer, tmp_path):
    rows = [{**SHORT, "n": number, "extra": first if number < 1100 else then} for number in range(1110)]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stopped = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert stopped.exit_code == 1
    assert f"{path}: row 1100: " in stopped.stderr
    assert text in stopped.stderr
    assert "--on-bad-row skip" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
    skipped = command("mask", path, tmp_path / "skipped", "--tokenizer", tokenizer, "--on-bad-row", "skip", "--json")
    assert json.loads(skipped.stdout)["bad"] == 10
    assert [row["n"] for row in read_out(tmp_path / "skipped")] == list(range(1100))
    kept = command("mask", path, tmp_path / "kept", "--tokenizer", tokenizer, "--keep", "n")
    assert kept.exit_code == 0, kept.stderr
    assert [row["n"] for row in read_out(tmp_path / "kept")] == list(range(1110))


def test_json_files_of_other_shapes_are_one_data_set_with_the_columns_in_order(tokenizer, tmp_path):
    named = [{**message, "name": "n"} for message in CHAT]
    a = write_rows(tmp_path / "a.jsonl", [{"messages": CHAT, "score": 1, "meta": {"a": 1}, "later": None}])
    b = write_rows(tmp_path / "b.jsonl", [{"new": "z", "messages": named, "score": 1.5, "meta": {"b": [2]}, "later": 3}])
    done = command("mask", a, b, tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 0, done.stderr
    first, second = read_out(tmp_path / "out")
    assert list(first) == ["score", "meta", "later", "new", "input_ids", "labels"]
    assert (first["score"], first["meta"], first["later"], first["new"]) == (1.0, {"a": 1, "b": None}, None, None)
    assert (second["score"], second["meta"], second["later"], second["new"]) == (1.5, {"a": None, "b": [2]}, 3, "z")


def test_types_that_do_not_agree_name_both_files_and_the_remedy_works(tokenizer, tmp_path):
    a = write_rows(tmp_path / "a.jsonl", [{**SHORT, "id": "p", "score": 1}])
    b = write_rows(tmp_path / "b.jsonl", [{**SHORT, "id": "q", "score": "1"}])
    done = command("mask", a, b, tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 1
    assert f"{b}: column 'score' is string, but int64 in {a}" in done.stderr
    assert command("mask", a, b, tmp_path / "out", "--tokenizer", tokenizer, "--keep", "id").exit_code == 0
    assert [row["id"] for row in read_out(tmp_path / "out")] == ["p", "q"]


def test_joined_types_hold_both():
    i, f, s = pa.int64(), pa.float64(), pa.string()
    assert joined(i, f) == joined(f, i) == f
    assert joined(pa.list_(pa.null()), pa.list_(i)) == pa.list_(i)
    assert joined(pa.null(), s) == joined(s, pa.null()) == s
    for one, other in [(i, s), (i, pa.bool_()), (pa.list_(i), i), (pa.struct({"a": i}), pa.struct({"a": s}))]:
        assert joined(one, other) is None


def test_arrow_columns_of_any_type_pass_unchanged_also_beside_bad_rows(tokenizer, tmp_path):
    n = 6
    chats = [row["messages"] for row in ROWS[:n]]
    chats[4] = None
    others = {
        "map": pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
        "dictionary": pa.array(["x", "y"] * 3).dictionary_encode(),
        "time": pa.array([1] * n, pa.timestamp("us", "UTC")),
        "large": pa.array(["x"] * n, pa.large_string()),
        "view": pa.array(["q"] * n, pa.string_view()),
        "binary": pa.array([b"\xff"] * n),
        "fixed": pa.array([[1, 2]] * n, pa.list_(pa.int8(), 2)),
        "struct": pa.array([{"a": None, "b": [number]} for number in range(n)]),
        "loss_weights": pa.array(["w"] * n),
        "words": pa.array(["w"] * n),
        "nothing": pa.nulls(n),
    }
    pq.write_table(pa.table({"messages": chats, **others}), tmp_path / "a.parquet")
    done = command("mask", tmp_path / "a.parquet", tmp_path / "out", "--tokenizer", tokenizer, "--on-bad-row", "quarantine")
    assert done.exit_code == 0, done.stderr
    made = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    for name in set(others) - {"nothing"}:
        assert made[name].to_pylist() == [*others[name].to_pylist()[:4], others[name].to_pylist()[5]]
        assert made[name].type == others[name].type
    (bad,) = [json.loads(line) for line in (tmp_path / "out" / ".bad-00000.jsonl").read_text().splitlines()]
    assert bad["row"] == 4
    assert json.loads(bad["text"])["struct"] == {"a": None, "b": [4]}


def test_a_null_column_of_one_parquet_file_takes_the_type_of_another(tokenizer, tmp_path):
    for name, column in (("a", pa.nulls(1)), ("b", pa.array([7], pa.int16()))):
        pq.write_table(pa.table({"messages": [CHAT], "x": column}), tmp_path / f"{name}.parquet")
    done = command("mask", tmp_path, tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 0, done.stderr
    assert [row["x"] for row in read_out(tmp_path / "out")] == [None, 7]


def test_two_columns_of_one_name_and_objects_without_keys_are_errors_of_one_line(tokenizer, tmp_path):
    two = pa.Table.from_arrays([pa.array([CHAT]), pa.array([1]), pa.array([2])], names=["messages", "a", "a"])
    pq.write_table(two, tmp_path / "a.parquet")
    done = command("mask", tmp_path / "a.parquet", tmp_path / "out", "--tokenizer", tokenizer)
    assert (done.exit_code, "has two columns 'a'" in done.stderr) == (1, True)
    path = write_rows(tmp_path / "b.jsonl", [{**SHORT, "meta": {"deep": [{}]}}])
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert (done.exit_code, "which Parquet cannot hold; name the columns to keep" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "column",
    [
        pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array([1])),
        pa.array([(1, 2, 3)] * 2, pa.month_day_nano_interval()),
        pa.array([[{}]] * 2, pa.large_list(pa.struct([]))),
        pa.array([{"a": [{}]}] * 2, pa.struct({"a": pa.list_(pa.struct([]))})),
        pa.DictionaryArray.from_arrays([0, 0], pa.array([[1]])),
        pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
    ],
    ids=lambda column: str(column.type).partition("<")[0],
)
def test_columns_that_parquet_cannot_hold_are_named_and_the_remedy_works(column, tokenizer, tmp_path):
    table = pa.table({"id": [1, 2], "messages": pa.array([CHAT, CHAT]), "odd": column})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    arguments = ("mask", tmp_path / "a.arrow", tmp_path / "out", "--tokenizer", tokenizer)
    done = command(*arguments)
    assert done.exit_code == 1
    assert "a.arrow: column 'odd' is " in done.stderr
    assert "which Parquet cannot hold; name the columns to keep with --keep" in done.stderr
    assert command(*arguments, "--keep", "id").exit_code == 0
    assert [list(row) for row in read_out(tmp_path / "out")] == [["id", "input_ids", "labels"]] * 2


def test_an_array_after_a_byte_order_mark_is_named(tokenizer, tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS).encode())
    done = command("mask", tmp_path / "a.json", tmp_path / "out", "--tokenizer", tokenizer)
    assert (done.exit_code, "a.json: holds one JSON array; expected JSON lines" in done.stderr) == (1, True)


def test_the_folder_is_a_data_set_for_readers_of_folders(tokenizer, tmp_path):
    write_rows(tmp_path / "a.jsonl", [*ROWS, {"messages": "a row that is left out"}])
    arguments = ("mask", tmp_path / "a.jsonl", tmp_path / "out", "--tokenizer", tokenizer, "--on-bad-row", "quarantine")
    assert command(*arguments).exit_code == 0
    assert (tmp_path / "out" / ".bad-00000.jsonl").exists()
    assert pq.read_table(tmp_path / "out").num_rows == len(ROWS)
    data = datasets.load_dataset("parquet", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert data["train"]["id"][:] == [row["id"] for row in ROWS]
    assert len(datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]) == len(ROWS)
    assert len(pandas.read_parquet(tmp_path / "out")) == len(ROWS)
    # Polars passes over no file of a folder: a pattern names those that it reads.
    assert len(polars.read_parquet(tmp_path / "out" / "*.parquet")) == len(ROWS)


def test_rows_in_folders_of_a_folder_are_a_warning_of_one_line(tokenizer, tmp_path):
    (tmp_path / "in" / "more").mkdir(parents=True)
    write_rows(tmp_path / "in" / "a.jsonl", ROWS)
    more = write_rows(tmp_path / "in" / "more" / "b.parquet", ROWS)
    options = ("--tokenizer", tokenizer)
    for arguments in (("mask", tmp_path / "in", tmp_path / "out"), ("audit", tmp_path / "in"), ("preview", tmp_path / "in")):
        done = command(*arguments, *options)
        assert done.exit_code == 0, done.stderr
        (line,) = [line for line in done.stderr.splitlines() if "more" in line]
        assert line.startswith(f"warning: {tmp_path}/in: {more} is not read")
    both = command("mask", tmp_path / "in", tmp_path / "in" / "more", tmp_path / "both", *options)
    assert "warning" not in both.stderr
    assert [row["id"] for row in read_out(tmp_path / "both")] == [row["id"] for row in ROWS] * 2


def test_json_that_is_nested_too_deep_is_a_bad_row(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [SHORT])
    with path.open("a") as file:
        file.write("[" * 100_000 + "]" * 100_000 + "\n")
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer, "--on-bad-row", "skip", "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["bad"] == 1


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_rows_longer_than_a_block_and_a_last_line_without_end(name, tokenizer, tmp_path):
    rows = [{**SHORT, "n": number, "filler": "x" * length} for number, length in enumerate((5, 3 << 20, 0, (1 << 20) - 100, 9))]
    path = write_rows(tmp_path / name, rows)
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer, "--rows-per-file", 2)
    assert done.exit_code == 0, done.stderr
    assert [(row["n"], len(row["filler"])) for row in read_out(tmp_path / "out")] == [
        (row["n"], len(row["filler"])) for row in rows
    ]


def test_a_folder_is_locked_by_one_process_at_a_time(tmp_path, monkeypatch):
    """A process opens the file of the lock just before the one that has it ends and removes the file; a third makes it anew."""
    file = tmp_path / "out" / ".lock"
    made_anew = []

    class Late(filelock.FileLock):
        def acquire(self, *arguments, **options):
            acquired = super().acquire(*arguments, **options)
            if not made_anew:
                file.unlink()
                made_anew.append(os.open(file, os.O_RDWR | os.O_CREAT))
                fcntl.flock(made_anew[0], fcntl.LOCK_EX)
            return acquired

    monkeypatch.setattr(filelock, "FileLock", Late)
    with pytest.raises(DataError, match="another process writes to this folder"), Folder(file.parent, {}).open():
        pytest.fail("two processes have the folder")
    assert file.exists()
    os.close(made_anew[0])
    with Folder(file.parent, {}).open():
        assert file.exists()
    assert not file.exists()


def test_input_that_is_gone_is_named_and_not_the_output(tmp_path):
    part = Part(tmp_path / "gone.jsonl", 0, 1)
    with pytest.raises(DataError, match=r"gone\.jsonl: cannot be read"):
        list(read_part(part))


def test_windows_lines_and_separators_of_unicode_inside_texts(tokenizer, tmp_path):
    rows = [{**SHORT, "t": "a\u2028b\x85c"}, {**SHORT, "t": "\u2029"}]
    lines = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "a b é.jsonl").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    done = command("mask", tmp_path / "a b é.jsonl", tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 0, done.stderr
    assert [row["t"] for row in read_out(tmp_path / "out")] == ["a\u2028b\x85c", "\u2029"]


def test_input_in_the_output_folder_is_never_removed(tokenizer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    write_rows(tmp_path / "in" / "a.jsonl", ROWS)
    assert command("mask", "in", "in/out", "--tokenizer", tokenizer).exit_code == 0
    part = tmp_path / "in" / "out" / "part-00000.parquet"
    before = part.read_bytes()
    (tmp_path / "link").symlink_to("in/out")
    for inputs in ("in/out", "in/**/*.parquet", "link", str(part)):
        done = command("mask", inputs, "in/out", "--tokenizer", tokenizer, "--overwrite")
        assert done.exit_code == 1
        assert "is in the folder to write to" in done.stderr
        assert part.read_bytes() == before
    mine = tmp_path / "in" / "out" / "mine.parquet"
    mine.write_bytes(b"mine")
    # A pattern that also matches the output folder finds files only.
    assert command("mask", "in/*", "in/out", "--tokenizer", tokenizer, "--overwrite").exit_code == 0
    assert mine.read_bytes() == b"mine"


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\r\n\t", b"\xef\xbb\xbf\n", b"\n" * (1 << 20) + b"\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_files_of_blank_lines_have_no_rows(content, name, tokenizer, tmp_path):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    for arguments in (("mask", path, tmp_path / "out"), ("audit", path), ("preview", path), ("corrupt", path, tmp_path / "out")):
        done = command(*arguments, "--tokenizer", tokenizer)
        assert (done.exit_code, done.stderr) == (1, f"error: {path}: no rows.\n"), arguments
    assert not (tmp_path / "out").exists()
    rows = write_rows(tmp_path / "rows.jsonl", ROWS)
    assert command("mask", path, rows, tmp_path / "out", "--tokenizer", tokenizer).exit_code == 0
    assert len(read_out(tmp_path / "out")) == len(ROWS)


def test_changed_input_is_not_resumed_and_a_broken_manifest_is_named(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    arguments = ("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert command(*arguments).exit_code == 0
    path.write_bytes(path.read_bytes().replace(b"cat", b"dog"))
    done = command(*arguments, "--resume")
    assert done.exit_code == 1
    assert "other values of inputs" in done.stderr
    (tmp_path / "out" / ".spanmask.json").write_text('{"command": ')
    done = command(*arguments, "--resume")
    assert done.exit_code == 1
    assert "spanmask.json: is not a manifest" in done.stderr
    assert command(*arguments, "--overwrite").exit_code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_input_that_changes_while_it_is_read_is_an_error(workers, tokenizer, tmp_path, monkeypatch):
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    added = Progress.add

    def cut(progress, rows, tokens):
        added(progress, rows, tokens)
        if path.stat().st_size:
            path.write_bytes(b"\n" * path.read_bytes().count(b"\n"))  # as many lines, no row

    monkeypatch.setattr(Progress, "add", cut)
    arguments = ("mask", path, tmp_path / "out", "--tokenizer", tokenizer, "--workers", workers)
    done = command(*arguments, "--rows-per-file", 3)
    assert done.exit_code == 1
    assert "a.jsonl: has changed while it was read" in done.stderr
    monkeypatch.undo()
    write_rows(path, ROWS)
    assert "other values of inputs" in command(*arguments, "--rows-per-file", 3, "--resume").stderr
    assert command(*arguments, "--overwrite").exit_code == 0
    assert [row["id"] for row in read_out(tmp_path / "out")] == [row["id"] for row in ROWS]


def test_rows_that_train_nothing_are_counted_once_also_when_a_piece_is_halved(tokenizer, tmp_path):
    rows = [{"messages": 3} if number == 11 else QUESTION if number % 5 == 0 else SHORT for number in range(40)]
    path = write_rows(tmp_path / "a.jsonl", rows)
    arguments = ("--tokenizer", tokenizer, "--on-bad-row", "skip", "--rows-per-file", 15)
    done = command("mask", path, tmp_path / "out", *arguments)
    assert done.exit_code == 0
    assert done.stderr == ""
    assert "train nothing: 8 of the rows written" in done.stdout
    as_json = command("mask", path, tmp_path / "mask", *arguments, "--output", "loss_mask", "--json")
    assert json.loads(as_json.stdout)["untrained"] == 8


def test_warnings_name_the_row_of_the_file_and_each_kind_is_printed_once(tmp_path):
    part, warned = Part(tmp_path / "a.jsonl", 0, 99), []
    with warnings_of(part, Piece({}, [40, 43], {}), warned):
        warnings.warn("policy: row 1 has a region (in the batch: 2). Text: 'a'", SpanmaskWarning, stacklevel=1)
    assert warned == [f"{part.path}: policy: row 43 has a region (in the batch: 2). Text: 'a'"]
    other = f"{tmp_path / 'b 1.jsonl'}: policy: row 7 has a region (in the batch: 9). Text: 'b'"
    assert kind_of_warning(other) == kind_of_warning(warned[0])
    assert kind_of_warning(other) != kind_of_warning("policy: row 7 has another fault.")


def test_totals_and_progress_of_a_resumed_run(capsys, monkeypatch):
    assert str(Totals("out", files=1)).startswith("out: 1 file\n")
    assert str(Totals("out", files=2, known=3)).startswith(
        "out: 2 files beside 3 of an earlier run, whose rows are not counted\n"
    )
    with Progress(100, "mask", 60) as progress:
        monkeypatch.setattr(progress, "_said", progress._said - 11)
        monkeypatch.setattr(progress, "_start", progress._start - 10)
        progress.add(20, 5)
    said = capsys.readouterr().err
    assert said.startswith("mask: 80 of 100 rows, 2 rows/s")
    assert "10 s left" in said


def test_labels_that_are_no_labels_of_tokens_are_left_out_if_asked(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{**SHORT, "labels": "positive"}, {**SHORT, "labels": "negative"}])
    arguments = ("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    done = command(*arguments)
    assert done.exit_code == 1
    assert "column 'labels' is string" in done.stderr
    assert "--drop labels" in done.stderr
    assert command(*arguments, "--drop", "labels").exit_code == 0
    assert all(any(label >= 0 for label in row["labels"]) for row in read_out(tmp_path / "out"))
    report = json.loads(command("audit", path, "--tokenizer", tokenizer, "--drop", "labels", "--json", "-").stdout)
    assert (report["row_count"], report["findings"]["bad"]["count"]) == (2, 0)
    path = write_rows(tmp_path / "b.jsonl", [{**SHORT, "labels": [3, 4]}])
    done = command("mask", path, tmp_path / "lists", "--tokenizer", tokenizer)
    assert (done.exit_code, "--drop labels" in done.stderr) == (1, True)


def test_a_key_that_occurs_twice_is_a_bad_row(tokenizer, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [SHORT])
    with path.open("a") as file:
        file.write('{"id": 1, "messages": [{"role": "user", "content": "a", "content": "b"}]}\n')
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 1
    assert f"{path}: row 1: " in done.stderr
    assert "the key 'content' twice" in done.stderr


def test_what_a_killed_process_left_beside_a_file_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = [
        f".a.html.{HOST}-{ended.pid}.tmp",
        f".a.html.{HOST}-{os.getppid()}.tmp",
        f".a.html.elsewhere-{ended.pid}.tmp",
        ".b.tmp",
    ]
    for name in names:
        (tmp_path / name).write_text("half")
    with replaced(tmp_path / "a.html") as file:
        file.write_text("whole")
    assert sorted(one.name for one in tmp_path.iterdir()) == sorted(["a.html", *names[1:]])


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("transformers", "a tokenizer needs transformers"),
        ("pyarrow", "needs pyarrow"),
        ("jinja2", "a chat template needs jinja2; install it with: pip install 'spanmask[cli]'"),
    ],
)
def test_a_missing_extra_is_named(module, text, tokenizer, tmp_path, monkeypatch):
    path = write_rows(tmp_path / "a.jsonl", ROWS)
    monkeypatch.setitem(sys.modules, module, None)
    done = command("mask", path, tmp_path / "out", "--tokenizer", tokenizer)
    assert done.exit_code == 2
    assert text in done.stderr
    assert "pip install" in done.stderr
