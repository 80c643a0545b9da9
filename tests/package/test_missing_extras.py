"""Without an extra: NumPy-only use works, and what needs the extra says so in one line, when it is made and not with the first batch."""

import subprocess
import sys

import numpy as np
import pytest
from spanmask import (
    ChatFormat,
    DataCollatorForChat,
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedDiffusion,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DataCollatorForTextInfilling,
    FillInTheMiddle,
    MaskedLM,
    Ragged,
    RoleBoundary,
    SpanCorruption,
    audit,
    denoise,
)
from spanmask.arrow import ChatMasker, MiddleFiller, SpanCorrupter, TokenMasker
from spanmask.compat.flax_t5 import DataCollatorForT5MLM


class Words:
    """As much of a tokenizer as a collator reads."""

    pad_token_id, eos_token_id, mask_token_id, bos_token_id = 0, 1, 2, None
    padding_side = "right"
    all_special_ids = (0, 1, 2)

    def __len__(self):
        return 100


FORMAT = ChatFormat([RoleBoundary("user", [4], [6]), RoleBoundary("assistant", [5], [6])])
COLLATORS = {
    "chat": lambda **options: DataCollatorForChat(Words(), chat_format=FORMAT, **options),
    "spans": lambda **options: DataCollatorForSpanCorruption(Words(), sentinel_ids=[90, 89], seed=0, **options),
    "masked LM": lambda **options: DataCollatorForMaskedLM(Words(), seed=0, **options),
    "middle": lambda **options: DataCollatorForFillInTheMiddle(
        Words(), prefix_id=91, middle_id=92, suffix_id=93, seed=0, **options
    ),
    "infilling": lambda **options: DataCollatorForTextInfilling(Words(), seed=0, **options),
}
OPERATORS = {
    "chat": lambda: ChatMasker(Words(), chat_format=FORMAT),
    "spans": lambda: SpanCorrupter(Words(), spec=SpanCorruption([90, 89], 1)),
    "masked LM": lambda: TokenMasker(Words(), spec=MaskedLM(2, 100)),
    "middle": lambda: MiddleFiller(Words(), spec=FillInTheMiddle(91, 92, 93)),
}
ROWS = [{"input_ids": [4, 7, 6, 5, 8, 9, 10, 6]}, {"input_ids": [4, 7, 6, 5, 11, 6]}]
TENSORS = "return_tensors: 'pt' needs torch; install it with: pip install 'spanmask[torch]'; or pass return_tensors='np'"
ARROW = "{} needs pyarrow; install it with: pip install 'spanmask[arrow]'"
MISSING = [
    *(pytest.param("torch", make, TENSORS, id=name) for name, make in COLLATORS.items()),
    pytest.param("torch", lambda: DataCollatorForMaskedDiffusion(Words()), TENSORS, id="diffusion"),
    pytest.param(
        "torch",
        lambda: DataCollatorForT5MLM(Words(), 0.15, 3.0, 10, 5, 0, 0),
        "DataCollatorForT5MLM needs torch; install it with: pip install 'spanmask[torch]'",
        id="nanoT5's",
    ),
    pytest.param(
        "torch",
        lambda: denoise(Words(), "a"),
        "denoise needs torch; install it with: pip install 'spanmask[torch]'",
        id="denoise",
    ),
    pytest.param("pyarrow", OPERATORS["chat"], ARROW.format("ChatMasker"), id="ChatMasker"),
    pytest.param("pyarrow", OPERATORS["spans"], ARROW.format("SpanCorrupter"), id="SpanCorrupter"),
    pytest.param("pyarrow", OPERATORS["masked LM"], ARROW.format("TokenMasker"), id="TokenMasker"),
    pytest.param("pyarrow", OPERATORS["middle"], ARROW.format("MiddleFiller"), id="MiddleFiller"),
    pytest.param("pyarrow", Ragged.from_rows([[1]]).to_arrow, ARROW.format("Ragged.to_arrow"), id="to_arrow"),
]


@pytest.mark.parametrize(("module", "make", "message"), MISSING)
def test_what_needs_a_missing_module_says_so_when_it_is_made(module, make, message, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)  # as Python sees a module that is not there
    with pytest.raises(ImportError) as error:
        make()
    assert str(error.value) == message


def test_files_need_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text('{"input_ids": [4, 7, 6, 5, 8, 6]}\n')
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError) as error:
        audit(str(tmp_path / "rows.jsonl"), Words(), chat_format=FORMAT)
    assert str(error.value) == ARROW.format("a file of rows")


@pytest.mark.parametrize("name", COLLATORS)
def test_batches_of_arrays_need_no_torch(name, monkeypatch):
    for module in ("torch", "pyarrow", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    batch = COLLATORS[name](return_tensors="np")(ROWS)
    assert all(isinstance(column, np.ndarray) for column in batch.values())
    assert len(batch["labels"]) == 2
    assert (batch["labels"] != -100).any()


@pytest.mark.needs("pyarrow")
@pytest.mark.parametrize("name", OPERATORS)
def test_tables_need_no_torch(name, monkeypatch):
    import pyarrow as pa

    for module in ("torch", "transformers"):
        monkeypatch.setitem(sys.modules, module, None)
    table = OPERATORS[name]()(pa.Table.from_pylist(ROWS))
    assert table.num_rows == 2
    assert "labels" in table.column_names


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("compat.trl", "transformers"),
        ("integrations.transformers", "transformers"),
        ("integrations.weighted_loss", "transformers"),
        ("integrations.lightning", "lightning"),
    ],
)
def test_a_module_for_a_framework_says_how_to_install_it(module, extra):
    code = f"import sys; sys.modules.update(torch=None, transformers=None, lightning=None); import spanmask.{module}"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(f"; install it with: pip install 'spanmask[{extra}]'"), done.stderr


@pytest.mark.parametrize("module", ["filelock", "rich", "typer"])
def test_the_command_line_says_how_to_install_it(module):
    code = f"import sys; sys.modules[{module!r}] = None; from spanmask.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    # Where several are missing, it names one of them.
    assert done.stderr.startswith("spanmask: the command line needs ")
    assert done.stderr.endswith("; install it with: pip install 'spanmask[cli]'\n")
    assert done.stderr.count("\n") == 1
