"""Two models on the same rows: what is counted, and that noise is called neither better nor worse."""

import json

import numpy as np
import pytest

from tunesmith.evals.comparison import compare, compare_all
from tunesmith.evals.text import format_counts


def test_rows_are_fixed_broken_or_unchanged(changed_report):
    report = changed_report(fixed=3, broken=2, good=4, bad=1)
    found = compare(report, "base", "tuned")
    assert (found.fixed, found.broken, found.good, found.bad, found.rows) == ([0, 1, 2], [3, 4], 4, 1, 10)
    assert found.difference.value == pytest.approx(0.1)
    assert found.p == 1
    assert format_counts(found, report.criterion).splitlines()[:3] == [
        "base -> tuned, 10 rows (pass all assertions):",
        "  fixed  3   unchanged, good  4",
        "  broken 2   unchanged, bad   1",
    ]
    assert json.loads(json.dumps(found.as_dict()))["broken_rows"] == [3, 4]


@pytest.mark.parametrize(
    ("fixed", "broken", "verdict"),
    [(6, 0, "better"), (0, 6, "worse"), (5, 0, "cannot tell"), (12, 8, "cannot tell"), (0, 0, "cannot tell")],
)
def test_only_what_is_significant_is_better_or_worse(changed_report, fixed, broken, verdict):
    found = compare(changed_report(fixed, broken, 20, 20), "base", "tuned")
    assert found.verdict == verdict
    assert found.sentence().startswith(verdict)


def test_a_sentence_that_cannot_tell_says_what_could(changed_report):
    text = compare(changed_report(12, 8, 40, 40), "base", "tuned").sentence()
    assert text.startswith("cannot tell from 100 rows: tuned against base, +4.0 points, 95% interval -4.8 to +12.7, p")
    assert "So many rows show a difference of 12 points or more; one of 4.0 needs about 980 rows" in text
    same = compare(changed_report(0, 0, 5, 5), "base", "tuned").sentence()
    assert same.endswith("or more")


def test_noise_is_called_a_change_at_most_once_in_twenty(make_report):
    """Two models of the same quality, 400 times."""
    random, called = np.random.default_rng(5), 0
    kinds = [("yes", []), ("no", ["test_json"])]
    for _ in range(400):
        draws = random.integers(2, size=(40, 2))
        report = make_report([{"base": kinds[one], "tuned": kinds[other]} for one, other in draws])
        called += compare(report, "base", "tuned").verdict != "cannot tell"
    assert called / 400 <= 0.05


def test_worst_rows_come_first(make_report):
    """Those that fail most assertions, then those least like the row's own answer."""
    answers = [("yes no", ["test_json"]), ("no", ["test_json"]), ("yes", ["test_json", "test_short"])]
    report = make_report([{"base": ("yes", []), "tuned": answer} for answer in answers])
    assert compare(report, "base", "tuned").broken == [2, 1, 0]


def test_the_last_voice_is_compared_with_each_other_one(make_report):
    good = ("yes", [])
    report = make_report([{"baseline": good, "base": good, "tuned": good}])
    assert [(item.before, item.after) for item in compare_all(report)] == [("baseline", "tuned"), ("base", "tuned")]
    assert compare_all(make_report([{"tuned": good}])) == []
    assert compare_all(make_report([])) == []
