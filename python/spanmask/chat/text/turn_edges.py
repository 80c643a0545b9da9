"""Which part of the template's text between two contents closes a turn, and which opens the next.

What follows a message at the end of the text closes its turn. What the generation prompt puts there opens the assistant's turn, and the
rest up to the first mark is written by the model (channels, the names of calls). Both are found by rendering beginnings of a twin. Twins
have many gaps in common, so the results are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from spanmask.chat.template.gaps import common_prefix, end_in
from spanmask.chat.text.bounded_cache import BoundedCache
from spanmask.chat.text.twin import OPENING_TAG, mark, without_marks
from spanmask.chat.tokens import AddedTokens

__all__ = ["ASSISTANT", "Blank", "Closing", "Opening", "Render", "TurnEdges", "after", "size_of"]

ASSISTANT = "assistant"
MOST_KEPT = 4_000_000  # characters of the gaps whose results are kept, and of what these depend on besides
CONTEXT = 200  # of the latter, about

Render = Callable[[Sequence[Mapping[str, Any]], bool], str | None]


class Closing(NamedTuple):
    """Where a turn ends, in characters after its last mark."""

    content_stop: int
    stop: int
    stop_token: bool = False


class Opening(NamedTuple):
    """Where a turn begins, in characters after the end of the previous turn."""

    start: int
    content_start: int
    prefill_stop: int


class Blank(NamedTuple):
    """Where an answer without text is, in characters after the end of the previous turn.

    `is_filled`: the template writes around its blanks what it writes around a text.
    """

    start: int
    stop: int
    is_filled: bool


@dataclass(slots=True)
class Plain:
    """What plain conversations show: the text that ends each role's turn, and the header that begins it."""

    ends: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)


class TurnEdges:
    """Finds the edges of turns in the gaps of one template.

    Args:
        added: the texts of the tokenizer's added tokens.
        plain_message: makes a message of a role and a text, in the form that the template takes.
        render: renders plain conversations.
    """

    def __init__(self, added: AddedTokens, plain_message: Callable[[str, str], dict[str, Any]], render: Render) -> None:
        self.added = added
        self.plain_message = plain_message
        self.plain = self._read_plain(render)
        self.closings = BoundedCache[Closing | None](MOST_KEPT)
        self.openings = BoundedCache[Opening](MOST_KEPT)
        self.calls = BoundedCache[int](MOST_KEPT)
        self.blanks = BoundedCache[Blank | None](MOST_KEPT)

    def _read_plain(self, render: Render) -> Plain:
        """Render two rounds, and their beginnings."""
        roles = ("user", ASSISTANT, "user", ASSISTANT)
        messages = [self.plain_message(role, mark(number)) for number, role in enumerate(roles)]
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

    def beginnings_of_header(self) -> list[str]:
        """The assistant's header, and its beginnings that identify it, longest first: a blank answer may lack the rest."""
        header = self.plain.headers.get(ASSISTANT, "")
        others = [other for role, other in self.plain.headers.items() if role != ASSISTANT]
        cuts = (header[:stop] for stop in range(len(header), 0, -1) if self.added.may_cut(header, stop))
        return [
            cut
            for cut in cuts
            if self.added.distinctive(cut) and not any(cut.strip() in other for other in others if other.strip())
        ]

    def closing(
        self, context: Any, role: str, gap: str, *, has_call: bool, is_last: bool, end: Callable[[], tuple[str | None, bool]]
    ) -> Closing | None:
        """Where a turn ends in the gap after its last mark. `None` if that cannot be told.

        Args:
            context: what the result depends on beside the gap: results are kept for each.
            end: gives the text after the message at the end of the text, `None` if the template refuses such a text, and whether it has
                more of the same message.
        """
        key = (context, role, without_marks(gap), has_call, is_last)
        return self.closings.get(key, size_of(gap), lambda: self._closing(role, gap, has_call, *end()))

    def blank_closing(self, role: str, gap: str) -> Closing:
        """Where a turn without text ends: after its blanks and the usual end."""
        plain = self.plain.ends.get(role, "")
        at = gap.find(plain) if plain else 0
        content_stop = max(at, 0)
        stop = content_stop + (len(plain) if at >= 0 else 0)
        return Closing(content_stop, stop, self._is_stop_token(role, gap[stop:], has_end=stop > content_stop, has_call=False))

    def _closing(self, role: str, gap: str, has_call: bool, end: str | None, is_split: bool) -> Closing | None:
        plain = self.plain.ends.get(role, "")
        if end is None:
            closing = gap[: gap.find(plain) + len(plain)] if plain and plain in gap else ""
            if not closing and role == ASSISTANT:
                return None
        else:
            closing = common_prefix({gap, end}, self.added)
        if is_split:  # the token that requests results follows directly (Gemma 4)
            closing = gap[: next((stop for start, stop in self.runs(gap) if start <= len(closing) <= stop), len(closing))]
        first = last = 0
        if plain and plain in closing:
            first = closing.find(plain)
            last = first + len(plain)
        elif runs := self.runs(closing):
            first, last = runs[-1] if has_call else runs[0]
            if has_call and closing[last:].strip():  # values without marks (true, null) and closing tags that are not tokens
                first = last = len(closing.rstrip())
        elif has_call:
            first = last = len(closing.rstrip())
        elif self.added.distinctive(closing):
            last = len(closing.rstrip())
        return Closing(first, last, self._is_stop_token(role, gap[last:], has_end=first < last, has_call=has_call))

    def _is_stop_token(self, role: str, rest: str, *, has_end: bool, has_call: bool) -> bool:
        """Whether the text after a turn begins with a token that ends it: the model may end its turn with the token that opens the next
        (GLM), also after the tag that closes a call. The token of its own header cannot be that.
        """
        header = self.plain.headers.get(ASSISTANT)
        if role != ASSISTANT or self.plain.ends.get(role) or (has_end and not (has_call and header is not None)):
            return False
        following = self.added.spans(rest)
        if not following or following[0][0] > 0:
            return False
        token = rest[: following[0][1]]
        return token not in self.added.neutral and not (has_end and str(header).startswith(token))

    def runs(self, text: str) -> list[tuple[int, int]]:
        """Where added tokens occur in a text; tokens that touch are one run."""
        runs: list[tuple[int, int]] = []
        for start, stop in self.added.spans(text):
            if runs and runs[-1][1] == start:
                runs[-1] = (runs[-1][0], stop)
            else:
                runs.append((start, stop))
        return runs

    def opening(
        self,
        context: Any,
        role: str,
        lead: str,
        *,
        has_leaves: bool,
        prompt: Callable[[], str | None],
        plain_lead: Callable[[], str],
    ) -> Opening:
        """Where a turn begins in the text between the end of the previous one and the turn's first mark.

        Args:
            context: what the result depends on beside the lead: results are kept for each.
            prompt: gives what the generation prompt puts there, `None` if the template has none.
            plain_lead: gives the part of the lead that an answer without reasoning or calls would have as well.
        """
        key = (context, role, without_marks(lead), has_leaves)
        return self.openings.get(key, size_of(lead), lambda: self._opening(role, lead, has_leaves, prompt, plain_lead))

    def _opening(
        self, role: str, lead: str, has_leaves: bool, prompt: Callable[[], str | None], plain_lead: Callable[[], str]
    ) -> Opening:
        start = len(lead) - len(lead.lstrip())
        header = self.plain.headers.get(role, "")
        if header and header in lead:
            start = lead.rfind(header)
        if role != ASSISTANT:
            return Opening(start, len(lead), len(lead))
        supplied = lead
        if has_leaves:
            given = self._supplied(prompt(), lead)
            supplied = plain_lead() if given is None else given
            if not supplied.strip() and self.added.distinctive(header) and lead.startswith(header, start):
                supplied = lead[: start + len(header)]  # a header that only calls have after results (DeepSeek)
        content_start = len(supplied)
        tag = next(reversed([*re.finditer(OPENING_TAG, supplied)]), None)
        header = re.split(OPENING_TAG, header)[0].strip()  # a tag before it is the content of another message
        if tag and self.added.distinctive(supplied[: tag.start()]) and not (header and header in supplied[tag.start() :]):
            content_start = tag.start() + len(tag[0]) - len(tag[0].lstrip())
        return Opening(min(start, content_start), content_start, len(supplied))

    def _supplied(self, gap: str | None, lead: str) -> str | None:
        """The text before a turn that is there at inference as well, when the model begins to write.

        `None` if what the template writes there does not identify the assistant: it has no generation prompt, or another one than header.
        """
        if gap is None:
            return None
        supplied = gap if lead.startswith(gap) else common_prefix({gap, lead}, self.added)
        if len(supplied) < len(gap.rstrip()) and lead.startswith(gap.rstrip()):  # calls without the header's last line break
            supplied = gap.rstrip()
        if not lead.strip():  # the header closes the question (Llama 2: ` [/INST]`)
            return supplied
        headers = self.plain.headers
        header = headers.get(ASSISTANT, "")
        part = supplied[lead.rfind(header) :] if header and header in lead else supplied
        others = [other.strip() for role, other in headers.items() if role != ASSISTANT and other.strip()]
        is_header_of_others = any(part.strip() in other or supplied.rstrip().endswith(other) for other in others)
        return supplied if self.added.distinctive(part) and not is_header_of_others else None


def size_of(gap: str) -> int:
    """The size of a result about a gap: the tools of a row are in one of its gaps."""
    return CONTEXT + len(gap)


def after(text: str, leaf: str) -> str | None:
    """The text after the last occurrence of a mark."""
    at = text.rfind(leaf)
    return None if at < 0 else text[at + len(leaf) :]


def between(text: str, left: str, right: str) -> str | None:
    """The text between two marks."""
    rest = text.partition(left)[2]
    return rest.partition(right)[0] if right in rest else None
