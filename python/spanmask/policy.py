"""`MaskPolicy`: which tokens of which turns carry loss, and how much. What each option does is decided in `labels/mod.rs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from spanmask import _core
from spanmask._validate import MarkerIds, MarkerLike, as_markers, as_signed_ids, check_choice, check_flag, check_weight

__all__ = ["DEFAULT_POLICY", "MaskPolicy"]

WhichTurns = Literal["all", "last"]
TrainOnEos = Literal["none", "turn", "last", "all"]
TruncatedTurn = Literal["train", "drop"]
BetweenMarkers = Literal["ignore", "train"]
Shift = Literal["none", "left"]
OnNoTrainedTurn = Literal["mask", "keep", "raise"]
OnUntrainedRow = Literal["keep", "drop", "raise"]
OnRoleMismatch = Literal["warn", "raise", "drop"]


@dataclass(frozen=True)
class MaskPolicy:
    """Which tokens of which turns carry loss, and how much.

    Args:
        roles: the roles that train; one name or several.
        turns: `"all"` of their turns, or the row's `"last"` one.
        train_on_eos: whose closing tokens train: `"none"`, those of each trained `"turn"`, of the `"last"` turn of a trained role,
            or `"all"`, other roles' turns included.
        include_start: a trained turn's opening tokens train too.
        truncated_turn: `"train"` or `"drop"` a turn that the row's end cut off.
        ignore_ids: ids that never train, beside the chat format's own.
        ignore_between: pairs (opening, closing) of id sequences, each one sequence or several alternatives: what lies between them in
            a turn's content never trains (`<think>` and `</think>`, tool results). Without a closing one, up to the content's end.
        ignore_between_markers: these markers themselves: `"ignore"` or `"train"`.
        ignore_sequences: id sequences that never train wherever they stand (an empty think block that the template adds).
        train_generation_prefill: what the template's generation prompt supplies behind the header (`chat_format.generation_prefills`)
            trains, although the model never writes it.
        role_weights: loss weights by role, for roles that train; 1.0 for those not named.
        prompt_weight: the loss weight of every token that no trained turn trains, ignored ones excepted.
        shift: `"none"`: a label stands on its token, and the model shifts (transformers); `"left"`: on the token in front of it.
        on_no_trained_turn: a row without a turn of a trained role is masked (`"mask"`), trained whole (`"keep"`), or an error (`"raise"`).
        on_untrained_row: a row with nothing to train is kept (`"keep"`), left out (`"drop"`), or an error (`"raise"`).
        on_role_mismatch: where an example's `messages` are known and the roles found are not theirs: `"warn"`, `"raise"`, or `"drop"` it.

    Tokens of weight 0 have no label.

    Raises:
        ValueError: an option has another value than these.

    >>> MaskPolicy(roles="assistant", turns="last").roles
    ('assistant',)
    """

    roles: tuple[str, ...] = ("assistant",)
    turns: WhichTurns = "all"
    train_on_eos: TrainOnEos = "turn"
    include_start: bool = False
    truncated_turn: TruncatedTurn = "train"
    ignore_ids: tuple[int, ...] = ()
    ignore_between: tuple[tuple[tuple[MarkerIds, ...], tuple[MarkerIds, ...]], ...] = ()
    ignore_between_markers: BetweenMarkers = "ignore"
    ignore_sequences: tuple[MarkerIds, ...] = ()
    train_generation_prefill: bool = False
    role_weights: tuple[tuple[str, float], ...] = ()
    prompt_weight: float = 0.0
    shift: Shift = "none"
    on_no_trained_turn: OnNoTrainedTurn = "mask"
    on_untrained_row: OnUntrainedRow = "keep"
    on_role_mismatch: OnRoleMismatch = "warn"

    def __init__(
        self,
        roles: str | Iterable[str] = ("assistant",),
        turns: WhichTurns = "all",
        train_on_eos: TrainOnEos = "turn",
        include_start: bool = False,
        truncated_turn: TruncatedTurn = "train",
        ignore_ids: Iterable[int] = (),
        ignore_between: Iterable[tuple[MarkerLike, MarkerLike]] = (),
        ignore_between_markers: BetweenMarkers = "ignore",
        ignore_sequences: MarkerLike = (),
        train_generation_prefill: bool = False,
        role_weights: Mapping[str, float] | Iterable[tuple[str, float]] = (),
        prompt_weight: float = 0.0,
        shift: Shift = "none",
        on_no_trained_turn: OnNoTrainedTurn = "mask",
        on_untrained_row: OnUntrainedRow = "keep",
        on_role_mismatch: OnRoleMismatch = "warn",
    ) -> None:
        names = (roles,) if isinstance(roles, str) else tuple(roles)
        if not names or not all(isinstance(role, str) for role in names):
            raise ValueError(f"roles: expected names of roles, at least one, got {roles!r}.")
        weights = tuple(role_weights.items() if isinstance(role_weights, Mapping) else role_weights)
        for role, weight in weights:
            if role not in names:
                raise ValueError(
                    f"role_weights: {role!r} is not among the roles that train, {', '.join(map(repr, names))}; add it."
                )
            check_weight(f"role_weights: {role!r}", weight)
        check_weight("prompt_weight", prompt_weight)
        check_flag("include_start", include_start)
        check_flag("train_generation_prefill", train_generation_prefill)
        check_choice("turns", turns, WhichTurns)
        check_choice("train_on_eos", train_on_eos, TrainOnEos)
        check_choice("truncated_turn", truncated_turn, TruncatedTurn)
        check_choice("ignore_between_markers", ignore_between_markers, BetweenMarkers)
        check_choice("shift", shift, Shift)
        check_choice("on_no_trained_turn", on_no_trained_turn, OnNoTrainedTurn)
        check_choice("on_untrained_row", on_untrained_row, OnUntrainedRow)
        check_choice("on_role_mismatch", on_role_mismatch, OnRoleMismatch)
        values = {
            "roles": names,
            "turns": turns,
            "train_on_eos": train_on_eos,
            "include_start": include_start,
            "truncated_turn": truncated_turn,
            "ignore_ids": as_signed_ids("ignore_ids", ignore_ids),
            "ignore_between": tuple(as_pair(pair) for pair in ignore_between),
            "ignore_between_markers": ignore_between_markers,
            "ignore_sequences": as_markers("ignore_sequences", ignore_sequences),
            "train_generation_prefill": train_generation_prefill,
            "role_weights": weights,
            "prompt_weight": float(prompt_weight),
            "shift": shift,
            "on_no_trained_turn": on_no_trained_turn,
            "on_untrained_row": on_untrained_row,
            "on_role_mismatch": on_role_mismatch,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def weighted(self) -> bool:
        """Whether the policy gives tokens different weights, so that the loss must take them into account."""
        return bool(self.role_weights) or self.prompt_weight != 0

    def compile(self, roles: tuple[str, ...], ignore_ids: tuple[int, ...]) -> _core.Policy:
        """The policy for a format's roles and `ignore_ids`, as the core takes it; kept for the next call with the same ones.

        Raises:
            ValueError: a role that is not among `roles`.
        """
        key = roles, ignore_ids
        kept: tuple[Any, _core.Policy] | None = self.__dict__.get("_compiled")
        if kept is None or kept[0] != key:
            kept = (key, self._compile(roles, ignore_ids))
            object.__setattr__(self, "_compiled", kept)
        return kept[1]

    def _compile(self, roles: tuple[str, ...], ignore_ids: tuple[int, ...]) -> _core.Policy:
        for role in self.roles:
            if role not in roles:
                raise ValueError(
                    f"roles: the policy trains {role!r}, but the chat format has only {', '.join(map(repr, roles))}; "
                    "add a RoleBoundary for it or name another role."
                )
        weights = dict(self.role_weights)
        return _core.Policy(
            roles=[weights.get(role, 1.0) if role in self.roles else None for role in roles],
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
            train_markers=self.ignore_between_markers == "train",
            shift=self.shift,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_compiled"}


def as_pair(pair: Any) -> tuple[tuple[MarkerIds, ...], tuple[MarkerIds, ...]]:
    """An (opening, closing) pair of `ignore_between`, each as a tuple of alternatives."""
    try:
        opening, closing = pair
    except (TypeError, ValueError):
        raise ValueError(f"ignore_between: expected pairs of (opening, closing) ids, got {pair!r}.") from None
    opens = as_markers("ignore_between, opening", opening)
    if not opens:
        raise ValueError("ignore_between: an opening without ids; name the ids that open the region.")
    return opens, as_markers("ignore_between, closing", closing)


# What `policy=None` means; one object, so that it stays compiled from call to call.
DEFAULT_POLICY = MaskPolicy()
