"""Intervals, paired tests and agreement, in closed form with numpy. A test compares them with statsmodels."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

Z95 = NormalDist().inv_cdf(0.975)
"""Standard errors on each side of a 95% interval."""
Z80 = NormalDist().inv_cdf(0.80)
"""Standard errors for a test of 80% power."""
SIGNIFICANT = 0.05
RESAMPLES, BLOCK = 10_000, 500


class Interval(NamedTuple):
    """An estimate with its 95% interval."""

    value: float
    low: float
    high: float


def wilson(passed: int, rows: int) -> Interval:
    """Return a fraction with its Wilson score interval (Wilson 1927), which is valid for few rows and near 0 and 1."""
    if not rows:
        return Interval(math.nan, 0.0, 1.0)
    rate, square = passed / rows, Z95**2
    middle = (rate + square / (2 * rows)) / (1 + square / rows)
    half = Z95 * math.sqrt(rate * (1 - rate) / rows + square / (4 * rows**2)) / (1 + square / rows)
    # At 0 and 1 the ends are exact; computed, they are off by a rounding error, and the rate would lie outside.
    return Interval(rate, max(0.0, middle - half) if passed else 0.0, min(1.0, middle + half) if passed < rows else 1.0)


def paired_difference(fixed: int, broken: int, good: int, bad: int) -> Interval:
    """Return the difference of two pass rates on the same rows, with Newcombe's score interval for paired data.

    This is method 10 of R. G. Newcombe, "Improved confidence intervals for the difference between binomial proportions
    based on paired data", Statistics in Medicine 17 (1998), 2635-2650. It combines the Wilson intervals of both rates,
    so a few rows that all changed in the same way do not have an interval of width 0.

    Args:
        fixed: rows that pass with the second model only.
        broken: rows that pass with the first model only.
        good: rows that pass with both.
        bad: rows that pass with neither.
    """
    rows = fixed + broken + good + bad
    if not rows:
        return Interval(math.nan, math.nan, math.nan)
    after, before = wilson(good + fixed, rows), wilson(good + broken, rows)
    margins = (good + fixed) * (broken + bad) * (good + broken) * (fixed + bad)
    product = good * bad - fixed * broken
    corrected = max(product - rows / 2, 0.0) if product > 0 else product
    correlation = corrected / math.sqrt(margins) if margins else 0.0
    value = (fixed - broken) / rows
    low = _combined(after.value - after.low, before.high - before.value, correlation)
    high = _combined(after.high - after.value, before.value - before.low, correlation)
    return Interval(value, max(-1.0, value - low), min(1.0, value + high))


def _combined(first: float, second: float, correlation: float) -> float:
    """Return the distance of the limit of a difference from that of each of its terms."""
    return math.sqrt(max(0.0, first**2 - 2 * correlation * first * second + second**2))


def mcnemar(fixed: int, broken: int) -> float:
    """Return the p-value of McNemar's exact two-sided test of the rows that changed."""
    changed = fixed + broken
    tail = sum(math.comb(changed, count) for count in range(min(fixed, broken) + 1))
    return float(min(1.0, 2 * tail / 2**changed))  # integers do not overflow with thousands of rows


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Return a mean with its percentile bootstrap interval."""
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    # Resampling rows is the same as drawing how often each distinct value occurs, which is fast for few values.
    distinct, counts = np.unique(np.asarray(values, dtype=float), return_counts=True)
    random, rows = np.random.default_rng(seed), len(values)
    means = [random.multinomial(rows, counts / rows, size=BLOCK) @ distinct / rows for _ in range(RESAMPLES // BLOCK)]
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Interval(float(distinct @ counts / rows), float(low), float(high))


def required_rows(difference: float, changed: float) -> int:
    """Return how many rows McNemar's test needs for a difference of two rates with 80% power (Connor 1987).

    Args:
        difference: of the two rates.
        changed: fraction of rows that pass with one model only; at least `difference`.
    """
    changed = max(changed, abs(difference))
    root = Z95 * math.sqrt(changed) + Z80 * math.sqrt(max(0.0, changed - difference**2))
    return math.ceil(root**2 / difference**2) if difference else 0


def min_detectable_effect(rows: int, changed: float) -> float:
    """Return the minimum detectable difference of two rates with 80% power; 1 if there is none.

    McNemar's test needs at least six rows that all change in the same direction.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if required_rows(middle, changed) <= rows else (middle, high)
    return min(1.0, max(high, 6 / max(rows, 1)))


def kappa(first: Sequence[str], second: Sequence[str]) -> Interval:
    """Return Cohen's kappa of two raters of the same rows, with the interval of Fleiss, Cohen and Everitt (1969).

    It is NaN if both raters give all rows the same label. If they agree on every row, that interval has no width; the
    low end is then that of Wilson's interval of the agreement.
    """
    labels = sorted({*first, *second})
    table = np.zeros((len(labels), len(labels)))
    for one, other in zip(first, second, strict=True):
        table[labels.index(one), labels.index(other)] += 1
    if len(labels) < 2:
        return Interval(math.nan, math.nan, math.nan)
    rates = table / table.sum()
    rows, columns, agreed = rates.sum(axis=1), rates.sum(axis=0), np.diag(rates)
    chance = float(rows @ columns)
    value = (float(agreed.sum()) - chance) / (1 - chance)
    away = rates * (columns[:, None] + rows[None, :]) ** 2
    spread = (
        agreed @ (1 - (rows + columns) * (1 - value)) ** 2
        + (1 - value) ** 2 * (away.sum() - np.trace(away))
        - (value - chance * (1 - value)) ** 2
    )
    half = Z95 * math.sqrt(max(0.0, float(spread)) / len(first)) / (1 - chance)
    if value == 1:
        half = (1 - wilson(len(first), len(first)).low) / (1 - chance)
    return Interval(value, max(-1.0, value - half), min(1.0, value + half))
