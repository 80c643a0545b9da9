"""TRL's chat templates: the only large collection of real templates in a wheel; half of them have generation marks."""

from __future__ import annotations

import re
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import pytest

MARK = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")

# Not by `import trl`, which needs a transformers that fits it.
FOLDER = Path(find_spec("trl").origin).parent / "chat_templates"


class Templates(dict[str, str]):
    """By name. A test of a template that this version of TRL does not have is skipped."""

    def __missing__(self, name: str) -> str:
        pytest.skip(f"TRL {version('trl')} has no template {name}", allow_module_level=True)


TEMPLATES = Templates({path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja"))})
MARKED = tuple(name for name, template in TEMPLATES.items() if MARK.search(re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)))
PARTS = ("idefics3", "llava_next", "smolvlm")  # content as a list of parts


def without_marks(template: str) -> str:
    """The template with its generation marks replaced by tags that only strip whitespace, as the marks do."""
    return MARK.sub(lambda mark: f"{{%{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}%}}", template)
