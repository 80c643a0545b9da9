"""The programs of docs/how-to/run-on-ray.md, on a local cluster, as one program of a user."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from spanmask import encode_chat
from support.files import chat_rows, save_tokenizer, write_rows
from support.tiny_models import causal_model
from transformers import AutoTokenizer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "run-on-ray.md"
pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("default"), pytest.mark.engines]

# Reading takes a CPU in addition to those of the two workers.
START = "import ray\nray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)\n"
END = """
import json
print(json.dumps([report.row_count, report.tokens, report.trained_tokens]))
"""


def test_the_page_masks_audits_and_trains_from_a_folder_of_json_lines(tmp_path):
    (tmp_path / "chats").mkdir()
    rows = chat_rows(40)
    for number in range(3):
        write_rows(tmp_path / "chats" / f"{number}.jsonl", rows[number::3])
    save_tokenizer(tmp_path / "my-model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "my-model")
    causal_model(tokenizer).save_pretrained(tmp_path / "my-model")
    programs = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(programs) == 3
    (tmp_path / "page.py").write_text(START + "\n".join(programs) + END)
    environment = {**os.environ, "HOME": str(tmp_path)}  # Ray Train keeps its records there
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    want = encode_chat(tokenizer, [row["messages"] for row in rows])
    trained = int((want.labels.values != -100).sum())
    assert json.loads(done.stdout.splitlines()[-1]) == [40, len(want.input_ids.values), trained]
    assert (tmp_path / "audit.html").exists()
    steps = json.loads((next((tmp_path / "out").glob("checkpoint-*")) / "trainer_state.json").read_text())
    assert steps["global_step"] == 9  # three passes over 40 rows, 8 a step on each of two workers
