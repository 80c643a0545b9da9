"""Every program on a page of the docs runs, from top to bottom, and prints what the page says.

A page's fences of `python` run in order, in one namespace. A plain fence (or `text`) right after one is its output. A page that
uses the reader's own tokenizer, model or data says so in a comment, `<!-- given: tokenizer, model -->`, and gets tiny ones here.
A fence of `py` is only shown.
"""

import contextlib
import io
import random
import re
from pathlib import Path

import datasets
import pytest
from support import tiny_processors as zoo
from support.tiny_models import CONVERSATIONS, causal_model, chat_tokenizer
from trl import SFTConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GIVEN = re.compile(r"<!-- given: (.*?) -->")


def given():
    """The objects that a page may use."""
    tokenizer = chat_tokenizer()
    vision = zoo.build("llava")
    rng = random.Random(0)
    return {
        "processor": vision.processor,
        "vision_model": vision.make_model(),
        "images": [zoo.image(rng) for _ in range(4)],
        "tokenizer": tokenizer,
        "model": causal_model(tokenizer),
        "dataset": datasets.Dataset.from_dict({"messages": CONVERSATIONS}),
        "args": SFTConfig("out", max_steps=3, report_to=[], use_cpu=True, bf16=False),
    }


def programs(text):
    """Each program of a page: its line, its code, and what it must print, or None."""
    fences = list(FENCE.finditer(text))
    for number, fence in enumerate(fences):
        if fence[1] == "python":
            follower = fences[number + 1] if number + 1 < len(fences) else None
            says = follower and follower[1] in ("", "text") and not text[fence.end() : follower.start()].strip()
            yield text[: fence.start(2)].count("\n"), fence[2], follower[2] if says else None


@pytest.mark.filterwarnings(
    "ignore:`gradient_checkpointing` is deprecated:FutureWarning",  # TRL's own default
    "ignore:.isinstance.treespec, LeafSpec.. is deprecated:FutureWarning",  # Lightning, with this version of torch
    "ignore:The '.*_dataloader' does not have many workers",  # Lightning; the pages' data are small
    "ignore:'pin_memory' argument is set as true but no accelerator is found:UserWarning",  # it is correct on a machine with an accelerator
)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_programs_run_and_print_what_the_page_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    declared = GIVEN.search(text)
    names = given() if declared else {}
    namespace = {name: names[name] for name in (declared[1].split(", ") if declared else ())}
    for line, code, output in programs(text):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile("\n" * line + code, str(page), "exec"), namespace)
        if output is not None:
            assert printed.getvalue().strip() == output.strip(), f"{page}:{line}"
