"""Rows without a type: their columns decide."""

import pytest

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.detect import detected, known_columns, with_types
from tunesmith.errors import ConfigError
from tunesmith.sections import Dataset


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        (("messages", "tools"), "chat_template"),
        (("prompt", "completion"), "prompt_completion"),
        (("prompt", "completions", "labels"), "stepwise_supervised"),
        (("input_ids", "labels", "attention_mask"), "pretokenized"),
        (("instruction", "input", "output"), "alpaca"),
        (("system", "instruction", "output"), "alpaca_w_system"),
        (("instruction", "response"), "gpteacher"),
        (("context", "question", "answer"), "context_qa.load_v2"),
        (("article", "question", "answer"), "context_qa"),
        (("system_prompt", "question", "response"), "alpaca_w_system.load_open_orca"),
        (("article", "summary"), "summarizetldr"),
        (("segments",), "input_output"),
        (("text", "id"), "completion"),
    ],
)
def test_columns_decide(columns, kind):
    assert detected(dict.fromkeys(columns, "x"))["type"] == kind


def test_columns_of_other_names_are_named():
    assert detected({"instruction": "a", "context": "", "response": "b"}) == {
        "type": "alpaca",
        "field_input": "context",
        "field_output": "response",
    }
    assert detected({"question": "a", "answer": "b"})["field_instruction"] == "question"


def test_sharegpt_rows_are_read_with_the_chat_template():
    found = {
        "type": "chat_template",
        "field_messages": "conversations",
        "message_property_mappings": {"role": "from", "content": "value"},
    }
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    assert detected(row) == found
    assert detected(row, {"field_messages"}) == {key: found[key] for key in found if key != "field_messages"}
    assert "message_property_mappings" not in detected({"messages": [{"role": "user", "content": "a"}]})


def test_a_column_without_a_value_does_not_count():
    assert detected({"instruction": "a", "output": "b", "system": None})["type"] == "alpaca"


def test_each_choice_is_a_type():
    assert {name for _, name in known_columns()} <= set(FORMATS)
    assert all(set(columns.keys) <= set(Dataset.model_fields) for columns, _ in known_columns())
    same = {(columns.order, frozenset(columns.names)) for columns, _ in known_columns()}
    assert len(same) == len(known_columns())


@pytest.mark.parametrize(
    ("row", "cure"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c"}, "chosen, rejected hold preference data: set `rl: dpo`"),
        ({"prompt": "a", "completion": "b", "label": True}, "set `rl: kto`, or `type: prompt_completion`"),
        ({"prompt": "a"}, "the columns do not tell it: found prompt; known are"),
    ],
)
def test_columns_that_do_not_decide_say_what_to_set(row, cure):
    with pytest.raises(ConfigError, match=cure):
        detected(row)


def test_the_choice_is_printed_and_the_users_own_keys_stand(tmp_path, write_jsonl, capsys):
    file = write_jsonl(tmp_path / "rows.jsonl", [{"question": "a", "answer": "b"}])
    (dataset,) = with_types([Dataset(path=str(file), field_output="answer")], "config.yml")
    assert (dataset.type, dataset.field_instruction, dataset.field_output) == ("alpaca", "question", "answer")
    shown = capsys.readouterr()
    assert "its columns question, answer are read as type: alpaca, field_instruction: question" in shown.err + shown.out
