"""The programs of docs/how-to/run-on-ray.md, on a local cluster."""

import re
from pathlib import Path

import pytest
from spanmask import encode_chat
from support.files import chat_rows, save_tokenizer, write_rows
from transformers import AutoTokenizer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-ray.md"
pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default"), pytest.mark.engines]


def test_the_page_masks_and_audits_a_folder_of_json_lines(ray, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "chats").mkdir()
    rows = chat_rows(40)
    for number in range(3):
        write_rows(tmp_path / "chats" / f"{number}.jsonl", rows[number::3])
    save_tokenizer(tmp_path / "my-model")
    names = {"__name__": "__main__"}  # Ray sends classes of this module by value
    for code in re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)
    report = names["report"]
    want = encode_chat(AutoTokenizer.from_pretrained(tmp_path / "my-model"), [row["messages"] for row in rows])
    assert (report.row_count, report.tokens) == (40, len(want.input_ids.values))
    assert report.trained_tokens == int((want.labels.values != -100).sum())
    assert (tmp_path / "audit.html").exists()
