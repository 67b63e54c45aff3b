"""Intervals that say how sure a figure is."""

import math
from collections.abc import Sequence

_Z = 1.959963984540054
"""Quantile of the normal distribution that leaves 95% in the middle."""


def wilson(passed: int, total: int) -> tuple[float, float]:
    """Return the 95% interval of Wilson for a share; all there is if nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share, spread = passed / total, _Z**2 / total
    middle = share + spread / 2
    half = _Z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, (middle - half) / (1 + spread)), min(1.0, (middle + half) / (1 + spread))


def kappa(table: Sequence[Sequence[int]]) -> tuple[float, float, float]:
    """Return Cohen's kappa of a square table of counts, with its 95% interval (Fleiss, Cohen and Everitt 1969).

    It is not a number where both raters always say the same one thing.
    """
    total = sum(map(sum, table))
    shares = [[count / total for count in row] for row in table] if total else []
    rows = [sum(row) for row in shares]
    columns = [sum(column) for column in zip(*shares, strict=True)]
    chance = sum(row * column for row, column in zip(rows, columns, strict=True))
    if not total or chance == 1:
        return math.nan, math.nan, math.nan
    agreed = sum(shares[index][index] for index in range(len(shares)))
    value = (agreed - chance) / (1 - chance)
    variance = -((value - chance * (1 - value)) ** 2)
    for i, row in enumerate(shares):
        for j, share in enumerate(row):
            both = (columns[i] + rows[j]) * (1 - value)
            variance += share * ((1 - (rows[i] + columns[i]) * (1 - value)) ** 2 if i == j else both**2)
    half = _Z * math.sqrt(max(0.0, variance)) / ((1 - chance) * math.sqrt(total))
    return value, max(-1.0, value - half), min(1.0, value + half)
