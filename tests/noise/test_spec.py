"""Specs: sentinels from tokenizers, and everything that must be an error."""

import math

import pytest
from spanmask import SentinelError, SpanCorruption, corrupt
from support.denoising import EOS, SENTINELS, WORDS, t5_tokenizer
from transformers import ByT5Tokenizer

ROW = list(range(2, 60))


def test_an_explicit_list_in_any_order():
    spec = SpanCorruption([500, 77, 900], EOS, noise_density=0.5, mean_noise_span_length=20.0)
    out = corrupt([ROW[:-10]], SpanCorruption([500, 770, 900], EOS, noise_density=0.5, mean_noise_span_length=12.0))
    assert [token for token in out.input_ids[0].tolist() if token > 100] == [500, 770]
    assert spec.sentinel_ids == (500, 77, 900)


class TestTokenizers:
    def test_t5_descends(self):
        tokenizer = t5_tokenizer(WORDS)
        ids = SpanCorruption.from_tokenizer(tokenizer).sentinel_ids
        assert ids == tuple(range(len(tokenizer) - 1, len(tokenizer) - 101, -1))

    def test_tokens_added_later_move_nothing(self):
        tokenizer = t5_tokenizer(WORDS)
        before = SpanCorruption.from_tokenizer(tokenizer)
        tokenizer.add_tokens(["[NLU]", "new"])
        assert SpanCorruption.from_tokenizer(tokenizer) == before

    def test_byt5_ascends(self):
        spec = SpanCorruption.from_tokenizer(ByT5Tokenizer())
        assert spec.sentinel_ids == tuple(range(259, 384))
        assert spec.eos_token_id == 1

    def test_without_sentinels_it_is_an_error(self, bert):
        with pytest.raises(SentinelError, match="tokenizer: has no <extra_id_0>"):
            SpanCorruption.from_tokenizer(bert, eos_token_id=3)

    def test_a_tokenizer_is_a_tokenizer(self):
        with pytest.raises(TypeError, match="tokenizer: expected a transformers tokenizer, got NoneType"):
            SpanCorruption.from_tokenizer(None)

    def test_explicit_options_win(self):
        spec = SpanCorruption.from_tokenizer(t5_tokenizer(WORDS), sentinel_ids=[7, 8], eos_token_id=None, noise_density=0.3)
        assert (spec.sentinel_ids, spec.eos_token_id, spec.noise_density) == ((7, 8), None, 0.3)


GOOD = {"sentinel_ids": SENTINELS, "eos_token_id": 1}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"noise_density": 0}, ValueError, "noise_density: expected a fraction strictly between 0 and 1, got 0"),
        ({"noise_density": 1}, ValueError, "noise_density: expected a fraction"),
        ({"noise_density": -0.1}, ValueError, "noise_density: expected a fraction"),
        ({"noise_density": math.nan}, ValueError, "noise_density: expected a fraction"),
        ({"noise_density": "0.1"}, TypeError, "noise_density: expected a number, got str"),
        ({"noise_density": True}, TypeError, "noise_density: expected a number"),
        ({"mean_noise_span_length": 0}, ValueError, "mean_noise_span_length: expected a finite length of at least 1"),
        ({"mean_noise_span_length": math.inf}, ValueError, "mean_noise_span_length: expected a finite length"),
        ({"mean_noise_span_length": math.nan}, ValueError, "mean_noise_span_length: expected a finite length"),
        ({"sentinel_ids": []}, SentinelError, "sentinel_ids: 0 given, at least 1 needed"),
        ({"sentinel_ids": [9], "final_sentinel": True}, SentinelError, "sentinel_ids: 1 given, at least 2 needed"),
        ({"sentinel_ids": [9, 8, 9]}, SentinelError, "sentinel_ids: contains 9 twice; ids must be unique"),
        ({"sentinel_ids": [9, 1]}, SentinelError, "sentinel_ids: contains 1, which is eos_token_id"),
        ({"sentinel_ids": [-1]}, ValueError, "sentinel_ids: expected a token id from 0 to 2.*, got -1"),
        ({"sentinel_ids": [2**32]}, ValueError, "sentinel_ids: expected a token id"),
        ({"sentinel_ids": [1.5]}, TypeError, "sentinel_ids: expected a token id, got float"),
        ({"sentinel_ids": [True]}, TypeError, "sentinel_ids: expected a token id, got the bool"),
        ({"sentinel_ids": "12"}, TypeError, "sentinel_ids: expected token ids, got str"),
        ({"eos_token_id": -1}, ValueError, "eos_token_id: expected a token id"),
        ({"layout": "random"}, ValueError, "layout: expected one of 'classic', 'uniform', got 'random'"),
        ({"on_exhausted": "wrap"}, ValueError, "on_exhausted: expected one of"),
        ({"on_sentinel": "drop"}, ValueError, "on_sentinel: expected one of"),
        ({"final_sentinel": 1}, ValueError, "final_sentinel: expected True or False"),
        ({"protected_ids": [-7]}, ValueError, "protected_ids: expected a token id"),
    ],
)
def test_bad_specs(options, error, message):
    with pytest.raises(error, match=message):
        SpanCorruption(**{**GOOD, **options})
