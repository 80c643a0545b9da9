"""A conversation -> its twin: the same conversation with every text exchanged for a unique mark.

A template's own text can be read from the rendered twin, because a mark of letters and digits cannot be confused with it. The twin has the
same roles, parts, tags and blanks as the conversation, so that the template takes the same branches.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from math import isfinite
from typing import Any, NamedTuple

from spanmask.chat.coverage import REASONING_FIELDS

__all__ = [
    "OPENING_TAG",
    "REASONING_TAGS",
    "Exchange",
    "Kind",
    "Leaf",
    "Mentioned",
    "mark",
    "marks_in",
    "mentioned_in",
    "without_marks",
]

# A mark has nine letters and digits: the form of the call ids that Mistral's templates require. Numbers in arguments have marks too,
# because each row has others.
NUMBER = 731_000_000
ANY_MARK = r"zq(\d{5})kx|(?<!\d)731(\d{6})(?!\d)"

# The tags of reasoning. They stay in the twin, because templates cut contents at them. Each alternative begins with a plain character:
# `re` then jumps to the next place where a tag can begin.
TAG_AFTER_BRACKET = r"/?[^<>\[\]\s/]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]"
REASONING_TAGS = rf"<{TAG_AFTER_BRACKET}|\[{TAG_AFTER_BRACKET}|<\|channel>thought\n?|<channel\|>"
PARTS_OF_TAGS = ("think", "thought", "reason", "<channel|>")  # each of those tags has one of them
OPENING_TAG = r"(?i)\s*(?:[<\[][^<>\[\]\s/]*(?:think|thought|reason)[^<>\[\]\s]*[>\]]|<\|channel>thought)"
# String methods whose argument is a text that a template looks for in contents.
METHODS = "split|rsplit|partition|rpartition|startswith|endswith|replace|r?find|index|count|[lr]?strip|removeprefix|removesuffix"
STRING = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
IDENTIFIER = r"[^\W\d]\w*"
REPLACEMENT = rf"\breplace\(\s*({STRING})\s*,\s*({STRING})\s*\)"
LOOKED_FOR = rf"\b(?:{METHODS})\(\s*({STRING})|({STRING})\s+(?:not\s+)?in\b"


class Kind(Enum):
    """What a text of a message is."""

    CONTENT = auto()
    THOUGHT = auto()
    CALL = auto()  # a value among the arguments of a call
    NAME = auto()  # a name or id: templates may repeat it elsewhere
    FIELD = auto()  # a value of any other field
    RESULT = auto()  # a result of a call, in the message that calls


# Fields in which a message holds the results of its own calls (Gemma 4): the model does not write them.
RESULT_FIELDS = ("tool_responses", "tool_results")


class Leaf(NamedTuple):
    """A text of a conversation, and its kind. `number`: the number in its mark is its index in `Exchange.leaves`."""

    message: int
    kind: Kind
    text: str


class Mentioned(NamedTuple):
    """What the templates of a tokenizer mention, so that it must be in the twin as it is.

    `tags`: a pattern of the texts that they look for in contents. `parts`: texts in lower case; what has a tag has one of them.
    `literals`: their strings, with which they may compare a field. `identifiers`: their names: of fields that are not among them,
    templates can at most write the value. `replaced`: pairs of texts, of which they write the second in place of the first.
    """

    tags: re.Pattern[str]
    parts: tuple[str, ...]
    literals: frozenset[str]
    identifiers: frozenset[str]
    replaced: tuple[tuple[str, str], ...]

    def in_text(self, text: str) -> bool:
        """Whether a text has a tag. Most texts do not even have a part of one, which shows faster than a search would end."""
        if text.isascii():  # the pattern knows letters beyond ASCII that are the same in upper and lower case, `lower` does not
            lower = text.lower()
            if not any(part in lower for part in self.parts):
                return False
        return self.tags.search(text) is not None


def mentioned_in(templates: Iterable[str]) -> Mentioned:
    """What templates mention.

    >>> mentioned = mentioned_in(["{% if '</think>' in m.content %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% endif %}<|end|>"])
    >>> mentioned.tags.split("Hm</think>Yes.")
    ['Hm', '</think>', 'Yes.']
    """
    looked_for: list[str] = []
    literals: set[str] = set()
    identifiers: set[str] = set()
    replaced: list[tuple[str, str]] = []
    for template in templates:
        looked_for += [unescaped(match[1] or match[2]) for match in re.finditer(LOOKED_FOR, template)]
        literals.update(unescaped(match[0]) for match in re.finditer(STRING, template))
        identifiers.update(re.findall(IDENTIFIER, template))
        replaced += [(unescaped(match[1]), unescaped(match[2])) for match in re.finditer(REPLACEMENT, template)]
    tags = sorted({text for text in looked_for if text.strip() and not text.isalnum()}, key=len, reverse=True)
    pattern = re.compile(f"({'|'.join([*map(re.escape, tags), REASONING_TAGS])})", re.IGNORECASE)
    parts = tuple(dict.fromkeys([*(tag.lower() for tag in tags), *PARTS_OF_TAGS]))
    return Mentioned(pattern, parts, frozenset(literals), frozenset(identifiers), tuple(dict.fromkeys(replaced)))


def unescaped(literal: str) -> str:
    """The text of a string of a template."""
    return re.sub(r"\\(.)", lambda escape: ESCAPES.get(escape[1], escape[1]), literal[1:-1], flags=re.DOTALL)


def mark(number: int) -> str:
    """The text that stands for a leaf."""
    return f"zq{number:05d}kx"


def marks_in(text: str) -> list[tuple[int, int, int]]:
    """The marks in a rendered twin: (start, stop, number of the leaf)."""
    return [(*match.span(), int(match[1] or match[2])) for match in re.finditer(ANY_MARK, text)]


def without_marks(text: str) -> str:
    """A text in which all marks are the same, for comparisons."""
    return re.sub(ANY_MARK, mark(0), text)


@dataclass(slots=True)
class Exchange:
    """The twin of one conversation: its messages, and the texts that its marks stand for.

    Equal shapes have equal twins, so `key` can be looked up.
    """

    messages: list[dict[str, Any]]
    leaves: list[Leaf]
    marks: list[str]  # of each leaf, as it is written
    calls: list[tuple[int, list[int]]]  # for each call: the number of its message, and the leaves of its arguments
    mentioned: Mentioned
    keep_fields: bool
    _ids: dict[str, int]  # the leaf of each name or id
    _owners: dict[str, list[int]] = field(default_factory=dict)  # the leaves of each mark; known when all messages are exchanged

    @classmethod
    def of(
        cls, messages: Sequence[Mapping[str, Any]], mentioned: Mentioned, *, keep_fields: bool = False, keep_equal: bool = False
    ) -> Exchange:
        """Exchange all texts of a conversation.

        Args:
            keep_fields: leave fields as they are that only some templates know: a template may look into them.
            keep_equal: equal messages have equal marks: a template may compare messages with each other.
        """
        twin = cls([], [], [], [], mentioned, keep_fields, {})
        leaves = [0]  # of the messages so far
        for number, message in enumerate(messages):
            twin.messages.append(twin._message(number, message))
            leaves.append(len(twin.leaves))
            earlier = messages.index(message) if keep_equal else number
            if earlier < number and leaves[number + 1] - leaves[number] == leaves[earlier + 1] - leaves[earlier]:
                twin.messages[number] = twin.messages[earlier]
                twin.marks[leaves[number] :] = twin.marks[leaves[earlier] : leaves[earlier + 1]]
        return twin

    @property
    def has_fields(self) -> bool:
        """Whether fields were exchanged that could be left as they are."""
        return any(leaf.kind in (Kind.FIELD, Kind.RESULT) for leaf in self.leaves)

    @property
    def key(self) -> str:
        """A string that only conversations of this shape have."""
        return repr(self.messages)

    def marks_in(self, text: str) -> list[tuple[int, int, int]]:
        """The marks of this twin in a text: (start, stop, number of the leaf). Tools and variables may have texts that look like others.

        A mark of several leaves is that of each in turn.
        """
        if not self._owners:
            for number, made in enumerate(self.marks):
                self._owners.setdefault(made, []).append(number)
        seen: Counter[str] = Counter()
        found = []
        for start, stop, _ in marks_in(text):
            made = text[start:stop]
            some = self._owners.get(made)
            if some:
                found.append((start, stop, some[min(seen[made], len(some) - 1)]))
                seen[made] += 1
        return found

    def _mark(self, message: int, kind: Kind, text: str) -> str:
        self.marks.append(mark(len(self.leaves)))
        self.leaves.append(Leaf(message, kind, text))
        return self.marks[-1]

    def _message(self, number: int, message: Mapping[str, Any]) -> dict[str, Any]:
        twin: dict[str, Any] = {}
        for name, value in message.items():
            if name == "content":
                twin[name] = self._content(number, value)
            elif name in REASONING_FIELDS and isinstance(value, str):
                twin[name] = self._text(number, Kind.THOUGHT, value)
            elif name == "tool_calls" and isinstance(value, (list, tuple)):
                twin[name] = [self._counted_call(number, call) for call in value]
            elif name in ("tool_call_id", "name") and isinstance(value, str) and value:
                twin[name] = self._id(number, value)
            elif name == "role":
                twin[name] = value
            else:
                twin[name] = self._field(number, Kind.RESULT if name in RESULT_FIELDS else Kind.FIELD, name, value)
        return twin

    def _field(self, number: int, kind: Kind, name: str, value: Any) -> Any:
        """The value of a field of which nothing is known, with all texts exchanged with which no template compares it."""
        if self.keep_fields:
            return value
        if isinstance(value, str):
            return value if not value.strip() or value in self.mentioned.literals else self._mark(number, kind, value)
        if isinstance(value, Mapping):
            return {key: self._field(number, kind, str(key), item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._field(number, kind, name, item) for item in value]
        return value if name in self.mentioned.identifiers else self._number(number, kind, value)

    def _number(self, number: int, kind: Kind, value: Any) -> Any:
        """The mark of a number; any other value as it is."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value):
            made = NUMBER + len(self.leaves)
            self.marks.append(str(made))
            self.leaves.append(Leaf(number, kind, repr(value)))
            return made
        return value

    def _content(self, number: int, content: Any) -> Any:
        if isinstance(content, str):
            return self._text(number, Kind.CONTENT, content)
        if not isinstance(content, (list, tuple)):
            return content
        return [self._part(number, part) for part in content]

    def _part(self, number: int, part: Any) -> Any:
        if not isinstance(part, Mapping):
            return self._text(number, Kind.CONTENT, part) if isinstance(part, str) else part
        kind = Kind.THOUGHT if part.get("type") in ("reasoning", "thinking") else Kind.CONTENT
        twin = {}
        for name, value in part.items():
            if name == "type" or value is None:
                twin[name] = value
            elif name in ("text", "reasoning", "thinking") and isinstance(value, str):
                twin[name] = self._text(number, kind, value)
            elif isinstance(value, str):
                twin[name] = self._field(number, Kind.FIELD, name, value)
            else:
                twin[name] = "medium"  # an image, a list: templates ask only whether it is there
        return twin

    def _counted_call(self, number: int, call: Any) -> Any:
        first = len(self.leaves)
        twin = self._call(number, call)
        values = [at for at in range(first, len(self.leaves)) if self.leaves[at].kind is Kind.CALL]
        self.calls.append((number, values))
        return twin

    def _call(self, number: int, call: Any) -> Any:
        if not isinstance(call, Mapping):
            return call
        twin: dict[str, Any] = {}
        for name, value in call.items():
            if name in ("id", "name") and isinstance(value, str) and value:
                twin[name] = self._id(number, value)
            elif name == "function":
                twin[name] = self._call(number, value)
            elif name == "arguments":
                twin[name] = self._argument(number, value)
            elif name == "type":
                twin[name] = value
            else:
                twin[name] = self._field(number, Kind.FIELD, name, value)
        return twin

    def _argument(self, number: int, value: Any) -> Any:
        if isinstance(value, str):
            return self._mark(number, Kind.CALL, value) if value.strip() else value
        if isinstance(value, Mapping):
            return {name: self._argument(number, item) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._argument(number, item) for item in value]
        return self._number(number, Kind.CALL, value)

    def _id(self, number: int, value: str) -> str:
        """The mark of a name or id: always the same for the same text, because templates compare them."""
        if value not in self._ids:
            self._ids[value] = len(self.leaves)
            self._mark(number, Kind.NAME, value)
        return mark(self._ids[value])

    def _text(self, number: int, kind: Kind, text: str) -> str:
        """A text with everything but tags and blanks exchanged."""
        if not self.mentioned.in_text(text):
            return self._mark(number, kind, text) if text.strip() else text
        pieces = self.mentioned.tags.split(text)
        return "".join(
            piece if at % 2 or not piece.strip() else self._piece(number, kind, piece, pieces[at - 1] if at else "")
            for at, piece in enumerate(pieces)
        )

    def _piece(self, number: int, kind: Kind, piece: str, tag: str) -> str:
        """A text after a tag. The blanks after an opening tag stay with it: the generation prompt may supply them."""
        blanks = len(piece) - len(piece.lstrip()) if re.fullmatch(OPENING_TAG, tag) else 0
        return piece[:blanks] + self._mark(number, kind, piece[blanks:])
