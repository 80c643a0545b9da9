"""The page that compares our labels with TRL's says what is true today."""

import json
import re
from pathlib import Path

import datasets
import pytest
from support.derivation import SPECIAL
from support.peers import CONVERSATIONS, NAMES, Peer, table_row
from support.tiny_models import causal_model
from support.trl_templates import TEMPLATES
from support.vocabularies import tokenizer_of
from trl import SFTConfig, SFTTrainer

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "compared-with-trl.md").read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:.*:spanmask.SpanmaskWarning")  # kinds of conversations that a format leaves out
def test_the_row_of_each_template(name):
    assert table_row(Peer(name)) in PAGE.splitlines(), "run benches/peers_table.py"


def test_the_page_has_these_templates_and_no_others():
    assert tuple(re.findall(r"^\| ([\w.]+) \|", PAGE.partition("## Train")[0], re.MULTILINE)[1:]) == NAMES


@pytest.mark.parametrize("name", ["qwen2_5", "gptoss", "glm4moe"])
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning")
def test_the_masks_are_those_of_trls_trainer(name, tmp_path):
    peer = Peer(name)
    tokenizer = tokenizer_of("byte_level", SPECIAL)
    tokenizer.chat_template = TEMPLATES[name]
    kinds = ["answers", "system", "reasoning as text"]
    rows = datasets.Dataset.from_dict({"messages": [json.loads(json.dumps(CONVERSATIONS[kind][0])) for kind in kinds]})
    args = SFTConfig(str(tmp_path), assistant_only_loss=True, report_to=[], use_cpu=True, bf16=False)
    prepared = SFTTrainer(causal_model(tokenizer), args, train_dataset=rows, processing_class=tokenizer).train_dataset
    known = {kind: (ids, mask) for kind, ids, mask in peer.rows}
    for kind, row in zip(kinds, prepared, strict=True):
        ids, mask = known[kind]
        assert row["input_ids"] == ids
        assert row["labels"] == [token if flag else -100 for token, flag in zip(ids, mask, strict=True)]
