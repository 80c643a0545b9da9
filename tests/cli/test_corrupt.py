"""`spanmask corrupt`: the noise of the functions, in files."""

import json
import signal
import subprocess
import sys
import time

import pytest
from spanmask import DenoiserMixture, FillInTheMiddle, MaskedLM, SpanCorruption, corrupt, fill_in_the_middle, mask_tokens
from support.denoising import bert_tokenizer, t5_tokenizer
from support.files import command, environment, read_out, start, write_rows
from support.vocabularies import tokenizer_of
from transformers import AutoTokenizer

WORDS = [f"w{number}" for number in range(300)]
TEXTS = [{"id": number, "text": " ".join(WORDS[number : number * 2 + 3])} for number in range(80)]
FIM = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {"t5": t5_tokenizer(WORDS), "mlm": bert_tokenizer(300), "fim": tokenizer_of("byte-level", FIM)}
    folders = {name: tmp_path_factory.mktemp(name) for name in made}
    for name, tokenizer in made.items():
        tokenizer.save_pretrained(folders[name])
    return {**folders, "ul2": folders["t5"]}


def expected(objective, tokenizer, rows):
    if objective == "t5":
        spec = SpanCorruption.from_tokenizer(tokenizer, noise_density=0.3)
        return corrupt(rows, spec, seed=5, epoch=1)
    if objective == "ul2":
        return corrupt(rows, DenoiserMixture.ul2(tokenizer, on_exhausted="fewer_spans"), seed=5, epoch=1)
    if objective == "mlm":
        return mask_tokens(rows, MaskedLM.from_tokenizer(tokenizer, mlm_probability=0.3), seed=5, epoch=1)
    return fill_in_the_middle(rows, FillInTheMiddle.from_tokenizer(tokenizer, rate=0.9), seed=5, epoch=1)


OPTIONS = {
    "t5": ("--noise-density", 0.3),
    "ul2": ("--on-exhausted", "fewer_spans"),
    "mlm": ("--mlm-probability", 0.3),
    "fim": ("--fim-rate", 0.9),
}


@pytest.mark.parametrize("objective", OPTIONS)
def test_files_hold_the_noise_of_the_functions(objective, folders, tmp_path):
    folder = folders[objective]
    path = write_rows(tmp_path / "a.jsonl", TEXTS)
    arguments = ("--tokenizer", folder, "--objective", objective, "--seed", 5, "--epoch", 1, *OPTIONS[objective])
    done = command("corrupt", path, tmp_path / "out", *arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["written"] == 80
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = [tokenizer(row["text"])["input_ids"] for row in TEXTS]
    want = expected(objective, tokenizer, rows)
    made = read_out(tmp_path / "out")
    assert [row["input_ids"] for row in made] == want.input_ids.to_list()
    assert [row["labels"] for row in made] == want.labels.to_list()
    assert [row["id"] for row in made] == list(range(80))
    small = command("corrupt", path, tmp_path / "small", *arguments, "--rows-per-file", 7)
    assert small.exit_code == 0, small.stderr
    assert read_out(tmp_path / "small") == made


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("--objective", "mlm", "--noise-density", ".2"), 2, "--noise-density: is not an option of --objective mlm"),
        (("--noise-density", "2"), 2, "noise_density"),
        (("--seed", "-1"), 2, "seed"),
        (("--objective", "fim"), 2, "fim"),
    ],
)
def test_wrong_options_are_one_line(arguments, status, text, folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", TEXTS[:2])
    done = command("corrupt", path, tmp_path / "out", "--tokenizer", folders["t5"], *arguments)
    assert done.exit_code == status
    assert text in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_killed_run_leaves_no_half_file_and_goes_on_to_the_same_bytes(folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"input_ids": [2 + (n * at) % 290 for at in range(400)]} for n in range(1, 2500)])
    arguments = ("corrupt", path, tmp_path / "killed", "--tokenizer", folders["t5"], "--rows-per-file", 100, "--seed", 3)
    running = start(*arguments)
    deadline = time.monotonic() + 80
    while not list((tmp_path / "killed").glob("part-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    running.kill()
    running.communicate(timeout=30)
    complete = {file.name: file.read_bytes() for file in (tmp_path / "killed").glob("part-*.parquet")}
    assert running.returncode == -signal.SIGKILL
    assert len(complete) < 25
    assert command(*arguments, "--resume").exit_code == 0
    assert command(*arguments[:2], tmp_path / "whole", *arguments[3:]).exit_code == 0
    names = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert sorted(file.name for file in (tmp_path / "killed").iterdir()) == names
    for name in names:
        if name != ".spanmask.json":
            made = (tmp_path / "killed" / name).read_bytes()
            assert made == (tmp_path / "whole" / name).read_bytes()
            assert made == complete.get(name, made)


def test_commands_need_no_torch(folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"input_ids": [5, 6, 7, 8]}] * 3)
    code = (
        "import sys; from spanmask.cli import main\n"
        "try: main()\n"
        "finally: print(any(name.startswith('torch.') for name in sys.modules), file=sys.stderr)"
    )
    arguments = ["corrupt", path, tmp_path / "out", "--tokenizer", folders["t5"]]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (0, "False\n")


@pytest.mark.parametrize("objective", ["t5", "mlm", "fim"])
def test_rows_as_tokenizers_return_them(objective, folders, tmp_path):
    """Their columns by token fit the old rows; `--keep attention_mask` is one of the new rows, and what else is named stays as it is."""
    lengths = [0, 1, 5, 60]
    rows = [
        {"id": number, "input_ids": list(range(10, 10 + count)), "attention_mask": [1] * count, "token_type_ids": [3] * count}
        for number, count in enumerate(lengths)
    ]
    path = write_rows(tmp_path / "a.jsonl", rows)
    arguments = ("--tokenizer", folders[objective], "--objective", objective, "--max-length", 20)
    done = command("corrupt", path, tmp_path / "out", *arguments)
    assert done.exit_code == 0, done.stderr
    made = read_out(tmp_path / "out")
    assert list(made[0]) == ["id", "input_ids", "labels"]
    assert objective == "t5" or max(len(row["input_ids"]) for row in made) == 20
    done = command("corrupt", path, tmp_path / "kept", *arguments, "--keep", "attention_mask", "--keep", "token_type_ids")
    assert done.exit_code == 0, done.stderr
    for row, again, count in zip(made, read_out(tmp_path / "kept"), lengths, strict=True):
        assert (again["input_ids"], again["labels"]) == (row["input_ids"], row["labels"])
        assert again["attention_mask"] == [1] * len(row["input_ids"])
        assert again["token_type_ids"] == [3] * count


def test_a_column_that_is_not_read_is_one_line_and_can_be_dropped(folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"input_ids": [10, 11, 12], "mlm_probability": 0.5}] * 3)
    arguments = ("corrupt", path, tmp_path / "out", "--tokenizer", folders["t5"])
    done = command(*arguments, "--on-bad-row", "skip")
    assert (done.exit_code, "table: the column 'mlm_probability' is not read" in done.stderr) == (2, True)
    assert command(*arguments, "--drop", "mlm_probability").exit_code == 0


@pytest.mark.parametrize("objective", OPTIONS)
def test_labels_of_decoders_and_masks_are_not_audited_as_labels_of_tokens(objective, folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", TEXTS[:9])
    of = ("--tokenizer", folders[objective])
    noised = command("corrupt", path, tmp_path / "out", *of, "--objective", objective, *OPTIONS[objective])
    assert noised.exit_code == 0, noised.stderr
    audited = command("audit", tmp_path / "out", *of)
    shown = command("preview", tmp_path / "out", *of)
    refused = f"for the objective {objective}, so that its labels are not the tokens"
    assert (audited.exit_code, refused in audited.stderr) == ((0, False) if objective == "fim" else (1, True))
    assert (shown.exit_code, refused in shown.stderr) == ((0, False) if objective in ("fim", "mlm") else (1, True))


def test_a_preview_of_rows_that_cannot_be_used_fails(folders, tmp_path):
    path = write_rows(tmp_path / "a.jsonl", [{"input_ids": [5, 6, 7], "labels": [5]}] * 2)
    shown = command("preview", path, "--tokenizer", folders["t5"])
    assert shown.exit_code == 1
    assert "2 of 2 rows cannot be used; row 0: labels: the row has 1 entries for 3 ids" in shown.stderr
