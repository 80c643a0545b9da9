"""A rendered twin -> its skeleton: the template's own text between the marks, and where turns begin and end in it.

Which part of that text opens a turn, and which closes it, is found by rendering beginnings of the twin. What follows a message at the
end of the text closes its turn. What the generation prompt puts there opens the assistant's turn, and the rest up to the first mark is
written by the model (channels, the names of calls). Nothing is compared with markers of a format, so contents cannot confuse it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spanmask.chat.template.gaps import common_prefix, end_in
from spanmask.chat.tokens import AddedTokens
from spanmask.chat.twin import Exchange, Kind, Leaf, mark, marks_in

__all__ = ["ASSISTANT", "Place", "Render", "Skeleton", "SkeletonReader", "TurnPlaces"]

ASSISTANT = "assistant"
OPENING_TAG = r"(?i)\s*(?:[<\[][^<>\[\]\s/]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]|<\|channel>thought)"
CLOSING_TAG = (
    r"(?i)(?:[<\[]/[^<>\[\]\s]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]|<\|end_of_(?:thought|thinking)\|>|<channel\|>)\s*"
)

Render = Callable[[Sequence[Mapping[str, Any]], bool], str | None]


class Place(NamedTuple):
    """A place in a template's own text: a gap of the skeleton, and the characters before the place in it."""

    gap: int
    offset: int


@dataclass(slots=True)
class Span:
    """A turn in a twin's text. All positions count characters.

    `first_leaf`, `last_leaf`: the start of the first mark and the stop of the last one; both equal for a turn without text.
    """

    role: str
    message: int
    first_leaf: int
    last_leaf: int
    leaves: list[tuple[int, int, int]]
    start: int = 0
    content_start: int = 0
    prefill_stop: int = 0
    reasoning_stop: int = 0
    content_stop: int = 0
    stop: int = 0
    stop_token: bool = False
    empty_reasoning: bool = False


class TurnPlaces(NamedTuple):
    """A turn in a skeleton.

    `places`: start, content_start, prefill_stop, reasoning_stop, content_stop and stop, as in the columns of `Turns`.
    """

    role: str
    message: int
    places: tuple[Place, Place, Place, Place, Place, Place]
    stop_token: bool
    empty_reasoning: bool


class Skeleton(NamedTuple):
    """What all conversations of one shape have in common.

    `order`: the leaves in the order of the text; `gaps[i]` is before leaf `order[i]`, and the last gap ends the text.
    `dropped`: messages of the assistant of which the template leaves something out, and what.
    """

    gaps: tuple[str, ...]
    order: tuple[int, ...]
    turns: tuple[TurnPlaces, ...]
    dropped: tuple[tuple[int, str], ...]


@dataclass(slots=True)
class Plain:
    """What plain conversations show: the text that ends each role's turn, and the header that begins it."""

    ends: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class SkeletonReader:
    """Reads the skeletons of one template.

    Args:
        added: the texts of the tokenizer's added tokens.
        plain_message: makes a message of a role and a text, in the form that the template takes.
        render: renders plain conversations.
    """

    def __init__(self, added: AddedTokens, plain_message: Callable[[str, str], dict[str, Any]], render: Render) -> None:
        self.added = added
        self.plain = self._read_plain(plain_message, render)
        self.plain_message = plain_message

    def read(self, twin: Exchange, render: Render, text: str) -> Skeleton | None:
        """The skeleton of a rendered twin; `None` if its turns cannot be distinguished."""
        reading = Reading(self, twin, render, text)
        return reading.skeleton()

    def _read_plain(self, message: Callable[[str, str], dict[str, Any]], render: Render) -> Plain:
        """Render two rounds, and their beginnings."""
        roles = ("user", ASSISTANT, "user", ASSISTANT)
        messages = [message(role, mark(number)) for number, role in enumerate(roles)]
        plain = Plain()
        text = render(messages, False)
        if text is None:
            return plain
        for number in (1, 0):
            role, next_role = roles[number], roles[number + 1]
            gap = between(text, mark(number), mark(number + 1))
            beginning = render(messages[: number + 1], False)
            end = None if beginning is None else after(beginning, mark(number))
            if gap is None or end is None:
                continue
            closing = common_prefix({gap, end}, self.added)
            plain.ends[role] = end_in(closing, self.added)
            plain.headers[next_role] = gap[len(closing) :].lstrip()
        return plain


def after(text: str, leaf: str) -> str | None:
    """The text after the last occurrence of a mark."""
    at = text.rfind(leaf)
    return None if at < 0 else text[at + len(leaf) :]


def between(text: str, left: str, right: str) -> str | None:
    """The text between two marks."""
    rest = text.partition(left)[2]
    return rest.partition(right)[0] if right in rest else None


@dataclass
class Reading:
    """The reading of one twin."""

    reader: SkeletonReader
    twin: Exchange
    render: Render
    text: str

    def __post_init__(self) -> None:
        self.marks = marks_in(self.text)
        self.added = self.reader.added
        self.beginnings: dict[tuple[int, bool], str | None] = {}

    def beginning(self, count: int, generation: bool) -> str | None:
        """The first messages, rendered."""
        key = (count, generation)
        if key not in self.beginnings:
            self.beginnings[key] = self.render(self.twin.messages[:count], generation) if count else None
        return self.beginnings[key]

    def skeleton(self) -> Skeleton | None:
        """Put all together."""
        spans = self.spans()
        if spans is None:
            return None
        previous: Span | None = None
        for at, span in enumerate(spans):
            limit = spans[at + 1].first_leaf if at + 1 < len(spans) else len(self.text)
            if not self.close(span, limit) or not self.open(span, previous):
                return None
            self.find_reasoning(span)
            previous = span
        dropped = self.dropped({span.message for span in spans})
        cuts = [0, *(edge for start, stop, _ in self.marks for edge in (start, stop)), len(self.text)]
        gaps = tuple(self.text[cuts[at] : cuts[at + 1]] for at in range(0, len(cuts), 2))
        starts = cuts[::2]

        def place(position: int) -> Place:
            gap = bisect_right(starts, position) - 1
            return Place(gap, position - starts[gap])

        turns = tuple(
            TurnPlaces(
                span.role,
                span.message,
                (
                    place(span.start),
                    place(span.content_start),
                    place(span.prefill_stop),
                    place(span.reasoning_stop),
                    place(span.content_stop),
                    place(span.stop),
                ),
                span.stop_token,
                span.empty_reasoning,
            )
            for span in spans
        )
        return Skeleton(gaps, tuple(number for _, _, number in self.marks), turns, dropped)

    def spans(self) -> list[Span] | None:
        """The turns, from the marks: consecutive marks of one message are one turn. `None` if a text of an answer occurs twice."""
        spans: list[Span] = []
        for start, stop, number in self.marks:
            leaf = self.twin.leaves[number] if number < len(self.twin.leaves) else None
            if leaf is None:
                return None
            if leaf.kind is Kind.NAME:
                continue
            if spans and spans[-1].message == leaf.message:
                spans[-1].last_leaf = stop
                spans[-1].leaves.append((start, stop, number))
            else:
                spans.append(Span(self.role(leaf.message), leaf.message, start, stop, [(start, stop, number)]))
        numbers = [number for span in spans if span.role == ASSISTANT for _, _, number in span.leaves]
        if len(numbers) != len(set(numbers)):
            return None
        return self.with_bare_turns(spans)

    def with_bare_turns(self, spans: list[Span]) -> list[Span]:
        """Add the assistant's turns that have no marks but names: calls without arguments, and blank answers."""
        for number, message in enumerate(self.twin.messages):
            if message.get("role") != ASSISTANT:
                continue
            at = next((at for at, span in enumerate(spans) if span.message > number), len(spans))
            own = next((at for at, span in enumerate(spans) if span.message == number), None)
            if own is not None and own < at:
                continue  # else it has no marks, or its text is written after the results of its calls (Gemma 4)
            left = spans[at - 1].last_leaf if at else 0
            right = spans[at].first_leaf if at < len(spans) else len(self.text)
            names = call_names(message)
            if named := self.named_in_calls(number, names, left, right):
                spans.insert(at, Span(ASSISTANT, number, named[0][0], named[-1][1], named))
            elif own is None and not names and not self.has_text(number):
                begin = self.blank_turn(number, left, right)
                if begin is not None:
                    spans.insert(at, Span(ASSISTANT, number, begin, begin, []))
        return spans

    def named_in_calls(self, message: int, names: Sequence[str], left: int, right: int) -> list[tuple[int, int, int]]:
        """The marks of the names of a message's calls. The header of a result may repeat them: those are not at the end of the text
        when the call is the last message.
        """
        beginning = self.beginning(message + 1, False)
        if beginning is None:
            return []
        written = sum(mark(number) in names for _, _, number in marks_in(beginning))
        earlier = sum(mark(number) in names for _, stop, number in self.marks if stop <= left)
        found = [
            (start, stop, number)
            for start, stop, number in self.marks
            if left <= start and stop <= right and mark(number) in names
        ]
        return found[: max(written - earlier, 0)]

    def blank_turn(self, message: int, left: int, right: int) -> int | None:
        """Where the content of a blank answer would be: after the generation prompt, or after the usual header."""
        before = self.beginning(message, True)
        header = self.reader.plain.headers.get(ASSISTANT, "")
        if before is not None and self.text.startswith(before) and left <= len(before) <= right:
            # Some templates have no generation prompt, or none after results.
            is_header = self.added.distinctive(header) and self.text.startswith(header, len(before))
            return len(before) + (len(header) if is_header else 0)
        at = self.text.find(header, left, right) if self.added.distinctive(header) else -1
        return at + len(header) if at >= 0 else None

    def leaves_in(self, text: str) -> list[Leaf]:
        """The leaves whose marks occur in a text."""
        return [self.twin.leaves[number] for _, _, number in marks_in(text) if number < len(self.twin.leaves)]

    def role(self, message: int) -> str:
        return str(self.twin.messages[message].get("role", ""))

    def has_text(self, message: int) -> bool:
        """Whether a message has any text beside reasoning, which many templates leave out."""
        return any(leaf.message == message and leaf.kind in (Kind.CONTENT, Kind.CALL) for leaf in self.twin.leaves)

    def end_gap(self, span: Span) -> str | None:
        """The text after a message at the end of the text."""
        beginning = self.beginning(span.message + 1, False)
        start, stop, _ = span.leaves[-1]
        return None if beginning is None else after(beginning, self.text[start:stop])

    def close(self, span: Span, limit: int) -> bool:
        """Find where a turn ends. `limit`: where the next turn's content begins. False if that cannot be told."""
        gap = self.text[span.last_leaf : limit]
        plain = self.reader.plain.ends.get(span.role, "")
        if not span.leaves:  # a blank answer: its blanks, and the usual end
            at = gap.find(plain) if plain else 0
            span.content_stop = span.last_leaf + max(at, 0)
            span.stop = span.content_stop + (len(plain) if at >= 0 else 0)
            return True
        end = self.end_gap(span)
        if end is None:
            closing = gap[: gap.find(plain) + len(plain)] if plain and plain in gap else ""
            if not closing and span.role == ASSISTANT:
                return False
        elif any(leaf.message == span.message and leaf.kind is not Kind.NAME for leaf in self.leaves_in(end)):
            # The template writes another part of this message here if no results are in between (Gemma 4). The token that requests
            # results follows directly.
            closing = common_prefix({gap, end}, self.added)
            closing = gap[: next((stop for start, stop in self.runs(gap) if start <= len(closing) <= stop), len(closing))]
        else:
            closing = common_prefix({gap, end}, self.added)
        span.content_stop = span.stop = span.last_leaf
        has_call = bool(call_names(self.twin.messages[span.message]))
        if plain and plain in closing:
            span.content_stop += closing.find(plain)
            span.stop = span.content_stop + len(plain)
        elif runs := self.runs(closing):
            first, last = runs[-1] if has_call else runs[0]
            if has_call and closing[last:].strip():  # values without marks (true, null) and closing tags that are no tokens
                first = last = len(closing.rstrip())
            span.content_stop, span.stop = span.last_leaf + first, span.last_leaf + last
        elif has_call:
            span.content_stop = span.stop = span.last_leaf + len(closing.rstrip())
        elif self.added.distinctive(closing):
            span.stop = span.last_leaf + len(closing.rstrip())
        if span.stop == span.content_stop and not plain:  # the model may end its turn with the token that opens the next (GLM)
            following = self.added.spans(self.text[span.stop : limit])
            if following and following[0][0] == 0:
                token = self.text[span.stop : span.stop + following[0][1]]
                span.stop_token = span.role == ASSISTANT and token not in self.added.neutral
        return True

    def runs(self, text: str) -> list[tuple[int, int]]:
        """Where added tokens occur in a text; tokens that touch are one run."""
        runs: list[tuple[int, int]] = []
        for start, stop in self.added.spans(text):
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
        return runs

    def open(self, span: Span, previous: Span | None) -> bool:
        """Find where a turn's header and content begin."""
        left = previous.stop if previous else 0
        lead = self.text[left : span.first_leaf]
        span.start = left + len(lead) - len(lead.lstrip())
        header = self.reader.plain.headers.get(span.role, "")
        if header and header in lead:
            span.start = left + lead.rfind(header)
        span.content_start = span.prefill_stop = span.first_leaf
        if span.role != ASSISTANT:
            return True
        supplied = lead
        if span.leaves:
            prompt = self.supplied(span, previous, left)
            supplied = self.common_with_plain(span, left) if prompt is None else prompt
        span.content_start = span.prefill_stop = left + len(supplied)
        tag = next(reversed([*re.finditer(OPENING_TAG, supplied)]), None)
        header = re.split(OPENING_TAG, header)[0].strip()  # a tag before it is the content of another message
        if tag and self.added.distinctive(supplied[: tag.start()]) and not (header and header in supplied[tag.start() :]):
            span.content_start = left + tag.start() + len(tag[0]) - len(tag[0].lstrip())
        span.start = min(span.start, span.content_start)
        return True

    def supplied(self, span: Span, previous: Span | None, left: int) -> str | None:
        """The text before a turn that is there at inference as well, when the model begins to write.

        `None` if what the template writes there does not identify the assistant: it has no generation prompt, or another one than header.
        """
        prompt = self.beginning(span.message, True)
        gap = None if prompt is None else self.gap_after(prompt, previous, left)
        if gap is None:
            return None
        lead = self.text[left : span.first_leaf]
        supplied = gap if lead.startswith(gap) else common_prefix({gap, lead}, self.added)
        if len(supplied) < len(gap.rstrip()) and lead.startswith(gap.rstrip()):  # calls without the header's last line break
            supplied = gap.rstrip()
        if not lead.strip():  # the header closes the question (Llama 2: ` [/INST]`)
            return supplied
        headers = self.reader.plain.headers
        header = headers.get(ASSISTANT, "")
        part = supplied[lead.rfind(header) :] if header and header in lead else supplied
        others = [other.strip() for role, other in headers.items() if role != ASSISTANT and other.strip()]
        is_header_of_others = any(part.strip() in other or supplied.rstrip().endswith(other) for other in others)
        return supplied if self.added.distinctive(part) and not is_header_of_others else None

    def gap_after(self, prompt: str, previous: Span | None, left: int) -> str | None:
        """The part of a text from the end of a turn on."""
        head = self.text[:left]
        if previous is None or prompt.startswith(head):
            return prompt[len(head) :]
        if not previous.leaves:
            return None
        start, stop, _ = previous.leaves[-1]
        rest = after(prompt, self.text[start:stop])
        return None if rest is None else rest[left - previous.last_leaf :]

    def common_with_plain(self, span: Span, left: int) -> str:
        """The text before a turn that an answer without reasoning or calls would have as well."""
        lead = self.text[left : span.first_leaf]
        if self.twin.leaves[span.leaves[0][2]].kind is Kind.CONTENT:
            header = self.reader.plain.headers.get(ASSISTANT, "")
            if header in lead and any(name in lead for name in call_names(self.twin.messages[span.message])):
                return lead[: lead.rfind(header) + len(header)]  # calls without arguments, before the text of their message
            tags = self.tags_before_marks(span.message)
            return lead.removesuffix(tags if lead.endswith(tags) else tags.lstrip())
        answer = mark(len(self.twin.leaves))
        messages = [*self.twin.messages[: span.message], self.reader.plain_message(ASSISTANT, answer)]
        text = self.render(messages, False)
        at = -1 if text is None else text.find(answer)
        if text is None or at < left:
            return lead
        return common_prefix({text[left:at], lead}, self.added) if text.startswith(self.text[:left]) else lead

    def tags_before_marks(self, message: int) -> str:
        """The tags and blanks with which a content begins."""
        content = self.twin.messages[message].get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        text = "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))
        marks = marks_in(text)
        return text[: marks[0][0]] if marks else ""

    def find_reasoning(self, span: Span) -> None:
        """Find where the reasoning at the head of a turn ends, and whether the template wrote all of it."""
        span.reasoning_stop = span.content_start
        if span.role != ASSISTANT:
            return
        thoughts = [stop for _, stop, number in span.leaves if self.twin.leaves[number].kind is Kind.THOUGHT]
        tag = re.compile(OPENING_TAG).match(self.text, span.content_start, span.content_stop)
        if tag is None:
            if thoughts and thoughts[0] == span.leaves[0][1]:
                span.reasoning_stop = next((start for start, stop, _ in span.leaves if stop > thoughts[-1]), thoughts[-1])
            return
        close = re.compile(CLOSING_TAG).search(self.text, max([tag.end(), *thoughts]), span.content_stop)
        if close is None:
            if thoughts:
                span.reasoning_stop = thoughts[-1]
            return
        span.reasoning_stop = close.end()
        is_before_text = not span.leaves or close.end() <= span.first_leaf
        span.empty_reasoning = is_before_text and not self.text[tag.end() : close.start()].strip()

    def dropped(self, rendered: set[int]) -> tuple[tuple[int, str], ...]:
        """What the template leaves out of the assistant's messages. Reasoning is not counted: many templates drop it from history."""
        present = {number for _, _, number in self.marks}
        dropped = []
        for number, message in enumerate(self.twin.messages):
            if message.get("role") != ASSISTANT:
                continue
            names = call_names(message)
            values, texts = (
                [at for at, leaf in enumerate(self.twin.leaves) if leaf.message == number and leaf.kind is kind]
                for kind in (Kind.CALL, Kind.CONTENT)
            )
            if names and not (present.issuperset(values) and self.names_written(number, names)):
                dropped.append((number, "tool calls"))
            if texts and (number not in rendered or not present.intersection(texts)):
                dropped.append((number, "content"))
        return tuple(dropped)

    def names_written(self, message: int, names: Sequence[str]) -> bool:
        """Whether a message is written with the name of each of its calls. Its results, which may repeat them, come later."""
        beginning, before = self.beginning(message + 1, False), self.beginning(message, False) or ""
        if beginning is None:
            return any(name in self.text for name in names)
        return sum(beginning.count(name) - before.count(name) for name in dict.fromkeys(names)) >= len(names)


def call_names(message: Mapping[str, Any]) -> list[str]:
    """The names of a message's calls."""
    names = []
    for call in message.get("tool_calls") or ():
        function = call.get("function", call) if isinstance(call, Mapping) else {}
        names.append(str(function.get("name", "")) if isinstance(function, Mapping) else "")
    return names
