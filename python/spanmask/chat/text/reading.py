"""A rendered twin -> its skeleton. Nothing is compared with markers of a format, so contents cannot be confused with them."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from spanmask.chat.template.gaps import common_prefix
from spanmask.chat.text.bounded_cache import BoundedCache
from spanmask.chat.text.skeleton import Place, Skeleton, TurnPlaces
from spanmask.chat.text.turn_edges import ASSISTANT, Blank, Render, TurnEdges, after, size_of
from spanmask.chat.text.twin import OPENING_TAG, Exchange, Kind, Leaf, mark, marks_in, without_marks

__all__ = ["read_skeleton"]

Result = TypeVar("Result")

CLOSING_TAG = (
    r"(?i)(?:[<\[]/[^<>\[\]\s]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]|<\|end_of_(?:thought|thinking)\|>|<channel\|>)\s*"
)
# Kinds of leaves that make no turn: where their message has one, they are part of it, or of its header.
PASSED_OVER = (Kind.NAME, Kind.FIELD)
RESULT_ROLE = "tool"


def read_skeleton(edges: TurnEdges, twin: Exchange, render: Render, text: str, context: str) -> Skeleton | None:
    """The skeleton of a rendered twin; `None` if its turns cannot be distinguished.

    Args:
        render: renders beginnings of the twin, with or without the generation prompt.
        context: what the template renders with, beside the messages.
    """
    return Reading(edges, twin, render, text, context).skeleton()


@dataclass(slots=True)
class Span:
    """A turn in a twin's text. All positions count characters.

    `first_leaf`, `last_leaf`: the start of the first mark and the stop of the last one; for a turn without text, those of its blanks.
    `filler`: a mark that the template would write in place of the blanks; empty if it writes something else around a text.
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
    filler: str = ""


@dataclass
class Reading:
    """The reading of one twin.

    `context`: what the template renders with, beside the messages.
    """

    edges: TurnEdges
    twin: Exchange
    render: Render
    text: str
    context: str

    def __post_init__(self) -> None:
        self.marks = self.twin.marks_in(self.text)
        self.beginnings: dict[tuple[int, bool], str | None] = {}
        self.outlines = [outline(message) for message in self.twin.messages]
        self.first_user = next((at for at, message in enumerate(self.twin.messages) if message.get("role") == "user"), None)

    def surroundings(self, message: int) -> tuple[Any, ...]:
        """What templates look at when they write the edges of a message: the message, the one before it, whether a question came before."""
        before = self.outlines[message - 1] if message else ""
        return self.context, before, self.outlines[message], self.first_user is not None and self.first_user < message

    def beginning(self, count: int, generation: bool) -> str | None:
        """The first messages, rendered."""
        key = (count, generation)
        if key not in self.beginnings:
            self.beginnings[key] = self.render(self.twin.messages[:count], generation) if count else None
        return self.beginnings[key]

    def skeleton(self) -> Skeleton | None:
        """Find the turns, and cut the text at the marks. `None` if the turns cannot be distinguished."""
        spans = self.spans()
        if spans is None:
            return None
        previous: Span | None = None
        for at, span in enumerate(spans):
            limit = spans[at + 1].first_leaf if at + 1 < len(spans) else len(self.text)
            if not self.close(span, limit):
                return None
            self.open(span, previous)
            self.find_reasoning(span)
            previous = span
        dropped = self.dropped(spans)
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
            leaf = self.twin.leaves[number]
            if leaf.kind in PASSED_OVER:
                continue
            role = RESULT_ROLE if leaf.kind is Kind.RESULT else self.role(leaf.message)
            if spans and (spans[-1].message, spans[-1].role) == (leaf.message, role):
                spans[-1].last_leaf = stop
                spans[-1].leaves.append((start, stop, number))
            else:
                spans.append(Span(role, leaf.message, start, stop, [(start, stop, number)]))
        numbers = [number for span in spans if span.role == ASSISTANT for _, _, number in span.leaves]
        if len(numbers) != len(set(numbers)):
            return None
        return self.with_bare_turns(spans)

    def with_bare_turns(self, spans: list[Span]) -> list[Span]:
        """Add the assistant's turns that have no marks but names and ids: calls without arguments, and blank answers."""
        in_order, last = set(), -1
        for span in spans:
            if span.message > last and span.role == ASSISTANT:
                in_order.add(span.message)
            last = max(last, span.message)
        for number, message in enumerate(self.twin.messages):
            # What is passed over here has no marks, or its text is written after the results of its calls (Gemma 4).
            if message.get("role") != ASSISTANT or number in in_order:
                continue
            at = next((at for at, span in enumerate(spans) if span.message > number), len(spans))
            own = next((at for at, span in enumerate(spans) if span.message == number), None)
            at = at if own is None else min(own, at)
            left = spans[at - 1].last_leaf if at else 0
            right = spans[at].first_leaf if at < len(spans) else len(self.text)
            labels = call_labels(message)
            if named := self.named_in_calls(number, {*labels.names, *labels.ids}, left, right):
                spans.insert(at, Span(ASSISTANT, number, named[0][0], named[-1][1], named))
            elif own is None and not labels.calls and not self.has_text(number):
                blank = self.blank_turn(number, left, right)
                if blank is not None:
                    spans.insert(at, blank)
        return spans

    def kept(self, cache: BoundedCache[Result], message: int, left: int, right: int, make: Callable[[], Result]) -> Result:
        """A result about the text between two turns, which is made once for all that look alike."""
        gap = self.text[left:right]
        key = self.surroundings(message), without_marks(gap), not left, right == len(self.text)
        return cache.get(key, size_of(gap), make)

    def named_in_calls(self, message: int, labels: Container[str], left: int, right: int) -> list[tuple[int, int, int]]:
        """The marks of the names and ids of a message's calls. The header of a result may repeat them: those are not at the end of the
        text when the call is the last message.
        """
        first, last = (bisect_left(self.marks, (at,)) for at in (left, right))
        found = [one for one in self.marks[first:last] if one[1] <= right and mark(one[2]) in labels]
        if not found:
            return []
        return found[: self.kept(self.edges.calls, message, left, right, lambda: self.count_named(message, labels, left))]

    def count_named(self, message: int, labels: Container[str], left: int) -> int:
        """How many names and ids of a message's calls the template writes after a place, if the message is the last one."""
        beginning = self.beginning(message + 1, False)
        if beginning is None:
            return 0
        written = sum(mark(number) in labels for _, _, number in self.twin.marks_in(beginning))
        earlier = sum(mark(number) in labels for _, stop, number in self.marks if stop <= left)
        return max(written - earlier, 0)

    def blank_turn(self, message: int, left: int, right: int) -> Span | None:
        """The turn of a blank answer."""
        blank = self.kept(self.edges.blanks, message, left, right, lambda: self.find_blank(message, left, right))
        if blank is None:
            return None
        filler = mark(len(self.twin.leaves)) if blank.is_filled else ""
        return Span(ASSISTANT, message, left + blank.start, left + blank.stop, [], filler=filler)

    def find_blank(self, message: int, left: int, right: int) -> Blank | None:
        """Where a blank answer is: between the texts that the template writes around a text; or where its content would be, after the
        generation prompt or the usual header.
        """
        filler = mark(len(self.twin.leaves))
        text = self.render([*self.filled(message, filler), *self.twin.messages[message + 1 :]], False)
        head, found, rest = (text or "").partition(filler)
        # Some templates write the line break before a text only if there is one (GLM 4.5).
        for before, blanks in ((head, self.content(message)), (head, ""), (head.rstrip(), "")) if found else ():
            start, stop = len(before), len(before) + len(blanks)
            if not blanks.strip() and left <= start and stop <= right and self.text.startswith(before + blanks + rest):
                return Blank(start - left, stop - left, is_filled=True)
        begin = self.begin_of_blank(message, left, right)
        return None if begin is None else Blank(begin - left, begin - left, is_filled=False)

    def filled(self, message: int, filler: str) -> list[Mapping[str, Any]]:
        """The messages up to one whose content is exchanged."""
        content = self.edges.plain_message(ASSISTANT, filler)["content"]
        return [*self.twin.messages[:message], {**self.twin.messages[message], "content": content}]

    def begin_of_blank(self, message: int, left: int, right: int) -> int | None:
        before = self.beginning(message, True)
        header = self.edges.plain.headers.get(ASSISTANT, "")
        if before is not None and self.text.startswith(before) and left <= len(before) <= right:
            # Some templates have no generation prompt, or none after results.
            is_header = self.edges.added.distinctive(header) and self.text.startswith(header, len(before))
            return len(before) + (len(header) if is_header else 0)
        headers = self.edges.beginnings_of_header()
        at = min((at for some in headers if (at := self.text.find(some, left, right)) >= 0), default=None)
        if at is None:
            return None
        begin = at + next(len(some) for some in headers if self.text.startswith(some, at))
        prompt = "" if before is None else common_prefix({before, self.text}, self.edges.added)
        return len(prompt) if begin < len(prompt) <= right else begin

    def leaves_in(self, text: str) -> list[Leaf]:
        """The leaves whose marks occur in a text."""
        return [self.twin.leaves[number] for _, _, number in self.twin.marks_in(text)]

    def role(self, message: int) -> str:
        return str(self.twin.messages[message].get("role", ""))

    def has_text(self, message: int) -> bool:
        """Whether a message has any text other than reasoning, which many templates leave out."""
        return any(leaf.message == message and leaf.kind in (Kind.CONTENT, Kind.CALL) for leaf in self.twin.leaves)

    def end_gap(self, span: Span) -> tuple[str | None, bool]:
        """The text after a message at the end of the text, and whether it has more of this message (Gemma 4: an answer that is written
        after the results of its own calls, if there are any).
        """
        if span.filler:
            beginning = self.render(self.filled(span.message, span.filler), False)
            return None if beginning is None else after(beginning, span.filler), False
        beginning = self.beginning(span.message + 1, False)
        start, stop, _ = span.leaves[-1]
        end = None if beginning is None else after(beginning, self.text[start:stop])
        end = None if end is None else end.removeprefix(self.text[stop : span.last_leaf])
        more = any(leaf.message == span.message and leaf.kind not in PASSED_OVER for leaf in self.leaves_in(end or ""))
        return end, more

    def close(self, span: Span, limit: int) -> bool:
        """Find where a turn ends. `limit`: where the next turn's content begins. False if that cannot be told."""
        if span.leaves:
            span.last_leaf += self.length_of_tags_after(span)
        gap = self.text[span.last_leaf : limit]
        if span.leaves or span.filler:
            has_call = span.role == ASSISTANT and call_labels(self.twin.messages[span.message]).calls > 0
            is_last = limit == len(self.text)
            closing = self.edges.closing(
                self.surroundings(span.message),
                span.role,
                gap,
                has_call=has_call,
                is_last=is_last,
                end=lambda: self.end_gap(span),
            )
        else:
            closing = self.edges.blank_closing(span.role, gap)
        if closing is None:
            return False
        span.content_stop, span.stop = span.last_leaf + closing.content_stop, span.last_leaf + closing.stop
        span.stop_token = closing.stop_token
        return True

    def open(self, span: Span, previous: Span | None) -> None:
        """Find where a turn's header and content begin."""
        left = previous.stop if previous else 0
        lead = self.text[left : span.first_leaf]
        kind = self.twin.leaves[span.leaves[0][2]].kind if span.leaves else None
        is_labelled = call_labels(self.twin.messages[span.message]).occur_in(lead)
        tags = self.tags_before_marks(span.message) if kind is Kind.CONTENT else ""
        opening = self.edges.opening(
            (self.surroundings(span.message), previous.role if previous else "", kind, is_labelled, tags),
            span.role,
            lead,
            has_leaves=bool(span.leaves or span.filler),
            prompt=lambda: self.prompt_after(span, previous, left),
            plain_lead=lambda: self.common_with_plain(span, previous, left),
        )
        span.start, span.content_start, span.prefill_stop = (left + at for at in opening)
        if span.filler and span.stop == span.content_stop and not span.stop_token:  # blanks alone are no answer
            span.content_start = span.prefill_stop = span.content_stop

    def prompt_after(self, span: Span, previous: Span | None, left: int) -> str | None:
        """What the generation prompt puts after the previous turn."""
        prompt = self.beginning(span.message, True)
        head = self.text[:left]
        if prompt is None:
            return None
        if previous is None or prompt.startswith(head):
            return prompt[len(head) :]
        if not previous.leaves:
            return None
        start, stop, _ = previous.leaves[-1]
        rest = after(prompt, self.text[start:stop])
        return None if rest is None else rest[left - stop :]

    def common_with_plain(self, span: Span, previous: Span | None, left: int) -> str:
        """The text before a turn that an answer without reasoning or calls would have as well."""
        lead = self.text[left : span.first_leaf]
        if span.filler:
            return lead
        if self.twin.leaves[span.leaves[0][2]].kind is Kind.CONTENT:
            header = self.edges.plain.headers.get(ASSISTANT, "")
            if header in lead and call_labels(self.twin.messages[span.message]).occur_in(lead):
                return lead[: lead.rfind(header) + len(header)]  # calls without arguments, before the text of their message
            tags = self.tags_before_marks(span.message)
            return lead.removesuffix(tags if lead.endswith(tags) else tags.lstrip())
        answer = mark(len(self.twin.leaves))
        messages = [*self.twin.messages[: span.message], self.edges.plain_message(ASSISTANT, answer)]
        text = self.render(messages, False)
        if text is None or answer not in text:
            return lead
        before = text[: text.index(answer)]
        if before.startswith(self.text[:left]):
            return common_prefix({before[left:], lead}, self.edges.added)
        if (
            previous is None or not previous.leaves
        ):  # else what is written before may differ (declarations before the last question)
            return lead
        start, stop, _ = previous.leaves[-1]
        rest = after(before, self.text[start:stop])
        return lead if rest is None else common_prefix({rest[left - stop :], lead}, self.edges.added)

    def tags_before_marks(self, message: int) -> str:
        """The tags and blanks with which a content begins."""
        text = self.content(message)
        marks = self.twin.marks_in(text)
        return text[: marks[0][0]] if marks else ""

    def length_of_tags_after(self, span: Span) -> int:
        """How much of the text after a turn's last mark is not the template's: the tags with which its content ends."""
        text = self.content(span.message)
        marks = self.twin.marks_in(text)
        if not marks or marks[-1][2] != span.leaves[-1][2]:
            return 0
        tags = text[marks[-1][1] :]
        return next((len(some) for some in (tags, tags.rstrip()) if self.text.startswith(some, span.last_leaf)), 0)

    def content(self, message: int) -> str:
        """The text of a twin's content."""
        content = self.twin.messages[message].get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        return "".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))

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
        if close is None:  # what is not closed extends to the end of the content
            span.reasoning_stop = thoughts[-1] if thoughts else span.content_stop
            return
        span.reasoning_stop = close.end()
        is_before_text = not span.leaves or close.end() <= span.first_leaf
        span.empty_reasoning = is_before_text and not self.text[tag.end() : close.start()].strip()

    def dropped(self, spans: Sequence[Span]) -> tuple[tuple[int, str], ...]:
        """What the template leaves out of the assistant's messages. Reasoning is not counted: many templates drop it from history."""
        present = {number for _, _, number in self.marks}
        rendered = {span.message for span in spans}
        values: defaultdict[int, list[list[int]]] = defaultdict(list)  # of the calls of each message
        for owner, some in self.twin.calls:
            values[owner].append(some)
        texts: defaultdict[int, list[int]] = defaultdict(list)
        for at, leaf in enumerate(self.twin.leaves):
            if leaf.kind is Kind.CONTENT:
                texts[leaf.message].append(at)
        dropped = []
        for number, message in enumerate(self.twin.messages):
            if message.get("role") != ASSISTANT:
                continue
            labels = call_labels(message)
            are_written = all(present.issuperset(some) for some in values[number])
            if labels.calls and not (are_written and (all(values[number]) or self.labels_written(number, labels, spans))):
                dropped.append((number, "tool calls"))
            if texts[number] and (number not in rendered or not present.intersection(texts[number])):
                dropped.append((number, "content"))
        return tuple(dropped)

    def labels_written(self, message: int, labels: Labels, spans: Sequence[Span]) -> bool:
        """Whether a message is written with the name or id of each of its calls. Its results, which may repeat them, come later."""
        own = [self.text[span.start : span.stop] for span in spans if span.message == message and span.role == ASSISTANT]
        if labels.most_in(own) >= labels.calls:
            return True  # in a turn of the message itself: nothing needs to be rendered
        beginning, before = self.beginning(message + 1, False), self.beginning(message, False) or ""
        if beginning is None:
            return labels.occur_in(self.text)
        return labels.most_in([beginning], [before]) >= labels.calls


def outline(message: Mapping[str, Any]) -> str:
    """What a template may look at in a message of a twin: its fields, tags and blanks, and which calls have arguments."""
    fields = dict(message)
    if isinstance(message.get("tool_calls"), list):
        fields["tool_calls"] = [
            bool(marks_in(repr(function.get("arguments") if isinstance(function, Mapping) else None)))
            for function in functions_called(message)
        ]
    return without_marks(repr(fields))


def functions_called(message: Mapping[str, Any]) -> list[Any]:
    """The functions of a message's calls."""
    calls = message.get("tool_calls") or ()
    return [call.get("function", call) if isinstance(call, Mapping) else None for call in calls]


class Labels(NamedTuple):
    """What a message's calls are known by, each text once: templates write their names, their ids, or both."""

    calls: int
    names: tuple[str, ...]
    ids: tuple[str, ...]

    def occur_in(self, text: str) -> bool:
        """Whether a text has one of them."""
        return any(label in text for label in (*self.names, *self.ids))

    def most_in(self, texts: Sequence[str], without: Sequence[str] = ()) -> int:
        """How many names some texts have, or how many ids if they have more of those; without what others of them have."""

        def written(labels: Sequence[str]) -> int:
            return sum(sum(text.count(label) for text in texts) - sum(text.count(label) for text in without) for label in labels)

        return max(written(self.names), written(self.ids))


def call_labels(message: Mapping[str, Any]) -> Labels:
    """The names and ids of a message's calls."""
    calls = message.get("tool_calls") or ()
    names = [function.get("name") for function in functions_called(message) if isinstance(function, Mapping)]
    ids = [call.get("id") for call in calls if isinstance(call, Mapping)]
    return Labels(len(calls), *(tuple(dict.fromkeys(str(label) for label in some if label)) for some in (names, ids)))
