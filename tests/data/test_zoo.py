"""Rows in the shapes of public datasets and reports become what zoo.yml says, by way of real files."""

import pytest
import zoo

from tunesmith.checks.doctor import run_checks
from tunesmith.errors import UserError

NAMES = [shape["name"] for shape in zoo.SHAPES]
READ = [shape for shape in zoo.SHAPES if "samples" in shape]
REFUSED = [shape for shape in zoo.SHAPES if "error" in shape]
CHECKED = [shape for shape in READ if "finds" in shape]


def by_name(shape):
    return shape["name"]


@pytest.mark.parametrize("shape", READ, ids=by_name)
def test_a_shape_becomes_its_samples(shape, tmp_path, tokenizer):
    outcome = zoo.prepare_shape(zoo.write_shape(shape, tmp_path), tokenizer)
    assert outcome.settings == shape.get("detects", {})
    assert outcome.samples == shape["samples"]
    report = outcome.report
    assert [report.tokens, report.trained] == shape["tokens"]
    assert (report.rows, report.bad, report.dropped) == (len(shape["rows"]), [], [])
    assert list(report.unread) == shape.get("unread", [])


@pytest.mark.parametrize("shape", REFUSED, ids=by_name)
def test_a_shape_that_cannot_be_read_is_refused_with_the_reason(shape, tmp_path, tokenizer):
    with pytest.raises(UserError) as error:
        zoo.prepare_shape(zoo.write_shape(shape, tmp_path), tokenizer)
    assert shape["error"] in str(error.value)


@pytest.mark.parametrize("shape", CHECKED, ids=by_name)
def test_a_shape_has_its_findings_and_no_others(shape, tmp_path, tokenizer, model_folder):
    report = run_checks(zoo.write_shape(shape, tmp_path), tokenizer, model_folder=model_folder)
    assert [item.code for item in report.findings if item.severity != "info"] == shape["finds"]


def test_the_zoo_is_large_enough_and_says_something_of_each_shape():
    assert len(set(NAMES)) == len(NAMES) >= 60
    assert len(READ) + len(REFUSED) == len(NAMES)
    assert all(sample.count("⟦") for shape in READ for sample in shape["samples"])
    assert sum(not shape["finds"] for shape in CHECKED) >= 20


def test_the_table_of_shapes_is_up_to_date():
    page = zoo.HERE.parents[1] / "docs" / "shapes.md"
    assert page.read_text(encoding="utf-8") == zoo.table(), "run `python tests/data/zoo.py`"
