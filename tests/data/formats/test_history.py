"""Rows of an instruction with earlier turns."""

import pytest

import tunesmith
from tunesmith.data.formats.detect import detected
from tunesmith.errors import DataError

ROW = {
    "instruction": "And its population?",
    "input": "In 2020.",
    "output": "Two million.",
    "system": "Be exact.",
    "history": [["Capital of France?", "Paris."]],
}
TURNS = [
    {"role": "system", "content": "Be exact."},
    {"role": "user", "content": "Capital of France?"},
    {"role": "assistant", "content": "Paris."},
    {"role": "user", "content": "And its population?\nIn 2020."},
    {"role": "assistant", "content": "Two million."},
]


@pytest.fixture
def encode(tokenizer):
    def call(row, **dataset):
        (sample,) = tunesmith.encode(row, dataset=dataset, tokenizer=tokenizer)
        return sample.input_ids, sample.labels

    return call


@pytest.mark.parametrize("column", ["history", "chat_history", "conversation_history"])
@pytest.mark.parametrize("history", [ROW["history"], TURNS[1:3]])
def test_earlier_turns_are_those_of_a_conversation(encode, column, history):
    row = {key: value for key, value in ROW.items() if key != "history"} | {column: history}
    assert encode(row) == encode({"messages": TURNS}, type="chat_template")


@pytest.mark.parametrize("history", [None, [], ""])
def test_an_empty_history_is_none(encode, history):
    row = ROW | {"history": history}
    assert encode(row, type="chat_template.instruction") == encode(
        {"messages": [TURNS[0], *TURNS[3:]]}, type="chat_template"
    )
    assert detected(row)["type"] == "alpaca_w_system"


def test_other_columns_are_named_by_the_usual_keys(encode):
    row = {"query": "Why?", "response": "So.", "history": [["a", "b"]]}
    assert detected(row) == {
        "type": "chat_template.instruction",
        "field_instruction": "query",
        "field_output": "response",
    }
    turns = [*zip(("user", "assistant") * 2, ("a", "b", "Why?", "So."), strict=True)]
    assert encode(row) == encode(
        {"messages": [{"role": role, "content": text} for role, text in turns]}, type="chat_template"
    )


@pytest.mark.parametrize("history", ["3", [["a"]], [["a", None]], [["a", "b", "c"]], [{"q": "a"}]])
def test_a_history_of_another_form_is_an_error(encode, history):
    with pytest.raises(DataError, match="column history should hold pairs of a question and its answer, or messages"):
        encode(ROW | {"history": history}, type="chat_template.instruction")


def test_a_blank_answer_is_an_error(encode):
    with pytest.raises(DataError, match="column output is blank"):
        encode(ROW | {"output": " "}, type="chat_template.instruction")


def test_a_history_in_words_is_an_error(encode):
    with pytest.raises(DataError, match="column history should be JSON"):
        encode(ROW | {"history": "before"}, type="chat_template.instruction")
