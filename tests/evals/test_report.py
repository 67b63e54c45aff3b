"""The report counts what it was given, and says so in a table, in words, in Markdown, and as data."""

import json
from dataclasses import replace

from tunesmith.evals.comparison import compare_all
from tunesmith.evals.statistics import wilson
from tunesmith.evals.text import format_summary, format_worst_rows, render_markdown

NO_JSON = ["test_json"]


def two_rows(make_report):
    report = make_report(
        [{"base": ("uno", NO_JSON), "tuned": ("yes", [])}, {"base": ("due", NO_JSON), "tuned": ("3", [])}]
    )
    report.losses["tuned"]["loss"] = 0.25
    return report


def test_the_table_has_a_column_for_each_voice_and_a_line_for_each_assertion_that_somebody_fails(make_report):
    assert format_summary(two_rows(make_report)).splitlines() == [
        "                                   base             tuned",
        "eval loss                        1.0000            0.2500",
        "perplexity                        2.718             2.718",
        "pass all assertions, of 2  0 (0%, 0-66)  2 (100%, 34-100)",
        "  test_json                0 (0%, 0-66)  2 (100%, 34-100)",
        "exact match, of 2          0 (0%, 0-66)     1 (50%, 9-91)",
    ]


def test_a_metric_with_numbers_has_its_mean(make_report):
    report = make_report([{"tuned": ("yes", [])}] * 2, assertions=(), metrics=("exact", "length"))
    for value, row in zip((3, 5), report.rows, strict=True):
        row.answers["tuned"].scores["length"] = float(value)
    assert format_summary(report).splitlines()[-1].split() == ["length,", "mean", "4", "(3-5)"]


def test_the_worst_rows_of_one_model_are_those_that_fail_most(make_report):
    answers = [("yes", []), ("no", ["test_json"]), ("what", ["test_json", "test_short"])]
    report = make_report([{"tuned": answer} for answer in answers])
    assert format_worst_rows(report, [], 1).splitlines() == [
        "a.jsonl:3",
        "  question   question 3?",
        "  reference  yes",
        "  tuned      what",
        "             ^ fails: test_json says no",
    ]


def test_a_heading_at_the_end_is_not_what_is_asked(make_report):
    report = make_report([{"tuned": ("no", ["test_json"])}])
    report.rows[0] = replace(report.rows[0], question="### Instruction:\nWhat is 2 plus 3?\n\n### Response:\n")
    assert "  question   What is 2 plus 3?" in format_worst_rows(report, [], 1).splitlines()


def test_of_two_models_broken_rows_come_first_with_both_answers(changed_report):
    report = changed_report(fixed=3, broken=1)
    lines = format_worst_rows(report, compare_all(report), 2).splitlines()
    assert lines[0] == "broken by tuned: 1 rows"
    assert lines[2:9] == [
        "a.jsonl:4",
        "  question   question 4?",
        "  reference  yes",
        "  base       yes",
        "             ^ exact",
        "  tuned      no",
        "             ^ fails: test_json says no",
    ]
    assert lines[10] == "fixed by tuned: 3 rows, the first 2"


def test_the_data_holds_the_summary_and_every_answer_with_its_reasons(make_report):
    data = json.loads(json.dumps(two_rows(make_report).as_dict()))
    base = data["summary"]["base"]
    assert {key: base[key] for key in ("loss", "tokens", "rows", "exact_match", "passed", "failures")} == {
        "loss": 1.0,
        "tokens": 10,
        "rows": 2,
        "exact_match": 0,
        "passed": 0,
        "failures": {"test_json": 2, "test_short": 0},
    }
    assert base["pass_rate"] == wilson(0, 2)._asdict()
    assert base["assertions"]["test_short"] == wilson(2, 2)._asdict()
    assert base["metrics"] == {"exact": wilson(0, 2)._asdict()}
    assert data["rows"][0]["answers"]["base"] == {
        "text": "uno",
        "exact": False,
        "scores": {"exact": False},
        "failed": {"test_json": "test_json says no"},
    }


def test_without_assertions_nothing_is_called_passed(make_report):
    plain = make_report([], assertions=())
    assert "assertions" not in format_summary(plain)
    assert "passed" not in plain.as_dict()["summary"]["base"]


def test_without_assertions_the_rows_own_answer_is_what_is_good(make_report):
    report = make_report([{"base": ("no", []), "tuned": ("yes", [])}], assertions=())
    assert report.criterion == "exact match"
    assert (report.passes("base"), report.passes("tuned")) == ([False], [True])


def test_markdown_holds_every_row_that_changed_or_fails_and_no_answer_breaks_out(changed_report):
    report = changed_report(fixed=2, broken=1, good=1, bad=1)
    report.rows[0].answers["base"] = report.rows[0].answers["base"].__class__("```\n# x | y", {"exact": False}, [])
    text = render_markdown(report, compare_all(report), "Evaluation")
    assert "### Broken: 1 rows\n\n**a.jsonl:3**" in text
    assert "### Fixed: 1 rows" in text  # the changed answer of the first row is good now
    assert "## Other rows that fail with tuned: 1\n\n**a.jsonl:5**" in text
    assert not [line for line in text.splitlines() if line.startswith("```")]
    assert "| pass all assertions, of 5 |" in text
