"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from spanmask.policy import MaskPolicy

__all__ = ["Column", "Reasoning", "Roles", "TrainOnEos", "Turns", "policy_of"]

Roles = Annotated[list[str] | None, typer.Option(help="A role that trains; may be repeated.")]
Turns = Annotated[str, typer.Option(help="Which turns train: all or last.")]
TrainOnEos = Annotated[str, typer.Option(help="Which closing tokens train: turn, all, last, none.")]
Reasoning = Annotated[str, typer.Option(help="train, ignore or ignore_empty.")]
Column = Annotated[list[str] | None, typer.Option(help="A column with another name: messages=dialogue; may be repeated.")]


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
