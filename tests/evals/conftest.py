"""A report of two variants, made of verdicts."""

import pytest

from tunesmith.assertions import Verdict
from tunesmith.evals.report import Answer, JudgedRow, Report

LOSSES = {"loss": 1.0, "perplexity": 2.718, "tokens": 10}


def _answer(text, failed, reference):
    reasons = [Verdict(name, False, f"{name} says no") for name in failed]
    return Answer(text, {"exact": text == reference}, reasons)


@pytest.fixture(scope="session")
def make_report():
    """`make_report(rows)` makes a report; a row is {variant: (answer, failed assertions)}, its own answer is "yes"."""

    def make(rows, assertions=("test_json", "test_short"), metrics=("exact",)):
        judged = [
            JudgedRow(
                "a.jsonl",
                number,
                f"Given.\nquestion {number}?",
                "yes",
                {variant: _answer(text, failed, "yes") for variant, (text, failed) in row.items()},
            )
            for number, row in enumerate(rows, 1)
        ]
        losses = {variant: dict(LOSSES) for variant in (rows[0] if rows else ["base", "tuned"])}
        return Report(losses, judged, list(assertions), list(metrics))

    return make


GOOD, BAD = ("yes", []), ("no", ["test_json"])


@pytest.fixture(scope="session")
def changed_report(make_report):
    """`changed_report(fixed, broken, good, bad)` makes a report in which so many rows changed from base to tuned."""

    def make(fixed=0, broken=0, good=0, bad=0, variants=("base", "tuned")):
        kinds = [(BAD, GOOD)] * fixed + [(GOOD, BAD)] * broken + [(GOOD, GOOD)] * good + [(BAD, BAD)] * bad
        return make_report([dict(zip(variants, kind, strict=True)) for kind in kinds])

    return make
