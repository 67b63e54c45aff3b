"""The files of a report: which are written, and which are kept."""

import json

import pytest

from tunesmith.evals.comparison import compare_all
from tunesmith.evals.files import write_report


@pytest.fixture
def write(tmp_path, changed_report):
    """`write(**counts)` writes the report of a comparison, or with one variant of one model, to report.json."""

    def call(variants=("base", "tuned"), **counts):
        report = changed_report(variants=variants, **counts)
        return write_report(report, compare_all(report), tmp_path / "report.json", "A title")

    return call


def test_an_earlier_comparison_is_kept_under_another_name(tmp_path, write, capsys):
    first = write(fixed=3)
    assert [path.name for path in first] == ["report.json", "report.md", "report.html"]
    texts = [path.read_text() for path in first]
    write(broken=2)
    kept = [tmp_path / f"report-1{path.suffix}" for path in first]
    assert [path.read_text() for path in kept] == texts
    assert json.loads(first[0].read_text())["comparisons"][0]["broken"] == 2
    assert "the earlier comparison is kept: " + ", ".join(map(str, kept)) in capsys.readouterr().err
    write(good=2)
    assert json.loads((tmp_path / "report-2.json").read_text())["comparisons"][0]["broken"] == 2


def test_a_report_of_one_model_is_replaced(tmp_path, make_report, capsys):
    report = make_report([{"tuned": ("yes", [])}])
    for _ in range(2):
        write_report(report, [], tmp_path / "report.json", "A title")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
    assert "kept" not in capsys.readouterr().err
