"""Check that a query says what its question says, where that can be told: a valid query may answer another question.

`assertions.py` knows the language and judges any answer; these rules are for rows that a model made, question and all.
"""

import json
import re
from typing import Any

SECONDS = {"minute": 60, "hour": 3600, "day": 86400, "week": 604800}


def parse(answer: str) -> dict[str, Any]:
    """Read the query of a row that `assertions.py` has passed."""
    try:
        return dict(json.loads(answer))
    except (ValueError, TypeError):
        raise AssertionError("the answer is no JSON object") from None


def entries(answer: str) -> list[dict[str, Any]]:
    """Return the parts of a query that may name a column or hold a value."""
    query = parse(answer)
    parts = [entry for key in ("calculations", "filters", "havings") for entry in query.get(key, [])]
    return [*parts, *({"column": name} for name in query.get("breakdowns", [])), {"value": query.get("limit", [])}]


def test_columns_are_asked_about(question: str, answer: str) -> None:
    """The question has a word of each column that the query uses."""
    for entry in entries(answer):
        words = re.findall(r"[a-z]{2,}", entry.get("column", "").lower())
        named = any(word[:-1] in question.lower() for word in words)  # without the last letter: company, companies
        assert named or not words, f"the query uses {entry['column']}, of which the question says nothing"


def test_values_are_asked_about(question: str, answer: str) -> None:
    """The question has each value that the query compares with, and its limit."""
    for entry in entries(answer):
        value = entry.get("value", [])
        for item in value if isinstance(value, list) else [value]:
            text = item if isinstance(item, str) else json.dumps(item)
            assert text in question, f"the query has the value {text}, of which the question says nothing"


def test_times_are_asked_about(question: str, answer: str) -> None:
    """The question has the length of time that the query looks back, and that of its steps."""
    found = re.findall(r"(?:(\d+) )?(minute|hour|day|week)", question)
    asked = {int(number or 1) * SECONDS[unit] for number, unit in found}
    for key in ("time_range", "granularity"):
        seconds = parse(answer).get(key)
        assert seconds is None or seconds in asked, f"{key} is {seconds} seconds, of which the question says nothing"
