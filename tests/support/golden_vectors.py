"""Writes `vectors/`. Run it by hand after a change of the algorithm, which needs a new version and a line in the CHANGELOG.

    python tests/support/golden_vectors.py

The vectors come from `spanmask.reference`; Rust and Python tests read them.
"""

import json
from pathlib import Path

from spanmask import (
    Denoiser,
    DenoiserMixture,
    FillInTheMiddle,
    MaskedDiffusion,
    MaskedLM,
    SpanCorruption,
    TextInfilling,
    reference,
)
from spanmask.reference import bounded, diffusion, key, philox, plan
from spanmask.reference.trials import successes

FOLDER = Path(__file__).parents[2] / "vectors"
SENTINELS = list(range(32099, 31999, -1))
SPAN_SPECS = {
    "t5": SpanCorruption(SENTINELS, 1),
    "article": SpanCorruption(SENTINELS, 1, noise_density=0.55, mean_noise_span_length=1.5),
    "uniform": SpanCorruption(SENTINELS, 1, noise_density=0.3, mean_noise_span_length=2.0, layout="uniform"),
    "fewer_spans": SpanCorruption(SENTINELS[:3], 1, noise_density=0.5, mean_noise_span_length=1.0, on_exhausted="fewer_spans"),
    "merge_last": SpanCorruption(
        SENTINELS[:3], 1, noise_density=0.5, mean_noise_span_length=1.0, on_exhausted="merge_last", final_sentinel=True
    ),
    "protected": SpanCorruption(SENTINELS, 1, noise_density=0.5, mean_noise_span_length=3.0, protected_ids=[100, 103, 111]),
    "ul2": DenoiserMixture.ul2(sentinel_ids=SENTINELS, eos_token_id=1),
    "ul2r": DenoiserMixture.ul2r(sentinel_ids=SENTINELS, eos_token_id=1),
    "prefix": DenoiserMixture(
        [Denoiser(kind="prefix", split="uniform", sentinel=False, mode_token=32100)], sentinel_ids=SENTINELS, eos_token_id=1
    ),
}
MASK_SPECS = {
    "bert": MaskedLM(103, 30522, special_ids=(0, 100, 101, 102, 103)),
    "words": MaskedLM(
        103, 30522, special_ids=(0, 100, 101, 102, 103), whole_word_mask=True, continuation_ids=tuple(range(105, 200, 3))
    ),
    "words_with_ends": MaskedLM(
        103,
        30522,
        special_ids=(0, 100, 101, 102, 103),
        whole_word_mask=True,
        continuation_ids=tuple(range(105, 200, 3)),
        word_end_ids=(101, 105, 120, 121, 150),
    ),
    "spans": MaskedLM(103, 30522, special_ids=(0, 100, 101, 102, 103), mode="span"),
    "min_one": MaskedLM(103, 30522, special_ids=(0, 100, 101, 102, 103), mlm_probability=0.01, min_one=True),
    "words_min_one": MaskedLM(
        103,
        30522,
        special_ids=(0, 100, 101, 102, 103),
        mlm_probability=0.01,
        min_one=True,
        whole_word_mask=True,
        continuation_ids=tuple(range(105, 200, 3)),
    ),
    "spans_min_one": MaskedLM(103, 30522, special_ids=(0, 100, 101, 102, 103), mode="span", min_one=True),
    "all": MaskedLM(
        103, 500, special_ids=(0, 100, 101, 102, 103), mlm_probability=1.0, mask_replace_prob=0.2, random_replace_prob=0.6
    ),
}
INFILL_SPECS = {
    "bart": TextInfilling(103, special_ids=(0, 100, 101, 102, 103), permute_sentence_ratio=1.0, sentence_end_ids=(110, 124, 137)),
    "some": TextInfilling(
        103, special_ids=(0, 100, 101, 102, 103), permute_sentence_ratio=0.4, sentence_end_ids=tuple(range(104, 140))
    ),
    "words": TextInfilling(
        103,
        special_ids=(101, 102, 117, 150),
        poisson_lambda=1.0,
        whole_word_mask=True,
        continuation_ids=tuple(range(105, 200, 3)),
        word_end_ids=(107, 119, 128),
    ),
    "random": TextInfilling(103, special_ids=(0, 100, 101, 102, 103), random_ratio=0.3, vocab_size=500, replace_length=-1),
    "deleted": TextInfilling(103, special_ids=(101, 102), mask_ratio=0.7, poisson_lambda=0.4, replace_length=0),
}
FIM_SPECS = {
    "starcoder": FillInTheMiddle(1, 2, 3, boundary_ids=(0,)),
    "codellama": FillInTheMiddle(
        32007, 32009, 32008, eot_id=32010, boundary_ids=(0, 60000), rate=1.0, spm_format="plain", loss="middle"
    ),
    "codestral": FillInTheMiddle(1, 2, 3, boundary_ids=(0,), rate=1.0, spm_format="unmarked", level="context", loss="middle"),
    "keep": FillInTheMiddle(1, 2, 3, boundary_ids=(0,), rate=0.9, spm_rate=0.3, length="keep"),
    "cut": FillInTheMiddle(1, 2, 3, eot_id=4, boundary_ids=(0,), rate=0.9, length="cut", level="context"),
}

DIFFUSION_SPECS = {
    "llada": MaskedDiffusion(126336),
    "special": MaskedDiffusion(103, eps=0.25, special_ids=(101, 102, 107, 114)),
}


def row_of(length):
    """A fixed row."""
    return [100 + 7 * at % 89 for at in range(length)]


def rng():
    """The raw stream, and what is drawn from it."""
    words = []
    for seed, epoch, name, purpose in [(0, 0, 0, 0), (42, 1, 7, 0), (2**64 - 1, 2**64 - 1, 2**64 - 1, 3)]:
        stream = philox.stream(seed, epoch, name, purpose)
        # 64-bit words are text, because many JSON readers read numbers as doubles.
        drawn = [str(stream.next_u64()) for _ in range(9)]
        words.append({"seed": str(seed), "epoch": str(epoch), "key": str(name), "purpose": purpose, "words": drawn})
    below = []
    for seed, bound in [(0, 1), (1, 2), (2, 100), (3, 3 << 30), (4, 2**32 - 1)]:
        stream = philox.stream(seed, 0, 0, 0)
        below.append({"seed": str(seed), "bound": bound, "values": [bounded.below(stream, bound) for _ in range(8)]})
    trials = []
    for seed, probability, count in [(0, 0.15, 200), (1, 0.5, 64), (2, 0.999, 7), (3, 1.0, 3), (4, 0.0, 64), (5, 0.002, 2000)]:
        stream = philox.stream(seed, 0, 0, philox.CHOICE)
        found = successes(stream, bounded.threshold(probability), count)
        trials.append({"seed": str(seed), "probability": probability, "count": count, "successes": found})
    keys = [{"row": row, "key": str(key.row_key(row))} for row in map(row_of, (0, 1, 2, 4, 20, 50, 100, 600))]
    return {"philox": words, "below": below, "trials": trials, "keys": keys}


def plans():
    """Lengths."""
    settings = [(0.15, 3.0), (0.5, 3.0), (0.5, 8.0), (0.15, 64.0), (0.5, 1.0), (0.35, 3.0), (0.9, 1.5), (0.01, 3.0)]
    cases = []
    for density, mean in settings:
        counts = [[length, *plan.plan(length, density, mean)] for length in (2, 3, 10, 50, 350, 568, 2274)]
        lengths = [[inputs, *plan.plan_lengths(inputs, density, mean)] for inputs in (3, 10, 128, 512, 2048)]
        cases.append({"density": density, "mean": mean, "plans": counts, "lengths": lengths})
    return cases


def corruptions():
    """Inputs and targets, by spec."""
    cases = []
    for name, spec in SPAN_SPECS.items():
        for length in (1, 2, 3, 9, 40):
            row = [*row_of(length), 1]
            inputs, labels = reference.corrupt(row, spec, seed=42, epoch=length % 2)
            cases.append({"spec": name, "row": row, "seed": 42, "epoch": length % 2, "input_ids": inputs, "labels": labels})
    return cases


def maskings():
    """Inputs and labels of masked LMs, by spec."""
    cases = []
    for name, spec in MASK_SPECS.items():
        for length in (1, 9, 70):
            row = [101, *row_of(length), 102]
            inputs, labels = reference.mask_tokens(row, spec, seed=42, epoch=1)
            cases.append({"spec": name, "row": row, "seed": 42, "epoch": 1, "input_ids": inputs, "labels": labels})
    return cases


def maskings_by_token():
    """The same with a probability for each token, 0 and 1 among them."""
    cases = []
    for name in ("bert", "words", "all"):
        for length in (1, 9, 600):
            row = [101, *row_of(length), 102]
            probabilities = [at % 5 / 4 if at % 3 else 1 / (at + 1) for at in range(len(row))]
            inputs, labels = reference.mask_tokens(row, MASK_SPECS[name], seed=43, epoch=2, mlm_probability=probabilities)
            case = {"spec": name, "row": row, "mlm_probability": probabilities, "seed": 43, "epoch": 2}
            cases.append({**case, "input_ids": inputs, "labels": labels})
    return cases


def diffusions():
    """Mask ratios, inputs and labels of masked diffusion, by spec; labels are given for some rows."""
    cases = []
    for name, spec in DIFFUSION_SPECS.items():
        for length in (1, 9, 70):
            row = [101, *row_of(length), 102]
            trained = None if length == 9 else [token if at % 3 else -100 for at, token in enumerate(row)]
            inputs, labels, _ = reference.diffuse(row, spec, seed=42, epoch=1, labels=trained)
            ratio = diffusion.ratio_of(spec.eps, diffusion.uniform(42, 1, key.row_key(row), philox.RATE))
            case = {"spec": name, "row": row, "trained": trained, "seed": 42, "epoch": 1, "mask_ratio": ratio}
            cases.append({**case, "input_ids": inputs, "labels": labels})
    return cases


def ratios():
    """Antithetic mask ratios of batches."""
    cases = []
    for count in (1, 2, 7):
        keys = [key.row_key(row_of(length)) for length in range(count)]
        made = diffusion.antithetic_ratios(keys, 42, 1, 0.001)
        cases.append({"keys": list(map(str, keys)), "seed": 42, "epoch": 1, "eps": 0.001, "ratios": made})
    return cases


def infillings():
    """Inputs of text infilling, by spec."""
    cases = []
    for name, spec in INFILL_SPECS.items():
        for length in (1, 9, 70, 200):
            row = [101, *row_of(length), 102]
            inputs, _ = reference.infill(row, spec, seed=42, epoch=1)
            cases.append({"spec": name, "row": row, "seed": 42, "epoch": 1, "input_ids": inputs})
    return cases


def fillings():
    """Rows of fill-in-the-middle, by spec: up to four documents, cut or not."""
    cases = []
    for name, spec in FIM_SPECS.items():
        for length, max_length in ((1, None), (9, None), (40, None), (70, 50)):
            row = row_of(length)
            for at in range(12, length, 17):
                row[at] = 0
            options = {"seed": 42, "epoch": length % 2, "max_length": max_length}
            inputs, labels = reference.fill_in_the_middle(row, spec, **options)
            cases.append({"spec": name, "row": row, **options, "input_ids": inputs, "labels": labels})
    return cases


if __name__ == "__main__":
    contents = {
        "rng": rng(),
        "plans": plans(),
        "corrupt": corruptions(),
        "mask_tokens": maskings(),
        "mask_tokens_by_token": maskings_by_token(),
        "diffusion": diffusions(),
        "diffusion_ratios": ratios(),
        "infill": infillings(),
        "fill_in_the_middle": fillings(),
    }
    for name, content in contents.items():
        cases = content if isinstance(content, list) else None
        text = json.dumps(content) if cases is None else "[\n" + ",\n".join(map(json.dumps, cases)) + "\n]"
        (FOLDER / f"{name}.json").write_text(text + "\n")
