"""Texts that say the same, or nearly the same."""

import random

import numpy as np
import pytest

from tunesmith.data.near_duplicates import (
    BANDS,
    RECALL,
    NearDuplicate,
    NearDuplicateIndex,
    compute_rows_per_band,
    find_repeats,
    hash_exact,
    hash_leaves,
    make_record,
)

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, count=100, changed=0):
    choice = random.Random(seed)
    words = [choice.choice(WORDS) for _ in range(count)]
    for place in range(changed):
        words[place * count // changed + 2] = f"other{place}"
    return " ".join(words)


def leaves(content):
    return [("text", content)]


def similarity(one, other):
    return make_record(leaves(one)).similarity(make_record(leaves(other)))


def test_the_same_is_but_for_case_space_and_composition():
    def same(content):
        return hash_leaves(leaves(content))

    assert same("Ein Caf\u00e9\n") == same("ein  cafe\u0301")
    assert hash_exact(leaves("Ein")) != hash_exact(leaves("ein"))
    assert same("2 + 3") != same("2 - 3")
    assert find_repeats(np.array([7, 8, 7, 7])) == [(2, 0), (3, 0)]
    assert find_repeats(np.array([])) == []


@pytest.mark.parametrize(("changed", "similarity"), [(0, 1), (1, (96 - 3) / (96 + 3)), (2, (96 - 8) / (96 + 8))])
def test_the_similarity_of_shingles_is_counted(changed, similarity):
    near = NearDuplicateIndex(0.5)
    near.add(leaves(text(1)))
    assert near.find(leaves(text(1, changed=changed))) == NearDuplicate(0, pytest.approx(similarity))
    assert near.find(leaves(text(2))) is None


def test_signs_of_arithmetic_must_be_equal_and_punctuation_does_not_count():
    one = "what is seven + five times nine if ten are taken away from the sum, and what is it if none are?"
    assert similarity(one, one.upper().replace("?", "")) == 1
    assert similarity(one, one.replace("+", "-")) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{text(1)} It is 5 kg. {text(2)}", f"{text(1)} It is 6 kg. {text(2)}"),
        (f"{text(1)} It is 1.5. {text(2)}", f"{text(1)} It is 15. {text(2)}"),
        (f"{text(1)} It is -5. {text(2)}", f"{text(1)} It is 5. {text(2)}"),
        (f"{text(1)} in Q3. {text(2)}", f"{text(1)} in Q4. {text(2)}"),
        (f"{text(1)} \U0001f600 {text(2)}", f"{text(1)} \U0001f621 {text(2)}"),
        (f"{text(1)}\n\n```\nx[1]\n```\n{text(2)}", f"{text(1)}\n\n```\nX[1]\n```\n{text(2)}"),
        (f"{text(1)}\n\nx = a[1]\n\n{text(2)}", f"{text(1)}\n\nx = a(1)\n\n{text(2)}"),
        ("水" * 40 + "三" + "火" * 40, "水" * 40 + "四" + "火" * 40),
        (f"{text(1, 18)} yes", f"{text(1, 18)} no"),
    ],
)
def test_texts_that_differ_in_a_number_a_symbol_or_code_or_are_short_are_no_near_duplicates(one, other):
    assert similarity(one, one) in (0, 1)
    assert similarity(one, other) == similarity(other, one) == 0
    assert hash_leaves(leaves(one)) != hash_leaves(leaves(other))


def test_a_long_prompt_does_not_hide_another_answer():
    rows = [
        [("prompt", text(1, 500)), ("answer", answer)] for answer in (text(2, 25), text(3, 25), text(2, 25) + " so")
    ]
    first, other, near = map(make_record, rows)
    assert first.similarity(other) == 0
    assert first.similarity(near) > 0.95
    short, other = (make_record([("prompt", text(1, 500)), ("answer", answer)]) for answer in ("It is.", "It isn't."))
    assert short.similarity(other) == 0


def test_case_and_indentation_count_in_code_only():
    def same(one, other):
        return hash_leaves(leaves(one)) == hash_leaves(leaves(other))

    assert same("Is it so?  Yes.\n\nNo.", "is it SO? yes. no.")
    assert same("Run this:\n\n```\nls -l  \n```\n", "run this:\n\n```\nls -l\n```")
    for one, other in (
        ("print(X)", "print(x)"),
        ("if a:\n    b()\nc()", "if a:\n    b()\n    c()"),
        ("ls -l", "ls -L"),
    ):
        assert not same(one, other)
        assert not same(f"```\n{one}\n```", f"```\n{other}\n```")


def test_a_text_of_a_few_words_is_like_no_other():
    near = NearDuplicateIndex()
    for _ in range(2):
        near.add(leaves("one two three four five six seven"))
        near.add(leaves(""))
    assert near.near_duplicates() == {}
    assert near.find(leaves("one two three four five six seven")) is None


def test_languages_without_spaces_are_compared_letter_by_letter():
    """Also where a comma stands after every few letters."""
    near = NearDuplicateIndex()
    near.add(leaves("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものです。"))
    assert (
        near.find(leaves("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものだ!")) is not None
    )
    assert len(make_record(leaves("今日は蜂の巣を見に行きましょうと彼は言いました")).shingles[0]) == 19


def test_each_row_is_a_near_duplicate_of_a_row_that_is_none():
    near = NearDuplicateIndex(0.8)
    for item in (text(1), text(2), text(1, changed=1), text(1), text(2, changed=1), text(3)):
        near.add(leaves(item))
    assert {later: duplicate.earlier for later, duplicate in near.near_duplicates().items()} == {2: 0, 3: 0, 4: 1}
    assert near.near_duplicates(without=[3, 4]).keys() == {2}
    assert {later: duplicate.earlier for later, duplicate in near.near_duplicates(split_index=2).items()} == {
        2: 0,
        3: 0,
        4: 1,
    }
    assert near.near_duplicates(split_index=4).keys() == {4}


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_pairs_just_at_the_threshold_are_found_in_99_of_100_cases(similarity):
    assert 1 - (1 - similarity ** compute_rows_per_band(similarity)) ** BANDS >= RECALL


def test_planted_pairs_are_found_and_no_others():
    near = NearDuplicateIndex(0.8)
    for seed in range(1500):
        near.add(leaves(text(seed)))
    for seed in range(500):
        near.add(leaves(text(seed, changed=2)))  # 0.846
    found = near.near_duplicates()
    assert all(duplicate.earlier == later - 1500 for later, duplicate in found.items())
    assert len(found) >= 495


def test_a_bucket_that_shares_most_of_its_words_is_told_apart():
    near = NearDuplicateIndex(0.8)
    frame = text(0, 60)
    for seed in range(1, 200):
        near.add(leaves(f"{frame} {text(seed, 40)}"))
    near.add(leaves(f"{frame} {text(77, 40)} more"))
    assert near.near_duplicates().keys() <= {199}
    assert near.find(leaves(f"{frame} {text(77, 40)}")).earlier == 76
