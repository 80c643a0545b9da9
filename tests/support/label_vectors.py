"""Writes `vectors/labels.json`: run it by hand after a change to the rules for turns or trained tokens, and add a line to the CHANGELOG.

    python tests/support/label_vectors.py

The vectors come from `spanmask.reference`; Rust and Python tests read them.
"""

import json
from pathlib import Path
from random import Random

from spanmask import ChatFormat, MaskPolicy, RoleBoundary, reference

FILE = Path(__file__).parents[2] / "vectors" / "labels.json"


def marker(rng):
    return [rng.randrange(6) for _ in range(rng.choice([1, 1, 2, 2, 3]))]


def chat_format(rng):
    """A small alphabet, so that markers overlap, touch, nest and almost match."""
    starts = {role: {tuple(marker(rng)) for _ in range(rng.choice([1, 2]))} for role in ("assistant", "user", "system")}
    seen = set()
    boundaries = []
    for role, own in starts.items():
        own -= seen
        seen |= own
        if own:
            ends = [marker(rng) for _ in range(rng.choice([0, 1, 2]))]
            flags = rng.random() < 0.2, rng.random() < 0.8
            boundaries.append(RoleBoundary(role, sorted(own), ends, include_start=flags[0], include_end=flags[1]))
    return ChatFormat(boundaries, stop_token_ids=[rng.randrange(6)], generation_prefills=[marker(rng)])


def policy(rng, roles):
    pairs = [([marker(rng)], [marker(rng)]) for _ in range(rng.choice([0, 0, 1]))]
    return MaskPolicy(
        roles=rng.sample(roles, rng.randint(1, len(roles))),
        turns=rng.choice(["all", "all", "last"]),
        train_on_eos=rng.choice(["none", "turn", "last", "all"]),
        include_start=rng.random() < 0.2,
        truncated_turn=rng.choice(["train", "drop"]),
        ignore_ids=[rng.randrange(6)] if rng.random() < 0.2 else [],
        ignore_between=pairs,
        train_between_markers=rng.choice([False, True]),
        ignore_sequences=[marker(rng)] if rng.random() < 0.2 else [],
        train_generation_prefill=rng.random() < 0.5,
        prompt_weight=rng.choice([0.0, 0.0, 0.5]),
        shift=rng.choice(["none", "none", "left"]),
        on_no_trained_turn=rng.choice(["mask", "keep"]),
    )


def case(rng):
    """A format, a policy, a row, and what the reference makes of them."""
    fmt = chat_format(rng)
    rules = policy(rng, fmt.roles)
    row = [rng.randrange(6) for _ in range(rng.choice([0, 1, 5, 20, 100]))]
    return {
        "boundaries": [[fmt.roles.index(b.role), b.start, b.end, b.include_start, b.include_end] for b in fmt.boundaries],
        "stop_token_ids": fmt.stop_token_ids,
        "generation_prefills": fmt.generation_prefills,
        "policy": {
            "roles": [role in rules.roles for role in fmt.roles],
            "turns": rules.turns,
            "train_on_eos": rules.train_on_eos,
            "include_start": rules.include_start,
            "truncated_turn": rules.truncated_turn,
            "ignore_ids": rules.ignore_ids,
            "ignore_between": rules.ignore_between,
            "train_between_markers": rules.train_between_markers,
            "ignore_sequences": rules.ignore_sequences,
            "train_generation_prefill": rules.train_generation_prefill,
            "prompt_weight": rules.prompt_weight,
            "shift": rules.shift,
            "on_no_trained_turn": rules.on_no_trained_turn,
        },
        "row": row,
        "turns": [list(turn[:6]) for turn in reference.find_turns(row, fmt)],
        "labels": reference.mask_labels(row, fmt, rules),
        "weights": reference.mask_weights(row, fmt, rules),
    }


def cases():
    rng = Random(0)
    return [case(rng) for _ in range(200)]


def text():
    return "[\n" + ",\n".join(json.dumps(entry) for entry in cases()) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(text())
