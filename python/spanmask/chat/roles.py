"""Whether turns that were searched for have the roles of a conversation's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile, groupby
from typing import Any, NamedTuple

from spanmask.chat.coverage import REASONING_FIELDS
from spanmask.chat.format import ChatFormat

__all__ = ["same_roles"]

ASSISTANT = "assistant"
# Roles with which texts begin. Templates add such a turn (a default system message, declared tools), or write such a message without a
# header.
OPENING = ("system", "developer", "tool")


class Wanted(NamedTuple):
    """A message: its role, and whether it has text, without which it may have no turn."""

    role: str
    has_text: bool


def same_roles(
    messages: Iterable[Mapping[str, Any]], found: Sequence[str], chat_format: ChatFormat, *, is_cut: bool = False
) -> bool:
    """Whether `found` are the roles of messages, in order.

    Templates change some things on purpose: they begin with a turn that no message has, or fold the first message into the next, write
    several results or questions into one turn, and write reasoning or a call as a turn of its own. A lost answer is a difference, and so is
    one more.

    Args:
        messages: the conversation.
        found: the role of each turn that has any token after its header.
        chat_format: the format that was searched with. Messages of roles that it lacks may have any turn but an answer, or none, unless
            a turn could run into them.
        is_cut: the row's end is cut off, so that turns may be missing there.
    """
    messages = list(messages)
    known = set(chat_format.roles)
    wanted = [Wanted(str(message["role"]), has_text(message)) for message in messages]
    if runs_into_unknown([message.role for message in wanted], chat_format):
        return False
    may_split = any(message.get("tool_calls") or any(message.get(name) for name in REASONING_FIELDS) for message in messages)
    turns = blocks(found)
    readings = ((all_roles, all_texts) for all_roles in (True, False) for all_texts in (True, False))
    return any(
        are_same(
            blocks(one for one in wanted if (all_roles or one.role in known) and (all_texts or one.has_text)),
            turns,
            known,
            may_split,
            is_cut,
        )
        for all_roles, all_texts in readings
    )


def runs_into_unknown(roles: Sequence[str], chat_format: ChatFormat) -> bool:
    """Whether a message of a role that the format lacks follows a turn that only the next header ends."""
    endless = {boundary.role for boundary in chat_format.boundaries if not boundary.end}
    last = None
    for role in roles:
        if role in chat_format.roles:
            last = role
        elif last in endless:
            return True
    return False


def has_text(message: Mapping[str, Any]) -> bool:
    """Whether a message has anything to write."""
    content = message.get("content")
    return bool(content.strip() if isinstance(content, str) else content) or any(
        message.get(name) for name in ("tool_calls", "function_call", *REASONING_FIELDS)
    )


def blocks(turns: Iterable[Any]) -> list[list[Any]]:
    """Turns or messages in blocks: those before an answer, then answers in a row, and so on. The first block may be empty."""
    made: list[list[Any]] = [[]]
    for is_answer, some in groupby(turns, key=lambda one: getattr(one, "role", one) == ASSISTANT):
        if is_answer == (len(made) % 2 == 1):
            made.append([])
        made[-1] += some
    return made


def are_same(
    wanted: Sequence[Sequence[Wanted]], found: Sequence[Sequence[str]], known: set[str], may_split: bool, is_cut: bool
) -> bool:
    """Whether blocks of messages and blocks of turns agree."""
    missing = [message for block in wanted[len(found) :] for message in block]
    if len(found) > len(wanted) or (not is_cut and any(message.has_text for message in missing)):
        return False
    for number, (messages, turns) in enumerate(zip(wanted, found, strict=False)):
        is_last = is_cut and number == len(found) - 1
        if number % 2:
            least = 0 if is_last else sum(message.has_text for message in messages)
            if len(turns) < least or (len(turns) > len(messages) and not may_split):
                return False
        elif known.issuperset(message.role for message in messages):
            expected, actual = [message.role for message in messages if message.has_text], list(turns)
            if number == 0:
                expected, actual = ([*dropwhile(OPENING.__contains__, roles)] for roles in (expected, actual))
            runs = [[role for role, _ in groupby(roles)] for roles in (expected, actual)]
            if runs[1] != (runs[0][: len(runs[1])] if is_last else runs[0]):
                return False
    return True
