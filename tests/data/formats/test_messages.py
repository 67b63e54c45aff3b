"""Optional values that are empty count as absent when messages and tools are read."""

import json

import pytest

from tunesmith.data.formats.messages import read_messages, read_tools
from tunesmith.errors import DataError
from tunesmith.sections import Dataset

DATASET = Dataset(path="rows.jsonl", type="chat_template")


@pytest.mark.parametrize("tools", [None, "", " ", [], "[]", "null"])
def test_empty_tools_are_none(tools):
    assert read_tools({"tools": tools}, DATASET) is None


def test_tools_of_another_kind_stay_an_error():
    with pytest.raises(DataError, match="column tools should hold a list of tools; found dict"):
        read_tools({"tools": {"name": "look"}}, DATASET)


@pytest.mark.parametrize("column", ["tools", "functions"])
@pytest.mark.parametrize("tool", [3, ["weigh"], None])
def test_a_tool_that_is_no_schema_is_an_error(column, tool):
    with pytest.raises(DataError, match=f"column {column} should hold a list of schemas, each a mapping"):
        read_tools({column: [tool]}, DATASET)


@pytest.mark.parametrize("empty", [None, "", []])
def test_an_empty_key_of_a_message_is_absent_but_its_content_stays(empty):
    answer = {"role": "assistant", "content": "Yes."}
    extra = dict.fromkeys(("tool_calls", "reasoning_content", "name"), empty)
    expected = read_messages({"messages": [answer]}, DATASET)
    assert read_messages({"messages": [answer | extra]}, DATASET) == expected
    (message,) = read_messages({"messages": [answer | {"content": ""}]}, DATASET)
    assert message.to_wire("reasoning_content") == {"role": "assistant", "content": ""}


def test_calls_may_be_the_text_of_an_empty_list():
    (message,) = read_messages({"messages": [{"role": "assistant", "content": "a", "tool_calls": "null"}]}, DATASET)
    assert not message.tool_calls


@pytest.mark.parametrize(("call", "result"), [("function_call", "observation"), ("tool_call", "tool_response")])
@pytest.mark.parametrize("arguments", [{"hive": 3}, '{"hive": 3}'])
def test_a_call_may_be_a_message_of_its_own_role(call, result, arguments):
    function = {"name": "weigh", "arguments": arguments}
    for content in (json.dumps(function), json.dumps([function])):
        turns = [("human", "Weigh."), (call, content), (result, "40"), ("gpt", "40 kg.")]
        messages = read_messages({"messages": [{"from": role, "value": text} for role, text in turns]}, DATASET)
        assert [message.role for message in messages] == ["user", "assistant", "tool", "assistant"]
        assert messages[1].content == ""
        expected = [{"type": "function", "function": {"name": "weigh", "arguments": {"hive": 3}}}]
        assert messages[1].tool_calls == expected


@pytest.mark.parametrize("content", ["weigh", "3", "[]", '{"tool": "weigh"}'])
def test_a_message_of_calls_that_holds_none_is_an_error(content):
    with pytest.raises(DataError, match=r"message 1(:| \(function_call\))"):
        read_messages({"messages": [{"role": "function_call", "content": content}]}, DATASET)


@pytest.mark.parametrize("arguments", [{"a": 1}, '{"a": 1}'])
def test_a_bare_function_is_a_call(arguments):
    function = {"name": "weigh", "arguments": arguments}
    for calls in ([function], function, json.dumps([function]), [{"type": "function", "function": function}]):
        (message,) = read_messages({"messages": [{"role": "assistant", "tool_calls": calls}]}, DATASET)
        assert message.tool_calls == [{"type": "function", "function": {"name": "weigh", "arguments": {"a": 1}}}]


@pytest.mark.parametrize(
    "call", [3, {"arguments": {}}, {"name": None, "arguments": {}}, {"type": "custom", "custom": {"name": "weigh"}}]
)
def test_a_call_without_a_function_is_an_error(call):
    with pytest.raises(DataError, match="message 1: a call should hold name and arguments of a function; found"):
        read_messages({"messages": [{"role": "assistant", "tool_calls": [call]}]}, DATASET)


@pytest.mark.parametrize("role", [0.5, ["user"], {"name": "user"}, True])
def test_a_role_that_is_no_text_is_an_error(role):
    with pytest.raises(DataError, match="message 1: its role should be text; found"):
        read_messages({"messages": [{"role": role, "content": "Hi"}]}, DATASET)
