"""Two masks of the same tokens side by side, and rows that are picked by what is remarkable about them."""

import pytest
from spanmask import MaskPolicy, mask_labels, preview
from support.previews import terminal

TWO_TURNS = "USER: What is it? ASSISTANT: A</s>USER: is ASSISTANT: red</s>"


@pytest.fixture(scope="module")
def ids(tokenizer):
    return tokenizer(TWO_TURNS).input_ids


@pytest.fixture(scope="module")
def both(ids, chat_format):
    return [mask_labels([ids], chat_format, MaskPolicy(turns=turns)).labels.to_list()[0] for turns in ("all", "last")]


def test_text_shows_lines_that_differ_twice(tokenizer, ids, both, chat_format):
    shown = preview(ids, both[0], tokenizer, other=both[1], chat_format=chat_format).to_text()
    differing = sum(one != other for one, other in zip(*both, strict=True))
    assert 0 < differing < len(ids)
    lines = shown.splitlines()
    assert lines[0].endswith(f"in B; {differing} tokens differ")
    assert [line.partition("|")[0].rstrip() for line in lines[1:]] == ["user", "assistant A", "          B", "user", "assistant"]
    assert lines[2].endswith("ASSISTANT:[[ A</s>]]")
    assert lines[3].endswith("ASSISTANT: A</s>")
    assert lines[5].endswith("ASSISTANT:[[ red</s>]]")


def test_a_terminal_and_html_show_them_in_two_columns(tokenizer, ids, both, chat_format):
    shown = preview(ids, both[0], tokenizer, other=both[1], chat_format=chat_format)
    _, text = terminal(shown)
    row = next(line for line in text.splitlines() if "ASSISTANT: A" in line)
    assert row.count("ASSISTANT: A") == 2
    assert "the same" in text
    html = shown.to_html()
    assert "grid-template-columns:max-content 1fr 1fr" in html
    assert html.count("grid-column:span 2") == 3


def test_other_may_have_weights_or_be_a_batch(tokenizer, ids, both, chat_format):
    weighted = mask_labels([ids, ids], chat_format, MaskPolicy(roles=("assistant", "user"), role_weights={"user": 0.5}))
    shown = preview([ids] * 2, [both[0]] * 2, tokenizer, other=weighted, chat_format=chat_format).to_text()
    assert "          B | USER:[[0.5: " in shown
    batch = {"input_ids": [ids], "labels": [both[0]]}
    assert (
        "B |  ASSISTANT: A" in preview(batch, tokenizer=tokenizer, other={"labels": [both[1]]}, chat_format=chat_format).to_text()
    )


def test_rows_with_labels_are_picked(tokenizer, ids, both):
    none = [-100] * len(ids)
    rows, labels = [ids[:9], ids, ids + ids, ids], [ids[:9], none, both[0] + both[1], both[1]]

    def picked(**options):
        return [int(row.headline.split()[1].rstrip(":")) for row in preview(rows, labels, tokenizer, **options).rows]

    assert picked(pick="untrained") == [1]
    assert picked(pick="longest", max_rows=2) == [2, 1]
    assert picked(pick="fewest", max_rows=1) == [3]
    assert picked(pick="mismatch", other=[ids[:9], none, both[1] + both[1], both[1]]) == [2]
    assert sorted(picked(pick="random", seed=3)) == [0, 1, 2, 3]
    assert picked(pick="random", seed=3) == picked(pick="random", seed=3)
    assert len({tuple(picked(pick="random", seed=seed)) for seed in range(20)}) > 5
    assert preview(rows, labels, tokenizer, pick="longest", max_rows=1).hidden == 3


def test_what_does_not_apply_is_named(tokenizer, ids, both):
    with pytest.raises(ValueError, match="pick: 'mismatch' needs another mask"):
        preview(ids, both[0], tokenizer, pick="mismatch")
    with pytest.raises(TypeError, match="policy: is for data sets"):
        preview(ids, both[0], tokenizer, policy=MaskPolicy())
    with pytest.raises(TypeError, match="other: a MaskPolicy is for data sets"):
        preview(ids, both[0], tokenizer, other=MaskPolicy())
    with pytest.raises(TypeError, match="weights: is for ids"):
        preview([{"input_ids": ids}], tokenizer=tokenizer, weights=[both[0]])
    with pytest.raises(ValueError, match="pick: "):
        preview(ids, both[0], tokenizer, pick="best")
    with pytest.raises(ValueError, match="other: is for labels aligned"):
        preview(ids, both[0][:3], tokenizer, other=both[1])
    with pytest.raises(ValueError, match="labels: row 0 has"):
        preview(ids, both[0], tokenizer, other=both[1][:-1])


def test_the_middle_of_a_long_run_is_folded_and_no_edge_of_the_mask_is(tokenizer, chat_format):
    words = " ".join(f"What{number}" for number in range(400))
    ids = tokenizer(f"USER: {words} ASSISTANT: red</s>").input_ids
    labels = mask_labels([ids], chat_format).labels.to_list()[0]
    shown = preview(ids, labels, tokenizer, chat_format=chat_format)
    text = shown.to_text()
    hidden = next(one.size for line in shown.rows[0].lines for one in line.segments if one.folded)
    assert f" … {hidden:,} tokens … " in text
    assert "What200" not in text
    assert text.splitlines()[1].startswith("user      | USER: What0")
    assert text.endswith("What399\nassistant |  ASSISTANT:[[ red</s>]]")
    html = shown.to_html()
    assert html.count("<details") == 1
    sizes = sum(one.size for line in shown.rows[0].lines for one in line.segments)
    assert sizes == len(ids)
    assert f"token {len(ids) // 2}, id {ids[len(ids) // 2]}" in html


def test_each_token_has_its_borders_and_its_id_also_inside_characters(tokenizer):
    ids = tokenizer("What 中 is 😀it?").input_ids
    html = preview(ids, ids, tokenizer).to_html()
    starts = [html.count(f'title="trained; token {at}, id {token}"') for at, token in enumerate(ids)]
    shared = html.count('title="trained; tokens ')
    assert shared == 2  # the characters of several tokens
    assert sum(starts) == html.count("spanmask-token") - shared - 1  # once in the style sheet
    assert ".spanmask-token:hover{outline" in html
