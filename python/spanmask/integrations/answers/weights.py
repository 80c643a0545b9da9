"""Whether a trainer's loss reads loss weights. Models ignore unknown keyword arguments, so nothing downstream would notice."""

from __future__ import annotations

__all__ = ["REMEDY", "ignores_weights"]

REMEDY = (
    "use class Weighted(WeightedLossMixin, {trainer}) from spanmask.integrations.weighted_loss, or remove prompt_weight, role_weights and "
    "turn weights"
)
# Their `compute_loss` passes the batch on to the model. One that a user wrote may well read the weights.
LIBRARIES = ("transformers", "trl")


def ignores_weights(trainer: object) -> bool:
    """Whether a transformers trainer computes its loss by a method of transformers or TRL."""
    return str(type(trainer).compute_loss.__module__).partition(".")[0] in LIBRARIES  # type: ignore[attr-defined]
