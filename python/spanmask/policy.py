"""`MaskPolicy`: which tokens of which turns carry loss, and how much. `labels/mod.rs` decides what each option does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from spanmask import _core
from spanmask._validate import (
    MarkerIds,
    MarkerLike,
    as_list,
    as_markers,
    as_names,
    as_signed_ids,
    as_weight,
    check_choice,
    check_flag,
    short,
)

__all__ = ["DEFAULT_POLICY", "MaskPolicy"]

Reasoning = Literal["train", "ignore", "ignore_empty"]
WhichTurns = Literal["all", "last"]
TrainOnEos = Literal["none", "turn", "last", "all"]
TruncatedTurn = Literal["train", "drop"]
Shift = Literal["none", "left"]
OnNoTrainedTurn = Literal["mask", "keep", "raise"]
OnUntrainedRow = Literal["keep", "drop", "raise"]
OnRoleMismatch = Literal["warn", "raise", "drop"]
# Token ids, or text whose ids only a tokenizer knows.
Marker = MarkerIds | str
MarkerOrText = MarkerLike | str | Iterable[MarkerLike | str]
CHOICES = {
    "reasoning": Reasoning,
    "turns": WhichTurns,
    "train_on_eos": TrainOnEos,
    "truncated_turn": TruncatedTurn,
    "shift": Shift,
    "on_no_trained_turn": OnNoTrainedTurn,
    "on_untrained_row": OnUntrainedRow,
    "on_role_mismatch": OnRoleMismatch,
}


@dataclass(frozen=True, kw_only=True)
class MaskPolicy:
    """Which tokens of which turns carry loss, and how much.

    Args:
        reasoning: whether the reasoning with which a turn's content begins trains (`chat_format.reasoning`, `Turns.reasoning_stop`):
            `"train"`; `"ignore"`: it never does, tags included; `"ignore_empty"`: it does, except for blocks without any text, which the
            template adds and the model never writes.
        roles: the roles that train; one name or several.
        turns: `"all"` of their turns, or only the `"last"` one of each row.
        train_on_eos: whose closing tokens train: `"none"`; those of each trained `"turn"`; those of the `"last"` turn of a trained role;
            `"all"`, those of other roles' turns included.
        include_start: the opening tokens of a trained turn train too.
        truncated_turn: what to do with a turn that the row's end (or a collator's `max_length`) cut off: `"train"` or `"drop"`.
        ignore_ids: ids that never train, in addition to the chat format's.
        ignore_between: pairs (opening, closing), each as text or as ids, one sequence or several alternatives: the tokens between them in
            a turn's content never train (`("<think>", "</think>")`, tool results). Without a closing sequence the region extends to the
            content's end, and the report counts it (`unclosed_regions`). Text needs a tokenizer: collators have one, else see
            `spanmask.chat.policy_with_ids`.
        train_between_markers: the sequences of `ignore_between` themselves train.
        ignore_sequences: sequences, as text or as ids, that never train wherever they occur.
        train_generation_prefill: the tokens after the header that the template's generation prompt supplies
            (`chat_format.generation_prefills`) train, although the model never writes them. An empty block of reasoning that is also such a
            prefill trains only with `reasoning="train"`.
        role_weights: loss weights by role, for roles that train; 1.0 for the others.
        prompt_weight: the loss weight of every token that no trained turn trains, ignored tokens excepted.
        shift: `"none"`: a label is at its token's position, and the model shifts (transformers); `"left"`: at the position before it.
        on_no_trained_turn: what to do with a row without a turn of a trained role: train nothing (`"mask"`), train the whole row
            (`"keep"`), or raise (`"raise"`).
        on_untrained_row: what to do with a row without trained tokens: `"keep"`, `"drop"` or `"raise"`.
        on_role_mismatch: what to do with a row of messages whose turns are not known (it trains nothing), and with a row of ids whose
            turns have other roles than its `messages`, or whose `messages` are of a kind that the chat format does not cover
            (`ChatFormat.uncovered`): `"warn"`, `"raise"`, or `"drop"` the row.

    A token of weight 0 has no label.

    Raises:
        ValueError: an option has an invalid value; the message names it.
        TypeError: the ids are neither integers nor text.

    >>> MaskPolicy(roles="assistant", turns="last").roles
    ('assistant',)
    """

    reasoning: Reasoning = "ignore_empty"
    roles: tuple[str, ...] | str = ("assistant",)
    turns: WhichTurns = "all"
    train_on_eos: TrainOnEos = "turn"
    include_start: bool = False
    truncated_turn: TruncatedTurn = "train"
    ignore_ids: Iterable[int] = ()
    ignore_between: Iterable[tuple[MarkerOrText, MarkerOrText]] = ()
    train_between_markers: bool = False
    ignore_sequences: MarkerOrText = ()
    train_generation_prefill: bool = False
    role_weights: Mapping[str, float] | Iterable[tuple[str, float]] = ()
    prompt_weight: float = 0.0
    shift: Shift = "none"
    on_no_trained_turn: OnNoTrainedTurn = "mask"
    on_untrained_row: OnUntrainedRow = "keep"
    on_role_mismatch: OnRoleMismatch = "warn"

    def __post_init__(self) -> None:
        set_ = partial(object.__setattr__, self)
        set_("roles", as_names("roles", self.roles))
        if not all(self.roles) or not self.roles:
            raise ValueError(f"roles: expected at least one role name, and no empty one, got {short(self.roles)}.")
        weights = as_pairs("role_weights", self.role_weights)
        set_("role_weights", tuple((role, as_weight(f"role_weights: {short(role)}", weight)) for role, weight in weights))
        for role, _ in weights:
            if role not in self.roles:
                known = ", ".join(map(repr, self.roles))
                raise ValueError(f"role_weights: {short(role)} is not among the roles that train, {known}; add it to roles.")
        set_("prompt_weight", as_weight("prompt_weight", self.prompt_weight))
        for name in ("include_start", "train_generation_prefill", "train_between_markers"):
            check_flag(name, getattr(self, name))
        for name, choices in CHOICES.items():
            check_choice(name, getattr(self, name), choices)
        set_("ignore_ids", as_signed_ids("ignore_ids", self.ignore_ids))
        pairs = as_list("ignore_between", self.ignore_between, "pairs of (opening, closing), as ids or text")
        set_("ignore_between", tuple(as_pair(pair) for pair in pairs))
        set_("ignore_sequences", as_markers_or_texts("ignore_sequences", self.ignore_sequences))

    @property
    def weighted(self) -> bool:
        """Whether the policy gives tokens different weights, so that the loss must take them into account."""
        return bool(self.role_weights) or self.prompt_weight != 0

    def _texts(self) -> list[tuple[str, str]]:
        """The texts that need a tokenizer, each with its option."""
        pairs: Any = self.ignore_between
        markers = [("ignore_between", marker) for pair in pairs for markers in pair for marker in markers]
        markers += [("ignore_sequences", marker) for marker in self.ignore_sequences]
        return [(name, marker) for name, marker in markers if isinstance(marker, str)]

    def _compile(self, roles: tuple[str, ...], ignore_ids: tuple[int, ...]) -> _core.Policy:
        """The policy for these roles and further ignored ids, as the core reads it. It is cached for the next call with the same arguments.

        Raises:
            ValueError: the policy trains a role that is not among them.
            TypeError: the policy holds text.
        """
        cached: tuple[Any, _core.Policy] | None = self.__dict__.get("_compiled")
        if cached is not None and cached[0] == (roles, ignore_ids):
            return cached[1]
        for role in self.roles:
            if role not in roles:
                raise ValueError(
                    f"roles: the policy trains {role!r}, but the turns have only {', '.join(map(repr, roles))}; "
                    "add a RoleBoundary for it to the chat format, or train another role."
                )
        for name, text in self._texts():
            raise TypeError(
                f"{name}: has the text {text!r}, whose ids depend on a tokenizer; pass spanmask.chat.policy_with_ids(tokenizer, policy), "
                f"or the ids themselves: spanmask.chat.ids_in_context(tokenizer, {text!r})."
            )
        weights: dict[str, float] = dict(self.role_weights)
        compiled = _core.Policy(
            reasoning=self.reasoning,
            role_weights=[weights.get(role, 1.0) if role in self.roles else None for role in roles],
            prompt_weight=self.prompt_weight,
            turns=self.turns,
            train_on_eos=self.train_on_eos,
            include_start=self.include_start,
            train_generation_prefill=self.train_generation_prefill,
            truncated_turn=self.truncated_turn,
            on_no_trained_turn=self.on_no_trained_turn,
            ignore_ids=[*ignore_ids, *self.ignore_ids],
            ignore_sequences=self.ignore_sequences,
            ignore_between=self.ignore_between,
            train_between_markers=self.train_between_markers,
            shift=self.shift,
        )
        object.__setattr__(self, "_compiled", ((roles, ignore_ids), compiled))
        return compiled

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


def as_pairs(name: str, values: Any) -> tuple[tuple[Any, Any], ...]:
    """A dict, or (key, value) pairs, as pairs."""
    try:
        return tuple((key, value) for key, value in (values.items() if isinstance(values, Mapping) else values))
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected a dict, got {short(values)}.") from None


def as_pair(pair: Any) -> tuple[tuple[Marker, ...], tuple[Marker, ...]]:
    """An (opening, closing) pair of `ignore_between`, each as a tuple of alternatives."""
    try:
        opening, closing = pair
    except (TypeError, ValueError, RuntimeError):
        opening = closing = None
    if opening is None or closing is None or isinstance(pair, str):  # a text of two characters is not a pair
        raise ValueError(f"ignore_between: expected pairs of (opening, closing), as ids or text, got {short(pair)}.")
    opens = as_markers_or_texts("ignore_between, opening", opening)
    if not opens:
        raise ValueError("ignore_between: an opening marker has no ids; pass the ids that open the region.")
    return opens, as_markers_or_texts("ignore_between, closing", closing)


def as_markers_or_texts(name: str, markers: Any) -> tuple[Marker, ...]:
    """One marker or several alternatives, each as ids or as text."""
    if isinstance(markers, str):
        markers = [markers]
    if isinstance(markers, Iterable) and not isinstance(markers, bytes):
        markers = as_list(name, markers, "ids or texts")
        texts = [marker for marker in markers if isinstance(marker, str)]
        if "" in texts:
            raise ValueError(f"{name}: an empty marker would match everywhere; remove it.")
        ids = [marker for marker in markers if not isinstance(marker, str)]
        if texts and any(not isinstance(marker, Iterable) for marker in ids):
            raise TypeError(f"{name}: expected ids, texts or a list of both, got single ids next to text: {markers!r}.")
        return (*dict.fromkeys(texts), *as_markers(name, ids))
    return as_markers(name, markers)


# The policy of calls without one. It is a single object, so that it stays compiled between calls.
DEFAULT_POLICY = MaskPolicy()
