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
    compute_shingles,
    find_repeats,
    hash_exact,
    hash_normalized,
)

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, count=100, changed=0):
    choice = random.Random(seed)
    words = [choice.choice(WORDS) for _ in range(count)]
    for place in range(changed):
        words[place * count // changed + 2] = f"other{place}"
    return " ".join(words)


def test_the_same_is_but_for_case_space_and_composition():
    assert hash_normalized("Ein Caf\u00e9\n") == hash_normalized("ein  cafe\u0301")
    assert hash_exact("Ein") != hash_exact("ein")
    assert hash_normalized("2 + 3") != hash_normalized("2 - 3")
    assert find_repeats(np.array([7, 8, 7, 7])) == [(2, 0), (3, 0)]
    assert find_repeats(np.array([])) == []


@pytest.mark.parametrize(("changed", "similarity"), [(0, 1), (1, (96 - 3) / (96 + 3)), (2, (96 - 8) / (96 + 8))])
def test_the_similarity_of_shingles_is_counted(changed, similarity):
    near = NearDuplicateIndex(0.5)
    near.add(text(1))
    assert near.find(text(1, changed=changed)) == NearDuplicate(0, pytest.approx(similarity))
    assert near.find(text(2)) is None


def test_signs_of_arithmetic_count_as_words_and_punctuation_does_not():
    one = "what is seven + five times nine if ten are taken away from the sum?"
    assert list(compute_shingles(one)) == list(compute_shingles(one.upper().replace("?", "")))
    assert list(compute_shingles(one)) != list(compute_shingles(one.replace("+", "-")))


def test_a_text_of_a_few_words_is_like_no_other():
    near = NearDuplicateIndex()
    for _ in range(2):
        near.add("one two three four five six seven")
        near.add("")
    assert near.near_duplicates() == {}
    assert near.find("one two three four five six seven") is None


def test_languages_without_spaces_are_compared_letter_by_letter():
    """Also where a comma stands after every few letters."""
    near = NearDuplicateIndex()
    near.add("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものです。")
    assert near.find("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものだ!") is not None
    assert len(compute_shingles("今日は蜂の巣を見に行きましょうと彼は言いました")) == 19


def test_each_row_is_a_near_duplicate_of_a_row_that_is_none():
    near = NearDuplicateIndex(0.8)
    for item in (text(1), text(2), text(1, changed=1), text(1), text(2, changed=1), text(3)):
        near.add(item)
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
        near.add(text(seed))
    for seed in range(500):
        near.add(text(seed, changed=2))  # 0.846
    found = near.near_duplicates()
    assert all(duplicate.earlier == later - 1500 for later, duplicate in found.items())
    assert len(found) >= 495


def test_a_bucket_that_shares_most_of_its_words_is_told_apart():
    near = NearDuplicateIndex(0.8)
    frame = text(0, 60)
    for seed in range(1, 200):
        near.add(f"{frame} {text(seed, 40)}")
    near.add(f"{frame} {text(77, 40)} more")
    assert near.near_duplicates().keys() <= {199}
    assert near.find(f"{frame} {text(77, 40)}").earlier == 76
