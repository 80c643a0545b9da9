"""Gaps -> markers as text: which part of the text between two contents closes a turn, and which opens the next.

The only input from the tokenizer is the texts of its added tokens (`added`): a marker is never cut inside one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from spanmask.chat.template.alignment import Gap
from spanmask.chat.template.shapes import ASSISTANT, BEGIN, END, role_of
from spanmask.chat.tokens import AddedTokens

__all__ = ["Closings", "MarkerTexts", "Opened", "find_markers", "scan_text"]

# Where the reasoning of a turn begins: `<think>`, `[THINK]`, `<|channel>thought`, `<|begin_of_thought|>`. The template's text from there on
# is not part of the marker: the same role opens differently with reasoning, without it, and in earlier turns.
REASONING = re.compile(r"[<\[][^<>\[\]\s]*(?:think|thought|reason)|<\|channel>thought", re.IGNORECASE)
LONG = 100  # characters: a longer opening contains more than a header (a preamble)


@dataclass
class MarkerTexts:
    """Markers as text: `starts` and `ends` by role.

    `stop_tokens`: added tokens of the next header with which the model ends its turn; `prefills`: what the generation prompt puts after
    the assistant's header.
    """

    starts: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    stop_tokens: list[str] = field(default_factory=list)
    prefills: list[str] = field(default_factory=list)

    def owner(self, start: str) -> str | None:
        """The role that a text opens."""
        return next((role for role, starts in self.starts.items() if start in starts), None)

    def add_start(self, role: str, start: str) -> bool:
        """Add a start; False if it already opens another role."""
        if self.owner(start) not in (None, role):
            return False
        if start not in self.starts.setdefault(role, []):
            self.starts[role].append(start)
        return True


def find_markers(gaps: Sequence[Gap], prompts: Sequence[Gap], added: AddedTokens, *, use_prompt: bool = True) -> MarkerTexts:
    """The markers that the gaps of plain conversations show.

    `prompts`: the gaps at the end of texts with a generation prompt. `use_prompt=False`: the assistant's header is the text that the
    rendered turns have in common, no matter how much of it the prompt supplies.
    """
    gaps = [gap for gap in gaps if role_of(gap.before) == gap.before and role_of(gap.after) == gap.after]
    markers = MarkerTexts()
    closes = {role: common_prefix({gap.text for gap in gaps if gap.before == role}, added) for role in kinds_before(gaps)}
    openings = openings_of(gaps, closes, added)
    for role in sorted(openings, key=lambda role: role != ASSISTANT):
        others = [text for other, texts in openings.items() if other != role for text in texts]
        for start in starts_of(openings[role], others, added):
            if role == ASSISTANT and use_prompt:
                start = cut_at_prompt(start, prompts, others, added)
            markers.add_start(role, start)
    markers.prefills = prefills_of(markers.starts.get(ASSISTANT, []), prompts)
    add_ends(markers, gaps, added)
    return markers


def kinds_before(gaps: Sequence[Gap]) -> list[str]:
    """The distinct kinds of the contents before the gaps."""
    return list(dict.fromkeys(gap.before for gap in gaps if gap.before != BEGIN))


def openings_of(gaps: Sequence[Gap], closes: Mapping[str, str], added: AddedTokens) -> dict[str, list[str]]:
    """The text that opens each role's turn, in every gap before it.

    Where a conversation may also end, the text that closes the previous turn is known, and the rest of the gap opens the next. In the
    other gaps, and at the start of the text with everything that templates put there, a known opening is searched for first.
    """
    openings: dict[str, list[str]] = {role: [] for role in (ASSISTANT, *(gap.after for gap in gaps if gap.after != END))}
    may_end = {gap.before for gap in gaps if gap.after == END}
    preludes = set(added.neutral)  # the start of the text, whichever role is first (BOS, `[gMASK]<sop>`)
    for gap in sorted(gaps, key=lambda gap: (gap.before not in may_end, gap.before == BEGIN)):
        if gap.after == END:
            continue
        known = [at for opening in openings[gap.after] if (at := gap.text.rfind(opening)) >= 0]
        if gap.before not in may_end and known:
            opening = gap.text[min(known) :]
            preludes |= {gap.text[: min(known)]} if gap.before == BEGIN else set()
        else:
            opening = cut_opening(gap, closes, openings, preludes, added)
        if (
            gap.after == ASSISTANT
            and (reasoning := REASONING.search(opening))
            and added.distinctive(opening[: reasoning.start()])
        ):
            opening = opening[: reasoning.start()]
        if opening not in openings[gap.after]:
            openings[gap.after].append(opening)
    return openings


def cut_opening(
    gap: Gap, closes: Mapping[str, str], openings: Mapping[str, Sequence[str]], preludes: Iterable[str], added: AddedTokens
) -> str:
    """The part of a gap after the text that closes the previous turn, if that part is a distinctive header; else the whole gap."""
    closing = sorted({close for close in closes.values() if close.strip()}, key=len, reverse=True)
    if gap.before != BEGIN:
        for close in dict.fromkeys([closes[gap.before], *closing]):
            if close and gap.text.startswith(close) and added.distinctive(gap.text[len(close) :]):
                return gap.text[len(close) :]
        return gap.text
    if gap.text in preludes:
        return ""
    own = next((header for header in headers_renamed(openings, gap.after) if gap.text.startswith(header)), "")
    if own and added.spans(own):  # BOS or EOS before every turn is part of the header, not a prelude
        return own
    prelude = max((prelude for prelude in preludes if gap.text.startswith(prelude)), key=len, default="")
    text = gap.text[len(prelude) :] if added.distinctive(gap.text[len(prelude) :]) else gap.text
    cuts = [at + len(close) for close in closing if (at := text.rfind(close)) >= 0]
    rest = next((text[at:] for at in sorted(cuts, reverse=True) if added.distinctive(text[at:])), text)
    renamed = [header for header in headers_renamed(openings, gap.after) if header in rest]
    at_once = next((header for header in renamed if rest.startswith(header)), "")
    return at_once or (rest if len(rest) <= LONG else next(iter(renamed), rest))


def headers_renamed(openings: Mapping[str, Sequence[str]], role: str) -> list[str]:
    """The known headers of other roles, with this role's name in place of theirs."""
    pairs = [(header, name, role) for name, known in openings.items() for header in known]
    pairs += [(header, style(name), style(role)) for header, name, role in pairs for style in (str.upper, str.title)]
    return [
        header.replace(name, other) for header, name, other in pairs if name in header and header.replace(name, other) != header
    ]


def starts_of(openings: Sequence[str], others: Sequence[str], added: AddedTokens) -> list[str]:
    """What the openings of a role have in common, at their ends or else at their beginnings; else each opening itself.

    A common part must distinguish this role from the others: another role's opening may contain it only as its beginning
    (`[INST] ` and `[INST] <<SYS>>`: the longer one wins).
    """

    def is_usable(start: str) -> bool:
        return added.distinctive(start) and not any(start in other and not other.startswith(start) for other in others)

    groups: list[str] = []
    for opening in sorted(openings, key=len):
        for number, group in enumerate(groups):
            shared = [common_suffix({group, opening}, added), common_prefix({group, opening}, added)]
            shared = [start for start in shared if is_usable(start)]
            if shared:
                groups[number] = shared[0]
                break
        else:
            if added.distinctive(opening):
                groups.append(opening)
    return groups


def cut_at_prompt(start: str, prompts: Sequence[Gap], others: Sequence[str], added: AddedTokens) -> str:
    """The part of the assistant's header that the generation prompt supplies: the model writes the rest (channels, recipients)."""
    best = ""
    for prompt in prompts:
        for at in reversed(range(len(prompt.text))):
            common = common_prefix({prompt.text[at:], start}, added)
            alone = added.distinctive(common) and not any(common in other for other in others)
            if alone and len(common) > len(best) and added.may_cut(prompt.text, at):
                best = common
    return best or start


def prefills_of(starts: Sequence[str], prompts: Sequence[Gap]) -> list[str]:
    """What the generation prompts put after the assistant's header."""
    prefills = []
    for prompt in prompts:
        for start in starts:
            if start in prompt.text:
                prefills.append(prompt.text[prompt.text.rindex(start) + len(start) :])
                break
    return [prefill for prefill in dict.fromkeys(prefills) if prefill.strip()]


def add_ends(markers: MarkerTexts, gaps: Sequence[Gap], added: AddedTokens) -> None:
    """Add what closes each role's turn: the common beginning of all gaps after it, or the first added tokens in that.

    If the gaps after the assistant's turns begin differently, each is examined: an added token before the next header is an end; if
    the next header itself begins with an added token, the model ends its turn with it, and it is a stop token (GLM).
    """
    headers = [start for starts in markers.starts.values() for start in starts]

    def first_header(gap: Gap) -> int:
        """Where the first header begins in a gap; the gap's length if there is none."""
        return min((at for start in headers if (at := gap.text.find(start)) >= 0), default=len(gap.text))

    first_gaps = [gap.text for gap in gaps if gap.before == BEGIN]
    for role in kinds_before(gaps):
        end = end_in(common_prefix({gap.text[: first_header(gap)] for gap in gaps if gap.before == role}, added), added)
        if end and not any(header.startswith(end) for header in headers):
            markers.ends[role] = [end]
    if markers.ends.get(ASSISTANT):
        return
    for gap in gaps:
        if gap.before != ASSISTANT:
            continue
        header = first_header(gap)
        end = end_in(gap.text[:header], added)
        if end and added.spans(end) and not any(text.startswith(end) for text in first_gaps):
            if end not in markers.ends.setdefault(ASSISTANT, []):
                markers.ends[ASSISTANT].append(end)
        elif not gap.text[:header].strip() and (spans := added.spans(gap.text[header:])) and spans[0][0] == 0:
            stop = gap.text[header : header + spans[0][1]]
            if stop not in markers.stop_tokens:
                markers.stop_tokens.append(stop)


def end_in(close: str, added: AddedTokens) -> str:
    """The first run of added tokens in a closing text; if there is none, the text itself if it is distinctive."""
    spans = added.spans(close)
    if not spans:
        return close.rstrip() if added.distinctive(close) else ""
    first, stop = spans[0]
    for start, next_stop in spans[1:]:
        if start != stop:
            break
        stop = next_stop
    return close[first:stop]


class Opened(NamedTuple):
    """A turn that opens in a text: at the position of its start marker."""

    at: int
    role: str
    start: str


def scan_text(text: str, state: str | None, markers: MarkerTexts) -> tuple[list[Opened], str | None]:
    """The turns that open in a text, and the role whose turn is open after it, None outside all turns.

    The scan of `turns/mod.rs`, on text. `state`: the role whose turn is open before.
    """
    opened: list[Opened] = []
    at = 0
    while at < len(text):
        start = max(
            (
                (len(start), Opened(at, role, start))
                for role, starts in markers.starts.items()
                for start in starts
                if text.startswith(start, at)
            ),
            default=None,
        )
        closed = max((len(end) for end in markers.ends.get(state or "", ()) if text.startswith(end, at)), default=0)
        if state is not None and closed:
            state, at = None, at + closed
        elif start is not None:
            opened.append(start[1])
            state, at = start[1].role, at + start[0]
        else:
            at += 1
    return opened, state


def common_prefix(texts: Iterable[str], added: AddedTokens) -> str:
    """The longest common beginning that does not split an added token, word or tag."""
    texts = sorted(texts)
    if not texts:
        return ""
    first, last = texts[0], texts[-1]
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while length and not all(added.may_cut(text, length) for text in texts):
        length -= 1
    return first[:length]


class Closings:
    """What closes a content of each kind, whatever comes next: the part of a gap with which a conversation also ends.

    A kind's contents may be closed in several ways: further arguments follow a call's first one. Kinds that end no conversation are
    closed by what all their gaps have in common.
    """

    def __init__(self, gaps: Iterable[Gap], added: AddedTokens) -> None:
        gaps = list(dict.fromkeys(gaps))
        kinds = {gap.before for gap in gaps}
        self.added = added
        self.last = {kind: [gap.text for gap in gaps if gap.before == kind and gap.after == END] for kind in kinds}
        self.common = {
            kind: common_prefix({gap.text for gap in gaps if gap.before == kind}, added) for kind in kinds if kind != BEGIN
        }

    def of(self, before: str, text: str) -> str:
        """What closes a content of the kind `before` with this text after it."""
        ends = self.last.get(before) or ()
        return max((common_prefix({text, end}, self.added) for end in ends), key=len, default=self.common.get(before, ""))

    def are_known(self, before: str) -> bool:
        """Whether conversations end with this kind: else what closes it may hold the next header."""
        return bool(self.last.get(before))


def common_suffix(texts: Iterable[str], added: AddedTokens) -> str:
    """The longest common end that does not split an added token, word or tag."""
    texts = list(texts)
    mirrored = sorted(text[::-1] for text in texts)
    first, last = mirrored[0], mirrored[-1]
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while length and not all(added.may_cut(text, len(text) - length) for text in texts):
        length -= 1
    return texts[0][len(texts[0]) - length :]
