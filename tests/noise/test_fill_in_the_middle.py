"""Fill-in-the-middle: the core compared with the oracle and with other programs, its inverse, and everything that must be an error."""

import json
import math
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from spanmask import FillInTheMiddle, Ragged, SentinelError, _core, fill_in_the_middle, merge, preview, reference
from spanmask.noise.splits import Splits
from support.denoising import seeds
from support.golden_vectors import FIM_SPECS
from support.megatron_fim import megatron_sample
from support.optional import optional

torch = optional("torch")

VECTORS = Path(__file__).parents[2] / "vectors"
PRE, MID, SUF, EOT = 60, 61, 62, 63
BOS, EOS = 1, 0
SPEC = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS])

tokens = st.integers(2, 40)
rows = st.lists(tokens | st.sampled_from([BOS, EOS, EOS]), max_size=60) | st.lists(tokens, max_size=200)
rates = st.sampled_from([0.0, 0.5, 1.0]) | st.floats(0, 1)


def specs(**fixed):
    """All options, except the fixed ones."""
    options = {
        "eot_id": st.sampled_from([None, EOT]),
        "boundary_ids": st.sampled_from([(), (EOS,), (EOS, BOS), (7, 30, 900)]),
        "rate": rates,
        "spm_rate": rates,
        "spm_format": st.sampled_from(["joint", "plain", "unmarked"]),
        "level": st.sampled_from(["document", "context"]),
        "length": st.sampled_from(["grow", "keep", "cut"]),
        "loss": st.sampled_from(["all", "middle"]),
    }
    return st.builds(FillInTheMiddle, st.just(PRE), st.just(MID), st.just(SUF), **{**options, **fixed})


def documents_of(row, boundaries):
    """The runs of other ids, counted by hand."""
    found, open_ = [], []
    for token in [*row, *boundaries[:1]]:
        if token in boundaries:
            found += [open_] if open_ else []
            open_ = []
        else:
            open_.append(token)
    return found + ([open_] if open_ else [])


class TestReference:
    @given(row=rows, spec=specs(), seed=seeds, epoch=st.integers(0, 3), data=st.data())
    def test_rows_equal_the_reference(self, row, spec, seed, epoch, data):
        key = data.draw(st.none() | seeds)
        rate = data.draw(st.none() | rates)
        max_length = data.draw(st.none() | st.integers(1, 80))
        out = fill_in_the_middle(
            [row],
            spec,
            seed=seed,
            epoch=epoch,
            keys=None if key is None else [key],
            rate=rate,
            max_length=max_length,
            ignore_index=-7,
        )
        expected = reference.fill_in_the_middle(row, spec, seed, epoch, key, rate, max_length=max_length, ignore_index=-7)
        assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == expected
        if max_length is not None:
            assert len(out.input_ids[0]) <= max_length

    @given(row=rows, spec=specs(length=st.just("grow")), data=st.data())
    def test_given_splits_equal_the_reference(self, row, spec, data):
        splits = [data.draw(st.none() | splits_of(document), label="split") for document in documents_of(row, spec.boundary_ids)]
        out = fill_in_the_middle([row], spec, splits=[splits])
        assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == reference.fill_in_the_middle(row, spec, splits=splits)

    @pytest.mark.parametrize("level", ["document", "context"])
    @pytest.mark.parametrize("length", ["grow", "keep", "cut"])
    @pytest.mark.parametrize("eot", [None, EOT])
    @pytest.mark.parametrize("spm_format", ["joint", "unmarked"])
    def test_short_rows_and_little_room_equal_the_reference(self, level, length, eot, spm_format):
        spec = FillInTheMiddle(
            PRE,
            MID,
            SUF,
            eot_id=eot,
            boundary_ids=[EOS],
            rate=1.0,
            level=level,
            length=length,
            spm_format=spm_format,
            loss="middle",
        )
        rows = [list(range(5, 5 + size)) for size in range(12)]
        rows += [[5, 6, EOS, *range(7, 7 + size)] for size in range(8)]
        for max_length in [*range(1, 14), None]:
            for seed in range(3):
                out = fill_in_the_middle(rows, spec, seed=seed, max_length=max_length)
                expected = [reference.fill_in_the_middle(row, spec, seed, max_length=max_length) for row in rows]
                assert list(zip(out.input_ids.to_list(), out.labels.to_list(), strict=True)) == expected

    @pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.int32, np.int64])
    def test_long_rows_and_all_dtypes(self, dtype):
        row = np.random.default_rng(0).integers(2, 60, 50_000).astype(dtype)
        row[::997] = EOS
        out = fill_in_the_middle([row], SPEC, seed=3)
        assert (out.input_ids[0].tolist(), out.labels[0].tolist()) == reference.fill_in_the_middle(row.tolist(), SPEC, 3)
        assert out.documents.tolist() == [51]  # after each EOS one, since the row begins with one

    @pytest.mark.parametrize(
        "case",
        json.loads((VECTORS / "fill_in_the_middle.json").read_text()),
        ids=lambda case: f"{case['spec']}-{len(case['row'])}",
    )
    def test_rows_are_pinned(self, case):
        arguments = {name: case[name] for name in ("seed", "epoch", "max_length")}
        out = fill_in_the_middle([case["row"]], FIM_SPECS[case["spec"]], **arguments)
        assert out.input_ids[0].tolist() == case["input_ids"]
        assert out.labels[0].tolist() == case["labels"]


@st.composite
def splits_of(draw, document):
    cuts = draw(st.lists(st.integers(0, len(document)), min_size=2, max_size=2))
    return (draw(st.sampled_from(["psm", "spm"])), *sorted(cuts))


class TestOtherPrograms:
    """Equal to Megatron-LM's and BigCode's, given what they drew."""

    @given(data=st.data())
    @pytest.mark.parametrize("length", ["cut", "keep"])
    def test_packed_samples(self, length, data):
        documents = data.draw(st.lists(st.lists(tokens, min_size=1, max_size=20), min_size=1, max_size=5))
        sample = [token for document in documents for token in [*document, EOS]]
        sample = sample[: len(sample) - data.draw(st.integers(0, 1))]
        splits = [data.draw(st.none() | splits_of(document)) for document in documents]
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], length=length)
        out = fill_in_the_middle([sample], spec, splits=[splits])
        expected = self.theirs(sample, splits, length)
        assert out.input_ids[0].tolist() == expected

    def test_ours_keeps_an_eos_that_ends_no_document(self):
        sample, splits = [EOS, 5, 6, EOS, EOS, 7], [("psm", 1, 1), None]
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS])
        ours = fill_in_the_middle([sample], spec, splits=[splits]).input_ids[0].tolist()
        assert ours == [EOS, PRE, 5, SUF, 6, MID, EOS, EOS, 7]
        assert self.theirs(sample, splits, "cut") == [PRE, 5, SUF, 6, MID, EOS]

    @staticmethod
    def theirs(sample, splits, length):
        def decide(number, document):
            split = splits[number] if number < len(splits) else ("psm", 0, 0)  # the empty one after the last EOD
            return split and (split[0] == "spm", *split[1:])

        made = megatron_sample(np.array(sample), decide, (PRE, MID, SUF), EOS, 99, keep_length=length == "keep")
        return made.tolist()


class TestMerge:
    @given(batch=st.lists(rows, max_size=4), spec=specs(length=st.just("grow")), seed=seeds)
    @example(batch=[[5, 6]], spec=FillInTheMiddle(PRE, MID, SUF, rate=1.0, spm_rate=1.0, spm_format="unmarked"), seed=1)
    def test_merge_restores_every_row(self, batch, spec, seed):
        out = fill_in_the_middle(batch, spec, seed=seed)
        assert merge(out.input_ids, None, spec).to_list() == batch
        assert merge(out.input_ids, out.labels, spec) == batch
        assert [reference.merge_documents(row, spec) for row in out.input_ids.to_list()] == batch

    @given(ids=st.lists(st.sampled_from([5, 6, EOS, BOS, PRE, MID, SUF, EOT, -1, 2**40]), max_size=9), spec=specs())
    def test_any_ids_merge_as_the_reference_or_are_an_error(self, ids, spec):
        try:
            expected = reference.merge_documents(ids, spec)
        except ValueError:
            with pytest.raises(SentinelError, match="input_ids: row 1 has a document at position"):
                merge([[5], ids], None, spec)
        else:
            assert merge([[5], ids], None, spec).to_list() == [[5], expected]

    def test_a_cut_document_is_named(self):
        out = fill_in_the_middle([[5, 6], [BOS, 5, 6, 7, EOS, 8, 9]], SPEC, splits=[[], [None, ("psm", 1, 1)]])
        cut = [row.tolist()[:-2] for row in out.input_ids]
        with pytest.raises(SentinelError, match=r"input_ids: row 1 has a document at position 5 whose prefix, suffix and middle"):
            merge(cut, None, SPEC)

    def test_only_three_kinds_of_specs(self):
        with pytest.raises(TypeError, match="spec: expected SpanCorruption, DenoiserMixture or FillInTheMiddle, got NoneType"):
            merge([[5]], [[5]], None)


class TestForms:
    ROW = (5, 6, 7, 8, 9, EOS)

    @pytest.mark.parametrize(
        ("order", "options", "expected"),
        [
            ("psm", {}, [PRE, 5, SUF, 8, 9, MID, 6, 7, EOS]),
            ("spm", {}, [PRE, SUF, 8, 9, MID, 5, 6, 7, EOS]),
            ("spm", {"spm_format": "plain"}, [SUF, 8, 9, PRE, 5, MID, 6, 7, EOS]),
            ("spm", {"spm_format": "unmarked"}, [SUF, 8, 9, PRE, 5, 6, 7, EOS]),
            ("psm", {"spm_format": "unmarked"}, [PRE, 5, SUF, 8, 9, MID, 6, 7, EOS]),
            ("psm", {"eot_id": EOT}, [PRE, 5, SUF, 8, 9, MID, 6, 7, EOT, EOS]),
        ],
    )
    @pytest.mark.parametrize("loss", ["all", "middle"])
    def test_the_parts_and_their_labels(self, order, options, expected, loss):
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], loss=loss, **options)
        out = fill_in_the_middle([self.ROW], spec, splits=[[(order, 1, 3)]])
        assert out.input_ids.to_list() == [expected]
        prompt = 0 if loss == "all" else expected.index(6)
        assert out.labels.to_list() == [[-100] * prompt + expected[prompt:]]

    def test_parts_may_be_empty(self):
        cuts = [(0, 0), (0, 2), (2, 2)]
        out = fill_in_the_middle([[5, 6]] * 3, SPEC, splits=[[("psm", *pair)] for pair in cuts])
        assert out.input_ids.to_list() == [[PRE, SUF, 5, 6, MID], [PRE, SUF, MID, 5, 6], [PRE, 5, 6, SUF, MID]]

    def test_bos_and_eos_stay_where_they_are(self):
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[BOS, EOS], rate=1.0)
        rows = [[BOS, 5, 6, EOS, BOS, 7, 8, EOS], [EOS, EOS], [], [BOS, 5, BOS, 6]]
        out = fill_in_the_middle(rows, spec)
        assert out.documents.tolist() == [2, 0, 0, 2]
        for row, ids in zip(rows, out.input_ids.to_list(), strict=True):
            assert [token for token in ids if token in (BOS, EOS)] == [token for token in row if token in (BOS, EOS)]
        assert out.input_ids[0].tolist()[0] == BOS
        assert out.input_ids[0].tolist()[-1] == EOS

    def test_other_documents_train_whole_when_only_the_middle_does(self):
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], loss="middle")
        out = fill_in_the_middle([[5, 6, EOS, 7, 8, EOS]], spec, splits=[[None, ("psm", 1, 2)]])
        assert out.labels.to_list() == [[5, 6, EOS, -100, -100, -100, -100, 8, EOS]]

    def test_a_whole_row_is_one_document_without_boundaries(self):
        out = fill_in_the_middle([[5, 6, EOS, 7]], FillInTheMiddle(PRE, MID, SUF, rate=1.0))
        assert out.documents.tolist() == [1]


class TestLength:
    @given(batch=st.lists(rows, max_size=4), spec=specs(length=st.sampled_from(["keep", "cut"])), seed=seeds)
    def test_rows_keep_their_length(self, batch, spec, seed):
        out = fill_in_the_middle(batch, spec, seed=seed)
        assert [len(row) for row in out.input_ids] == [len(row) for row in batch]

    @given(row=rows, spec=specs(length=st.just("grow")), seed=seeds)
    def test_rows_grow_by_the_ids_that_are_added(self, row, spec, seed):
        out = fill_in_the_middle([row], spec, seed=seed)
        unmarked = out.report.spm if spec.spm_format == "unmarked" else 0
        added = out.report.transformed * (3 + (spec.eot_id is not None)) - unmarked
        assert len(out.input_ids[0]) == len(row) + added

    def test_a_short_suffix_is_not_cut(self):
        spec = FillInTheMiddle(PRE, MID, SUF, length="keep")
        rows = [[5, 6, 7, 8], [5, 6, 7, 8, 9]]
        out = fill_in_the_middle(rows, spec, splits=[[("psm", 0, 1)]] * 2)
        assert out.input_ids.to_list() == [rows[0], [PRE, SUF, 6, MID, 5]]
        assert out.splits.to_list() == [[], [("psm", 0, 1)]]
        assert merge(out.input_ids, None, spec).to_list() == [rows[0], [5, 6]]

    @given(row=rows, max_length=st.integers(1, 60), seed=seeds, eot=st.sampled_from([None, EOT]))
    def test_no_document_is_broken_at_the_level_of_contexts(self, row, max_length, seed, eot):
        spec = FillInTheMiddle(PRE, MID, SUF, eot_id=eot, boundary_ids=[EOS, BOS], level="context", rate=0.9)
        out = fill_in_the_middle([row], spec, seed=seed, max_length=max_length)
        restored = merge(out.input_ids, None, spec).to_list()[0]  # raises where a document is not complete
        assert restored == row[: len(restored)]
        assert len(out.input_ids[0]) == min(max_length, len(row) + out.report.transformed * (3 + (eot is not None)))

    def test_documents_that_are_cut_off_whole_do_not_count(self):
        rows = [[5, 6, EOS, 7, 8]] * 5
        for max_length, expected in [(2, 1), (3, 1), (4, 2), (5, 2), (None, 2)]:
            out = fill_in_the_middle(rows, SPEC, rate=0, max_length=max_length)
            assert out.documents.tolist() == [expected] * 5
        out = fill_in_the_middle(rows, SPEC, rate=1, keys=range(5), max_length=6)  # the first document and its EOS take 6
        assert out.documents.tolist() == [1] * 5
        assert out.report.transformed == 5

    def test_the_level_of_documents_cuts_afterwards(self):
        whole = fill_in_the_middle([list(range(5, 45))], SPEC, rate=1.0, seed=1)
        cut = fill_in_the_middle([list(range(5, 45))], SPEC, rate=1.0, seed=1, max_length=20)
        assert cut.input_ids[0].tolist() == whole.input_ids[0].tolist()[:20]
        assert cut.splits.to_list() == whole.splits.to_list()


class TestNoise:
    def test_rates_and_cuts_have_their_distribution(self):
        """Cuts are two independent uniform places; each count is within 5 sigma, which one seed in 1,000 of this test misses."""
        size, count = 4, 40_000
        spec = FillInTheMiddle(PRE, MID, SUF, rate=0.3, spm_rate=0.8)
        out = fill_in_the_middle([[5, 6, 7, 8]] * count, spec, keys=range(count), seed=11)
        within(out.report.transformed, count, 0.3)
        within(out.report.spm, out.report.transformed, 0.8)
        pairs = Counter(zip(out.splits.first.tolist(), out.splits.second.tolist(), strict=True))
        for first in range(size + 1):
            for second in range(first, size + 1):
                probability = (1 if first == second else 2) / (size + 1) ** 2
                within(pairs.pop((first, second)), out.report.transformed, probability)
        assert not pairs

    def test_documents_of_a_row_are_independent(self):
        """All four outcomes of two documents are equally likely."""
        count = 20_000
        out = fill_in_the_middle([[5, EOS, 6]] * count, SPEC, keys=range(count))
        outcomes = Counter(tuple(entry is not None for entry in [*row, None, None][:2]) for row in out.splits.to_list())
        for outcome in [(False, False), (False, True), (True, False), (True, True)]:
            within(outcomes[outcome], count, 0.25)

    def test_rates_of_zero_and_one_are_exact(self):
        batch = [[5, 6, 7]] * 500
        for rate in (0, 1):
            out = fill_in_the_middle(batch, SPEC, rate=rate, keys=range(500))
            assert out.report.transformed == 500 * rate
        out = fill_in_the_middle(batch, SPEC, rate=[0, 1] * 250, keys=range(500))
        assert np.diff(out.splits.offsets).tolist() == [0, 1] * 250

    @given(batch=st.lists(rows, min_size=1, max_size=6, unique_by=tuple), spec=specs(), seed=seeds, data=st.data())
    def test_a_row_does_not_depend_on_the_others(self, batch, spec, seed, data):
        whole = fill_in_the_middle(batch, spec, seed=seed)
        order = data.draw(st.permutations(range(len(batch))))
        mixed = fill_in_the_middle([batch[number] for number in order], spec, seed=seed)
        assert mixed.input_ids.to_list() == [whole.input_ids[number].tolist() for number in order]
        assert mixed.splits.to_list() == [whole.splits.to_list()[number] for number in order]

    @pytest.mark.parametrize("length", ["grow", "keep", "cut"])
    def test_threads_change_nothing(self, length):
        batch = np.random.default_rng(0).integers(0, 50, size=(4000, 300))
        spec = FillInTheMiddle(PRE, MID, SUF, eot_id=EOT, boundary_ids=[EOS], rate=0.7, length=length, loss="middle")
        one, many = (fill_in_the_middle(batch, spec, num_threads=threads, max_length=250) for threads in (1, 5))
        assert one.input_ids == many.input_ids
        assert one.labels == many.labels
        assert one.splits.to_list() == many.splits.to_list()
        assert np.array_equal(one.keys, many.keys)

    def test_epochs_keys_and_other_purposes(self):
        row = list(range(5, 55))
        by_epoch = [fill_in_the_middle([row], SPEC, rate=1, epoch=epoch).splits.to_list() for epoch in range(8)]
        assert len({str(splits) for splits in by_epoch}) == 8
        named = fill_in_the_middle([row, row], SPEC, rate=1, keys=["a", "b"])
        assert named.splits.to_list()[0] != named.splits.to_list()[1]
        assert fill_in_the_middle([row], SPEC).keys.tolist() == [reference.key.row_key(row)]

    @given(batch=st.lists(rows, max_size=4), spec=specs(), seed=seeds, max_length=st.none() | st.integers(1, 60))
    def test_splits_repeat_a_result(self, batch, spec, seed, max_length):
        out = fill_in_the_middle(batch, spec, seed=seed, max_length=max_length)
        for splits in (out.splits, out.splits.to_list()):
            again = fill_in_the_middle(batch, spec, splits=splits, max_length=max_length)
            assert again.input_ids == out.input_ids
            assert again.labels == out.labels
            assert again.splits.to_list() == out.splits.to_list()


def within(count, total, probability):
    sigma = math.sqrt(total * probability * (1 - probability))
    assert abs(count - total * probability) <= 5 * sigma, (count, total * probability, sigma)


class TestSources:
    """Which token each place stands for, for columns with an entry for each token."""

    @given(sizes=st.lists(st.integers(0, 12), max_size=4), spec=specs(), seed=seeds, max_length=st.none() | st.integers(1, 60))
    @pytest.mark.parametrize("side", [None, "right", "left"])
    def test_tokens_stand_for_themselves(self, side, sizes, spec, seed, max_length):
        ids = iter(range(100, 200))  # all different, so that an id says where it was
        row = [token for size in sizes for token in [*(next(ids) for _ in range(size)), *spec.boundary_ids[:1]]]
        layout = None if side is None else _core.Layout.padded(side)
        arguments = {"seed": seed, "epoch": 0, "ignore_index": -7, "layout": layout, "max_length": max_length, "pad_token_id": -9}
        rows = Ragged.from_rows([row, [5]])
        out = _core.fill_in_the_middle(rows, spec._compiled, with_sources=True, **arguments)
        assert _core.fill_in_the_middle(rows, spec._compiled, **arguments).sources is None
        made, sources, labels = (
            [array[out.offsets[0] : out.offsets[1]]] if side is None else array
            for array in (out.input_ids, out.sources, out.labels)
        )
        assert out.labelled[0] == (labels[0] != -7).sum()
        for token, source in zip(made[0].tolist(), sources[0].tolist(), strict=True):
            if token == -9:
                assert source == -1
            elif token in (PRE, MID, SUF, EOT):
                assert row[source] not in spec.boundary_ids
            else:
                assert row[source] == token

    def test_added_ids_stand_for_the_token_after_them(self):
        spec = FillInTheMiddle(PRE, MID, SUF, eot_id=EOT, boundary_ids=[EOS])
        splits = [[("psm", 1, 3), ("spm", 2, 2)]]
        out = _core.fill_in_the_middle(
            Ragged.from_rows([[5, 6, 7, 8, EOS, 9, 10]]),
            spec._compiled,
            seed=0,
            epoch=0,
            ignore_index=-100,
            splits=Splits.from_rows(splits, 1),
            with_sources=True,
        )
        assert out.input_ids.tolist() == [PRE, 5, SUF, 8, MID, 6, 7, EOT, EOS, PRE, SUF, MID, 9, 10, EOT]
        assert out.sources.tolist() == [0, 0, 3, 3, 1, 1, 2, 3, 4, 5, 6, 6, 5, 6, 6]


class TestRows:
    def test_kinds_of_rows(self):
        table = [[5, 6, 7, EOS], [8, 9, 10, 11]]
        expected = fill_in_the_middle(table, SPEC, seed=1).input_ids
        for rows in (np.array(table), torch.tensor(table), Ragged.from_rows(table), [np.array(row) for row in table]):
            assert fill_in_the_middle(rows, SPEC, seed=1).input_ids == expected
        assert fill_in_the_middle([], SPEC).input_ids.to_list() == []

    def test_rows_with_the_ids_already(self):
        row = [5, SUF, 6, EOS, 7]
        with pytest.raises(SentinelError, match="rows: row 1 already contains sentinel 62 at position 1"):
            fill_in_the_middle([[5], row], SPEC)
        allowed = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], on_sentinel="allow")
        out = fill_in_the_middle([row], allowed, splits=[[("psm", 1, 2)]])
        assert out.input_ids.to_list() == [[PRE, 5, SUF, 6, MID, SUF, EOS, 7]]

    def test_results_and_specs_are_pickled(self):
        out = fill_in_the_middle([[5, 6, 7]], SPEC, rate=1)
        again = pickle.loads(pickle.dumps(out))
        assert again.report == out.report
        assert again.splits.to_list() == out.splits.to_list()
        assert pickle.loads(pickle.dumps(SPEC)) == SPEC

    def test_report(self):
        out = fill_in_the_middle([[5, EOS, 6], []], SPEC, splits=[[("spm", 0, 1), ("psm", 0, 0)], []])
        report = out.report
        assert (report.rows, report.tokens, report.documents, report.transformed, report.spm) == (2, 3, 2, 2, 1)

    def test_preview_shows_the_middle(self):
        class Letters:
            def __init__(self):
                self.added_tokens_decoder = {PRE: "<PRE>", MID: "<MID>", SUF: "<SUF>"}

            def __len__(self):
                return 64

            def decode(self, ids, **options):
                return "".join(chr(97 + token) if token < 26 else "?" for token in ids)

        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], loss="middle")
        out = fill_in_the_middle([[5, 6, 7, 8]], spec, splits=[[("psm", 1, 3)]])
        text = preview(out.input_ids, out.labels, Letters()).to_text()
        assert text == "row 0: 7 tokens, 2 trained (29%)\n<PRE>f<SUF>i<MID>[[gh]]"


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prefix_id": None}, TypeError, "prefix_id: expected a token id, got NoneType"),
        ({"middle_id": -1}, ValueError, "middle_id: expected a token id from 0"),
        ({"suffix_id": 2**32}, ValueError, "suffix_id: expected a token id from 0"),
        ({"suffix_id": PRE}, SentinelError, "suffix_id: 60 is prefix_id too; ids must be unique"),
        ({"eot_id": MID}, SentinelError, "eot_id: 61 is middle_id too"),
        ({"eot_id": EOS}, SentinelError, "eot_id: 0 is one of boundary_ids; use another id; leave eot_id=None"),
        ({"boundary_ids": [SUF]}, SentinelError, "suffix_id: 62 is one of boundary_ids"),
        ({"boundary_ids": 5}, TypeError, "boundary_ids: expected token ids"),
        ({"rate": 1.1}, ValueError, "rate: expected a fraction from 0 to 1, got 1.1"),
        ({"rate": float("nan")}, ValueError, "rate: expected a fraction"),
        ({"spm_rate": None}, TypeError, "spm_rate: expected a number"),
        ({"spm_format": "SPM"}, ValueError, "spm_format: expected one of 'joint', 'plain', 'unmarked', got 'SPM'"),
        ({"level": "row"}, ValueError, "level: expected one of 'document', 'context'"),
        ({"length": 5}, ValueError, "length: expected one of 'grow', 'keep', 'cut'"),
        ({"loss": True}, ValueError, "loss: expected one of 'all', 'middle'"),
        ({"on_sentinel": "skip"}, ValueError, "on_sentinel: expected one of"),
        ({"pad_id": "x"}, TypeError, "pad_id: expected a token id"),
    ],
)
def test_bad_specs(options, error, message):
    with pytest.raises(error, match=message):
        FillInTheMiddle(**{"prefix_id": PRE, "middle_id": MID, "suffix_id": SUF, "boundary_ids": [EOS], **options})


COLUMNS = {name: np.zeros(1, np.int64) for name in ("documents", "first", "second")}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"spec": None}, TypeError, "spec: expected FillInTheMiddle, got NoneType"),
        ({"rows": [5, 6]}, TypeError, "rows: "),
        ({"rows": [[5], [5, -1]]}, ValueError, "rows: row 1 has -1 at position 1; noise accepts ids from 0"),
        ({"rows": [[5, 2**32]]}, ValueError, "rows: row 0 has 4294967296 at position 1"),
        ({"seed": -1}, ValueError, "seed: expected an integer from 0"),
        ({"epoch": 2**64}, ValueError, "epoch: expected an integer from 0"),
        ({"keys": [1, 2]}, ValueError, "keys: 2 keys for 1 rows"),
        ({"rate": [0.5, 2]}, ValueError, "rate: row 1: expected a fraction"),
        ({"rate": [0.5, 0.5]}, ValueError, "rate: 2 values for 1 rows"),
        ({"rate": 0.5, "splits": [[]]}, ValueError, "rate: cannot be combined with splits"),
        ({"max_length": 0}, ValueError, "max_length: expected a positive integer or None"),
        ({"ignore_index": 1.5}, ValueError, "ignore_index: expected an integer"),
        ({"num_threads": 0}, ValueError, "num_threads: expected a positive integer"),
        ({"splits": 5}, TypeError, "splits: expected a list for each row, got int"),
        ({"splits": [5]}, TypeError, "splits: row 0: expected a list with an entry for each document, got int 5"),
        ({"splits": []}, ValueError, "splits: 0 entries for 1 rows"),
        ({"splits": [["psm"]]}, ValueError, "splits: row 0 has 'psm' for document 0; expected None, or an order and two cuts"),
        ({"splits": [[("msp", 0, 1)]]}, ValueError, "splits: row 0 has .'msp', 0, 1. for document 0"),
        ({"splits": [[("psm", 0.5, 1)]]}, ValueError, "splits: row 0 has .'psm', 0.5, 1. for document 0"),
        ({"splits": [[("psm", 2, 1)]]}, ValueError, "splits: document 0 of row 0 is cut at 2 and 1; cuts must ascend"),
        ({"splits": [[("psm", -1, 1)]]}, ValueError, "splits: document 0 of row 0 is cut at -1 and 1"),
        ({"splits": [[None, ("psm", 0, 3)]]}, ValueError, "splits: document 1 of row 0 is cut at 0 and 3, but has 2 tokens"),
        (
            {"splits": [[None, None, ("psm", 0, 0)]]},
            ValueError,
            "splits: row 0 has a split of document 2, but 2 documents",
        ),
        ({"splits": Splits(np.array([0]), **COLUMNS, spm=np.zeros(1, bool))}, ValueError, "splits.offsets: expected 0 to 1"),
        ({"splits": Splits(np.array([0, 2]), **COLUMNS, spm=np.zeros(1, bool))}, ValueError, "splits.offsets: expected 0 to 1"),
        ({"splits": Splits(np.array([0, 1]), **COLUMNS, spm=np.zeros(2, bool))}, ValueError, "splits.spm: 2 entries for 1"),
        ({"splits": Splits(np.array([0, 1]), **COLUMNS, spm=np.zeros(1))}, TypeError, "splits.spm: expected a contiguous 1-D"),
        (
            {"splits": Splits(np.array([0, 1]), **{**COLUMNS, "first": np.array([-1])}, spm=np.zeros(1, bool))},
            ValueError,
            "splits.first: contains a negative number",
        ),
        (
            {"splits": Splits(np.array([0, 2]), np.array([1, 0]), *[np.zeros(2, np.int64)] * 2, np.zeros(2, bool))},
            ValueError,
            "splits: row 0 has a split of document 0, but 2 documents",
        ),
        (
            {"splits": Splits(np.array([0, 5, 1]), **COLUMNS, spm=np.zeros(1, bool)), "rows": [[5], [6]]},
            ValueError,
            "splits: row 0 spans 0..5 of 1 values",
        ),
    ],
)
def test_bad_calls(arguments, error, message):
    with pytest.raises(error, match=message):
        fill_in_the_middle(**{"rows": [[5, EOS, 6, 7]], "spec": SPEC, **arguments})


@given(hostile=st.lists(st.tuples(*[st.integers(0, 9) | st.integers(0, 2**33)] * 3), max_size=3), row=rows)
@example(hostile=[(0, 2, 1)], row=[5, 6, 7])
def test_no_splits_can_do_harm(hostile, row):
    """Numbers that fit nothing are an error, never a panic."""
    documents, first, second = (np.array([entry[at] for entry in hostile], np.int64) for at in range(3))
    splits = Splits(np.array([0, len(hostile)]), documents, first, second, np.zeros(len(hostile), bool))
    for length in ("grow", "keep", "cut"):
        spec = FillInTheMiddle(PRE, MID, SUF, boundary_ids=[EOS], length=length, level="context")
        for max_length in (None, 5):
            message = ""
            try:
                fill_in_the_middle([row], spec, splits=splits, max_length=max_length)
            except ValueError as error:
                message = str(error)
            assert message.startswith("splits: ") or not message


class Vocabulary:
    """A tokenizer that has only names."""

    def __init__(self, *names, bos=None, eos=None):
        self.vocabulary = {name: 100 + number for number, name in enumerate(names)}
        self.bos_token_id, self.eos_token_id = bos, eos

    def get_vocab(self):
        return dict(self.vocabulary)


class TestTokenizers:
    @pytest.mark.parametrize(
        ("names", "options"),
        [
            (("<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"), {"pad_id": 103}),
            (("<fim-prefix>", "<fim-middle>", "<fim-suffix>", "<fim-pad>"), {"pad_id": 103}),
            (("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"), {"pad_id": 103}),
            (("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>"), {}),
            (("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"), {"eot_id": 103}),
            (("<｜fim▁begin｜>", "<｜fim▁end｜>", "<｜fim▁hole｜>"), {}),
            (("[PREFIX]", "[MIDDLE]", "[SUFFIX]"), {"spm_format": "unmarked"}),
            (("<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"), {}),
        ],
    )
    def test_names(self, names, options):
        spec = FillInTheMiddle.from_tokenizer(Vocabulary("a", *reversed(names), bos=1, eos=2))
        turned = {name: Vocabulary("a", *reversed(names)).vocabulary[token] for name, token in zip(NAMES, names, strict=False)}
        expected = {**options, **{name: turned["fourth"] for name in ("pad_id", "eot_id") if name in options}}
        ids = [turned[name] for name in NAMES[:3]]
        assert spec == FillInTheMiddle(*ids, boundary_ids=[1, 2], **expected)

    def test_boundaries_are_what_the_tokenizer_has(self):
        names = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
        assert FillInTheMiddle.from_tokenizer(Vocabulary(*names)).boundary_ids == ()
        assert FillInTheMiddle.from_tokenizer(Vocabulary(*names, bos=0, eos=0)).boundary_ids == (0,)
        assert FillInTheMiddle.from_tokenizer(Vocabulary(*names, eos=0), boundary_ids=[7, 8]).boundary_ids == (7, 8)

    def test_given_ids(self):
        code_llama = Vocabulary("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")
        spec = FillInTheMiddle.from_tokenizer(code_llama, middle_id=7, eot_id=None, rate=1, spm_format="plain")
        assert spec == FillInTheMiddle(100, 7, 102, rate=1.0, spm_format="plain")
        assert FillInTheMiddle.from_tokenizer(Vocabulary(), prefix_id=1, middle_id=2, suffix_id=3) == FillInTheMiddle(1, 2, 3)

    def test_missing_tokens_are_named(self):
        with pytest.raises(
            SentinelError, match="tokenizer: has <fim_prefix> and <fim_middle>, but not <fim_suffix>. If the model"
        ):
            FillInTheMiddle.from_tokenizer(Vocabulary("<fim_prefix>", "<fim_middle>"))
        with pytest.raises(SentinelError, match="tokenizer: has no tokens for fill-in-the-middle .* as prefix_id, middle_id"):
            FillInTheMiddle.from_tokenizer(Vocabulary("a"))
        both = Vocabulary(*STARCODER, *(name.replace("_", "-") for name in STARCODER))
        with pytest.raises(
            SentinelError, match="tokenizer: has <fim_prefix> and <fim-prefix> with their suffix and middle; pass"
        ):
            FillInTheMiddle.from_tokenizer(both)
        assert FillInTheMiddle.from_tokenizer(both, prefix_id=103, middle_id=104, suffix_id=105).prefix_id == 103
        with pytest.raises(TypeError, match="tokenizer: expected a transformers tokenizer, got dict"):
            FillInTheMiddle.from_tokenizer({})

    def test_repr_shows_what_differs_from_defaults(self):
        assert repr(SPEC) == "FillInTheMiddle(prefix_id=60, middle_id=61, suffix_id=62, boundary_ids=(0,))"


STARCODER = ("<fim_prefix>", "<fim_middle>", "<fim_suffix>")
NAMES = ("prefix_id", "middle_id", "suffix_id", "fourth")
