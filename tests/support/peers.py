"""TRL's `assistant_only_loss` and our labels: the same ids, token by token, for TRL's own training templates."""

from __future__ import annotations

import json
from dataclasses import replace
from html import escape
from typing import Any, NamedTuple

from spanmask import ChatFormat, MaskPolicy, RoleBoundary, Turns, find_turns, mask_labels
from support.derivation import SPECIAL, roles_in_parts
from support.trl_templates import MARKED, TEMPLATES, without_marks
from support.vocabularies import tokenizer_of

TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}
]
CALL = {"type": "function", "id": "k3v9x2p4q", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
NAMES = tuple(sorted({name.removesuffix("_training") for name in MARKED}))
# Where a token lies that only one of the two trains.
PLACES = ("header", "generation prompt", "content", "closing tokens", "after the stop token", "other turn")


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def answer(text: str, **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **fields}


RESULT = {"role": "tool", "name": "weather", "tool_call_id": CALL["id"], "content": json.dumps({"sky": "over 7"})}
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "answers": ([user("What is x?"), answer("the quick fox"), user("And y?"), answer("a lazy dog.")], {}),
    "system": ([{"role": "system", "content": "weather system"}, user("What is x?"), answer("the fox")], {}),
    "blank answer": ([user("What is x?"), answer(""), user("And y?"), answer("dog")], {}),
    "reasoning": (
        [
            user("What?"),
            answer("the fox", reasoning_content="over a dog"),
            user("And?"),
            answer("dog", reasoning_content="while"),
        ],
        {},
    ),
    "reasoning as text": ([user("What?"), answer("<think>\nover a dog\n</think>\n\nthe fox")], {}),
    "tool calls": ([user("Weather?"), answer("", tool_calls=[CALL]), RESULT, answer("a lazy sky")], {"tools": TOOLS}),
    "parallel calls": (
        [
            user("Weather?"),
            answer("", tool_calls=[CALL, {**CALL, "id": "b7t5n1m8c"}]),
            RESULT,
            {**RESULT, "tool_call_id": "b7t5n1m8c"},
            answer("sky"),
        ],
        {"tools": TOOLS},
    ),
}


class Difference(NamedTuple):
    """Tokens that one of the two trains."""

    kind: str
    place: str
    whose: str
    text: str


class Peer:
    """One template with its tokenizer and format.

    Attributes:
        name: the template, without "_training".
        rows: (kind of conversation, ids, TRL's mask); kinds that the template refuses are in `refused`.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        marked = TEMPLATES[f"{name}_training" if f"{name}_training" in TEMPLATES else name]
        self.tokenizer = tokenizer_of("byte_level", SPECIAL)
        self.tokenizer.chat_template = without_marks(marked)
        self.chat_format = ChatFormat.from_tokenizer(self.tokenizer)
        self.rows: list[tuple[str, list[int], list[int]]] = []
        self.refused: list[str] = []
        parts = roles_in_parts(name)
        for kind, (messages, options) in CONVERSATIONS.items():
            given = [
                {**m, "content": [{"type": "text", "text": m["content"]}] if m["role"] in parts else m["content"]}
                for m in messages
            ]
            try:
                out = self.tokenizer.apply_chat_template(
                    given, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True, **options
                )
            except Exception:  # a template may raise any exception
                self.refused.append(kind)
                continue
            self.rows.append((kind, out["input_ids"], out["assistant_masks"]))

    def ids(self, text: str) -> tuple[int, ...]:
        """The ids of a text."""
        return tuple(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def differences(self, policy: MaskPolicy, chat_format: ChatFormat | None = None) -> list[Difference]:
        """All tokens that only one of the two trains, neighbours joined."""
        chat_format = self.chat_format if chat_format is None else chat_format
        found = []
        for kind, ids, theirs in self.rows:
            ours = [label != -100 for label in mask_labels([ids], chat_format, policy).labels[0].tolist()]
            places = places_of(find_turns([ids], self.chat_format), len(ids))
            runs: list[tuple[str, str, list[int]]] = []
            for at, (our, their) in enumerate(zip(ours, theirs, strict=True)):
                if our == bool(their):
                    continue
                whose, last = "ours" if our else "theirs", runs[-1] if runs else None
                if last is not None and last[0] == whose and last[1] == places[at] and last[2][-1] == at - 1:
                    last[2].append(at)
                else:
                    runs.append((whose, places[at], [at]))
            found += [
                Difference(kind, place, whose, self.tokenizer.decode([ids[at] for at in positions]))
                for whose, place, positions in runs
            ]
        return found


def places_of(turns: Turns, length: int) -> list[str]:
    """For each token where it lies, as seen from the answers."""
    places = ["after the stop token"] * length
    for number in range(len(turns)):
        start, content, prefill, reasoning, end, stop = (
            int(column[number])
            for column in (
                turns.start,
                turns.content_start,
                turns.prefill_stop,
                turns.reasoning_stop,
                turns.content_stop,
                turns.stop,
            )
        )
        if turns.roles[turns.role[number]] != "assistant":
            places[start:stop] = ["other turn"] * (stop - start)
            continue
        for first, last, place in (
            (start, content, "header"),
            (content, prefill, "generation prompt"),
            (prefill, end, "content"),
            (prefill, reasoning if turns.empty_reasoning[number] else prefill, "empty reasoning"),
            (end, stop, "closing tokens"),
        ):
            places[first:last] = [place] * max(last - first, 0)
    return places


def repeated(peer: Peer) -> tuple[MaskPolicy, ChatFormat]:
    """A policy and a format that train what TRL's marks train, as the page describes them."""
    found = peer.differences(MaskPolicy())
    places = {(each.place, each.text) for each in found}
    policy = MaskPolicy(
        reasoning="train",
        include_start=any(place == "header" and text != "\n" for place, text in places),
        train_generation_prefill=any(place == "generation prompt" for place, _ in places),
    )
    chat_format = peer.chat_format
    after = sorted({text for place, text in places if place == "after the stop token"}, key=len, reverse=True)
    if after:
        chat_format = with_text_after_stop(chat_format, [peer.ids(text) for text in after])
    if ("header", "\n") in places:
        chat_format = with_shorter_header(chat_format)
    if any(each.place == "other turn" and each.whose == "ours" for each in found):
        chat_format = replace(chat_format, stop_token_ids=())
    return policy, chat_format


def with_text_after_stop(chat_format: ChatFormat, texts: list[tuple[int, ...]]) -> ChatFormat:
    """Answers that close with further tokens after the stop token, where these are there."""

    def longer(boundary: RoleBoundary) -> RoleBoundary:
        return replace(boundary, end=[*((*end, *text) for end in boundary.end for text in texts), *boundary.end])

    return replace(chat_format, boundaries=[longer(b) if b.role == "assistant" else b for b in chat_format.boundaries])


def with_shorter_header(chat_format: ChatFormat) -> ChatFormat:
    """Answers whose header ends a token earlier."""

    def shorter(boundary: RoleBoundary) -> RoleBoundary:
        return replace(boundary, start=[start[:-1] for start in boundary.start])

    return replace(chat_format, boundaries=[shorter(b) if b.role == "assistant" else b for b in chat_format.boundaries])


COLUMNS = ("generation prompt", "empty reasoning", "header", "after the stop token")


def table_row(peer: Peer) -> str:
    """The template's row on the page."""
    found = peer.differences(MaskPolicy())
    cells = [shown({each.text for each in found if (each.place, each.whose) == (place, "theirs")}) for place in COLUMNS]
    rest = [each for each in found if each.place not in COLUMNS or each.whose == "ours"]
    cells.append("; ".join(sorted({f"{each.whose}: {each.place}, {shown({each.text})}" for each in rest})))
    left = peer.differences(*repeated(peer))
    cells.append("yes" if not left else "; ".join(sorted({f"but for {shown({each.text})} ({each.whose})" for each in left})))
    cells.append(", ".join(peer.refused))
    return f"| {peer.name} | {' | '.join(cells)} |"


def shown(texts: set[str]) -> str:
    """Texts as code; a plain `|` would end a table's cell."""
    ordered = sorted(texts, key=lambda text: (len(text), text))
    return " ".join(f"<code>{escape(repr(text), quote=False).replace('|', '&#124;')}</code>" for text in ordered)
