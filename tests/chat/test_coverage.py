"""The kinds of conversations that a format may not cover: messages show which they are."""

import pytest
from spanmask.chat.coverage import kinds_in

QUESTION = {"role": "user", "content": "Is it open?"}
ANSWER = {"role": "assistant", "content": "Yes."}
CALL = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "look"}}]}
RESULT = {"role": "tool", "content": "open"}
SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize(
    ("messages", "kinds"),
    [
        ([], set()),
        ([QUESTION, ANSWER], set()),
        ([SYSTEM, QUESTION, ANSWER], {"system messages"}),
        ([{**SYSTEM, "role": "developer"}, QUESTION, ANSWER], {"developer messages"}),
        ([QUESTION, CALL], {"tool calls"}),
        ([QUESTION, {**CALL, "tool_calls": []}], set()),
        ([QUESTION, {**CALL, "tool_calls": None, "content": None}], set()),
        ([QUESTION, CALL, RESULT, RESULT, ANSWER], {"tool calls"}),
        ([QUESTION, {**CALL, "tool_calls": CALL["tool_calls"] * 2}], {"tool calls", "parallel tool calls"}),
        ([QUESTION, CALL, RESULT, CALL, RESULT, ANSWER], {"tool calls"}),
        ([QUESTION, CALL, RESULT, ANSWER, QUESTION, CALL], {"tool calls", "tool calls in several rounds"}),
        ([QUESTION, ANSWER, RESULT], {"tool calls", "tool results without a call"}),
        ([QUESTION, {**CALL, "content": None}], {"tool calls"}),
        ([QUESTION, {**CALL, "content": " \n"}], {"tool calls"}),
        ([QUESTION, {**CALL, "content": "Let me look."}], {"tool calls", "text before tool calls"}),
        ([QUESTION, {**CALL, "content": [{"type": "text", "text": "Let me look."}]}], {"tool calls", "text before tool calls"}),
        ([QUESTION, {**CALL, "content": [{"type": "text", "text": ""}]}], {"tool calls"}),
        ([QUESTION, {"role": "assistant", "function_call": {"name": "look"}}], {"tool calls"}),
        ([QUESTION, {**CALL, "reasoning": "Hm."}], {"reasoning", "tool calls", "reasoning with tool calls"}),
        ([QUESTION, {**ANSWER, "reasoning_content": "Hm."}], {"reasoning"}),
        ([QUESTION, {**ANSWER, "thinking": "Hm."}], {"reasoning"}),
        ([QUESTION, {**ANSWER, "reasoning_content": None, "reasoning": ""}], set()),
        ([QUESTION, {**ANSWER, "content": [{"type": "thinking", "thinking": "Hm."}]}], {"reasoning"}),
        ([{**QUESTION, "reasoning_content": "Hm."}], set()),
        ([QUESTION, ANSWER, ANSWER], {"two assistant messages in a row"}),
        ([QUESTION, QUESTION, ANSWER], {"two user messages in a row"}),
        ([QUESTION, ANSWER, SYSTEM, QUESTION], {"system messages", "system messages after the first message"}),
        ([SYSTEM, ANSWER], {"system messages", "an assistant message after a system message"}),
        ([ANSWER, QUESTION], {"an assistant message first"}),
        ([QUESTION, {"role": "observation", "content": "open"}, ANSWER], {"observation messages"}),
        ([QUESTION, {"role": "critic", "content": "Hm."}, ANSWER], {"other roles"}),
        ([{"from": "human", "value": "Is it open?"}], {"other roles"}),
    ],
)
def test_kinds_in_messages(messages, kinds):
    assert kinds_in(messages) == kinds


def test_declared_tools_are_a_kind():
    assert kinds_in([QUESTION], tools=[{"type": "function", "function": {"name": "look"}}]) == {"declared tools"}
    assert kinds_in([QUESTION], tools=[]) == set()
