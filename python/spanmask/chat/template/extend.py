"""Markers for what plain conversations do not show: declared tools, results, answers after them, calls that do not end as answers do, and
further roles.

Each gap that the markers read wrongly proposes a marker, which is kept if it corrects a gap and breaks none.
"""

from __future__ import annotations

from collections.abc import Sequence

from spanmask.chat.template.alignment import NAME_HOLE, Gap, before_hole
from spanmask.chat.template.gaps import Closings, MarkerTexts, scan_text
from spanmask.chat.template.shapes import ASSISTANT, BEGIN, CALL, DECLARED, END, PREAMBLE, THOUGHT, TOOL, role_of
from spanmask.chat.tokens import AddedTokens

__all__ = ["extend", "is_right"]

ROLES = {DECLARED: "tools"}  # the role of a turn that holds declarations only


def is_right(gap: Gap, markers: MarkerTexts) -> bool:
    """Whether the markers read a gap as its contents demand.

    The assistant's turn is open after the gap if and only if the next content is the assistant's; it is open at the name of a called tool;
    and between two contents of others none opens: an empty turn would train a stop token that the model does not write.
    """
    if gap.after == END:
        return True
    opened, state = scan_text(gap.text, role_of(gap.before), markers)
    if (state == ASSISTANT) != (role_of(gap.after) == ASSISTANT):
        return False
    if gap.after == CALL and role_of(gap.before) != ASSISTANT and NAME_HOLE in gap.text:
        at_name = [turn.role for turn in opened if turn.at < gap.text.rindex(NAME_HOLE)]
        return at_name[-1:] == [ASSISTANT]
    others = role_of(gap.after) != ASSISTANT and gap.before not in (BEGIN, DECLARED) and role_of(gap.before) != ASSISTANT
    return not others or all(turn.role != ASSISTANT for turn in opened)


def is_split(gap: Gap, markers: MarkerTexts) -> bool:
    """Whether a turn opens between two parts of one message."""
    parts = gap.before in (THOUGHT, PREAMBLE, CALL) and role_of(gap.after) == ASSISTANT
    return parts and bool(scan_text(gap.text, ASSISTANT, markers)[0])


def extend(markers: MarkerTexts, needed: Sequence[Gap], rare: Sequence[Gap], added: AddedTokens) -> None:
    """Add markers that correct the gaps that are read wrongly. `needed`: the gaps of the conversations that the format must cover."""
    gaps = [*needed, *rare]
    closings = Closings(needed, added)
    for gap in needed:
        if gap.after == TOOL and role_of(gap.before) == ASSISTANT:
            add_results(markers, gap, closings.of(gap.before, gap.text), gaps, added)
    for gap in gaps:
        if is_right(gap, markers):
            continue
        close = closings.of(gap.before, gap.text)
        opening = gap.text.removeprefix(close)
        if role_of(gap.after) == ASSISTANT:
            last = [gap.text[slice(*span)] for span in added.spans(gap.text)[-1:]]
            tries = [opening, *last, gap.text]
            if gap.after != ASSISTANT:  # the model writes the text before a call, so the end of the previous turn is tried first
                tries = [*(close[slice(*span)] for span in reversed(added.spans(close))), *tries]
                if role_of(gap.before) == ASSISTANT:
                    tries.insert(0, last_header(gap, markers, added))
            for start in tries:
                if propose(markers, markers.starts.setdefault(ASSISTANT, []), start, gaps, added):
                    break
        else:
            for left, right in reversed(added.spans(close)):
                if propose(markers, markers.ends.setdefault(ASSISTANT, []), close[left:right], gaps, added):
                    break
            else:
                propose(markers, markers.starts.setdefault(ROLES.get(gap.after, gap.after), []), opening, gaps, added)
    markers.starts = {role: starts for role, starts in markers.starts.items() if starts}
    markers.ends = {role: ends for role, ends in markers.ends.items() if ends}


def add_results(markers: MarkerTexts, gap: Gap, close: str, gaps: Sequence[Gap], added: AddedTokens) -> None:
    """Add a separate header for tool results, if it has an added token.

    If the header has none, but the text that closes the call ends with an added token that closes no other turn, that token opens the
    results; the model writes it to request them, so it is a stop token (Gemma 4). In formats whose turns end with the next header (GLM)
    the first added token of this header is a stop token too.
    """
    opening = before_hole(gap.text[len(close) :])
    for end in markers.ends.get(ASSISTANT, ()):
        opening = opening.removeprefix(end)
    spans = added.spans(close)
    ends = [end for ends in markers.ends.values() for end in ends]
    stop = ""
    if not added.spans(opening) and spans and close.endswith(last := close[slice(*spans[-1])]):
        if not any(last in end for end in ends):
            opening, stop = last + opening, last
    elif markers.stop_tokens and (first := added.spans(opening)) and first[0][0] == 0:
        stop = opening[: first[0][1]]
    if stop and stop not in markers.stop_tokens:
        markers.stop_tokens.append(stop)
    if added.spans(opening):
        propose(markers, markers.starts.setdefault(TOOL, []), opening, gaps, added, must_help=False)


def last_header(gap: Gap, markers: MarkerTexts, added: AddedTokens) -> str:
    """The text after the last end marker of a gap, up to its last added token: the header of a call in a turn of its own."""
    text = before_hole(gap.text)
    stop = max((text.rfind(end) + len(end) for ends in markers.ends.values() for end in ends if end in text), default=0)
    header = text[stop:].lstrip()
    spans = added.spans(header)
    return header[: spans[-1][1]] if spans else ""


def propose(
    markers: MarkerTexts, where: list[str], marker: str, gaps: Sequence[Gap], added: AddedTokens, must_help: bool = True
) -> bool:
    """Add a marker to `where`, one of the lists of `markers`, if that corrects a gap and breaks none.

    Where what ends the last result opens the assistant's turn, it does not between two results: there, the text up to the next result's
    name opens a turn of its own.
    """
    marker = before_hole(marker)
    taken = [start for starts in markers.starts.values() for start in starts]
    if not added.distinctive(marker) or marker in taken or marker in where:
        return False
    before = {gap for gap in gaps if not is_right(gap, markers)}
    split = {gap for gap in gaps if is_split(gap, markers)} | before
    where.append(marker)
    results = markers.starts.get(TOOL, [])
    joints = []
    if where is markers.starts.get(ASSISTANT):
        broken = [gap for gap in gaps if gap.before == gap.after == TOOL and gap not in before and not is_right(gap, markers)]
        joints = [before_hole(gap.text[gap.text.index(marker) :]) for gap in broken if marker in gap.text]
        joints = [joint for joint in dict.fromkeys(joints) if joint not in (*taken, marker)]
        results = markers.starts.setdefault(TOOL, [])
        results += joints
    after = {gap for gap in gaps if not is_right(gap, markers)}
    if (after < before or (after == before and not must_help)) and all(gap in split for gap in gaps if is_split(gap, markers)):
        return True
    where.remove(marker)
    for joint in joints:
        results.remove(joint)
    return False
