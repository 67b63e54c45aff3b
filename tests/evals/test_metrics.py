"""Metrics by name, as regular expressions, and as functions of the user; and what is no metric."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError
from tunesmith.evals.metrics import load_metrics


def measure(name, answer, reference="", row=None, source="config.yml"):
    metrics = {metric.name: metric.measure for metric in load_metrics([name], source)}
    return metrics[name](row or {}, answer, reference)


@pytest.mark.parametrize(
    ("name", "answer", "reference", "expected"),
    [
        ("exact", " yes\n", "yes", True),
        ("exact", "Yes", "yes", False),
        ("json", '{"a": [1]}', "", True),
        ("json", '{"a": 1} ', "", True),
        ("json", "It is {}", "", False),
        ("json", "[" * 100_000, "", False),
        ("regex: ^It", "It is 3.", "", True),
        ("regex: ^It", "3. It", "", False),
        ("regex: a.b", "a\nb", "", True),
        ("similarity", "one two three", "one two three", 1.0),
        ("similarity", "one two", "three four", 0.0),
        ("similarity", "It is 3.", "It is 4.", 0.75),
        ("chrf", "same text", "same text", 1.0),
    ],
)
def test_a_metric_measures_what_its_name_says(name, answer, reference, expected):
    assert measure(name, answer, reference) == pytest.approx(expected)


def test_exact_is_always_measured_and_nothing_twice():
    assert [metric.name for metric in load_metrics(["json", "exact", "json"], "")] == ["exact", "json"]


def test_a_function_takes_what_it_names(tmp_path):
    (tmp_path / "own.py").write_text(
        "def columns(answer, columns, least=1):\n"
        "    return len([c for c in columns if c in answer]) / max(least, len(columns))\n"
        "def broken(answer):\n    return answer['x']\n"
        "def worded(answer):\n    return 'good'\n"
        "def odd(anwser):\n    return 1\n"
    )
    source = str(tmp_path / "config.yml")
    assert measure("own.py:columns", "a c", row={"columns": ["a", "b"]}, source=source) == 0.5
    for name, message in (
        ("own.py:broken", r"`own.py:broken` failed \(own.py:4\): TypeError"),
        ("own.py:worded", "returned 'good'; expected True, False or a number"),
        ("own.py:odd", "takes `anwser`; available are row, answer, reference"),
        ("own.py:colums", "has no `colums`; did you mean `columns`"),
    ):
        with pytest.raises(ConfigError, match=message):
            measure(name, "a", source=source)


def test_a_list_in_yaml_may_have_a_pattern_without_quotes(tmp_path, write_config):
    names = ["json", {"regex": "^a"}, "regex: b$", "own.py:f"]
    config = load(str(write_config(tmp_path, evaluation={"metrics": names})))
    assert config.evaluation.evaluation.metrics == ["json", "regex: ^a", "regex: b$", "own.py:f"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("similarty", "has `similarty`; known are exact, json, similarity, chrf, `regex: PATTERN` and "),
        ("similarty", "did you mean `similarity`?"),
        ("regex: (", "has `regex: (`, which is not a regular expression: missing )"),
        ({"rouge": 1}, "has `{'rouge': 1}`; known are exact"),
    ],
)
def test_what_is_no_metric_is_named(tmp_path, write_config, name, message):
    with pytest.raises(ConfigError) as error:
        load(str(write_config(tmp_path, evaluation={"metrics": [name]})))
    assert message in str(error.value)
