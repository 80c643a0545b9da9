"""Whether turns that were searched for have the roles of a conversation's messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from spanmask.chat.coverage import REASONING_FIELDS
from spanmask.chat.format import ChatFormat

__all__ = ["same_roles"]


def same_roles(
    messages: Iterable[Mapping[str, Any]], found: Sequence[str], chat_format: ChatFormat, *, is_cut: bool = False
) -> bool:
    """Whether `found` are the roles of messages, in order.

    Templates change some things on purpose: they add a system turn or fold the system message into the first question, write several
    results or questions into one turn, and write reasoning or a call as a turn of its own. A lost answer is a difference, and so is
    one more.

    Args:
        messages: the conversation.
        found: the role of each turn.
        chat_format: the format that was searched with. Messages of roles that it lacks are left out, unless a turn could run into them.
        is_cut: the row's end is cut off, so that turns may be missing there.
    """
    messages = list(messages)
    wanted = [str(message["role"]) for message in messages]
    may_split = any(message.get("tool_calls") or any(message.get(name) for name in REASONING_FIELDS) for message in messages)
    known = set(chat_format.roles)
    if not known.issuperset(wanted) and any(not boundary.end for boundary in chat_format.boundaries):
        return False
    expected, actual = runs(role for role in wanted if role in known), runs(found)
    if expected[:1] and expected[0][0] == "system" and actual[:1] and actual[0][0] != "system":
        expected = expected[1:]
    elif actual[:1] and actual[0][0] == "system" and expected[:1] and expected[0][0] != "system":
        actual = actual[1:]
    if is_cut:
        expected = expected[: len(actual)]
    if [role for role, _ in expected] != [role for role, _ in actual]:
        return False
    answers = [
        (number, count, turns)
        for number, ((role, count), (_, turns)) in enumerate(zip(expected, actual, strict=True))
        if role == "assistant"
    ]
    return all(
        turns == count or (may_split and turns > count) or (is_cut and number == len(actual) - 1 and turns < count)
        for number, count, turns in answers
    )


def runs(roles: Iterable[str]) -> list[tuple[str, int]]:
    """Roles in a row, with their numbers.

    >>> runs(["user", "assistant", "assistant"])
    [('user', 1), ('assistant', 2)]
    """
    return [(role, len(list(some))) for role, some in groupby(roles)]
