"""`ChatFormat` and `RoleBoundary` as values: what they accept, refuse, print, pickle and compare."""

import ast
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
import spanmask.chat
import torch
from spanmask import ChatFormat, ChatFormatError, RoleBoundary

ASSISTANT = RoleBoundary("assistant", start=[5, 6], end=[2])
USER = RoleBoundary("user", start=[5, 7], end=[2])
FORMAT = ChatFormat([ASSISTANT, USER], stop_token_ids=[3], uncovered=["tool calls", "reasoning"])


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ChatFormat([]), ChatFormatError, "boundaries: none given"),
        (lambda: ChatFormat(["assistant"]), TypeError, "boundaries: expected RoleBoundary, got str"),
        (lambda: ChatFormat(ASSISTANT), TypeError, "boundaries: expected a list of RoleBoundary, got RoleBoundary"),
        (lambda: ChatFormat(None), TypeError, "boundaries: expected a list of RoleBoundary, got NoneType"),
        (lambda: ChatFormat([ASSISTANT, RoleBoundary("user", [5, 6])]), ChatFormatError, "opens both 'assistant' and 'user'"),
        (lambda: ChatFormat([ASSISTANT], ignore_ids=["a"]), TypeError, "ignore_ids: expected a token id, got str 'a'"),
        (lambda: ChatFormat([ASSISTANT], ignore_ids="ab"), TypeError, "ignore_ids: expected token ids, got str 'ab'"),
        (lambda: ChatFormat([ASSISTANT], stop_token_ids=[2**63]), ValueError, "stop_token_ids: id 9223372036854775808"),
        (lambda: ChatFormat([ASSISTANT], generation_prefills=[[]]), ValueError, "generation_prefills: an empty marker"),
        (lambda: ChatFormat([ASSISTANT], uncovered="tool calls"), TypeError, "uncovered: expected a sequence of strings"),
        (lambda: ChatFormat([ASSISTANT], uncovered=[7]), TypeError, "uncovered: expected a sequence of strings"),
        (lambda: ChatFormat([ASSISTANT], [7]), TypeError, "positional"),
        (lambda: RoleBoundary("", [5]), ValueError, "role: expected a non-empty string"),
        (lambda: RoleBoundary("assistant", []), ValueError, "start of role 'assistant': no marker given"),
        (lambda: RoleBoundary("assistant", [[5], []]), ValueError, "start of role 'assistant': an empty marker"),
        (lambda: RoleBoundary("assistant", "A:"), TypeError, "for text use ChatFormat.from_strings"),
        (lambda: RoleBoundary("assistant", ["A:"]), TypeError, "start of role 'assistant': expected token ids, got str 'A:'"),
        (lambda: RoleBoundary("assistant", [5, [6]]), TypeError, "got a mixture of both"),
        (lambda: RoleBoundary("assistant", [5], [2.5]), TypeError, "end of role 'assistant': expected a token id, got float 2.5"),
        (lambda: RoleBoundary("assistant", [5], include_end=1), ValueError, "include_end: expected True or False"),
        (lambda: RoleBoundary("assistant", [5], [2], True), TypeError, "positional"),
    ],
)
def test_what_a_format_refuses(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_markers_are_one_sequence_or_several_alternatives():
    assert RoleBoundary("a", [5, 6]).start == ((5, 6),)
    assert RoleBoundary("a", [[5, 6], (5,), [5, 6]]).start == ((5, 6), (5,))
    assert RoleBoundary("a", (token for token in (5, -6))).start == ((5, -6),)
    assert RoleBoundary("a", np.array([5, 6]), torch.tensor([[2], [3]])).end == ((2,), (3,))
    assert ChatFormat((boundary for boundary in [ASSISTANT]), generation_prefills=[8, 9]).generation_prefills == ((8, 9),)


def test_uncovered_is_printed_compared_and_pickled():
    assert str(FORMAT).endswith("  trained after a turn: [3]\n  not covered: tool calls, reasoning")
    assert "uncovered=('tool calls', 'reasoning')" in repr(FORMAT)
    other = replace(FORMAT, uncovered=())
    assert other != FORMAT
    assert hash(FORMAT) != hash(other)
    assert pickle.loads(pickle.dumps(FORMAT)) == FORMAT
    assert eval(repr(FORMAT)) == FORMAT


def test_formats_are_frozen_and_pickles_leave_out_what_is_compiled():
    assert FORMAT._compiled is FORMAT._compiled
    assert set(pickle.loads(pickle.dumps(FORMAT)).__dict__) == {
        "boundaries", "ignore_ids", "stop_token_ids", "anchor_ids", "generation_prefills", "reasoning", "empty_reasoning",
        "uncovered", "texts",
    }  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        FORMAT.uncovered = ()


CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function"}]}
QUESTION, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def test_uncovered_kind_is_the_first_entry_that_occurs():
    assert FORMAT.uncovered_kind([{**CALL, "reasoning": "Hm."}]) == "tool calls"
    assert FORMAT.uncovered_kind([{**ANSWER, "reasoning": "Hm."}]) == "reasoning"
    assert FORMAT.uncovered_kind([QUESTION, ANSWER]) is None
    assert ChatFormat([ASSISTANT]).uncovered_kind([CALL]) is None
    assert ChatFormat([ASSISTANT], uncovered=["rhymes"]).uncovered_kind([CALL]) is None


def test_chat_has_no_circle_of_imports_and_no_import_in_a_function():
    root = Path(spanmask.chat.__file__).parent
    arrows = {}
    for path in root.rglob("*.py"):
        module = ".".join(("spanmask", "chat", *path.relative_to(root).with_suffix("").parts))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for_types = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
        tree.body = [node for node in tree.body if node not in for_types]
        imports = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
        assert all(node in tree.body for node in imports), module
        arrows[module] = {node.module for node in imports if isinstance(node, ast.ImportFrom)}
    left = dict(arrows)
    while ready := [module for module, targets in left.items() if not targets & left.keys()]:
        left = {module: targets for module, targets in left.items() if module not in ready}
    assert not left
    above = ("__init__", "chat.format", "chat.encoded", "chat.roles")  # the last two search with a format
    below = {module for module in arrows if not module.endswith(above)}
    assert all("spanmask.chat.format" not in arrows[module] for module in below)
