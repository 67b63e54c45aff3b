"""The report counts what it was given, and says so in a table, in words, and as data."""

import json

from tunesmith.evals.assertions import Verdict

from tunesmith.evals.report import Answer, Judged, Report, side_by_side, table


def report():
    fails = Verdict("test_json", False, "not JSON")
    losses = {"loss": 1.0, "perplexity": 2.718, "tokens": 10}
    return Report(
        losses={"base": losses, "tuned": losses | {"loss": 0.25}},
        assertions=["test_json", "test_short"],
        rows=[
            Judged("a.jsonl", 1, "one?", "1", {"base": Answer("uno", False, [fails]), "tuned": Answer("1", True, [])}),
            Judged("a.jsonl", 2, "two?", "2", {"base": Answer("due", False, [fails]), "tuned": Answer("3", False, [])}),
        ],
    )


def test_the_table_has_a_column_for_each_voice_and_a_line_for_each_rule_that_failed():
    assert table(report()).splitlines() == [
        "                             base     tuned",
        "held-out loss              1.0000    0.2500",
        "perplexity                  2.718     2.718",
        "pass all assertions, of 2  0 (0%)  2 (100%)",
        "exact match, of 2          0 (0%)   1 (50%)",
        "  fail test_json                2         0",
    ]


def test_side_by_side_shows_each_answer_with_its_verdict():
    text = side_by_side(report(), 1)
    assert text.splitlines() == [
        "a.jsonl:1",
        "  question   one?",
        "  reference  1",
        "  base       uno",
        "             ^ fails: not JSON",
        "  tuned      1",
        "             ^ exact",
    ]


def test_the_data_holds_the_summary_and_every_answer_with_its_reasons():
    data = json.loads(json.dumps(report().as_dict()))
    assert data["summary"]["base"] == {
        "loss": 1.0,
        "perplexity": 2.718,
        "tokens": 10,
        "rows": 2,
        "exact_match": 0,
        "passed": 0,
        "failures": {"test_json": 2, "test_short": 0},
    }
    assert data["rows"][0]["answers"]["base"] == {"text": "uno", "exact": False, "failed": {"test_json": "not JSON"}}


def test_without_assertions_nothing_is_called_passed():
    plain = Report(losses=report().losses, rows=[])
    assert "assertions" not in table(plain)
    assert "passed" not in plain.as_dict()["summary"]["base"]
