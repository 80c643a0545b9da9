"""The golden vectors equal the results of the reference and of the core."""

import json
from pathlib import Path

import pytest
from spanmask import ChatFormat, MaskPolicy, RoleBoundary, find_turns, mask_labels, reference

CASES = json.loads((Path(__file__).parents[2] / "vectors" / "labels.json").read_text())


@pytest.mark.parametrize("masker", ["core", "reference"])
def test_vectors_pin_turns_labels_and_weights(masker):
    for case in CASES:
        names = [f"role{number}" for number in range(1 + max(boundary[0] for boundary in case["boundaries"]))]
        fmt = ChatFormat(
            [
                RoleBoundary(names[role], start, end, include_start=include_start, include_end=include_end)
                for role, start, end, include_start, include_end in case["boundaries"]
            ],
            stop_token_ids=case["stop_token_ids"],
            generation_prefills=case["generation_prefills"],
        )
        rules = dict(case["policy"])
        trained = [name for name, flag in zip(names, rules.pop("roles"), strict=True) if flag]
        policy = MaskPolicy(roles=trained, **rules)
        row = case["row"]
        if masker == "reference":
            assert [list(turn[:6]) for turn in reference.find_turns(row, fmt)] == case["turns"]
            assert reference.mask_labels(row, fmt, policy) == case["labels"]
            assert reference.mask_weights(row, fmt, policy) == case["weights"]
            continue
        turns = find_turns([row], fmt)
        columns = (turns.role, turns.start, turns.content_start, turns.content_stop, turns.stop, turns.closed)
        assert [list(turn) for turn in zip(*(column.tolist() for column in columns), strict=True)] == case["turns"]
        out = mask_labels([row], fmt, policy)
        assert out.labels == [case["labels"]]
        if out.weights is not None:
            assert out.weights[0].tolist() == case["weights"]


def test_vectors_exercise_every_option():
    seen = {(name, str(value)) for case in CASES for name, value in case["policy"].items() if isinstance(value, (str, bool))}
    assert {
        ("turns", "last"),
        ("train_on_eos", "last"),
        ("truncated_turn", "drop"),
        ("shift", "left"),
        ("on_no_trained_turn", "keep"),
    } <= seen
    assert sum(bool(case["policy"]["ignore_between"]) for case in CASES) > 20
    assert sum(any(label != -100 for label in case["labels"]) for case in CASES) > 100
