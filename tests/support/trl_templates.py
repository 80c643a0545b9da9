"""TRL's chat templates: the only large collection of real templates in a wheel; half of them have generation marks."""

from __future__ import annotations

import re
from pathlib import Path

import trl

MARK = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")

TEMPLATES = {
    path.stem: path.read_text(encoding="utf-8") for path in sorted((Path(trl.__file__).parent / "chat_templates").glob("*.jinja"))
}
MARKED = tuple(name for name, template in TEMPLATES.items() if MARK.search(re.sub(r"\{#.*?#\}", "", template, flags=re.DOTALL)))
PARTS = ("idefics3", "llava_next", "smolvlm")  # content as a list of parts


def without_marks(template: str) -> str:
    """The template with its generation marks replaced by tags that only strip whitespace, as the marks do."""
    return MARK.sub(lambda mark: f"{{%{mark[1]} {'endif' if mark[2] else 'if true'} {mark[3]}%}}", template)
