"""`DataCollatorForSpanCorruption`: its options and its batches. Loaders, workers and epochs: tests/integration/test_epochs.py."""

import concurrent.futures
import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spanmask import (
    DataCollatorForSpanCorruption,
    Denoiser,
    DenoiserMixture,
    Ragged,
    SentinelError,
    SpanCorruption,
    SpanmaskWarning,
    corrupt,
    denoise,
    merge,
)
from support.denoising import t5_tokenizer

WORDS = [f"w{number}" for number in range(200)]
TOKENIZER = t5_tokenizer(WORDS)
SPEC = SpanCorruption.from_tokenizer(TOKENIZER)
ROWS = [list(range(3, 60)), [5, 6, 7, 1], list(range(70, 150)), [9], []]


def collator(**options):
    return DataCollatorForSpanCorruption(TOKENIZER, **{"seed": 42, "on_repeat": "ignore", **options})


def features(rows=ROWS, **columns):
    return [{"input_ids": row, **{name: column[number] for name, column in columns.items()}} for number, row in enumerate(rows)]


def test_batch_is_padded_corruption():
    batch = collator()(features())
    out = corrupt(ROWS, SPEC, seed=42)
    assert {name: (value.dtype, value.shape[0]) for name, value in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "labels"), (torch.int64, 5)
    )
    assert np.array_equal(batch["input_ids"], out.input_ids.to_padded(0))
    assert np.array_equal(batch["labels"], out.labels.to_padded(-100))
    ones = Ragged(np.ones(len(out.input_ids.values), np.int64), out.input_ids.offsets)
    assert np.array_equal(batch["attention_mask"], ones.to_padded(0))


def test_left_padding_and_multiples():
    batch = collator(padding_side="left", pad_to_multiple_of=8, return_tensors="np")(features())
    out = corrupt(ROWS, SPEC, seed=42)
    widths = [-(-np.diff(side.offsets).max() // 8) * 8 for side in (out.input_ids, out.labels)]
    assert batch["input_ids"].shape == (5, widths[0])
    assert batch["labels"].shape == (5, widths[1])
    assert batch["input_ids"][1, -4:].tolist() == out.input_ids[1].tolist()
    assert batch["attention_mask"].sum(axis=1).tolist() == np.diff(out.input_ids.offsets).tolist()


def test_decoder_inputs_are_the_labels_one_place_later():
    batch = collator(decoder_start_token_id=0)(features())
    expected = torch.cat([torch.zeros(5, 1, dtype=torch.int64), batch["labels"][:, :-1]], dim=1)
    expected[expected == -100] = 0
    assert torch.equal(batch["decoder_input_ids"], expected)


def test_decoder_inputs_are_those_of_the_model():
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(vocab_size=len(TOKENIZER), d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0)
    )
    batch = collator(decoder_start_token_id=0)(features())
    assert torch.equal(batch["decoder_input_ids"], model.prepare_decoder_input_ids_from_labels(batch["labels"]))


@pytest.mark.filterwarnings("ignore:labels. this batch has none")
@given(lengths=st.lists(st.integers(0, 400), min_size=1, max_size=6), inputs_length=st.integers(8, 120))
def test_fixed_lengths(lengths, inputs_length):
    """Every batch has the same two shapes, and rows are cut, never more than they must."""
    rows = [list(range(3, 3 + min(length, 190))) * 2 for length in lengths]
    fixed = collator(inputs_length=inputs_length, return_tensors="np")
    tokens, targets = SPEC.plan_lengths(inputs_length)
    batch = fixed(features(rows))
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (len(rows), inputs_length)
    assert batch["labels"].shape == (len(rows), targets)
    for number, row in enumerate(rows):
        inputs = batch["input_ids"][number][batch["attention_mask"][number] == 1].tolist()
        labels = [label for label in batch["labels"][number].tolist() if label != -100]
        assert merge([inputs], [labels], SPEC) == [row[:tokens]]


def test_fixed_lengths_with_a_mixture_and_protected_tokens():
    rows = [[number % 190 + 3 for number in range(length)] for length in (700, 300, 900, 40)]
    mixture = DenoiserMixture.ul2(TOKENIZER, on_exhausted="fewer_spans")
    batch = collator(spec=mixture, inputs_length=64, return_tensors="np")(features(rows * 5, key=list(range(20))))
    assert batch["input_ids"].shape == (20, 64)
    assert batch["labels"].shape == (20, mixture.plan_lengths(64)[1])
    protected = collator(protected_ids=(5, 9, 30), inputs_length=64, return_tensors="np")(features(rows))
    assert protected["input_ids"].shape == (4, 64)


def test_attention_mask_bounds_the_row():
    padded = [[*range(3, 13), 0, 0], [*range(20, 30), 1, 0]]
    masks = [[1] * 10 + [0] * 2, [1] * 11 + [0]]
    batch = collator(return_tensors="np")(features(padded, attention_mask=masks))
    plain = collator(return_tensors="np")(features([padded[0][:10], padded[1][:11]]))
    assert np.array_equal(batch["input_ids"], plain["input_ids"])


def test_key_column():
    rows = [list(range(3, 60))] * 2
    batch = collator(key_column="id", return_tensors="np")(features(rows, id=["a", "b"]))
    assert np.array_equal(batch["labels"], corrupt(rows, SPEC, seed=42, keys=["a", "b"]).labels.to_padded(-100))
    same = collator(return_tensors="np")(features(rows))
    assert np.array_equal(same["input_ids"][0], same["input_ids"][1])  # equal content gets the same noise


@pytest.mark.parametrize("kind", ["arrays", "int32", "strided", "mixed", "tensors", "table", "columns"])
def test_every_kind_of_features_gives_the_same(kind):
    rows = [np.array(row, np.int64) for row in ROWS]
    given_features = {
        "arrays": lambda: features(rows),
        "int32": lambda: features([row.astype(np.int32) for row in rows]),
        "strided": lambda: features([np.repeat(row, 2)[::2] for row in rows]),
        "mixed": lambda: features([np.repeat(row, 2)[::2] if number else row for number, row in enumerate(rows)]),
        "tensors": lambda: features([torch.from_numpy(row) for row in rows]),
        "table": lambda: pa.table({"input_ids": ROWS}),
        "columns": lambda: {"input_ids": ROWS},
    }[kind]()
    expected = collator()(features())
    batch = collator()(given_features)
    assert all(torch.equal(batch[name], expected[name]) for name in expected)


def test_other_columns_are_dropped_unless_kept():
    assert set(collator()(features(score=[1.0] * 5, text=list("abcde")))) == {"input_ids", "attention_mask", "labels"}
    assert collator(keep_columns=["score"])(features(score=[1.0, 2, 3, 4, 5]))["score"].tolist() == [1, 2, 3, 4, 5]


def test_a_mixture_without_sentinels_uses_the_tokenizers():
    made = collator(spec=DenoiserMixture([Denoiser(3.0, 0.15), Denoiser(kind="prefix")]))
    assert made.spec.sentinel_ids == SPEC.sentinel_ids
    assert made.spec.eos_token_id == 1
    made(features())


def test_collators_can_be_copied_and_pickled():
    made = collator(epoch=3)
    made.set_step(9)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert other.state_dict() == made.state_dict()
        assert (other.seed, other.epoch, repr(other)) == (42, 3, repr(made))
        assert torch.equal(other(features())["labels"], made(features())["labels"])
        other.set_epoch(4)  # only that of the copy
        assert made.epoch == 3


def test_threads_may_use_one_collator():
    made = collator()
    expected = made(features())["input_ids"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: made(features())["input_ids"], range(64)))
    assert all(torch.equal(result, expected) for result in results)


class TestState:
    def test_state_dict_continues_where_it_was(self):
        made = collator(epoch=5)
        made.set_step(70)
        assert made.state_dict() == {"seed": 42, "epoch": 5, "step": 70, "algorithm": 1}
        other = collator(seed=1)
        other.load_state_dict(made.state_dict())
        assert other.state_dict() == made.state_dict()
        assert torch.equal(other(features())["labels"], made(features())["labels"])

    @pytest.mark.parametrize(
        ("state", "message"),
        [
            ({"seed": 1, "epoch": 0}, "state_dict: has no 'algorithm'"),
            ({"epoch": 0, "algorithm": 1}, "state_dict: has no 'seed'"),
            (
                {"seed": 1, "epoch": 0, "algorithm": 0},
                "state_dict: has algorithm 0, but this version of spanmask draws algorithm 1",
            ),
            ({"seed": -1, "epoch": 0, "algorithm": 1}, "seed: expected an integer from 0"),
        ],
    )
    def test_bad_states(self, state, message):
        with pytest.raises(ValueError, match=message):
            collator().load_state_dict(state)

    def test_options_of_the_spec_are_set_on_the_spec(self):
        made = collator(noise_density=0.3)
        with pytest.raises(AttributeError, match="noise_density: is an option of the spec; set collator.spec = "):
            made.noise_density = 0.5
        made.spec = dataclasses.replace(made.spec, noise_density=0.5)
        assert dataclasses.replace(made, max_length=9).spec.noise_density == 0.5
        assert dataclasses.replace(made, spec=SPEC).spec == SPEC

    def test_other_options_may_be_set_later(self):
        made = collator(return_tensors="np")
        made.label_pad_token_id, made.padding_side, made.pad_to_multiple_of = -7, "left", 64
        batch, other = made(features()), collator(label_pad_token_id=-7, padding_side="left", pad_to_multiple_of=64)(features())
        assert all(np.array_equal(batch[name], other[name]) for name in batch)

    def test_none_is_no_eos(self):
        batch = collator(eos_token_id=None)(features(ROWS[:1]))
        assert 1 not in batch["labels"]

    def test_a_state_is_a_dict(self):
        with pytest.raises(TypeError, match="state_dict: expected what state_dict.* returned, got NoneType"):
            collator().load_state_dict(None)

    @pytest.mark.parametrize("epoch", [-1, 2**64, 1.5, "1"])
    def test_bad_epochs(self, epoch):
        with pytest.raises((ValueError, TypeError), match="epoch: expected an integer"):
            collator().set_epoch(epoch)


class TestRepeats:
    @staticmethod
    def one_pass(made, rows=(ROWS[0], ROWS[2])):
        for row in rows:
            made(features([row]))

    def test_the_second_pass_warns_once(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        self.one_pass(made)
        with pytest.warns(SpanmaskWarning, match=r"the masks repeat.*seed 42 and epoch 0. Call collator.set_epoch") as caught:
            self.one_pass(made)
        assert caught[0].filename == __file__  # the caller's line, not one of ours
        self.one_pass(made)

    def test_it_can_raise(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42, on_repeat="raise")
        self.one_pass(made)
        with pytest.raises(ValueError, match="seed: the masks repeat"):
            self.one_pass(made)

    def test_it_can_be_ignored(self):
        made = collator(on_repeat="ignore")
        for _ in range(3):
            self.one_pass(made)

    @pytest.mark.parametrize("remedy", [{"seed": None}, {"key_column": "id"}])
    def test_what_the_warning_recommends_helps(self, remedy):
        made = DataCollatorForSpanCorruption(TOKENIZER, **{"seed": 42, **remedy})
        drawn = [made([{"input_ids": ROWS[0], "id": number}])["labels"].tolist() for number in range(4)]
        assert len({str(labels) for labels in drawn}) == 4

    def test_shuffled_passes_warn(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        rows = [[number + at for at in range(3, 23)] for number in range(0, 160, 2)]
        order = np.random.default_rng(0)

        def one_pass():
            shuffled = [rows[at] for at in order.permutation(len(rows))]
            for first in range(0, len(rows), 8):
                made(features(shuffled[first : first + 8]))

        one_pass()
        with pytest.warns(SpanmaskWarning, match="the masks repeat") as caught:
            one_pass()
        assert len(caught) == 1
        one_pass()

    def test_another_epoch_does_not_repeat(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        for epoch in range(3):
            made.set_epoch(epoch)
            made(features())

    @pytest.mark.filterwarnings("ignore:labels. this batch has none")
    @pytest.mark.parametrize("batch_size", [1, 5])
    def test_a_few_equal_rows_are_not_a_repeat(self, batch_size):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        for first in range(20):
            rows = [[first + at for at in range(3, 40)], ROWS[0], [], [9], [first + 5, *ROWS[0]]]
            for row in range(0, 5, batch_size):
                made(features(rows[row : row + batch_size]))

    def test_a_copy_starts_a_new_watch(self):
        made = DataCollatorForSpanCorruption(TOKENIZER, seed=42)
        self.one_pass(made)
        self.one_pass(copy.deepcopy(made))


class TestSeedNone:
    @pytest.mark.parametrize("spec", [None, DenoiserMixture.t5()], ids=["spans", "mixture"])
    def test_a_plain_loop_is_fresh_in_every_pass(self, spec):
        made = collator(seed=None, on_repeat="warn", spec=spec)
        passes = [str(made(features())["labels"].tolist()) for _ in range(4)]
        assert len(set(passes)) == 4

    def test_manual_seed_repeats_a_run(self):
        runs = []
        for seed in (7, 7, 8):
            torch.manual_seed(seed)
            made = collator(seed=None)
            runs.append([made(features())["labels"].tolist() for _ in range(3)])
        assert runs[0] == runs[1] != runs[2]

    def test_it_draws_once_per_call_and_only_without_a_seed(self):
        torch.manual_seed(7)
        collator(seed=42)(features())
        seed = int(torch.empty((), dtype=torch.int64).random_())
        torch.manual_seed(7)
        assert torch.equal(collator(seed=None)(features())["labels"], collator(seed=seed)(features())["labels"])

    def test_the_epoch_counts_too(self):
        drawn = []
        for epoch in (0, 1):
            torch.manual_seed(7)
            drawn.append(collator(seed=None, epoch=epoch)(features())["labels"].tolist())
        assert drawn[0] != drawn[1]

    def test_without_torch_it_follows_numpy(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)  # import torch raises ImportError
        made = collator(seed=None, return_tensors="np")
        runs = []
        for seed in (7, 7, 8):
            np.random.seed(seed)
            runs.append([made(features())["labels"].tolist() for _ in range(2)])
        assert runs[0] == runs[1] != runs[2]
        assert runs[0][0] != runs[0][1]

    def test_torch_is_only_imported_to_draw_a_seed(self):
        code = """
import sys
from spanmask import DataCollatorForSpanCorruption
class Tokenizer:
    pad_token_id, eos_token_id, padding_side = 0, 1, "right"
    def get_vocab(self): return {"<extra_id_0>": 99, "<extra_id_1>": 98}
for seed in (1, None):
    DataCollatorForSpanCorruption(Tokenizer(), seed=seed, return_tensors="np")([{"input_ids": [5, 6, 7]}])
    print("torch" in sys.modules)
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["False", "True"]


SPEC_OPTIONS = {
    "noise_density": 0.5,
    "mean_noise_span_length": 2.0,
    "sentinel_ids": [50, 51],
    "eos_token_id": 1,
    "bos_token_ids": [7],
    "layout": "classic",
    "final_sentinel": False,
    "on_exhausted": "raise",
    "on_sentinel": "allow",
    "protected_ids": (),
}


class TestOptions:
    def test_options_are_keywords(self):
        with pytest.raises(TypeError, match="positional"):
            DataCollatorForSpanCorruption(TOKENIZER, 0.15)

    @pytest.mark.parametrize("spec", [SPEC, DenoiserMixture.ul2(TOKENIZER)], ids=["spec", "mixture"])
    @pytest.mark.parametrize("option", SPEC_OPTIONS)
    def test_an_option_of_the_spec_next_to_a_spec_is_an_error(self, option, spec):
        with pytest.raises(TypeError, match=f"^{option}: cannot be combined with spec; set it on the spec.$"):
            collator(spec=spec, **{option: SPEC_OPTIONS[option]})

    def test_they_are_all_options_of_the_spec(self):
        assert set(SPEC_OPTIONS) == set(inspect.signature(SpanCorruption).parameters)

    def test_they_make_the_spec(self):
        options = {"noise_density": 0.3, "layout": "uniform", "final_sentinel": True, "protected_ids": [7]}
        made = collator(**options, sentinel_ids=[50, 51], eos_token_id=2)
        assert made.spec == SpanCorruption([50, 51], 2, **options)
        assert collator().spec == SPEC

    def test_repr_is_short(self):
        assert repr(collator(noise_density=0.5, epoch=3)) == (
            f"DataCollatorForSpanCorruption({type(TOKENIZER).__name__}, seed=42, epoch=3, on_repeat='ignore', padding_side='right', "
            "spec=SpanCorruption(sentinel_ids=(302, 301, 300, ..., 203), eos_token_id=1, noise_density=0.5))"
        )

    def test_it_is_a_dataclass(self):
        made = collator(inputs_length=64, layout="uniform")
        other = dataclasses.replace(made, seed=1)
        assert (other.seed, other.inputs_length, other.spec) == (1, 64, made.spec)
        assert made.seed == 42

    def test_seed_epoch_and_on_repeat_can_be_set(self):
        made = collator()
        made.seed, made.epoch, made.on_repeat = 1, 2, "warn"
        assert torch.equal(made(features())["labels"], collator(seed=1, epoch=2)(features())["labels"])
        with pytest.raises(ValueError, match="on_repeat: expected one of"):
            made.on_repeat = "never"

    def test_label_padding(self):
        one, other = collator()(features()), collator(label_pad_token_id=-1)(features())
        assert torch.equal(torch.where(one["labels"] == -100, -1, one["labels"]), other["labels"])

    def test_the_tokenizers_padding_side_is_the_default(self):
        tokenizer = t5_tokenizer(WORDS)
        tokenizer.padding_side = "left"
        batch = DataCollatorForSpanCorruption(tokenizer, seed=42)(features())
        assert torch.equal(batch["attention_mask"], collator(padding_side="left")(features())["attention_mask"])
        assert batch["attention_mask"][1, 0] == 0

    @pytest.mark.parametrize("eos", [[], [1]], ids=["without EOS", "with EOS"])
    def test_rows_are_cut_before_noise(self, eos):
        batch = collator(max_length=20)(features([row + eos for row in ROWS]))
        expected = collator()(features([(row + eos)[:20] for row in ROWS]))
        assert all(torch.equal(batch[name], expected[name]) for name in expected)

    def test_padding_is_not_part_of_the_cut(self):
        padded = [[0] * 5 + ROWS[0], [0] * 5 + ROWS[2]]
        masks = [[0] * 5 + [1] * len(row) for row in (ROWS[0], ROWS[2])]
        batch = collator(max_length=20)(features(padded, attention_mask=masks))
        expected = collator(max_length=20)(features([ROWS[0], ROWS[2]]))
        assert all(torch.equal(batch[name], expected[name]) for name in expected)


class TestColumns:
    ROWS = (list(range(3, 43)), [*range(70, 95), 1])

    @staticmethod
    def kinds(column):
        """One column as lists, arrays, tensors and Arrow."""
        for make in (list, np.array, torch.tensor):
            yield [make(row) for row in column]

    @pytest.mark.parametrize("name", ["protected_mask", "special_tokens_mask"])
    def test_protected_tokens_are_never_hidden(self, name):
        flags = [[int(token % 3 == 0) for token in row] for row in self.ROWS]
        for column in self.kinds(flags):
            batch = collator(noise_density=0.9)(features(self.ROWS, **{name: column}))
            for number, row in enumerate(self.ROWS):
                inputs = batch["input_ids"][number].tolist()
                assert {token for token in row if token % 3 == 0} <= set(inputs)
                assert len([token for token in inputs if 3 <= token < 150 and token % 3]) < len(row) / 6

    def test_both_kinds_of_protection_add_up(self):
        thirds, fours = ([[int(token % n == 0) for token in row] for row in self.ROWS] for n in (3, 4))
        batch = collator()(features(self.ROWS, protected_mask=thirds, special_tokens_mask=fours))
        both = [[int(token % 3 == 0 or token % 4 == 0) for token in row] for row in self.ROWS]
        assert torch.equal(batch["labels"], collator()(features(self.ROWS, protected_mask=both))["labels"])

    def test_spans_cover_whole_words(self):
        numbers = [[at // 5 for at in range(len(row))] for row in self.ROWS]
        numbers[1][-1] = None
        starts = [[at % 5 == 0 for at in range(len(row))] for row in self.ROWS]
        by_number = collator(noise_density=0.4)(features(self.ROWS, word_ids=numbers))
        by_start = collator(noise_density=0.4)(features(self.ROWS, word_starts=starts))
        for batch in (by_number, by_start):
            hidden = set(batch["labels"][0].tolist()) & set(self.ROWS[0])
            assert len(hidden) in range(5, 40, 5)
            assert hidden == {token for token in self.ROWS[0] if 3 + (token - 3) // 5 * 5 in hidden}
        assert torch.equal(by_number["labels"], by_start["labels"])
        table = pa.table({"input_ids": self.ROWS, "word_ids": numbers})
        assert torch.equal(collator(noise_density=0.4)(table)["labels"], by_number["labels"])

    def test_columns_work_with_padded_rows_and_cuts(self):
        flags = [[int(token % 3 == 0) for token in row] for row in self.ROWS]
        padded = [[0, 0, *row] for row in self.ROWS]
        masks = [[0, 0] + [1] * len(row) for row in self.ROWS]
        batch = collator(max_length=20)(features(padded, attention_mask=masks, protected_mask=[[1, 1, *row] for row in flags]))
        cut = features([row[:20] for row in self.ROWS], protected_mask=[row[:20] for row in flags])
        assert torch.equal(batch["labels"], collator()(cut)["labels"])

    def test_rates_by_row(self):
        rows = (self.ROWS[0], self.ROWS[0])
        for density in ([0.1, 0.8], np.array([0.1, 0.8]), torch.tensor([0.1, 0.8], dtype=torch.float64)):
            batch = collator()(features(rows, noise_density=density, mean_noise_span_length=[1, 4]))
            out = corrupt(rows, SPEC, seed=42, noise_density=[0.1, 0.8], mean_noise_span_length=[1, 4])
            assert np.array_equal(batch["labels"], out.labels.to_padded(-100))
        table = pa.table({"input_ids": rows, "noise_density": [0.1, 0.8], "mean_noise_span_length": [1, 4]})
        assert torch.equal(collator()(table)["labels"], batch["labels"])

    @pytest.mark.parametrize(
        ("columns", "error", "message"),
        [
            ({"protected_mask": [[1]]}, ValueError, "protected_mask: row 0 has 1 entries for 3 ids"),
            ({"special_tokens_mask": [[1, 0, 2]]}, ValueError, "special_tokens_mask: holds 2"),
            ({"word_ids": [[0, 0]]}, ValueError, "word_ids: row 0 has 2 entries for 3 ids"),
            ({"word_starts": [[1, 0]]}, ValueError, "word_starts: row 0 has 2 entries for 3 ids"),
            ({"word_starts": [[1, 0, 1]], "word_ids": [[0, 0, 1]]}, ValueError, "word_starts: given together with word_ids"),
            ({"noise_density": [1.5]}, ValueError, "noise_density: row 0: expected a fraction"),
            ({"mean_noise_span_length": ["3"]}, TypeError, "mean_noise_span_length: row 0: expected a number"),
        ],
    )
    @pytest.mark.parametrize("make", [list, np.array])
    def test_bad_columns(self, columns, error, message, make):
        with pytest.raises(error, match=message):
            collator()(features([make([5, 6, 7])], **columns))

    def test_a_prefix_without_a_sentinel_protects_nothing(self):
        made = collator(spec=DenoiserMixture([Denoiser(kind="prefix", sentinel=False)]))
        with pytest.raises(ValueError, match="protected_mask: a prefix without a sentinel cannot leave tokens out"):
            made(features(self.ROWS, special_tokens_mask=[[0] * len(row) for row in self.ROWS]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise_density": 0}, ValueError, "noise_density: expected a fraction"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"seed": "42"}, TypeError, "seed: expected an integer, got str"),
        ({"epoch": -1}, ValueError, "epoch: expected an integer from 0"),
        ({"inputs_length": 0}, ValueError, "inputs_length: expected a positive integer"),
        ({"inputs_length": 2}, ValueError, "inputs_length: expected at least 3"),
        ({"targets_length": 20}, ValueError, "targets_length: requires inputs_length"),
        ({"inputs_length": 4000}, SentinelError, "sentinel_ids: rows of .* tokens need .* spans, but there are 100 sentinels"),
        ({"decoder_start_token_id": -1}, ValueError, "decoder_start_token_id: expected a token id"),
        ({"pad_to_multiple_of": 0}, ValueError, "pad_to_multiple_of: expected a positive integer"),
        ({"padding_side": "middle"}, ValueError, "padding_side: expected 'right' or 'left'"),
        ({"return_tensors": "tf"}, ValueError, "return_tensors: expected one of 'pt', 'np'"),
        ({"on_repeat": "error"}, ValueError, "on_repeat: expected one of 'warn', 'ignore', 'raise'"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer"),
        ({"label_pad_token_id": 0.5}, ValueError, "label_pad_token_id: expected an integer"),
        ({"spec": "t5"}, TypeError, "spec: expected SpanCorruption or DenoiserMixture"),
        ({"colour": "red"}, TypeError, "colour"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        collator(**options)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        ([], ValueError, "features: the batch is empty"),
        ([{"text": "a"}], ValueError, "features: no 'input_ids'; the examples have 'text'"),
        ([[5, 6]], TypeError, "features: example 0 is of type list"),
        (features([[5, 6, -1]]), ValueError, "input_ids: row 0 has -1 at position 2"),
        (features([np.array([5, 6, -1])]), ValueError, "input_ids: row 0 has -1 at position 2"),
        (features([[5, 6, len(TOKENIZER) - 1]]), SentinelError, "input_ids: row 0 already contains sentinel"),
        (features([np.array([5.0, 6.0])]), TypeError, "input_ids: row 0: expected integer token ids, got float64"),
        (
            features([np.array([5, 6]), np.array([5, 6], np.int32)]),
            TypeError,
            "input_ids: row 1 has dtype int32, row 0 has int64",
        ),
        (features([np.array([[5, 6]])]), ValueError, r"input_ids: row 0 has shape \(1, 2\); expected 1-D"),
        (features([[5, 6, 7]], attention_mask=[[1, 0, 1]]), ValueError, "attention_mask: row 0 has a 0 between 1s at position 1"),
        (features([[5, 6, 7]], attention_mask=[[1, 1]]), ValueError, "attention_mask: row 0 has 2 entries for 3 ids"),
    ],
)
def test_bad_batches(batch, error, message):
    with pytest.raises(error, match=message):
        collator()(batch)


def test_a_missing_key_column_is_an_error():
    with pytest.raises(ValueError, match="key_column: no column 'id'; the examples have 'input_ids'"):
        collator(key_column="id")(features())


def test_tokenizers_that_lack_something():
    for lacking, message in [("pad_token", "tokenizer: has no pad token"), ("eos_token", "tokenizer: has no EOS token")]:
        tokenizer = t5_tokenizer(WORDS)
        setattr(tokenizer, lacking, None)
        with pytest.raises(ValueError, match=message):
            DataCollatorForSpanCorruption(tokenizer)


class TestDenoise:
    def test_one_text(self):
        pair = denoise(TOKENIZER, "w1 w2 w3 w4 w5 w6 w7 w8", noise_density=0.55, mean_noise_span_length=1.5, seed=0)
        assert {name: tuple(value.shape) for name, value in pair.items()} == {
            "input_ids": (1, 8),
            "attention_mask": (1, 8),
            "labels": (1, 8),
        }
        row = TOKENIZER("w1 w2 w3 w4 w5 w6 w7 w8")["input_ids"]
        assert merge(pair["input_ids"], pair["labels"], SPEC) == [row[:-1]]
        again = denoise(TOKENIZER, "w1 w2 w3 w4 w5 w6 w7 w8", noise_density=0.55, mean_noise_span_length=1.5, seed=0)
        assert torch.equal(pair["labels"], again["labels"])

    def test_several_texts_are_padded(self):
        pair = denoise(TOKENIZER, ["w1 w2 w3 w4 w5 w6 w7 w8", "w1 w2"], noise_density=0.5, mean_noise_span_length=1, seed=0)
        assert pair["labels"][1, 3:].unique().tolist() == [-100]
        assert pair["attention_mask"].sum(dim=1).tolist() == [9, 3]

    @pytest.mark.parametrize(
        ("text", "error", "message"),
        [
            ([], ValueError, "text: the list is empty"),
            ([5], TypeError, "text: expected a string or a list of strings, but item 0 is of type int"),
        ],
    )
    def test_bad_texts(self, text, error, message):
        with pytest.raises(error, match=message):
            denoise(TOKENIZER, text)
