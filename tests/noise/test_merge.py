"""merge(corrupt(row)) is the row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spanmask import Ragged, SentinelError, SpanCorruption, corrupt, merge, reference
from support.denoising import EOS, body, flags_of, mixtures, rows, seeds, specs

SPEC = SpanCorruption([99, 98, 97], EOS)


@given(batch=st.lists(rows, max_size=5), spec=specs() | mixtures(), seed=seeds)
def test_merge_of_corrupt_is_the_row(batch, spec, seed):
    out = corrupt(batch, spec, seed=seed)
    assert merge(out.input_ids, out.labels, spec) == [body(row, spec.eos_token_id) for row in batch]


@given(row=rows, spec=specs(), data=st.data())
def test_merge_undoes_a_custom_mask(row, spec, data):
    out = corrupt([row], spec, noise_mask=[flags_of(row, data)])
    assert merge(out.input_ids, out.labels, spec) == [body(row, spec.eos_token_id)]


@given(row=rows, spec=specs() | mixtures(), seed=seeds)
def test_merge_equals_the_reference(row, spec, seed):
    inputs, labels = reference.corrupt(row, spec, seed)
    mode_tokens = {denoiser.mode_token for denoiser in getattr(spec, "denoisers", ())}
    assert merge([inputs], [labels], spec)[0].tolist() == reference.merge(
        inputs, labels, spec.sentinel_ids, spec.eos_token_id, mode_tokens
    )


@pytest.mark.parametrize(
    ("inputs", "labels", "message"),
    [
        (
            [[7, 99, 1], [7, 98, 1]],
            [[99, 8, 1], [99, 8, 1]],
            "input_ids: row 1 has sentinel 98 at position 1, but the next sentinel in labels is different",
        ),
        ([[7, 1]], [[99, 8, 1]], "labels: row 0 has sentinel 99 at position 0, but the next sentinel in input_ids is different"),
        ([[7, 99, 6, 98, 1]], [[99, 8, 1]], "input_ids: row 0 has sentinel 98 at position 3"),
        ([[7, 99, 98, 1]], [[98, 8, 99, 8, 1]], "input_ids: row 0 has sentinel 99 at position 1"),
    ],
)
def test_merge_names_the_row_with_a_stray_sentinel(inputs, labels, message):
    with pytest.raises(SentinelError, match=message):
        merge(inputs, labels, SPEC)


@pytest.mark.parametrize(
    ("inputs", "labels", "spec", "error", "message"),
    [
        ([[7]], [[7], [8]], SPEC, ValueError, "labels: expected 1 items, got 2"),
        ([[7.5]], [[7]], SPEC, TypeError, "input_ids: row 0 has 7.5"),
        ([[7]], "7", SPEC, TypeError, "labels: expected a list of rows"),
        ([[7]], [[8]], None, TypeError, "spec: expected SpanCorruption, DenoiserMixture or FillInTheMiddle"),
    ],
)
def test_bad_calls(inputs, labels, spec, error, message):
    with pytest.raises(error, match=message):
        merge(inputs, labels, spec)


def test_negative_ids_are_not_sentinels():
    assert merge([[7, 99, -5, 1]], [[99, -6, 1]], SPEC) == [[7, -6, -5]]


def test_empty():
    assert merge([], [], SPEC) == Ragged.from_rows([])
    assert merge([[]], [[]], SPEC) == [[]]
