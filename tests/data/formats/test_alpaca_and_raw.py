"""Errors of rows without a chat template, and where their words point to."""

import pytest

from tunesmith.config.sections import Dataset
from tunesmith.data.formats import FORMATS, find_format
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.types import Rendered, Span
from tunesmith.errors import ConfigError, DataError


def render(row, kind="alpaca", train_on_inputs=False, **keys) -> Rendered:
    dataset = Dataset.model_validate({"path": "x", "type": kind} | keys)
    return find_format(kind, "config.yml")(row, FormatSpec(dataset, train_on_inputs))


@pytest.mark.parametrize(
    ("kind", "row", "expected"),
    [
        (
            "alpaca",
            {"instruction": "a", "response": "b"},
            "type alpaca needs column output; found instruction, response. Set field_output: response",
        ),
        ("alpaca", {"instruction": "a", "output": None}, "type alpaca needs column output; found instruction"),
        ("alpaca", {"question": "a"}, "needs column instruction; found question. Set field_instruction: question"),
        ("alpaca:chat", {}, "type alpaca:chat needs column instruction; found no columns"),
        ("alpaca", {"instruction": "a", "output": " \n"}, "column output is blank: there is nothing to train"),
        ("alpaca", {"instruction": ["a"], "output": "b"}, "column instruction should hold text, found list"),
        ("alpaca", {"instruction": "a", "input": ["x"], "output": "b"}, "column input should hold text, found list"),
        ("alpaca", {"instruction": "a", "output": {}}, "column output should hold text, found dict"),
        ("completion", {"body": "a"}, "type completion needs column text; found body. Set field: body"),
        ("completion", {"text": "  "}, "column text is blank: there is nothing to train"),
        ("input_output", {"text": "a"}, "type input_output needs column segments; found text"),
        ("input_output", {"segments": 3}, "column segments should hold a list of segments; found 3"),
        ("input_output", {"segments": []}, "no segment has `label: true`: there is nothing to train"),
        ("input_output", {"segments": [{"label": True, "text": ""}]}, "there is nothing to train"),
        ("input_output", {"segments": ["a"]}, "segment 1 needs `label: true|false` and `text`; found 'a'"),
        ("input_output", {"segments": [{"label": "x", "text": "a"}]}, "`label` should be true or false; found 'x'"),
    ],
)
def test_a_row_that_does_not_fit_says_what_to_set(kind, row, expected):
    with pytest.raises(DataError) as caught:
        render(row, kind)
    assert expected in str(caught.value)


def test_numbers_are_written_out_also_a_zero():
    prompt, answer = render({"instruction": 1, "input": 0, "output": 2.5}).spans
    assert "### Instruction:\n1\n\n### Input:\n0\n\n" in prompt.text
    assert answer == Span("2.5", True)


def test_braces_in_a_row_are_no_placeholders():
    prompt, _ = render({"instruction": "{input}", "input": "{0} {instruction}", "output": "x"}).spans
    assert "### Instruction:\n{input}\n\n### Input:\n{0} {instruction}\n\n" in prompt.text


def test_train_on_inputs_trains_segments_that_say_no():
    segments = {"segments": [{"label": False, "text": "a"}, {"label": True, "text": "b"}]}
    assert [span.train for span in render(segments, "input_output", True).spans] == [True, True]


def test_an_unknown_type_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ConfigError, match=r"`datasets\.type: alpca` is none of alpaca, .*did you mean `alpaca`\?"):
        find_format("alpca", "config.yml")


def test_a_type_can_be_a_function_of_a_file(tmp_path):
    (tmp_path / "mine.py").write_text("def poem(row, spec):\n    return [(row['a'], False), (row['b'], True)]\n")
    source = str(tmp_path / "config.yml")
    rendered = find_format("mine.py:poem", source)({"a": "x", "b": "y"}, None)
    assert rendered == Rendered((Span("x", False), Span("y", True)), bos=True, eos=True)
    with pytest.raises(ConfigError, match=r"mine\.py has no `pome`; did you mean `poem`\?"):
        find_format("mine.py:pome", source)
    with pytest.raises(ConfigError, match=r"none\.py: no such file"):
        find_format("none.py:poem", source)


def test_a_file_that_does_not_load_is_named_with_its_fault(tmp_path):
    (tmp_path / "bad.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=r"bad\.py does not load: ZeroDivisionError: division by zero"):
        find_format("bad.py:x", str(tmp_path / "config.yml"))


def test_a_type_for_each_name_in_the_table():
    assert all(find_format(name, "config.yml") is FORMATS[name] for name in FORMATS)
