"""A new dataset type is one record and one line of `FORMATS`: all that others ask about it is read off the record."""

import pytest

import tunesmith
from tunesmith.config.load import load
from tunesmith.data.formats import FORMATS, detect
from tunesmith.data.formats.format import Columns, Format, FormatSpec
from tunesmith.data.messages import Conversation, text_message
from tunesmith.data.question import conversation_prompt, question, reference_answer
from tunesmith.data.types import Rendered, Segment
from tunesmith.errors import ConfigError
from tunesmith.sections import Dataset

ROW = {"riddle": "What has keys but no locks?", "solution": "A piano."}


def read_riddle(values, spec):
    return Conversation((text_message("user", values["riddle"]), text_message("assistant", values["solution"])))


def render_riddle(conversation, spec):
    segments = [Segment(f"Riddle: {conversation.messages[0].content}\nSolution: ", spec.train_on_inputs)]
    return [Rendered((*segments, Segment(conversation.messages[1].content, True, eos_count=1)), bos="own")]


RIDDLE = Format(
    "riddle",
    read_riddle,
    render_riddle,
    columns=(Columns(99, ("riddle", "solution")),),
    keys=frozenset({"field_instruction"}),
)


@pytest.fixture(autouse=True)
def toy_format(monkeypatch):
    monkeypatch.setitem(FORMATS, "riddle", RIDDLE)


@pytest.fixture
def spec(tokenizer):
    return FormatSpec(Dataset(path="x", type="riddle"), tokenizer=tokenizer)


def test_its_rows_become_tokens_and_labels(tokenizer):
    (example,) = tunesmith.encode(ROW, dataset={"type": "riddle"}, tokenizer=tokenizer)
    trained = [label for label in example.labels if label >= 0]
    assert tokenizer.decode(trained) == f"A piano.{tokenizer.eos_token}"


def test_its_columns_tell_it(tokenizer):
    (example,) = tunesmith.encode(ROW, tokenizer=tokenizer)
    assert example.text.startswith("Riddle: What has keys")
    assert detect.detected(ROW)["type"] == "riddle"


def test_inference_gets_its_prompt_and_its_reference_answer(spec, tokenizer):
    (example,) = tunesmith.encode(ROW, dataset={"type": "riddle"}, tokenizer=tokenizer)
    asked = question(ROW, spec, tokenizer)
    count = len(asked.input_ids)
    assert example.input_ids[:count] == asked.input_ids
    assert set(example.labels[:count]) == {-100}
    assert example.labels[count] == example.input_ids[count]
    assert asked.reference == reference_answer(ROW, spec) == "A piano."
    typed = [{"role": "user", "content": ROW["riddle"]}]
    assert conversation_prompt(typed, spec, tokenizer) == asked.input_ids


def test_its_keys_are_read_and_others_are_noted_as_ignored(tmp_path, write_config):
    from tunesmith.config.idle import idle_keys

    entry = {"path": "rows.jsonl", "type": "riddle", "field_instruction": "riddle", "field_output": "solution"}
    (note,) = idle_keys(load(str(write_config(tmp_path, datasets=[entry]))))
    assert "`datasets.0.field_output`: ignored: `type: riddle` does not read it" in note
    assert "field_instruction" not in note


def test_the_error_of_an_unknown_type_lists_it(tmp_path, write_config):
    with pytest.raises(ConfigError, match=r"riddle, and no path.*did you mean `riddle`"):
        load(str(write_config(tmp_path, datasets=[{"path": "rows.jsonl", "type": "ridle"}])))
