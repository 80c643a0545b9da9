"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from spanmask.policy import MaskPolicy

__all__ = ["Column", "ComparePolicy", "Drop", "Reasoning", "Roles", "TrainOnEos", "Turns", "other_policy", "policy_of"]

Roles = Annotated[list[str] | None, typer.Option(help="A role that trains; may be repeated.")]
Turns = Annotated[str, typer.Option(help="Which turns train: all or last.")]
TrainOnEos = Annotated[str, typer.Option(help="Which closing tokens train: turn, all, last, none.")]
Reasoning = Annotated[str, typer.Option(help="train, ignore or ignore_empty.")]
Column = Annotated[list[str] | None, typer.Option(help="A column with another name: messages=dialogue; may be repeated.")]
Drop = Annotated[list[str] | None, typer.Option(help="A column to treat as if it were not there; may be repeated.")]
ComparePolicy = Annotated[
    list[str] | None,
    typer.Option(help="Compare with another policy: turns=last, or roles, train-on-eos or reasoning; may be repeated."),
]


def policy_of(
    roles: list[str] | None, turns: str, train_on_eos: str, reasoning: str, *, drop_untrained: bool = False
) -> MaskPolicy:
    """The policy that options name.

    Raises:
        ValueError: an option has another value.
    """
    return MaskPolicy(
        roles=tuple(roles or ("assistant",)),
        turns=turns,  # type: ignore[arg-type]  # checked there
        train_on_eos=train_on_eos,  # type: ignore[arg-type]
        reasoning=reasoning,  # type: ignore[arg-type]
        on_untrained_row="drop" if drop_untrained else "keep",
    )


def other_policy(options: list[str]) -> MaskPolicy:
    """The policy that `turns=last` and the like name; what they do not name is as by default.

    Raises:
        ValueError: an option has another name or value.
    """
    known: dict[str, Any] = {"turns": "all", "train-on-eos": "turn", "reasoning": "ignore_empty"}
    roles: list[str] = []
    for option in options:
        name, equals, value = option.partition("=")
        if name == "roles" and value:
            roles += value.split(",")
        elif name in known and equals:
            known[name] = value
        else:
            raise ValueError(f"--compare-policy: expected NAME=VALUE with the name roles, {', '.join(known)}, got {option!r}.")
    return policy_of(roles, known["turns"], known["train-on-eos"], known["reasoning"])
