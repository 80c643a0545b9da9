"""`spanmask audit` and `spanmask preview`."""

import json
import re

import pytest
from spanmask import encode_chat
from support.files import chat_rows, command, save_tokenizer, start, write_rows
from transformers import AutoTokenizer

ROWS = chat_rows(30)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return save_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def chats(tmp_path):
    rows = [dict(row) for row in ROWS]
    rows[7] = {"id": "7", "messages": [{"role": "user", "content": "nobody answers"}]}
    rows[9] = rows[8]
    return write_rows(tmp_path / "chats.jsonl", rows)


def test_the_report_is_printed_and_written(tokenizer, chats, tmp_path):
    done = command(
        "audit", chats, "--tokenizer", tokenizer, "--html", tmp_path / "r.html", "--json", tmp_path / "r.json", "--max-length", 80
    )
    assert done.exit_code == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["row_count"] == 30
    assert report["findings"]["untrained"]["rows"] == [7]
    assert report["findings"]["duplicates"]["rows"] == [9]
    assert "untrained" in done.stdout
    assert f"{chats}: row 7" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["chats.jsonl", "r.html", "r.json"]
    printed = command("audit", chats, "--tokenizer", tokenizer, "--json", "-", "--max-length", 80)
    assert json.loads(printed.stdout) == report


@pytest.mark.parametrize(
    ("limits", "status"),
    [
        (["untrained=0"], 1),
        (["untrained=1"], 0),
        (["untrained=3%"], 1),
        (["untrained=3.4%"], 0),
        (["untrained=10%", "duplicates=0"], 1),
        (["bad=0"], 0),
        (["untrained"], 2),
        (["untrained=-1"], 2),
        (["untrained=nan"], 2),
        (["nothing=3"], 2),
        (["truncated=3"], 2),
    ],
)
def test_fail_on(tokenizer, chats, limits, status):
    options = [part for limit in limits for part in ("--fail-on", limit)]
    done = command("audit", chats, "--tokenizer", tokenizer, *options)
    assert done.exit_code == status, done.stderr
    assert done.stderr.count("\n") == (status > 0)
    assert (done.stdout == "") == (status == 2)


def test_the_output_of_mask_says_who_made_it_and_is_looked_at(tokenizer, chats, tmp_path):
    plain = [
        {"messages": [{**message, "content": re.sub(r"<.*?>", "", message["content"])} for message in row["messages"]]}
        for row in ROWS
    ]
    chats = write_rows(tmp_path / "plain.jsonl", plain)
    assert command("mask", chats, tmp_path / "out", "--tokenizer", tokenizer, "--train-on-eos", "none").exit_code == 0
    done = command("audit", tmp_path / "out", "--tokenizer", tokenizer, "--json", "-", "--compare", chats)
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    answers = [
        message for row in plain for message in row["messages"] if message["role"] == "assistant" and message["content"].strip()
    ]
    assert "train_on_eos='none'" in report["made_by"]["policy"]
    assert report["policy"] is None
    assert report["findings"]["stop-untrained"]["count"] == 30
    assert report["comparison"]["only_first"] == 0
    assert report["comparison"]["only_second"] >= len(answers)
    assert report["comparison"]["different"] == 30
    assert "warning" not in done.stderr
    (tmp_path / "t.jinja").write_text((tokenizer / "chat_template.jinja").read_text() + " ")
    done = command("audit", tmp_path / "out", "--tokenizer", tokenizer, "--chat-template", tmp_path / "t.jinja")
    assert done.exit_code == 0
    assert "warning: The data were made with another tokenizer or chat template" in done.stderr


def test_only_the_output_of_a_folder_of_mask_is_read(tokenizer, chats, tmp_path):
    with chats.open("ab") as file:
        file.write(b"not json\n")
    made = command(
        "mask", chats, tmp_path / "out", "--tokenizer", tokenizer, "--on-bad-row", "quarantine", "--output", "loss_mask"
    )
    assert made.exit_code == 0, made.stderr
    assert (tmp_path / "out" / ".bad-00000.jsonl").exists()
    report = json.loads(command("audit", tmp_path / "out", "--tokenizer", tokenizer, "--json", "-", "--compare", chats).stdout)
    assert (report["row_count"], report["findings"]["bad"]["count"]) == (30, 0)
    assert report["comparison"]["rows"] == 30
    assert report["comparison"]["different"] == 0


def test_a_closed_pipe_is_no_error(tokenizer, chats):
    with start("preview", chats, "--tokenizer", tokenizer) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_errors_are_one_line(tokenizer, chats, tmp_path):
    for arguments, status in (
        (("audit", tmp_path / "no.jsonl", "--tokenizer", tokenizer), 1),
        (("audit", chats, "--tokenizer", tmp_path / "no"), 1),
        (("audit", chats, "--tokenizer", tokenizer, "--html", tmp_path / "no" / "r.html"), 1),
        (("audit", chats, "--tokenizer", tokenizer, "--turns", "some"), 2),
        (("preview", chats, "--tokenizer", tokenizer, "--row", 400), 1),
    ):
        done = command(*arguments)
        assert done.exit_code == status
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_rows_that_cannot_be_used_are_counted(tokenizer, chats, tmp_path):
    with chats.open("ab") as file:
        file.write(b"\nnot json\n[1]\n")
    done = command("audit", chats, "--tokenizer", tokenizer, "--json", "-", "--fail-on", "bad=1")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"]["bad"]["rows"] == [31, 32]


def test_preview_shows_chosen_rows(tokenizer, chats, tmp_path):
    loaded = AutoTokenizer.from_pretrained(tokenizer)
    want = encode_chat(loaded, [ROWS[3]["messages"]])
    done = command("preview", chats, "--tokenizer", tokenizer, "--row", 3, "--row", 7)
    assert done.exit_code == 0, done.stderr
    trained = int((want.labels.values != -100).sum())
    assert f"row 3: {len(want.labels.values)} tokens, {trained} trained" in done.stdout
    assert "row 7: " in done.stdout
    assert "[[" in done.stdout
    untrained = command("preview", chats, "--tokenizer", tokenizer, "--pick", "untrained")
    assert untrained.stdout.startswith("row 7: ")
    written = command("preview", chats, "--tokenizer", tokenizer, "--pick", "longest", "--rows", 1, "--html", tmp_path / "p.html")
    assert written.exit_code == 0
    assert written.stdout == ""
    html = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert html.startswith('<!doctype html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "<mark" in html
    none = command("preview", chats, "--tokenizer", tokenizer, "--pick", "untrained", "--roles", "user")
    assert (none.exit_code, none.stdout) == (0, "no such rows\n")


def test_two_policies_and_two_maskings_are_compared(tokenizer, chats, tmp_path):
    arguments = ("audit", chats, "--tokenizer", tokenizer, "--json", "-")
    report = json.loads(command(*arguments, "--compare-policy", "turns=last", "--compare-policy", "train-on-eos=none").stdout)
    both = report["comparison"]
    assert "turns='last'" in both["second"]
    assert both["only_second"] == 0 < both["only_first"]
    assert command("mask", chats, tmp_path / "out", "--tokenizer", tokenizer, "--turns", "last").exit_code == 0
    masked = ("audit", tmp_path / "out", "--tokenizer", tokenizer, "--json", "-")
    again = json.loads(command(*masked, "--compare-policy", "turns=last").stdout)["comparison"]
    assert (again["first"], again["rows"]) == ("labels of the data", 30)
    assert again["both"] > 0
    for wrong in (
        ("--compare-policy", "turns"),
        ("--compare-policy", "x=1"),
        ("--compare", chats, "--compare-policy", "turns=all"),
    ):
        done = command(*arguments, *wrong)
        assert (done.exit_code, "--compare-policy" in done.stderr) == (2, True)


def test_preview_shows_mismatches_and_two_masks(tokenizer, chats):
    shown = command("preview", chats, "--tokenizer", tokenizer, "--compare-policy", "turns=last", "--pick", "mismatch")
    assert shown.exit_code == 0, shown.stderr
    assert shown.stdout.count("tokens differ") == shown.stdout.count("row ") > 0
    assert "assistant B |" in shown.stdout.replace("          B |", "assistant B |")


def test_data_without_a_row_that_can_be_used_fail(tokenizer, tmp_path):
    (tmp_path / "a.jsonl").write_text("not json\n[]\n")
    done = command("audit", tmp_path / "a.jsonl", "--tokenizer", tokenizer)
    assert (done.exit_code, "failed: 2 rows, none of which can be used." in done.stderr) == (1, True)
