"""Everything that users hold can be copied, pickled by pickle and dill, and passed to the processes of `Dataset.map`."""

import copy
import pickle

import datasets
import dill
import numpy as np
import pytest
import spanmask
from processes.test_loaders import CHATS, FAMILIES, ROWS
from spanmask import (
    Denoiser,
    DenoiserMixture,
    FillInTheMiddle,
    MaskedDiffusion,
    MaskedLM,
    MaskPolicy,
    Ragged,
    SpanCorruption,
    TextInfilling,
    corrupt,
    diffuse,
    fill_in_the_middle,
    find_turns,
    infill,
    mask_labels,
    mask_tokens,
)
from support.long_calls import FORMAT

pytestmark = [
    pytest.mark.filterwarnings("ignore:.* rows in a batch have no trained tokens"),
    pytest.mark.filterwarnings("ignore:labels. this batch has none"),
    pytest.mark.filterwarnings("ignore:loss_weights. this batch has loss weights"),
]
IDS = [row["input_ids"] for row in ROWS]
SPANS = SpanCorruption(range(2000, 2100), 1)
MIXTURE = DenoiserMixture([Denoiser(kind="spans"), Denoiser(kind="prefix")], sentinel_ids=range(2000, 2100))
MIDDLE = FillInTheMiddle(60_001, 60_002, 60_003)


def of_corrupt(spec):
    return [np.asarray(column.values) for column in (corrupt(IDS, spec, seed=3).input_ids, corrupt(IDS, spec, seed=3).labels)]


# By the name of a kind: an object, and what shows that a copy does the same.
OBJECTS = {
    "ChatFormat": (FORMAT, lambda fmt: mask_labels(IDS, fmt).labels),
    "MaskPolicy": (MaskPolicy(role_weights={"assistant": 0.5}), lambda policy: mask_labels(IDS, FORMAT, policy).weights),
    "Turns": (find_turns(IDS, FORMAT), lambda turns: mask_labels(IDS, turns).labels),
    "Ragged": (Ragged.from_rows(IDS), lambda rows: rows),
    "SpanCorruption": (SPANS, of_corrupt),
    "DenoiserMixture": (MIXTURE, of_corrupt),
    "MaskedLM": (MaskedLM(4, 60_000), lambda spec: mask_tokens(IDS, spec, seed=3).labels),
    "TextInfilling": (TextInfilling(4), lambda spec: infill(IDS, spec, seed=3).input_ids),
    "FillInTheMiddle": (MIDDLE, lambda spec: fill_in_the_middle(IDS, spec, seed=3).input_ids),
    "MaskedDiffusion": (MaskedDiffusion(4), lambda spec: diffuse(IDS, spec, seed=3).input_ids),
    "MaskReport": (mask_labels(IDS, FORMAT).report, lambda report: report),
    "MaskedLabels": (mask_labels(IDS, FORMAT), lambda made: made.labels),
    "Corrupted": (corrupt(IDS, SPANS, seed=3), lambda made: (made.noise_mask(), made.labels)),
    "MaskedTokens": (mask_tokens(IDS, MaskedLM(4, 60_000), seed=3), lambda made: made.labels),
    "Infilled": (infill(IDS, TextInfilling(4), seed=3), lambda made: made.input_ids),
    "FilledInTheMiddle": (fill_in_the_middle(IDS, MIDDLE, seed=3), lambda made: made.input_ids),
    "Diffused": (diffuse(IDS, MaskedDiffusion(4), seed=3), lambda made: made.labels),
}
# Copied as parts of others.
PARTS = {"CosineRate", "Denoiser", "LinearRate", "RoleBoundary"}
COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda made: pickle.loads(pickle.dumps(made)),
    "dill": lambda made: dill.loads(dill.dumps(made)),
}


def same(one, other):
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(np.array_equal(one, other)) if isinstance(one, np.ndarray) else one == other


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("kind", OBJECTS)
def test_a_copy_does_the_same(kind, way):
    made, use = OBJECTS[kind]
    assert same(use(COPIES[way](made)), use(made))


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_copy_of_a_collator_makes_the_same_batches(family, way):
    rows = CHATS if family == "vision" else ROWS[:3]
    made = FAMILIES[family]()
    expected = made(rows)
    got = COPIES[way](made)(rows)
    assert expected.keys() == got.keys()
    assert all(np.array_equal(expected[name], got[name]) for name in expected)


def test_every_public_kind_is_copied():
    kinds = {name for name in spanmask.__all__ if isinstance(getattr(spanmask, name), type)}
    collators = {type(make()).__name__ for make in FAMILIES.values()}
    not_objects = {name for name in kinds if issubclass(getattr(spanmask, name), (Exception, Warning))}
    assert kinds - collators - not_objects - set(OBJECTS) == PARTS


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=[] if name == "middle" else pytest.mark.processes) for name in FAMILIES if name != "vision"],
)
def test_processes_of_a_map(family, tmp_path):
    """Two processes make what one makes."""
    made = FAMILIES[family]()
    rows = datasets.Dataset.from_list(ROWS)

    def collated(batch):
        return {name: value.tolist() for name, value in made({"input_ids": batch["input_ids"]}).items()}

    options = {"batched": True, "batch_size": 3, "remove_columns": rows.column_names, "load_from_cache_file": False}
    assert rows.map(collated, num_proc=2, **options).to_list() == rows.map(collated, **options).to_list()
