"""The closed forms give the values of statsmodels 0.15; the bootstrap is the resampling that it says."""

import math

import numpy as np
import pytest

from tunesmith.evals.statistics import (
    bootstrap,
    kappa,
    mcnemar,
    min_detectable_effect,
    paired_difference,
    required_rows,
    wilson,
)


@pytest.mark.parametrize(
    ("passed", "rows", "low", "high"),
    [
        (0, 10, 0.0, 0.27753279986288926),
        (20, 25, 0.6086904963045966, 0.9113941531319744),
        (80, 100, 0.7111708344068411, 0.8666330666689676),
        (160, 200, 0.7391448134346212, 0.8495479907390189),
        (1000, 1000, 0.996173241514445, 1.0),
    ],
)
def test_wilson_is_that_of_statsmodels(passed, rows, low, high):
    """proportion_confint(passed, rows, method="wilson")."""
    assert wilson(passed, rows) == pytest.approx((passed / rows, low, high), abs=1e-12)


def test_of_no_rows_nothing_is_known():
    assert wilson(0, 0)[1:] == (0, 1)
    assert math.isnan(wilson(0, 0).value)
    assert math.isnan(bootstrap([]).value)


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [
        (0, 0, 1.0),
        (6, 0, 0.03125),
        (1, 7, 0.0703125),
        (10, 12, 0.8318119049072266),
        (25, 9, 0.00904118549078703),
        (400, 480, 0.007707305043339153),
    ],
)
def test_mcnemar_is_that_of_statsmodels(fixed, broken, p):
    """mcnemar([[a, broken], [fixed, d]], exact=True).pvalue."""
    assert mcnemar(fixed, broken) == pytest.approx(p, rel=1e-9)


def test_mcnemar_of_many_rows_does_not_overflow():
    assert mcnemar(5000, 5000) == 1
    assert 0 <= mcnemar(20_000, 1) < 1e-300


@pytest.mark.parametrize(
    ("table", "value", "low", "high"),
    [
        ([[20, 5], [10, 15]], 0.4, 0.151092290476661, 0.6489077095233389),
        ([[45, 15], [25, 15]], 0.13043478260869554, -0.06293827779258965, 0.3238078430099807),
        ([[88, 14, 18], [10, 40, 10], [2, 6, 12]], 0.49152542372881347, 0.3915637020535469, 0.59148714540408),
    ],
)
def test_kappa_is_that_of_statsmodels(table, value, low, high):
    """cohens_kappa(table): kappa, kappa_low, kappa_upp."""
    pairs = [(str(i), str(j)) for i, line in enumerate(table) for j, count in enumerate(line) for _ in range(count)]
    first, second = zip(*pairs, strict=True)
    assert kappa(first, second) == pytest.approx((value, low, high), abs=1e-12)


def test_kappa_at_its_ends():
    assert kappa(["a", "b"] * 5, ["a", "b"] * 5).value == 1
    assert kappa(["a", "b"] * 5, ["b", "a"] * 5) == (-1, -1, -1)
    assert math.isnan(kappa(["a"] * 3, ["a"] * 3).value)


def test_the_bootstrap_draws_rows_again_with_the_same_result_each_time():
    values = [1.0] * 20 + [-1.0] * 5 + [0.0] * 75
    found = bootstrap(values)
    assert found == bootstrap(values)
    random = np.random.default_rng(3)
    means = random.choice(values, size=(20_000, len(values))).mean(axis=1)
    assert found.value == pytest.approx(0.15)
    assert found[1:] == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=0.011)


def test_the_bootstrap_takes_any_numbers():
    values = np.random.default_rng(0).normal(3, 1, 400).tolist()
    found = bootstrap(values)
    assert found.low == pytest.approx(found.value - 1.96 * np.std(values) / 20, abs=0.02)


def test_so_many_rows_as_are_said_have_the_power_that_is_said():
    """Simulated: a fifth of the rows changes, ten points more to the one side."""
    rows = required_rows(0.1, 0.2)
    assert rows == 155  # Connor's formula by hand
    random = np.random.default_rng(1)
    draws = random.multinomial(rows, [0.15, 0.05, 0.8], size=1000)
    power = np.mean([mcnemar(int(fixed), int(broken)) < 0.05 for fixed, broken, _ in draws])
    assert power == pytest.approx(0.8, abs=0.06)


def test_what_rows_can_show_is_the_other_way_round():
    assert min_detectable_effect(155, 0.2) == pytest.approx(0.1, abs=1e-3)
    assert min_detectable_effect(1000, 0.2) < min_detectable_effect(100, 0.2) < min_detectable_effect(30, 0.2)
    assert min_detectable_effect(10, 0.0) >= 0.6  # fewer than six changed rows are never significant
    assert min_detectable_effect(3, 0.0) == 1


@pytest.mark.parametrize("rows", [1, 3, 7, 10, 49, 180])
def test_a_rate_lies_in_its_interval_at_both_ends(rows):
    """Computed, the low end at 0 is 1.4e-17 for some numbers of rows, of which a plot makes a negative error bar."""
    assert wilson(0, rows)[:2] == (0.0, 0.0)
    assert wilson(rows, rows)[::2] == (1.0, 1.0)


@pytest.mark.parametrize(
    ("table", "value", "low", "high"),
    [
        ((12, 2, 36, 0), 0.20, 0.0569, 0.3404),
        ((0, 0, 53, 3), 0.0, None, None),
    ],
)
def test_the_paired_interval_is_that_of_newcombe(table, value, low, high):
    """The first is in Newcombe's table of examples: 36, 12, 2 and 0 of 50 pairs, by method 10."""
    difference = paired_difference(*table)
    assert difference.value == pytest.approx(value)
    if low is not None:
        assert difference[1:] == pytest.approx((low, high), abs=5e-5)
    assert difference.low <= difference.value <= difference.high
    mirrored = paired_difference(table[1], table[0], *table[2:])
    assert mirrored == pytest.approx((-difference.value, -difference.high, -difference.low))


def test_rows_that_all_changed_in_the_same_way_leave_doubt():
    value, low, high = paired_difference(6, 0, 0, 0)
    assert (value, high) == (1.0, 1.0)
    assert 0.4 < low < 0.5
    assert paired_difference(0, 0, 6, 0).low < 0 < paired_difference(0, 0, 6, 0).high
    assert math.isnan(paired_difference(0, 0, 0, 0).value)


def test_full_agreement_of_few_rows_leaves_doubt():
    value, low, high = kappa(["a", "b", "a"], ["a", "b", "a"])
    assert (value, high) == (1.0, 1.0)
    assert low < 0.5
