"""`audit`: each finding on rows made for it, held against plain counting; any source, any pieces; the page."""

import json
import pickle
import random
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict, IterableDataset
from spanmask import ChatFormat, ChatFormatError, DataError, MaskPolicy, RoleBoundary, audit, encode_chat, mask_labels
from spanmask.data.audit import sources
from spanmask.data.audit.findings import FINDINGS
from spanmask.data.audit.pick import pick_rows
from spanmask.data.audit.tally import SeenRows, costs_of, distribution, shares_of
from support.chat_templates import STYLES, UNDERIVABLE
from support.files import chat_rows, write_rows
from support.vocabularies import tokenizer_of

FORMAT = ChatFormat([RoleBoundary("assistant", start=[5, 6], end=[2]), RoleBoundary("user", start=[5, 7], end=[2])])
WHOLE = [5, 7, 8, 2, 5, 6, 9, 10, 2]  # a question and an answer of two tokens
NO_ANSWER = [5, 7, 8, 8, 2]
OPEN = [5, 7, 8, 9, 2, 5, 6, 9, 11]
IGNORE = -100


@pytest.fixture(scope="module")
def tokenizer():
    made = tokenizer_of("byte-level", STYLES["chatml"].special)
    made.chat_template = STYLES["chatml"].template
    return made


def look(rows, tokenizer, policy=None, **options):
    return audit([{"input_ids": row} for row in rows], tokenizer, policy, chat_format=FORMAT, **options)


def test_counts_are_those_of_the_masking(tokenizer):
    rows = [row["messages"] for row in chat_rows(50)]
    want = encode_chat(tokenizer, rows)
    report = audit([{"messages": row} for row in rows], tokenizer)
    assert len(report) == report.row_count == 50
    assert report.tokens == len(want.input_ids.values)
    assert report.trained_tokens == int((want.labels.values != IGNORE).sum())
    assert report.turns == {role: sum(m["role"] == role for row in rows for m in row) for role in report.turns}
    assert sum(report.lengths.counts) == sum(report.trained.counts) == sum(report.shares.counts) == 50
    assert report.lengths.most == max(map(len, want.input_ids))


@pytest.mark.parametrize(
    ("name", "rows", "found"),
    [
        ("untrained", [WHOLE, NO_ANSWER, [], [8, 9]], [1, 2, 3]),
        ("open-answers", [WHOLE, OPEN, WHOLE + OPEN, OPEN + WHOLE], [1, 2]),
        ("outside-vocabulary", [WHOLE, [*WHOLE, 10**6], [-3, *WHOLE]], [1, 2]),
        ("duplicates", [WHOLE, OPEN, WHOLE, [], [], OPEN[::-1], WHOLE, OPEN], [2, 6, 7]),
    ],
)
def test_findings_in_rows_of_ids(tokenizer, name, rows, found):
    report = look(rows, tokenizer)
    assert report.rows(name).tolist() == found
    assert [sample.number for sample in report.findings[name].samples] == found[:5]
    assert sum(report.findings[name].reasons.values()) in (0, len(found))


def test_untrained_rows_have_the_reasons_of_the_masking(tokenizer):
    rows = [WHOLE, NO_ANSWER, [], [8, 9], [5, 6, 2]]
    report = look(rows, tokenizer, MaskPolicy(train_on_eos="none"))
    assert report.findings["untrained"].reasons == mask_labels(rows, FORMAT, MaskPolicy(train_on_eos="none")).report.reasons


def with_labels(*pairs):
    return [{"input_ids": ids, "labels": labels} for ids, labels in pairs]


def test_given_labels_are_looked_at_as_they_are(tokenizer):
    right = [IGNORE] * 6 + [9, 10, 2]
    report = audit(
        with_labels(
            (WHOLE, right),
            (WHOLE[:], [IGNORE] * 6 + [9, 10, IGNORE]),  # the answer trains and its stop token does not
            (WHOLE, [IGNORE] * 5 + [9, 10, 2, IGNORE]),  # shifted
            (WHOLE, [IGNORE] * 6 + [9, 99, 2]),
            (WHOLE, WHOLE),
            (WHOLE, [IGNORE] * 9),
            (NO_ANSWER, [IGNORE] * 5),
        ),
        tokenizer,
        chat_format=FORMAT,
    )
    assert report.policy is None
    assert report.rows("stop-untrained").tolist() == [1, 2]
    assert report.rows("misaligned-labels").tolist() == [2, 3]
    assert report.findings["misaligned-labels"].reasons == {"each label is the next token": 1, "labels are other ids": 1}
    assert report.rows("untrained").tolist() == [5, 6]
    assert report.findings["untrained"].reasons == {"all its labels are -100": 1, "no trained turn": 1}
    assert report.trained_tokens == 3 + 2 + 3 + 3 + 9


def test_every_untrained_row_has_its_reason(tokenizer):
    rows = with_labels(*[(NO_ANSWER, [IGNORE] * 5)] * 300, *[(WHOLE, [IGNORE] * 9)] * 300)
    for data in (rows, [{"input_ids": row["input_ids"]} for row in rows]):
        reasons = audit(data, tokenizer, chat_format=FORMAT).findings["untrained"].reasons
        assert reasons["no trained turn"] == 300
        assert reasons.total() == (600 if data is rows else 300)


def test_a_loss_mask_is_the_same_as_labels_and_padding_is_not_counted(tokenizer):
    labels = [IGNORE] * 6 + [9, 10, 2]
    masked = {
        "input_ids": [*WHOLE, 0, 0],
        "loss_mask": [int(label != IGNORE) for label in labels] + [0, 0],
        "attention_mask": [1] * 9 + [0] * 2,
    }
    report = audit([masked], tokenizer, chat_format=FORMAT, compare=with_labels((WHOLE, labels)))
    assert (report.tokens, report.trained_tokens) == (9, 3)
    assert report.comparison.different == 0
    assert report.comparison.rows == 1


def test_max_length_is_computed_against_the_uncut_rows(tokenizer):
    rows = [row["messages"] for row in chat_rows(40)]
    most = 90
    whole, cut = encode_chat(tokenizer, rows), encode_chat(tokenizer, rows, max_length=most)
    report = audit([{"messages": row} for row in rows], tokenizer, max_length=most)
    before = [sum(label != IGNORE for label in row) for row in whole.labels.to_list()]
    after = [sum(label != IGNORE for label in row) for row in cut.labels.to_list()]
    lost = [number for number, (one, two) in enumerate(zip(before, after, strict=True)) if one and not two]
    assert report.truncation.tokens == sum(max(0, len(ids) - most) for ids in whole.input_ids)
    assert report.truncation.trained_tokens == sum(before) - sum(after)
    assert report.rows("unanswered").tolist() == lost
    assert report.rows("truncated").tolist() == [n for n, ids in enumerate(whole.input_ids) if len(ids) > most]
    assert report.trained_tokens == sum(before)
    cost = next(cost for cost in report.costs if cost.max_length == most)
    assert (cost.rows, cost.tokens) == (report.truncation.rows, report.truncation.tokens)
    assert cost.unanswered == len(lost)
    turns = whole.turns
    answers = [
        (start, stop)
        for role, start, stop in zip(turns.role, turns.content_start, turns.stop, strict=True)
        if turns.roles[role] == "assistant"
    ]
    assert report.truncation.answers_lost == sum(start >= most for start, _ in answers)
    assert report.truncation.answers_cut == sum(start < most < stop for start, stop in answers)


def test_dropping_truncated_turns_counts_in_what_a_cut_costs(tokenizer):
    report = look([WHOLE], tokenizer, MaskPolicy(truncated_turn="drop"), max_length=8)
    assert report.truncation.trained_tokens == 3
    assert report.rows("unanswered").tolist() == [0]
    assert look([WHOLE], tokenizer, max_length=8).truncation.trained_tokens == 1


def test_rows_that_cannot_be_used_are_a_finding(tokenizer):
    rows = [{"messages": row["messages"]} for row in chat_rows(30)]
    rows[4] = {"messages": "no list"}
    rows[9] = "no row"
    rows[20] = {"messages": [{"role": "user"}, {"content": 3}]}
    report = audit(rows, tokenizer)
    assert report.rows("bad").tolist() == [4, 9, 20]
    assert (report.row_count, report.all_rows) == (27, 30)
    assert report.findings["bad"].reasons.total() == 3
    assert report.findings["bad"].samples[0].number == 4
    uneven = with_labels((WHOLE, WHOLE), (WHOLE, WHOLE[:3]), (WHOLE, None), (OPEN, OPEN))
    report = audit(uneven, tokenizer, chat_format=FORMAT)
    assert report.rows("bad").tolist() == [1, 2]
    assert report.rows("duplicates").tolist() == []


def test_contents_that_hold_markers(tokenizer):
    def chat(question):
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "ok"}]}

    rows = [chat("hello"), chat("a <|im_end|> b"), chat("<|im_start|>assistant\nevil"), chat("|im_end|")]
    assert audit(rows, tokenizer).rows("markers-in-content").tolist() == [1, 2]
    assert "token ids" in look([WHOLE], tokenizer).skipped["markers-in-content"]


@pytest.mark.parametrize(
    ("answer", "is_empty"),
    [
        ({"content": ""}, True),
        ({"content": " \n"}, True),
        ({"content": [{"type": "text", "text": ""}]}, True),
        ({"content": "", "reasoning_content": "Hm."}, False),
        ({"content": "", "tool_calls": [{"name": "look", "arguments": {}}]}, False),
        ({"content": "", "weight": 0}, False),
        ({"content": "."}, False),
    ],
)
def test_answers_that_say_nothing(tokenizer, answer, is_empty):
    asked, said = {"role": "user", "content": ""}, {"role": "assistant", "content": "ok"}
    rows = [
        {"messages": [asked, said]},
        {"messages": [asked, said, asked, {"role": "assistant", **answer}]},
        {"prompt": [asked, {"role": "assistant", "content": ""}, asked], "completion": [said]},
    ]
    reports = [audit([row], tokenizer) for row in rows]
    assert [len(report.rows("empty-answers")) for report in reports] == [0, int(is_empty), 0]
    if is_empty:
        assert dict(reports[1].findings["empty-answers"].reasons) == {"message 3": 1}
    assert "token ids" in look([WHOLE], tokenizer).skipped["empty-answers"]


PLAIN = [
    [{"role": role, "content": f"{word} cats"} for _ in range(turns) for role in ("user", "assistant")]
    for word, turns in (("two", 1), ("three", 2), ("few", 3))
]
NO_STOP = (
    "chatml_open_end",
    "alpaca",
    "falcon",
    "baichuan",
    "chatglm3",
    "mpt",
    "ziya",
    "parts_llava",
    "phi2",
    "glm4_calls",
)
NO_STOP += ("roles_as_headings", "react")


@pytest.mark.parametrize(
    "style", ["chatml", "llama2", "mistral_v3", "gemma", "deepseek_v31", "kimi", "system_as_assistant", *NO_STOP]
)
def test_plain_conversations_have_findings_only_where_the_template_writes_no_stop_token(style):
    tokenizer = tokenizer_of("byte-level", STYLES[style].special)
    tokenizer.chat_template = STYLES[style].template
    encoded = encode_chat(tokenizer, PLAIN)
    pairs = zip(encoded.input_ids.to_list(), encoded.labels.to_list(), strict=True)
    for data in ([{"messages": chat} for chat in PLAIN], with_labels(*pairs)):
        report = audit(data, tokenizer)
        found = {name: finding.row_numbers.tolist() for name, finding in report.findings.items() if finding.count}
        assert found == ({"open-answers": [0, 1, 2]} if style in NO_STOP else {})
        assert report.trained_tokens == int((encoded.labels.values != IGNORE).sum())


def test_without_a_format_messages_are_audited_and_ids_say_what_is_not_looked_for():
    tokenizer = tokenizer_of("byte-level", UNDERIVABLE["chatglm2"].special)
    tokenizer.chat_template = UNDERIVABLE["chatglm2"].template
    encoded = encode_chat(tokenizer, PLAIN)
    report = audit([{"messages": chat} for chat in PLAIN], tokenizer)
    assert report.trained_tokens == int((encoded.labels.values != IGNORE).sum()) > 0
    assert report.findings["open-answers"].row_numbers.tolist() == [0, 1, 2]
    report = audit(with_labels(*zip(encoded.input_ids.to_list(), encoded.labels.to_list(), strict=True)), tokenizer)
    assert report.skipped["open-answers"] == "turns were not looked for: there is no chat format"


def test_rows_that_are_searched_or_unknown():
    tokenizer = tokenizer_of("byte-level", STYLES["chatml"].special)
    tokenizer.chat_template = STYLES["chatml"].template.replace("['content']", "['content'] | upper")
    if "upper" not in tokenizer.chat_template:
        tokenizer.chat_template = STYLES["chatml"].template.replace(".content", ".content | upper")
    assert "upper" in tokenizer.chat_template
    rows = [
        {"messages": [{"role": "user", "content": "ab"}, {"role": "assistant", "content": text}]}
        for text in ("cd", "<|im_end|>x")
    ]
    report = audit(rows, tokenizer)
    assert len(report.rows("searched")) + len(report.rows("unknown-turns")) == 2
    assert 1 in report.rows("unknown-turns")
    assert 1 in report.rows("untrained")


def test_unclosed_regions_are_found_in_any_row(tokenizer):
    policy = MaskPolicy(ignore_between=[([20], [21])])
    rows = [WHOLE, [5, 6, 9, 20, 9, 21, 9, 2], [5, 6, 9, 20, 9, 9, 2], WHOLE, [5, 6, 20, 9, 2]] * 3
    assert look(rows, tokenizer, policy).rows("unclosed-regions").tolist() == [2, 4, 7, 9, 12, 14]
    assert look(rows, tokenizer).skipped["unclosed-regions"]


def test_policies_that_raise_or_drop_do_neither(tokenizer):
    policy = MaskPolicy(on_untrained_row="raise", on_no_trained_turn="raise", on_role_mismatch="raise", shift="left")
    report = look([WHOLE, NO_ANSWER], tokenizer, policy)
    assert report.rows("untrained").tolist() == [1]
    assert look([WHOLE, NO_ANSWER], tokenizer, MaskPolicy(on_untrained_row="drop")).row_count == 2


def test_two_policies_are_compared(tokenizer):
    rows = [WHOLE, NO_ANSWER, OPEN]
    report = look(rows, tokenizer, compare=MaskPolicy(train_on_eos="none"))
    both = report.comparison
    assert (both.rows, both.different, both.only_first, both.only_second, both.both) == (3, 1, 1, 0, 4)
    assert report.rows("different").tolist() == [0]
    sample = report.findings["different"].samples[0]
    assert sample.row != sample.other
    assert "train_on_eos='none'" in both.second


def test_two_data_sets_are_compared_whatever_their_pieces(tokenizer, tmp_path, monkeypatch):
    rng = random.Random(5)
    rows = [[5, 7, *rng.choices(range(8, 40), k=rng.randint(1, 9)), 2, 5, 6, rng.randint(8, 40), 2] for _ in range(50)]
    ours = mask_labels(rows, FORMAT).labels.to_list()
    theirs = [list(labels) for labels in ours]
    for row in (3, 17, 49):
        theirs[row][-1] = IGNORE
    cut = rows[30][:-1]
    path = write_rows(tmp_path / "theirs.parquet", with_labels(*zip(rows, theirs, strict=True)), row_group_size=7)
    report = audit(with_labels(*zip(rows, ours, strict=True)), tokenizer, chat_format=FORMAT, compare=path)
    assert report.rows("different").tolist() == [3, 17, 49]
    assert report.comparison.only_first == 3
    monkeypatch.setattr(sources, "PIECE_ROWS", 11)
    other = with_labels(*zip(rows, theirs, strict=True))
    other[30] = {"input_ids": cut, "labels": theirs[30][:-1]}
    other[31] = {"input_ids": WHOLE, "labels": WHOLE}
    report = audit(str(path), tokenizer, chat_format=FORMAT, compare=other[:48])
    assert report.rows("different").tolist() == [30]  # cut: its last token does not train
    assert report.rows("incomparable").tolist() == [31, 48, 49]
    fewer = [row for number, row in enumerate(other) if number not in (0, 5, 6, 7, 40)]
    report = audit(str(path), tokenizer, chat_format=FORMAT, compare=fewer)
    assert report.rows("incomparable").tolist() == [0, 5, 6, 7, 31, 40]
    assert report.rows("different").tolist() == [30]
    report = audit(fewer, tokenizer, chat_format=FORMAT, compare=str(path))
    assert report.rows("incomparable").tolist() == [27]
    assert report.comparison.rows == 44


def test_a_row_that_occurs_again_does_not_shift_the_comparison(tokenizer):
    rows = [[5, 7, 8, number, 2, 5, 6, 9, 2] for number in range(20, 60)]
    rows[30] = rows[3]
    ours = with_labels(*zip(rows, mask_labels(rows, FORMAT).labels.to_list(), strict=True))
    theirs = list(ours)
    theirs[3] = {"input_ids": [8, 8], "labels": [8, 8]}
    report = audit(ours, tokenizer, chat_format=FORMAT, compare=theirs)
    assert report.rows("incomparable").tolist() == [3]
    assert (report.comparison.rows, report.comparison.different) == (39, 0)


def test_any_source_gives_the_same_report(tokenizer, tmp_path, monkeypatch):
    rows = [{"messages": row["messages"]} for row in chat_rows(45)]
    rows[11], rows[40] = rows[10], rows[10]
    want = audit(rows, tokenizer, max_length=100).as_dict()
    (tmp_path / "a").mkdir()
    write_rows(tmp_path / "a" / "x.jsonl", rows[:20])
    write_rows(tmp_path / "a" / "y.parquet", rows[20:], row_group_size=6)
    monkeypatch.setattr(sources, "PIECE_ROWS", 7)
    for data in (
        rows,
        iter(rows),
        pa.Table.from_pylist(rows),
        pa.Table.from_pylist(rows).to_batches()[0],
        Dataset.from_list(rows),
        Dataset.from_list(rows[::-1]).select(range(44, -1, -1)),
        IterableDataset.from_generator(lambda: iter(rows)),
        {"messages": [row["messages"] for row in rows]},
        tmp_path / "a",
        [str(tmp_path / "a" / "x.jsonl"), str(tmp_path / "a" / "*.parquet")],
    ):
        got = audit(data, tokenizer, max_length=100).as_dict()
        for name in ("name", "files"):
            got[name] = want[name]
        assert got == want, type(data)
    report = audit(tmp_path / "a", tokenizer)
    assert report.place(25) == f"{tmp_path / 'a' / 'y.parquet'}: row 5"
    assert report.findings["duplicates"].samples[1].place == f"{tmp_path / 'a' / 'y.parquet'}: row 20"
    renamed = [{"dialogue": row["messages"]} for row in rows]
    assert audit(renamed, tokenizer, columns={"messages": "dialogue"}).tokens == want["tokens"]


def test_wrong_arguments_are_named(tokenizer):
    with pytest.raises(TypeError, match="data: expected .*train"):
        audit(DatasetDict({"train": Dataset.from_list([{"a": 1}])}), tokenizer)
    with pytest.raises(TypeError, match="data: expected"):
        audit(3, tokenizer)
    with pytest.raises(DataError, match="no such file"):
        audit("nowhere.jsonl", tokenizer)
    with pytest.raises(ValueError, match="max_length"):
        look([WHOLE], tokenizer, max_length=0)
    with pytest.raises(ValueError, match="samples"):
        look([WHOLE], tokenizer, samples=-1)
    with pytest.raises(TypeError, match="compare: the data can be read only once"):
        audit(iter([{"input_ids": WHOLE}]), tokenizer, chat_format=FORMAT, compare=MaskPolicy())
    with pytest.raises(ValueError, match="'truncated' was not looked for"):
        look([WHOLE], tokenizer).rows("truncated")


def test_without_a_chat_format_only_rows_with_labels_can_be_looked_at():
    tokenizer = tokenizer_of("byte-level", STYLES["chatml"].special)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    with pytest.raises(ChatFormatError):
        audit([{"input_ids": WHOLE}], tokenizer)
    report = audit(with_labels((WHOLE, WHOLE), (OPEN, [IGNORE] * 9)), tokenizer)
    assert report.rows("untrained").tolist() == [1]
    assert "stop-untrained" in report.skipped
    assert "Turns were not looked for" in report.notes[0]


def test_reports_are_pickled_printed_and_written(tokenizer, tmp_path):
    report = look([WHOLE, NO_ANSWER, WHOLE], tokenizer, max_length=8)
    again = pickle.loads(pickle.dumps(report))
    assert again.as_dict() == report.as_dict()
    assert str(again) == str(report)
    report.to_json(tmp_path / "r.json")
    read = json.loads((tmp_path / "r.json").read_text())
    assert read["findings"]["duplicates"]["rows"] == [2]
    assert read["truncation"]["tokens"] == 2
    assert "untrained" in str(report)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["r.json"]
    empty = audit([], tokenizer)
    assert len(empty) == 0
    assert str(empty)
    empty.to_html(tmp_path / "empty.html")


class Page(HTMLParser):
    """A page's text, tags and attributes; tags must be closed, except for those that need not be."""

    VOID = ("meta", "input", "rect", "path", "line", "text", "li", "th", "td", "option", "dd", "dt")

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.attributes = "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data):
        self.text += data


HOSTILE = "</div></details><script>alert(1)</script><img src=x onerror=alert(2)>\u202eevil\u2066\x1b[31m\x07\x00\ud800"


def test_the_page_is_escaped_and_loads_nothing(tokenizer, tmp_path):
    def chat(question, answer):
        return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}

    soft = HOSTILE.replace("\ud800", "")  # tokenizers do not take halves of surrogate pairs
    rows = [chat(soft, soft), {"messages": HOSTILE}, {"messages": [{"role": HOSTILE, "content": "x"}]}, chat("<|im_end|>", soft)]
    report = audit(rows, tokenizer, max_length=50, compare=MaskPolicy(roles="user"))
    report.name = HOSTILE
    report.notes.append(HOSTILE)
    report.to_html(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    page = Page(html)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [value for name, value in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert "http" not in html
    assert "@import" not in html
    assert not set(html) & set("\u202e\u2066\x1b\x07\x00")
    assert "<U+202E>" in page.text
    assert "alert(1)" in page.text
    assert '<meta charset="utf-8">' in html
    assert "<title>" in html
    assert not set(str(report)) & set("\u202e\x1b\x07\x00\ud800")


def test_the_page_shows_every_finding(tokenizer, tmp_path):
    report = look([WHOLE, NO_ANSWER, OPEN, WHOLE, [10**6]], tokenizer, max_length=6)
    report.to_html(tmp_path / "r.html")
    html = (tmp_path / "r.html").read_text(encoding="utf-8")
    for name, finding in report.findings.items():
        assert (f'data-name="{name}"' in html) == bool(finding.count)
        assert FINDINGS[name].title in html
    assert html.count("<svg") == 3


def test_long_rows_are_folded_on_the_page(tokenizer, tmp_path):
    long = [5, 7, *[8] * 50_000, 2, 5, 6, 9, 2]
    report = look([long], tokenizer)
    report.to_html(tmp_path / "r.html")
    assert "49,107 tokens not shown" in (tmp_path / "r.html").read_text()
    assert (tmp_path / "r.html").stat().st_size < 100_000


def test_hashes_find_exactly_the_rows_that_occur_again():
    rng = np.random.default_rng(1)
    rows = [rng.integers(0, 3, rng.integers(0, 6)).tolist() for _ in range(600)]
    first, want = {}, []
    for number, row in enumerate(rows):
        want.append(first.get(tuple(row), -1) if row else -1)
        first.setdefault(tuple(row), number)
    seen, got = SeenRows(), []
    for start in range(0, 600, 37):
        part = rows[start : start + 37]
        ids = np.array([token for row in part for token in row], np.int64)
        offsets = np.cumsum([0, *map(len, part)])
        got += seen.add(ids, offsets, np.arange(start, start + len(part))).tolist()
    assert got == want


def test_distributions_count_all_values():
    lengths = np.array([0, 1, 5, 700, 10_000_000], np.int32)
    one = distribution(lengths)
    assert sum(one.counts) == 5
    assert (one.least, one.median, one.most) == (0, 5, 10_000_000)
    assert sum(distribution(np.zeros(3, np.int32)).counts) == 3
    assert sum(distribution(np.zeros(0, np.int32)).counts) == 0
    shares = shares_of(np.array([0, 1, 5, 0], np.int32), np.array([10, 1, 10, 0], np.int32))
    assert (shares.counts[0], shares.counts[10], shares.counts[19]) == (1, 1, 1)
    costs = costs_of(lengths, np.array([-1, 0, 2, 650, 5], np.int32), 600)
    assert [(cost.rows, cost.unanswered) for cost in costs if cost.max_length == 600] == [(2, 1)]


def test_rows_are_picked(tokenizer):
    rows = [{"input_ids": row} for row in (WHOLE, NO_ANSWER, OPEN + WHOLE, OPEN, [8])]

    def picked(**options):
        shown = pick_rows(rows, tokenizer, chat_format=FORMAT, **options)
        return [int(row.headline.split()[1].rstrip(":")) for row in shown.rows]

    assert picked(max_rows=2) == [0, 1]
    assert picked(pick="untrained") == [1, 4]
    assert picked(pick="longest", max_rows=2) == [2, 0]
    assert picked(pick="fewest", max_rows=1) == [3]
    assert sorted(picked(pick="random")) == [0, 1, 2, 3, 4]
    assert picked(pick="random", seed=1) == picked(pick="random", seed=1)
    assert picked(numbers=[3, 0]) == [0, 3]
    with pytest.raises(DataError, match="row 5 does not exist; there are 5"):
        picked(numbers=[5])


def test_rows_of_text_end_with_their_stop_token():
    tokenizer = tokenizer_of("byte-level", STYLES["chatml"].special)
    tokenizer.eos_token = "<|im_end|>"
    rows = [{"prompt": "a question", "completion": answer} for answer in ("yes", "no")]
    report = audit(rows, tokenizer)
    assert report.turns == {"assistant": 2, "user": 2}
    assert all(sample.row.lines[-1].segments[-1].text == "<|im_end|>" for sample in report.ordinary)
    for name in ("untrained", "open-answers", "stop-untrained"):
        assert report.rows(name).tolist() == []


@pytest.mark.parametrize("name", ["assistant_masks", "completion_mask", "loss_mask"])
def test_flags_of_other_libraries_are_labels(tokenizer, name):
    rows = [{"input_ids": WHOLE, name: [0] * 6 + [1, 1, 0]}]
    report = audit(rows, tokenizer, chat_format=FORMAT, compare=MaskPolicy())
    assert (report.trained_tokens, report.policy) == (2, None)
    assert report.rows("stop-untrained").tolist() == [0]


def test_data_sets_with_a_transform_are_read_through_it(tokenizer):
    rows = Dataset.from_list([{"length": 3}, {"length": 4}])
    rows.set_transform(lambda batch: {"input_ids": [[5, 6, *[9] * (n - 3), 2] for n in batch["length"]]})
    assert audit(rows, tokenizer, chat_format=FORMAT).tokens == 7


def test_long_rows_are_read_in_small_pieces(monkeypatch):
    monkeypatch.setattr(sources, "PIECE_BYTES", 800)
    rows = [{"input_ids": [1] * 60} for _ in range(10)] + [{"input_ids": None}]
    assert [len(piece) for piece in sources.list_pieces(rows, ("input_ids",))] == [2] * 5 + [1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": [["messages", "m"]]}, "^columns: expected a dict"),
        ({"columns": 5}, "^columns: expected a dict"),
        ({"progress": 5}, "^progress: expected a function"),
        ({"compare": 5}, "^compare: expected a data set"),
        ({"compare": np.array(5)}, "^compare: expected a data set"),
    ],
)
def test_options_of_wrong_types(tokenizer, options, message):
    with pytest.raises(TypeError, match=message):
        look([WHOLE], tokenizer, **options)


def test_a_maximum_length_may_be_an_array_without_dimensions(tokenizer):
    assert str(look([WHOLE], tokenizer, max_length=np.array(3))) == str(look([WHOLE], tokenizer, max_length=3))


class Unshowable:
    def __repr__(self):
        raise RuntimeError("not shown")


def test_rows_that_cannot_be_shown_are_a_finding(tokenizer):
    report = audit([{"input_ids": WHOLE}, Unshowable()], tokenizer, chat_format=FORMAT)
    assert report.rows("bad").tolist() == [1]
