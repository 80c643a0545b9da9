"""Sentinels, BOS and EOS as real tokenizers have them: spellings, series, and what a tokenizer lacks."""

import numpy as np
import pytest
from spanmask import DataCollatorForSpanCorruption, DenoiserMixture, SentinelError, SpanCorruption, corrupt, merge
from spanmask.noise.sentinels import bos_of
from support.denoising import bert_tokenizer, t5_tokenizer
from support.vocabulary_tokenizers import t5_of
from tokenizers import Tokenizer, models
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast


def word_level(*tokens, **special):
    """A tokenizer whose ids are the places of its tokens."""
    vocab = {token: number for number, token in enumerate(("<pad>", "</s>", "<unk>", *tokens))}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", **special)


def mt5(extra_ids=0, count=100):
    """mT5's vocabulary ends with pieces that have the space of SentencePiece, the last of which is sentinel 0."""
    words = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁w{n}", -2.0 - n) for n in range(50))]
    return t5_of([*words, *((f"▁<extra_id_{n}>", 0.0) for n in reversed(range(count)))], extra_ids=extra_ids)


class TestSpellings:
    def test_mt5(self):
        tokenizer = mt5()
        ids = SpanCorruption.from_tokenizer(tokenizer).sentinel_ids
        assert ids == tuple(range(152, 52, -1))
        assert tokenizer.convert_ids_to_tokens(ids[:2]) == ["▁<extra_id_0>", "▁<extra_id_1>"]
        assert DenoiserMixture.ul2(tokenizer).sentinel_ids == ids
        collator = DataCollatorForSpanCorruption(tokenizer, seed=0)
        assert collator.spec.sentinel_ids == ids
        assert ids[0] in collator([{"input_ids": list(range(3, 40))}])["labels"]

    def test_umt5_and_ul2_have_more_than_100(self):
        assert len(SpanCorruption.from_tokenizer(t5_tokenizer(["a"], sentinels=300)).sentinel_ids) == 300
        tokenizer = t5_tokenizer(["a"])
        tokenizer.add_tokens([f"<extra_id_{n}>" for n in range(100, 128)])  # ascending, after the others
        ids = SpanCorruption.from_tokenizer(tokenizer).sentinel_ids
        assert ids == (*range(103, 3, -1), *range(104, 132))

    def test_codet5_descends_inside_a_byte_level_vocabulary(self):
        tokenizer = word_level("<s>", "Ġdef", *(f"<extra_id_{n}>" for n in reversed(range(100))), "<mask>", bos_token="<s>")
        assert SpanCorruption.from_tokenizer(tokenizer).sentinel_ids == tuple(range(104, 4, -1))

    def test_tokens_that_are_only_special_tokens_of_the_tokenizer(self):
        """As in Pile-T5: the sentinels are not a part of the model's vocabulary, but added."""
        tokenizer = word_level("<s>", "a", "b")
        tokenizer.add_special_tokens({"additional_special_tokens": [f"<extra_id_{n}>" for n in range(100)]})
        assert SpanCorruption.from_tokenizer(tokenizer).sentinel_ids == tuple(range(6, 106))

    def test_two_spellings_are_not_guessed_between(self):
        with pytest.raises(
            SentinelError, match=r"two series .* <extra_id_\*> \(ids 153 to 252\) and ▁<extra_id_\*> \(ids 53 to 152\)"
        ):
            SpanCorruption.from_tokenizer(mt5(extra_ids=100))
        ids = range(152, 52, -1)
        assert SpanCorruption.from_tokenizer(mt5(extra_ids=100), sentinel_ids=ids).sentinel_ids == tuple(ids)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([0, 1, 3], "has <extra_id_3>, but no <extra_id_2>"),
            ([1, 2], "has <extra_id_2>, but no <extra_id_0>"),
            (["00", "1"], "has <extra_id_1>, but no <extra_id_0>"),
            (["٠"], "has no <extra_id_0>"),  # a digit, though not of this series
        ],
    )
    def test_a_series_has_no_gap(self, names, message):
        tokenizer = word_level("a", *(f"<extra_id_{name}>" for name in names))
        with pytest.raises(SentinelError, match=message):
            SpanCorruption.from_tokenizer(tokenizer)
        assert SpanCorruption.from_tokenizer(tokenizer, sentinel_ids=[4]).sentinel_ids == (4,)

    def test_the_remedy_says_that_new_sentinels_are_untrained(self):
        with pytest.raises(
            SentinelError, match="pass their ids as sentinel_ids. If it has none, add .* embeddings are untrained"
        ):
            SpanCorruption.from_tokenizer(word_level("a", "extra_id_0", "<mask>", "x<extra_id_0>"))


class TestByT5:
    SPEC = SpanCorruption.byt5()
    # Two, three and four bytes a character; the fourth and the last are the first and the last that need four.
    TEXTS = ("Zażółć gęślą jaźń ", "日本語のテキスト", "🐈 and 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ", "\U00010000", "\U0010ffff", "plain text ")

    def test_no_text_contains_a_sentinel(self):
        tokenizer = ByT5Tokenizer()
        assert self.SPEC.sentinel_ids == tuple(range(258, 247, -1))
        assert tokenizer.eos_token_id == self.SPEC.eos_token_id
        rows = tokenizer([text * 40 for text in self.TEXTS])["input_ids"]
        out = corrupt([row[:1193] for row in rows], self.SPEC, seed=3)
        assert merge(out.input_ids, out.labels, self.SPEC) == [row[:1193] if len(row) > 1193 else row[:-1] for row in rows]
        every = {number for char in range(0x110000) if not 0xD800 <= char < 0xE000 for number in chr(char).encode()}
        assert every | {sentinel - 3 for sentinel in self.SPEC.sentinel_ids} == set(range(256)) - {0xC0, 0xC1}
        assert not every & {sentinel - 3 for sentinel in self.SPEC.sentinel_ids}

    def test_its_own_lengths(self):
        assert self.SPEC.plan_lengths(1024) == (1193, 189)
        row = [100] * 1193
        out = corrupt([row], self.SPEC)
        assert (len(out.input_ids[0]), len(out.labels[0]), out.report.spans) == (1024, 189, 9)
        assert out.labels[0].tolist()[0] == 258

    def test_how_long_rows_may_be(self):
        assert corrupt([[100] * 1529], self.SPEC).report.spans == 11
        with pytest.raises(SentinelError, match="row 0 needs 12 spans, but there are 11 sentinels"):
            corrupt([[100] * 1530], self.SPEC)
        assert corrupt([[100] * 9000], SpanCorruption.byt5(on_exhausted="fewer_spans")).report.spans == 11

    def test_sentinels_that_are_bytes_of_text(self):
        longer = SpanCorruption.byt5(sentinel_ids=range(258, 238, -1))
        assert corrupt([[100] * 2000], longer).report.spans == 15
        cat = ByT5Tokenizer()("🐈")["input_ids"]
        assert corrupt([cat], self.SPEC).report.spans == 1
        with pytest.raises(SentinelError, match="already contains sentinel 243"):
            corrupt([cat], longer)

    def test_the_collator(self):
        tokenizer = ByT5Tokenizer()
        collator = DataCollatorForSpanCorruption(tokenizer, spec=self.SPEC, seed=0, inputs_length=1024)
        batch = collator([{"input_ids": tokenizer(text * 300)["input_ids"]} for text in self.TEXTS])
        assert batch["labels"].shape == (6, 189)
        assert set(batch["labels"][:, 0].tolist()) == {258}
        assert SpanCorruption.from_tokenizer(tokenizer).sentinel_ids[0] == 259  # what a fresh model may use


def hidden_first(spec, rows, epochs=60):
    """Whether the first token was hidden in some epoch, for each row."""
    masks = [corrupt(rows, spec, seed=0, epoch=epoch).noise_mask() for epoch in range(epochs)]
    return [any(mask[number][0] for mask in masks) for number in range(len(rows))]


class TestBos:
    TOKENIZER = word_level("<s>", *(f"<extra_id_{n}>" for n in range(20)), *(f"w{n}" for n in range(60)), bos_token="<s>")
    BOS = 3
    ROWS = ([BOS, *range(30, 60), 1], [*range(30, 60), 1], [BOS, 30, 31, 32, BOS, 33, 34], [BOS, 30, 31])

    def test_which_ids_a_tokenizer_has(self):
        assert bos_of(self.TOKENIZER) == (3,)
        assert bos_of(t5_tokenizer(["a"])) == bos_of(ByT5Tokenizer()) == ()
        assert bos_of(bert_tokenizer()) == (2,)
        assert bos_of(word_level("<s>", "[CLS]", bos_token="<s>", cls_token="[CLS]")) == (3, 4)
        assert bos_of(word_level("<s>", bos_token="<s>", cls_token="<s>")) == (3,)

    def test_a_leading_one_is_never_hidden(self):
        plain = SpanCorruption(range(4, 24), 1, layout="uniform", noise_density=0.3)
        assert hidden_first(plain, self.ROWS) == [True] * 4
        spec = SpanCorruption.from_tokenizer(self.TOKENIZER, layout="uniform", noise_density=0.3)
        assert hidden_first(spec, self.ROWS) == [False, True, False, False]
        inner = [corrupt(self.ROWS, spec, epoch=epoch).noise_mask()[2][4] for epoch in range(200)]
        assert any(inner)  # a document boundary inside a row is a token like any other

    @pytest.mark.parametrize("preset", ["t5", "ul2", "ul2r"])
    def test_in_collators_and_mixtures(self, preset):
        mixture = getattr(DenoiserMixture, preset)(layout="uniform", on_exhausted="fewer_spans")
        for options in ({"spec": mixture}, {"layout": "uniform"}, {"layout": "uniform", "protected_ids": [40]}):
            collator = DataCollatorForSpanCorruption(self.TOKENIZER, seed=1, return_tensors="np", on_repeat="ignore", **options)
            assert collator.spec.bos_token_ids == (3,)
            for epoch in range(60):
                collator.set_epoch(epoch)
                assert set(collator([{"input_ids": self.ROWS[0]}])["input_ids"][:, 0]) == {3}

    @pytest.mark.parametrize("words", ["word_ids", "word_starts"])
    def test_with_words(self, words):
        spec = SpanCorruption.from_tokenizer(self.TOKENIZER, layout="uniform", noise_density=0.4)
        row = self.ROWS[0]
        column = [at // 2 for at in range(len(row))] if words == "word_ids" else [at % 2 == 0 for at in range(len(row))]
        masks = [corrupt([row], spec, epoch=epoch, **{words: [column]}).noise_mask()[0] for epoch in range(100)]
        assert not any(mask[:2].any() for mask in masks)  # the whole word, if it is more than the token
        assert any(mask[2] for mask in masks)

    def test_the_classic_layout_is_unchanged(self):
        plain = SpanCorruption(range(4, 24), 1)
        spec = SpanCorruption.from_tokenizer(self.TOKENIZER)
        assert spec.bos_token_ids == (3,)
        assert corrupt(self.ROWS, spec).input_ids == corrupt(self.ROWS, plain).input_ids
        assert hidden_first(spec, self.ROWS) == [False] * 4

    def test_the_rest_of_the_row_is_drawn_as_a_row_without_it(self):
        spec = SpanCorruption.from_tokenizer(self.TOKENIZER, layout="uniform")
        row = self.ROWS[0]
        with_bos, without = (corrupt([ids], spec, keys=[5]) for ids in (row, row[1:]))
        assert with_bos.input_ids[0].tolist() == [3, *without.input_ids[0].tolist()]
        assert with_bos.labels == without.labels

    def test_none_may_be_asked_for(self):
        spec = SpanCorruption.from_tokenizer(self.TOKENIZER, layout="uniform", bos_token_ids=(), noise_density=0.3)
        assert hidden_first(spec, self.ROWS[:1]) == [True]
        with pytest.raises(ValueError, match="bos_token_ids: expected a token id"):
            SpanCorruption.from_tokenizer(self.TOKENIZER, bos_token_ids=[-1])


def test_uniform_stays_uniform_with_a_leading_bos():
    """Every position after BOS is hidden about as often; the outer ones a little more, since they need one clear neighbour."""
    spec = SpanCorruption(range(4, 24), 1, layout="uniform", noise_density=0.3, mean_noise_span_length=1.0, bos_token_ids=[3])
    row = [3, *range(30, 50)]
    out = corrupt([row] * 4000, spec, keys=range(4000))
    share = np.array(out.noise_mask().to_list()).mean(axis=0)
    assert share[0] == 0
    assert 0.2 < share[1:].min() < share[1:].max() < 0.45
