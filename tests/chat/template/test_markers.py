"""Markers of derived formats: headers of plain text, BOS before every turn, reasoning, contents that merge with what precedes them."""

import string

import pytest
from spanmask import ChatFormat, ChatFormatError, find_turns
from spanmask.chat.merges import Merges
from spanmask.chat.tokens import encode
from support.derivation import derived_format, trained
from support.tool_templates import TOOL_TEMPLATES
from support.vocabularies import KINDS, tokenizer_of
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast


def talk(*contents):
    return [{"role": role, "content": text} for role, text in zip(["user", "assistant"] * 9, contents, strict=False)]


def answers(tokenizer, messages, chat_format):
    """The text of the tokens that train."""
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    [tokens] = encode(tokenizer, [text])
    flags = trained(tokenizer, text, chat_format)
    return "".join(text[slice(*span)] for span, flag in zip(tokens.spans, flags, strict=True) if flag)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("name", "header", "end"),
    [("plain_roles_and_separator", "machine: ", "<br>"), ("bare_roles_and_separator", "assistant\n", "<br>"),
     ("eos_before_roles", "user\n", "</s>")],
)  # fmt: skip
def test_the_words_of_an_anchored_header_open_no_turn_inside_a_content(name, header, end, kind):
    tokenizer, _, chat_format = derived_format("style", name, kind)
    assert all(boundary.anchored for boundary in chat_format.boundaries)
    messages = talk("near", "Yes.", f"so\n\n{header}no", f"Well, {header}it is.")
    assert answers(tokenizer, messages, chat_format).replace(" ", "") == f"Yes.{end}Well,{header}itis.{end}".replace(" ", "")


def test_an_anchored_header_is_found_in_packed_rows_and_after_what_the_template_begins_with():
    tokenizer, _, chat_format = derived_format("style", "vicuna_system_prompt", "byte_level")
    [user] = [boundary for boundary in chat_format.boundaries if boundary.role == "user"]
    assert user.anchored
    text = tokenizer.apply_chat_template(talk("Hi", "Hello", "USER: who?", "You. USER: you."), tokenize=False)
    ids = tokenizer(text * 2, add_special_tokens=False)["input_ids"]
    turns = find_turns([ids], chat_format)
    assert [chat_format.roles[role] for role in turns.role.tolist()] == ["user", "assistant"] * 4


def test_headers_with_added_tokens_are_not_anchored():
    """Other tokens may precede them: in packed rows, and in rows that begin in the middle."""
    _, _, chat_format = derived_format("trl", "qwen3", "byte_level")
    assert not any(boundary.anchored for boundary in chat_format.boundaries)
    assert not chat_format.anchor_ids


@pytest.mark.parametrize("kind", KINDS)
def test_bos_before_every_turn_is_part_of_the_header(kind):
    tokenizer, _, chat_format = derived_format("style", "bos_before_roles", kind)
    bos = tokenizer.bos_token_id
    assert all(bos in start for boundary in chat_format.boundaries for start in boundary.start)
    assert "log in." in answers(tokenizer, talk("How?", "Restart the system\nas user\nand log in."), chat_format)


def test_a_word_alone_is_no_marker():
    tokenizer = tokenizer_of("byte_level")
    tokenizer.chat_template = TOOL_TEMPLATES["bare_roles_and_separator"][0].replace("<br>", "")
    with pytest.raises(ChatFormatError, match=r"'assistant\\n' before assistant messages is only a word"):
        ChatFormat.from_tokenizer(tokenizer)


BEGINNINGS = (
    *("\r\n", "\r", "\r\n\r\n", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\u00a0", "\u3000", "\u200b"),
    *(
        "\u200e",
        "\u200f",
        "\ufeff",
        "\u0301",
        "\u0338",
        "👩\u200d👩\u200d👧",
        "0",
        "2024",
        "ﷺ",
        "“",
        "—",
        "…",
        "€",
        "ß",
        "ا",
        "ह",
        "ไ",
    ),
    *("\n" * 3, "\n" * 4, "\n" * 8, " " * 3, " " * 4, " " * 8, "\t", "\t\t", " \t\n"),
    *(*string.punctuation, *(2 * sign for sign in string.punctuation)),
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["alpaca", "roles_as_headings", "chatml", "chatml_markers_as_text", "plain_roles_and_separator",
                                  "bare_roles_and_separator", "bos_before_roles", "llama2", "zephyr", "exaone_as_text"])  # fmt: skip
def test_contents_may_begin_and_end_with_anything(name, kind):
    tokenizer, _, chat_format = derived_format("style", name, kind)
    for number, edge in enumerate(BEGINNINGS):
        word, other = f"vvx{number}", f"xvv{number}"
        messages = talk(f"{edge}{other}{edge}", f"{edge}{word}{edge}", f"{edge}{other}{edge}", f"{edge}{word}{edge}")
        shown = answers(tokenizer, messages, chat_format)
        assert (shown.count(word), shown.count(other)) == (2, 0), (edge, shown)


def test_merges_are_read_from_the_vocabulary():
    """Entries over either edge; one may end, or begin, inside a character."""
    alphabet = ByteLevel.alphabet()
    entries = ["ĊĊ", "Ċx", ":Ċ", ":â", "t:", "y:Ċ(", "¤:", "ab"]
    model = models.BPE(vocab={token: number for number, token in enumerate([*sorted(alphabet), *entries])}, merges=[])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    merges = Merges(tokenizer)
    assert merges.after("say:\n") == ["x", "\n", "("]
    assert [text.encode()[:1] for text in merges.after("say:")] == [b"\xe2", b"\n", b"\n"]
    [before_a, before_b] = merges.before(":")
    assert (before_a, before_b.encode()[-1:]) == ("t", b"\xa4")
    assert merges.after("word") == merges.before("word") == []
    tokenizer.add_tokens([":\n"], special_tokens=True)
    assert Merges(tokenizer).after("say:\n") == []


REASONING = {
    "qwen3": ("<think>", "</think>", "<think>\n\n</think>\n\n"),
    "glm4moe": ("<think>", "</think>", "\n<think></think>\n"),
    "nemotron_3_nano": ("<think>", "</think>", "<think></think>"),
    "smollm": ("<think>", "</think>", "<think>\n\n</think>\n"),
    "gptoss": ("<|channel|>analysis<|message|>", None, None),
    "lfm2_2_5": ("<think>", "</think>", None),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", REASONING)
def test_reasoning_is_what_the_template_writes_around_it(name, kind):
    tokenizer, _, chat_format = derived_format("style" if name == "smollm" else "trl", name, kind)
    opening, closing, empty = REASONING[name]
    openings, closings = ([tokenizer.decode(ids).replace(" ", "") for ids in some] for some in chat_format.reasoning)
    assert opening in openings
    assert closing is None or closing in closings
    blocks = {tokenizer.decode(ids).replace(" ", "").strip() for ids in chat_format.empty_reasoning}
    assert blocks == ({empty.strip()} if empty else set())


@pytest.mark.parametrize("name", ["qwen2_5", "llama3", "minimax", "chatml", "deepseekv3"])
def test_formats_without_tags_around_reasoning_have_none(name):
    """MiniMax opens every answer as reasoning, which plain answers do not close."""
    source = "style" if name in ("minimax", "chatml") else "trl"
    chat_format = derived_format(source, name, "byte_level")[2]
    assert not chat_format.reasoning
    assert not chat_format.empty_reasoning


def test_qwen3_s_empty_block_is_found_and_real_reasoning_is_not_empty():
    tokenizer, _, chat_format = derived_format("trl", "qwen3", "byte_level")
    question = {"role": "user", "content": "Why?"}
    for answer, empty in (({"content": "So."}, True), ({"content": "So.", "reasoning_content": "Because it is."}, False)):
        text = tokenizer.apply_chat_template([question, {"role": "assistant", **answer}], tokenize=False)
        turns = find_turns([tokenizer(text, add_special_tokens=False)["input_ids"]], chat_format)
        assert turns.empty_reasoning.tolist() == [False, empty]
        assert turns.reasoning_stop[1] > turns.content_start[1]


def test_a_slow_tokenizer_decodes_each_piece_once(monkeypatch):
    tokenizer = ByT5Tokenizer()
    tokenizer.chat_template = TOOL_TEMPLATES["roles_as_headings"][0]
    decoded = []
    real = tokenizer.decode
    monkeypatch.setattr(tokenizer, "decode", lambda ids, **kwargs: decoded.append(tuple(ids)) or real(ids, **kwargs))
    ChatFormat.from_tokenizer(tokenizer)
    assert len(decoded) == len(set(decoded)) < 1000
