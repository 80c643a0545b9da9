"""A chat template -> the boundaries of its turns. The template needs no generation marks and is not changed.

Bare conversations are rendered (`probe.py`), the text between their contents is cut into markers (`gaps.py`), those are tokenized in
context (`assemble.py`), and the result is compared with random conversations before it is returned (`check.py`). Kinds of conversations on
which it fails are left out and named in `Parts.uncovered`; without plain questions and answers it is an error.
Conversations are rendered whole. The usual method compares renderings of growing prefixes, which is wrong for templates that rewrite
earlier turns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from spanmask.chat.boundary import Parts, compile_format, roles_of
from spanmask.chat.coverage import DECLARATIONS, OTHER_ROLES, PARALLEL_CALLS, ROLE_MESSAGES, SYSTEM_MESSAGES, TOOL_CALLS, kinds_in
from spanmask.chat.merges import Merges
from spanmask.chat.template.alignment import Gap, Located, gaps_of
from spanmask.chat.template.assemble import assemble, bare_words
from spanmask.chat.template.cache import cached
from spanmask.chat.template.check import Trial, check
from spanmask.chat.template.extend import extend, is_right
from spanmask.chat.template.gaps import find_markers
from spanmask.chat.template.probe import Template, marked_probe
from spanmask.chat.template.reasoning import find_reasoning
from spanmask.chat.template.shapes import (
    ASSISTANT,
    DECLARED,
    ONE_CALL,
    PLAIN_KINDS,
    PREAMBLES,
    RARE,
    ROUND,
    TOOL,
    Shape,
    describe,
    kinds_of_shapes,
)
from spanmask.chat.tokens import added_tokens, text_tokenizer
from spanmask.errors import ChatFormatError, SpanmaskWarning
from spanmask.policy import DEFAULT_POLICY

__all__ = ["parts_from_template"]

KINDS_OF_ROLES = {"system": SYSTEM_MESSAGES, TOOL: TOOL_CALLS, "tools": DECLARATIONS, **ROLE_MESSAGES}
CHECKED = 3  # random conversations of each shape that a format is compared with
ENOUGH = 1 / 3  # of a kind's conversations must be found in the rendered text


class Fault(NamedTuple):
    """What is wrong with a format, and the kind of conversations that shows it."""

    what: str
    kind: str


def parts_from_template(renderer: Any, tokenizer: Any, kwargs: dict[str, Any], ignore_ids: tuple[int, ...] = ()) -> Parts:
    """The boundaries of `ChatFormat.from_tokenizer` and `from_processor`. `renderer` has `apply_chat_template`."""
    tokenizer = text_tokenizer(tokenizer)

    def derive() -> tuple[Parts, str]:
        template = Template(renderer, kwargs)
        if not template.detect_message_format():
            raise unreadable(template)
        return Derivation(template, tokenizer, ignore_ids).derive()

    parts, warning = cached(renderer, tokenizer, kwargs, ignore_ids, derive)
    if warning:
        warnings.warn(warning, SpanmaskWarning, stacklevel=3)
    return parts


class Derivation:
    """The derivation of one template: the kinds of conversations that it renders, and formats for some or all of them."""

    def __init__(self, template: Template, tokenizer: Any, ignore_ids: tuple[int, ...]) -> None:
        self.template = template
        self.tokenizer = tokenizer
        self.added = added_tokens(tokenizer)
        self.merges = Merges(tokenizer)
        self.ignore_ids = ignore_ids
        kinds = kinds_of_shapes(has_calls=template.detect_call_format(), needs_tools=template.with_tools)
        self.shapes = {name: self.rendered(some) for name, some in kinds.items()}
        self.rare = {name: self.rendered(some) for name, some in RARE.items()}
        self.failed = {name for name, some in {**kinds, **RARE}.items() if some and all(map(self.fails, some))}
        if PARALLEL_CALLS not in kinds and all(map(self.fails, (ONE_CALL, *PREAMBLES))):
            self.failed.add(TOOL_CALLS)  # results are rendered, but nobody knows how calls would be
        self.kinds = [name for name, some in self.shapes.items() if some]
        every = {shape for some in (*self.shapes.values(), *self.rare.values()) for shape in some}
        self.needs = {shape: self.kinds_of(shape) for shape in every}
        asked = [shape for some in kinds.values() for shape in some if shape[-1] in ("user", TOOL) and shape[0] != DECLARED]
        self.prompts = self.gaps(asked, prompt=True)
        self.rare_gaps = self.gaps(shape for name, some in self.rare.items() if name != OTHER_ROLES for shape in some)

    def rendered(self, shapes: Iterable[Shape]) -> list[Shape]:
        """The shapes that the template renders."""
        return [shape for shape in shapes if self.template.locate_contents(marked_probe(shape)) is not None]

    def fails(self, shape: Shape) -> bool:
        """Whether a shape ends in an error that the template does not raise on purpose: rows of its kind may have another form."""
        refused = self.template.render(marked_probe(shape)) is None
        return refused and type(self.template.refusal).__name__ != "TemplateError"

    def kinds_of(self, shape: Shape) -> set[str]:
        """The kinds in which a conversation of this shape falls, those that only concern its order left out."""
        messages = self.template.messages(marked_probe(shape))
        return kinds_in(messages, tools=DECLARED in shape).intersection(self.shapes)

    def covered(self, shapes: Iterable[Shape], kinds: Iterable[str]) -> list[Shape]:
        """The shapes that fall in no other kinds than these."""
        return [shape for shape in shapes if self.needs[shape] <= {*kinds}]

    def gaps(self, shapes: Iterable[Shape], prompt: bool = False) -> list[Gap]:
        """The distinct gaps of marked conversations; with `prompt` only those with the generation prompt."""
        gaps: dict[Gap, None] = {}
        for shape in shapes:
            found = self.template.locate_contents(marked_probe(shape), generation=prompt)
            if found is not None:
                some = gaps_of(found)
                gaps |= dict.fromkeys(some[-1:] if prompt else some)
        return list(gaps)

    def derive(self) -> tuple[Parts, str]:
        """The format for as many kinds as possible, and a warning about the others; an error without plain conversations."""
        plain, *others = self.kinds
        covered, left_out = [plain, *others], []
        faults: list[Fault] = []
        while isinstance(outcome := self.attempt(covered), Fault) and outcome.kind != plain:
            faults.append(outcome)
            covered.remove(outcome.kind)
            left_out.append(outcome.kind)
        if isinstance(outcome, Fault):  # a marker for one kind breaks plain conversations: add the kinds one by one
            faults.append(outcome)
            covered, left_out = [plain], others
            outcome = self.attempt(covered)
            if isinstance(outcome, Fault):
                raise underivable(self.template, outcome.what)
        else:
            left_out = left_out[:-1]  # the last one was necessary
        for name in left_out:
            more = self.attempt([kind for kind in self.kinds if kind in (*covered, name)])
            if isinstance(more, Parts):
                outcome, covered = more, [*covered, name]
        left_out = [name for name in self.kinds if name not in covered]
        failed = [name for name in (*self.shapes, *self.rare) if name in self.failed and name not in left_out]
        rare = [name for name, some in self.rare.items() if self.check(outcome, self.covered(some, covered)).fault is not None]
        return replace(outcome, uncovered=(*left_out, *failed, *rare)), uncovered_warning(
            left_out, faults[0].what
        ) if left_out else ""

    def attempt(self, names: Sequence[str]) -> Parts | Fault:
        """The boundaries for these kinds of conversations, or what is wrong with them."""
        first = self.attempt_once(names, use_prompt=True)
        if isinstance(first, Parts):
            return first
        second = self.attempt_once(names, use_prompt=False)
        return second if isinstance(second, Parts) else first

    def attempt_once(self, names: Sequence[str], use_prompt: bool) -> Parts | Fault:
        """One attempt. `use_prompt`: as for `find_markers`."""
        by_kind = {name: self.covered(self.shapes[name], names) for name in names}
        shapes = [shape for some in by_kind.values() for shape in some]
        needed = self.gaps(shapes)
        plain = [
            gap for gap in self.gaps(shape for shape in shapes if shape[0] != DECLARED) if {gap.before, gap.after} <= PLAIN_KINDS
        ]
        markers = find_markers(plain, self.prompts, self.added, use_prompt=use_prompt)
        if not markers.starts.get(ASSISTANT):
            return Fault("the template puts no distinguishing text before assistant messages", names[0])
        extend(markers, needed, [gap for gap in self.rare_gaps if gap not in needed], self.added)
        for name in names:
            for gap in self.gaps(by_kind[name]):
                if not is_right(gap, markers):
                    between = f"{describe(gap.before)} and {describe(gap.after)}"
                    return Fault(f"the text between {between}, {gap.text!r}, contains no turn boundary", name)
        anchors = [gap for gap in (*needed, *self.rare_gaps) if not gap.before == gap.after == "user"]  # a question may run on
        right = [*needed, *(gap for gap in self.rare_gaps if is_right(gap, markers))]
        for role, start in bare_words(markers, anchors, self.added).items():
            kind = KINDS_OF_ROLES.get(role, names[0])
            if kind in names:
                return Fault(f"{start!r} before {role} messages is only a word, which contents have too", kind)
            del markers.starts[role]
        reasoning = find_reasoning(markers, needed, self.added)
        parts = assemble(self.merges, markers, reasoning, [*right, *self.prompts], anchors, self.added)
        if parts is None:
            return Fault(f"the tokens of the markers {markers.starts[ASSISTANT]} merge with the text next to them", names[0])
        trial = self.check(parts, shapes)
        if trial.fault is not None:
            return Fault(trial.fault, next(name for name in names if trial.shape in by_kind[name]))
        for name in names:
            located, drawn = sum(trial.located[shape] for shape in by_kind[name]), CHECKED * len(by_kind[name])
            if located < ENOUGH * drawn:
                return Fault(f"only {located} of {drawn} random conversations could be located in the rendered text", name)
        return parts

    def check(self, parts: Parts, shapes: Sequence[Shape]) -> Trial:
        """The format compared with random conversations of these shapes."""
        compiled = compile_format(parts)
        policy = DEFAULT_POLICY._compile(roles_of(parts.boundaries), self.ignore_ids)
        return check(self.template, self.tokenizer, compiled, policy, self.added, shapes, seed=0, count=CHECKED * len(shapes))


def uncovered_warning(kinds: Sequence[str], fault: str) -> str:
    """The warning about kinds of conversations that would be masked wrongly."""
    return (
        f"chat template: the format does not cover {' and '.join(kinds)}: {fault}. "
        "Other conversations are not affected. If your rows have them, write the boundaries by hand: ChatFormat.from_strings."
    )


BY_HAND = (
    "Pass the variables that the template requires: ChatFormat.from_tokenizer(tokenizer, tools=[...], enable_thinking=False). "
    "Or write the boundaries by hand, with the texts of this template: "
    'ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:").'
)


def unreadable(template: Template) -> ChatFormatError:
    """The error for a template that does not even render one question and its answer."""
    probe = marked_probe(ROUND)
    text = template.render(probe)
    if text is None and not getattr(template.renderer, "chat_template", None):
        what = "the tokenizer has none; set tokenizer.chat_template."
    elif text is None:
        what = f"it refuses one question and its answer: {type(template.refusal).__name__}: {template.refusal}"
    else:
        question, answer = (content for _, content in probe.turns)
        what = f"question {question!r} and answer {answer!r} do not each occur exactly once in the rendered text:\n{text!r}"
    return ChatFormatError(f"chat template: {what}\n{BY_HAND}")


def underivable(template: Template, fault: str) -> ChatFormatError:
    """The error for turns that were not found: the rendered text, the contents in it, and what failed."""
    shape = ("system", *ROUND * 2) if template.locate_contents(marked_probe(("system", *ROUND * 2))) else ROUND
    found = template.locate_contents(marked_probe(shape))
    shown = show(found) if found else "(nothing rendered)"
    return ChatFormatError(
        f"chat template: turn boundaries could not be derived: {fault}.\nRendered, contents as <<role>>:\n{shown}\n{BY_HAND}"
    )


def show(found: Located) -> str:
    """The text with each content replaced by its role."""
    out, at = "", 0
    for content in found.contents:
        out, at = out + found.text[at : content.start] + f"<<{content.kind}>>", content.stop
    return out + found.text[at:]
