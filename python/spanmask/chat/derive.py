"""A chat template -> the boundaries of its turns. No generation marks needed, no template patched.

Bare conversations are rendered (`probe.py`), the text between their contents is cut into markers (`boundaries.py`), those are tokenized in
context (`markers.py`), and the result is tried on random conversations before it is returned (`check.py`): a mask is right, or an error.
Conversations are rendered whole. Comparing renderings of growing prefixes is the usual trick, and wrong where a template rewrites earlier
turns.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from spanmask.chat.assemble import assemble
from spanmask.chat.boundaries import Atoms, Markers, common_prefix, find_markers, walk
from spanmask.chat.check import check
from spanmask.chat.format import ChatFormat
from spanmask.chat.probe import ASSISTANT, BEGIN, END, TOOL, Gap, Mark, Template, bare, gaps_of, role_of
from spanmask.chat.tokens import text_tokenizer
from spanmask.errors import ChatFormatError, SpanmaskWarning

__all__ = ["format_from_template"]

ROUND = ("user", ASSISTANT)
TALKS = (*((*ROUND * rounds, *last) for last in ((), ("user",)) for rounds in (1, 2, 3)), ("user",))
SYSTEMS = tuple(("system", *talk) for talk in TALKS)
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
THOUGHTS = (
    ("user", "thought", ASSISTANT),
    ("user", "thought", ASSISTANT, "user", "thought", ASSISTANT),
    (*ROUND, "user", "thought", ASSISTANT),
)
CHECKED = 120


def format_from_template(renderer: Any, tokenizer: Any, kwargs: dict[str, Any], ignore_ids: Iterable[int] = ()) -> ChatFormat:
    """What `ChatFormat.from_tokenizer` and `from_processor` promise. `renderer` has `apply_chat_template`."""
    tokenizer = text_tokenizer(tokenizer)
    ends = {str(token) for token in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) if token}
    atoms = Atoms([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens], ends)
    template = Template(renderer, kwargs)
    if not template.settle():
        raise unreadable(template)
    has_calls = template.settle_calls()
    kinds = {"conversations": TALKS, "system messages": SYSTEMS, "reasoning": THOUGHTS}
    kinds |= {"tool calls": CALLS, "text in front of tool calls": PREAMBLES} if has_calls else {}
    shapes = {name: [shape for shape in some if template.marks(bare(shape)) is not None] for name, some in kinds.items()}
    prompts = collect(template, [shape for shape in (*TALKS, *SYSTEMS, *CALLS) if shape[-1] in ("user", "tool")], prompt=True)
    rare = collect(template, RARE)

    def attempt(names: Sequence[str], use_prompt: bool) -> ChatFormat | str:
        """A format for these kinds of conversations, or what is wrong with it."""
        some = [shape for name in names for shape in shapes[name]]
        needed = collect(template, some)
        plain = [gap for gap in needed if {gap.before, gap.after} <= {"user", "system", ASSISTANT, BEGIN, END}]
        markers = find_markers(plain, prompts, atoms, use_prompt=use_prompt)
        if not markers.starts.get(ASSISTANT):
            return "no text in front of the assistant's contents tells them from the others'"
        extend(markers, needed, [gap for gap in rare if gap not in needed], atoms)
        for gap in needed:
            if not goes_right(gap, markers):
                return f"the text between {gap.before} and {gap.after}, {gap.text!r}, shows no turn's edge"
        chat_format = assemble(tokenizer, markers, [*needed, *rare, *prompts], atoms, ignore_ids)
        if chat_format is None:
            return f"the markers {markers.starts[ASSISTANT]} have no tokens of their own"
        trial = check(template, tokenizer, chat_format, atoms, some, seed=0, count=CHECKED)
        if trial.fault is None and trial.checked < CHECKED // 3:
            return f"only {trial.checked} of {CHECKED} random conversations could be followed through the template"
        return trial.fault or chat_format

    names = [name for name in shapes if shapes[name]]
    fault = ""
    for left_out in ((), *((name,) for name in names[:0:-1]), ("tool calls", "text in front of tool calls"), tuple(names[1:])):
        covered = [name for name in names if name not in left_out]
        for use_prompt in (True, False):
            outcome = attempt(covered, use_prompt)
            if isinstance(outcome, ChatFormat):
                if left_out:
                    warn_of(left_out, fault)
                return outcome
            fault = fault or outcome
    raise underivable(template, fault)


def warn_of(missing: Sequence[str], fault: str) -> None:
    """Rows of these kinds would be masked wrongly: whoever has such rows must know."""
    warnings.warn(
        f"chat template: the format does not cover {' and '.join(missing)}: {fault}. "
        "Rows without are masked right; for rows with them write the boundaries by hand (ChatFormat.from_strings).",
        SpanmaskWarning,
        stacklevel=4,
    )


def collect(template: Template, shapes: Iterable[Sequence[str]], prompt: bool = False) -> list[Gap]:
    """The distinct gaps of bare conversations; with `prompt` only those that hold the generation prompt. Refused shapes are left out."""
    gaps: dict[Gap, None] = {}
    for shape in shapes:
        found = template.marks(bare(shape), generation=prompt)
        if found is not None:
            some = gaps_of(*found)
            gaps |= dict.fromkeys(some[-1:] if prompt else some)
    return list(gaps)


def goes_right(gap: Gap, markers: Markers) -> bool:
    """Whether the markers in a gap leave the assistant's turn open exactly where the assistant goes on."""
    return gap.after == END or (walk(gap, markers) == ASSISTANT) == (role_of(gap.after) == ASSISTANT)


def extend(markers: Markers, needed: Sequence[Gap], rare: Sequence[Gap], atoms: Atoms) -> None:
    """Markers for what plain conversations do not show: results of tools, answers behind them, calls that end in their own way.

    Each gap that goes wrong proposes a marker; it is kept when it puts this gap right and none wrong.
    """
    gaps = [*needed, *rare]
    closes = {
        kind: common_prefix({gap.text for gap in needed if gap.before == kind}, atoms) for kind in {gap.before for gap in gaps}
    }
    closes[BEGIN] = ""
    for gap in needed:
        if gap.after == "tool" and role_of(gap.before) == ASSISTANT:
            add_results(markers, gap, closes[gap.before], gaps, atoms)
    for gap in gaps:
        if goes_right(gap, markers):
            continue
        opening = gap.text.removeprefix(closes[gap.before])
        if role_of(gap.after) == ASSISTANT:
            last = [gap.text[slice(*span)] for span in atoms.spans(gap.text)[-1:]]
            tries = [opening, *last, gap.text]
            if gap.after != ASSISTANT:  # what heads a call is the model's own text: rather what closes the turn before
                close = closes[gap.before]
                tries = [*(close[slice(*span)] for span in reversed(atoms.spans(close))), *tries]
            for start in tries:
                if propose(markers, markers.starts.setdefault(ASSISTANT, []), start, gaps, atoms):
                    break
        else:
            for left, right in reversed(atoms.spans(closes[gap.before])):
                if propose(markers, markers.ends.setdefault(ASSISTANT, []), closes[gap.before][left:right], gaps, atoms):
                    break
            else:
                propose(markers, markers.starts.setdefault(gap.after, []), opening, gaps, atoms)
    markers.starts = {role: starts for role, starts in markers.starts.items() if starts}


def add_results(markers: Markers, gap: Gap, close: str, gaps: Sequence[Gap], atoms: Atoms) -> None:
    """A header of their own for the results of tools, where an added token is in it.

    Where the header has none, but what closes the call ends with one that closes no other turn, that one heads the results; the model
    writes it to ask for them, so it is a stop token (Gemma 4). In formats whose turns end with the next header (GLM) this header's first
    is one too.
    """
    opening = gap.text[len(close) :].partition(TOOL)[0]
    for end in markers.ends.get(ASSISTANT, ()):
        opening = opening.removeprefix(end)
    spans = atoms.spans(close)
    ends = [end for ends in markers.ends.values() for end in ends]
    if (
        not atoms.spans(opening)
        and spans
        and close.endswith(last := close[slice(*spans[-1])])
        and not any(last in end for end in ends)
    ):
        opening = last + opening
        markers.stops.append(last)
    elif markers.stops and (first := atoms.spans(opening)) and first[0][0] == 0:
        markers.stops.append(opening[: first[0][1]])
    if atoms.spans(opening):
        propose(markers, markers.starts.setdefault("tool", []), opening, gaps, atoms, must_help=False)


def propose(markers: Markers, where: list[str], marker: str, gaps: Sequence[Gap], atoms: Atoms, must_help: bool = True) -> bool:
    """Add a marker to one of the lists of `markers`, if that puts a gap right and none wrong."""
    marker = marker.partition(TOOL)[0]
    taken = [start for starts in markers.starts.values() for start in starts]
    if not atoms.distinctive(marker) or marker in taken or marker in where:
        return False
    before = {gap for gap in gaps if not goes_right(gap, markers)}
    where.append(marker)
    after = {gap for gap in gaps if not goes_right(gap, markers)}
    if after < before or (after == before and not must_help):
        return True
    where.remove(marker)
    return False


BY_HAND = (
    "Write the boundaries by hand: "
    'ChatFormat.from_strings(tokenizer, assistant=("ASSISTANT:", "</s>"), user="USER:"), with the texts of this template; '
    "variables that it needs can be given: ChatFormat.from_tokenizer(tokenizer, tools=[...], enable_thinking=False)."
)


def unreadable(template: Template) -> ChatFormatError:
    """A template that does not even show one question and its answer."""
    probe = bare(ROUND)
    text = template.render(probe)
    if text is None:
        what = f"it refuses one question and its answer: {type(template.refusal).__name__}: {template.refusal}"
    else:
        what = f"one question and its answer ({probe[0][1]!r}, {probe[1][1]!r}) do not both come through once:\n{text!r}"
    return ChatFormatError(f"chat template: {what}\n{BY_HAND}")


def underivable(template: Template, fault: str) -> ChatFormatError:
    """Shows the rendered text, the contents in it, and what failed."""
    shape = ("system", *ROUND * 2) if template.marks(bare(("system", *ROUND * 2))) else ROUND
    found = template.marks(bare(shape))
    shown = show(*found) if found else "(nothing rendered)"
    return ChatFormatError(
        f"chat template: its turns cannot be told apart: {fault}.\nRendered, contents as <<role>>:\n{shown}\n{BY_HAND}"
    )


def show(text: str, marks: Sequence[Mark]) -> str:
    """The text with each content replaced by its role."""
    out, at = "", 0
    for mark in marks:
        out, at = out + text[at : mark.start] + f"<<{mark.kind}>>", mark.stop
    return out + text[at:]
