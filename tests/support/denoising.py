"""Tokenizers, rows and specs for the tests of denoising."""

import pytest
from hypothesis import strategies as st
from spanmask import Denoiser, DenoiserMixture, MaskedLM, SpanCorruption, TextInfilling

EOS = 1
SENTINELS = range(1000, 900, -1)
WORDS = ["The", "cute", "dog", "walks", "in", "the", "green", "park"]


def t5_tokenizer(words=(), sentinels=100):
    """A word-level T5 tokenizer; like T5's own, `<extra_id_0>` is its last id."""
    pytest.importorskip("transformers", reason="needs transformers; not installed")
    from support.vocabulary_tokenizers import t5_of

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -1.0 - n) for n, word in enumerate(words))]
    return t5_of([*pieces, *((f"<extra_id_{n}>", 0.0) for n in reversed(range(sentinels)))], extra_ids=sentinels)


def bert_tokenizer(words=500):
    """A WordPiece tokenizer; half of its tokens continue a word."""
    pytest.importorskip("transformers", reason="needs transformers; not installed")
    from support.vocabulary_tokenizers import bert_of

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(words)), *(f"##w{n}" for n in range(words))]
    return bert_of(tokens)


seeds = st.integers(0, 2**64 - 1)
ids = st.integers(2, 40)
rows = st.lists(ids, max_size=120).flatmap(lambda row: st.sampled_from([row, [*row, EOS]]))
densities = st.sampled_from([0.01, 0.15, 0.35, 0.5, 0.9, 0.99]) | st.floats(0.001, 0.999)
lengths = st.sampled_from([1, 1.5, 3, 8, 64]) | st.floats(1, 100)
OPTIONS = {
    "eos_token_id": st.sampled_from([EOS, None]),
    "layout": st.sampled_from(["classic", "uniform"]),
    "on_exhausted": st.sampled_from(["merge_last", "fewer_spans"]),
    "protected_ids": st.sampled_from([(), (5, 6, 7)]),
}


@st.composite
def specs(draw):
    """Span corruption with all settings, also with few sentinels."""
    count = draw(st.sampled_from([2, 3, 100]))
    return SpanCorruption(
        draw(st.sampled_from([SENTINELS[:count], SENTINELS[:count][::-1]])),
        noise_density=draw(densities),
        mean_noise_span_length=draw(lengths),
        final_sentinel=draw(st.booleans()),
        **{name: draw(choices) for name, choices in OPTIONS.items()},
    )


@st.composite
def mixtures(draw):
    """Spans and prefixes, with and without sentinels and mode tokens."""
    options = {name: draw(choices) for name, choices in OPTIONS.items()}
    sentinel = st.just(True) if options["protected_ids"] else st.booleans()
    mode_tokens = st.sampled_from([None, 2000, 2001])
    prefix = st.builds(
        Denoiser,
        noise_density=densities,
        kind=st.just("prefix"),
        split=st.sampled_from(["density", "uniform"]),
        sentinel=sentinel,
        mode_token=mode_tokens,
    )
    spans = st.builds(Denoiser, lengths, densities, mode_token=mode_tokens)
    denoisers = draw(st.lists(prefix | spans, min_size=1, max_size=4))
    weights = draw(st.lists(st.floats(0.1, 10), min_size=len(denoisers), max_size=len(denoisers)))
    return DenoiserMixture(denoisers, weights, sentinel_ids=SENTINELS, **options)


@st.composite
def masked_lms(draw):
    """Tokens, words and spans, with all replacement fractions."""
    mask_replace_prob = draw(st.floats(0, 1))
    whole_word_mask = draw(st.booleans())
    return MaskedLM(
        mask_token_id=4,
        vocab_size=draw(st.sampled_from([10, 50, 1000])),
        special_ids=draw(st.sampled_from([(), (0, 1, 2, 3, 4), (5, 7, 30, 999)])),
        unused_ids=draw(st.sampled_from([(), (0, 6, 9, 9, 2000)])),
        mlm_probability=draw(st.sampled_from([0.15, 0.5, 1.0]) | st.floats(0.001, 1)),
        mask_replace_prob=mask_replace_prob,
        random_replace_prob=draw(st.floats(0, 1)) * (1 - mask_replace_prob),
        whole_word_mask=whole_word_mask,
        continuation_ids=draw(st.sampled_from([(8, 9, 10, 11), range(45), range(3, 40, 2)])) if whole_word_mask else None,
        word_end_ids=draw(st.sampled_from([(), (9,), (1, 8, 20), range(0, 60, 5)])) if whole_word_mask else (),
        mode=draw(st.sampled_from(["token", "span"])),
        min_one=draw(st.booleans()),
    )


@st.composite
def infillings(draw):
    """Text infilling with all settings. Ids of `rows` that end sentences: few, some also special, as separators are."""
    whole_word_mask = draw(st.booleans())
    return TextInfilling(
        mask_token_id=draw(st.sampled_from([4, 77])),
        special_ids=draw(st.sampled_from([(), (0, 1, 2, 3, 4), (EOS, 5, 7, 30, 999)])),
        unused_ids=draw(st.sampled_from([(), (0, 6, 9, 9, 2000)])),
        mask_ratio=draw(st.sampled_from([0, 0.15, 0.3, 1]) | st.floats(0, 1)),
        poisson_lambda=draw(st.sampled_from([0.1, 1, 3, 3.5, 100]) | st.floats(0.1, 100)),
        replace_length=draw(st.sampled_from([1, -1, 0])),
        random_ratio=draw(st.sampled_from([0, 0.1, 1])),
        vocab_size=draw(st.sampled_from([10, 50, 1000])),
        permute_sentence_ratio=draw(st.sampled_from([0, 1]) | st.floats(0, 1)),
        sentence_end_ids=draw(st.sampled_from([(6, 9), (EOS, 5), (20, 21, 22, 23), range(2, 41)])),
        whole_word_mask=whole_word_mask,
        continuation_ids=(8, 9, 10, 11) if whole_word_mask else None,
        word_end_ids=draw(st.sampled_from([(), (7, 9, 20)])) if whole_word_mask else (),
    )


def flags_of(row, data):
    """A flag for each token."""
    return data.draw(st.lists(st.booleans(), min_size=len(row), max_size=len(row)))


def words_of(row, data):
    """Words as keyword arguments of a call for one row: none, by number, or by the flags of their first tokens."""
    size = {"min_size": len(row), "max_size": len(row)}
    kinds = [
        st.just({}),
        st.builds(lambda numbers: {"word_ids": numbers}, st.lists(st.none() | st.integers(-1, 4), **size)),
        st.builds(lambda flags: {"word_starts": flags}, st.lists(st.booleans(), **size)),
    ]
    return data.draw(st.one_of(kinds))


def batched(options):
    """Options of one row as those of a batch of one."""
    return {name: [value] for name, value in options.items() if value is not None}


def body(row, eos=EOS):
    """The row without its trailing EOS."""
    return row[:-1] if row and row[-1] == eos else row


def runs(mask):
    """The runs in which a mask is set, as (start, stop)."""
    edges = [at for at in range(len(mask) + 1) if (at > 0 and mask[at - 1]) != (at < len(mask) and mask[at])]
    return list(zip(edges[::2], edges[1::2], strict=True))
