"""HTML: marks and escaping."""

from html.parser import HTMLParser

from spanmask import ChatFormat, RoleBoundary, preview
from transformers import PreTrainedTokenizerFast


class Marked(HTMLParser):
    """The text of a page, and the part of it in <mark>."""

    def __init__(self, html):
        super().__init__()
        self.open, self.text, self.marked = [], "", ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        self.marked += data if "mark" in self.open else ""


def test_html_marks_what_trains(tokenizer, row, labels, chat_format):
    shown = preview(row, labels, tokenizer, chat_format=chat_format)
    page = Marked(shown.to_html())
    assert "is trained" in shown._repr_html_()
    assert page.marked == " A red 中 square. 😀</s>"
    assert not page.open


def test_html_is_escaped(tokenizer):
    attack = "</div><script>alert(1)</script><img src=x onerror=\"alert('2')\">&amp;"
    ids = tokenizer(attack).input_ids
    for labels in (ids, [-100] * len(ids)):
        html = preview(ids, labels, tokenizer).to_html()
        assert attack in Marked(html).text
        assert "<script" not in html
        assert "<img" not in html


def test_html_escapes_names_of_tokens_and_roles(tokenizer):
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="</s>")
    tokenizer.add_special_tokens({"pad_token": "<b onclick=x>"})
    ids = [tokenizer.pad_token_id, *tokenizer("a</s>").input_ids]
    fmt = ChatFormat([RoleBoundary("<i>", [ids[0]], [tokenizer.eos_token_id])])
    html = preview(ids, ids, tokenizer, chat_format=fmt).to_html()
    assert "<b " not in html
    assert "<i>" not in html


def test_saved_pages_have_a_charset_a_title_and_a_legend(tokenizer, row, labels, chat_format, tmp_path):
    preview(row, labels, tokenizer, chat_format=chat_format).save(tmp_path / "mask.html", title="<b> 中")
    html = (tmp_path / "mask.html").read_text(encoding="utf-8")
    assert '<meta charset="utf-8"><title>&lt;b&gt; 中</title>' in html
    assert "中 square" in Marked(html[html.index("<body>") : html.index("</html>")]).text
    assert "is trained" in html
    assert "color-scheme:light dark" in html


def test_the_pointer_shows_positions_and_ids(tokenizer, chat_format):
    ids = tokenizer("USER: Hi ASSISTANT: Yes</s>").input_ids
    labels = [-100] * (len(ids) - 1) + ids[-1:]
    html = preview(ids, labels, tokenizer, chat_format=chat_format).to_html()
    assert f'title="trained; token {len(ids) - 1}, id {ids[-1]}"' in html
    assert f'title="ignored; token {len(ids) - 2}, id {ids[-2]}"' in html
    assert 'title="not trained; token' in html
