"""Whether a text shows what a row says."""

import pytest

from tunesmith.data.shown import hidden_tools, leaves, require_tools_shown, says, stands
from tunesmith.errors import DataError

CALL = {
    "type": "function",
    "function": {"name": "find", "arguments": {"city": 'Köln "Mitte"', "size": 12, "near": [True, {"river": "Rhein"}]}},
}
TOOL = {
    "type": "function",
    "function": {"name": "find", "parameters": {"type": "object", "properties": {"city": {}, "size": {}}}},
}
JSON_STYLE = 'find {"city": "Köln \\"Mitte\\"", "size": 12, "near": [true, {"river": "Rhein"}]}'
ESCAPED = 'find {"city":"K\\u00f6ln \\"Mitte\\"","size":12,"near":[true,{"river":"Rhein"}]}'
XML = '<find><city>Köln "Mitte"</city><size>12</size><near>True <river>Rhein</river></near></find>'
PYTHON = "find(city='Köln \"Mitte\"', size=12, near=[True, {'river': 'Rhein'}])"


@pytest.mark.parametrize("text", [JSON_STYLE, ESCAPED, XML, PYTHON])
def test_a_call_is_shown_in_any_style(text):
    assert list(hidden_tools([{"role": "assistant", "tool_calls": [CALL]}], None, [text])) == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ('{"city": "Köln \\"Mitte\\"", "size": 12, "near": [true, {"river": "Rhein"}]}', "'find'"),
        (JSON_STYLE.replace("Rhein", ""), "'Rhein'"),
        (JSON_STYLE.replace("12", ""), "'12'"),
        (JSON_STYLE.replace("near", ""), "'near'"),
    ],
)
def test_a_part_of_a_call_that_is_left_out_is_named(text, missing):
    with pytest.raises(DataError, match=rf"leaves out {missing} of the call of find in message 1; choose another"):
        require_tools_shown([{"role": "assistant", "tool_calls": [CALL]}], None, [text])


def test_tools_are_shown_with_their_parameters():
    assert list(hidden_tools([], [TOOL], ["find(city, size)"])) == []
    assert list(hidden_tools([], [TOOL], ["find(city)"])) == ["'size' of the tool find"]


def test_a_content_is_shown_but_for_space_escapes_reasoning_and_the_form_of_json():
    assert says(" a\nb ", ["x a  b y"])
    assert says("<think>so</think>yes", ["yes"])
    assert says('{"a": "b", "c": 1}', ["<a>b</a><c>1</c>"])
    assert not says('{"a": "b", "c": 1}', ["<a>b</a>"])
    assert not says("no", ["yes"])
    assert stands('say "hi"', ['{"text": "say \\"hi\\""}'])


def test_leaves_are_the_values_inside():
    assert list(leaves({"a": [1, {"b": "x"}], "c": None})) == [1, "x", None]
