"""Optional values that are empty count as absent when messages and tools are read."""

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
