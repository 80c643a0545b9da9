"""What the operators of noise read, refuse and pass on."""

import random

import pyarrow as pa
import pytest
from spanmask import (
    DataCollatorForFillInTheMiddle,
    DataCollatorForMaskedLM,
    DataCollatorForSpanCorruption,
    DenoiserMixture,
    FillInTheMiddle,
    LinearRate,
    MaskedLM,
    SpanCorruption,
)
from spanmask.arrow import MiddleFiller, SpanCorrupter, TokenMasker
from support.denoising import bert_tokenizer, t5_tokenizer

RNG = random.Random(8)
ROWS = [[RNG.randint(5, 400) for _ in range(count)] for count in (0, 1, 2, 9, 40, 200, 7)]
IDS = list(range(len(ROWS)))
TABLE = pa.table({"id": IDS, "input_ids": pa.array(ROWS, pa.list_(pa.int32()))})
FIM = FillInTheMiddle(500, 501, 502, rate=1.0, boundary_ids=[6])


@pytest.fixture(scope="module")
def operators():
    t5, bert = t5_tokenizer([f"w{number}" for number in range(500)]), bert_tokenizer(400)
    return {
        "spans": lambda **options: SpanCorrupter(t5, **options),
        "mixture": lambda **options: SpanCorrupter(t5, spec=DenoiserMixture.ul2(), **options),
        "tokens": lambda **options: TokenMasker(bert, mlm_probability=0.4, **options),
        "middles": lambda **options: MiddleFiller(t5, spec=FIM, **options),
    }


def by_token(entry):
    return pa.array([[entry(at, token) for at, token in enumerate(row)] for row in ROWS])


def made(table):
    return table["input_ids"].to_pylist(), table["labels"].to_pylist()


NAMES = ["spans", "mixture", "tokens", "middles"]


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(
    "as_column",
    [
        lambda: pa.array(ROWS, pa.large_list(pa.uint16())),
        lambda: pa.chunked_array([pa.array(ROWS[:2]), pa.array(ROWS[:5]).slice(2), pa.array(ROWS[5:])]),
        lambda: pa.concat_arrays([pa.array(ROWS[3:]), pa.array(ROWS), pa.array(ROWS[:3])]).slice(len(ROWS) - 3, len(ROWS)),
        lambda: pa.array(ROWS, pa.list_view(pa.int32())),
        lambda: pa.array([[1], *ROWS, [2]], pa.large_list_view(pa.int64())).slice(1, len(ROWS)),
        lambda: pa.DictionaryArray.from_arrays(pa.array([len(ROWS) - 1 - n for n in IDS]), pa.array(ROWS[::-1])),
        lambda: pa.array(ROWS, pa.list_(pa.dictionary(pa.int32(), pa.int64()))),
    ],
    ids=["large", "chunked", "sliced", "list view", "sliced large list view", "numbered rows", "numbered ids"],
)
def test_every_arrow_layout_of_rows_gives_the_same(operators, kind, as_column):
    operator = operators[kind]()
    assert made(operator(pa.table({"input_ids": as_column()}))) == made(operator(TABLE))


def test_list_views_in_any_order_and_tensors_of_one_shape(operators):
    views = pa.ListViewArray.from_arrays(
        pa.array([3, 0, 1, 2], pa.int32()), pa.array([2, 2, 0, 3], pa.int32()), pa.array([11, 12, 13, 14, 15])
    )
    rows = [[14, 15], [11, 12], [], [13, 14, 15]]
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(pa.array(range(20, 32)).to_numpy().reshape(4, 3))
    for column, same in ((views, rows), (tensors, [[20, 21, 22], [23, 24, 25], [26, 27, 28], [29, 30, 31]])):
        operator = operators["tokens"]()
        assert made(operator(pa.table({"input_ids": column}))) == made(operator(pa.table({"input_ids": same})))


@pytest.mark.parametrize("kind", NAMES)
def test_the_attention_mask_fits_the_new_rows(operators, kind):
    for values in (pa.int8(), pa.int64(), pa.bool_()):
        table = TABLE.append_column(
            "attention_mask", by_token(lambda at, token: 1).cast(pa.list_(pa.int64())).cast(pa.list_(values))
        )
        for options in ({}, {"max_length": 5}):
            operator = operators[kind](**options)
            out = operator(table)
            assert out.schema == operator.schema(table.schema) == operator(table.slice(0, 0)).schema
            assert out.schema.field("attention_mask").type.value_type == values
            assert [[1] * len(row) for row in out["input_ids"].to_pylist()] == out["attention_mask"].to_pylist()
            assert made(out) == made(operator(TABLE))


@pytest.mark.parametrize("kind", NAMES)
def test_what_belongs_to_the_tokens_of_the_old_rows_is_left_out(operators, kind):
    table = TABLE.append_column("token_type_ids", by_token(lambda at, token: at % 2))
    table = table.append_column("special_tokens_mask", by_token(lambda at, token: 0)).append_column(
        "scores", by_token(lambda at, token: at)
    )
    kept = ["id", "input_ids", "token_type_ids", "special_tokens_mask", "scores", "labels"]
    gone = ["id", "input_ids", "scores", "labels"]
    assert operators[kind]()(table).column_names == (kept if kind == "tokens" else gone)
    assert operators[kind](max_length=4)(table).column_names == gone
    named = operators[kind](max_length=4, keep_columns=["token_type_ids"])(table)
    assert named["token_type_ids"].equals(table["token_type_ids"])


def test_tokenizers_special_tokens_mask_is_no_obstacle_to_filling_the_middle(operators):
    table = TABLE.append_column("special_tokens_mask", by_token(lambda at, token: at == 0))
    assert made(operators["middles"]()(table)) == made(operators["middles"]()(TABLE))


def test_rates_of_rows_have_the_name_that_the_collator_reads(operators):
    rates = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0]
    out = operators["middles"]()(TABLE.append_column("fim_rate", pa.array(rates)).append_column("rate", pa.array([7.5] * 7)))
    moved = [500 in row for row in out["input_ids"].to_pylist()]
    assert moved == [bool(rate and row) for rate, row in zip(rates, ROWS, strict=True)]
    assert out["rate"].to_pylist() == [7.5] * 7


@pytest.mark.parametrize("count", [3, 5, 12, 1000])
def test_rows_of_the_operators_are_those_of_the_collators(operators, count):
    """With the same `max_length`, and probabilities by token."""
    rows = [row for row in ROWS if len(row) > 1]
    probabilities = [[(at % 4) / 4 for at in range(len(row))] for row in rows]
    table = pa.table({"input_ids": rows})
    for kind, collator, extra in (
        ("spans", DataCollatorForSpanCorruption, {}),
        ("tokens", DataCollatorForMaskedLM, {"mlm_probability": probabilities}),
        ("middles", DataCollatorForFillInTheMiddle, {}),
    ):
        operator = operators[kind](max_length=count, seed=4)
        given = pa.table({"input_ids": rows, **extra})
        batch = collator(
            operator.tokenizer, spec=operator.spec, seed=4, max_length=count, return_tensors="np", on_repeat="ignore"
        )({"input_ids": rows, **extra})
        out = operator(given)
        lengths = batch["attention_mask"].sum(axis=1)
        cut = [ids[:length].tolist() for ids, length in zip(batch["input_ids"], lengths, strict=True)]
        assert out["input_ids"].to_pylist() == cut, kind
        if kind == "middles":
            assert max(map(len, cut)) <= count
    assert made(operators["tokens"](max_length=count)(table)) == made(
        operators["tokens"](max_length=count)(pa.table({"input_ids": [row[:count] for row in rows]}))
    )


@pytest.mark.parametrize(
    ("kind", "name", "right"),
    [
        ("spans", "words", "Rename it to 'word_ids'"),
        ("spans", "mlm_probability", "Rename it to 'noise_density'"),
        ("mixture", "mask_ratio", "It has no rates by row"),
        ("tokens", "noise_density", "Rename it to 'mlm_probability'"),
        ("tokens", "protected", "Rename it to 'protected_mask'"),
        ("middles", "fim_prob", "Rename it to 'fim_rate'"),
        ("middles", "word_ids", "It has no effect on this objective"),
        ("middles", "protected_mask", "It has no effect on this objective"),
    ],
)
def test_columns_that_are_meant_for_noise_but_not_read_are_errors(operators, kind, name, right):
    by_row = name not in ("words", "protected", "word_ids", "protected_mask")
    column = pa.array([0.2] * len(ROWS)) if by_row else by_token(lambda at, token: 0)
    table = TABLE.append_column(name, column)
    for given in (table, table.slice(0, 0)):
        with pytest.raises(ValueError, match=f"^table: the column '{name}' is not read by this operator, .*{right}"):
            operators[kind]()(given)
    texts = TABLE.append_column(name, pa.array(["text"] * len(ROWS)))
    assert operators[kind](keep_columns=[name])(texts)[name].to_pylist() == ["text"] * len(ROWS)


@pytest.mark.parametrize("kind", NAMES)
def test_bad_columns_are_named(operators, kind):
    operator = operators[kind]()
    twice = pa.table([TABLE["input_ids"], TABLE["id"], TABLE["id"]], names=["input_ids", "id", "id"])
    with pytest.raises(ValueError, match="^table: two columns are called 'id'"):
        operator(twice)
    for texts, found in ((["w1", None], "row 1 is None"), ([b"w1", b"w2"], "row 0 is a value of type bytes")):
        with pytest.raises(TypeError, match=f"^text: {found}; expected a text"):
            operator(pa.table({"text": texts}))
    long = TABLE.append_column("attention_mask", pa.array([[1] * (len(row) + 1) for row in ROWS]))
    with pytest.raises(ValueError, match="^attention_mask: row 0 has 1 entries for 0 ids"):
        operator(long)


@pytest.mark.parametrize("options", [{}, {"max_length": 3}])
@pytest.mark.parametrize("kind", ["spans", "tokens"])
@pytest.mark.parametrize("name", ["protected_mask", "special_tokens_mask", "word_ids", "word_starts"])
def test_columns_that_are_not_aligned_are_named(operators, kind, name, options):
    table = TABLE.append_column(name, pa.array([[1] * (len(row) + (number == 5)) for number, row in enumerate(ROWS)]))
    table = table.append_column("protected_mask", by_token(lambda at, token: 0)) if name == "special_tokens_mask" else table
    with pytest.raises(ValueError, match=f"^{name}: row 5 has 201 entries for 200 ids"):
        operators[kind](**options)(table)


def test_specs_are_those_of_the_options(operators):
    """Otherwise the comparisons above would compare nothing."""
    assert isinstance(operators["spans"]().spec, SpanCorruption)
    assert isinstance(operators["tokens"]().spec, MaskedLM)
    assert made(operators["tokens"]()(TABLE))[0] != ROWS


def test_no_pad_token_is_needed_and_rates_are_numbers():
    """Nothing is padded; and a pass over a data set has one rate."""
    t5, bert = t5_tokenizer([f"w{number}" for number in range(500)]), bert_tokenizer(400)
    t5.pad_token = bert.pad_token = None
    assert len(SpanCorrupter(t5)(TABLE)["labels"]) == len(TokenMasker(bert)(TABLE)["labels"]) == len(ROWS)
    with pytest.raises(TypeError, match="noise_density: "):
        SpanCorrupter(t5, noise_density=LinearRate(0.1, 0.2, steps=3))
    with pytest.raises(TypeError, match="mlm_probability: "):
        TokenMasker(bert, mlm_probability=LinearRate(0.1, 0.2, steps=3))
    with pytest.raises(TypeError, match="spec: expected MaskedLM, got SpanCorruption"):
        TokenMasker(bert, spec=SpanCorrupter(t5).spec)


MASKS = {
    "dictionary": lambda mask: pa.DictionaryArray.from_arrays(pa.array(IDS), mask),
    "runs": lambda mask: pa.RunEndEncodedArray.from_arrays(pa.array([n + 1 for n in IDS], pa.int32()), mask),
    "dictionary of entries": lambda mask: pa.ListArray.from_arrays(mask.offsets, mask.values.dictionary_encode()),
}


@pytest.mark.parametrize("encoded", MASKS)
def test_attention_masks_are_remade_in_the_type_of_their_entries(operators, encoded):
    mask = by_token(lambda at, token: 1).cast(pa.list_(pa.int8()))
    operator = operators["spans"]()
    plain, other = (operator(TABLE.append_column("attention_mask", column)) for column in (mask, MASKS[encoded](mask)))
    assert other.column("attention_mask").equals(plain.column("attention_mask"))
    assert made(other) == made(plain)


@pytest.mark.parametrize("kind", ["spans", "middles"])
@pytest.mark.parametrize("column", [IDS, ["x"] * len(IDS), [None] * len(IDS), [{"a": 1}] * len(IDS)])
def test_attention_masks_are_lists(operators, kind, column):
    with pytest.raises(TypeError, match="^attention_mask: expected an Arrow list with an entry for each token, got "):
        operators[kind]()(TABLE.append_column("attention_mask", pa.array(column)))
