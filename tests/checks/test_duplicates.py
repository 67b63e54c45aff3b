"""Equal rows, nearly equal rows, and prompts that stand on both sides."""

import random

import pytest

from tunesmith.checks.duplicates import ALIKE, Fingerprints, signature

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, count=100, changed=0):
    choice = random.Random(seed)
    words = [choice.choice(WORDS) for _ in range(count)]
    for place in range(changed):
        words[place * count // changed] = f"other{place}"
    return " ".join(words)


def share(one, other):
    return sum(a == b for a, b in zip(signature(one), signature(other), strict=True)) / 64


@pytest.mark.parametrize(("changed", "least", "most"), [(0, 1, 1), (1, 0.85, 1), (5, 0.45, 0.75), (50, 0, 0.15)])
def test_signatures_agree_as_far_as_the_texts_do(changed, least, most):
    shares = [share(text(seed, 100), text(seed, 100, changed)) for seed in range(20)]
    assert least <= sum(shares) / 20 <= most
    assert share(text(1), text(2)) < 0.1


def test_a_text_of_a_few_words_has_no_signature():
    assert not any(signature("one two three four five six seven"))
    assert any(signature("今日は蜂の巣を見に行きましょうと彼は言いました"))


@pytest.fixture
def prints():
    """Rows 1 to 8: 3 says what 1 says, but for case and space; 5 nearly what 2 says; the rest is new."""
    made = Fingerprints(near=True)
    texts = [text(1), text(2), text(1).upper() + "\n", text(4), text(2, changed=1), text(6), "short", "short too"]
    for number, content in enumerate(texts, 1):
        made.add("a.jsonl" if number < 4 else "b.jsonl", number, content, content)
        made.add_sample(f"prompt {number % 6}")
    return made


def test_equal_rows(prints):
    (hit,) = prints.hits(prints.equal(), "as")
    assert hit == ("a.jsonl", 3, "as a.jsonl:1")


def test_nearly_equal_rows(prints):
    (hit,) = prints.hits(prints.alike(), "nearly as")
    assert hit == ("b.jsonl", 5, "nearly as a.jsonl:2")
    assert share(text(2), text(2, changed=1)) >= ALIKE


def test_prompts_on_both_sides(prints):
    assert prints.leaked(range(6, 8)) == [(6, 0), (7, 1)]
    assert prints.leaked([5]) == []
    assert prints.leaked([]) == []


def test_no_rows_have_no_repeats():
    empty = Fingerprints(near=True)
    assert (empty.equal(), empty.alike(), empty.leaked([])) == ([], [], [])
