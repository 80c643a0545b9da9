"""Files of rows are read in parts and pieces; the rows are the same whatever the parts."""

import os
from multiprocessing import get_context

import pytest
from spanmask import DataError, SpanmaskWarning
from spanmask.data import files
from spanmask.data.files import MANIFEST, expand, parts_of_files, read_part, warn_of_rows_not_read
from spanmask.ragged import is_arrow
from support.files import chat_rows, write_rows

ROWS = chat_rows(53)
NAMES = ["a.parquet", "a.arrow", "a.jsonl", "a.ndjson", "a.json", "a.jsonl.gz", "a.jsonl.zst"]


def rows_of(parts):
    """The rows of pieces, and their numbers."""
    rows, numbers = [], []
    for part in parts:
        for piece in read_part(part):
            lists = {name: column.to_pylist() if is_arrow(column) else column for name, column in piece.columns.items()}
            rows += [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]
            numbers += list(piece.numbers)
            assert not piece.bad
    return rows, numbers


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("part_rows", [1, 10, 53, 1000])
@pytest.mark.parametrize("piece_rows", [1, 4, 1024])
def test_all_rows_are_read_once_in_order(name, part_rows, piece_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE_ROWS", piece_rows)
    path = write_rows(tmp_path / name, ROWS, **({"row_group_size": 8} if name.endswith("parquet") else {}))
    parts = parts_of_files([path], part_rows)
    assert [part.rows for part in parts] == [part_rows] * (53 // part_rows) + ([53 % part_rows] if 53 % part_rows else [])
    rows, numbers = rows_of(parts)
    assert numbers == list(range(53))
    assert rows == ROWS


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_a_compressed_file_is_read_once_for_all_of_its_parts(ending, tmp_path, monkeypatch):
    path, other = (write_rows(tmp_path / f"{name}.jsonl.{ending}", chat_rows(90, seed)) for name, seed in (("a", 1), ("b", 2)))
    parts, others = parts_of_files([path], 4), parts_of_files([other], 4)
    opened = []
    open_lines = files.open_lines
    monkeypatch.setattr(files, "open_lines", lambda path: opened.append(path.name) or open_lines(path))
    rows, numbers = rows_of(parts)
    assert (rows, numbers, len(opened)) == (chat_rows(90, 1), list(range(90)), 1)
    # In any order, in turns, and where readers end early.
    assert rows_of(parts[::-1])[1] == [number for part in parts[::-1] for number in range(part.first, part.stop)]
    for part, second in zip(parts, others, strict=True):
        next(read_part(part))
        assert rows_of([part])[0] == chat_rows(90, 1)[part.first : part.stop]
        assert rows_of([second])[0] == chat_rows(90, 2)[part.first : part.stop]
    two = [list(read_part(part)) for part in (parts[5], parts[5])]
    assert two[0] == two[1]
    rows_of(parts[:3])
    write_rows(path, chat_rows(90, 7))  # another file of the same name
    assert rows_of(parts[3:])[0] == chat_rows(90, 7)[12:]


def test_a_forked_process_opens_a_compressed_file_itself(tmp_path):
    parts = parts_of_files([write_rows(tmp_path / "a.jsonl.gz", chat_rows(3000))], 100)
    rows_of(parts[:2])
    with get_context("fork").Pool(2) as pool:
        assert [numbers for part in pool.map(numbers_of, parts[2:]) for numbers in part] == list(range(200, 3000))
    assert rows_of(parts[2:])[1] == list(range(200, 3000))


def numbers_of(part):
    return rows_of([part])[1]


def test_pieces_of_long_rows_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PIECE_BYTES", 500)
    for name in ("a.jsonl", "a.parquet", "a.arrow"):
        (part,) = parts_of_files([write_rows(tmp_path / name, ROWS)], 100)
        assert max(map(len, read_part(part))) < 20


def test_lines_of_all_kinds(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\r\n\n{"b": "\\u2028"}\n   \nnot json\n[1]\n{"a": 3}')
    (part,) = parts_of_files([path], 100)
    assert part.rows == 7
    (piece,) = read_part(part)
    assert piece.columns == {"a": [1, None, 3], "b": [None, "\u2028", None]}
    assert piece.numbers == [0, 2, 6]
    assert sorted(piece.bad) == [4, 5]
    assert piece.bad[4][1] == "not json"


def test_names_folders_and_globs(tmp_path):
    for name in ("b.jsonl", "a.parquet", "state.json", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.jsonl.gz").touch()
    assert [path.name for path in expand([str(tmp_path)])] == ["a.parquet", "b.jsonl"]
    assert [path.name for path in expand([f"{tmp_path}/**/*.gz", f"{tmp_path}/b.jsonl", f"{tmp_path}/*.jsonl"])] == [
        "c.jsonl.gz",
        "b.jsonl",
    ]
    for wrong in ("none.jsonl", "notes.txt", "*.csv"):
        with pytest.raises(DataError, match=r"no such file|expected a file with one of the endings"):
            expand([f"{tmp_path}/{wrong}"])


def test_rows_that_a_folder_or_a_glob_does_not_stand_for_are_named(tmp_path):
    week = tmp_path / "week"
    (week / "mon" / "am").mkdir(parents=True)
    write_rows(week / "day.jsonl", ROWS)
    write_rows(week / "mon" / "am" / "late.parquet", ROWS)
    (week / "tue.ndjson.bz2").touch()
    found = expand([str(week)])
    assert found == [week / "day.jsonl"]
    with pytest.warns(SpanmaskWarning) as seen:
        warn_of_rows_not_read([str(week)], found)
    assert [str(one.message).partition(" is not read")[0] for one in seen] == [
        f"{week}: {week}/mon/am/late.parquet",
        f"{week}: {week}/tue.ndjson.bz2",
    ]
    glob = f"{week}/[a-m]*"
    with pytest.warns(SpanmaskWarning, match=r"late\.parquet is not read, .* name .*mon/am too"):
        warn_of_rows_not_read([glob], found)
    with pytest.raises(DataError, match=r"mon: no such file.*There is .*late\.parquet"):
        expand([str(week / "mon")])
    # What is read anyway, is hidden, or was written by a command, is not named.
    (week / "tue.ndjson.bz2").unlink()
    (week / "mon" / MANIFEST).touch()
    (week / ".cache").mkdir()
    (week / ".cache" / "x.jsonl").touch()
    (week / "pictures").mkdir()
    (week / "pictures" / "1.png").touch()
    warn_of_rows_not_read([str(week), glob, str(found[0])], found)


def test_hidden_files_links_to_nothing_and_pipes(tmp_path):
    write_rows(tmp_path / "a.jsonl", ROWS)
    (tmp_path / "._a.jsonl").write_bytes(b"\0\5\26\7")  # macOS writes such a file beside each on other disks
    assert [path.name for path in expand([str(tmp_path)])] == ["a.jsonl"]
    os.mkfifo(tmp_path / "p.jsonl")
    assert [path.name for path in expand([str(tmp_path)])] == ["a.jsonl"]
    with pytest.raises(DataError, match=r"p\.jsonl: is a pipe or a device"):
        expand([str(tmp_path / "p.jsonl")])
    (tmp_path / "gone.parquet").symlink_to(tmp_path / "moved.parquet")  # its rows are not passed over
    for name in (tmp_path, tmp_path / "*.*"):
        with pytest.raises(DataError, match=r"gone\.parquet: cannot be read"):
            parts_of_files(expand([str(name)]), 10)


def test_files_that_cannot_be_read_are_named(tmp_path):
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 nothing")
    with pytest.raises(DataError, match=r"broken\.parquet: cannot be read"):
        parts_of_files([broken], 100)
    array = tmp_path / "array.json"
    array.write_text('[{"a": 1}]')
    with pytest.raises(DataError, match="one JSON array"):
        parts_of_files([array], 100)
    cut = write_rows(tmp_path / "cut.jsonl.gz", ROWS)
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"cut\.jsonl\.gz: cannot be read"):
        parts_of_files([cut], 100)


def test_an_unreadable_row_group_is_named(tmp_path):
    path = write_rows(tmp_path / "a.parquet", ROWS, row_group_size=10, compression="zstd")
    import pyarrow.parquet as pq

    column = pq.read_metadata(path).row_group(2).column(0)
    bytes_ = bytearray(path.read_bytes())
    start = column.dictionary_page_offset or column.data_page_offset
    bytes_[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(bytes_)
    (part,) = parts_of_files([path], 100)
    with pytest.raises(DataError, match=r"a\.parquet: row group 2 cannot be read"):
        list(read_part(part))
