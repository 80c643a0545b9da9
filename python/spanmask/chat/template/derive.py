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
from typing import Any

from spanmask.chat.boundary import Parts, compile_format, roles_of
from spanmask.chat.coverage import REASONING, SYSTEM_MESSAGES, TEXT_BEFORE_CALLS, TOOL_CALLS
from spanmask.chat.template.assemble import assemble
from spanmask.chat.template.check import check
from spanmask.chat.template.gaps import MarkerTexts, common_prefix, find_markers, scan_text
from spanmask.chat.template.probe import (
    ASSISTANT,
    BEGIN,
    END,
    TOOL,
    ContentSpan,
    Gap,
    Template,
    describe,
    gaps_of,
    marked_probe,
    role_of,
)
from spanmask.chat.tokens import AddedTokens, added_tokens, text_tokenizer
from spanmask.errors import ChatFormatError, SpanmaskWarning
from spanmask.policy import DEFAULT_POLICY

__all__ = ["parts_from_template"]

ROUND = ("user", ASSISTANT)
TALKS = (*((*ROUND * rounds, *last) for last in ((), ("user",)) for rounds in (1, 2, 3)), ("user",))
SYSTEMS = tuple(("system", *talk) for talk in TALKS)
# Orders of messages that few datasets have: the markers should fit them if the template accepts them, but they are not checked.
RARE = (
    (*ROUND, ASSISTANT),
    ("user", "user", ASSISTANT),
    ("user", "user"),
    ("system", ASSISTANT),
    (ASSISTANT, *ROUND),
    (*ROUND, "system", *ROUND),
)
CALLS = (
    ("user", "call"),
    ("user", "call", "tool"),
    ("user", "call", "tool", ASSISTANT),
    ("user", "call", "tool", ASSISTANT, *ROUND),
    (*ROUND, "user", "call", "tool", ASSISTANT, "user"),
    ("system", "user", "call", "tool", ASSISTANT),
    ("user", "call", "tool", "call", "tool", ASSISTANT),
)
PREAMBLES = (("user", "preamble", "call", "tool", ASSISTANT), ("user", "preamble", "call", "tool", ASSISTANT, "user"))
# For templates that drop calls: most of them still render results, which must not train.
RESULTS = (("user", ASSISTANT, "tool", ASSISTANT), (*ROUND, "user", ASSISTANT, "tool", ASSISTANT, "user"))
THOUGHTS = (
    ("user", "thought", ASSISTANT),
    ("user", "thought", ASSISTANT, "user", "thought", ASSISTANT),
    (*ROUND, "user", "thought", ASSISTANT),
)
CHECKED = 120  # random conversations that a format is compared with


def parts_from_template(renderer: Any, tokenizer: Any, kwargs: dict[str, Any], ignore_ids: tuple[int, ...] = ()) -> Parts:
    """The boundaries of `ChatFormat.from_tokenizer` and `from_processor`. `renderer` has `apply_chat_template`."""
    tokenizer = text_tokenizer(tokenizer)
    added = added_tokens(tokenizer)
    template = Template(renderer, kwargs)
    if not template.detect_message_format():
        raise unreadable(template)
    has_calls = template.detect_call_format()
    kinds = {"conversations": TALKS, SYSTEM_MESSAGES: SYSTEMS, REASONING: THOUGHTS}
    if has_calls:
        kinds |= {TOOL_CALLS: CALLS, TEXT_BEFORE_CALLS: PREAMBLES}
    else:
        kinds[TOOL_CALLS] = tuple(shape for shape in RESULTS if template.accepts(shape))
    shapes = {
        name: [shape for shape in some if template.locate_contents(marked_probe(shape)) is not None]
        for name, some in kinds.items()
    }
    prompts = collect(template, [shape for shape in (*TALKS, *SYSTEMS, *CALLS) if shape[-1] in ("user", "tool")], prompt=True)
    rare = collect(template, RARE)

    def attempt(names: Sequence[str], use_prompt: bool) -> Parts | str:
        """The boundaries for these kinds of conversations, or what is wrong with them."""
        some = [shape for name in names for shape in shapes[name]]
        needed = collect(template, some)
        plain = [gap for gap in needed if {gap.before, gap.after} <= {"user", "system", ASSISTANT, BEGIN, END}]
        markers = find_markers(plain, prompts, added, use_prompt=use_prompt)
        if not markers.starts.get(ASSISTANT):
            return "the template puts no distinguishing text before assistant messages"
        extend(markers, needed, [gap for gap in rare if gap not in needed], added)
        for gap in needed:
            if not is_right(gap, markers):
                return (
                    f"the text between {describe(gap.before)} and {describe(gap.after)}, {gap.text!r}, contains no turn boundary"
                )
        parts = assemble(tokenizer, markers, [*needed, *rare, *prompts], added)
        if parts is None:
            return f"the tokens of the markers {markers.starts[ASSISTANT]} merge with the text next to them"
        compiled = compile_format(parts)
        policy = DEFAULT_POLICY._compile(roles_of(parts.boundaries), ignore_ids)
        trial = check(template, tokenizer, compiled, policy, added, some, seed=0, count=CHECKED)
        if trial.fault is None and trial.checked < CHECKED // 3:
            return f"only {trial.checked} of {CHECKED} random conversations could be located in the rendered text"
        return trial.fault or parts

    names = [name for name in shapes if shapes[name]]
    fault = ""
    for left_out in ((), *((name,) for name in names[:0:-1]), (TOOL_CALLS, TEXT_BEFORE_CALLS), tuple(names[1:])):
        covered = [name for name in names if name not in left_out]
        for use_prompt in (True, False):
            outcome = attempt(covered, use_prompt)
            if isinstance(outcome, Parts):
                if left_out:
                    warn_uncovered(left_out, fault)
                return replace(outcome, uncovered=left_out)
            fault = fault or outcome
    raise underivable(template, fault)


def warn_uncovered(kinds: Sequence[str], fault: str) -> None:
    """Warn about kinds of conversations that would be masked wrongly."""
    warnings.warn(
        f"chat template: the format does not cover {' and '.join(kinds)}: {fault}. "
        "Other conversations are not affected. If your rows have them, write the boundaries by hand: ChatFormat.from_strings.",
        SpanmaskWarning,
        stacklevel=4,
    )


def collect(template: Template, shapes: Iterable[Sequence[str]], prompt: bool = False) -> list[Gap]:
    """The distinct gaps of marked conversations; with `prompt` only those with the generation prompt. Refused shapes are left out."""
    gaps: dict[Gap, None] = {}
    for shape in shapes:
        found = template.locate_contents(marked_probe(shape), generation=prompt)
        if found is not None:
            some = gaps_of(*found)
            gaps |= dict.fromkeys(some[-1:] if prompt else some)
    return list(gaps)


def is_right(gap: Gap, markers: MarkerTexts) -> bool:
    """Whether the assistant's turn is open after a gap if and only if the next content is the assistant's."""
    return gap.after == END or (scan_text(gap, markers) == ASSISTANT) == (role_of(gap.after) == ASSISTANT)


def extend(markers: MarkerTexts, needed: Sequence[Gap], rare: Sequence[Gap], added: AddedTokens) -> None:
    """Add markers for what plain conversations do not show: tool results, answers after them, calls that do not end as answers do.

    Each gap that is read wrongly proposes a marker, which is kept if it corrects a gap and breaks none.
    """
    gaps = [*needed, *rare]
    closes = {
        kind: common_prefix({gap.text for gap in needed if gap.before == kind}, added) for kind in {gap.before for gap in gaps}
    }
    closes[BEGIN] = ""
    for gap in needed:
        if gap.after == "tool" and role_of(gap.before) == ASSISTANT:
            add_results(markers, gap, closes[gap.before], gaps, added)
    for gap in gaps:
        if is_right(gap, markers):
            continue
        opening = gap.text.removeprefix(closes[gap.before])
        if role_of(gap.after) == ASSISTANT:
            last = [gap.text[slice(*span)] for span in added.spans(gap.text)[-1:]]
            tries = [opening, *last, gap.text]
            if gap.after != ASSISTANT:  # the model writes the text before a call, so the end of the previous turn is tried first
                close = closes[gap.before]
                tries = [*(close[slice(*span)] for span in reversed(added.spans(close))), *tries]
            for start in tries:
                if propose(markers, markers.starts.setdefault(ASSISTANT, []), start, gaps, added):
                    break
        else:
            for left, right in reversed(added.spans(closes[gap.before])):
                if propose(markers, markers.ends.setdefault(ASSISTANT, []), closes[gap.before][left:right], gaps, added):
                    break
            else:
                propose(markers, markers.starts.setdefault(gap.after, []), opening, gaps, added)
    markers.starts = {role: starts for role, starts in markers.starts.items() if starts}


def add_results(markers: MarkerTexts, gap: Gap, close: str, gaps: Sequence[Gap], added: AddedTokens) -> None:
    """Add a separate header for tool results, if it has an added token.

    If the header has none, but the text that closes the call ends with an added token that closes no other turn, that token opens the
    results; the model writes it to request them, so it is a stop token (Gemma 4). In formats whose turns end with the next header (GLM)
    the first added token of this header is a stop token too.
    """
    opening = gap.text[len(close) :].partition(TOOL)[0]
    for end in markers.ends.get(ASSISTANT, ()):
        opening = opening.removeprefix(end)
    spans = added.spans(close)
    ends = [end for ends in markers.ends.values() for end in ends]
    if (
        not added.spans(opening)
        and spans
        and close.endswith(last := close[slice(*spans[-1])])
        and not any(last in end for end in ends)
    ):
        opening = last + opening
        markers.stop_tokens.append(last)
    elif markers.stop_tokens and (first := added.spans(opening)) and first[0][0] == 0:
        markers.stop_tokens.append(opening[: first[0][1]])
    if added.spans(opening):
        propose(markers, markers.starts.setdefault("tool", []), opening, gaps, added, must_help=False)


def propose(
    markers: MarkerTexts, where: list[str], marker: str, gaps: Sequence[Gap], added: AddedTokens, must_help: bool = True
) -> bool:
    """Add a marker to `where`, one of the lists of `markers`, if that corrects a gap and breaks none."""
    marker = marker.partition(TOOL)[0]
    taken = [start for starts in markers.starts.values() for start in starts]
    if not added.distinctive(marker) or marker in taken or marker in where:
        return False
    before = {gap for gap in gaps if not is_right(gap, markers)}
    where.append(marker)
    after = {gap for gap in gaps if not is_right(gap, markers)}
    if after < before or (after == before and not must_help):
        return True
    where.remove(marker)
    return False


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
        what = (
            f"question {probe[0][1]!r} and answer {probe[1][1]!r} do not each occur exactly once in the rendered text:\n{text!r}"
        )
    return ChatFormatError(f"chat template: {what}\n{BY_HAND}")


def underivable(template: Template, fault: str) -> ChatFormatError:
    """The error for turns that were not found: the rendered text, the contents in it, and what failed."""
    shape = ("system", *ROUND * 2) if template.locate_contents(marked_probe(("system", *ROUND * 2))) else ROUND
    found = template.locate_contents(marked_probe(shape))
    shown = show(*found) if found else "(nothing rendered)"
    return ChatFormatError(
        f"chat template: turn boundaries could not be derived: {fault}.\nRendered, contents as <<role>>:\n{shown}\n{BY_HAND}"
    )


def show(text: str, contents: Sequence[ContentSpan]) -> str:
    """The text with each content replaced by its role."""
    out, at = "", 0
    for content in contents:
        out, at = out + text[at : content.start] + f"<<{content.kind}>>", content.stop
    return out + text[at:]
