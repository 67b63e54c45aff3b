"""Texts that say the same, or nearly the same."""

import random

import numpy as np
import pytest

from tunesmith.data.twins import BANDS, FOUND, NearTexts, Twin, exact_hash, repeats, rows_of_a_band, runs_of, text_hash

WORDS = [f"word{number}" for number in range(2000)]


def text(seed, count=100, changed=0):
    choice = random.Random(seed)
    words = [choice.choice(WORDS) for _ in range(count)]
    for place in range(changed):
        words[place * count // changed + 2] = f"other{place}"
    return " ".join(words)


def test_the_same_is_but_for_case_space_and_composition():
    assert text_hash("Ein Caf\u00e9\n") == text_hash("ein  cafe\u0301")
    assert exact_hash("Ein") != exact_hash("ein")
    assert text_hash("2 + 3") != text_hash("2 - 3")
    assert repeats(np.array([7, 8, 7, 7])) == [(2, 0), (3, 0)]
    assert repeats(np.array([])) == []


@pytest.mark.parametrize(("changed", "share"), [(0, 1), (1, (96 - 3) / (96 + 3)), (2, (96 - 8) / (96 + 8))])
def test_the_share_of_runs_is_counted(changed, share):
    near = NearTexts(0.5)
    near.add(text(1))
    assert near.find(text(1, changed=changed)) == Twin(0, pytest.approx(share))
    assert near.find(text(2)) is None


def test_signs_of_arithmetic_count_as_words_and_punctuation_does_not():
    one = "what is seven + five times nine if ten are taken away from the sum?"
    assert list(runs_of(one)) == list(runs_of(one.upper().replace("?", "")))
    assert list(runs_of(one)) != list(runs_of(one.replace("+", "-")))


def test_a_text_of_a_few_words_is_like_no_other():
    near = NearTexts()
    for _ in range(2):
        near.add("one two three four five six seven")
        near.add("")
    assert near.twins() == {}
    assert near.find("one two three four five six seven") is None


def test_languages_without_spaces_are_compared_letter_by_letter():
    """Also where a comma stands after every few letters."""
    near = NearTexts()
    near.add("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものです。")
    assert near.find("日本語の質問です。これは、長い文章で、近似重複の検出を、確認するためのものだ!") is not None
    assert len(runs_of("今日は蜂の巣を見に行きましょうと彼は言いました")) == 19


def test_each_row_is_a_twin_of_a_row_that_is_none():
    near = NearTexts(0.8)
    for item in (text(1), text(2), text(1, changed=1), text(1), text(2, changed=1), text(3)):
        near.add(item)
    assert {later: twin.earlier for later, twin in near.twins().items()} == {2: 0, 3: 0, 4: 1}
    assert near.twins(without=[3, 4]).keys() == {2}
    assert {later: twin.earlier for later, twin in near.twins(border=2).items()} == {2: 0, 3: 0, 4: 1}
    assert near.twins(border=4).keys() == {4}


@pytest.mark.parametrize("alike", [0.5, 0.7, 0.8, 0.9, 1.0])
def test_pairs_just_at_the_share_are_found_in_99_of_100_cases(alike):
    assert 1 - (1 - alike ** rows_of_a_band(alike)) ** BANDS >= FOUND


def test_planted_pairs_are_found_and_no_others():
    near = NearTexts(0.8)
    for seed in range(1500):
        near.add(text(seed))
    for seed in range(500):
        near.add(text(seed, changed=2))  # 0.846
    found = near.twins()
    assert all(twin.earlier == later - 1500 for later, twin in found.items())
    assert len(found) >= 495


def test_a_crowd_that_shares_most_of_its_words_is_told_apart():
    near = NearTexts(0.8)
    frame = text(0, 60)
    for seed in range(1, 200):
        near.add(f"{frame} {text(seed, 40)}")
    near.add(f"{frame} {text(77, 40)} more")
    assert near.twins().keys() <= {199}
    assert near.find(f"{frame} {text(77, 40)}").earlier == 76
