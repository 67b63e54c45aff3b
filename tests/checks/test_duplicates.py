"""Equal rows, nearly equal rows, and prompts that stand on both sides."""

import random

import pytest

from tunesmith.checks.duplicates import Fingerprints

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, count=100, changed=0):
    choice = random.Random(seed)
    words = [choice.choice(WORDS) for _ in range(count)]
    for place in range(changed):
        words[place * count // changed] = f"other{place}"
    return " ".join(words)


@pytest.fixture
def prints():
    """Rows 1 to 8: 3 says what 1 says, but for case and space; 5 nearly what 2 says; the rest is new."""
    made = Fingerprints(0.8)
    texts = [text(1), text(2), text(1).upper() + "\n", text(4), text(2, changed=1), text(6), "short", "short too"]
    for number, content in enumerate(texts, 1):
        prompt = [("prompt", f"prompt {number % 6}")]
        made.add("a.jsonl" if number < 4 else "b.jsonl", number, [("text", content)], prompt)
        made.add_sample()
    return made


def test_equal_rows(prints):
    (hit,) = prints.hits(prints.exact_duplicates(), "as")
    assert hit == ("a.jsonl", 3, "as a.jsonl:1")


def test_nearly_equal_rows(prints):
    (hit,) = prints.hits(prints.near_duplicates(), "nearly as")
    assert hit == ("b.jsonl", 5, "nearly as a.jsonl:2")


def test_prompts_on_both_sides(prints):
    assert prints.leaked_prompts(range(6, 8)) == [(6, 0), (7, 1)]
    assert prints.leaked_prompts([5]) == []
    assert prints.leaked_prompts([]) == []


def test_a_row_whose_samples_are_on_both_sides_is_no_leak_of_itself(prints):
    prints.add_sample()
    assert prints.leaked_prompts([8]) == [(7, 1)]
    prints.add("c.jsonl", 1, [("text", "new")], [("prompt", "new")])
    prints.add_sample()
    prints.add_sample()
    assert prints.leaked_prompts([10]) == []


def test_no_rows_have_no_repeats():
    empty = Fingerprints(0.8)
    assert (empty.exact_duplicates(), empty.near_duplicates(), empty.leaked_prompts([])) == ([], [], [])
