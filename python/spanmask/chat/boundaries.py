"""Gaps -> markers, as text: which part of the text between two contents closes a turn, and which opens the next.

No tokenizer is needed here but for the texts of its added tokens (`atoms`): a marker is never cut inside one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from spanmask.chat.probe import ASSISTANT, BEGIN, END, Gap, role_of

__all__ = ["Atoms", "Markers", "find_markers", "walk"]

# Where the reasoning of a turn begins: `<think>`, `[THINK]`, `<|channel>thought`, `<|begin_of_thought|>`. What a template puts there
# belongs to the head of the turn, not to its marker: with reasoning, without it, and in earlier turns the same role opens differently.
REASONING = re.compile(r"[<\[][^<>\[\]\s]*(?:think|thought|reason)|<\|channel>thought", re.IGNORECASE)


LONG = 100  # characters: more than a header, so there is a preamble in it


class Atoms:
    """The texts of added tokens. `ends`: those that say no more than "text begins" or "text ends" (BOS, EOS, padding)."""

    def __init__(self, texts: Iterable[str], ends: Iterable[str] = ()) -> None:
        texts = sorted({text for text in texts if text.strip()}, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, texts)) or r"(?!)")
        self.ends = frozenset(ends)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where added tokens stand in a text."""
        return [match.span() for match in self.pattern.finditer(text)]

    def clean(self, text: str, at: int) -> bool:
        """Whether a marker may be cut here: at an end, at an added token's edge, or next to a blank; never inside a word or a tag."""
        if at in (0, len(text)):
            return True
        spans = self.spans(text)
        if any(start < at < stop for start, stop in spans):
            return False
        return any(at in span for span in spans) or text[at - 1].isspace() or text[at].isspace()

    def distinctive(self, text: str) -> bool:
        """Whether a text can stand for a turn's edge: an added token that means more than an end of text, or two letters or digits."""
        if any(text[start:stop] not in self.ends for start, stop in self.spans(text)):
            return True
        rest = self.pattern.sub("", text)
        return sum(2 if ord(char) > 0x2E7F else 1 for char in rest if char.isalnum()) >= 2


@dataclass
class Markers:
    """Markers as text: `starts` and `ends` by role.

    `stops`: added tokens of the next header by which the model ends its turn; `heads`: what the generation prompt puts behind the
    assistant's header.
    """

    starts: dict[str, list[str]] = field(default_factory=dict)
    ends: dict[str, list[str]] = field(default_factory=dict)
    stops: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    def owner(self, start: str) -> str | None:
        """The role that a text opens."""
        return next((role for role, starts in self.starts.items() if start in starts), None)

    def add_start(self, role: str, start: str) -> bool:
        """One text opens one role only."""
        if self.owner(start) not in (None, role):
            return False
        if start not in self.starts.setdefault(role, []):
            self.starts[role].append(start)
        return True


def find_markers(gaps: Sequence[Gap], prompts: Sequence[Gap], atoms: Atoms, *, use_prompt: bool = True) -> Markers:
    """The markers that the gaps of plain conversations show.

    `prompts`: the gaps at the end of text when a generation prompt is asked for. `use_prompt=False`: the assistant's header is what the
    rendered turns have in common, however much of it the prompt supplies.
    """
    gaps = [gap for gap in gaps if role_of(gap.before) == gap.before and role_of(gap.after) == gap.after]
    markers = Markers()
    closes = {role: common_prefix({gap.text for gap in gaps if gap.before == role}, atoms) for role in befores(gaps)}
    openings = openings_of(gaps, closes, atoms)
    for role in sorted(openings, key=lambda role: role != ASSISTANT):
        others = [text for other, texts in openings.items() if other != role for text in texts]
        for start in starts_of(openings[role], others, atoms):
            if role == ASSISTANT and use_prompt:
                start = cut_at_prompt(start, prompts, others, atoms)
            markers.add_start(role, start)
    markers.heads = heads_of(markers.starts.get(ASSISTANT, []), prompts)
    add_ends(markers, gaps, atoms)
    return markers


def befores(gaps: Sequence[Gap]) -> list[str]:
    return list(dict.fromkeys(gap.before for gap in gaps if gap.before != BEGIN))


def openings_of(gaps: Sequence[Gap], closes: Mapping[str, str], atoms: Atoms) -> dict[str, list[str]]:
    """What opens each role's turn, in every gap in front of it.

    Where a conversation may also end, what closes the turn before is known, and the rest of the gap opens the next. In the other gaps, and
    at the start of the text with all that templates put there, an opening known so far is looked for first.
    """
    openings: dict[str, list[str]] = {role: [] for role in (ASSISTANT, *(gap.after for gap in gaps if gap.after != END))}
    sure = {gap.before for gap in gaps if gap.after == END}
    preludes = set(atoms.ends)  # what stands at the start of the text whoever begins (BOS, `[gMASK]<sop>`)
    for gap in sorted(gaps, key=lambda gap: (gap.before not in sure, gap.before == BEGIN)):
        if gap.after == END:
            continue
        known = [at for opening in openings[gap.after] if (at := gap.text.rfind(opening)) >= 0]
        if gap.before not in sure and known:
            opening = gap.text[min(known) :]
            preludes |= {gap.text[: min(known)]} if gap.before == BEGIN else set()
        else:
            opening = cut_opening(gap, closes, openings, preludes, atoms)
        if (
            gap.after == ASSISTANT
            and (reasoning := REASONING.search(opening))
            and atoms.distinctive(opening[: reasoning.start()])
        ):
            opening = opening[: reasoning.start()]
        if opening not in openings[gap.after]:
            openings[gap.after].append(opening)
    return openings


def cut_opening(
    gap: Gap, closes: Mapping[str, str], openings: Mapping[str, Sequence[str]], preludes: Iterable[str], atoms: Atoms
) -> str:
    """The part of a gap behind what closes the turn before, where that leaves a header worth the name."""
    closing = sorted({close for close in closes.values() if close.strip()}, key=len, reverse=True)
    if gap.before != BEGIN:
        for close in dict.fromkeys([closes[gap.before], *closing]):
            if close and gap.text.startswith(close) and atoms.distinctive(gap.text[len(close) :]):
                return gap.text[len(close) :]
        return gap.text
    if gap.text in preludes:
        return ""
    prelude = max((prelude for prelude in preludes if gap.text.startswith(prelude)), key=len, default="")
    text = gap.text[len(prelude) :] if atoms.distinctive(gap.text[len(prelude) :]) else gap.text
    cuts = [at + len(close) for close in closing if (at := text.rfind(close)) >= 0]
    rest = next((text[at:] for at in sorted(cuts, reverse=True) if atoms.distinctive(text[at:])), text)
    exchanged = [header for header in exchange_names(openings, gap.after) if header in rest]  # another role's header in its name
    at_once = next((header for header in exchanged if rest.startswith(header)), "")
    return at_once or (rest if len(rest) <= LONG else next(iter(exchanged), rest))


def exchange_names(openings: Mapping[str, Sequence[str]], role: str) -> list[str]:
    """Headers known of other roles, with this role's name in them."""
    pairs = [(header, name, role) for name, known in openings.items() for header in known]
    pairs += [(header, style(name), style(role)) for header, name, role in pairs for style in (str.upper, str.title)]
    return [
        header.replace(name, other) for header, name, other in pairs if name in header and header.replace(name, other) != header
    ]


def starts_of(openings: Sequence[str], others: Sequence[str], atoms: Atoms) -> list[str]:
    """What the openings of a role have in common, at their ends or else at their beginnings; else each for itself.

    A common part must tell this role from the others: it may stand in another role's opening only where that goes on behind it
    (`[INST] ` and `[INST] <<SYS>>`: the longer one wins).
    """

    def good(start: str) -> bool:
        return atoms.distinctive(start) and not any(start in other and not other.startswith(start) for other in others)

    groups: list[str] = []
    for opening in sorted(openings, key=len):
        for number, group in enumerate(groups):
            shared = [common_suffix({group, opening}, atoms), common_prefix({group, opening}, atoms)]
            shared = [start for start in shared if good(start)]
            if shared:
                groups[number] = shared[0]
                break
        else:
            if atoms.distinctive(opening):
                groups.append(opening)
    return groups


def cut_at_prompt(start: str, prompts: Sequence[Gap], others: Sequence[str], atoms: Atoms) -> str:
    """The part of the assistant's header that the generation prompt supplies: the model writes the rest (channels, recipients)."""
    best = ""
    for prompt in prompts:
        for at in reversed(range(len(prompt.text))):
            common = common_prefix({prompt.text[at:], start}, atoms)
            alone = atoms.distinctive(common) and not any(common in other for other in others)
            if alone and len(common) > len(best) and atoms.clean(prompt.text, at):
                best = common
    return best or start


def heads_of(starts: Sequence[str], prompts: Sequence[Gap]) -> list[str]:
    """What the generation prompts put behind the assistant's header."""
    heads = []
    for prompt in prompts:
        for start in starts:
            if start in prompt.text:
                heads.append(prompt.text[prompt.text.rindex(start) + len(start) :])
                break
    return [head for head in dict.fromkeys(heads) if head.strip()]


def add_ends(markers: Markers, gaps: Sequence[Gap], atoms: Atoms) -> None:
    """What closes each role's turn: the first added tokens of what all gaps behind it begin with, else that text.

    Where the gaps behind the assistant begin with nothing in common, each is asked: an added token in front of the next header is an end;
    the next header's own first token is a stop token, when it tells the model's turn is over (GLM).
    """
    headers = [start for starts in markers.starts.values() for start in starts]

    def cut(gap: Gap) -> int:
        return min((at for start in headers if (at := gap.text.find(start)) >= 0), default=len(gap.text))

    fresh = [gap.text for gap in gaps if gap.before in (BEGIN, "system")]
    for role in befores(gaps):
        end = end_in(common_prefix({gap.text[: cut(gap)] for gap in gaps if gap.before == role}, atoms), atoms)
        if end and not any(header.startswith(end) for header in headers):
            markers.ends[role] = [end]
    if markers.ends.get(ASSISTANT):
        return
    for gap in gaps:
        if gap.before != ASSISTANT:
            continue
        header = cut(gap)
        end = end_in(gap.text[:header], atoms)
        if end and atoms.spans(end) and not any(text.startswith(end) for text in fresh):
            if end not in markers.ends.setdefault(ASSISTANT, []):
                markers.ends[ASSISTANT].append(end)
        elif not gap.text[:header].strip() and (spans := atoms.spans(gap.text[header:])) and spans[0][0] == 0:
            stop = gap.text[header : header + spans[0][1]]
            if stop not in markers.stops:
                markers.stops.append(stop)


def end_in(close: str, atoms: Atoms) -> str:
    """The first run of added tokens in a closing text; without any the text itself, when it is distinctive."""
    spans = atoms.spans(close)
    if not spans:
        return close.rstrip() if atoms.distinctive(close) else ""
    first, stop = spans[0]
    for start, next_stop in spans[1:]:
        if start != stop:
            break
        stop = next_stop
    return close[first:stop]


def walk(gap: Gap, markers: Markers) -> str | None:
    """The role whose turn is open behind a gap, None outside every turn: the scan of `turns.rs` over the gap's text."""
    state = None if gap.before == BEGIN else role_of(gap.before)
    at = 0
    while at < len(gap.text):
        opened = max(
            ((len(start), role) for role, starts in markers.starts.items() for start in starts if gap.text.startswith(start, at)),
            default=None,
        )
        closed = max((len(end) for end in markers.ends.get(state or "", ()) if gap.text.startswith(end, at)), default=0)
        if state is not None and closed:
            state, at = None, at + closed
        elif opened is not None:
            state, at = opened[1], at + opened[0]
        else:
            at += 1
    return state


def common_prefix(texts: Iterable[str], atoms: Atoms) -> str:
    """The longest common beginning that cuts no added token, word or tag."""
    texts = sorted(texts)
    if not texts:
        return ""
    first, last = texts[0], texts[-1]
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while length and not all(atoms.clean(text, length) for text in texts):
        length -= 1
    return first[:length]


def common_suffix(texts: Iterable[str], atoms: Atoms) -> str:
    """The longest common end that cuts no added token, word or tag."""
    texts = list(texts)
    mirrored = sorted(text[::-1] for text in texts)
    first, last = mirrored[0], mirrored[-1]
    length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    while length and not all(atoms.clean(text, len(text) - length) for text in texts):
        length -= 1
    return texts[0][len(texts[0]) - length :]
