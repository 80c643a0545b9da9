"""A chat template -> the boundaries of its turns. No generation marks needed, no template patched.

Bare conversations are rendered (`probe.py`), the text between their contents is cut into markers (`boundaries.py`), those are tokenized in
context (`markers.py`), and the result is tried on random conversations before it is returned (`check.py`): a mask is right, or an error.
Conversations are rendered whole. Comparing renderings of growing prefixes is the usual trick, and wrong where a template rewrites earlier turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from spanmask.chat.boundaries import Atoms, Markers, find_markers, walk
from spanmask.chat.check import check
from spanmask.chat.format import ChatFormat, Marker, RoleBoundary
from spanmask.chat.markers import EDGES, PLAIN, Placed, alternatives
from spanmask.chat.probe import ASSISTANT, BEGIN, END, TOOL, Gap, Mark, Template, bare, gaps_of, role_of
from spanmask.chat.tokens import text_tokenizer
from spanmask.errors import ChatFormatError

__all__ = ["format_from_template"]

ROUND = ("user", ASSISTANT)
CORE = tuple((*system, *ROUND * rounds, *ending) for ending in ((), ("user",)) for system in ((), ("system",)) for rounds in (1, 2, 3)) + (
    ("user",),
    ("system", "user"),
)
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
    ("user", "preamble", "call", "tool", ASSISTANT),
)
THOUGHTS = (
    ("user", "thought", ASSISTANT),
    ("user", "thought", ASSISTANT, "user", "thought", ASSISTANT),
    (*ROUND, "user", "thought", ASSISTANT),
)
NEAR = 40  # characters of a gap that a marker's tokens may depend on
CHECKED = 120


def format_from_template(
    renderer: Any, tokenizer: Any, kwargs: dict[str, Any], ignore_ids: Iterable[int] = ()
) -> ChatFormat:
    """What `ChatFormat.from_tokenizer` and `from_processor` promise. `renderer` has `apply_chat_template`."""
    tokenizer = text_tokenizer(tokenizer)
    ends = {str(token) for token in (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token) if token}
    atoms = Atoms([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens], ends)
    template = Template(renderer, kwargs)
    if not template.settle():
        raise unreadable(template)
    plain = collect(template, (*CORE, *RARE))
    calls = collect(template, CALLS) if template.settle_calls() else []
    thoughts = collect(template, THOUGHTS)
    prompts = collect(template, [shape for shape in (*CORE, *CALLS) if shape[-1] in ("user", "tool")], prompt=True)

    faults = []
    for use_prompt in (True, False):
        markers = find_markers(plain, prompts, atoms, use_prompt=use_prompt)
        extend(markers, [*plain, *calls, *thoughts], atoms)
        wrong = [gap for gap in dict.fromkeys([*plain, *calls, *thoughts]) if not goes_right(gap, markers)]
        wrong = [gap for gap in wrong if gap not in rare_gaps(plain, template)]
        if not markers.starts.get(ASSISTANT):
            faults.append("no text in front of the assistant's contents tells them from the others'")
            continue
        if wrong:
            faults.append(f"the text between {wrong[0].before} and {wrong[0].after}, {wrong[0].text!r}, shows no turn's edge")
            continue
        chat_format = to_ids(tokenizer, markers, [*plain, *calls, *thoughts, *prompts], ignore_ids)
        shapes = [shape for shape in CORE if template.marks(bare(shape)) is not None]
        for some in (CALLS if calls else (), THOUGHTS if thoughts else ()):
            shapes += [shape for shape in some if template.marks(bare(shape)) is not None]
        trial = check(template, tokenizer, chat_format, atoms, shapes, seed=0, count=CHECKED)
        if trial.fault is None and trial.checked >= CHECKED // 3:
            return chat_format
        faults.append(trial.fault or f"only {trial.checked} of {CHECKED} random conversations could be followed through the template")
    raise underivable(template, faults)


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


def rare_gaps(plain: Sequence[Gap], template: Template) -> set[Gap]:
    """Gaps that only odd conversations show (one role twice): good to know, no reason to refuse the template."""
    return set(plain) - set(collect(template, CORE))


def extend(markers: Markers, gaps: Sequence[Gap], atoms: Atoms) -> None:
    """Markers for what plain conversations do not show: results of tools, answers behind them, calls that end in their own way.

    Each gap that goes wrong proposes a marker; it is kept when it puts this gap right and none wrong.
    """
    def faults() -> set[Gap]:
        return {gap for gap in gaps if not goes_right(gap, markers)}

    closes = {kind: common_close(gaps, kind, atoms) for kind in {gap.before for gap in gaps}}
    for gap in gaps:  # a header of their own for the results of tools, where there is one
        if gap.after == "tool" and gap.before != "tool":
            propose_start(markers, "tool", gap.text[len(closes[gap.before]) :], gaps, atoms, must_help=False)
    for gap in gaps:
        if goes_right(gap, markers):
            continue
        opening = gap.text[len(closes[gap.before]) :]
        if role_of(gap.after) == ASSISTANT:
            spans = atoms.spans(gap.text)
            for start in (opening, gap.text[spans[-1][0] :] if spans else "", gap.text):
                if propose_start(markers, ASSISTANT, start, gaps, atoms):
                    break
        else:
            spans = atoms.spans(closes[gap.before])
            for end in [closes[gap.before][start:stop] for start, stop in reversed(spans)]:
                before = faults()
                markers.ends.setdefault(ASSISTANT, []).append(end)
                if gap not in faults() and faults() <= before:
                    break
                markers.ends[ASSISTANT].pop()
            else:
                propose_start(markers, gap.after, opening, gaps, atoms)


def common_close(gaps: Sequence[Gap], kind: str, atoms: Atoms) -> str:
    from spanmask.chat.boundaries import common_prefix

    return common_prefix({gap.text for gap in gaps if gap.before == kind}, atoms)


def propose_start(markers: Markers, role: str, start: str, gaps: Sequence[Gap], atoms: Atoms, must_help: bool = True) -> bool:
    start = start.partition(TOOL)[0]
    before = {gap for gap in gaps if not goes_right(gap, markers)}
    if not atoms.distinctive(start) or markers.owner(start) not in (None, role) or start in markers.starts.get(role, ()):
        return False
    markers.add_start(role, start)
    after = {gap for gap in gaps if not goes_right(gap, markers)}
    if after < before or (after <= before and not must_help):
        return True
    markers.starts[role].remove(start)
    if not markers.starts[role]:
        del markers.starts[role]
    return False


def to_ids(tokenizer: Any, markers: Markers, gaps: Sequence[Gap], ignore_ids: Iterable[int]) -> ChatFormat:
    """Markers as text -> ids, in the gaps they stand in."""
    shown: dict[Marker, str] = {}
    owners: dict[Marker, str] = {}
    boundaries = []
    order = ["system", "user", ASSISTANT, "tool"]
    for role in sorted(markers.starts, key=lambda role: order.index(role) if role in order else len(order)):
        starts = ids_of(tokenizer, markers.starts[role], gaps)
        ends = ids_of(tokenizer, markers.ends.get(role, []), [gap for gap in gaps if role_of(gap.before) == role])
        starts = {ids: text for ids, text in starts.items() if owners.setdefault(ids, role) == role}
        shown = {**ends, **starts, **shown}
        if starts:
            boundaries.append(RoleBoundary(role, list(starts), list(ends)))
    stops = ids_of(tokenizer, markers.stops, gaps)
    heads = ids_of(tokenizer, markers.heads, gaps)
    return ChatFormat(
        boundaries,
        ignore_ids=ignore_ids,
        stop_ids=dict.fromkeys(ids[0] for ids in stops),
        generation_heads=heads,
        texts={**heads, **stops, **shown}.items(),
    )


def ids_of(tokenizer: Any, texts: Sequence[str], gaps: Sequence[Gap]) -> dict[Marker, str]:
    """The alternatives of several markers, wherever they stand in the gaps."""
    found: dict[Marker, str] = {}
    for text in texts:
        sides: dict[tuple[str, bool, str, bool], None] = {}
        for gap in gaps:
            at = gap.text.find(text)
            while at >= 0:
                sides[side_texts(gap, at, at + len(text))] = None
                at = gap.text.find(text, at + 1)
        places = [
            Placed(edge_left + left + text + right + edge_right, len(edge_left + left), len(edge_left + left + text))
            for left, open_left, right, open_right in sides
            for edge_left, edge_right in edge_pairs(open_left, open_right)
        ]
        found = {**alternatives(tokenizer, places), **found}
    return found


def side_texts(gap: Gap, start: int, stop: int) -> tuple[str, bool, str, bool]:
    """What stands left and right of a marker in its gap, and whether a content is near on either side."""
    left, right = gap.text[:start], gap.text[stop:]
    open_left, open_right = gap.before != BEGIN, gap.after != END
    if TOOL in left:
        left, open_left = left.rpartition(TOOL)[2], True
    if TOOL in right:
        right, open_right = right.partition(TOOL)[0], True
    if len(left) > NEAR:
        left, open_left = left[-NEAR:], False
    if len(right) > NEAR:
        right, open_right = right[:NEAR], False
    return left, open_left, right, open_right


def edge_pairs(open_left: bool, open_right: bool) -> list[tuple[str, str]]:
    """Content edges on the sides where a content may stand."""
    lefts, rights = ("", *EDGES) if open_left else ("",), ("", *EDGES) if open_right else ("",)
    few_lefts, few_rights = PLAIN if open_left else ("",), PLAIN if open_right else ("",)
    return list(dict.fromkeys([*((a, b) for a in lefts for b in few_rights), *((a, b) for a in few_lefts for b in rights)]))


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


def underivable(template: Template, faults: Sequence[str]) -> ChatFormatError:
    """Shows the rendered text, the contents in it, and what failed."""
    shape = ("system", *ROUND * 2) if template.marks(bare(("system", *ROUND * 2))) else ROUND
    found = template.marks(bare(shape))
    shown = show(*found) if found else "(nothing rendered)"
    return ChatFormatError(
        f"chat template: its turns cannot be told apart: {faults[0]}.\nRendered, contents as <<role>>:\n{shown}\n{BY_HAND}"
    )


def show(text: str, marks: Sequence[Mark]) -> str:
    """The text with each content replaced by its role."""
    out, at = "", 0
    for mark in marks:
        out, at = out + text[at : mark.start] + f"<<{mark.kind}>>", mark.stop
    return out + text[at:]
