"""Text is encoded as ids with the characters that they cover."""

import ast
from pathlib import Path
from random import Random

import pytest
import spanmask.chat
from spanmask.chat.text import token_edges
from spanmask.chat.text.token_edges import encode_with_edges
from spanmask.chat.tokens import covering, encode
from support.text_truth import ENDS, MIDDLES
from support.vocabularies import KINDS, tokenizer_of
from transformers import ByT5Tokenizer


@pytest.mark.parametrize("kind", [*KINDS, "byt5"])
def test_encode_covers_the_text_in_order(kind):
    tokenizer = ByT5Tokenizer() if kind == "byt5" else tokenizer_of(kind)
    rng = Random(0)
    for _ in range(50):
        text = "".join(rng.choice([*ENDS, *MIDDLES, "</s>"]) for _ in range(rng.randint(1, 6)))
        [tokens] = encode(tokenizer, [text])
        assert len(tokens.ids) == len(tokens.spans)
        covered = 0
        for start, stop in tokens.spans:
            assert start <= covered
            assert start <= stop
            covered = max(covered, stop)
        assert covered == (len(text) if tokens.ids else 0)


def test_covering_gives_gaps_to_the_next_token():
    assert covering([(0, 2), (3, 5), (3, 5), (0, 0)], 7) == [(0, 2), (2, 5), (3, 5), (5, 7)]
    assert covering([], 0) == []


def test_only_the_files_that_tokens_py_names_call_a_tokenizer():
    """`tokens.py` says so; a call elsewhere in `chat/` would make that untrue."""
    methods = {
        "apply_chat_template", "get_added_vocab", "get_vocab", "decode", "encode", "tokenizer", "convert_ids_to_tokens",
        "convert_tokens_to_ids", "convert_tokens_to_string",
    }  # fmt: skip
    root = Path(spanmask.chat.__file__).parent
    calls = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                own = ast.unparse(node.func) in ("encode", "encoder.encode")
                if name in methods and not own:
                    calls.add((path.relative_to(root).as_posix(), name))
    assert {path for path, name in calls if name == "tokenizer"} == {"tokens.py", "completions.py"}
    rendering = {path for path, name in calls if name == "apply_chat_template"}
    assert rendering == {"template/probe.py", "encode.py", "placeholders.py"}
    others = {(path, name) for path, name in calls if name not in ("tokenizer", "apply_chat_template") and path != "tokens.py"}
    assert others == {("placeholders.py", "convert_ids_to_tokens")}


def test_slow_tokenizers_have_edges_without_special_tokens():
    """Only a text's own tokens can be found again by decoding."""
    tokenizer = ByT5Tokenizer()
    (edges,) = encode_with_edges(tokenizer, ["né"], add_special_tokens=True)
    assert edges.ids == tokenizer("né", add_special_tokens=False)["input_ids"]
    assert [edges.covering(1), edges.following(1), edges.following(2)] == [1, 1, 3]


@pytest.mark.parametrize("kind", KINDS)
def test_edges_of_long_rows_are_those_of_short_ones(kind, monkeypatch):
    tokenizer, rng = tokenizer_of(kind), Random(1)
    for _ in range(20):
        text = "".join(rng.choice([*ENDS, *MIDDLES, "</s>", "né", "😀"]) for _ in range(rng.randint(1, 12)))
        (short,) = encode_with_edges(tokenizer, [text])
        monkeypatch.setattr(token_edges, "LONG", 0)
        (long,) = encode_with_edges(tokenizer, [text])
        monkeypatch.undo()
        for at in range(len(text) + 1):
            assert (long.covering(at), long.following(at)) == (short.covering(at), short.following(at)), (text, at)
